//! Every function over a stride through all bit patterns, against f64, in both widths and with
//! and without FMA.

use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use moec_ir::DType;

use crate::element_loop::{self, ElementLoop, runnable_targets};
use crate::{CodeKind, CodeModule, LaneEmitter, Lanes, Listing, Target};

type Emit = fn(&mut LaneEmitter<'_, '_>, Value) -> Value;
type Exact = fn(f64) -> f64;
type Pairs = &'static [(f32, f32)];
type Widen = fn(u16) -> f32;
type Round = fn(f32) -> u16;

/// `emit` between a load of `from` and a store of `to`.
fn unary((from, to): (DType, DType), emit: Emit) -> impl Fn(&mut LaneEmitter<'_, '_>, [Value; 3]) {
    move |e, [a, _, out]| {
        let x = e.load(from, a, 0);
        let y = emit(e, x);
        e.store(to, y, out, 0);
    }
}

fn compile(target: &Target, dtypes: (DType, DType), emit: Emit) -> ElementLoop {
    ElementLoop::compile(target, [dtypes.0.bytes(), 0, dtypes.1.bytes()], &unary(dtypes, emit))
}

fn map<A: Copy + Default, B: Copy + Default>(code: &ElementLoop, lanes: Lanes, input: &[A]) -> Vec<B> {
    code.run(lanes, input, &vec![(); input.len()])
}

/// A stride over all bit patterns, and a dense comb where functions bend.
fn samples() -> Vec<f32> {
    let mut samples: Vec<f32> = (0..1_000_000u32).map(|i| f32::from_bits(i.wrapping_mul(4_297))).collect();
    samples.extend((0..800_000).map(|i| (i as f32 - 400_000.0) * 2.7e-4 + 1.3e-5));
    samples.extend((0..400_000).map(|i| (i as f32 - 200_000.0) * 2.3e-5));
    samples.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
    ]);
    samples
}

/// The distance of `got` from `exact` in units of the last place of an f32 near `exact`.
fn ulps(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got == nearest || (got.is_nan() && nearest.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !nearest.is_finite() {
        // One side rounds to infinity: measured as if the range went on.
        let beyond = |x: f64| if x.is_infinite() { 2f64.powi(128).copysign(x) } else { x };
        return (beyond(f64::from(got)) - beyond(exact)).abs() / 2f64.powi(104);
    }
    let exponent = (exact.abs().log2().floor() as i32).max(-126);
    (f64::from(got) - exact).abs() / 2f64.powi(exponent - 23)
}

/// The values of `samples` in four lanes, which have the bits of those in one.
fn map_both(target: &Target, emit: Emit, samples: &[f32]) -> Vec<f32> {
    let code = compile(target, (DType::F32, DType::F32), emit);
    let wide: Vec<f32> = map(&code, Lanes::X4, samples);
    let scalar: Vec<f32> = map(&code, Lanes::Scalar, samples);
    for ((&x, &a), &b) in samples.iter().zip(&wide).zip(&scalar) {
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(same, "{x:e}: {a:e} in four lanes, {b:e} in one");
    }
    wide
}

fn check(name: &str, emit: Emit, exact: Exact, bound: f64) {
    let samples = samples();
    for target in runnable_targets() {
        let (mut worst, mut at) = (0.0, 0.0);
        for (&x, &y) in samples.iter().zip(&map_both(&target, emit, &samples)) {
            let error = ulps(y, exact(f64::from(x)));
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{name} on {}: {worst:.3} ulp at {at:e}", target.name());
        assert!(worst <= bound, "{name} on {}: {worst:.3} ulp at {at:e}, promised {bound}", target.name());
    }
}

/// The series with positive terms only, which loses nothing: erf(x) = 2/sqrt(pi) exp(-x^2) sum of
/// 2^n x^(2n+1) / (2n+1)!!.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x.abs() > 6.0 {
        return 1f64.copysign(x);
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn the_reference_erf_is_right() {
    // Abramowitz and Stegun, table 7.1.
    for (x, y) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
        assert!((erf(x) - y).abs() < 1e-10);
    }
}

#[test]
fn exp() {
    check("exp", |e, x| e.exp(x), f64::exp, 2.0);
}

#[test]
fn exp2() {
    check("exp2", |e, x| e.exp2(x), f64::exp2, 2.0);
    let integers: Vec<f32> = (-160..=140).chain([150, 200, 1 << 24]).map(|n| n as f32).collect();
    for target in runnable_targets() {
        for (&x, &y) in integers.iter().zip(&map_both(&target, |e, x| e.exp2(x), &integers)) {
            assert_eq!(y, f64::from(x).exp2() as f32, "2^{x} on {}", target.name());
        }
    }
}

#[test]
fn log() {
    check("log", |e, x| e.log(x), f64::ln, 2.0);
}

#[test]
fn tanh() {
    check("tanh", |e, x| e.tanh(x), f64::tanh, 2.0);
}

#[test]
fn error_function() {
    check("erf", |e, x| e.erf(x), erf, 2.0);
}

#[test]
fn logistic() {
    check("sigmoid", |e, x| e.sigmoid(x), sigmoid, 2.5);
}

#[test]
fn softplus() {
    check("softplus", |e, x| e.softplus(x), |x| x.max(0.0) + (-x.abs()).exp().ln_1p() + x * 0.0, 3.0);
}

#[test]
fn silu() {
    // Where the gate is subnormal it has lost bits, and the product shows it: left of -87 the
    // result is below 2^-118, its error below |x| 2^-149.
    let clip: Emit = |e, x| {
        let y = e.silu(x);
        let (border, zero) = (e.float(-87.0), e.float(0.0));
        let beyond = e.compare(FloatCC::LessThan, x, border);
        e.select(beyond, zero, y)
    };
    check("silu", clip, |x| if x < -87.0 { 0.0 } else { x * sigmoid(x) }, 3.0);
    let code = compile(&Target::host(CodeKind::Jit).unwrap(), (DType::F32, DType::F32), |e, x| e.silu(x));
    let left: Vec<f32> = (0..4000).map(|i| -87.0 - i as f32 * 0.01).collect();
    for (&x, &y) in left.iter().zip(&map::<f32, f32>(&code, Lanes::X4, &left)) {
        let exact = f64::from(x) * sigmoid(f64::from(x));
        assert!((f64::from(y) - exact).abs() <= f64::from(x.abs()) * 2f64.powi(-149), "{x}: {y:e}");
    }
}

#[test]
fn roots() {
    check("sqrt", |e, x| e.sqrt(x), f64::sqrt, 0.5);
    check("rsqrt", |e, x| e.rsqrt(x), |x| 1.0 / x.sqrt(), 1.5);
}

/// Their definitions cancel or amplify: the error is measured against the argument.
#[test]
fn gelus() {
    let exact: [(&str, Emit, Exact); 2] = [
        ("gelu", |e, x| e.gelu(x), |x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))),
        (
            "gelu_tanh",
            |e, x| e.gelu_tanh(x),
            |x| x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)),
        ),
    ];
    for (name, emit, exact) in exact {
        let samples = samples();
        for target in runnable_targets() {
            let mut worst = 0f64;
            for (&x, &y) in samples.iter().zip(&map_both(&target, emit, &samples)) {
                let want = exact(f64::from(x));
                assert_eq!(y.is_nan(), want.is_nan(), "{x:e}");
                if want.is_finite() && x.abs() >= f32::MIN_POSITIVE {
                    worst = worst.max((f64::from(y) - want).abs() / f64::from(x).abs() * 2f64.powi(24));
                }
            }
            println!("{name} on {}: {worst:.3} * 2^-24 * |x|", target.name());
            assert!(worst <= 4.0, "{name}: {worst}");
        }
    }
}

