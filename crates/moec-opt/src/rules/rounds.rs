//! Choices made in rounds: the best, then the best of the others. Two rounds are one choice of two, and
//! masks over tokens, experts and seats made round by round are found by [`queue`](super::queue).

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::{Attrs, Dim, Op};

use super::queue::{choosing, masked_out};
use super::{one, rules};
use crate::term::{Found, Term, View, element_wise};

rules! {
    /// The mask of a route that chooses one is `one_hot`.
    mask_of_best_is_one_hot: Bit [RouteMask] if "one is chosen";
    /// The index of the largest is the index of the best one.
    argmax_is_best: Finite [Argmax] if "the axis is known not to be empty";
    /// The largest element is the value of the best one.
    largest_is_value_of_best: Finite [Max] if "the best along the axis are looked for as well";
    /// `one_hot` of an index where something holds, else of none, is `one_hot` where that holds.
    one_hot_of_choice: Bit [OneHot] if "the other branch is out of range";
    /// The best few are the first of the best many.
    fewer_of_best: Bit [RouteIndex, RouteValue] if "more of the same scores are looked for as well";
    /// The best of what earlier rounds have left are the next best of all.
    next_round_is_next_best: Reassociate [RouteIndex, RouteValue]
        if "what was chosen gets -inf, or 0 where scores are shares of a softmax or sigmoids"
        if "there are as many scores as are chosen in all rounds";
    /// Rows of pairs whose weight is 0 may be anything.
    rows_without_weight_are_any: Finite [Combine] if "the condition compares the weights of the combine with 0";
}

fn mask_of_best_is_one_hot(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let route = v.known(n.arg(0))?.ty.route().filter(|route| route.k.is(1))?;
        let axis = route.axis;
        let index = v.op(Op::RouteIndex, vec![v.term(n.arg(0))?], Attrs::default())?;
        let mut rows = index.shape().to_vec();
        rows.remove(axis);
        let size = Attrs::new([("size", (&route.scores.shape[axis]).into())]);
        let hot = v.op(Op::OneHot, vec![v.reshape(index, &rows)?], size)?;
        let mut perm: Vec<usize> = (0..rows.len()).collect();
        perm.insert(axis, rows.len());
        v.transpose(hot, &perm)
    })
}

/// `top_k` of the `k` best of a class.
fn best(v: View<'_>, scores: Id, axis: usize, k: &Dim) -> Option<Term> {
    let attrs = Attrs::new([("axis", axis.into()), ("k", k.into()), ("largest", true.into())]);
    v.op(Op::TopK, vec![v.term(scores)?], attrs)
}

/// The `size` slots of a projection of a route from `start` on.
fn slots(v: View<'_>, x: Term, axis: usize, start: u64, size: u64) -> Option<Term> {
    let attrs = Attrs::new([
        ("axis", axis.into()),
        ("size", (&Dim::constant(size)).into()),
        ("start", (&Dim::constant(start)).into()),
        ("step", 1i64.into()),
    ]);
    v.op(Op::Slice, vec![x], attrs)
}

fn argmax_is_best(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let size = v.shape(n.arg(0)).get(n.axis())?;
        let known = v.sizing().table().value(size).is_some_and(|size| size > 0);
        let route = best(v, n.arg(0), n.axis(), &Dim::constant(1)).filter(|_| known)?;
        let index = v.op(Op::RouteIndex, vec![route], Attrs::default())?;
        let mut shape = index.shape().to_vec();
        shape.remove(n.axis());
        v.reshape(index, &shape)
    })
}

/// The routes of the largest elements of a class along an axis, with how many are chosen.
fn routes<'a>(v: View<'a>, scores: Id, axis: usize) -> impl Iterator<Item = (Found<'a>, u64)> {
    let same = move |top: &Found<'_>| top.axis() == axis && top.attrs().bool("largest");
    let tops = v.users(scores, Op::TopK).filter(same);
    tops.filter_map(move |top| Some((top, v.sizing().table().value(top.dim("k")?)?)))
}

/// The route that chooses most, of those that choose more than `k`: all others are parts of it.
fn widest<'a>(v: View<'a>, scores: Id, axis: usize, k: u64) -> Option<(Found<'a>, u64)> {
    routes(v, scores, axis).filter(|(_, more)| *more > k).max_by_key(|(_, more)| *more)
}

fn largest_is_value_of_best(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let (top, k) = widest(v, n.arg(0), n.axis(), 0)?;
        let route = v.again(top, vec![v.term(n.arg(0))?])?;
        let values = v.op(Op::RouteValue, vec![route], Attrs::default())?;
        let value = if k == 1 { values } else { slots(v, values, n.axis(), 0, 1)? };
        let mut shape = value.shape().to_vec();
        shape.remove(n.axis());
        v.reshape(value, &shape)
    })
}

fn one_hot_of_choice(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    let Some(size) = n.dim("size") else { return out };
    for select in v.nodes(n.arg(0), Op::Select) {
        let none = v.uniform(select.arg(2));
        let outside = |x: f64| x < 0.0 || v.sizing().table().value(size).is_some_and(|size| x >= size as f64);
        if none.is_some_and(outside) {
            out.extend(one(|| {
                let hot = v.again(n, vec![v.term(select.arg(1))?])?;
                let map: Vec<usize> = (0..hot.rank() - 1).collect();
                let holds = v.broadcast(v.term(select.arg(0))?, &map, hot.shape())?;
                v.op(Op::And, vec![hot, holds], Attrs::default())
            }));
        }
    }
    out
}

