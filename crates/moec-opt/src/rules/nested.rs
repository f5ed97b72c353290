//! Experts that are mixtures themselves: two sparse sums, one inside the other, are one sparse sum
//! over pairs of experts. Deeper nests follow one level at a time.

use egg::Id;
use moec_ir::{Attrs, Dim, Op};

use super::dispatch::{Gate, gated};
use super::rules;
use crate::term::{Found, Term, View, inverse, leading};

rules! {
    /// `sum_g a[g] * sum_e b[g, e] * Y[g, e]` with sparse a and b is one sum over the merged axis of
    /// g and e, with the products of the chosen weights.
    nested_sparse_sums_are_one: Reassociate [Sum];
}

/// A sparse gate for each group, inside a bigger tensor.
struct GroupGate {
    /// `[groups, tokens, slots]`.
    weights: Term,
    /// `[groups, tokens, slots]`.
    index: Term,
    experts: Dim,
    /// The axes of the bigger tensor.
    groups: usize,
    tokens: usize,
}

/// The ways in which a class is a sparse gate along `axis` for each index of `groups`, times
/// something.
fn gated_by_group(v: View<'_>, class: Id, axis: usize, groups: usize) -> Vec<(GroupGate, Term)> {
    let mut found = Vec::new();
    for product in v.nodes(class, Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (gate, rest) in [(a, b), (b, a)] {
            for (source, map) in v.expansions(gate).into_iter().filter(|(_, map)| map.len() == 3) {
                for d in v.nodes(source, Op::Densify).filter(|d| map.get(d.axis()) == Some(&axis)) {
                    let Some(group) = map.iter().position(|&m| m == groups) else { continue };
                    let Some(tokens) = (0..3).find(|&t| t != group && t != d.axis()) else { continue };
                    let ordered = |arg| v.transpose(v.term(arg)?, &[group, tokens, d.axis()]);
                    if let (Some(weights), Some(index), Some(experts), Some(rest)) =
                        (ordered(d.arg(0)), ordered(d.arg(1)), d.dim("size"), v.term(rest))
                    {
                        let (experts, tokens) = (experts.clone(), map[tokens]);
                        found.push((GroupGate { weights, index, experts, groups, tokens }, rest));
                    }
                }
            }
        }
    }
    found
}

fn nested_sparse_sums_are_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let mut out = Vec::new();
    for (outer, rest) in gated(v, n.arg(0), axis, 2).into_iter().filter(|(gate, _)| gate.among.is_none()) {
        let crate::term::TermKind::Class(rest) = rest.kind else { continue };
        for sum in v.nodes(rest, Op::Sum) {
            // The axes of groups and tokens before the inner sum removed its own.
            let wide = |a: usize| if a < sum.axis() { a } else { a + 1 };
            for (inner, y) in gated_by_group(v, sum.arg(0), sum.axis(), wide(axis)) {
                if inner.tokens == wide(outer.tokens) {
                    out.extend(merged(v, &outer, inner, y, sum.axis()));
                }
            }
        }
    }
    out
}

/// `x[groups, tokens, slots]` for the chosen groups of each token: `[tokens, chosen, slots]`.
fn of_chosen(v: View<'_>, x: Term, chosen: &Term) -> Option<Term> {
    let attrs = Attrs::new([("along", vec![1i64, -1].into()), ("axis", 0usize.into())]);
    v.transpose(v.op(Op::Gather, vec![x, chosen.clone()], attrs)?, &[1, 0, 2])
}

fn merged(v: View<'_>, outer: &Gate, inner: GroupGate, y: Term, axis: usize) -> Option<Term> {
    let total = outer.experts.times(&inner.experts).ok()?;
    let weights = of_chosen(v, inner.weights, &outer.index)?;
    let index = of_chosen(v, inner.index, &outer.index)?;
    let [tokens, chosen, slots] = index.shape() else { return None };
    let pairs = [tokens.clone(), chosen.times(slots).ok()?];
    let outer_weights = v.broadcast(outer.weights.clone(), &[0, 1], index.shape())?;
    let weights = v.op(Op::Mul, vec![outer_weights, weights], Attrs::default())?;
    // The number of an expert among all is read from a table of groups and experts.
    let table = v.reshape(v.count(&total)?, &[outer.experts.clone(), inner.experts])?;
    let new = Attrs::new([("along", vec![-1i64, -1].into()), ("axis", 0usize.into())]);
    let table = v.op(Op::Gather, vec![table, outer.index.clone()], new)?;
    let aligned = Attrs::new([("along", vec![0i64, 1, -1].into()), ("axis", 2usize.into())]);
    let number = v.op(Op::Gather, vec![table, index], aligned)?;
    let gate = v.op(
        Op::Densify,
        vec![v.reshape(weights, &pairs)?, v.reshape(number, &pairs)?],
        Attrs::new([("axis", 1usize.into()), ("size", (&total).into())]),
    )?;

    // `[groups * experts, other axes]`, and where the tokens are then.
    let rank = y.rank();
    let order = leading(&[inner.groups, axis], rank);
    let tokens = inverse(&order).get(inner.tokens)? - 1;
    let y = v.transpose(y, &order)?;
    let shape: Vec<Dim> = [total].iter().chain(&y.shape()[2..]).cloned().collect();
    let y = v.reshape(y, &shape)?;
    let gate = v.broadcast(gate, &[tokens, 0], &shape)?;
    let product = v.op(Op::Mul, vec![gate, y], Attrs::default())?;
    v.op(Op::Sum, vec![product], Attrs::new([("axis", 0usize.into())]))
}
