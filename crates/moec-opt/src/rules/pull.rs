//! `take_pairs` and `take_seats` move from what is computed for every expert and token (or seat) to what it is
//! computed from, so that only the chosen pairs are computed. Every operation that treats the axes of
//! experts and tokens alike lets them through; selections are pulled, padding is never pushed.

use moec_ir::{Attrs, Dim, EinsumSpec, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, element_wise, leading};

rules! {
    /// Pairs of an element-wise operation.
    pairs_of_element_wise: Bit [TakePairs, TakeSeats];
    /// Pairs of a broadcast: rows by token, by expert, by pair, or the same for all.
    pairs_of_broadcast: Bit [TakePairs, TakeSeats];
    /// Pairs of a sparse gate by the plan of its own indices are its values.
    pairs_of_own_gate: Bit [TakePairs] if "the plan is that of the gate's indices";
    /// Pairs of a transpose that keeps experts and tokens in front.
    pairs_of_transpose: Bit [TakePairs, TakeSeats] if "experts and tokens stay first";
    /// Pairs of a contraction with weights of experts are a grouped product.
    pairs_of_contraction: Reassociate [TakePairs, TakeSeats];
    /// Pairs of a reduction along another axis.
    pairs_of_reduction: Bit [TakePairs, TakeSeats];
    /// Pairs of an operation along another axis that keeps it.
    pairs_of_row_operation: Bit [TakePairs, TakeSeats] if "the axis is neither experts nor tokens";
    /// Pairs of a reshape of the other axes.
    pairs_of_reshape: Bit [TakePairs, TakeSeats] if "experts and tokens stay first";
    /// Pairs of what a route chooses along another axis.
    pairs_of_route: Bit [TakePairs, TakeSeats] if "the axis is neither experts nor tokens";
}

/// `x` in plan rows, taken by an operation without attributes.
fn take(v: View<'_>, n: Found<'_>, op: Op, x: Term) -> Option<Term> {
    v.op(op, vec![v.term(n.arg(0))?, x], Attrs::default())
}

/// `x`, which has the leading axes of the operand of `n`, taken in the same way.
fn pairs(v: View<'_>, n: Found<'_>, x: Term) -> Option<Term> {
    v.again(n, vec![v.term(n.arg(0))?, x])
}

/// How many axes rows are taken by: experts and tokens, or experts, seats and, if it has any, groups.
fn leading_axes(n: Found<'_>) -> usize {
    if n.op == Op::TakeSeats && n.attrs().bool("grouped") { 3 } else { 2 }
}

/// The number of plan rows.
fn rows(v: View<'_>, n: Found<'_>) -> Option<Dim> {
    v.plan(n.arg(0))?.rows().ok()
}

/// The shape `[rows, rest of shape]`.
fn row_shape(v: View<'_>, n: Found<'_>, shape: &[Dim]) -> Option<Vec<Dim>> {
    Some([rows(v, n)?].iter().chain(shape.get(leading_axes(n)..)?).cloned().collect())
}

fn pairs_of_element_wise(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.all(n.arg(1)).filter(|inner| element_wise(inner.op));
    inner
        .filter_map(|inner| {
            let taken = |&arg| pairs(v, n, v.term(arg)?);
            v.again(inner, inner.args().iter().map(taken).collect::<Option<_>>()?)
        })
        .collect()
}

/// `x`, whose axes `own` (as far as it has them) come from the leading axes of a bigger tensor, in
/// plan rows. The flag says whether the result has an axis of rows; the other axes keep their order.
fn taken(v: View<'_>, n: Found<'_>, x: Term, own: &[Option<usize>]) -> Option<(Term, bool)> {
    let first: Vec<usize> = own.iter().copied().flatten().collect();
    if first.is_empty() {
        return Some((x, false));
    }
    let x = v.transpose(x.clone(), &leading(&first, x.rank()))?;
    let op = match (n.op, own) {
        (_, [Some(_), others @ ..]) if others.iter().all(Option::is_none) => Op::TakeExperts,
        (Op::TakePairs, [None, Some(_)]) => Op::TakeRows,
        (op, own) if own.iter().all(Option::is_some) => op,
        _ => {
            // Repeated along the leading axes that it lacks.
            let all = own.len();
            let present = (0..all).filter(|&i| own[i].is_some());
            let map: Vec<usize> = present.chain(all..all + x.rank() - first.len()).collect();
            let rest = x.shape()[first.len()..].iter();
            let shape: Vec<Dim> = v.shape(n.arg(1))[..all].iter().chain(rest).cloned().collect();
            let repeated = v.broadcast(x, &map, &shape)?;
            return Some((pairs(v, n, repeated)?, true));
        }
    };
    let x = if op == n.op { pairs(v, n, x) } else { take(v, n, op, x) };
    Some((x?, true))
}

