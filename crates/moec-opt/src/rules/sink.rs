//! Layout operations move towards the sources, where contractions and weights absorb them.

use moec_ir::Op;

use super::contract::parts;
use super::{one, rules};
use crate::term::{Found, Term, View, element_wise};

rules! {
    /// A transpose, reshape or slice of an element-wise operation is that operation of transposed,
    /// reshaped or sliced operands.
    layout_of_element_wise: Bit [Transpose, Reshape, Slice] if "not weights alone";
    /// A transpose of a reduction reduces a transposed operand.
    transpose_of_reduction: Bit [Transpose] if "not weights alone";
    /// A slice of a broadcast: of its operand, or a broadcast to a smaller shape.
    slice_of_broadcast: Bit [Slice];
    /// Merged axes of a broadcast: merged in its operand, or repeated as one.
    merged_axes_of_broadcast: Bit [Reshape] if "merged axes are all repeated or none is";
    /// A slice of a transpose is a transpose of a slice.
    slice_of_transpose: Bit [Slice];
}

fn layout_of_element_wise(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if v.fixed(n.arg(0)) {
        return Vec::new();
    }
    let inner = v.all(n.arg(0)).filter(|inner| element_wise(inner.op));
    inner
        .filter_map(|inner| {
            let moved = |&arg| v.again(n, vec![v.term(arg)?]);
            v.again(inner, inner.args().iter().map(moved).collect::<Option<_>>()?)
        })
        .collect()
}

fn transpose_of_reduction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if v.fixed(n.arg(0)) {
        return Vec::new();
    }
    let perm = n.axes("perm");
    let reductions = v
        .all(n.arg(0))
        .filter(|r| matches!(r.op, Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All));
    reductions
        .filter_map(|inner| {
            // The reduced axis stays where it is; the others move around it.
            let axis = inner.axis();
            let mut wide: Vec<usize> = perm.iter().map(|&p| if p < axis { p } else { p + 1 }).collect();
            wide.insert(axis, axis);
            v.along(inner, vec![v.transpose(v.term(inner.arg(0))?, &wide)?], axis)
        })
        .collect()
}

fn slice_of_broadcast(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let inner = v.nodes(n.arg(0), Op::Broadcast);
    inner
        .filter_map(|inner| {
            let map = inner.axes("map");
            let mut shape = inner.dims("shape").to_vec();
            *shape.get_mut(axis)? = n.dim("size")?.clone();
            let x = v.term(inner.arg(0))?;
            let x = match map.iter().position(|&m| m == axis) {
                Some(from) => v.along(n, vec![x], from)?,
                None => x,
            };
            v.broadcast(x, &map, &shape)
        })
        .collect()
}

fn slice_of_transpose(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(0), Op::Transpose);
    inner
        .flat_map(|inner| {
            one(|| {
                let perm = inner.axes("perm");
                let from = *perm.get(n.axis())?;
                v.transpose(v.along(n, vec![v.term(inner.arg(0))?], from)?, &perm)
            })
        })
        .collect()
}

fn merged_axes_of_broadcast(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let to = n.dims("shape");
    let inner = v.nodes(n.arg(0), Op::Broadcast);
    inner
        .filter_map(|inner| {
            let groups = parts(v, to, inner.dims("shape"))?;
            let map = inner.axes("map");
            // The axes of the operand in the order of the result, group by group.
            let (mut order, mut shape, mut merged) = (Vec::new(), Vec::new(), Vec::new());
            for (axis, group) in groups.into_iter().enumerate() {
                let own: Vec<usize> =
                    group.clone().filter_map(|a| map.iter().position(|&m| m == a)).collect();
                if own.is_empty() {
                    continue;
                }
                if own.len() != group.len() {
                    return None;
                }
                order.extend(own);
                shape.push(to[axis].clone());
                merged.push(axis);
            }
            let x = v.reshape(v.transpose(v.term(inner.arg(0))?, &order)?, &shape)?;
            v.broadcast(x, &merged, to)
        })
        .collect()
}
