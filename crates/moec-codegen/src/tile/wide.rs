//! Wide tiles: machine code for x86-64 vectors of 256 and 512 bits, from one description.
//!
//! Register tile, here AVX-512 with 8 rows and a panel of 32 columns, `k` ascending:
//!
//! ```text
//!              b[k][0..16]   b[k][16..32]       2 registers, loaded (and widened) once per k
//! a[0][k]       sum[0][0]     sum[0][1]
//! a[1][k]       sum[1][0]     sum[1][1]         16 registers for the sums;
//!   ..             ..            ..             one for a[r][k] in all lanes: 19 of 32
//! a[7][k]       sum[7][0]     sum[7][1]
//! ```
//!
//! One load puts `a[r][k]` into a register for both products. Left to the products, whose operand may be
//! a number in memory for all lanes, it is loaded twice, and Zen 4 then has more loads (one of a vector
//! a cycle) than products to do: 106 GFLOP/s instead of 115 of 116.
//!
//! The registers would hold 14 rows, the first-level cache does not: rows whose distance is a
//! multiple of 4 KiB, as that of most hidden states, lie in the same of its sets, which keep 8 lines
//! (12 on newer machines). With such rows 12 of them reached 104 GFLOP/s where 8 reached 117.
//!
//! AVX2 has 16 registers of 8 columns: 6 rows of 16 columns, 2 registers for `b`, one for `a[r][k]`, 15
//! of 16. A panel is always one sweep, so that it streams from memory once, in order, for any number of
//! rows.
//!
//! **Ahead.** Each step fetches what the caller will need next into the second-level cache. Some processors follow
//! a panel by themselves as long as there are few other streams; with 8 rows they do not, and reading a panel the
//! first time took its own time and that of the products, one after the other. A tile of one row fetches nothing
//! but where it has a lead ([`TileFamily::lead`]).
//!
//! **Pair products.** Where rows are bf16, one step takes two `k`: `a[r][k], a[r][k + 1]` are broadcast
//! together, a register of the panel holds the pairs of 16 columns, and one instruction adds both
//! products to each sum.
//!
//! **Widening** is exact. In panels of pairs a word is the bf16 of `k` below that of `k + 1`: shifted up
//! it is the first as f32, with its lower half cleared the second. One instruction for a vector of
//! either, beside the load: with 8, 4 and 1 rows 112, 105 and 62 GFLOP/s, where 104, 88 and 51 were
//! reached with elements one by one, which are extended by zeros and shifted. Those remain for odd
//! depths. f16 is converted.
//!
//! With one row or two the panel comes from memory, which is as busy as the processor sees ahead, and that is a
//! number of instructions. So they are as few as can be: each takes its operand from memory itself, twice where it
//! is wanted twice. OLMoE's layer with bf16 weights, 1 token on one Zen 4 core: 91 to 92 % of the bandwidth instead
//! of 84 to 89.
//!
//! **Calls.** The System V convention: the argument in `rdi`, `rbx`, `rbp` and `r12` to `r15` kept.
//! Changes other general registers and any vector register, whose upper halves are zero on
//! return, so that neighbours with 128-bit instructions do not wait for them. The row pointers and
//! the panel's are registers; `rax` counts the bytes of a row from minus its size up to 0 past the
//! rows' ends. No stack but the saved registers, no constants, no calls: the bytes run anywhere.

use std::mem::offset_of;

use iced_x86::code_asm::{AsmRegister64, CodeAssembler, CodeLabel, byte_ptr, dword_ptr, registers::*};
use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};
use moec_ir::DType;

use super::{TileArgs, TileFamily, TileOperands, TileSpec};
use crate::assembled::Assembled;

/// Alignment of a tile's first byte.
pub(super) const ALIGNMENT: u64 = 64;

/// Bytes of a sum, and of what one round takes from a row: an f32, or two bf16.
const FLOAT: i32 = 4;

/// The row pointers; from the seventh on they belong to the caller.
const ROWS: [AsmRegister64; 8] = [rsi, rcx, r8, r9, r10, r11, rbx, rbp];
/// How many of them a tile may change.
const FREE_ROWS: usize = 6;
const ARGS: AsmRegister64 = rdi;
/// Bytes from the rows' ends, negative.
const AT: AsmRegister64 = rax;
const PANEL: AsmRegister64 = rdx;
/// What is fetched next, in place of the argument, which waits on the stack; and its step.
const AHEAD: AsmRegister64 = rdi;
const AHEAD_STEP: AsmRegister64 = r12;

