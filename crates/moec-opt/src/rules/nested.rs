//! Experts that are mixtures themselves: two sparse sums, one inside the other, are one sparse sum
//! over pairs of experts. Deeper nests follow one level at a time, from the inside: what lies along
//! further levels lies along more axes, and stays there.

use egg::Id;
use moec_ir::{Attrs, Dim, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, inverse, leading};

rules! {
    /// `sum_g a[g] * sum_e b[g, e] * Y[g, e]` with sparse a and b is one sum over the merged axis of
    /// g and e, with the products of the chosen weights.
    nested_sparse_sums_are_one: Reassociate [Sum] if "both gates are sparse" if "the inner gate lies along g and the axes of the outer gate";
    /// `sum_g a[g] * sum_e b[g, e] * Y[g, e]` with sparse b and any a is one sum over the merged axis of
    /// g and e, with the products of a and the chosen weights of each g.
    sparse_sums_under_dense_gate_are_one: Reassociate [Sum] if "a is not sparse" if "the inner gate lies along the axes of a";
}

/// A sparse gate inside a bigger tensor, for each token and whatever else it lies along.
struct Gate {
    values: Id,
    index: Id,
    /// The axis of both that is the slots.
    slots: usize,
    experts: Dim,
    /// For each axis of the values the axis of the bigger tensor; for the slots that of the experts.
    map: Vec<usize>,
}

impl Gate {
    /// The axes of the bigger tensor that it lies along, but that of the experts.
    fn others(&self) -> Vec<usize> {
        let mut others: Vec<usize> = (self.map.iter().enumerate())
            .filter_map(|(own, &axis)| (own != self.slots).then_some(axis))
            .collect();
        others.sort();
        others
    }

    /// `class`, which is the values or the index, as `[the axes of `order`, slots]`.
    fn ordered(&self, v: View<'_>, class: Id, order: &[usize]) -> Option<Term> {
        let of = |axis: &usize| self.map.iter().position(|m| m == axis);
        let perm: Option<Vec<usize>> = order.iter().map(of).chain([Some(self.slots)]).collect();
        v.transpose(v.term(class)?, &perm?)
    }
}

/// The ways in which a class is a sparse gate along `axis` times something.
fn gated(v: View<'_>, class: Id, axis: usize) -> Vec<(Gate, Id)> {
    let mut found = Vec::new();
    for product in v.nodes(class, Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (gate, rest) in [(a, b), (b, a)] {
            for (source, map) in v.expansions(gate) {
                for d in v.nodes(source, Op::Densify).filter(|d| map.get(d.axis()) == Some(&axis)) {
                    if let Some(experts) = d.dim("size").cloned() {
                        let (values, index, slots, map) = (d.arg(0), d.arg(1), d.axis(), map.clone());
                        found.push((Gate { values, index, slots, experts, map }, rest));
                    }
                }
            }
        }
    }
    found
}

fn nested_sparse_sums_are_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (outer, rest) in gated(v, n.arg(0), n.axis()) {
        for sum in v.nodes(rest, Op::Sum) {
            // The axes of the outer gate before the inner sum removed its own.
            let wide = |a: usize| if a < sum.axis() { a } else { a + 1 };
            let group = wide(n.axis());
            let others: Vec<usize> = outer.others().into_iter().map(wide).collect();
            let mut wanted = [&[group], others.as_slice()].concat();
            wanted.sort();
            for (inner, y) in gated(v, sum.arg(0), sum.axis()) {
                if inner.others() == wanted {
                    out.extend(one(|| merged(v, &outer, &inner, v.term(y)?, [group, sum.axis()], &others)));
                }
            }
        }
    }
    out
}

fn sparse_sums_under_dense_gate_are_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for product in v.nodes(n.arg(0), Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (outer, rest) in [(a, b), (b, a)] {
            let sources = v.expansions(outer);
            if sources.iter().any(|(source, _)| v.nodes(*source, Op::Densify).next().is_some()) {
                continue;
            }
            for sum in v.nodes(rest, Op::Sum) {
                let wide = |a: usize| if a < sum.axis() { a } else { a + 1 };
                let group = wide(n.axis());
                for (inner, y) in gated(v, sum.arg(0), sum.axis()) {
                    let others: Vec<usize> =
                        inner.others().into_iter().filter(|&axis| axis != group).collect();
                    for (source, map) in &sources {
                        let map: Vec<usize> = map.iter().map(|&axis| wide(axis)).collect();
                        out.extend(one(|| {
                            let (gate, total) = of_all(v, (*source, &map), &inner, group, &others)?;
                            summed(v, gate, &total, v.term(y)?, [group, sum.axis()], &others)
                        }));
                    }
                }
            }
        }
    }
    out
}

