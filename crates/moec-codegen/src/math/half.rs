//! The 16-bit floats: exact widening, rounding to nearest even, in integer arithmetic, so that no
//! flush-to-zero mode of the processor changes a value.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use crate::LaneEmitter;

/// The bits of f32 infinity.
const INFINITY: u32 = 0x7f80_0000;

impl LaneEmitter<'_, '_> {
    /// bf16 patterns (integer lanes below 65536) as floats, exactly.
    pub fn bf16_to_f32(&mut self, half: Value) -> Value {
        let bits = self.shift_left(half, 16);
        self.from_bits(bits)
    }

    /// Floats as bf16 patterns, rounded to nearest even; NaN stays NaN.
    pub fn f32_to_bf16(&mut self, x: Value) -> Value {
        let bits = self.to_bits(x);
        let upper = self.shift_right(bits, 16);
        let one = self.int(1);
        let odd = self.builder.ins().band(upper, one);
        let below_half = self.int(0x7fff);
        let increment = self.builder.ins().iadd(odd, below_half);
        let rounded = self.builder.ins().iadd(bits, increment);
        let rounded = self.shift_right(rounded, 16);
        // Rounding could carry a NaN into infinity: it is truncated and made quiet instead.
        let quiet_bit = self.int(0x0040);
        let quiet = self.builder.ins().bor(upper, quiet_bit);
        let magnitude = self.magnitude_bits(bits);
        let infinity = self.int(INFINITY);
        let nan = self.compare_int(IntCC::SignedGreaterThan, magnitude, infinity);
        self.select(nan, quiet, rounded)
    }

    /// binary16 patterns (integer lanes below 65536) as floats, exactly.
    pub fn f16_to_f32(&mut self, half: Value) -> Value {
        let low = self.int(0x7fff);
        let magnitude = self.builder.ins().band(half, low);
        let sign = self.builder.ins().bxor(half, magnitude);
        let sign = self.shift_left(sign, 16);
        // Normal: the exponent moves from bias 15 to 127.
        let shifted = self.shift_left(magnitude, 13);
        let rebias = self.int((127 - 15) << 23);
        let normal = self.builder.ins().iadd(shifted, rebias);
        // Infinity and NaN: exponent 31 becomes 255.
        let special = self.builder.ins().iadd(normal, rebias);
        let largest = self.int(0x7bff);
        let is_special = self.compare_int(IntCC::SignedGreaterThan, magnitude, largest);
        let bits = self.select(is_special, special, normal);
        // Subnormal: an integer times 2^-24, both normal f32.
        let count = self.int_to_float(magnitude);
        let unit = self.float(f32::from_bits((127 - 24) << 23));
        let subnormal = self.mul(count, unit);
        let subnormal = self.to_bits(subnormal);
        let smallest = self.int(0x0400);
        let is_subnormal = self.compare_int(IntCC::SignedLessThan, magnitude, smallest);
        let bits = self.select(is_subnormal, subnormal, bits);
        let bits = self.builder.ins().bor(bits, sign);
        self.from_bits(bits)
    }

    /// Floats as binary16 patterns, rounded to nearest even; NaN stays NaN.
    pub fn f32_to_f16(&mut self, x: Value) -> Value {
        let bits = self.to_bits(x);
        let magnitude = self.magnitude_bits(bits);
        let sign = self.builder.ins().bxor(bits, magnitude);
        let sign = self.shift_right(sign, 16);
        // Normal: rebias and round; a carry moves into the exponent, at the top into infinity.
        let kept = self.shift_right(magnitude, 13);
        let one = self.int(1);
        let odd = self.builder.ins().band(kept, one);
        let rounding = self.int(0x0fff_u32.wrapping_sub((127 - 15) << 23));
        let normal = self.builder.ins().iadd(magnitude, rounding);
        let normal = self.builder.ins().iadd(normal, odd);
        let normal = self.shift_right(normal, 13);
        // Subnormal: adding 2^-1 aligns the last place of binary16 with that of f32.
        let aligner = self.int((127 - 1) << 23);
        let aligner_float = self.from_bits(aligner);
        let positive = self.from_bits(magnitude);
        let aligned = self.add(positive, aligner_float);
        let aligned = self.to_bits(aligned);
        let subnormal = self.builder.ins().isub(aligned, aligner);
        let smallest = self.int((127 - 14) << 23);
        let is_subnormal = self.compare_int(IntCC::SignedLessThan, magnitude, smallest);
        let finite = self.select(is_subnormal, subnormal, normal);
        // 2^16 and above: infinity, or a quiet NaN.
        let (infinity, quiet) = (self.int(0x7c00), self.int(0x7e00));
        let f32_infinity = self.int(INFINITY);
        let nan = self.compare_int(IntCC::SignedGreaterThan, magnitude, f32_infinity);
        let special = self.select(nan, quiet, infinity);
        let largest = self.int(((127 + 16) << 23) - 1);
        let is_special = self.compare_int(IntCC::SignedGreaterThan, magnitude, largest);
        let half = self.select(is_special, special, finite);
        self.builder.ins().bor(half, sign)
    }

    fn magnitude_bits(&mut self, bits: Value) -> Value {
        let mask = self.int(0x7fff_ffff);
        self.builder.ins().band(bits, mask)
    }
}