#[test]
fn edges() {
    let cases: [(&str, Emit, Pairs); 8] = [
        (
            "exp",
            |e, x| e.exp(x),
            &[
                (f32::NEG_INFINITY, 0.0),
                (f32::INFINITY, f32::INFINITY),
                (89.0, f32::INFINITY),
                (0.0, 1.0),
                (-0.0, 1.0),
                (-104.0, 0.0),
                (-103.0, 1e-45),
                (1e-40, 1.0),
            ],
        ),
        (
            "log",
            |e, x| e.log(x),
            &[
                (0.0, f32::NEG_INFINITY),
                (-0.0, f32::NEG_INFINITY),
                (1.0, 0.0),
                (-1.0, f32::NAN),
                (f32::INFINITY, f32::INFINITY),
                (f32::NEG_INFINITY, f32::NAN),
                (1e-45, -103.278_93),
            ],
        ),
        (
            "tanh",
            |e, x| e.tanh(x),
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (f32::INFINITY, 1.0),
                (f32::NEG_INFINITY, -1.0),
                (1e-45, 1e-45),
                (-1e-40, -1e-40),
            ],
        ),
        (
            "erf",
            |e, x| e.erf(x),
            &[(0.0, 0.0), (-0.0, -0.0), (f32::INFINITY, 1.0), (f32::NEG_INFINITY, -1.0), (1e-45, 1e-45)],
        ),
        (
            "sigmoid",
            |e, x| e.sigmoid(x),
            &[(0.0, 0.5), (f32::INFINITY, 1.0), (f32::NEG_INFINITY, 0.0), (-1000.0, 0.0)],
        ),
        (
            "softplus",
            |e, x| e.softplus(x),
            &[(f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, 0.0), (1000.0, 1000.0), (-103.0, 1e-45)],
        ),
        ("relu", |e, x| e.relu(x), &[(-1.0, 0.0), (2.0, 2.0), (f32::NEG_INFINITY, 0.0)]),
        (
            "gelu_tanh",
            |e, x| e.gelu_tanh(x),
            &[(0.0, 0.0), (f32::INFINITY, f32::INFINITY), (1e20, 1e20), (-1e20, -0.0)],
        ),
    ];
    for (name, emit, pairs) in cases {
        let code = compile(&Target::host(CodeKind::Jit).unwrap(), (DType::F32, DType::F32), emit);
        for &(x, want) in pairs.iter().chain(&[(f32::NAN, f32::NAN)]) {
            for lanes in [Lanes::Scalar, Lanes::X4] {
                let got: Vec<f32> = map(&code, lanes, &[x; 4]);
                assert!(
                    got.iter().all(|y| y.to_bits() == want.to_bits() || (y.is_nan() && want.is_nan())),
                    "{name}({x:e}) = {got:?}, expected {want:e}"
                );
            }
        }
    }
}

