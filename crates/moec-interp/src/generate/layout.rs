//! Steps that move elements.

use moec_ir::{DType, Dim, Op, TensorType};

use super::{Growth, Known, Range, Step};

pub(super) const STEPS: &[Step] =
    &[broadcast, transpose, merge, split, slice, pad, pad_tokens, concat, concat_tokens, gather, scatter_add];

impl Growth {
    /// A value to move: floats mostly.
    fn movable(&mut self) -> Known {
        let dtype = self.rng.pick(&[
            DType::F32,
            DType::F32,
            DType::F32,
            DType::I32,
            DType::U8,
            DType::Bool,
            DType::Bf16,
            DType::F16,
        ]);
        self.any(dtype)
    }

    pub(super) fn reshaped(&mut self, x: Known, shape: Vec<Dim>) -> Known {
        let id = self.push(Op::Reshape, &[x.id], [("shape", shape.into())]);
        self.keep(id, x.range)
    }
}

fn broadcast(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let mut shape = g.ty(x).shape;
    let at = g.rng.below(shape.len() + 1);
    let dim =
        Some(g.dim()).filter(|d| g.constant(d).is_some() || !shape.iter().any(|s| g.constant(s).is_none()));
    shape.insert(at, dim?);
    if shape.len() > 4 || !g.small(&shape) {
        return None;
    }
    let mut map: Vec<usize> = (0..shape.len()).filter(|&i| i != at).collect();
    if g.rng.once_in(4) && map.len() == 2 && at == 2 {
        map.swap(0, 1);
        shape.swap(0, 1);
    }
    g.spread(x, map, shape);
    Some(())
}

fn transpose(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let mut perm: Vec<usize> = (0..g.ty(x).rank()).collect();
    g.rng.shuffle(&mut perm);
    let id = g.push(Op::Transpose, &[x.id], [("perm", perm.into())]);
    g.keep(id, x.range);
    Some(())
}

/// Two neighbouring axes as one.
fn merge(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let mut shape = g.ty(x).shape;
    let at = g.rng.below(shape.len().checked_sub(1).filter(|&n| n > 0)?);
    let merged = shape[at].times(&shape[at + 1]).ok()?;
    shape.splice(at..at + 2, [merged]);
    g.reshaped(x, shape);
    Some(())
}

/// An axis as two: by a factor of its coefficient, or with a unit axis.
fn split(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let mut shape = g.ty(x).shape;
    let at = g.axis(x)?;
    let factor = Dim::constant(g.rng.pick(&[1, 2, 3, 4]));
    let rest = shape[at].divided_by(&factor)?;
    shape.splice(at..at + 1, if g.rng.once_in(2) { [factor, rest] } else { [rest, factor] });
    if shape.len() > 4 {
        return None;
    }
    g.reshaped(x, shape);
    Some(())
}

fn slice(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let (axis, size) = g.constant_axis(x, 1)?;
    let start = g.rng.below(size);
    let step = 1 + g.rng.below(3);
    let count = g.rng.below((size - start).div_ceil(step) + 1);
    let dim = |n: usize| Dim::constant(n as u64);
    let id = g.push(
        Op::Slice,
        &[x.id],
        [
            ("axis", axis.into()),
            ("size", dim(count).into()),
            ("start", dim(start).into()),
            ("step", step.into()),
        ],
    );
    g.keep(id, x.range);
    Some(())
}

fn padded(g: &mut Growth, x: Known, axis: usize, before: u64, after: u64, size: Dim) -> Option<()> {
    let value = g.rng.below(2) as f64;
    let mut shape = g.ty(x).shape;
    shape[axis] = size.clone();
    if !g.small(&shape) {
        return None;
    }
    let dim = Dim::constant;
    let id = g.push(
        Op::Pad,
        &[x.id],
        [
            ("after", dim(after).into()),
            ("axis", axis.into()),
            ("before", dim(before).into()),
            ("size", size.into()),
            ("value", value.into()),
        ],
    );
    g.keep(id, x.range.join(&Range::exact(value, value)));
    Some(())
}

