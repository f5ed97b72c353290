//! Selections by constant lists, and pieces put together: permutations undo each other, pieces that
//! were computed alike are computed as one.

use std::collections::BTreeSet;

use egg::Id;
use moec_ir::{Attr, Attrs, DType, Dim, EinsumSpec, Number, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, element_wise};

rules! {
    /// Constant lists of integers put together, selected from or sorted are a constant list.
    constant_list: Bit [Concat, Gather, Argsort, RouteIndex, Slice, Reshape] if "all operands are constant lists";
    /// A selection of a selection selects once.
    selection_of_selection: Bit [Gather] if "one list of indices" if "along the same axis";
    /// A selection of everything in order.
    selection_of_all: Bit [Gather] if "the list counts from 0 to the size";
    /// Pieces selected from one tensor, put together, are one selection.
    concat_of_selections: Bit [Concat] if "along the axis of the selections";
    /// A selection of a transpose, or of a reshape that keeps the axis, moves inwards.
    selection_of_layout: Bit [Gather] if "one list of indices" if "the axis survives";
    /// Selected elements of an element-wise operation.
    selection_of_element_wise: Bit [Gather] if "one list of indices";
    /// Pieces transposed alike, or reshaped alike with the axis kept, are put together before that.
    concat_of_layouts: Bit [Concat] if "not weights alone" if "the axis survives";
    /// Pieces that one element-wise operation computes.
    concat_of_element_wise: Bit [Concat] if "operands are computed alike";
    /// Pieces that contractions of one kind compute, along an axis that both operands have.
    concat_of_contractions: Bit [Concat] if "the axis is in both operands" if "weights selected from one tensor are selected along the axis";
    /// A concat with a constant tensor is padding.
    concat_with_constant_is_pad: Bit [Concat] if "one number throughout";
    /// A contraction over merged axes is one over the axes that were merged, if both operands were.
    contraction_over_axes_merged_alike: Reassociate [Einsum] if "both operands merge axes of the same sizes";
    /// Leading axes merged after an operation on rows are merged before it.
    merged_axes_of_rows: Bit [Reshape] if "the axis of the operation is not merged";
    /// Pairs whose experts are put together from pieces are those of each piece.
    combine_of_concat: Reassociate [Combine] if "the order of experts is constant";
    /// Seats that were padded with zeros hold nothing.
    combine_of_padded_seats: Finite [Combine] if "padding is 0 and comes last";
}

/// Whether a gather selects by one list along its axis.
fn by_list(n: Found<'_>) -> bool {
    n.axes("along") == [usize::MAX]
}

fn list(v: View<'_>, values: &[i64]) -> Option<Term> {
    let ty = moec_ir::TensorType::new(DType::I32, [Dim::constant(values.len() as u64)]);
    let values: std::sync::Arc<[Number]> = values.iter().map(|&x| Number::new(x as f64)).collect();
    v.op(Op::Literal, Vec::new(), Attrs::new([("type", ty.into()), ("values", Attr::Numbers(values))]))
}

/// The indices that sort `values`, equal ones in order.
fn sorted(values: &[i64], descending: bool) -> Vec<i64> {
    let mut order: Vec<i64> = (0..values.len() as i64).collect();
    let key = |&i: &i64| if descending { -values[i as usize] } else { values[i as usize] };
    order.sort_by_key(key);
    order
}

fn constant_list(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let computed = || -> Option<Vec<i64>> {
        let of = |i: usize| v.integers(n.arg(i));
        Some(match n.op {
            Op::Concat => n.args().iter().map(|&arg| v.integers(arg)).collect::<Option<Vec<_>>>()?.concat(),
            Op::Gather => {
                let (values, index) = (of(0)?, of(1)?);
                index.iter().map(|&i| values.get(usize::try_from(i).ok()?).copied()).collect::<Option<_>>()?
            }
            Op::Argsort => sorted(&of(0)?, n.attrs().bool("descending")),
            Op::RouteIndex => {
                let top = v.nodes(n.arg(0), Op::TopK).next()?;
                let k = v.sizing().table().value(top.dim("k")?)?;
                let mut order = sorted(&v.integers(top.arg(0))?, top.attrs().bool("largest"));
                order.truncate(usize::try_from(k).ok()?);
                order
            }
            Op::Slice => {
                let size =
                    |name| v.sizing().table().value(n.dim(name)?).and_then(|n| usize::try_from(n).ok());
                let step = usize::try_from(n.attrs().int("step")).ok()?;
                of(0)?.into_iter().skip(size("start")?).step_by(step).take(size("size")?).collect()
            }
            Op::Reshape if n.dims("shape").len() == 1 => of(0)?,
            _ => return None,
        })
    };
    one(|| list(v, &computed()?))
}

