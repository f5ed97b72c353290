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
    summed: [usize; 2],
    others: &[usize],
) -> Option<Term> {
    let count = others.len();
    let total = outer.experts.times(&inner.experts).ok()?;
    let by_outer = outer.others();
    let outer_weights = outer.ordered(v, outer.values, &by_outer)?;
    let outer_index = outer.ordered(v, outer.index, &by_outer)?;
    let by_inner = [&[summed[0]], others].concat();
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
    let gate = v.op(
        Op::Densify,
        vec![v.reshape(weights, &pairs)?, v.reshape(number, &pairs)?],
        Attrs::new([("axis", count.into()), ("size", (&total).into())]),
    )?;

    // `[groups * experts, other axes]`, and where the axes of the gate are then.
    let order = leading(&summed, y.rank());
    let back = inverse(&order);
    let map: Option<Vec<usize>> =
        others.iter().map(|&axis| back.get(axis)?.checked_sub(1)).chain([Some(0)]).collect();
    let y = v.transpose(y, &order)?;
    let shape: Vec<Dim> = [total].iter().chain(&y.shape()[2..]).cloned().collect();
    let y = v.reshape(y, &shape)?;
    let gate = v.broadcast(gate, &map?, &shape)?;
    let product = v.op(Op::Mul, vec![gate, y], Attrs::default())?;
    // The other axes stand as they did in the inner sum, without the groups.
    v.op(Op::Sum, vec![product], Attrs::new([("axis", 0usize.into())]))
}