fn pad(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let (axis, size) = g.constant_axis(x, 0)?;
    let (before, after) = (g.rng.below(3), g.rng.below(3));
    let size = (before + size + after) as u64;
    padded(g, x, axis, before as u64, after as u64, Dim::constant(size))
}

/// From `T` to `P`, which is `T + 2`.
fn pad_tokens(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let axis = g.ty(x).shape.iter().position(|d| *d == Dim::symbol("T"))?;
    let before = g.rng.pick(&[0, 2]);
    padded(g, x, axis, before, 2 - before, Dim::symbol("P"))
}

fn concatenated(g: &mut Growth, parts: &[Known], axis: usize, size: Dim) -> Option<()> {
    let mut shape = g.ty(parts[0]).shape;
    shape[axis] = size.clone();
    if !g.small(&shape) {
        return None;
    }
    let range = parts.iter().skip(1).fold(parts[0].range, |range, part| range.join(&part.range));
    let ids: Vec<_> = parts.iter().map(|part| part.id).collect();
    let id = g.push(Op::Concat, &ids, [("axis", axis.into()), ("size", size.into())]);
    g.keep(id, range);
    Some(())
}

fn concat(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let (axis, size) = g.constant_axis(x, 0)?;
    let mut parts = vec![x];
    let mut total = size;
    for _ in 0..g.rng.below(3) {
        let mut ty = g.ty(x);
        let n = g.rng.pick(&[0, 1, 2, 5]);
        ty.shape[axis] = Dim::constant(n);
        total += n as usize;
        parts.push(g.source(ty));
    }
    concatenated(g, &parts, axis, Dim::constant(total as u64))
}

/// Rows twice: `2*T` of them.
fn concat_tokens(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let axis = g.ty(x).shape.iter().position(|d| *d == Dim::symbol("T"))?;
    let y = g.partner(x);
    concatenated(g, &[x, y], axis, Dim::symbol("T").times(&Dim::constant(2)).ok()?)
}

fn gather(g: &mut Growth) -> Option<()> {
    let x = g.movable();
    let shape = g.ty(x).shape;
    let (axis, size) = g.constant_axis(x, 1)?;
    // Axes that move along with those of `x`, then one that is new.
    let mut along: Vec<i64> = Vec::new();
    let mut index_shape = Vec::new();
    for (i, dim) in shape.iter().enumerate() {
        if i != axis && g.rng.once_in(3) {
            along.push(i as i64);
            index_shape.push(dim.clone());
        }
    }
    if g.rng.once_in(2) {
        let at = g.rng.below(along.len() + 1);
        along.insert(at, -1);
        index_shape.insert(at, Dim::constant(g.rng.pick(&[1, 2, 5])));
    }
    let wanted = TensorType::new(DType::I32, index_shape);
    let last = (size - 1) as f64;
    let found = g.choose(|_, k, ty| *ty == wanted && k.range.low >= 0.0 && k.range.high <= last);
    let index = found.unwrap_or_else(|| g.indices(wanted, size));
    let id = g.push(Op::Gather, &[x.id, index.id], [("along", along.into()), ("axis", axis.into())]);
    g.keep(id, x.range);
    Some(())
}

fn scatter_add(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::F32);
    let (axis, size) = g.constant_axis(x, 1)?;
    let count = g.rng.pick(&[0, 1, 3, 5]);
    let index = g.indices(TensorType::new(DType::I32, [Dim::constant(count)]), size);
    let mut ty = g.ty(x);
    ty.shape[axis] = Dim::constant(count);
    let updates = g.source(ty);
    let most = x.range.most() + count as f64 * updates.range.most();
    let error = x.range.error + count as f64 * most;
    let range = Range { low: -most, high: most, error };
    if !g.sane(DType::F32, &range) {
        return None;
    }
    let id = g.push(Op::ScatterAdd, &[x.id, index.id, updates.id], [("axis", axis.into())]);
    g.keep(id, range);
    Some(())
}