fn selection_of_selection(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !by_list(n) {
        return Vec::new();
    }
    let inner = v.nodes(n.arg(0), Op::Gather).filter(|inner| by_list(*inner) && inner.axis() == n.axis());
    inner
        .filter_map(|inner| {
            let along = Attrs::new([("along", vec![-1i64].into()), ("axis", 0usize.into())]);
            let list = v.op(Op::Gather, vec![v.term(inner.arg(1))?, v.term(n.arg(1))?], along)?;
            v.again(n, vec![v.term(inner.arg(0))?, list])
        })
        .collect()
}

fn selection_of_all(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let all = || {
        let list = v.integers(n.arg(1)).filter(|_| by_list(n))?;
        let size = v.shape(n.arg(0)).get(n.axis())?;
        let counts = list.iter().copied().eq(0..list.len() as i64);
        let whole = v.sizing().table().same(size, &Dim::constant(list.len() as u64));
        v.term(n.arg(0)).filter(|_| counts && whole)
    };
    one(all)
}

/// The parts of a concat, if there are two or more.
fn parts<'a>(n: Found<'a>) -> &'a [Id] {
    if n.args().len() > 1 { n.args() } else { &[] }
}

fn concat_of_selections(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some((&first, others)) = parts(n).split_first() else { return Vec::new() };
    let selections =
        |class: Id| v.nodes(class, Op::Gather).filter(move |g| by_list(*g) && g.axis() == n.axis());
    let mut out = Vec::new();
    for g in selections(first) {
        let source = v.graph.find(g.arg(0));
        out.extend(one(|| {
            let same = |&class: &Id| selections(class).find(|o| v.graph.find(o.arg(0)) == source);
            let others: Vec<Found<'_>> = others.iter().map(same).collect::<Option<_>>()?;
            let lists: Vec<Term> =
                [g].iter().chain(&others).map(|s| v.term(s.arg(1))).collect::<Option<_>>()?;
            let along = Attrs::new([("axis", 0usize.into()), ("size", n.dim("size")?.into())]);
            let list = v.op(Op::Concat, lists, along)?;
            v.again(g, vec![v.term(g.arg(0))?, list])
        }));
    }
    out
}

fn selection_of_layout(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !by_list(n) || v.fixed(n.arg(0)) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for inner in v.all(n.arg(0)) {
        out.extend(one(|| match inner.op {
            Op::Transpose => {
                let perm = inner.axes("perm");
                let x = v.along(n, vec![v.term(inner.arg(0))?, v.term(n.arg(1))?], *perm.get(n.axis())?)?;
                v.transpose(x, &perm)
            }
            Op::Broadcast => {
                let map = inner.axes("map");
                let from = map.iter().position(|&m| m == n.axis())?;
                let x = v.along(n, vec![v.term(inner.arg(0))?, v.term(n.arg(1))?], from)?;
                let mut shape = inner.dims("shape").to_vec();
                shape[n.axis()] = x.shape()[from].clone();
                v.broadcast(x, &map, &shape)
            }
            Op::Reshape => {
                let to = inner.dims("shape");
                let at = axis_before(v, v.shape(inner.arg(0)), to, n.axis())?;
                let x = v.along(n, vec![v.term(inner.arg(0))?, v.term(n.arg(1))?], at)?;
                let mut shape = to.to_vec();
                shape[n.axis()] = x.shape()[at].clone();
                v.reshape(x, &shape)
            }
            _ => None,
        }));
    }
    out
}

/// The axis of `from` that axis `axis` of its reshape to `to` is, if it is one.
fn axis_before(v: View<'_>, from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
    let before = v.sizing().product(&to[..axis])?;
    (0..from.len())
        .find(|&at| from[at] == to[axis] && v.sizing().product(&from[..at]).as_ref() == Some(&before))
}

