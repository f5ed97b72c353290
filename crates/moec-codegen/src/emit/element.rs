//! Element-wise operations on one or four lanes: the op table's meaning in instructions.
//!
//! A 16-bit float is held as the `f32` that it widens to, a byte as the `i32`; converting to it rounds.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::{DType, Number, Op};

use super::context::Cx;
use crate::{Lanes, Mask};

/// The elements of one or four points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datum {
    pub(super) lanes: Lanes,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Number(Value),
    Truth(Mask),
}

impl Datum {
    pub(super) fn number(lanes: Lanes, value: Value) -> Datum {
        Datum { lanes, body: Body::Number(value) }
    }

    pub(super) fn truth(lanes: Lanes, mask: Mask) -> Datum {
        Datum { lanes, body: Body::Truth(mask) }
    }
}

impl Cx<'_, '_> {
    /// The number in a datum; a truth value as `i32` 0 or 1.
    pub(super) fn value(&mut self, datum: Datum) -> Value {
        match datum.body {
            Body::Number(value) => value,
            Body::Truth(mask) => self.lanes(datum.lanes).mask_to_int(mask),
        }
    }

    /// The truth value in a datum; of an `i32` whether it is not zero.
    pub(super) fn mask(&mut self, datum: Datum) -> Mask {
        match datum.body {
            Body::Truth(mask) => mask,
            Body::Number(value) => {
                let mut e = self.lanes(datum.lanes);
                let zero = e.int(0);
                e.compare_int(IntCC::NotEqual, value, zero)
            }
        }
    }

    /// The same elements in `lanes`: one is repeated in four.
    pub(super) fn widened(&mut self, datum: Datum, lanes: Lanes) -> Datum {
        if datum.lanes == lanes {
            return datum;
        }
        let value = self.value(datum);
        let value = self.lanes(lanes).splat(value);
        match datum.body {
            Body::Number(_) => Datum::number(lanes, value),
            Body::Truth(_) => {
                let mask = self.mask(Datum::number(lanes, value));
                Datum::truth(lanes, mask)
            }
        }
    }

    /// A constant of an element type.
    pub(super) fn constant(&mut self, dtype: DType, number: Number) -> Datum {
        let number = number.get();
        let mut e = self.lanes(Lanes::Scalar);
        match dtype {
            DType::Bool => Datum::truth(Lanes::Scalar, e.constant_mask(number != 0.0)),
            DType::I32 | DType::U8 => Datum::number(Lanes::Scalar, e.int(number as i32 as u32)),
            DType::F32 => Datum::number(Lanes::Scalar, e.float(number as f32)),
            DType::Bf16 | DType::F16 => {
                let value = e.float(number as f32);
                self.convert(DType::F32, dtype, Datum::number(Lanes::Scalar, value))
            }
        }
    }

    /// Conversion between element types.
    pub(super) fn convert(&mut self, from: DType, to: DType, x: Datum) -> Datum {
        let lanes = x.lanes;
        match to {
            DType::Bool => {
                if from.is_float() {
                    let value = self.value(x);
                    let mut e = self.lanes(lanes);
                    let zero = e.float(0.0);
                    let mask = e.compare(FloatCC::NotEqual, value, zero);
                    return Datum::truth(lanes, mask);
                }
                let mask = self.mask(x);
                Datum::truth(lanes, mask)
            }
            DType::I32 | DType::U8 => {
                let value = self.value(x);
                let mut e = self.lanes(lanes);
                let value = if from.is_float() { e.float_to_int(value) } else { value };
                if to == DType::I32 || from == DType::U8 || from == DType::Bool {
                    return Datum::number(lanes, value);
                }
                let least = e.int(0);
                let raised = self.integer(Op::Maximum, lanes, &[value, least]);
                let most = self.lanes(lanes).int(u8::MAX.into());
                Datum::number(lanes, self.integer(Op::Minimum, lanes, &[raised, most]))
            }
            DType::F32 | DType::Bf16 | DType::F16 => {
                let value = self.value(x);
                let mut e = self.lanes(lanes);
                let value = if from.is_float() { value } else { e.int_to_float(value) };
                let value = match to {
                    DType::Bf16 if from != to => {
                        let half = e.f32_to_bf16(value);
                        e.bf16_to_f32(half)
                    }
                    DType::F16 if from != to => {
                        let half = e.f32_to_f16(value);
                        e.f16_to_f32(half)
                    }
                    _ => value,
                };
                Datum::number(lanes, value)
            }
        }
    }

    /// What is stored of four lanes of `f32` or `i32` as elements of type `dtype`: themselves, or patterns of
    /// 16 bits in the lower halves of `i32` lanes. `exact` says that such a pattern is all that they hold.
    pub(super) fn pattern(&mut self, dtype: DType, value: Value, exact: bool) -> Value {
        let mut e = self.lanes(Lanes::X4);
        match dtype {
            DType::Bf16 if exact => {
                let bits = e.to_bits(value);
                e.shift_right(bits, 16)
            }
            DType::Bf16 => e.f32_to_bf16(value),
            DType::F16 => e.f32_to_f16(value),
            DType::F32 | DType::I32 | DType::U8 | DType::Bool => value,
        }
    }

    /// The element-wise operation `op` on operands of element type `dtype` (of `select`: that of
    /// the branches) in equally many lanes.
    pub(super) fn apply(&mut self, op: Op, dtype: DType, args: &[Datum]) -> Datum {
        let lanes = args[0].lanes;
        match op {
            Op::And | Op::Or | Op::Not => return self.logic(op, args),
            Op::Select => return self.choose(args),
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => return self.comparison(op, dtype, args),
            _ => {}
        }
        let values: Vec<Value> = args.iter().map(|arg| self.value(*arg)).collect();
        let value = if dtype == DType::I32 {
            self.integer(op, lanes, &values)
        } else {
            self.float(op, lanes, &values)
        };
        Datum::number(lanes, value)
    }

