//! Element-wise code, written once for one lane and for four.
//!
//! [`LaneEmitter`] emits the same sequence of operations on `f32`/`i32` or on `f32x4`/`i32x4`, so
//! that a loop's vector body and its scalar remainder give the same bits for the same element
//! (NaN payloads excepted: a NaN is a NaN). It knows lanes and storage formats, not what they mean:
//! functions of the mathematics are in `math/`, tensors and loops elsewhere.
//!
//! Every operation used here compiles on x86-64 from SSE2 upwards and on aarch64 without a call.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I8, I8X16, I16, I32, I32X4, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use moec_ir::DType;

/// How many elements one value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// One element in a scalar register.
    Scalar,
    /// Four consecutive elements in a 128-bit register.
    X4,
}

impl Lanes {
    /// Elements per value.
    pub fn count(self) -> usize {
        match self {
            Lanes::Scalar => 1,
            Lanes::X4 => 4,
        }
    }

    /// The Cranelift type of a value of floats.
    pub fn f32(self) -> Type {
        match self {
            Lanes::Scalar => F32,
            Lanes::X4 => F32X4,
        }
    }

    /// The Cranelift type of a value of integers.
    pub fn i32(self) -> Type {
        match self {
            Lanes::Scalar => I32,
            Lanes::X4 => I32X4,
        }
    }
}

/// A truth value per lane. One lane: an `i8` that is 0 or 1; four lanes: an `i32x4` of zeros and
/// all-ones.
#[derive(Debug, Clone, Copy)]
pub struct Mask(Value);

/// Emits element-wise operations for one width into a function under construction.
pub struct LaneEmitter<'a, 'f> {
    /// The function under construction.
    pub builder: &'a mut FunctionBuilder<'f>,
    lanes: Lanes,
    fma: bool,
}

impl<'a, 'f> LaneEmitter<'a, 'f> {
    /// `fma` is [`Target::fma`](crate::Target::fma).
    pub fn new(builder: &'a mut FunctionBuilder<'f>, lanes: Lanes, fma: bool) -> Self {
        LaneEmitter { builder, lanes, fma }
    }

    /// The width.
    pub fn lanes(&self) -> Lanes {
        self.lanes
    }

    /// The constant `value` in every lane.
    pub fn float(&mut self, value: f32) -> Value {
        match self.lanes {
            Lanes::Scalar => self.builder.ins().f32const(value),
            Lanes::X4 => self.constant(F32X4, value.to_bits()),
        }
    }

    /// The constant `value` in every lane; a pattern of bits as well as a number.
    pub fn int(&mut self, value: u32) -> Value {
        match self.lanes {
            Lanes::Scalar => self.builder.ins().iconst(I32, i64::from(value)),
            Lanes::X4 => self.constant(I32X4, value),
        }
    }

    /// A vector constant is one load from beside the code; a splat would be three instructions.
    fn constant(&mut self, ty: Type, bits: u32) -> Value {
        let bytes: Vec<u8> = [bits; 4].iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let constant = self.builder.func.dfg.constants.insert(ConstantData::from(bytes));
        self.builder.ins().vconst(ty, constant)
    }

    /// The scalar `f32` or `i32` value `scalar` in every lane.
    pub fn splat(&mut self, scalar: Value) -> Value {
        match (self.lanes, self.builder.func.dfg.value_type(scalar)) {
            (Lanes::Scalar, _) => scalar,
            (Lanes::X4, F32) => self.builder.ins().splat(F32X4, scalar),
            (Lanes::X4, _) => self.builder.ins().splat(I32X4, scalar),
        }
    }