fn concat_of_layouts(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some((&first, others)) = parts(n).split_first().filter(|_| !n.args().iter().all(|&arg| v.fixed(arg)))
    else {
        return Vec::new();
    };
    let transposed = v.nodes(first, Op::Transpose).filter_map(|t| {
        let perm = t.axes("perm");
        let alike = |&part: &Id| v.nodes(part, Op::Transpose).find(|o| o.axes("perm") == perm);
        let others: Vec<Found<'_>> = others.iter().map(alike).collect::<Option<_>>()?;
        let parts = [t].iter().chain(&others).map(|t| v.term(t.arg(0))).collect::<Option<_>>()?;
        v.transpose(v.along(n, parts, *perm.get(n.axis())?)?, &perm)
    });
    let reshaped = v.nodes(first, Op::Reshape).filter_map(|r| {
        // The pieces have the same axes before, but for the one that they are put together along.
        let from = v.shape(r.arg(0));
        let at = axis_before(v, from, r.dims("shape"), n.axis())?;
        let alike = |&part: &Id| {
            v.nodes(part, Op::Reshape).find(|o| {
                let other = v.shape(o.arg(0));
                let same = (0..from.len()).all(|axis| axis == at || other.get(axis) == Some(&from[axis]));
                same && other.len() == from.len()
                    && axis_before(v, other, o.dims("shape"), n.axis()) == Some(at)
            })
        };
        let others: Vec<Found<'_>> = others.iter().map(alike).collect::<Option<_>>()?;
        let parts = [r].iter().chain(&others).map(|r| v.term(r.arg(0))).collect::<Option<_>>()?;
        let mut shape = r.dims("shape").to_vec();
        shape[n.axis()] = n.dim("size")?.clone();
        v.reshape(v.along(n, parts, at)?, &shape)
    });
    transposed.chain(reshaped).collect()
}

fn selection_of_element_wise(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !by_list(n) || v.fixed(n.arg(0)) {
        return Vec::new();
    }
    let inner = v.all(n.arg(0)).filter(|inner| element_wise(inner.op));
    inner
        .filter_map(|inner| {
            let chosen = |&arg| v.again(n, vec![v.term(arg)?, v.term(n.arg(1))?]);
            v.again(inner, inner.args().iter().map(chosen).collect::<Option<_>>()?)
        })
        .collect()
}

/// How many classes are looked through for what a piece was selected from.
const WAYS: usize = 32;

/// What a class was selected from by lists, seen through layout operations.
fn sources(v: View<'_>, class: Id) -> BTreeSet<Id> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![(v.graph.find(class), false)];
    while let Some((class, selected)) = open.pop().filter(|_| seen.len() < WAYS) {
        if !seen.insert((class, selected)) {
            continue;
        }
        if selected {
            found.insert(class);
        }
        for n in v.all(class) {
            match n.op {
                Op::Gather if by_list(n) => open.push((v.graph.find(n.arg(0)), true)),
                Op::Transpose | Op::Reshape => open.push((v.graph.find(n.arg(0)), selected)),
                _ => {}
            }
        }
    }
    found
}

/// How deep it is looked into how pieces are computed.
const DEPTH: usize = 4;

/// Whether two pieces are computed alike: selected from the same, or by one operation of pieces alike.
/// What is not alike may be put together too, but nothing comes of it.
fn alike(v: View<'_>, a: Id, b: Id, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let of_one = || !sources(v, a).is_disjoint(&sources(v, b));
    let by_one = |x: Found<'_>, y: Found<'_>| match x.op {
        Op::Transpose | Op::Reshape | Op::Broadcast | Op::Slice | Op::Gather => false,
        Op::Einsum => orders(x, y).iter().any(|order| {
            x.args().iter().zip(order).all(|(&x, &y)| match (v.fixed(x), v.fixed(y)) {
                (true, true) => {
                    let (x, y) = (sources(v, x), sources(v, y));
                    !x.is_disjoint(&y) || x.is_empty() && y.is_empty()
                }
                (x, y) => x == y,
            })
        }),
        op if element_wise(op) => {
            let all = |order: &Vec<Id>| x.args().iter().zip(order).all(|(&x, &y)| alike(v, x, y, depth));
            orders(x, y).iter().any(all)
        }
        _ => true,
    };
    v.graph.find(a) == v.graph.find(b) || of_one() || v.all(a).any(|x| v.nodes(b, x.op).any(|y| by_one(x, y)))
}