fn fewer_of_best(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for top in v.nodes(n.arg(0), Op::TopK).filter(|top| top.attrs().bool("largest")) {
        let k = top.dim("k").and_then(|k| v.sizing().table().value(k));
        out.extend(one(|| {
            let (more, _) = widest(v, top.arg(0), top.axis(), k?)?;
            let route = v.again(more, vec![v.term(top.arg(0))?])?;
            slots(v, v.again(n, vec![route])?, top.axis(), 0, k?)
        }));
    }
    out
}

fn next_round_is_next_best(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for top in v.nodes(n.arg(0), Op::TopK).filter(|top| top.attrs().bool("largest")) {
        for (mask, scores) in masked_out(v, top.arg(0), top.axis(), 1) {
            let by_mask = v.nodes(mask, Op::RouteMask).map(|mask| mask.arg(0));
            let by_index = choosing(v, mask).into_iter().flat_map(|hot| v.nodes(hot.arg(0), Op::Reshape));
            let by_index = by_index.flat_map(|r| v.nodes(r.arg(0), Op::RouteIndex)).map(|index| index.arg(0));
            for first in by_mask.chain(by_index).flat_map(|route| v.nodes(route, Op::TopK)) {
                let same = v.graph.find(first.arg(0)) == v.graph.find(scores)
                    && first.axis() == top.axis()
                    && first.attrs().bool("largest");
                out.extend(one(|| {
                    let value = |top: Found<'_>| v.sizing().table().value(top.dim("k")?);
                    let (before, k) = (value(first).filter(|_| same)?, value(top)?);
                    let size = v.sizing().table().value(v.shape(scores).get(top.axis())?)?;
                    let all = before.checked_add(k).filter(|all| *all <= size)?;
                    let route = best(v, scores, top.axis(), &Dim::constant(all))?;
                    slots(v, v.again(n, vec![route])?, top.axis(), before, k)
                }));
            }
        }
    }
    out
}

/// Rows in which those of pairs without weight are something else.
struct Rows<'a> {
    v: View<'a>,
    plan: Id,
    weights: Id,
    /// Classes of rows and what may stand for them; none where nothing changes, and for those that are
    /// being looked at.
    known: BTreeMap<Id, Option<Term>>,
    /// How many operations may be added, since a term is a tree.
    left: usize,
}

/// The most operations that are added.
const MOST: usize = 200;

impl<'a> Rows<'a> {
    fn of(&mut self, rows: Id) -> Option<Term> {
        let rows = self.v.graph.find(rows);
        if let Some(known) = self.known.get(&rows) {
            return known.clone();
        }
        self.known.insert(rows, None);
        let found = self.v.all(rows).find_map(|n| {
            self.left = self.left.checked_sub(1)?;
            self.by(n)
        });
        self.known.insert(rows, found.clone());
        found
    }

    /// Whether rows say of each pair that its weight is not 0.
    fn is_weighted(&self, condition: Id) -> bool {
        let v = self.v;
        let by_row = v.expansions(condition).into_iter().filter(|(_, map)| *map == [0]);
        let mut slots = by_row.flat_map(|(source, _)| v.nodes(source, Op::TakeSlots));
        slots.any(|slots| {
            v.graph.find(slots.arg(0)) == self.plan
                && v.nodes(slots.arg(1), Op::Ne).any(|ne| {
                    let sides = [(ne.arg(0), ne.arg(1)), (ne.arg(1), ne.arg(0))];
                    sides.iter().any(|(x, zero)| v.is(*zero, 0.0) && v.graph.find(*x) == self.weights)
                })
        })
    }

    fn by(&mut self, n: Found<'a>) -> Option<Term> {
        let v = self.v;
        let own = |n: Found<'_>, plan: Id| v.graph.find(n.arg(0)) == plan;
        match n.op {
            Op::Select if self.is_weighted(n.arg(0)) => v.term(n.arg(1)),
            Op::GroupedMatmul if own(n, self.plan) => {
                v.again(n, vec![v.term(n.arg(0))?, self.of(n.arg(1))?, v.term(n.arg(2))?])
            }
            Op::Broadcast if n.axes("map").first() == Some(&0) => v.again(n, vec![self.of(n.arg(0))?]),
            Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Softmax | Op::Slice if n.axis() > 0 => {
                v.again(n, vec![self.of(n.arg(0))?])
            }
            op if element_wise(op) => {
                let changed: Vec<Option<Term>> = n.args().iter().map(|&arg| self.of(arg)).collect();
                if changed.iter().all(Option::is_none) {
                    return None;
                }
                let args = changed.into_iter().zip(n.args()).map(|(term, &arg)| term.or_else(|| v.term(arg)));
                v.again(n, args.collect::<Option<_>>()?)
            }
            _ => None,
        }
    }
}

fn rows_without_weight_are_any(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (plan, weights) = (v.graph.find(n.arg(0)), v.graph.find(n.arg(1)));
    let mut rows = Rows { v, plan, weights, known: BTreeMap::new(), left: MOST };
    one(|| v.again(n, vec![v.term(plan)?, v.term(weights)?, rows.of(n.arg(2))?]))
}
