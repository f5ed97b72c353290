//! From dense gates to `densify`: which of the experts count, and with which weights.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, Op};

use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// `if chosen by a route then q else 0` is `densify` of the chosen elements of q.
    masked_by_route_is_densify: Bit [Select] if "the other branch is 0";
    /// Truth values of a route's mask as numbers are `densify` of ones.
    route_mask_as_number: Bit [Cast];
    /// `softmax` of scores that are -inf outside a route is `densify` of the softmax of the chosen.
    softmax_of_masked: Reassociate [Softmax] if "the other branch is -inf" if "k is at least 1";
    /// `f` of scores that are -inf outside a route, where f(-inf) = 0, is `densify` of f of the chosen.
    zero_at_minus_infinity: Bit [Sigmoid, Exp, Relu, Softplus] if "the other branch is -inf";
    /// `f(densify(x)) = densify(f(x))` where f(0) = 0.
    zero_preserving: Bit [Abs, Sqrt, Tanh, Erf, Silu, Gelu, GeluTanh, Relu, Cast];
    /// `densify(x) * q = densify(x * q at the indices)`.
    product_with_densify: Finite [Mul];
    /// `densify(x) / q = densify(x / q at the indices)`.
    quotient_of_densify: Finite [Div];
    /// The sum over the axis of `densify(x)` is the sum over the slots of x.
    sum_of_densify: Reassociate [Sum];
    /// The scores at a route's own indices are its values.
    gather_at_route_is_value: Bit [Gather];
    /// Elements of a broadcast at some indices, along an axis that repeats.
    gather_along_repeated_axis: Bit [Gather];
    /// `densify(x)` at its own indices is x.
    gather_of_own_densify: Bit [Gather];
    /// Comparing an index with every position is `one_hot`.
    equals_iota_is_one_hot: Bit [Eq];
    /// The sum over the slots of weights at one-hot positions is `densify`.
    sum_of_one_hot_is_densify: Reassociate [Sum] if "indices of a row are distinct" if "indices are in range";
}

/// Whether indices stand along `axis` and are aligned with all other axes, as those of a route.
pub(super) fn along_route(n: Found<'_>, rank: usize) -> bool {
    let axis = n.axis();
    let along = n.axes("along");
    along.len() == rank && (0..rank).all(|i| if i == axis { along[i] == usize::MAX } else { along[i] == i })
}

/// `q` at `index`, which has the axes of `q` with slots in place of `axis`.
pub(super) fn at(v: View<'_>, q: Term, index: Term, axis: usize) -> Option<Term> {
    let along: Vec<i64> = (0..q.rank()).map(|i| if i == axis { -1 } else { i as i64 }).collect();
    v.op(Op::Gather, vec![q, index], Attrs::new([("along", along.into()), ("axis", axis.into())]))
}

pub(super) fn densify(v: View<'_>, values: Term, index: Term, axis: usize, size: &Dim) -> Option<Term> {
    v.op(Op::Densify, vec![values, index], Attrs::new([("axis", axis.into()), ("size", size.into())]))
}

/// The routes whose mask a class is: their index, and the axis.
fn masks(v: View<'_>, class: Id) -> Vec<(Term, usize, Dim)> {
    let mut found = Vec::new();
    for mask in v.nodes(class, Op::RouteMask) {
        let route = mask.arg(0);
        if let Some(ty) = v.known(route).and_then(|known| known.ty.route())
            && let Some(index) = v.term(route).and_then(|r| v.op(Op::RouteIndex, vec![r], Attrs::default()))
        {
            found.push((index, ty.axis, ty.scores.shape[ty.axis].clone()));
        }
    }
    found
}

fn masked_by_route_is_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !v.is(n.arg(2), 0.0) {
        return Vec::new();
    }
    let found = masks(v, n.arg(0)).into_iter();
    found
        .filter_map(|(index, axis, size)| {
            densify(v, at(v, v.term(n.arg(1))?, index.clone(), axis)?, index, axis, &size)
        })
        .collect()
}

fn route_mask_as_number(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let to = n.attrs().dtype("to");
    let found = masks(v, n.arg(0)).into_iter().filter(|_| to != DType::Bool);
    found
        .filter_map(|(index, axis, size)| densify(v, v.constant(to, index.shape(), 1.0)?, index, axis, &size))
        .collect()
}

