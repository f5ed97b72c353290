//! `tanh`: an odd polynomial near zero, exponentials elsewhere.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::LaneEmitter;

impl LaneEmitter<'_, '_> {
    /// The hyperbolic tangent; odd, so `-0` stays `-0`.
    pub fn tanh(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        // |x| < 5/8: a + a^3 p(a^2)
        let square = self.mul(a, a);
        let p = self
            .horner(square, &[-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1]);
        let p = self.mul(p, square);
        let near = self.mul_add(p, a, a);
        // else 1 - 2 / (exp(2a) + 1)
        let (one, two) = (self.float(1.0), self.float(2.0));
        let doubled = self.add(a, a);
        let power = self.exp(doubled);
        let denominator = self.add(power, one);
        let rest = self.div(two, denominator);
        let far = self.sub(one, rest);
        let border = self.float(0.625);
        let is_near = self.compare(FloatCC::LessThan, a, border);
        let magnitude = self.select(is_near, near, far);
        self.with_sign_of(magnitude, x)
    }

    /// The non-negative `magnitude` with the sign of `x`.
    pub(super) fn with_sign_of(&mut self, magnitude: Value, x: Value) -> Value {
        let bits = self.to_bits(x);
        let sign = self.int(0x8000_0000);
        let sign = self.builder.ins().band(bits, sign);
        let magnitude = self.to_bits(magnitude);
        let joined = self.builder.ins().bor(magnitude, sign);
        self.from_bits(joined)
    }
}
