//! `erf`: an odd polynomial near zero, `1 - exp(polynomial)` elsewhere.

use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;

use crate::LaneEmitter;

impl LaneEmitter<'_, '_> {
    /// The error function; odd, so `-0` stays `-0`.
    pub fn erf(&mut self, x: Value) -> Value {
        let a = self.abs(x);
        // From 4 on the nearest f32 is 1.
        let t = self.at_most(a, 4.0);
        let square = self.mul(t, t);
        // |x| < 475/512: t + t p(t^2)
        let p = self.horner(
            square,
            &[
                -5.967_617e-4,
                4.991_194_2e-3,
                -2.676_813_5e-2,
                1.128_199_25e-1,
                -3.761_253_4e-1,
                1.283_791_7e-1,
            ],
        );
        let near = self.mul_add(p, t, t);
        // else 1 - exp(-t - t q(t))
        let low = self.horner(t, &[-1.728_534_7e-5, 3.831_972e-4]);
        let high = self.horner(t, &[-3.883_964_4e-3, 2.425_462_2e-2]);
        let mut q = self.mul_add(low, square, high);
        for coefficient in [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
            let coefficient = self.float(coefficient);
            q = self.mul_add(q, t, coefficient);
        }
        let minus_t = self.neg(t);
        let exponent = self.mul_add(q, t, minus_t);
        let power = self.exp(exponent);
        let one = self.float(1.0);
        let far = self.sub(one, power);
        let border = self.float(0.927_734_4);
        let is_near = self.compare(FloatCC::LessThan, t, border);
        let magnitude = self.select(is_near, near, far);
        self.with_sign_of(magnitude, x)
    }
}
