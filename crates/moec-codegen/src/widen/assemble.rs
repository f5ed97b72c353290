//! From steps to instructions.
//!
//! Registers are given in order of steps: a step's result has one until its last use. Constants and
//! operands that are one for all lanes are broadcast when first needed and keep their register until
//! another needs it; then they are broadcast again at their next use. A line that needs more registers
//! than there are is not widened.

use iced_x86::code_asm::{CodeAssembler, ptr, qword_ptr, registers::*};
use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};
use moec_ir::DType;

use super::read::{Line, Source, Step, What};
use super::{Operand, Run, WIDE};
use crate::assembled::Assembled;

/// Registers of vectors, and those of masks that may hold one: `k0` means none.
const VECTORS: u32 = 32;
const MASKS: u32 = 8;

/// Machine code, or none if there are too few registers.
pub(super) fn assemble(line: &Line, run: &Run) -> Result<Option<Assembled>, IcedError> {
    let mut assembler = Assembler::new(line, run)?;
    let mut pool = assembler.asm.create_label();
    assembler.asm.lea(rsi, ptr(pool))?;
    for vector in 0..run.len / WIDE {
        if assembler.vector(line, vector)?.is_none() {
            return Ok(None);
        }
    }
    let Assembler { mut asm, mut constants, .. } = assembler;
    asm.vzeroupper()?;
    asm.ret()?;
    asm.set_label(&mut pool)?;
    if constants.is_empty() {
        constants.push(0);
    }
    asm.dd(&constants)?;
    Assembled::new(asm).map(Some)
}

struct Assembler<'r> {
    asm: CodeAssembler,
    run: &'r Run,
    /// The step that uses a step's result last; the number of steps if it is stored.
    last_use: Vec<usize>,
    /// Where each step's result is.
    places: Vec<Register>,
    free: Vec<Register>,
    free_masks: Vec<Register>,
    /// What has been broadcast, in the order in which it was last needed.
    held: Vec<(Source, Register)>,
    /// Constants behind the code.
    constants: Vec<u32>,
}

impl<'r> Assembler<'r> {
    fn new(line: &Line, run: &'r Run) -> Result<Self, IcedError> {
        let mut last_use = vec![0; line.steps.len()];
        let used =
            line.steps.iter().enumerate().flat_map(|(at, step)| step.sources.iter().map(move |s| (at, *s)));
        for (at, source) in used.chain([(line.steps.len(), line.result)]) {
            if let Source::Step(n) = source {
                last_use[n] = at;
            }
        }
        Ok(Assembler {
            asm: CodeAssembler::new(64)?,
            run,
            last_use,
            places: vec![Register::None; line.steps.len()],
            free: (0..VECTORS).rev().map(|n| Register::ZMM0 + n).collect(),
            free_masks: (1..MASKS).rev().map(|n| Register::K0 + n).collect(),
            held: Vec::new(),
            constants: Vec::new(),
        })
    }

    /// Vector number `vector` of the run.
    fn vector(&mut self, line: &Line, vector: usize) -> Result<Option<()>, IcedError> {
        for (at, step) in line.steps.iter().enumerate() {
            if self.step(at, step, vector)?.is_none() {
                return Ok(None);
            }
        }
        let Some(result) = self.registers(&[line.result])? else { return Ok(None) };
        self.store(result[0], vector)?;
        self.release(line.steps.len(), &[line.result], None);
        Ok(Some(()))
    }

