//! From a function of four lanes to steps.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Type, Value};
use iced_x86::Code;

use super::{Operand, Run};

/// What a step takes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// These bits in every lane.
    Constant(u32),
    /// Operand number `n`, which is one for all lanes.
    One(usize),
    /// What step number `n` gave.
    Step(usize),
}

/// What a step does with its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Loads operand number `n`.
    Load(usize),
    /// An instruction with one source.
    Unary(Code),
    /// An instruction with two.
    Binary(Code),
    /// A product of the first two and a sum with the third, rounded once.
    MultiplyAdd,
    /// An instruction with one source and a number of bits.
    Shift(Code, u8),
    /// A comparison by an instruction and its predicate: gives a mask.
    Compare(Code, u8),
    /// An instruction with two masks.
    Masks(Code),
    /// The opposite of a mask.
    Not,
    /// The second source where the mask holds, else the third.
    Select,
}

impl What {
    /// Whether the result is a mask.
    pub(super) fn gives_mask(self) -> bool {
        matches!(self, What::Compare(..) | What::Masks(_) | What::Not)
    }
}

pub(super) struct Step {
    pub(super) what: What,
    pub(super) sources: Vec<Source>,
}

/// Steps in order, and what is stored.
pub(super) struct Line {
    pub(super) steps: Vec<Step>,
    pub(super) result: Source,
}

/// The steps of a function whose blocks follow one another without branches and which returns one value.
/// None if something in it has no wide form.
pub(super) fn steps(function: &Function, run: &Run) -> Option<Line> {
    let mut reader =
        Reader { function, run, sources: SecondaryMap::new(), steps: Vec::new(), loaded: Vec::new() };
    reader.loaded.resize(run.operands.len(), None);
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            match function.dfg.insts[inst].opcode() {
                Opcode::Jump => {}
                Opcode::Return => {
                    let value = *function.dfg.inst_args(inst).first()?;
                    let result = reader.source(value)?;
                    return (!reader.is_mask(result)).then_some(Line { steps: reader.steps, result });
                }
                opcode => reader.read(inst, opcode)?,
            }
        }
    }
    None
}

struct Reader<'f> {
    function: &'f Function,
    run: &'f Run,
    /// What the values read so far are.
    sources: SecondaryMap<Value, Option<Source>>,
    steps: Vec<Step>,
    /// The step that loads an operand.
    loaded: Vec<Option<Source>>,
}

