//! `take_pairs` moves from what is computed for every expert and token to what it is computed from,
//! so that only the chosen pairs are computed. Every operation that treats the axes of experts and
//! tokens alike lets it through; selections are pulled, padding is never pushed.

use moec_ir::{Attrs, Dim, EinsumSpec, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, element_wise, leading};

rules! {
    /// Pairs of an element-wise operation.
    pairs_of_element_wise: Bit [TakePairs];
    /// Pairs of a broadcast: rows by token, by expert, by pair, or the same for all.
    pairs_of_broadcast: Bit [TakePairs];
    /// Pairs of a sparse gate by the plan of its own indices are its values.
    pairs_of_own_gate: Bit [TakePairs] if "the plan is that of the gate's indices";
    /// Pairs of a transpose that keeps experts and tokens in front.
    pairs_of_transpose: Bit [TakePairs] if "experts and tokens stay first";
    /// Pairs of a contraction with weights of experts are a grouped product.
    pairs_of_contraction: Reassociate [TakePairs];
    /// Pairs of a reduction along another axis.
    pairs_of_reduction: Bit [TakePairs];
    /// Pairs of an operation along another axis that keeps it.
    pairs_of_row_operation: Bit [TakePairs] if "the axis is neither experts nor tokens";
    /// Pairs of a reshape of the other axes.
    pairs_of_reshape: Bit [TakePairs] if "experts and tokens stay first";
    /// Pairs of what a route chooses along another axis.
    pairs_of_route: Bit [TakePairs] if "the axis is neither experts nor tokens";
}

/// `x`, with experts and tokens first, in plan rows.
fn take(v: View<'_>, n: Found<'_>, op: Op, x: Term) -> Option<Term> {
    v.op(op, vec![v.term(n.arg(0))?, x], Attrs::default())
}

fn pairs(v: View<'_>, n: Found<'_>, x: Term) -> Option<Term> {
    take(v, n, Op::TakePairs, x)
}

/// The number of plan rows.
fn rows(v: View<'_>, n: Found<'_>) -> Option<Dim> {
    v.plan(n.arg(0))?.rows().ok()
}