/// The sparse gate of all groups, `[others, groups * experts]`, and its size: the weights of `inner` in each
/// group times that of the group, which is `outer` with axes `map`.
fn of_all(
    v: View<'_>,
    (outer, map): (Id, &[usize]),
    inner: &Gate,
    group: usize,
    others: &[usize],
) -> Option<(Term, Dim)> {
    let count = others.len();
    let by_pair: Vec<usize> = others.iter().copied().chain([group]).collect();
    let perm: Vec<usize> =
        by_pair.iter().map(|axis| map.iter().position(|m| m == axis)).collect::<Option<_>>()?;
    if map.len() != by_pair.len() {
        return None;
    }
    let index = inner.ordered(v, inner.index, &by_pair)?;
    let [along @ .., groups, slots] = index.shape() else { return None };
    let total = groups.times(&inner.experts).ok()?;
    let pairs: Vec<Dim> = along.iter().cloned().chain([groups.times(slots).ok()?]).collect();
    let first: Vec<usize> = (0..=count).collect();
    let outer = v.broadcast(v.transpose(v.term(outer)?, &perm)?, &first, index.shape())?;
    let weights = v.op(Op::Mul, vec![outer, inner.ordered(v, inner.values, &by_pair)?], Attrs::default())?;
    // The number of an expert among all is read from a table of groups and experts.
    let table = v.reshape(v.count(&total)?, &[groups.clone(), inner.experts.clone()])?;
    let along: Vec<i64> = std::iter::repeat_n(-1, count).chain([0, -1]).collect();
    let attrs = Attrs::new([("along", along.into()), ("axis", 1usize.into())]);
    let number = v.op(Op::Gather, vec![table, index], attrs)?;
    let groups_last: Vec<usize> = (1..=count).chain([0, count + 1]).collect();
    let number = v.transpose(number, &groups_last)?;
    Some((densify_pairs(v, weights, number, &pairs, &total)?, total))
}

/// `x[groups, others, slots]` for the chosen groups `[others, chosen]`: `[others, chosen, slots]`.
fn of_chosen(v: View<'_>, x: Term, chosen: &Term) -> Option<Term> {
    let others = chosen.rank() - 1;
    let along: Vec<i64> = (1..=others as i64).chain([-1]).collect();
    let attrs = Attrs::new([("along", along.into()), ("axis", 0usize.into())]);
    let perm: Vec<usize> = (1..=others).chain([0, others + 1]).collect();
    v.transpose(v.op(Op::Gather, vec![x, chosen.clone()], attrs)?, &perm)
}

/// The sum over the merged axis of the axes `[groups, experts]` of y.
fn merged(
    v: View<'_>,
    outer: &Gate,
    inner: &Gate,
    y: Term,
    axes: [usize; 2],
    others: &[usize],
) -> Option<Term> {
    let count = others.len();
    let total = outer.experts.times(&inner.experts).ok()?;
    let by_outer = outer.others();
    let outer_weights = outer.ordered(v, outer.values, &by_outer)?;
    let outer_index = outer.ordered(v, outer.index, &by_outer)?;
    let by_inner = [&[axes[0]], others].concat();
    let weights = of_chosen(v, inner.ordered(v, inner.values, &by_inner)?, &outer_index)?;
    let index = of_chosen(v, inner.ordered(v, inner.index, &by_inner)?, &outer_index)?;
    let [along @ .., chosen, slots] = index.shape() else { return None };
    let pairs: Vec<Dim> = along.iter().cloned().chain([chosen.times(slots).ok()?]).collect();
    let first: Vec<usize> = (0..=count).collect();
    let outer_weights = v.broadcast(outer_weights, &first, index.shape())?;
    let weights = v.op(Op::Mul, vec![outer_weights, weights], Attrs::default())?;
    // The number of an expert among all is read from a table of groups and experts.
    let table = v.reshape(v.count(&total)?, &[outer.experts.clone(), inner.experts.clone()])?;
    let new = Attrs::new([("along", vec![-1i64; count + 1].into()), ("axis", 0usize.into())]);
    let table = v.op(Op::Gather, vec![table, outer_index], new)?;
    let along: Vec<i64> = (0..=count as i64).chain([-1]).collect();
    let aligned = Attrs::new([("along", along.into()), ("axis", (count + 1).into())]);
    let number = v.op(Op::Gather, vec![table, index], aligned)?;
    let gate = densify_pairs(v, weights, number, &pairs, &total)?;
    summed(v, gate, &total, y, axes, others)
}

/// Weights at the numbers of experts among `total`, with groups and slots merged to `pairs`.
fn densify_pairs(v: View<'_>, weights: Term, number: Term, pairs: &[Dim], total: &Dim) -> Option<Term> {
    let axis = pairs.len() - 1;
    let attrs = Attrs::new([("axis", axis.into()), ("size", total.into())]);
    v.op(Op::Densify, vec![v.reshape(weights, pairs)?, v.reshape(number, pairs)?], attrs)
}

/// The sum of `gate`, `[others, total]`, times y over its axes `[groups, experts]`, merged.
fn summed(v: View<'_>, gate: Term, total: &Dim, y: Term, axes: [usize; 2], others: &[usize]) -> Option<Term> {
    // `[groups * experts, other axes]`, and where the axes of the gate are then.
    let order = leading(&axes, y.rank());
    let back = inverse(&order);
    let map: Option<Vec<usize>> =
        others.iter().map(|&axis| back.get(axis)?.checked_sub(1)).chain([Some(0)]).collect();
    let y = v.transpose(y, &order)?;
    let shape: Vec<Dim> = [total].into_iter().chain(&y.shape()[2..]).cloned().collect();
    let y = v.reshape(y, &shape)?;
    let gate = v.broadcast(gate, &map?, &shape)?;
    let product = v.op(Op::Mul, vec![gate, y], Attrs::default())?;
    // The other axes stand as they did in the inner sum, without the groups.
    v.op(Op::Sum, vec![product], Attrs::new([("axis", 0usize.into())]))
}