    fn logic(&mut self, op: Op, args: &[Datum]) -> Datum {
        let lanes = args[0].lanes;
        let masks: Vec<Mask> = args.iter().map(|arg| self.mask(*arg)).collect();
        let mut e = self.lanes(lanes);
        let mask = match op {
            Op::And => e.both(masks[0], masks[1]),
            Op::Or => e.either(masks[0], masks[1]),
            _ => e.not(masks[0]),
        };
        Datum::truth(lanes, mask)
    }

    fn choose(&mut self, args: &[Datum]) -> Datum {
        let lanes = args[0].lanes;
        let condition = self.mask(args[0]);
        let truths = matches!(args[1].body, Body::Truth(_));
        let [yes, no] = [args[1], args[2]].map(|arg| self.value(arg));
        let value = self.lanes(lanes).select(condition, yes, no);
        let chosen = Datum::number(lanes, value);
        if truths {
            let mask = self.mask(chosen);
            return Datum::truth(lanes, mask);
        }
        chosen
    }

    fn comparison(&mut self, op: Op, dtype: DType, args: &[Datum]) -> Datum {
        let lanes = args[0].lanes;
        let [x, y] = [args[0], args[1]].map(|arg| self.value(arg));
        let (float, int) = match op {
            Op::Eq => (FloatCC::Equal, IntCC::Equal),
            Op::Ne => (FloatCC::NotEqual, IntCC::NotEqual),
            Op::Lt => (FloatCC::LessThan, IntCC::SignedLessThan),
            Op::Le => (FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual),
            Op::Gt => (FloatCC::GreaterThan, IntCC::SignedGreaterThan),
            _ => (FloatCC::GreaterThanOrEqual, IntCC::SignedGreaterThanOrEqual),
        };
        let mut e = self.lanes(lanes);
        let mask = if dtype.is_float() { e.compare(float, x, y) } else { e.compare_int(int, x, y) };
        Datum::truth(lanes, mask)
    }

    fn float(&mut self, op: Op, lanes: Lanes, x: &[Value]) -> Value {
        let mut e = self.lanes(lanes);
        match op {
            Op::Neg => e.neg(x[0]),
            Op::Abs => e.abs(x[0]),
            Op::Exp => e.exp(x[0]),
            Op::Exp2 => e.exp2(x[0]),
            Op::Log => e.log(x[0]),
            Op::Sqrt => e.sqrt(x[0]),
            Op::Rsqrt => e.rsqrt(x[0]),
            Op::Tanh => e.tanh(x[0]),
            Op::Erf => e.erf(x[0]),
            Op::Sigmoid => e.sigmoid(x[0]),
            Op::Silu => e.silu(x[0]),
            Op::Gelu => e.gelu(x[0]),
            Op::GeluTanh => e.gelu_tanh(x[0]),
            Op::Relu => e.relu(x[0]),
            Op::Softplus => e.softplus(x[0]),
            Op::Add => e.add(x[0], x[1]),
            Op::Sub => e.sub(x[0], x[1]),
            Op::Mul => e.mul(x[0], x[1]),
            Op::Div => e.div(x[0], x[1]),
            Op::Minimum => e.minimum(x[0], x[1]),
            Op::Maximum => e.maximum(x[0], x[1]),
            _ => {
                self.refuse(format!("{op} is not an element-wise operation of floats"));
                x[0]
            }
        }
    }

    /// `floor_div` or `mod` by `2^shift`. Both round down, so they are a shift and a mask for negative
    /// numbers too.
    pub(super) fn by_power_of_two(&mut self, op: Op, x: Datum, shift: u8) -> Datum {
        let lanes = x.lanes;
        let value = self.value(x);
        let mut e = self.lanes(lanes);
        if op == Op::FloorDiv {
            return Datum::number(lanes, e.shift_right_signed(value, shift));
        }
        let mask = e.int((1 << shift) - 1);
        Datum::number(lanes, e.builder.ins().band(value, mask))
    }

    /// Wrapping arithmetic.
    fn integer(&mut self, op: Op, lanes: Lanes, x: &[Value]) -> Value {
        let mut e = self.lanes(lanes);
        match op {
            Op::Neg => e.builder.ins().ineg(x[0]),
            Op::Add => e.builder.ins().iadd(x[0], x[1]),
            Op::Sub => e.builder.ins().isub(x[0], x[1]),
            Op::Mul => e.builder.ins().imul(x[0], x[1]),
            Op::FloorDiv => e.floor_div(x[0], x[1]),
            Op::Mod => e.modulo(x[0], x[1]),
            Op::Abs => {
                let opposite = e.builder.ins().ineg(x[0]);
                let zero = e.int(0);
                let negative = e.compare_int(IntCC::SignedLessThan, x[0], zero);
                e.select(negative, opposite, x[0])
            }
            Op::Relu => {
                let zero = e.int(0);
                let negative = e.compare_int(IntCC::SignedLessThan, x[0], zero);
                e.select(negative, zero, x[0])
            }
            Op::Minimum | Op::Maximum => {
                let less = e.compare_int(IntCC::SignedLessThan, x[0], x[1]);
                let (yes, no) = if op == Op::Minimum { (x[0], x[1]) } else { (x[1], x[0]) };
                e.select(less, yes, no)
            }
            _ => {
                self.refuse(format!("{op} is not an element-wise operation of i32"));
                x[0]
            }
        }
    }
}