/// For a class that is `select(mask of a route, z, -inf)`: z at the indices, the indices, the axis.
fn kept_scores(v: View<'_>, class: Id) -> Vec<(Term, Term, usize, Dim)> {
    let mut found = Vec::new();
    for select in v.nodes(class, Op::Select).filter(|s| v.is(s.arg(2), f64::NEG_INFINITY)) {
        for (index, axis, size) in masks(v, select.arg(0)) {
            if let Some(kept) = v.term(select.arg(1)).and_then(|z| at(v, z, index.clone(), axis)) {
                found.push((kept, index, axis, size));
            }
        }
    }
    found
}

fn softmax_of_masked(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let found = kept_scores(v, n.arg(0)).into_iter();
    found
        .filter_map(|(kept, index, axis, size)| {
            let some = v.sizing().table().value(&index.shape()[axis]).is_some_and(|k| k > 0);
            if axis != n.axis() || !some {
                return None;
            }
            densify(v, v.along(n, vec![kept], axis)?, index, axis, &size)
        })
        .collect()
}

fn zero_at_minus_infinity(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let found = kept_scores(v, n.arg(0)).into_iter();
    found
        .filter_map(|(kept, index, axis, size)| densify(v, v.again(n, vec![kept])?, index, axis, &size))
        .collect()
}

fn zero_preserving(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(0), Op::Densify);
    inner
        .filter_map(|d| {
            let values = v.again(n, vec![v.term(d.arg(0))?])?;
            v.again(d, vec![values, v.term(d.arg(1))?])
        })
        .collect()
}

/// `densify(combined)` for each way in which `class` is a `densify`, where `combined` is made of
/// its values and of `other` at its indices.
fn over_slots<'a>(
    v: View<'a>,
    class: Id,
    other: Id,
    combined: impl Fn(Term, Term) -> Option<Term>,
) -> Vec<Term> {
    let inner = v.nodes(class, Op::Densify);
    inner
        .filter_map(|d| {
            let index = v.term(d.arg(1))?;
            let there = at(v, v.term(other)?, index.clone(), d.axis())?;
            v.again(d, vec![combined(v.term(d.arg(0))?, there)?, index])
        })
        .collect()
}

fn product_with_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (a, b) = (n.arg(0), n.arg(1));
    let product = |values, there| v.again(n, vec![values, there]);
    let mut out = over_slots(v, a, b, product);
    out.extend(over_slots(v, b, a, product));
    out
}

fn quotient_of_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    over_slots(v, n.arg(0), n.arg(1), |values, there| v.again(n, vec![values, there]))
}

fn sum_of_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(0), Op::Densify).filter(|d| d.axis() == n.axis());
    inner.filter_map(|d| v.along(n, vec![v.term(d.arg(0))?], n.axis())).collect()
}

fn gather_at_route_is_value(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (scores, index) = (v.graph.find(n.arg(0)), n.arg(1));
    if !along_route(n, v.rank(scores)) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for chosen in v.nodes(index, Op::RouteIndex) {
        let own = |t: &Found<'_>| v.graph.find(t.arg(0)) == scores && t.axis() == n.axis();
        if v.nodes(chosen.arg(0), Op::TopK).any(|top| own(&top)) {
            out.extend(one(|| v.op(Op::RouteValue, vec![v.term(chosen.arg(0))?], Attrs::default())));
        }
    }
    out
}

fn gather_along_repeated_axis(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let fresh = n.axes("along").iter().filter(|&&a| a == usize::MAX).count();
    let inner = v.nodes(n.arg(0), Op::Broadcast);
    inner
        .filter_map(|inner| {
            let map = inner.axes("map");
            if map.contains(&axis) {
                return None;
            }
            let moved = |&m: &usize| if m < axis { m } else { m - 1 + fresh };
            let map: Vec<usize> = map.iter().map(moved).collect();
            let result = v.again(n, vec![v.term(n.arg(0))?, v.term(n.arg(1))?])?;
            v.broadcast(v.term(inner.arg(0))?, &map, result.shape())
        })
        .collect()
}