impl Reader<'_> {
    fn read(&mut self, inst: Inst, opcode: Opcode) -> Option<()> {
        let dfg = &self.function.dfg;
        let [result] = dfg.inst_results(inst) else { return None };
        let (result, args) = (*result, dfg.inst_args(inst));
        let float = dfg.value_type(result) == F32X4;
        let ty = dfg.value_type(result);
        let source = match opcode {
            Opcode::F32const | Opcode::Iconst | Opcode::Vconst => constant(self.function, inst, ty)?,
            Opcode::Splat | Opcode::Bitcast => self.source(args[0])?,
            // From here on a value of one lane would be something else.
            _ if ty != F32X4 && ty != I32X4 => return None,
            Opcode::Fadd => self.binary(Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, args)?,
            Opcode::Fsub => self.binary(Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er, args)?,
            Opcode::Fmul => self.binary(Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er, args)?,
            Opcode::Fdiv => self.binary(Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, args)?,
            Opcode::Iadd => self.binary(Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32, args)?,
            Opcode::Isub => self.binary(Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32, args)?,
            Opcode::Imul => self.binary(Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32, args)?,
            Opcode::Fma => {
                let sources = self.vectors(args)?;
                self.step(What::MultiplyAdd, sources)
            }
            Opcode::Sqrt => self.unary(Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, args)?,
            Opcode::FcvtFromSint => self.unary(Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, args)?,
            Opcode::Fneg => self.with_constant(XOR, args[0], 1 << 31)?,
            Opcode::Fabs => self.with_constant(AND, args[0], !(1 << 31))?,
            Opcode::Ineg => {
                let x = self.vectors(args)?[0];
                self.step(
                    What::Binary(Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32),
                    vec![Source::Constant(0), x],
                )
            }
            Opcode::Ishl => self.shift(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, args)?,
            Opcode::Ushr => self.shift(Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, args)?,
            Opcode::Sshr => self.shift(Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8, args)?,
            Opcode::Band => self.bits(AND, Code::VEX_Kandw_kr_kr_kr, args)?,
            Opcode::Bor => self.bits(OR, Code::VEX_Korw_kr_kr_kr, args)?,
            Opcode::Bxor => self.bits(XOR, Code::VEX_Kxorw_kr_kr_kr, args)?,
            Opcode::Bnot => {
                let x = self.source(args[0])?;
                match self.is_mask(x) {
                    true => self.step(What::Not, vec![x]),
                    false => self.with_constant(XOR, args[0], u32::MAX)?,
                }
            }
            Opcode::Fcmp | Opcode::Icmp => {
                let (code, predicate) = comparison(&dfg.insts[inst])?;
                let sources = self.vectors(args)?;
                self.step(What::Compare(code, predicate), sources)
            }
            Opcode::Bitselect => {
                let condition = self.source(args[0])?;
                let branches = self.vectors(&args[1..])?;
                match condition {
                    Source::Constant(u32::MAX) => branches[0],
                    Source::Constant(0) => branches[1],
                    _ if self.is_mask(condition) => {
                        self.step(What::Select, vec![condition, branches[0], branches[1]])
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        // A mask is a vector of integers; only `bitselect` wants it as one of floats, behind a `bitcast`.
        debug_assert!(!float || !self.is_mask(source) || opcode == Opcode::Bitcast);
        self.sources[result] = Some(source);
        Some(())
    }

    /// What a value is: known by now, or a parameter.
    fn source(&mut self, value: Value) -> Option<Source> {
        let value = self.function.dfg.resolve_aliases(value);
        if let Some(source) = self.sources[value] {
            return Some(source);
        }
        let entry = self.function.layout.entry_block()?;
        let n = self.function.dfg.block_params(entry).iter().position(|param| *param == value)?;
        match self.run.operands.get(n)? {
            Operand::One => Some(Source::One(n)),
            Operand::Each(_) => {
                let loaded = self.loaded[n];
                self.loaded[n] = loaded.or_else(|| Some(self.step(What::Load(n), Vec::new())));
                self.loaded[n]
            }
        }
    }

    /// What values are of which none is a mask.
    fn vectors(&mut self, values: &[Value]) -> Option<Vec<Source>> {
        let sources = values.iter().map(|value| self.source(*value)).collect::<Option<Vec<_>>>()?;
        (!sources.iter().any(|source| self.is_mask(*source))).then_some(sources)
    }

    fn is_mask(&self, source: Source) -> bool {
        matches!(source, Source::Step(n) if self.steps[n].what.gives_mask())
    }

    fn step(&mut self, what: What, sources: Vec<Source>) -> Source {
        self.steps.push(Step { what, sources });
        Source::Step(self.steps.len() - 1)
    }

    fn unary(&mut self, code: Code, args: &[Value]) -> Option<Source> {
        let sources = self.vectors(args)?;
        Some(self.step(What::Unary(code), sources))
    }

    fn binary(&mut self, code: Code, args: &[Value]) -> Option<Source> {
        let sources = self.vectors(args)?;
        Some(self.step(What::Binary(code), sources))
    }

    fn with_constant(&mut self, code: Code, x: Value, bits: u32) -> Option<Source> {
        let x = self.vectors(&[x])?[0];
        Some(self.step(What::Binary(code), vec![x, Source::Constant(bits)]))
    }

    /// An operation on bits, of vectors or of masks.
    fn bits(&mut self, vectors: Code, masks: Code, args: &[Value]) -> Option<Source> {
        let sources = [self.source(args[0])?, self.source(args[1])?];
        let what = match sources.map(|source| self.is_mask(source)) {
            [false, false] => What::Binary(vectors),
            [true, true] => What::Masks(masks),
            _ => return None,
        };
        Some(self.step(what, sources.to_vec()))
    }

    fn shift(&mut self, code: Code, args: &[Value]) -> Option<Source> {
        let x = self.vectors(&args[..1])?[0];
        match self.source(args[1])? {
            Source::Constant(count @ 0..32) => Some(self.step(What::Shift(code, count as u8), vec![x])),
            _ => None,
        }
    }
}

const AND: Code = Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
const OR: Code = Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
const XOR: Code = Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;

/// The bits that every lane of a constant has.
fn constant(function: &Function, inst: Inst, ty: Type) -> Option<Source> {
    let bits = match &function.dfg.insts[inst] {
        InstructionData::UnaryIeee32 { imm, .. } if ty == F32 => imm.bits(),
        InstructionData::UnaryImm { imm, .. } if ty == I32 => imm.bits() as u32,
        InstructionData::UnaryConst { constant_handle, .. } if ty == F32X4 || ty == I32X4 => {
            let lanes = function.dfg.constants.get(*constant_handle).as_slice();
            let first: [u8; 4] = lanes.get(..4)?.try_into().ok()?;
            if lanes.chunks(4).any(|lane| lane != first) {
                return None;
            }
            u32::from_le_bytes(first)
        }
        _ => return None,
    };
    Some(Source::Constant(bits))
}

/// The instruction that compares, and its predicate.
fn comparison(data: &InstructionData) -> Option<(Code, u8)> {
    match data {
        InstructionData::FloatCompare { cond, .. } => {
            let predicate = match cond {
                FloatCC::Equal => 0x00,
                FloatCC::LessThan => 0x11,
                FloatCC::LessThanOrEqual => 0x12,
                FloatCC::Unordered => 0x03,
                FloatCC::NotEqual => 0x04,
                FloatCC::Ordered => 0x07,
                FloatCC::GreaterThanOrEqual => 0x1d,
                FloatCC::GreaterThan => 0x1e,
                _ => return None,
            };
            Some((Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, predicate))
        }
        InstructionData::IntCompare { cond, .. } => {
            let signed = Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
            let unsigned = Code::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8;
            Some(match cond {
                IntCC::Equal => (signed, 0),
                IntCC::NotEqual => (signed, 4),
                IntCC::SignedLessThan => (signed, 1),
                IntCC::SignedLessThanOrEqual => (signed, 2),
                IntCC::SignedGreaterThanOrEqual => (signed, 5),
                IntCC::SignedGreaterThan => (signed, 6),
                IntCC::UnsignedLessThan => (unsigned, 1),
                IntCC::UnsignedLessThanOrEqual => (unsigned, 2),
                IntCC::UnsignedGreaterThanOrEqual => (unsigned, 5),
                IntCC::UnsignedGreaterThan => (unsigned, 6),
            })
        }
        _ => None,
    }
}