#[test]
fn sixteen_bit_floats_widen_exactly() {
    let patterns: Vec<u16> = (0..=u16::MAX).collect();
    let cases: [(DType, Widen); 2] = [
        (DType::Bf16, |bits| half::bf16::from_bits(bits).to_f32()),
        (DType::F16, |bits| half::f16::from_bits(bits).to_f32()),
    ];
    for (dtype, widen) in cases {
        let code = compile(&Target::host(CodeKind::Jit).unwrap(), (dtype, DType::F32), |_, x| x);
        for lanes in [Lanes::Scalar, Lanes::X4] {
            let got: Vec<f32> = map(&code, lanes, &patterns);
            for (&bits, &y) in patterns.iter().zip(&got) {
                let want = widen(bits);
                assert!(
                    y.to_bits() == want.to_bits() || (y.is_nan() && want.is_nan()),
                    "{dtype} {bits:#06x}: {y:e}"
                );
            }
        }
    }
}

#[test]
fn sixteen_bit_floats_round_to_nearest_even() {
    let mut inputs = samples();
    // Every value of both formats, and the ties between them.
    for bits in 0..=u16::MAX {
        let (low, high) =
            (half::f16::from_bits(bits).to_f32(), half::f16::from_bits(bits.wrapping_add(1)).to_f32());
        inputs.extend([low, (low + high) / 2.0]);
        inputs.extend(
            [0x0000, 0x7fff, 0x8000, 0x8001].map(|rest| f32::from_bits(u32::from(bits) << 16 | rest)),
        );
    }
    inputs.extend([65519.0, 65520.0, 65521.0, 65535.9, 65536.0]);
    inputs.truncate(inputs.len() / 4 * 4);
    let cases: [(DType, Round); 2] = [
        (DType::Bf16, |x| half::bf16::from_f32(x).to_bits()),
        (DType::F16, |x| half::f16::from_f32(x).to_bits()),
    ];
    for (dtype, round) in cases {
        let code = compile(&Target::host(CodeKind::Jit).unwrap(), (DType::F32, dtype), |_, x| x);
        let nan = |bits: u16| match dtype {
            DType::Bf16 => half::bf16::from_bits(bits).is_nan(),
            _ => half::f16::from_bits(bits).is_nan(),
        };
        for lanes in [Lanes::Scalar, Lanes::X4] {
            let got: Vec<u16> = map(&code, lanes, &inputs);
            for (&x, &bits) in inputs.iter().zip(&got) {
                let want = round(x);
                assert!(
                    bits == want || (nan(bits) && x.is_nan()),
                    "{dtype} of {x:e}: {bits:#06x}, expected {want:#06x}"
                );
            }
        }
    }
}

#[test]
fn every_function_compiles_for_every_target_without_a_call() {
    let functions: [(&str, Emit); 13] = [
        ("exp", |e, x| e.exp(x)),
        ("exp2", |e, x| e.exp2(x)),
        ("log", |e, x| e.log(x)),
        ("tanh", |e, x| e.tanh(x)),
        ("erf", |e, x| e.erf(x)),
        ("sigmoid", |e, x| e.sigmoid(x)),
        ("softplus", |e, x| e.softplus(x)),
        ("silu", |e, x| e.silu(x)),
        ("gelu", |e, x| e.gelu(x)),
        ("gelu_tanh", |e, x| e.gelu_tanh(x)),
        ("rsqrt", |e, x| e.rsqrt(x)),
        ("relu", |e, x| e.relu(x)),
        ("copy", |_, x| x),
    ];
    for target in crate::TARGET_NAMES {
        let target = Target::named(target, CodeKind::Object).unwrap();
        let mut module = CodeModule::object(&target, "math", true).unwrap();
        for (name, emit) in functions {
            for lanes in [Lanes::Scalar, Lanes::X4] {
                for dtype in [DType::F32, DType::Bf16, DType::F16] {
                    let symbol = format!("{name}_{lanes:?}_{dtype}");
                    let sizes = [dtype.bytes(), 0, dtype.bytes()];
                    element_loop::define(&mut module, &symbol, lanes, sizes, &unary((dtype, dtype), emit));
                }
            }
        }
        for listing in module.finish().unwrap().1 {
            let Listing { name, assembly, .. } = listing;
            assert!(!element_loop::calls(&assembly), "{name} on {}:\n{assembly}", target.name());
        }
    }
}
