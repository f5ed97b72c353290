//! Sorting and selection.

use std::cmp::Ordering;

use moec_ir::DType;

use crate::eval::{Cx, Evaluated};
use crate::walk::Lanes;
use crate::{Route, Tensor, Value, reduce, value};

/// The indices of `lane` in sorted order: equal elements in index order, NaN last either way.
fn order(lane: &[f64], descending: bool) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..lane.len()).collect();
    indices.sort_by(|&i, &j| {
        let (x, y) = if descending { (lane[j], lane[i]) } else { (lane[i], lane[j]) };
        let by_value = x.partial_cmp(&y).unwrap_or(Ordering::Equal);
        lane[i].is_nan().cmp(&lane[j].is_nan()).then(by_value)
    });
    indices
}

pub(crate) fn argsort(cx: &Cx<'_>) -> Evaluated {
    let descending = cx.attrs.bool("descending");
    reduce::scan(cx, |lane| {
        let sorted = order(lane, descending);
        lane.iter_mut().zip(sorted).for_each(|(x, i)| *x = i as f64);
    })
}

pub(crate) fn top_k(cx: &Cx<'_>) -> Evaluated {
    let scores = cx.tensor(0)?;
    let (axis, k) = (cx.axis(), cx.size("k")?);
    let mut shape = scores.shape.clone();
    shape[axis] = k;
    let (from, to) = (Lanes::new(&scores.shape, axis), Lanes::new(&shape, axis));
    let mut index = value::room(&shape)?;
    index.resize(value::elements(&shape)?, 0.0);
    let mut best = index.clone();
    let mut lane = Vec::new();
    for (outer, inner) in from.each() {
        from.read(&scores.data, (outer, inner), &mut lane);
        for (slot, i) in order(&lane, cx.attrs.bool("largest")).into_iter().take(k).enumerate() {
            index[to.at(outer, slot, inner)] = i as f64;
            best[to.at(outer, slot, inner)] = lane[i];
        }
    }
    Ok(Value::Route(Route {
        scores: scores.shape.clone(),
        axis,
        index: Tensor::new(DType::I32, shape.clone(), index)?,
        value: Tensor::new(scores.dtype, shape, best)?,
    }))
}

pub(crate) fn mask(cx: &Cx<'_>) -> Evaluated {
    let route = cx.route()?;
    let (from, to) = (Lanes::new(&route.index.shape, route.axis), Lanes::new(&route.scores, route.axis));
    let mut data = cx.filled(0.0)?;
    for (outer, inner) in from.each() {
        for slot in 0..from.size {
            let chosen = route.index.data[from.at(outer, slot, inner)] as usize;
            data[to.at(outer, chosen, inner)] = 1.0;
        }
    }
    cx.result(data)
}

pub(crate) fn one_hot(cx: &Cx<'_>) -> Evaluated {
    let size = cx.size("size")?;
    let mut data = cx.room()?;
    for &x in &cx.tensor(0)?.data {
        data.extend((0..size).map(|i| f64::from(i as f64 == x)));
    }
    cx.result(data)
}

pub(crate) fn densify(cx: &Cx<'_>) -> Evaluated {
    let (values, index) = (cx.tensor(0)?, cx.tensor(1)?);
    let (from, to) = (Lanes::new(&values.shape, cx.axis()), Lanes::new(&cx.shape()?, cx.axis()));
    let mut data = cx.filled(0.0)?;
    let mut lane = Vec::new();
    for (outer, inner) in from.each() {
        from.read(&index.data, (outer, inner), &mut lane);
        for (i, &place) in lane.iter().enumerate() {
            let place = cx.index(place, to.size)?;
            if lane[..i].contains(&(place as f64)) {
                return Err(cx.error(format!("index {place} occurs twice along axis {}", cx.axis())));
            }
            data[to.at(outer, place, inner)] = values.data[from.at(outer, i, inner)];
        }
    }
    cx.result(data)
}
