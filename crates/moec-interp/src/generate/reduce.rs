//! Steps along one axis: reductions, scans, sorting, selection.

use moec_ir::{DType, Dim, Op, TensorType};

use super::{Growth, Known, Range, Step};

pub(super) const STEPS: &[Step] =
    &[sum, mean, extreme, truth, argmax, softmax, softmax, cumsum, argsort, sorted, top_k, top_k, one_hot];

impl Growth {
    /// A reduction of `x` along `axis`.
    pub(super) fn along(&mut self, op: Op, x: Known, axis: usize, range: Range) -> Known {
        let id = self.push(op, &[x.id], [("axis", axis.into())]);
        self.keep(id, range)
    }

    /// The range of sums of `count` elements of `x`.
    pub(super) fn sum_range(&self, dtype: DType, x: &Range, count: usize) -> Option<Range> {
        let n = count as f64;
        let rounding = if dtype == DType::I32 { 0.0 } else { n * n * x.most() };
        // Roundings do not all point one way; their sum grows about as the root of their number.
        let error = n * x.error + rounding.min(4.0 * n * x.most());
        let range = Range { low: (n * x.low).min(0.0), high: (n * x.high).max(0.0), error };
        self.sane(dtype, &range).then_some(range)
    }

    /// `softmax` along `axis`, which is not empty wherever there are elements.
    pub(super) fn softmax(&mut self, x: Known, axis: usize) -> Option<Known> {
        let range = Range { low: 0.0, high: 1.0, error: 2.0 * x.range.error + 8.0 };
        if !self.sane(DType::F32, &range) {
            return None;
        }
        Some(self.along(Op::Softmax, x, axis, range))
    }
}

fn sum(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::I32, DType::Bf16]);
    let x = g.any(dtype);
    let axis = g.axis(x)?;
    let count = g.largest(&g.ty(x).shape[axis]);
    let range = g.sum_range(dtype, &x.range, count)?;
    g.along(Op::Sum, x, axis, range);
    Some(())
}

fn mean(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::F16]);
    let x = g.any(dtype);
    let (axis, _) = g.constant_axis(x, 1)?;
    let range = Range { error: x.range.error + 6.0 * x.range.most(), ..x.range };
    if !g.sane(DType::F32, &range) {
        return None;
    }
    g.along(Op::Mean, x, axis, range);
    Some(())
}

fn extreme(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::I32]);
    let x = g.any(dtype);
    let (axis, _) = g.constant_axis(x, 1)?;
    let op = g.rng.pick(&[Op::Max, Op::Min]);
    g.along(op, x, axis, x.range);
    Some(())
}

fn truth(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::Bool);
    let axis = g.axis(x)?;
    let op = g.rng.pick(&[Op::Any, Op::All]);
    g.along(op, x, axis, Range::exact(0.0, 1.0));
    Some(())
}

fn argmax(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::I32]);
    let x = g.any_comparable(dtype);
    let (axis, size) = g.constant_axis(x, 1)?;
    g.along(Op::Argmax, x, axis, Range::exact(0.0, size as f64 - 1.0));
    Some(())
}

fn softmax(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::F32);
    let axis = g.axis(x)?;
    g.softmax(x, axis).map(drop)
}

fn cumsum(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::I32]);
    let x = g.any(dtype);
    let axis = g.axis(x)?;
    let count = g.largest(&g.ty(x).shape[axis]);
    let range = g.sum_range(dtype, &x.range, count)?;
    let exclusive = g.rng.once_in(2);
    let id = g.push(Op::Cumsum, &[x.id], [("axis", axis.into()), ("exclusive", exclusive.into())]);
    g.keep(id, range);
    Some(())
}

fn order(g: &mut Growth) -> Option<(Known, usize, Known)> {
    let dtype = g.rng.pick(&[DType::F32, DType::I32]);
    let x = g.any_comparable(dtype);
    let axis = g.axis(x)?;
    let size = g.largest(&g.ty(x).shape[axis]);
    let descending = g.rng.once_in(2);
    let id = g.push(Op::Argsort, &[x.id], [("axis", axis.into()), ("descending", descending.into())]);
    let order = g.keep(id, Range::exact(0.0, size.max(1) as f64 - 1.0));
    Some((x, axis, order))
}

fn argsort(g: &mut Growth) -> Option<()> {
    order(g).map(drop)
}

/// Elements in sorted order; the axis may have run-time size.
fn sorted(g: &mut Growth) -> Option<()> {
    let (x, axis, order) = order(g)?;
    let rank = g.ty(x).rank();
    let along: Vec<i64> = (0..rank).map(|i| if i == axis { -1 } else { i as i64 }).collect();
    let id = g.push(Op::Gather, &[x.id, order.id], [("along", along.into()), ("axis", axis.into())]);
    g.keep(id, x.range);
    Some(())
}

/// A route and some of its projections, perhaps back to a dense gate.
fn top_k(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::I32]);
    let x = g.any_comparable(dtype);
    let (axis, size) = g.constant_axis(x, 1)?;
    let k = if g.rng.once_in(12) { 0 } else { 1 + g.rng.below(size) };
    let largest = !g.rng.once_in(4);
    let attrs = [("axis", axis.into()), ("k", Dim::constant(k as u64).into()), ("largest", largest.into())];
    let route = g.push(Op::TopK, &[x.id], attrs);
    let index = g.push(Op::RouteIndex, &[route], []);
    let index = g.keep(index, Range::exact(0.0, size as f64 - 1.0));
    if g.rng.once_in(2) {
        let mask = g.push(Op::RouteMask, &[route], []);
        g.keep(mask, Range::exact(0.0, 1.0));
    }
    if g.rng.once_in(2) {
        let value = g.push(Op::RouteValue, &[route], []);
        let value = g.keep(value, x.range);
        if g.rng.once_in(2) {
            let size = Dim::constant(size as u64);
            let attrs = [("axis", axis.into()), ("size", size.into())];
            let gate = g.push(Op::Densify, &[value.id, index.id], attrs);
            g.keep(gate, x.range.join(&Range::exact(0.0, 0.0)));
        }
    }
    Some(())
}

fn one_hot(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::I32);
    let size = Dim::constant(g.rng.pick(&[0, 1, 3, 8]));
    let mut shape = g.ty(x).shape;
    shape.push(size.clone());
    if shape.len() > 4 || !g.small(&shape) {
        return None;
    }
    let id = g.push(Op::OneHot, &[x.id], [("size", size.into())]);
    debug_assert_eq!(g.builder.tensor(id), &TensorType::new(DType::Bool, shape));
    g.keep(id, Range::exact(0.0, 1.0));
    Some(())
}
