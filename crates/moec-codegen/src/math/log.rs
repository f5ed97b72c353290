//! `log` and `log1p`: the exponent taken off, then a polynomial on [2/3, 4/3].

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::{LN2_HIGH, LN2_LOW};
use crate::LaneEmitter;

impl LaneEmitter<'_, '_> {
    /// The natural logarithm; of 0 it is -inf, of negative numbers NaN.
    pub fn log(&mut self, x: Value) -> Value {
        // Subnormals are scaled by 2^23 first.
        let smallest = self.float(f32::MIN_POSITIVE);
        let scale = self.float(8_388_608.0);
        let tiny = self.compare(FloatCC::LessThan, x, smallest);
        let scaled = self.mul(x, scale);
        let normal = self.select(tiny, scaled, x);
        let (shift, none) = (self.float(-23.0), self.float(0.0));
        let shift = self.select(tiny, shift, none);
        // normal = 2^e * m with m in [2/3, 4/3).
        let bits = self.to_bits(normal);
        let two_thirds = self.int((2.0f32 / 3.0).to_bits());
        let distance = self.builder.ins().isub(bits, two_thirds);
        let e = self.shift_right_signed(distance, 23);
        let exponent_bits = self.shift_left(e, 23);
        let mantissa = self.builder.ins().isub(bits, exponent_bits);
        let mantissa = self.from_bits(mantissa);
        let e = self.int_to_float(e);
        let e = self.add(e, shift);
        // log(1 + f) = f - f^2/2 + f^3 p(f)
        let one = self.float(1.0);
        let f = self.sub(mantissa, one);
        let square = self.mul(f, f);
        let even = self.horner(square, &[-0.130_310_06, -0.121_484_19, -0.166_846_05, -0.249_996_2]);
        let odd = self.horner(square, &[0.140_869_14, 0.139_814_85, 0.200_120_35]);
        let p = self.mul_add(odd, f, even);
        let third = self.float(0.333_331_97);
        let p = self.mul_add(p, f, third);
        let half = self.float(-0.5);
        let p = self.mul_add(p, f, half);
        let low = self.float(LN2_LOW);
        let low = self.mul(e, low);
        let tail = self.mul_add(p, square, low);
        let tail = self.add(tail, f);
        let high = self.float(LN2_HIGH);
        let finite = self.mul_add(e, high, tail);
        // 0, negatives, infinity and NaN.
        let zero = self.float(0.0);
        let infinity = self.float(f32::INFINITY);
        let nan = self.float(f32::NAN);
        let below = self.compare(FloatCC::LessThan, x, infinity);
        let result = self.select(below, finite, x);
        let negative = self.compare(FloatCC::LessThan, x, zero);
        let result = self.select(negative, nan, result);
        let at_zero = self.compare(FloatCC::Equal, x, zero);
        let minus_infinity = self.float(f32::NEG_INFINITY);
        self.select(at_zero, minus_infinity, result)
    }

    /// `log(1 + x)` for `x` in [0, 1], accurate down to the smallest `x`.
    pub(super) fn log1p_unit(&mut self, x: Value) -> Value {
        let one = self.float(1.0);
        let sum = self.add(x, one);
        let kept = self.sub(sum, one);
        let lost = self.sub(x, kept);
        let correction = self.div(lost, sum);
        let log = self.log(sum);
        self.add(log, correction)
    }
}
