//! Scalar functions: rounding, conversions, and the functions that f64 lacks.

use moec_ir::DType;

/// `value` as the nearest element of `to`: floats to nearest even, overflow to infinity; `i32`
/// and `u8` towards zero, saturating, NaN to 0; `bool` true unless zero.
pub fn round_to(to: DType, value: f64) -> f64 {
    match to {
        DType::F32 => f64::from(value as f32),
        DType::Bf16 => round_float(value, 8, -126, f64::from_bits(0x47EF_E000_0000_0000)),
        DType::F16 => round_float(value, 11, -14, 65504.0),
        DType::I32 => f64::from(value as i32),
        DType::U8 => f64::from(value as u8),
        DType::Bool => f64::from(value != 0.0),
    }
}

/// `value` with at most `precision` significant bits, whose smallest normal is `2^least` and whose
/// largest is `most`. Not `half`'s conversion from f64, which ignores the lower 32 bits.
fn round_float(value: f64, precision: i32, least: i32, most: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // Subnormal doubles read as -1023 here, far below `least`.
    let exponent = ((value.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(least) - precision + 1);
    let rounded = (value / unit).round_ties_even() * unit;
    if rounded.abs() > most { f64::INFINITY.copysign(value) } else { rounded }
}

/// An element of a constant of type `to`. Constants in `f32` stay exact, as all of `f32` does.
pub(crate) fn constant(to: DType, value: f64) -> f64 {
    if to == DType::F32 { value } else { round_to(to, value) }
}

/// The larger; NaN if either is NaN; -0 is below +0.
pub(crate) fn maximum(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() {
        f64::NAN
    } else if x > y || (x == y && x.is_sign_positive()) {
        x
    } else {
        y
    }
}

/// The smaller; NaN if either is NaN; -0 is below +0.
pub(crate) fn minimum(x: f64, y: f64) -> f64 {
    -maximum(-x, -y)
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))`, written so that `exp` does not overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    maximum(x, 0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function, by `2 / sqrt(pi) * exp(-x^2) * sum over n of 2^n x^(2n+1) / (2n+1)!!`. All
/// terms have one sign, so nothing cancels: within a few units of 1e-15. Beyond 6 it is 1 in f64.
pub(crate) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return 1f64.copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    while term.abs() > sum.abs() * 1e-18 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    (std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum).clamp(-1.0, 1.0)
}

pub(crate) fn gelu(x: f64) -> f64 {
    x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) / 2.0
}

pub(crate) fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    x * (1.0 + inner.tanh()) / 2.0
}

/// The quotient rounded down, wrapping; 0 if `y` is 0.
pub(crate) fn floor_div(x: i32, y: i32) -> i32 {
    if y == 0 {
        return 0;
    }
    let quotient = x.wrapping_div(y);
    let inexact = quotient.wrapping_mul(y) != x;
    if inexact && (x < 0) != (y < 0) { quotient - 1 } else { quotient }
}

/// What [`floor_div`] leaves.
pub(crate) fn modulo(x: i32, y: i32) -> i32 {
    x.wrapping_sub(floor_div(x, y).wrapping_mul(y))
}

/// The sum of two elements of type `dtype`; `i32` wraps.
pub(crate) fn add(dtype: DType, x: f64, y: f64) -> f64 {
    if dtype == DType::I32 { f64::from((x as i32).wrapping_add(y as i32)) } else { x + y }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit float is itself, and every midpoint goes to the even neighbour, just beside it
    /// to the nearer one.
    fn check(dtype: DType, of: impl Fn(u16) -> f64) {
        for bits in 0..0x7FFFu16 {
            let (low, high) = (of(bits), of(bits + 1));
            if high.is_nan() {
                break;
            }
            assert_eq!(round_to(dtype, low), low);
            assert_eq!(round_to(dtype, -low), -low);
            if high.is_finite() {
                let middle = (low + high) / 2.0;
                let even = if bits % 2 == 0 { low } else { high };
                assert_eq!(round_to(dtype, middle), even, "{middle:e}");
                assert_eq!(round_to(dtype, middle.next_up()), high);
                assert_eq!(round_to(dtype, middle.next_down()), low);
            }
        }
        assert_eq!(round_to(dtype, f64::INFINITY), f64::INFINITY);
        assert_eq!(round_to(dtype, -1e300), f64::NEG_INFINITY);
        assert!(round_to(dtype, f64::NAN).is_nan());
    }

    #[test]
    fn floats_round_to_nearest_even() {
        check(DType::F16, |bits| half::f16::from_bits(bits).to_f64());
        check(DType::Bf16, |bits| half::bf16::from_bits(bits).to_f64());
        assert_eq!(round_to(DType::F16, 65519.99), 65504.0);
        assert_eq!(round_to(DType::F16, 65520.0), f64::INFINITY);
        assert_eq!(round_to(DType::Bf16, f64::MIN_POSITIVE), 0.0);
    }

    #[test]
    fn erf_has_its_tabled_values() {
        let table = [
            (0.0, 0.0),
            (1e-10, 1.1283791670955126e-10),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (3.5, 0.9999992569016276),
            (5.0, 0.9999999999984626),
        ];
        for (x, y) in table {
            assert!((erf(x) - y).abs() <= 4e-15 * y, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
    }
}