    fn step(&mut self, at: usize, step: &Step, vector: usize) -> Result<Option<()>, IcedError> {
        let Some(from) = self.registers(&step.sources)? else { return Ok(None) };
        // Results that end here may lend their registers, but not where the sum is made in place.
        let lent = match step.what {
            What::MultiplyAdd => self.in_place(at, &step.sources),
            _ => None,
        };
        if step.what != What::MultiplyAdd {
            self.release(at, &step.sources, None);
        }
        let to = match (lent, step.what.gives_mask()) {
            (Some(n), _) => Some(from[n]),
            (None, true) => self.free_masks.pop(),
            (None, false) => self.vacant(&from),
        };
        let Some(to) = to else { return Ok(None) };
        match step.what {
            What::Load(n) => self.load(n, to, vector)?,
            What::Unary(code) => self.add(Instruction::with2(code, to, from[0]))?,
            What::Binary(code) | What::Masks(code) => {
                self.add(Instruction::with3(code, to, from[0], from[1]))?
            }
            What::Not => self.add(Instruction::with2(Code::VEX_Knotw_kr_kr, to, from[0]))?,
            What::Shift(code, count) => self.add(Instruction::with3(code, to, from[0], i32::from(count)))?,
            What::Compare(code, predicate) => {
                self.add(Instruction::with4(code, to, from[0], from[1], i32::from(predicate)))?;
            }
            What::Select => {
                let blend = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
                let mut blend = Instruction::with3(blend, to, from[2], from[1])?;
                blend.set_op_mask(from[0]);
                self.asm.add_instruction(blend)?;
            }
            What::MultiplyAdd => {
                let (add_to, multiply) = (
                    Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
                    Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
                );
                match lent {
                    Some(0) => self.add(Instruction::with3(multiply, to, from[1], from[2]))?,
                    Some(1) => self.add(Instruction::with3(multiply, to, from[0], from[2]))?,
                    Some(_) => self.add(Instruction::with3(add_to, to, from[0], from[1]))?,
                    None => {
                        self.add(Instruction::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, to, from[2]))?;
                        self.add(Instruction::with3(add_to, to, from[0], from[1]))?;
                    }
                }
                self.release(at, &step.sources, lent.map(|n| step.sources[n]));
            }
        }
        self.places[at] = to;
        // Nobody asks for it.
        if self.last_use[at] == 0 {
            self.give_back(at);
        }
        Ok(Some(()))
    }

    fn add(&mut self, instruction: Result<Instruction, IcedError>) -> Result<(), IcedError> {
        self.asm.add_instruction(instruction?)
    }

    /// Which source of a product and sum ends here, in a register that the result can take over.
    fn in_place(&self, at: usize, sources: &[Source]) -> Option<usize> {
        let ends = |n: &usize| match sources[*n] {
            Source::Step(step) => {
                self.last_use[step] == at && sources.iter().filter(|s| **s == sources[*n]).count() == 1
            }
            Source::Constant(_) | Source::One(_) => false,
        };
        [2, 0, 1].into_iter().find(ends)
    }

    /// Registers that hold the sources; none if there are too few.
    fn registers(&mut self, sources: &[Source]) -> Result<Option<Vec<Register>>, IcedError> {
        let mut registers = Vec::new();
        for &source in sources {
            let register = match source {
                Source::Step(n) => self.places[n],
                _ => match self.held.iter().position(|(held, _)| *held == source) {
                    Some(at) => {
                        let held = self.held.remove(at);
                        self.held.push(held);
                        held.1
                    }
                    None => {
                        let Some(register) = self.vacant(&registers) else { return Ok(None) };
                        self.broadcast(source, register)?;
                        self.held.push((source, register));
                        register
                    }
                },
            };
            registers.push(register);
        }
        Ok(Some(registers))
    }

    fn broadcast(&mut self, source: Source, to: Register) -> Result<(), IcedError> {
        let (base, at) = match source {
            Source::One(n) => (Register::RDI, 8 * n),
            Source::Constant(bits) => {
                let known = self.constants.iter().position(|constant| *constant == bits);
                let at = known.unwrap_or_else(|| {
                    self.constants.push(bits);
                    self.constants.len() - 1
                });
                (Register::RSI, 4 * at)
            }
            Source::Step(_) => return Ok(()),
        };
        let from = MemoryOperand::with_base_displ_size(base, at as i64, 1);
        self.add(Instruction::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, from))
    }

    /// A register that holds nothing, or no longer what was broadcast longest ago and is none of `kept`.
    fn vacant(&mut self, kept: &[Register]) -> Option<Register> {
        self.free.pop().or_else(|| {
            let at = self.held.iter().position(|(_, register)| !kept.contains(register))?;
            Some(self.held.remove(at).1)
        })
    }

    /// Gives back the registers of the sources that step `at` uses last, but for `taken`'s.
    fn release(&mut self, at: usize, sources: &[Source], taken: Option<Source>) {
        for (nth, source) in sources.iter().enumerate() {
            let Source::Step(n) = *source else { continue };
            let again = sources[..nth].contains(source);
            if self.last_use[n] == at && taken != Some(*source) && !again {
                self.give_back(n);
            }
        }
    }

    fn give_back(&mut self, step: usize) {
        let register = self.places[step];
        let free = if register.is_k() { &mut self.free_masks } else { &mut self.free };
        free.push(register);
    }

    fn load(&mut self, operand: usize, to: Register, vector: usize) -> Result<(), IcedError> {
        let Operand::Each(dtype) = self.run.operands[operand] else { return Ok(()) };
        self.asm.mov(rax, qword_ptr(rdi + 8 * operand))?;
        let from = (vector * WIDE * dtype.bytes()) as i64;
        let from = MemoryOperand::with_base_displ_size(Register::RAX, from, 1);
        let code = match dtype {
            DType::F32 | DType::I32 => Code::EVEX_Vmovups_zmm_k1z_zmmm512,
            DType::Bf16 => Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256,
            DType::F16 => Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae,
            DType::U8 | DType::Bool => Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128,
        };
        self.add(Instruction::with2(code, to, from))?;
        if dtype == DType::Bf16 {
            self.add(Instruction::with3(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, to, to, 16))?;
        }
        Ok(())
    }

    fn store(&mut self, from: Register, vector: usize) -> Result<(), IcedError> {
        self.asm.mov(rax, qword_ptr(rdi + 8 * self.run.operands.len()))?;
        let dtype = self.run.out;
        let to = (vector * WIDE * dtype.bytes()) as i64;
        let to = MemoryOperand::with_base_displ_size(Register::RAX, to, 1);
        let code = match dtype {
            DType::F32 | DType::I32 => Code::EVEX_Vmovups_zmmm512_k1z_zmm,
            DType::Bf16 | DType::F16 => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
            DType::U8 | DType::Bool => Code::EVEX_Vpmovdb_xmmm128_k1z_zmm,
        };
        self.add(Instruction::with2(code, to, from))
    }
}