fn pairs_of_broadcast(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Broadcast);
    inner
        .filter_map(|b| {
            let (map, all) = (b.axes("map"), leading_axes(n));
            let own: Vec<Option<usize>> = (0..all).map(|axis| map.iter().position(|&m| m == axis)).collect();
            // What lacks only some of them would be repeated along these again.
            let whole = own.iter().all(Option::is_some) || own[1..].iter().all(Option::is_none);
            if n.op == Op::TakeSeats && !whole {
                return None;
            }
            let (x, has_rows) = taken(v, n, v.term(b.arg(0))?, &own)?;
            let others = map.iter().filter(|&&m| m >= all).map(|&m| m - (all - 1));
            let map: Vec<usize> = has_rows.then_some(0).into_iter().chain(others).collect();
            v.broadcast(x, &map, &row_shape(v, n, b.dims("shape"))?)
        })
        .collect()
}

fn pairs_of_own_gate(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    if v.rank(n.arg(1)) != 2 {
        return out;
    }
    for (source, _) in v.expansions(n.arg(1)).into_iter().filter(|(_, map)| *map == [1, 0]) {
        for d in v.nodes(source, Op::Densify).filter(|d| d.axis() == 1) {
            let own = |p: &Found<'_>| v.graph.find(p.arg(0)) == v.graph.find(d.arg(1));
            if v.nodes(n.arg(0), Op::Plan).any(|p| own(&p)) {
                out.extend(one(|| take(v, n, Op::TakeSlots, v.term(d.arg(0))?)));
            }
        }
    }
    out
}

fn pairs_of_transpose(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Transpose);
    inner
        .filter_map(|t| {
            let (perm, all) = (t.axes("perm"), leading_axes(n));
            if !perm.get(..all)?.iter().copied().eq(0..all) {
                return None;
            }
            let others = perm[all..].iter().map(|&p| p - (all - 1));
            let perm: Vec<usize> = [0].into_iter().chain(others).collect();
            v.transpose(pairs(v, n, v.term(t.arg(0))?)?, &perm)
        })
        .collect()
}

fn pairs_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Einsum);
    inner
        .flat_map(|e| {
            let Some(spec) = e.spec() else { return Vec::new() };
            let swapped = spec.swapped();
            let sides = [(spec, e.arg(0), e.arg(1)), (swapped, e.arg(1), e.arg(0))];
            let grouped = sides.iter().filter_map(|(spec, a, b)| grouped_product(v, n, spec, *a, *b));
            let plain = sides.iter().take(1).filter_map(|(spec, a, b)| row_product(v, n, spec, *a, *b));
            grouped.chain(plain).collect()
        })
        .collect()
}

/// A letter of `spec` that nothing has, for rows.
fn row_letter(spec: &EinsumSpec) -> Option<u8> {
    (b'a'..=b'z').chain(b'A'..=b'Z').find(|l| !spec.lhs.contains(l) && !spec.rhs.contains(l))
}

fn without<'l>(letters: &'l [u8], gone: &'l [u8]) -> impl Iterator<Item = u8> + 'l {
    letters.iter().copied().filter(move |l| !gone.contains(l))
}

/// `a` has tokens (or seats), `b` has experts and none of these.
fn grouped_product(v: View<'_>, n: Found<'_>, spec: &EinsumSpec, a: egg::Id, b: egg::Id) -> Option<Term> {
    let gone = spec.out.get(..leading_axes(n))?;
    let at = |letters: &[u8], letter| letters.iter().position(|l| *l == letter);
    let experts = at(&spec.rhs, gone[0])?;
    if gone[1..].iter().any(|l| spec.rhs.contains(l) || !spec.lhs.contains(l)) {
        return None;
    }
    let own: Vec<Option<usize>> = gone.iter().map(|l| at(&spec.lhs, *l)).collect();
    let (x, _) = taken(v, n, v.term(a)?, &own)?;
    let w = v.transpose(v.term(b)?, &leading(&[experts], spec.rhs.len()))?;
    let row = row_letter(spec)?;
    let rows_first = |letters| [row].into_iter().chain(without(letters, gone)).collect::<Vec<u8>>();
    let inner = EinsumSpec {
        lhs: rows_first(&spec.lhs),
        rhs: [gone[0]].into_iter().chain(without(&spec.rhs, gone)).collect(),
        out: rows_first(&spec.out),
    };
    let attrs = Attrs::new([("spec", inner.canonical().to_string().into())]);
    v.op(Op::GroupedMatmul, vec![v.term(n.arg(0))?, x, w], attrs)
}