/// The orders in which operands of `y` may belong to those of `x`, which is the same operation.
fn orders(x: Found<'_>, y: Found<'_>) -> Vec<Vec<Id>> {
    let mut orders = vec![y.args().to_vec()];
    if crate::term::commutative(x.op) {
        orders.push(y.args().iter().rev().copied().collect());
    }
    orders
}

fn concat_of_element_wise(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let [a, b] = *parts(n) else { return Vec::new() };
    if v.fixed(a) && v.fixed(b) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for left in v.all(a).filter(|left| element_wise(left.op)) {
        for right in v.nodes(b, left.op) {
            for order in orders(left, right) {
                let pairs = || left.args().iter().zip(&order);
                if !pairs().all(|(&x, &y)| alike(v, x, y, DEPTH)) {
                    continue;
                }
                let joined = |(&x, &y): (&Id, &Id)| v.again(n, vec![v.term(x)?, v.term(y)?]);
                out.extend(one(|| v.again(left, pairs().map(joined).collect::<Option<_>>()?)));
            }
        }
    }
    out
}

/// Whether weights, put together along `axis`, are seen to be a selection of what they were selected from; so
/// are any that were not selected from one tensor. Seen through a transpose only, they would become a new
/// tensor, of which pieces are selected again.
fn are_one(v: View<'_>, [a, b]: [Id; 2], axis: usize) -> bool {
    let from = |class: Id| -> BTreeSet<Id> {
        let selections = v.nodes(class, Op::Gather).filter(|g| by_list(*g) && g.axis() == axis);
        selections.map(|g| v.graph.find(g.arg(0))).collect()
    };
    !v.fixed(a) || !from(a).is_disjoint(&from(b)) || sources(v, a).is_disjoint(&sources(v, b))
}

fn concat_of_contractions(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let [a, b] = *parts(n) else { return Vec::new() };
    let mut out = Vec::new();
    for left in v.nodes(a, Op::Einsum) {
        let Some(spec) = left.spec() else { continue };
        let Some(&letter) = spec.out.get(n.axis()) else { continue };
        let place = |letters: &[u8]| letters.iter().position(|l| *l == letter);
        let (Some(lhs), Some(rhs)) = (place(&spec.lhs), place(&spec.rhs)) else { continue };
        for right in v.nodes(b, Op::Einsum) {
            let Some(other) = right.spec() else { continue };
            let args = match () {
                () if other.canonical() == spec.canonical() => [right.arg(0), right.arg(1)],
                () if other.swapped().canonical() == spec.canonical() => [right.arg(1), right.arg(0)],
                () => continue,
            };
            let weights = |x: Id| v.fixed(x);
            if weights(left.arg(0)) != weights(args[0]) || weights(left.arg(1)) != weights(args[1]) {
                continue;
            }
            if !are_one(v, [left.arg(0), args[0]], lhs) || !are_one(v, [left.arg(1), args[1]], rhs) {
                continue;
            }
            out.extend(one(|| {
                let x = v.along(n, vec![v.term(left.arg(0))?, v.term(args[0])?], lhs)?;
                let w = v.along(n, vec![v.term(left.arg(1))?, v.term(args[1])?], rhs)?;
                v.einsum(&spec, x, w)
            }));
        }
    }
    out
}

fn concat_with_constant_is_pad(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let [a, b] = *n.args() else { return Vec::new() };
    let mut out = Vec::new();
    for (x, constant, first) in [(a, b, false), (b, a, true)] {
        let (Some(value), None) = (v.uniform(constant), v.uniform(x)) else { continue };
        out.extend(one(|| {
            let added = v.shape(constant).get(n.axis())?.clone();
            let none = Dim::constant(0);
            let (before, after) = if first { (added, none) } else { (none, added) };
            let attrs = [
                ("after", Attr::from(after)),
                ("axis", n.axis().into()),
                ("before", before.into()),
                ("size", n.dim("size")?.into()),
                ("value", value.into()),
            ];
            v.op(Op::Pad, vec![v.term(x)?], Attrs::new(attrs))
        }));
    }
    out
}

fn contraction_over_axes_merged_alike(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some(spec) = n.spec() else { return Vec::new() };
    let mut out = Vec::new();
    for left in v.nodes(n.arg(0), Op::Reshape) {
        for right in v.nodes(n.arg(1), Op::Reshape) {
            out.extend(one(|| split_alike(v, n, &spec, left, right)));
        }
    }
    out
}

