//! Which elements a route chooses, and weights that are made of the chosen.
//!
//! In real numbers an increasing function changes no order. In f32 it rounds, and numbers that were
//! apart may become equal; then the lower index is chosen, whatever the order was before. How far
//! apart they may have been decides the class of each rule here:
//!
//! - `softmax` makes equal what is within a few units in the last place of one another, or what is
//!   so far below the largest that its share is 0. Such scores change places as well when the sum
//!   that made them is taken in another order: class `reassociate`.
//! - `sigmoid` makes equal whatever is far enough from 0: 20 and 30 are both 1. No reordered sum
//!   does this, so a proof is needed that scores stay where the slope is steep.
//! - Whole numbers that stay within a proved range keep their order exactly: class `bit`.

use moec_ir::{Attr, Attrs, DType, Op};

use super::gate::along_route;
use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// What is best by `softmax(z)` is what is best by z.
    selection_by_softmax: Reassociate [RouteIndex, RouteMask] if "the largest are chosen" if "softmax runs along the axis of the route";
    /// What is best by `sigmoid(z)` is what is best by z, and has the sigmoid of its value.
    selection_by_sigmoid: Reassociate [RouteIndex, RouteMask, RouteValue] if "z is proved to be within -4 and 4";
    /// What is best by a function that increases is what is best by its argument.
    selection_by_function_of_whole_numbers: Bit [RouteIndex, RouteMask]
        if "arguments are proved whole numbers within -8 and 8";
    /// Chosen shares of a softmax, divided by their sum, are the softmax of the chosen scores.
    normalised_shares_are_softmax: Reassociate [Div] if "the sum is not clamped or moved away from 0" if "the largest are chosen";
    /// Shares at the places of the best scores are those at the places of the best shares.
    shares_at_own_choice: Reassociate [Gather] if "the largest are chosen" if "softmax runs along the axis of the route";
    /// The shares that a softmax gives sum to 1.
    sum_of_shares_is_one: Reassociate [Sum] if "along the axis of the softmax" if "the axis is known not to be empty";
    /// A softmax over one element is 1.
    softmax_of_one: Finite [Softmax] if "the axis has size 1";
    /// A route that chooses as many as there are chooses all.
    mask_of_all: Bit [RouteMask] if "k is the size of the axis";
    /// A choice by a condition that is the same everywhere.
    choice_by_constant: Bit [Select] if "all elements of the condition are one truth value";
}

/// For a projection of `top_k(f(z))`: the route, f and z, for each f among `functions`.
fn routes_by<'a>(v: View<'a>, n: Found<'a>, functions: &'a [Op]) -> Vec<(Found<'a>, Found<'a>)> {
    let mut found = Vec::new();
    for top in v.nodes(n.arg(0), Op::TopK) {
        for f in v.all(top.arg(0)).filter(|f| functions.contains(&f.op)) {
            if f.op != Op::Softmax || f.axis() == top.axis() {
                found.push((top, f));
            }
        }
    }
    found
}

/// The projection `n` of the route `top`, taken by the argument of `f` instead.
fn by_argument<'a>(v: View<'a>, n: Found<'a>, top: Found<'a>, f: Found<'a>) -> Option<Term> {
    let route = v.again(top, vec![v.term(f.arg(0))?])?;
    v.again(n, vec![route])
}

fn largest(top: Found<'_>) -> bool {
    matches!(top.attrs().get("largest"), Some(Attr::Bool(true)))
}

fn selection_by_softmax(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let routes = routes_by(v, n, &[Op::Softmax]).into_iter().filter(|(top, _)| largest(*top));
    routes.filter_map(|(top, f)| by_argument(v, n, top, f)).collect()
}

fn selection_by_sigmoid(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let routes = routes_by(v, n, &[Op::Sigmoid]).into_iter();
    routes
        .filter(|(_, f)| v.within(f.arg(0), -4.0, 4.0))
        .filter_map(|(top, f)| {
            let chosen = by_argument(v, n, top, f)?;
            match n.op {
                Op::RouteValue => v.again(f, vec![chosen]),
                _ => Some(chosen),
            }
        })
        .collect()
}

fn selection_by_function_of_whole_numbers(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    const INCREASING: &[Op] = &[Op::Softmax, Op::Sigmoid, Op::Exp, Op::Softplus];
    let routes = routes_by(v, n, INCREASING).into_iter();
    routes
        .filter(|(_, f)| v.within(f.arg(0), -8.0, 8.0) && v.known(f.arg(0)).is_some_and(|known| known.whole))
        .filter_map(|(top, f)| by_argument(v, n, top, f))
        .collect()
}

fn normalised_shares_are_softmax(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let shares = v.graph.find(n.arg(0));
    let divided = |axis: usize| {
        let others: Vec<usize> = (0..v.rank(shares)).filter(|&a| a != axis).collect();
        let own = |sum: Found<'_>| sum.axis() == axis && v.graph.find(sum.arg(0)) == shares;
        let mut sums = v.expansions(n.arg(1)).into_iter();
        sums.any(|(source, map)| map == others && v.nodes(source, Op::Sum).any(own))
    };
    let mut out = Vec::new();
    for chosen in v.nodes(shares, Op::RouteValue) {
        let routes = routes_by(v, chosen, &[Op::Softmax]).into_iter();
        for (top, softmax) in routes.filter(|(top, _)| largest(*top) && divided(top.axis())) {
            out.extend(one(|| v.along(softmax, vec![by_argument(v, chosen, top, softmax)?], top.axis())));
        }
    }
    out
}

fn shares_at_own_choice(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !along_route(n, v.rank(n.arg(0))) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for softmax in v.nodes(n.arg(0), Op::Softmax).filter(|softmax| softmax.axis() == n.axis()) {
        let scores = v.graph.find(softmax.arg(0));
        let routes = v.nodes(n.arg(1), Op::RouteIndex).flat_map(|route| v.nodes(route.arg(0), Op::TopK));
        let own = |top: &Found<'_>| top.axis() == n.axis() && v.graph.find(top.arg(0)) == scores;
        for top in routes.filter(|top| own(top) && largest(*top)) {
            out.extend(one(|| {
                let route = v.again(top, vec![v.term(n.arg(0))?])?;
                let index = v.op(Op::RouteIndex, vec![route], Attrs::default())?;
                v.again(n, vec![v.term(n.arg(0))?, index])
            }));
        }
    }
    out
}

fn sum_of_shares_is_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let shape = v.shape(n.arg(0));
        let size = v.sizing().table().value(shape.get(n.axis())?)?;
        v.nodes(n.arg(0), Op::Softmax).find(|shares| shares.axis() == n.axis() && size > 0)?;
        let rest = [&shape[..n.axis()], &shape[n.axis() + 1..]].concat();
        v.constant(DType::F32, &rest, 1.0)
    })
}

fn softmax_of_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let ty = v.tensor(n.arg(0)).filter(|ty| ty.shape.get(n.axis()).is_some_and(|size| size.is(1)))?;
        v.constant(ty.dtype, &ty.shape, 1.0)
    })
}

fn mask_of_all(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let route = v.known(n.arg(0))?.ty.route()?;
        let all = route.scores.shape.get(route.axis) == Some(&route.k);
        v.constant(DType::Bool, &route.scores.shape, 1.0).filter(|_| all)
    })
}

fn choice_by_constant(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        let chosen = if v.uniform(n.arg(0))? == 0.0 { 2 } else { 1 };
        v.term(n.arg(chosen))
    })
}