    /// `a + b` of floats.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fadd(a, b)
    }

    /// `a - b` of floats.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fsub(a, b)
    }

    /// `a * b` of floats.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fmul(a, b)
    }

    /// `a / b` of floats.
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().fdiv(a, b)
    }

    /// `a * b + c` of floats: one rounding where the target has the instruction, two elsewhere.
    pub fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.builder.ins().fma(a, b, c);
        }
        let product = self.builder.ins().fmul(a, b);
        self.builder.ins().fadd(product, c)
    }

    /// The polynomial `c[0] x^(n-1) + .. + c[n-1]` by Horner's rule.
    pub fn horner(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut sum = self.float(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            let coefficient = self.float(coefficient);
            sum = self.mul_add(sum, x, coefficient);
        }
        sum
    }

    /// `-x`: the sign bit flipped, of NaN too.
    pub fn neg(&mut self, x: Value) -> Value {
        self.builder.ins().fneg(x)
    }

    /// `|x|`: the sign bit cleared, of NaN too.
    pub fn abs(&mut self, x: Value) -> Value {
        self.builder.ins().fabs(x)
    }

    /// The correctly rounded square root.
    pub fn sqrt(&mut self, x: Value) -> Value {
        self.builder.ins().sqrt(x)
    }

    /// The larger of two floats; NaN if either is NaN. Of `+0` and `-0` it is `b`.
    pub fn maximum(&mut self, a: Value, b: Value) -> Value {
        let a_larger = self.compare(FloatCC::LessThan, b, a);
        let larger = self.select(a_larger, a, b);
        self.or_nan(a, larger)
    }

    /// The smaller of two floats; NaN if either is NaN. Of `+0` and `-0` it is `b`.
    pub fn minimum(&mut self, a: Value, b: Value) -> Value {
        let a_smaller = self.compare(FloatCC::LessThan, a, b);
        let smaller = self.select(a_smaller, a, b);
        self.or_nan(a, smaller)
    }

    /// `x` where it is NaN, else `value`.
    pub fn or_nan(&mut self, x: Value, value: Value) -> Value {
        let nan = self.compare(FloatCC::Unordered, x, x);
        self.select(nan, x, value)
    }

    /// `x` bounded above by `limit`; NaN stays.
    pub fn at_most(&mut self, x: Value, limit: f32) -> Value {
        let limit = self.float(limit);
        let beyond = self.compare(FloatCC::LessThan, limit, x);
        self.select(beyond, limit, x)
    }

    /// `x` bounded below by `limit`; NaN stays.
    pub fn at_least(&mut self, x: Value, limit: f32) -> Value {
        let limit = self.float(limit);
        let beyond = self.compare(FloatCC::LessThan, x, limit);
        self.select(beyond, limit, x)
    }

    /// Compares floats.
    pub fn compare(&mut self, condition: FloatCC, a: Value, b: Value) -> Mask {
        Mask(self.builder.ins().fcmp(condition, a, b))
    }

    /// Compares integers.
    pub fn compare_int(&mut self, condition: IntCC, a: Value, b: Value) -> Mask {
        Mask(self.builder.ins().icmp(condition, a, b))
    }

    /// `yes` where the mask holds, else `no`; both floats or both integers.
    pub fn select(&mut self, mask: Mask, yes: Value, no: Value) -> Value {
        match self.lanes {
            Lanes::Scalar => self.builder.ins().select(mask.0, yes, no),
            Lanes::X4 => {
                let ty = self.builder.func.dfg.value_type(yes);
                let mask = if ty == F32X4 {
                    self.builder.ins().bitcast(F32X4, same_lanes(), mask.0)
                } else {
                    mask.0
                };
                self.builder.ins().bitselect(mask, yes, no)
            }
        }
    }

    /// Both hold.
    pub fn both(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.builder.ins().band(a.0, b.0))
    }

    /// At least one holds.
    pub fn either(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.builder.ins().bor(a.0, b.0))
    }

    /// Exactly one holds.
    pub fn differ(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.builder.ins().bxor(a.0, b.0))
    }

    /// It does not hold.
    pub fn not(&mut self, mask: Mask) -> Mask {
        match self.lanes {
            Lanes::Scalar => Mask(self.builder.ins().bxor_imm_u(mask.0, 1)),
            Lanes::X4 => Mask(self.builder.ins().bnot(mask.0)),
        }
    }

    /// The mask that holds everywhere or nowhere.
    pub fn constant_mask(&mut self, holds: bool) -> Mask {
        match self.lanes {
            Lanes::Scalar => Mask(self.builder.ins().iconst(I8, i64::from(holds))),
            Lanes::X4 => Mask(self.int(if holds { u32::MAX } else { 0 })),
        }
    }

    /// Integers shifted left by `count` bits.
    pub fn shift_left(&mut self, x: Value, count: u8) -> Value {
        let count = self.builder.ins().iconst(I32, i64::from(count));
        self.builder.ins().ishl(x, count)
    }

    /// Integers shifted right by `count` bits, filled with zeros.
    pub fn shift_right(&mut self, x: Value, count: u8) -> Value {
        let count = self.builder.ins().iconst(I32, i64::from(count));
        self.builder.ins().ushr(x, count)
    }

    /// Integers shifted right by `count` bits, filled with the sign.
    pub fn shift_right_signed(&mut self, x: Value, count: u8) -> Value {
        let count = self.builder.ins().iconst(I32, i64::from(count));
        self.builder.ins().sshr(x, count)
    }

    /// The bits of floats as integers.
    pub fn to_bits(&mut self, x: Value) -> Value {
        let ty = self.lanes.i32();
        self.builder.ins().bitcast(ty, same_lanes(), x)
    }

    /// Integers read as the bits of floats.
    pub fn from_bits(&mut self, x: Value) -> Value {
        let ty = self.lanes.f32();
        self.builder.ins().bitcast(ty, same_lanes(), x)
    }

    /// Integers as floats, rounded to nearest even.
    pub fn int_to_float(&mut self, x: Value) -> Value {
        let ty = self.lanes.f32();
        self.builder.ins().fcvt_from_sint(ty, x)
    }

    /// Floats as integers: rounded toward zero, saturating, NaN to 0 (Rust's `as i32`).
    pub fn float_to_int(&mut self, x: Value) -> Value {
        let ty = self.lanes.i32();
        self.builder.ins().fcvt_to_sint_sat(ty, x)
    }

    /// The quotients of integers rounded down, wrapping; 0 where `y` is 0.
    pub fn floor_div(&mut self, x: Value, y: Value) -> Value {
        let zero = self.int(0);
        let by_zero = self.compare_int(IntCC::Equal, y, zero);
        // The two divisors that an instruction may refuse.
        let minus_one = self.int(u32::MAX);
        let turns = self.compare_int(IntCC::Equal, y, minus_one);
        let one = self.int(1);
        let refused = self.either(by_zero, turns);
        let divisor = self.select(refused, one, y);
        let quotient = self.quotient(x, divisor);
        let product = self.builder.ins().imul(quotient, divisor);
        let rest = self.builder.ins().isub(x, product);
        let inexact = self.compare_int(IntCC::NotEqual, rest, zero);
        let signs = self.builder.ins().bxor(x, divisor);
        let differ = self.compare_int(IntCC::SignedLessThan, signs, zero);
        let above = self.both(inexact, differ);
        let below = self.builder.ins().isub(quotient, one);
        let quotient = self.select(above, below, quotient);
        let opposite = self.builder.ins().ineg(x);
        let quotient = self.select(turns, opposite, quotient);
        self.select(by_zero, zero, quotient)
    }

    /// What [`floor_div`](Self::floor_div) leaves; `x` where `y` is 0.
    pub fn modulo(&mut self, x: Value, y: Value) -> Value {
        let quotient = self.floor_div(x, y);
        let product = self.builder.ins().imul(quotient, y);
        self.builder.ins().isub(x, product)
    }

    /// Quotients of integers rounded towards zero, lane by lane: machines have no vector form.
    fn quotient(&mut self, x: Value, y: Value) -> Value {
        let (xs, ys) = (self.split(x), self.split(y));
        let quotients: Vec<Value> =
            xs.into_iter().zip(ys).map(|(x, y)| self.builder.ins().sdiv(x, y)).collect();
        let mut all = self.splat(quotients[0]);
        for (lane, &quotient) in quotients.iter().enumerate().skip(1) {
            all = self.builder.ins().insertlane(all, quotient, lane as u8);
        }
        all
    }

    /// 1.0 where the mask holds, else 0.0.
    pub fn mask_to_float(&mut self, mask: Mask) -> Value {
        let (one, zero) = (self.float(1.0), self.float(0.0));
        self.select(mask, one, zero)
    }

    /// 1 where the mask holds, else 0.
    pub fn mask_to_int(&mut self, mask: Mask) -> Value {
        let (one, zero) = (self.int(1), self.int(0));
        self.select(mask, one, zero)
    }

    /// The values of four-lane `x` in lane order; of one lane, `x` itself.
    pub fn split(&mut self, x: Value) -> Vec<Value> {
        match self.lanes {
            Lanes::Scalar => vec![x],
            Lanes::X4 => (0..4u8).map(|lane| self.builder.ins().extractlane(x, lane)).collect(),
        }
    }

    /// Loads consecutive elements from `pointer + offset` (bytes, any alignment of the element
    /// itself): floats widened to `f32`, integers to `i32`.
    ///
    /// # Panics
    /// On [`DType::Bool`], which is loaded by [`load_mask`](Self::load_mask).
    pub fn load(&mut self, dtype: DType, pointer: Value, offset: i32) -> Value {
        match dtype {
            DType::F32 => {
                let ty = self.lanes.f32();
                self.builder.ins().load(ty, memory(), pointer, offset)
            }
            DType::I32 => {
                let ty = self.lanes.i32();
                self.builder.ins().load(ty, memory(), pointer, offset)
            }
            DType::Bf16 => {
                let half = self.load_halves(pointer, offset);
                self.bf16_to_f32(half)
            }
            DType::F16 => {
                let half = self.load_halves(pointer, offset);
                self.f16_to_f32(half)
            }
            DType::U8 => self.load_bytes(pointer, offset),
            DType::Bool => unreachable!("booleans are loaded as masks"),
        }
    }

    /// Loads pairs of bf16, one for each lane, and widens element `half`, 0 or 1, of each.
    pub fn load_half_of_pair(&mut self, half: usize, pointer: Value, offset: i32) -> Value {
        let words = self.load(DType::I32, pointer, offset);
        if half == 0 {
            return self.bf16_to_f32(words);
        }
        let upper = self.int(0xffff_0000);
        let bits = self.builder.ins().band(words, upper);
        self.from_bits(bits)
    }

    /// Stores what [`load`](Self::load) gives: `f32` values are rounded to the storage format;
    /// integers must lie in its range.
    ///
    /// # Panics
    /// On [`DType::Bool`], which is stored by [`store_mask`](Self::store_mask).
    pub fn store(&mut self, dtype: DType, value: Value, pointer: Value, offset: i32) {
        match dtype {
            DType::F32 | DType::I32 => {
                self.builder.ins().store(memory(), value, pointer, offset);
            }
            DType::Bf16 => {
                let half = self.f32_to_bf16(value);
                self.store_halves(half, pointer, offset);
            }
            DType::F16 => {
                let half = self.f32_to_f16(value);
                self.store_halves(half, pointer, offset);
            }
            DType::U8 => self.store_bytes(value, pointer, offset),
            DType::Bool => unreachable!("booleans are stored as masks"),
        }
    }

    /// Loads booleans, one byte each; any byte but 0 holds.
    pub fn load_mask(&mut self, pointer: Value, offset: i32) -> Mask {
        match self.lanes {
            Lanes::Scalar => {
                let byte = self.builder.ins().load(I8, memory(), pointer, offset);
                Mask(self.builder.ins().icmp_imm_u(IntCC::NotEqual, byte, 0))
            }
            Lanes::X4 => {
                let words = self.load_bytes(pointer, offset);
                let zero = self.int(0);
                Mask(self.builder.ins().icmp(IntCC::NotEqual, words, zero))
            }
        }
    }

    /// Stores booleans as bytes 0 and 1.
    pub fn store_mask(&mut self, mask: Mask, pointer: Value, offset: i32) {
        match self.lanes {
            Lanes::Scalar => {
                self.builder.ins().store(memory(), mask.0, pointer, offset);
            }
            Lanes::X4 => {
                let ones = self.mask_to_int(mask);
                self.store_bytes(ones, pointer, offset);
            }
        }
    }

    /// Bytes, zero-extended to the integer lanes.
    fn load_bytes(&mut self, pointer: Value, offset: i32) -> Value {
        match self.lanes {
            Lanes::Scalar => self.builder.ins().uload8(I32, memory(), pointer, offset),
            Lanes::X4 => {
                let bytes = self.builder.ins().load(I32, memory(), pointer, offset);
                let bytes = self.builder.ins().scalar_to_vector(I32X4, bytes);
                let bytes = self.builder.ins().bitcast(I8X16, other_lanes(), bytes);
                let halves = self.builder.ins().uwiden_low(bytes);
                self.builder.ins().uwiden_low(halves)
            }
        }
    }

    /// Stores integer lanes of 0 to 255 as bytes.
    fn store_bytes(&mut self, words: Value, pointer: Value, offset: i32) {
        let bytes = match self.lanes {
            Lanes::Scalar => self.builder.ins().ireduce(I8, words),
            Lanes::X4 => {
                let halves = self.builder.ins().snarrow(words, words);
                let bytes = self.builder.ins().unarrow(halves, halves);
                let word = self.builder.ins().bitcast(I32X4, other_lanes(), bytes);
                self.builder.ins().extractlane(word, 0u8)
            }
        };
        self.builder.ins().store(memory(), bytes, pointer, offset);
    }

    /// 16-bit patterns, zero-extended to the integer lanes.
    fn load_halves(&mut self, pointer: Value, offset: i32) -> Value {
        match self.lanes {
            Lanes::Scalar => self.builder.ins().uload16(I32, memory(), pointer, offset),
            Lanes::X4 => self.builder.ins().uload16x4(memory(), pointer, offset),
        }
    }

    /// Stores integer lanes below 65536 as 16-bit patterns.
    fn store_halves(&mut self, halves: Value, pointer: Value, offset: i32) {
        let packed = match self.lanes {
            Lanes::Scalar => self.builder.ins().ireduce(I16, halves),
            Lanes::X4 => {
                let packed = self.builder.ins().unarrow(halves, halves);
                let packed = self.builder.ins().bitcast(I64X2, other_lanes(), packed);
                self.builder.ins().extractlane(packed, 0u8)
            }
        };
        self.builder.ins().store(memory(), packed, pointer, offset);
    }
}

/// Accesses of tensor data: the buffers' bounds are the plan's promise, their alignment is the
/// element's only.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn same_lanes() -> MemFlagsData {
    MemFlagsData::new()
}

/// Casts between lane counts have to name the order of lanes in memory.
fn other_lanes() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

#[cfg(test)]
mod tests;