fn split_alike(
    v: View<'_>,
    n: Found<'_>,
    spec: &EinsumSpec,
    left: Found<'_>,
    right: Found<'_>,
) -> Option<Term> {
    let (a, b) = (v.term(left.arg(0))?, v.term(right.arg(0))?);
    let of_a = super::contract::parts(v, v.shape(n.arg(0)), a.shape())?;
    let of_b = super::contract::parts(v, v.shape(n.arg(1)), b.shape())?;
    let mut free =
        (b'a'..=b'z').chain(b'A'..=b'Z').filter(|l| !spec.lhs.contains(l) && !spec.rhs.contains(l));
    let mut named: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut lhs = Vec::new();
    for (letter, range) in spec.lhs.iter().zip(of_a) {
        let names: Vec<u8> =
            if range.len() == 1 { vec![*letter] } else { free.by_ref().take(range.len()).collect() };
        let contracted = !spec.out.contains(letter);
        if range.len() > 1 {
            let at = spec.rhs.iter().position(|l| l == letter)?;
            let same = a.shape().get(range.clone()) == b.shape().get(of_b[at].clone());
            if !contracted || !same || names.len() != range.len() {
                return None;
            }
            named.push((*letter, names.clone()));
        }
        lhs.extend(names);
    }
    let mut rhs = Vec::new();
    for (letter, range) in spec.rhs.iter().zip(of_b) {
        match named.iter().find(|(l, _)| l == letter) {
            Some((_, names)) => rhs.extend(names),
            None if range.len() == 1 => rhs.push(*letter),
            None => return None,
        }
    }
    if named.is_empty() {
        return None;
    }
    v.einsum(&EinsumSpec { lhs, rhs, out: spec.out.clone() }, a, b)
}

fn merged_axes_of_rows(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let to = n.dims("shape");
    let Some(groups) = super::contract::parts(v, to, v.shape(n.arg(0))) else { return Vec::new() };
    let mut out = Vec::new();
    for inner in v.all(n.arg(0)) {
        out.extend(one(|| match inner.op {
            Op::Softmax | Op::Cumsum | Op::Argsort => {
                let axis = groups.iter().position(|g| g.len() == 1 && g.start == inner.axis())?;
                v.along(inner, vec![v.reshape(v.term(inner.arg(0))?, to)?], axis)
            }
            Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All => {
                // The reduced axis stands at the first boundary of groups that it is at.
                let axis = inner.axis();
                let at = groups.iter().position(|g| g.start >= axis).unwrap_or(groups.len());
                if groups.iter().any(|g| g.start < axis && axis < g.end) {
                    return None;
                }
                let mut wide = to.to_vec();
                wide.insert(at, v.shape(inner.arg(0)).get(axis)?.clone());
                v.along(inner, vec![v.reshape(v.term(inner.arg(0))?, &wide)?], at)
            }
            Op::RouteIndex | Op::RouteValue => {
                let top = v.nodes(inner.arg(0), Op::TopK).next()?;
                let axis = groups.iter().position(|g| g.len() == 1 && g.start == top.axis())?;
                let mut scores = to.to_vec();
                scores[axis] = v.shape(top.arg(0)).get(top.axis())?.clone();
                let scores = v.reshape(v.term(top.arg(0))?, &scores)?;
                v.again(inner, vec![v.along(top, vec![scores], axis)?])
            }
            Op::OneHot => {
                let last = groups.last().filter(|g| g.len() == 1)?;
                debug_assert_eq!(last.end, v.rank(n.arg(0)));
                let (_, rows) = to.split_last()?;
                v.again(inner, vec![v.reshape(v.term(inner.arg(0))?, rows)?])
            }
            _ => None,
        }));
    }
    out
}

/// The axes of experts, seats and groups where they are now.
type Roles = [Option<usize>; 3];

/// `class`, in which rows were taken by the axes `roles`, seen through transposes: what it is a
/// transpose of, with the axes there, and for each axis of the class that of what was found.
fn turned<'a>(v: View<'a>, class: Id, roles: Roles) -> Vec<(Found<'a>, Roles, Vec<usize>)> {
    let rank = v.rank(class);
    let mut found: Vec<_> = v.all(class).map(|n| (n, roles, (0..rank).collect())).collect();
    for t in v.nodes(class, Op::Transpose) {
        let perm = t.axes("perm");
        let moved = roles.map(|role| role.and_then(|r| perm.get(r).copied()));
        found.extend(v.all(t.arg(0)).map(|n| (n, moved, perm.clone())));
    }
    found
}

