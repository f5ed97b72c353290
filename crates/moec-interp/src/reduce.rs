//! Reductions and scans along one axis.

use moec_ir::DType;

use crate::eval::{Cx, Evaluated};
use crate::number;
use crate::walk::Lanes;

/// The result of `f` on every lane along `axis`.
fn reduce(cx: &Cx<'_>, f: impl Fn(&[f64]) -> f64) -> Evaluated {
    let x = cx.tensor(0)?;
    let lanes = Lanes::new(&x.shape, cx.axis());
    let mut data = cx.room()?;
    let mut lane = Vec::new();
    for at in lanes.each() {
        lanes.read(&x.data, at, &mut lane);
        data.push(f(&lane));
    }
    cx.result(data)
}

/// Every lane along `axis` replaced by what `f` makes of it.
pub(crate) fn scan(cx: &Cx<'_>, f: impl Fn(&mut Vec<f64>)) -> Evaluated {
    let x = cx.tensor(0)?;
    let lanes = Lanes::new(&x.shape, cx.axis());
    let mut data = cx.filled(0.0)?;
    let mut lane = Vec::new();
    for (outer, inner) in lanes.each() {
        lanes.read(&x.data, (outer, inner), &mut lane);
        f(&mut lane);
        for (i, &value) in lane.iter().enumerate() {
            data[lanes.at(outer, i, inner)] = value;
        }
    }
    cx.result(data)
}

pub(crate) fn sum(cx: &Cx<'_>) -> Evaluated {
    let dtype = cx.dtype()?;
    reduce(cx, |lane| lane.iter().fold(0.0, |sum, &x| number::add(dtype, sum, x)))
}

pub(crate) fn mean(cx: &Cx<'_>) -> Evaluated {
    reduce(cx, |lane| lane.iter().fold(0.0, |sum, x| sum + x) / lane.len() as f64)
}

fn largest(lane: &[f64], least: f64) -> f64 {
    lane.iter().copied().fold(least, number::maximum)
}

pub(crate) fn max(cx: &Cx<'_>) -> Evaluated {
    let least = if cx.dtype()? == DType::I32 { i32::MIN.into() } else { f64::NEG_INFINITY };
    reduce(cx, |lane| largest(lane, least))
}

pub(crate) fn min(cx: &Cx<'_>) -> Evaluated {
    let greatest = if cx.dtype()? == DType::I32 { i32::MAX.into() } else { f64::INFINITY };
    reduce(cx, |lane| lane.iter().copied().fold(greatest, number::minimum))
}

pub(crate) fn any(cx: &Cx<'_>) -> Evaluated {
    reduce(cx, |lane| f64::from(lane.iter().any(|&x| x != 0.0)))
}

pub(crate) fn all(cx: &Cx<'_>) -> Evaluated {
    reduce(cx, |lane| f64::from(lane.iter().all(|&x| x != 0.0)))
}

pub(crate) fn argmax(cx: &Cx<'_>) -> Evaluated {
    if cx.tensor(0)?.shape[cx.axis()] == 0 {
        return Err(cx.error("an empty axis has no largest element"));
    }
    reduce(cx, |lane| {
        let best = largest(lane, f64::NEG_INFINITY);
        let is_best = |x: &f64| *x == best || (x.is_nan() && best.is_nan());
        lane.iter().position(is_best).unwrap_or(0) as f64
    })
}

pub(crate) fn softmax(cx: &Cx<'_>) -> Evaluated {
    scan(cx, |lane| {
        let best = largest(lane, f64::NEG_INFINITY);
        lane.iter_mut().for_each(|x| *x = (*x - best).exp());
        let sum: f64 = lane.iter().sum();
        lane.iter_mut().for_each(|x| *x /= sum);
    })
}

pub(crate) fn cumsum(cx: &Cx<'_>) -> Evaluated {
    let exclusive = cx.attrs.bool("exclusive");
    let dtype = cx.dtype()?;
    scan(cx, |lane| {
        let mut sum = 0.0;
        for x in lane.iter_mut() {
            let before = sum;
            sum = number::add(dtype, sum, *x);
            *x = if exclusive { before } else { sum };
        }
    })
}
