//! The activations of neural networks, on top of `exp`, `log` and `erf`.

use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;

use crate::LaneEmitter;

impl LaneEmitter<'_, '_> {
    /// `1 / sqrt(x)`, by division: two roundings.
    pub fn rsqrt(&mut self, x: Value) -> Value {
        let root = self.sqrt(x);
        let one = self.float(1.0);
        self.div(one, root)
    }

    /// `1 / (1 + exp(-x))`; small results keep their precision.
    pub fn sigmoid(&mut self, x: Value) -> Value {
        // With e = exp(-|x|) <= 1 nothing overflows: 1 / (1 + e) on the right, e / (1 + e) left.
        let power = self.exp_minus_abs(x);
        let (one, zero) = (self.float(1.0), self.float(0.0));
        let left = self.compare(FloatCC::LessThan, x, zero);
        let numerator = self.select(left, power, one);
        let denominator = self.add(power, one);
        self.div(numerator, denominator)
    }

    /// `x * sigmoid(x)`; NaN at -inf, where it is `-inf * 0`.
    pub fn silu(&mut self, x: Value) -> Value {
        let gate = self.sigmoid(x);
        self.mul(x, gate)
    }

    /// `log(1 + exp(x))`, as `max(x, 0) + log1p(exp(-|x|))`.
    pub fn softplus(&mut self, x: Value) -> Value {
        let power = self.exp_minus_abs(x);
        let tail = self.log1p_unit(power);
        let zero = self.float(0.0);
        let positive = self.maximum(x, zero);
        self.add(positive, tail)
    }

    /// `x / 2 * (1 + erf(x / sqrt 2))`. The error is relative to `x`, not to the result: far left
    /// the sum cancels, as it does in the definition.
    pub fn gelu(&mut self, x: Value) -> Value {
        let scale = self.float(std::f32::consts::FRAC_1_SQRT_2);
        let scaled = self.mul(x, scale);
        let erf = self.erf(scaled);
        let (half, one) = (self.float(0.5), self.float(1.0));
        let half = self.mul(x, half);
        let sum = self.add(erf, one);
        self.mul(half, sum)
    }

    /// `x / 2 * (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, as the equal
    /// `x * sigmoid(2 u)`, which keeps the precision of small results.
    pub fn gelu_tanh(&mut self, x: Value) -> Value {
        // 2 sqrt(2 / pi), and 0.044715 times that.
        let (linear, cubic) = (self.float(1.595_769), self.float(0.071_354_814));
        let square = self.mul(x, x);
        let factor = self.mul_add(square, cubic, linear);
        let u = self.mul(x, factor);
        let gate = self.sigmoid(u);
        self.mul(x, gate)
    }

    /// `max(x, 0)`; NaN stays.
    pub fn relu(&mut self, x: Value) -> Value {
        let zero = self.float(0.0);
        self.maximum(x, zero)
    }

    fn exp_minus_abs(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        let minus = self.neg(a);
        self.exp(minus)
    }
}