/// The shape `[rows, rest of shape]`.
fn row_shape(v: View<'_>, n: Found<'_>, shape: &[Dim]) -> Option<Vec<Dim>> {
    Some([rows(v, n)?].iter().chain(shape.get(2..)?).cloned().collect())
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

/// `x`, whose axes `experts` and `tokens` (as far as it has them) come from those of a bigger
/// tensor, in plan rows. The flag says whether the result has an axis of rows; the other axes keep
/// their order.
fn taken(
    v: View<'_>,
    n: Found<'_>,
    x: Term,
    experts: Option<usize>,
    tokens: Option<usize>,
) -> Option<(Term, bool)> {
    let first: Vec<usize> = experts.into_iter().chain(tokens).collect();
    let op = match (experts, tokens) {
        (None, None) => return Some((x, false)),
        (Some(_), None) => Op::TakeExperts,
        (None, Some(_)) => Op::TakeRows,
        (Some(_), Some(_)) => Op::TakePairs,
    };
    let order = leading(&first, x.rank());
    Some((take(v, n, op, v.transpose(x, &order)?)?, true))
}

fn pairs_of_broadcast(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Broadcast);
    inner
        .filter_map(|b| {
            let map = b.axes("map");
            let of = |axis| map.iter().position(|&m| m == axis);
            let (experts, tokens) = (of(0), of(1));
            let (x, has_rows) = taken(v, n, v.term(b.arg(0))?, experts, tokens)?;
            let others = map.iter().filter(|&&m| m > 1).map(|&m| m - 1);
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
            let perm = t.axes("perm");
            if perm.get(..2)? != [0, 1] {
                return None;
            }
            let others = perm[2..].iter().map(|&p| p - 1);
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

fn without(letters: &[u8], gone: [u8; 2]) -> impl Iterator<Item = u8> {
    letters.iter().copied().filter(move |l| !gone.contains(l))
}

/// `a` has tokens, `b` has experts and no tokens.
fn grouped_product(v: View<'_>, n: Found<'_>, spec: &EinsumSpec, a: egg::Id, b: egg::Id) -> Option<Term> {
    let [expert, token, ..] = spec.out[..] else { return None };
    let at = |letters: &[u8], letter| letters.iter().position(|l| *l == letter);
    let (tokens, experts) = (at(&spec.lhs, token)?, at(&spec.rhs, expert)?);
    if spec.rhs.contains(&token) {
        return None;
    }
    let (x, _) = taken(v, n, v.term(a)?, at(&spec.lhs, expert), Some(tokens))?;
    let w = v.transpose(v.term(b)?, &leading(&[experts], spec.rhs.len()))?;
    let row = row_letter(spec)?;
    let gone = [expert, token];
    let rows_first = |letters| [row].into_iter().chain(without(letters, gone)).collect::<Vec<u8>>();
    let spec = EinsumSpec {
        lhs: rows_first(&spec.lhs),
        rhs: [expert].into_iter().chain(without(&spec.rhs, gone)).collect(),
        out: rows_first(&spec.out),
    };
    let attrs = Attrs::new([("spec", spec.canonical().to_string().into())]);
    v.op(Op::GroupedMatmul, vec![v.term(n.arg(0))?, x, w], attrs)
}

/// No operand has experts without tokens, so a plain contraction of rows does.
fn row_product(v: View<'_>, n: Found<'_>, spec: &EinsumSpec, a: egg::Id, b: egg::Id) -> Option<Term> {
    let [expert, token, ..] = spec.out[..] else { return None };
    let row = row_letter(spec)?;
    let operand = |letters: &[u8], arg| {
        let at = |letter| letters.iter().position(|l| *l == letter);
        let (experts, tokens) = (at(expert), at(token));
        if experts.is_some() && tokens.is_none() {
            return None;
        }
        let (x, has_rows) = taken(v, n, v.term(arg)?, experts, tokens)?;
        let rest = without(letters, [expert, token]);
        Some((x, has_rows.then_some(row).into_iter().chain(rest).collect::<Vec<u8>>()))
    };
    let (x, lhs) = operand(&spec.lhs, a)?;
    let (y, rhs) = operand(&spec.rhs, b)?;
    let out = [row].into_iter().chain(without(&spec.out, [expert, token])).collect();
    v.einsum(&EinsumSpec { lhs, rhs, out }, x, y)
}

fn pairs_of_reduction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let reductions = v
        .all(n.arg(1))
        .filter(|r| matches!(r.op, Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All | Op::Argmax));
    reductions
        .filter_map(|r| {
            let (x, axis) = (v.term(r.arg(0))?, r.axis());
            if axis > 1 {
                return v.along(r, vec![pairs(v, n, x)?], axis - 1);
            }
            // The reduced axis moves behind experts and tokens.
            let kept: Vec<usize> = (0..3).filter(|&a| a != axis).collect();
            let x = v.transpose(x.clone(), &leading(&[kept[0], kept[1], axis], x.rank()))?;
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
        (keeps && r.axis() > 1) || r.op == Op::OneHot
    });
    operations
        .filter_map(|r| {
            let taken: Option<Vec<Term>> = r.args().iter().map(|&arg| pairs(v, n, v.term(arg)?)).collect();
            match r.op {
                Op::OneHot => v.again(r, taken?),
                _ => v.along(r, taken?, r.axis() - 1),
            }
        })
        .collect()
}

fn pairs_of_reshape(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(1), Op::Reshape);
    inner
        .filter_map(|r| {
            let (from, to) = (v.shape(r.arg(0)), r.dims("shape"));
            if from.get(..2)? != to.get(..2)? {
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
            let routes = v.nodes(projection.arg(0), Op::TopK).filter(|top| top.axis() > 1);
            routes.flat_map(move |top| {
                one(|| {
                    let scores = pairs(v, n, v.term(top.arg(0))?)?;
                    v.again(projection, vec![v.along(top, vec![scores], top.axis() - 1)?])
                })
            })
        })
        .collect()
}
