//! Comparisons, selection, masks and conversions against Rust's, in both widths, on every target
//! that runs here.

use super::*;
use crate::element_loop::{self, ElementLoop, runnable_targets};
use crate::{CodeKind, CodeModule, Target};

const FLOATS: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    3.9,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    1e-45,
    2_147_483_648.0,
    -2_147_483_904.0,
    16_777_216.0,
];

type Binary = fn(&mut LaneEmitter<'_, '_>, Value, Value) -> Value;

/// Every pair of `FLOATS`.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    FLOATS.iter().flat_map(|a| FLOATS.iter().map(|b| (*a, *b))).unzip()
}

/// `emit` on every pair, with a result of type `to`, given to `accept` with the pair.
fn check<C: Copy + Default + std::fmt::Debug>(to: DType, emit: Binary, accept: fn(f32, f32, C) -> bool) {
    let (a, b) = pairs();
    for target in runnable_targets() {
        let code = ElementLoop::compile(&target, [4, 4, to.bytes()], &|e, [a, b, out]| {
            let (a, b) = (e.load(DType::F32, a, 0), e.load(DType::F32, b, 0));
            let y = emit(e, a, b);
            e.store(to, y, out, 0);
        });
        for lanes in [Lanes::Scalar, Lanes::X4] {
            let got: Vec<C> = code.run(lanes, &a, &b);
            for ((&a, &b), &y) in a.iter().zip(&b).zip(&got) {
                assert!(accept(a, b, y), "{a:e}, {b:e} gave {y:?} on {} {lanes:?}", target.name());
            }
        }
    }
}

#[test]
fn extrema_keep_nan_and_agree_with_order() {
    check(
        DType::F32,
        |e, a, b| e.maximum(a, b),
        |a, b, y: f32| {
            if a.is_nan() || b.is_nan() { y.is_nan() } else { y == a.max(b) }
        },
    );
    check(
        DType::F32,
        |e, a, b| e.minimum(a, b),
        |a, b, y: f32| {
            if a.is_nan() || b.is_nan() { y.is_nan() } else { y == a.min(b) }
        },
    );
}

#[test]
fn comparisons_select() {
    let less: Binary = |e, a, b| {
        let mask = e.compare(FloatCC::LessThan, a, b);
        e.mask_to_int(mask)
    };
    check(DType::I32, less, |a, b, y: i32| y == i32::from(a < b));
    let not_equal: Binary = |e, a, b| {
        let mask = e.compare(FloatCC::NotEqual, a, b);
        e.mask_to_float(mask)
    };
    check(DType::F32, not_equal, |a, b, y: f32| y == if a != b { 1.0 } else { 0.0 });
}

#[test]
fn conversions_are_those_of_rust() {
    check(DType::I32, |e, a, _| e.float_to_int(a), |a, _, y: i32| y == a as i32);
    let back: Binary = |e, a, _| {
        let int = e.float_to_int(a);
        e.int_to_float(int)
    };
    check(DType::F32, back, |a, _, y: f32| y == (a as i32) as f32);
}

#[test]
fn masks_combine_and_live_in_bytes() {
    let bytes: Vec<u8> = vec![0, 1, 0, 1, 255, 0, 2, 1];
    let others: Vec<u8> = vec![0, 0, 1, 1, 1, 1, 0, 0];
    type Combine = fn(&mut LaneEmitter<'_, '_>, Mask, Mask) -> Mask;
    type Truth = fn(bool, bool) -> bool;
    let cases: [(Combine, Truth); 6] = [
        (|e, a, b| e.both(a, b), |a, b| a && b),
        (|e, a, b| e.either(a, b), |a, b| a || b),
        (|e, a, b| e.differ(a, b), |a, b| a != b),
        (|e, a, _| e.not(a), |a, _| !a),
        (|e, _, _| e.constant_mask(true), |_, _| true),
        (|e, _, _| e.constant_mask(false), |_, _| false),
    ];
    for target in runnable_targets() {
        for (combine, truth) in cases {
            let code = ElementLoop::compile(&target, [1; 3], &|e, [a, b, out]| {
                let (a, b) = (e.load_mask(a, 0), e.load_mask(b, 0));
                let mask = combine(e, a, b);
                e.store_mask(mask, out, 0);
            });
            for lanes in [Lanes::Scalar, Lanes::X4] {
                let got: Vec<u8> = code.run(lanes, &bytes, &others);
                let want: Vec<u8> =
                    bytes.iter().zip(&others).map(|(a, b)| u8::from(truth(*a != 0, *b != 0))).collect();
                assert_eq!(got, want, "on {} {lanes:?}", target.name());
            }
        }
    }
}

#[test]
fn integers_shift_compare_and_split() {
    let a: Vec<i32> = vec![0, 1, -1, i32::MAX, i32::MIN, 7, -8, 1 << 20];
    let b: Vec<i32> = vec![1, 1, 0, i32::MIN, i32::MAX, 7, -9, 3];
    for target in runnable_targets() {
        let code = ElementLoop::compile(&target, [4; 3], &|e, [a, b, out]| {
            let (a, b) = (e.load(DType::I32, a, 0), e.load(DType::I32, b, 0));
            let less = e.compare_int(IntCC::SignedLessThan, a, b);
            let (left, right, signed) = (e.shift_left(a, 3), e.shift_right(a, 3), e.shift_right_signed(b, 3));
            let shifted = e.builder.ins().iadd(left, right);
            let y = e.select(less, shifted, signed);
            for (lane, y) in e.split(y).into_iter().enumerate() {
                e.builder.ins().store(memory(), y, out, i32::try_from(lane * 4).unwrap());
            }
        });
        for lanes in [Lanes::Scalar, Lanes::X4] {
            let got: Vec<i32> = code.run(lanes, &a, &b);
            let want: Vec<i32> = a
                .iter()
                .zip(&b)
                .map(|(&a, &b)| {
                    let shifted = (a << 3).wrapping_add(((a as u32) >> 3) as i32);
                    if a < b { shifted } else { b >> 3 }
                })
                .collect();
            assert_eq!(got, want, "on {} {lanes:?}", target.name());
        }
    }
}

#[test]
fn everything_compiles_for_every_target_without_a_call() {
    for name in crate::TARGET_NAMES {
        let target = Target::named(name, CodeKind::Object).unwrap();
        let mut module = CodeModule::object(&target, "lanes", true).unwrap();
        for lanes in [Lanes::Scalar, Lanes::X4] {
            element_loop::define(&mut module, &format!("{lanes:?}"), lanes, [4, 4, 4], &|e, [a, b, out]| {
                let (x, y) = (e.load(DType::F32, a, 0), e.load(DType::F32, b, 0));
                let (high, low) = (e.maximum(x, y), e.minimum(x, y));
                let int = e.float_to_int(high);
                let float = e.int_to_float(int);
                let mask = e.load_mask(a, 0);
                let mask = e.not(mask);
                let less = e.compare(FloatCC::LessThanOrEqual, low, float);
                let both = e.both(mask, less);
                let z = e.select(both, low, float);
                e.store(DType::F32, z, out, 0);
                e.store_mask(both, out, 0);
            });
        }
        for listing in module.finish().unwrap().1 {
            assert!(!element_loop::calls(&listing.assembly), "{} on {name}", listing.name);
        }
    }
}