/// The bits of a word that are those of its second bf16.
const UPPER_HALF: u32 = 0xffff_0000;

/// The highest tile that reads elements to be widened or broadcast anew for each use.
const IN_PLACE_ROWS: usize = 2;

/// Bytes of a line of the caches.
const LINE: i32 = 64;

/// The instructions of one width.
struct Vectors {
    /// Number 0; the others follow.
    first: Register,
    count: usize,
    /// Columns of one.
    lanes: usize,
    xor: Code,
    load: Code,
    store: Code,
    /// Zero-extends 16-bit words.
    extend: Code,
    shift_left: Code,
    and: Code,
    convert_f16: Code,
    /// An element of a row into all lanes.
    broadcast: Code,
    fma: Code,
    /// Two products of bf16, added to a sum.
    pairs: Option<Code>,
    /// Whether `shift_left` takes vectors from memory, and `fma` an element for all lanes.
    in_place: bool,
}

const AVX2: Vectors = Vectors {
    first: Register::YMM0,
    count: 16,
    lanes: 8,
    xor: Code::VEX_Vxorps_ymm_ymm_ymmm256,
    load: Code::VEX_Vmovups_ymm_ymmm256,
    store: Code::VEX_Vmovups_ymmm256_ymm,
    extend: Code::VEX_Vpmovzxwd_ymm_xmmm128,
    shift_left: Code::VEX_Vpslld_ymm_ymm_imm8,
    and: Code::VEX_Vpand_ymm_ymm_ymmm256,
    convert_f16: Code::VEX_Vcvtph2ps_ymm_xmmm128,
    broadcast: Code::VEX_Vbroadcastss_ymm_m32,
    fma: Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    pairs: None,
    in_place: false,
};

const AVX512: Vectors = Vectors {
    first: Register::ZMM0,
    count: 32,
    lanes: 16,
    xor: Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
    load: Code::EVEX_Vmovups_zmm_k1z_zmmm512,
    store: Code::EVEX_Vmovups_zmmm512_k1z_zmm,
    extend: Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256,
    shift_left: Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
    and: Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
    convert_f16: Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae,
    broadcast: Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
    fma: Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    pairs: Some(Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32),
    in_place: true,
};

/// Assembles the wide tile `tile`.
///
/// # Errors
/// The assembler's, for a description with an instruction that does not exist.
pub(super) fn assemble(tile: &TileSpec) -> Result<Assembled, IcedError> {
    let vectors = match tile.family {
        TileFamily::Clif | TileFamily::Avx2 => &AVX2,
        TileFamily::Avx512 | TileFamily::Avx512Bf16 | TileFamily::Amx => &AVX512,
    };
    let product = match (tile.operands.row, vectors.pairs) {
        (DType::Bf16, Some(pairs)) => pairs,
        _ => vectors.fma,
    };
    let mut assembler = TileAssembler { asm: CodeAssembler::new(64)?, vectors, product, tile };
    assembler.body()?;
    Assembled::new(assembler.asm)
}

struct TileAssembler<'t> {
    asm: CodeAssembler,
    vectors: &'t Vectors,
    /// What adds to a sum.
    product: Code,
    tile: &'t TileSpec,
}