/// No operand has experts without tokens, so a plain contraction of rows does.
fn row_product(v: View<'_>, n: Found<'_>, spec: &EinsumSpec, a: egg::Id, b: egg::Id) -> Option<Term> {
    let gone = spec.out.get(..leading_axes(n))?;
    let row = row_letter(spec)?;
    let operand = |letters: &[u8], arg| {
        let own: Vec<Option<usize>> = gone.iter().map(|l| letters.iter().position(|m| m == l)).collect();
        if own[0].is_some() && own[1..].iter().any(Option::is_none) {
            return None;
        }
        let (x, has_rows) = taken(v, n, v.term(arg)?, &own)?;
        Some((x, has_rows.then_some(row).into_iter().chain(without(letters, gone)).collect::<Vec<u8>>()))
    };
    let (x, lhs) = operand(&spec.lhs, a)?;
    let (y, rhs) = operand(&spec.rhs, b)?;
    let out = [row].into_iter().chain(without(&spec.out, gone)).collect();
    v.einsum(&EinsumSpec { lhs, rhs, out }, x, y)
}

fn pairs_of_reduction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let reductions = v
        .all(n.arg(1))
        .filter(|r| matches!(r.op, Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All | Op::Argmax));
    reductions
        .filter_map(|r| {
            let (x, axis, all) = (v.term(r.arg(0))?, r.axis(), leading_axes(n));
            if axis >= all {
                return v.along(r, vec![pairs(v, n, x)?], axis + 1 - all);
            }
            // The reduced axis moves behind those that rows are taken by.
            let kept = (0..=all).filter(|&a| a != axis).chain([axis]).collect::<Vec<usize>>();
            let x = v.transpose(x.clone(), &leading(&kept, x.rank()))?;
            v.along(r, vec![pairs(v, n, x)?], 1)
        })
        .collect()
}

fn pairs_of_row_operation(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let operations = v.all(n.arg(1)).filter(|r| {
        let keeps = matches!(
            r.op,
            Op::Softmax | Op::Cumsum | Op::Argsort | Op::Slice | Op::Pad | Op::Concat | Op::Densify
        );
        (keeps && r.axis() >= leading_axes(n)) || r.op == Op::OneHot
    });
    operations
        .filter_map(|r| {
            let taken: Option<Vec<Term>> = r.args().iter().map(|&arg| pairs(v, n, v.term(arg)?)).collect();
            match r.op {
                Op::OneHot => v.again(r, taken?),
                _ => v.along(r, taken?, r.axis() + 1 - leading_axes(n)),
            }
        })
        .collect()
}

fn pairs_of_reshape(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Reshape);
    inner
        .filter_map(|r| {
            let (from, to) = (v.shape(r.arg(0)), r.dims("shape"));
            if from.get(..leading_axes(n))? != to.get(..leading_axes(n))? {
                return None;
            }
            v.reshape(pairs(v, n, v.term(r.arg(0))?)?, &row_shape(v, n, to)?)
        })
        .collect()
}

fn pairs_of_route(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let projections =
        v.all(n.arg(1)).filter(|r| matches!(r.op, Op::RouteIndex | Op::RouteValue | Op::RouteMask));
    projections
        .flat_map(|projection| {
            let routes =
                v.nodes(projection.arg(0), Op::TopK).filter(move |top| top.axis() >= leading_axes(n));
            routes.flat_map(move |top| {
                one(|| {
                    let scores = pairs(v, n, v.term(top.arg(0))?)?;
                    v.again(projection, vec![v.along(top, vec![scores], top.axis() + 1 - leading_axes(n))?])
                })
            })
        })
        .collect()
}