fn gather_of_own_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let own = |d: &Found<'_>| {
        d.axis() == n.axis()
            && v.graph.find(d.arg(1)) == v.graph.find(n.arg(1))
            && along_route(n, v.rank(n.arg(0)))
    };
    v.nodes(n.arg(0), Op::Densify).filter(own).filter_map(|d| v.term(d.arg(0))).collect()
}

fn equals_iota_is_one_hot(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (positions, index) in [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))] {
        for axis in counted_axes(v, positions) {
            let size = &v.shape(positions)[axis];
            for (source, map) in v.expansions(index) {
                if map.contains(&axis) {
                    continue;
                }
                out.extend(one(|| {
                    let hot = v.op(Op::OneHot, vec![v.term(source)?], Attrs::new([("size", size.into())]))?;
                    let map: Vec<usize> = map.iter().copied().chain([axis]).collect();
                    v.broadcast(hot, &map, v.shape(index))
                }));
            }
        }
    }
    out
}

/// The axes along which a class counts 0, 1, 2 and so on.
fn counted_axes(v: View<'_>, class: Id) -> Vec<usize> {
    let mut axes = Vec::new();
    for (source, map) in v.expansions(class) {
        for iota in v.nodes(source, Op::Iota) {
            axes.extend(map.get(iota.axis()).copied());
        }
    }
    axes.sort();
    axes.dedup();
    axes
}

fn sum_of_one_hot_is_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    let slots = n.axis();
    for select in v.nodes(n.arg(0), Op::Select).filter(|s| v.is(s.arg(2), 0.0)) {
        for hot in v.nodes(select.arg(0), Op::OneHot) {
            let index = hot.arg(0);
            let rank = v.rank(index);
            let distinct = are_distinct(v, index, slots);
            for (weights, map) in v.expansions(select.arg(1)) {
                let aligned = map.iter().copied().eq(0..rank);
                if let Some(size) = hot.dim("size").filter(|_| {
                    aligned && distinct && slots + 1 == rank && in_range(v, index, hot.dim("size"))
                }) {
                    out.extend(one(|| densify(v, v.term(weights)?, v.term(index)?, slots, size)));
                }
            }
        }
    }
    out
}

/// Whether the indices in a class are distinct along `axis`: those of a route are, and so are those of a
/// `densify`, which has no meaning for others.
pub(super) fn are_distinct(v: View<'_>, class: Id, axis: usize) -> bool {
    let mut routes = v.nodes(class, Op::RouteIndex);
    routes.any(|i| v.known(i.arg(0)).and_then(|k| k.ty.route()).is_some_and(|route| route.axis == axis))
        || v.shape(class).get(axis).is_some_and(|size| size.is(1))
        || v.users(class, Op::Densify).any(|d| d.axis() == axis && v.graph.find(d.arg(1)) == class)
        || v.nodes(class, Op::Concat).any(|c| c.axis() == axis && is_one_more(v, c))
}

/// Whether the last part of a concat is a number that indices in the others are below.
fn is_one_more(v: View<'_>, concat: Found<'_>) -> bool {
    let [others, last] = concat.args() else { return false };
    let number = v.uniform(*last).filter(|number| *number >= 0.0);
    let below = number.map(|number| Dim::constant(number as u64));
    v.shape(*last).get(concat.axis()).is_some_and(|size| size.is(1))
        && are_distinct(v, *others, concat.axis())
        && in_range(v, *others, below.as_ref())
}

/// Whether all elements of a class are indices below `size`: proved, or else a `gather` or `plan` reads at
/// them, which has no meaning for others.
pub(super) fn in_range(v: View<'_>, class: Id, size: Option<&Dim>) -> bool {
    let Some(size) = size else { return false };
    let table = v.sizing().table();
    let class = v.graph.find(class);
    let below = v.known(class).and_then(|known| known.below.as_ref());
    let reads = |n: &Found<'_>| {
        let axis = v.shape(n.arg(0)).get(n.axis());
        v.graph.find(n.arg(1)) == class && axis.is_some_and(|whole| table.at_most(whole, size))
    };
    below.is_some_and(|below| table.at_most(below, size))
        || v.users(class, Op::Gather).any(|n| reads(&n))
        || v.users(class, Op::Plan).any(|p| p.dim("experts").is_some_and(|all| table.at_most(all, size)))
}