impl TileAssembler<'_> {
    fn body(&mut self) -> Result<(), IcedError> {
        let rows = &ROWS[..self.tile.rows];
        let mut saved = rows.get(FREE_ROWS..).unwrap_or_default().to_vec();
        saved.push(AHEAD_STEP);
        for &register in &saved {
            self.asm.push(register)?;
        }
        self.asm.push(ARGS)?;
        self.asm.mov(AT, ARGS + offset_of!(TileArgs, rows))?;
        for (r, &row) in rows.iter().enumerate() {
            self.asm.mov(row, AT + 8 * r)?;
        }
        self.asm.mov(AT, ARGS + offset_of!(TileArgs, depth))?;
        self.asm.shl(AT, self.tile.operands.row.bytes().ilog2())?;
        for &row in rows {
            self.asm.add(row, AT)?;
        }
        self.asm.neg(AT)?;
        self.asm.mov(PANEL, ARGS + offset_of!(TileArgs, panel))?;
        self.asm.mov(AHEAD_STEP, ARGS + offset_of!(TileArgs, ahead_step))?;
        self.asm.mov(AHEAD, ARGS + offset_of!(TileArgs, ahead))?;
        for sum in 0..self.sums() {
            let sum = self.vector(sum);
            self.asm.add_instruction(Instruction::with3(self.vectors.xor, sum, sum, sum)?)?;
        }
        if self.halves() == 2 {
            // Below the stack pointer 128 bytes belong to whoever calls nothing.
            self.asm.mov(dword_ptr(rsp - 4), UPPER_HALF)?;
            let mask = self.vector(self.sums() + self.across() * self.words() + 1);
            let from = MemoryOperand::with_base_displ_size(Register::RSP, -4, 1);
            self.asm.add_instruction(Instruction::with2(self.vectors.broadcast, mask, from)?)?;
        }
        self.rounds(self.unroll())?;
        self.rounds(1)?;
        self.asm.pop(ARGS)?;
        self.store_sums()?;
        self.asm.vzeroupper()?;
        for &register in saved.iter().rev() {
            self.asm.pop(register)?;
        }
        self.asm.ret()
    }

    /// Rounds of `steps` while so many are left.
    fn rounds(&mut self, steps: i32) -> Result<(), IcedError> {
        let [mut round, mut done]: [CodeLabel; 2] = [self.asm.create_label(), self.asm.create_label()];
        let bytes = steps * self.step_of_row();
        self.asm.cmp(AT, -bytes)?;
        self.asm.jg(done)?;
        self.asm.set_label(&mut round)?;
        for step in 0..steps {
            self.step(step)?;
        }
        self.asm.add(PANEL, steps * self.step_of_panel())?;
        self.asm.add(AT, bytes)?;
        self.asm.cmp(AT, -bytes)?;
        self.asm.jle(round)?;
        self.asm.set_label(&mut done)
    }

    /// One `k`, or one pair of them, `step` steps from where the registers point.
    fn step(&mut self, step: i32) -> Result<(), IcedError> {
        for half in 0..self.halves() {
            for v in 0..self.across() {
                self.load_columns(v, step, half)?;
            }
            if half == 0 && self.fetches_ahead() {
                for line in 0..(self.step_of_panel() / LINE).max(1) {
                    self.asm.prefetcht1(byte_ptr(AHEAD + LINE * line))?;
                }
                self.asm.add(AHEAD, AHEAD_STEP)?;
            }
            self.products(step, half)?;
        }
        Ok(())
    }

    /// The products of half a step with the columns that are loaded.
    fn products(&mut self, step: i32, half: i32) -> Result<(), IcedError> {
        let across = self.across();
        let kept = self.vector(self.sums() + across * self.words());
        for (r, row) in ROWS[..self.tile.rows].iter().enumerate() {
            let a = i64::from(self.step_of_row() * step + FLOAT * half);
            let in_place = self.reads_in_place();
            let a = MemoryOperand::new((*row).into(), AT.into(), 1, a, 1, in_place, Register::None);
            if !in_place {
                self.asm.add_instruction(Instruction::with2(self.vectors.broadcast, kept, a)?)?;
            }
            for v in 0..across {
                let (sum, b) = (self.vector(r * across + v), self.columns(v, half));
                self.asm.add_instruction(match in_place {
                    true => Instruction::with3(self.product, sum, b, a)?,
                    false => Instruction::with3(self.product, sum, b, kept)?,
                })?;
            }
        }
        Ok(())
    }

    /// Where vector `v` of half a step is, as f32 or as pairs.
    fn columns(&self, v: usize, half: i32) -> Register {
        let first = if half == 0 { self.sums() } else { self.sums() + self.across() * (self.words() - 1) };
        self.vector(first + v)
    }

    /// Loads vector `v` of half a step, and widens it.
    fn load_columns(&mut self, v: usize, step: i32, half: i32) -> Result<(), IcedError> {
        let bytes = i64::from(self.step_of_panel()) * v as i64 / self.across() as i64;
        let from = i64::from(step * self.step_of_panel()) + bytes;
        let from = MemoryOperand::with_base_displ_size(PANEL.into(), from, 1);
        let to = self.columns(v, half);
        let Vectors { load, extend, shift_left, and, convert_f16, .. } = *self.vectors;
        if self.halves() == 1 {
            let extends = self.tile.operands.element == DType::Bf16 && self.tile.operands.widens();
            let code = match self.tile.operands.element {
                DType::Bf16 if extends => extend,
                DType::F16 => convert_f16,
                _ => load,
            };
            self.asm.add_instruction(Instruction::with2(code, to, from)?)?;
            if extends {
                self.asm.add_instruction(Instruction::with3(shift_left, to, to, 16)?)?;
            }
            return Ok(());
        }
        let mask = self.vector(self.sums() + self.across() * self.words() + 1);
        if half == 1 {
            // The words are there still if there are registers for them, else in the cache.
            let code = match self.words() {
                2 => Instruction::with3(and, to, to, mask)?,
                _ => Instruction::with3(and, to, mask, from)?,
            };
            return self.asm.add_instruction(code);
        }
        if self.reads_in_place() {
            return self.asm.add_instruction(Instruction::with3(shift_left, to, from, 16)?);
        }
        let words = self.columns(v, 1);
        self.asm.add_instruction(Instruction::with2(load, words, from)?)?;
        self.asm.add_instruction(Instruction::with3(shift_left, to, words, 16)?)
    }

    fn store_sums(&mut self) -> Result<(), IcedError> {
        let (out, stride) = (AT, PANEL);
        self.asm.mov(out, ARGS + offset_of!(TileArgs, out))?;
        self.asm.mov(stride, ARGS + offset_of!(TileArgs, out_stride))?;
        for r in 0..self.tile.rows {
            if r > 0 {
                self.asm.add(out, stride)?;
            }
            for v in 0..self.across() {
                let place = (v * self.vectors.lanes) as i64 * i64::from(FLOAT);
                let place = MemoryOperand::with_base_displ_size(out.into(), place, 1);
                let sum = self.vector(r * self.across() + v);
                self.asm.add_instruction(Instruction::with2(self.vectors.store, place, sum)?)?;
            }
        }
        Ok(())
    }

    /// Vectors across the panel.
    fn across(&self) -> usize {
        self.tile.family.columns() / self.vectors.lanes
    }

    /// Registers for sums.
    fn sums(&self) -> usize {
        self.tile.rows * self.across()
    }

    /// Parts of a step, each of which takes an f32 from every row, or a pair: 2 where words of the panel
    /// are widened to two f32.
    fn halves(&self) -> i32 {
        if self.tile.operands.widens() { self.tile.operands.interleave as i32 } else { 1 }
    }

    /// Whether it looks at [`TileArgs::ahead`].
    fn fetches_ahead(&self) -> bool {
        self.tile.rows > 1 || self.tile.family.lead() > 0
    }

    /// Whether what is widened or broadcast is read from memory each time it is wanted, by the instruction that
    /// wants it.
    fn reads_in_place(&self) -> bool {
        self.tile.rows <= IN_PLACE_ROWS && self.halves() == 2 && self.vectors.in_place
    }

    /// Registers for each vector of columns: 2 if words are kept while their first half is used.
    fn words(&self) -> usize {
        let both = self.sums() + 2 * self.across() + 2 <= self.vectors.count;
        if self.halves() == 2 && both && !self.reads_in_place() { 2 } else { 1 }
    }

    /// Steps in a round of the main loop: about 48 products.
    fn unroll(&self) -> i32 {
        (48 / (self.sums() as i32 * self.halves())).clamp(2, 8)
    }

    /// Bytes of a row that one step reads.
    fn step_of_row(&self) -> i32 {
        FLOAT * self.halves()
    }

    /// Bytes of the panel that one step reads.
    fn step_of_panel(&self) -> i32 {
        let TileOperands { element, interleave, .. } = self.tile.operands;
        (self.tile.family.columns() * element.bytes()) as i32 * interleave as i32
    }

    /// Vector register number `n`.
    fn vector(&self, n: usize) -> Register {
        debug_assert!(n < self.vectors.count, "a tile that does not fit the registers");
        self.vectors.first + n as u32
    }
}
