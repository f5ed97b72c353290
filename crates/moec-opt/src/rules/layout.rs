//! Operations that move elements: compositions, identities, constants.

use moec_ir::{DType, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, inverse};

rules! {
    /// A broadcast or transpose of a broadcast or transpose is one broadcast or transpose.
    expansion_of_expansion: Bit [Broadcast, Transpose];
    /// A transpose that keeps every axis.
    transpose_identity: Bit [Transpose];
    /// A broadcast that adds no axis is a transpose.
    broadcast_without_new_axis: Bit [Broadcast];
    /// A reshape of a reshape.
    reshape_of_reshape: Bit [Reshape];
    /// A reshape to the shape that the operand has.
    reshape_identity: Bit [Reshape];
    /// A slice of everything.
    slice_identity: Bit [Slice] if "the size is that of the axis";
    /// Moved elements of a constant are a constant; so is a cast of one that is exact.
    moved_constant: Bit [Broadcast, Transpose, Reshape, Slice, Gather, TakeRows, TakeSlots, TakeExperts, TakePairs, Cast]
        if "all elements are one number";
}

/// The map of a broadcast, or of the broadcast that a transpose is.
fn map_of(n: Found<'_>) -> Vec<usize> {
    match n.op {
        Op::Transpose => inverse(&n.axes("perm")),
        _ => n.axes("map"),
    }
}

fn expansion_of_expansion(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let outer = map_of(n);
    let shape = result_shape(v, n);
    let inner = v.expansions(n.arg(0)).into_iter().skip(1);
    inner
        .filter_map(|(x, map)| {
            let map: Option<Vec<usize>> = map.iter().map(|&axis| outer.get(axis).copied()).collect();
            v.broadcast(v.term(x)?, &map?, &shape)
        })
        .collect()
}

/// The shape of a broadcast or transpose.
fn result_shape(v: View<'_>, n: Found<'_>) -> Vec<moec_ir::Dim> {
    match n.op {
        Op::Transpose => {
            let shape = v.shape(n.arg(0));
            n.axes("perm").iter().filter_map(|&axis| shape.get(axis).cloned()).collect()
        }
        _ => n.dims("shape").to_vec(),
    }
}

fn transpose_identity(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let perm = n.axes("perm");
    one(|| v.term(n.arg(0)).filter(|_| perm.iter().copied().eq(0..perm.len())))
}

fn broadcast_without_new_axis(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (map, shape) = (n.axes("map"), n.dims("shape"));
    one(|| v.broadcast(v.term(n.arg(0))?, &map, shape).filter(|_| map.len() == shape.len()))
}

fn reshape_of_reshape(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(0), Op::Reshape);
    inner.filter_map(|inner| v.reshape(v.term(inner.arg(0))?, n.dims("shape"))).collect()
}

fn reshape_identity(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| v.term(n.arg(0)).filter(|_| v.shape(n.arg(0)) == n.dims("shape")))
}

fn slice_identity(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| v.term(n.arg(0)).filter(|_| v.shape(n.arg(0)).get(n.axis()) == n.dim("size")))
}

fn moved_constant(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let value = n.args().iter().find_map(|&arg| v.uniform(arg))?;
        let args = n.args().iter().map(|&arg| v.term(arg)).collect::<Option<Vec<_>>>()?;
        let result = v.again(n, args)?;
        let ty = result.ty.tensor()?;
        let exact = n.op != Op::Cast
            || match ty.dtype {
                DType::F32 => f64::from(value as f32) == value,
                DType::I32 => f64::from(value as i32) == value,
                _ => false,
            };
        v.constant(ty.dtype, &ty.shape, value).filter(|_| exact)
    })
}