/// The rows by seat in plan rows `z` of the plan.
fn taken_by_seat<'a>(v: View<'a>, n: Found<'a>) -> impl Iterator<Item = Found<'a>> {
    let plan = v.graph.find(n.arg(0));
    v.nodes(n.arg(2), Op::TakeSeats).filter(move |take| v.graph.find(take.arg(0)) == plan)
}

fn roles_of(take: Found<'_>) -> Roles {
    [Some(0), Some(1), take.attrs().bool("grouped").then_some(2)]
}

fn combine_of_concat(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for take in taken_by_seat(v, n) {
        for (found, roles, turn) in turned(v, take.arg(1), roles_of(take)) {
            let pieces: Vec<(Found<'_>, Vec<i64>)> = match found.op {
                Op::Concat => v
                    .sizing()
                    .table()
                    .value(&v.shape(take.arg(1))[0])
                    .map_or(Vec::new(), |all| vec![(found, (0..all as i64).collect())]),
                Op::Gather if by_list(found) && roles[0] == Some(found.axis()) => {
                    let order = v.integers(found.arg(1));
                    let concats = v.nodes(found.arg(0), Op::Concat);
                    order.map_or(Vec::new(), |order| concats.map(|c| (c, order.clone())).collect())
                }
                _ => Vec::new(),
            };
            for (concat, order) in pieces {
                if roles[0] == Some(concat.axis()) {
                    out.extend(one(|| by_piece(v, n, take, concat, &order, &turn)));
                }
            }
        }
    }
    out
}

/// The sum of a combine for each operand of `concat`; expert `e` is row `order[e]` of it.
fn by_piece(
    v: View<'_>,
    n: Found<'_>,
    take: Found<'_>,
    concat: Found<'_>,
    order: &[i64],
    turn: &[usize],
) -> Option<Term> {
    let (mut start, mut sum) = (0i64, None);
    for &piece in parts(concat) {
        let size = i64::try_from(v.sizing().table().value(v.shape(piece).get(concat.axis())?)?).ok()?;
        // Which expert each row of the piece is for: exactly one.
        let expert = |row: i64| order.iter().position(|&at| at == row).map(|e| e as i64);
        let experts: Vec<i64> = (start..start + size).map(expert).collect::<Option<_>>()?;
        start += size;
        let plan = v.op(Op::PlanSubset, vec![v.term(n.arg(0))?, list(v, &experts)?], Attrs::default())?;
        let rows = v.again(take, vec![plan.clone(), v.transpose(v.term(piece)?, turn)?])?;
        let part = v.op(Op::Combine, vec![plan, v.term(n.arg(1))?, rows], Attrs::default())?;
        sum = Some(match sum {
            Some(sum) => v.op(Op::Add, vec![sum, part], Attrs::default())?,
            None => part,
        });
    }
    sum.filter(|_| start == order.len() as i64)
}

fn combine_of_padded_seats(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for take in taken_by_seat(v, n) {
        for (pad, roles, turn) in turned(v, take.arg(1), roles_of(take)) {
            let zero = pad.op == Op::Pad && pad.attrs().number("value") == 0.0;
            if !zero || roles[1] != Some(pad.axis()) || !pad.dim("before").is_some_and(|d| d.is(0)) {
                continue;
            }
            out.extend(one(|| {
                let attrs = take.attrs();
                let seats = v.shape(pad.arg(0)).get(pad.axis())?;
                let capacity = Attrs::new([
                    ("capacity", seats.into()),
                    ("group", attrs.dim("group").into()),
                    ("slots_first", attrs.bool("slots_first").into()),
                ]);
                let plan = v.op(Op::PlanCapacity, vec![v.term(n.arg(0))?], capacity)?;
                let rows = v.again(take, vec![plan.clone(), v.transpose(v.term(pad.arg(0))?, &turn)?])?;
                v.op(Op::Combine, vec![plan, v.term(n.arg(1))?, rows], Attrs::default())
            }));
        }
    }
    out
}
