//! `exp` and `exp2`: reduction by powers of two, then a polynomial on [-ln2/2, ln2/2].

use cranelift_codegen::ir::{InstBuilder, Value};

use super::{LN2_HIGH, LN2_LOW};
use crate::LaneEmitter;

/// 1.5 * 2^23: adding it rounds to an integer, which then is in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Above this the result is infinite, and the reduction stays within range.
const LARGEST: f32 = 89.0;
/// Below this the result is less than half of the smallest subnormal.
const SMALLEST: f32 = -104.0;

/// As [`LARGEST`], for powers of two.
const LARGEST_2: f32 = 129.0;
/// As [`SMALLEST`], for powers of two.
const SMALLEST_2: f32 = -151.0;

impl LaneEmitter<'_, '_> {
    /// e to the power of `x`. Overflows to infinity, underflows gradually.
    pub fn exp(&mut self, x: Value) -> Value {
        let x = self.at_most(x, LARGEST);
        let x = self.at_least(x, SMALLEST);
        // n = round(x / ln 2), r = x - n ln 2.
        let (inverse, round) = (self.float(std::f32::consts::LOG2_E), self.float(ROUND));
        let shifted = self.mul_add(x, inverse, round);
        let n = self.sub(shifted, round);
        let high = self.float(-LN2_HIGH);
        let low = self.float(-LN2_LOW);
        let r = self.mul_add(n, high, x);
        let r = self.mul_add(n, low, r);
        self.scaled_exp(r, shifted)
    }

    /// 2 to the power of `x`. Overflows to infinity, underflows gradually. Exact for integers: the
    /// polynomial of 0 is 1.
    pub fn exp2(&mut self, x: Value) -> Value {
        let x = self.at_most(x, LARGEST_2);
        let x = self.at_least(x, SMALLEST_2);
        let round = self.float(ROUND);
        let shifted = self.add(x, round);
        let n = self.sub(shifted, round);
        let rest = self.sub(x, n);
        let ln2 = self.float(std::f32::consts::LN_2);
        let r = self.mul(rest, ln2);
        self.scaled_exp(r, shifted)
    }

    /// `exp(r) * 2^n` for r in [-ln2/2, ln2/2], where `shifted` is n + [`ROUND`].
    fn scaled_exp(&mut self, r: Value, shifted: Value) -> Value {
        // exp(r) = 1 + r + r^2 q(r)
        let q = self
            .horner(r, &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
        let square = self.mul(r, r);
        let tail = self.mul_add(q, square, r);
        let one = self.float(1.0);
        let fraction = self.add(tail, one);
        // Times 2^n in two steps, so that neither factor leaves the range of normal numbers and a
        // subnormal result is rounded once.
        let bits = self.to_bits(shifted);
        let bias = self.int(ROUND.to_bits());
        let n = self.builder.ins().isub(bits, bias);
        let half = self.shift_right_signed(n, 1);
        let rest = self.builder.ins().isub(n, half);
        let first = self.power_of_two(half);
        let second = self.power_of_two(rest);
        let scaled = self.mul(fraction, first);
        self.mul(scaled, second)
    }

    /// 2^n for integers n in -126..=127.
    fn power_of_two(&mut self, n: Value) -> Value {
        let bias = self.int(127);
        let exponent = self.builder.ins().iadd(n, bias);
        let bits = self.shift_left(exponent, 23);
        self.from_bits(bits)
    }
}
