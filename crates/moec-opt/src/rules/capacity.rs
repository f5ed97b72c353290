//! Experts with a capacity: one-hot masks with positions by running count become seats of a plan,
//! dispatch and combine by such masks become rows by plan.
//!
//! What is equal in rows of a plan that drops pairs is equal in the rows of the pairs that it keeps;
//! `combine` leaves out the others.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, Op};

use super::gate::{are_distinct, at, densify, in_range};
use super::seating::{Order, Seating, capacity_of, one_hots, seat_numbers, seatings, seats_kept};
use super::{contract, one, rules};
use crate::term::{Found, Term, TermKind, View};

rules! {
    /// A mask of choices and something else: the other is looked at where the choice is.
    mask_at_own_choice: Finite [And, Mul] if "the other depends on the expert";
    /// `one_hot` of values at chosen places is `one_hot` of the chosen values.
    choice_of_one_hot: Bit [Gather] if "indices are aligned";
    /// Chosen elements of an element-wise operation, where every other axis is aligned.
    choice_of_element_wise: Bit [Gather] if "indices are aligned";
    /// The running count of choices, at the own choice, is the seat.
    count_at_own_choice_is_seat: Bit [Gather] if "indices of a token are distinct" if "indices are in range";
    /// `x + 1 - 1 = x`.
    one_more_and_one_less: Reassociate [Sub];
    /// A seat as a float and back as an integer is the seat.
    seat_as_float_and_back: Finite [Cast] if "counts of pairs, which f32 holds exactly up to 2^24";
    /// A contraction over experts and seats with a mask of seats is a combine of what sits there.
    contraction_over_seats_is_combine: Reassociate [Einsum];
    /// Rows by seat of what one-hot masks have put there are rows by token.
    seats_of_dispatched_rows: Finite [TakeSeats] if "the plan is that of the seats" if "every kept pair has a seat";
    /// Scores where some choice is made and something holds at it, else 0, are `densify` of the chosen.
    masked_by_some_choice_is_densify: Bit [Select] if "the other branch is 0" if "indices of a row are distinct" if "indices are in range";
    /// Weights of choices made in rounds, each where its number in the queue is below a limit, else 0,
    /// are `densify` of the weights of those that find a seat.
    gates_of_rounds_are_densify: Finite [Add, Select, Mul] if "a later round stands behind the earlier ones" if "a token chooses another expert in each round" if "no other condition";
    /// A combine whose weights are 0 without a seat leaves such pairs out.
    combine_of_seated_has_capacity: Finite [Combine] if "the seats are those of the plan";
    /// A capacity that no expert can exceed changes nothing.
    capacity_that_never_binds: Bit [PlanCapacity] if "a group has no more tokens than seats";
}

/// Whether every index axis moves along an axis of the operand.
fn aligned(n: Found<'_>) -> bool {
    n.axes("along").iter().all(|&a| a != usize::MAX)
}

fn mask_at_own_choice(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (a, b) = (n.arg(0), n.arg(1));
    let mut out = Vec::new();
    for (mask, other) in [(a, b), (b, a)] {
        let rank = v.rank(other);
        for (hot, map) in one_hots(v, mask) {
            let Some((&expert, tokens)) = map.split_last() else { continue };
            let varies = v.expansions(other).iter().all(|(_, m)| m.contains(&expert));
            let is_mask = one_hots(v, other).iter().any(|(_, m)| m.last() == Some(&expert));
            if !varies || is_mask || v.uniform(other).is_some() || !in_range(v, hot.arg(0), hot.dim("size")) {
                continue;
            }
            out.extend(one(|| {
                let along: Vec<i64> = tokens.iter().map(|&t| t as i64).collect();
                let attrs = Attrs::new([("along", along.into()), ("axis", expert.into())]);
                let there = v.op(Op::Gather, vec![v.term(other)?, v.term(hot.arg(0))?], attrs)?;
                let kept: Vec<usize> = (0..rank).filter(|&axis| axis != expert).collect();
                let there = v.broadcast(there, &kept, v.shape(other))?;
                v.again(n, vec![v.term(mask)?, there])
            }));
        }
    }
    out
}

fn choice_of_one_hot(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !aligned(n) || n.axis() + 1 >= v.rank(n.arg(0)) {
        return Vec::new();
    }
    let hot = v.nodes(n.arg(0), Op::OneHot);
    hot.filter_map(|hot| v.again(hot, vec![v.again(n, vec![v.term(hot.arg(0))?, v.term(n.arg(1))?])?]))
        .collect()
}

fn choice_of_element_wise(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !aligned(n) || v.fixed(n.arg(0)) {
        return Vec::new();
    }
    let inner = v.all(n.arg(0)).filter(|inner| crate::term::element_wise(inner.op));
    inner
        .filter_map(|inner| {
            let chosen = |&arg| v.again(n, vec![v.term(arg)?, v.term(n.arg(1))?]);
            v.again(inner, inner.args().iter().map(chosen).collect::<Option<_>>()?)
        })
        .collect()
}

fn count_at_own_choice_is_seat(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !aligned(n) {
        return Vec::new();
    }
    let shape = v.shape(n.arg(0));
    let direct = v.nodes(n.arg(0), Op::Cumsum).map(|count| (count, v.shape(n.arg(0))));
    let split = v.nodes(n.arg(0), Op::Reshape).flat_map(|r| {
        let merged = v.shape(r.arg(0));
        v.nodes(r.arg(0), Op::Cumsum).map(move |count| (count, merged))
    });
    direct.chain(split).flat_map(|(count, merged)| seats(v, n, count, merged, shape)).collect()
}

/// The seats that `count`, a running count over axes of `shape` merged to `merged`, gives at `n`.
fn seats(v: View<'_>, n: Found<'_>, count: Found<'_>, merged: &[Dim], shape: &[Dim]) -> Vec<Term> {
    let Some(ranges) = contract::parts(v, merged, shape) else { return Vec::new() };
    let Some(summed) = ranges.get(count.axis()).cloned() else { return Vec::new() };
    let mut out = Vec::new();
    for mask in unmerged(v, count.arg(0), shape, 3) {
        for (hot, map) in one_hots(v, mask) {
            out.extend(one(|| {
                let index = hot.arg(0);
                let (&expert, places) = map.split_last()?;
                let order = Order::of(v, index, places, summed.clone())?;
                let own = v.expansions(n.arg(1)).iter().any(|(source, m)| {
                    let along = n.axes("along");
                    v.graph.find(*source) == v.graph.find(index)
                        && places.iter().zip(m).all(|(place, &at)| along.get(at) == Some(place))
                });
                if !own || expert != n.axis() || !in_range(v, index, hot.dim("size")) {
                    return None;
                }
                let plan = order.plan(v, index, hot.dim("size")?)?;
                let seat = v.op(Op::PlanSeat, vec![plan], order.attrs())?;
                // In the axes of the result, which are those of the operand without the experts.
                let seat = v.reshape(seat, &order.shape)?;
                let kept: Vec<usize> = (0..shape.len()).filter(|&axis| axis != expert).collect();
                let perm: Vec<usize> =
                    kept.iter().map(|k| order.axes.iter().position(|a| a == k)).collect::<Option<_>>()?;
                let seat = v.transpose(seat, &perm)?;
                let dtype = v.tensor(n.arg(0))?.dtype;
                let seat = match dtype {
                    DType::I32 => seat,
                    _ => v.op(Op::Cast, vec![seat], Attrs::new([("to", dtype.into())]))?,
                };
                if count.attrs().bool("exclusive") {
                    return Some(seat);
                }
                let own = v.constant(dtype, seat.shape(), 1.0)?;
                v.op(Op::Add, vec![seat, own], Attrs::default())
            }));
        }
    }
    out
}

fn one_more_and_one_less(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !v.is(n.arg(1), 1.0) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for more in v.nodes(n.arg(0), Op::Add) {
        for (one, rest) in [(more.arg(0), more.arg(1)), (more.arg(1), more.arg(0))] {
            out.extend(v.term(rest).filter(|_| v.is(one, 1.0)));
        }
    }
    out
}

fn seat_as_float_and_back(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let back = n.attrs().dtype("to") == DType::I32;
    let floats = v.nodes(n.arg(0), Op::Cast).filter(|_| back);
    let is_seat = |class: Id| !seat_numbers(v, class).is_empty();
    floats.filter_map(|float| v.term(float.arg(0)).filter(|_| is_seat(float.arg(0)))).collect()
}

/// The classes of shape `shape` that `class` is a reshape of, also of truth values as numbers.
fn unmerged(v: View<'_>, class: Id, shape: &[Dim], depth: usize) -> Vec<Id> {
    let mut found = Vec::new();
    if v.shape(class) == shape {
        found.push(class);
    }
    if depth > 0 {
        for inner in v.all(class).filter(|inner| matches!(inner.op, Op::Cast | Op::Reshape)) {
            found.extend(unmerged(v, inner.arg(0), shape, depth - 1));
        }
    }
    found
}

fn contraction_over_seats_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some(spec) = n.spec() else { return Vec::new() };
    let swapped = spec.swapped();
    let sides = [(&spec, n.arg(0), n.arg(1)), (&swapped, n.arg(1), n.arg(0))];
    let mut out = Vec::new();
    for (spec, mask, y) in sides {
        if spec.contracted().len() != 2
            || spec.lhs.iter().any(|l| !spec.out.contains(l) && !spec.rhs.contains(l))
        {
            continue;
        }
        for seating in seatings(v, mask).into_iter().filter(|seating| seating.nonzero.is_none()) {
            out.extend(one(|| combined(v, &seating, spec, y)));
        }
    }
    out
}

fn combined(v: View<'_>, seating: &Seating, spec: &moec_ir::EinsumSpec, y: Id) -> Option<Term> {
    let letter = |axis: usize| spec.lhs.get(axis).copied();
    let (expert, seat, token) = (letter(seating.expert)?, letter(seating.seat)?, letter(seating.token)?);
    let (group, batch) = (seating.group.and_then(letter), seating.batch.and_then(letter));
    let in_y = |l: u8| spec.rhs.iter().position(|r| *r == l);
    if v.tensor(y)?.dtype != DType::F32 || in_y(token).is_some() || spec.out.contains(&expert) {
        return None;
    }
    let first = batch.into_iter().chain([expert, seat]).chain(group);
    let first: Vec<usize> = first.map(in_y).collect::<Option<_>>()?;
    let order = crate::term::leading(&first, spec.rhs.len());
    let plan =
        v.op(Op::PlanCapacity, vec![seating.plan.clone()], seating.order.capacity(&seating.capacity))?;
    let attrs = seating.order.take(group.is_some());
    let mut y = v.transpose(v.term(y)?, &order)?;
    if batch.is_some() {
        let experts = y.shape()[0].times(&y.shape()[1]).ok()?;
        let shape: Vec<Dim> = [experts].iter().chain(&y.shape()[2..]).cloned().collect();
        y = v.reshape(y, &shape)?;
    }
    let y = v.op(Op::TakeSeats, vec![plan.clone(), y], attrs)?;
    let weights = match &seating.weights {
        Some(weights) => weights.clone(),
        None => v.constant(DType::F32, &seating.order.pairs(v)?, 1.0)?,
    };
    let sum = v.op(Op::Combine, vec![plan, weights, y], Attrs::default())?;
    // `[tokens, rest of y]`, with tokens split into groups, in the order of the result.
    let rest: Vec<u8> = order[first.len()..].iter().map(|&axis| spec.rhs[axis]).collect();
    let tokens = &seating.order.shape[..seating.order.shape.len() - usize::from(seating.order.slots)];
    let shape: Vec<Dim> = tokens.iter().chain(&sum.shape()[1..]).cloned().collect();
    let sum = v.reshape(sum, &shape)?;
    let letters: Vec<u8> = group.into_iter().chain(batch).chain([token]).chain(rest).collect();
    let perm: Option<Vec<usize>> = spec.out.iter().map(|l| letters.iter().position(|k| k == l)).collect();
    v.transpose(sum, &perm?)
}

fn seats_of_dispatched_rows(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let attrs = n.attrs();
    let grouped = attrs.bool("grouped");
    let roles = [Some(0), Some(1), grouped.then_some(2), None];
    let mut out = Vec::new();
    for (x, seating, seats, list) in dispatched(v, n.arg(1), roles, 6) {
        let fits = attrs.dim("group") == &seating.order.group
            && attrs.bool("slots_first") == seating.order.slots_first
            && seats_kept(v, n.arg(0), &seating, &list, &seats);
        out.extend(one(|| {
            let plan = v.term(n.arg(0)).filter(|_| fits)?;
            let rows = v.op(Op::TakeRows, vec![plan.clone(), x], Attrs::default())?;
            let Some(weights) = seating.nonzero else { return Some(rows) };
            // Seats of pairs without weight were left empty.
            let holds = v.op(Op::TakeSlots, vec![plan, nonzero(v, weights)?], Attrs::default())?;
            let holds = v.broadcast(holds, &[0], rows.shape())?;
            let empty = v.constant(rows.ty.tensor()?.dtype, rows.shape(), 0.0)?;
            v.op(Op::Select, vec![holds, rows, empty], Attrs::default())
        }));
    }
    out
}

/// Where weights are not 0.
fn nonzero(v: View<'_>, weights: Term) -> Option<Term> {
    let zero = v.constant(DType::F32, weights.shape(), 0.0)?;
    v.op(Op::Ne, vec![weights, zero], Attrs::default())
}

/// What was put where: rows `[tokens, ..]`, the seats, how many, and the experts listed.
type Dispatched = (Term, Seating, Dim, Option<Vec<i64>>);

/// Axes of experts, seats and groups; and one along which experts are others, if they have two.
type Roles = [Option<usize>; 4];

/// The ways in which `class`, whose axes have `roles`, and whose others keep their order, was filled by one-hot masks. Looks through selections of experts and first seats.
fn dispatched(v: View<'_>, class: Id, roles: Roles, depth: usize) -> Vec<Dispatched> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    let mut found = Vec::new();
    for n in v.all(class) {
        match n.op {
            Op::Transpose => {
                let perm = n.axes("perm");
                let moved = roles.map(|role| role.and_then(|r| perm.get(r).copied()));
                let others: Vec<usize> =
                    (0..perm.len()).filter(|a| !roles.contains(&Some(*a))).map(|a| perm[a]).collect();
                if others.is_sorted() {
                    found.extend(dispatched(v, n.arg(0), moved, depth));
                }
            }
            Op::Gather if roles[0] == Some(n.axis()) && n.axes("along") == [usize::MAX] => {
                if let Some(list) = v.integers(n.arg(1)) {
                    for (x, seating, seats, inner) in dispatched(v, n.arg(0), roles, depth) {
                        let chosen: Option<Vec<i64>> = match inner {
                            None => Some(list.clone()),
                            Some(inner) => {
                                list.iter().map(|&i| inner.get(usize::try_from(i).ok()?).copied()).collect()
                            }
                        };
                        found.extend(chosen.map(|list| (x, seating, seats, Some(list))));
                    }
                }
            }
            Op::Slice if roles[1] == Some(n.axis()) => {
                let (start, size, step) = (n.dim("start"), n.dim("size"), n.attrs().int("step"));
                if start.is_some_and(|start| start.is(0)) && step == 1 {
                    let inner = dispatched(v, n.arg(0), roles, depth).into_iter();
                    found.extend(size.into_iter().flat_map(|size| {
                        inner.clone().map(move |(x, seating, _, list)| (x, seating, size.clone(), list))
                    }));
                }
            }
            // Experts along two axes, merged.
            Op::Reshape if roles[0] == Some(0) && roles[3].is_none() => {
                let from = v.shape(n.arg(0));
                if from.get(2..) == n.dims("shape").get(1..) {
                    let moved = roles.map(|role| role.map(|axis| axis + 1));
                    found.extend(dispatched(v, n.arg(0), [moved[0], moved[1], moved[2], Some(0)], depth));
                }
            }
            Op::Einsum => found.extend(contraction(v, n, roles)),
            _ => {}
        }
    }
    found
}

/// Rows that a contraction with a mask of seats moves.
fn contraction(v: View<'_>, n: Found<'_>, roles: Roles) -> Vec<Dispatched> {
    let Some(spec) = n.spec() else { return Vec::new() };
    let swapped = spec.swapped();
    let mut found = Vec::new();
    for (spec, mask, x) in [(&spec, n.arg(0), n.arg(1)), (&swapped, n.arg(1), n.arg(0))] {
        let [token] = spec.contracted()[..] else { continue };
        for seating in seatings(v, mask).into_iter().filter(|s| s.weights.is_none()) {
            let at = |role: Option<usize>| role.and_then(|r| spec.out.get(r).copied());
            let of = |axis: Option<usize>| axis.and_then(|a| spec.lhs.get(a).copied());
            let same = at(roles[0]) == of(Some(seating.expert))
                && at(roles[1]) == of(Some(seating.seat))
                && at(roles[2]) == of(seating.group)
                && at(roles[3]) == of(seating.batch)
                && of(Some(seating.token)) == Some(token);
            if !same {
                continue;
            }
            found.extend((|| {
                let own = |l: u8| spec.rhs.iter().position(|r| *r == l);
                let first = at(roles[2]).into_iter().chain(at(roles[3])).chain([token]);
                let first: Vec<usize> = first.map(own).collect::<Option<_>>()?;
                // The others in the order of the result.
                let rest = spec.out.iter().filter_map(|l| own(*l)).filter(|a| !first.contains(a));
                let order: Vec<usize> = first.iter().copied().chain(rest).collect();
                if order.len() != spec.rhs.len() {
                    return None;
                }
                let x = v.transpose(v.term(x)?, &order)?;
                let tokens = seating.order.pairs(v)?[0].clone();
                let shape: Vec<Dim> = [tokens].iter().chain(&x.shape()[first.len()..]).cloned().collect();
                let x = v.reshape(x, &shape)?;
                Some((x, seating.clone(), seating.capacity.clone(), None))
            })());
        }
    }
    found
}

fn masked_by_some_choice_is_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if !v.is(n.arg(2), 0.0) || v.rank(n.arg(1)) != 2 {
        return Vec::new();
    }
    let mut out = Vec::new();
    for some in v.nodes(n.arg(0), Op::Any) {
        for both in v.nodes(some.arg(0), Op::And) {
            let (a, b) = (both.arg(0), both.arg(1));
            for (mask, holds) in [(a, b), (b, a)] {
                for (hot, map) in one_hots(v, mask) {
                    out.extend(one(|| chosen_where(v, n, (hot, &map), some.axis(), holds)));
                }
            }
        }
    }
    out
}

/// `densify` of the scores of `select` at the choices of `hot`, whose slots are `slots` of the axes that
/// `map` names, where `holds` holds, else of 0.
fn chosen_where(
    v: View<'_>,
    select: Found<'_>,
    (hot, map): (Found<'_>, &[usize]),
    slots: usize,
    holds: Id,
) -> Option<Term> {
    let (&expert, places) = map.split_last()?;
    let index = hot.arg(0);
    let own = places.iter().position(|&place| place == slots)?;
    if places.len() != 2 || !are_distinct(v, index, own) || !in_range(v, index, hot.dim("size")) {
        return None;
    }
    // Without the slots: where the experts lie among the axes of the scores.
    let axis = expert - usize::from(slots < expert);
    let perm = if axis == 1 { [1 - own, own] } else { [own, 1 - own] };
    let index_term = v.transpose(v.term(index)?, &perm)?;
    let holds = v.expansions(holds).into_iter().find_map(|(source, axes)| {
        let own: Option<Vec<usize>> =
            axes.iter().map(|axis| places.iter().position(|place| place == axis)).collect();
        Some((source, own?))
    });
    let (source, own_axes) = holds?;
    let holds = v.transpose(v.broadcast(v.term(source)?, &own_axes, v.shape(index))?, &perm)?;
    let scores = at(v, v.term(select.arg(1))?, index_term.clone(), axis)?;
    let zero = v.constant(v.tensor(select.arg(1))?.dtype, scores.shape(), 0.0)?;
    let kept = v.op(Op::Select, vec![holds, scores, zero], Attrs::default())?;
    densify(v, kept, index_term, axis, hot.dim("size")?)
}

fn gates_of_rounds_are_densify(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    // Most programs have none, and many sums and products.
    if v.graph.classes_for_op(&Some(Op::OneHot)).is_none_or(|mut hot| hot.next().is_none()) {
        return Vec::new();
    }
    one(|| {
        let class = v.class_of(n).filter(|&class| v.rank(class) == 2)?;
        let numbers = v.tensor(class).is_some_and(|ty| ty.dtype == DType::F32);
        let seating = super::queue::served(v, class).filter(|_| numbers)?;
        let TermKind::Op(Op::Plan, index, _) = &seating.plan.kind else { return None };
        let (index, weights) = (index.first()?.clone(), seating.weights?);
        let seat = v.op(Op::PlanSeat, vec![seating.plan.clone()], seating.order.attrs())?;
        let seats = v.sizing().table().value(&seating.capacity)?;
        let seats = v.constant(DType::I32, seat.shape(), seats as f64)?;
        let holds = v.op(Op::Lt, vec![seat, seats], Attrs::default())?;
        let zero = v.constant(DType::F32, weights.shape(), 0.0)?;
        let kept = v.op(Op::Select, vec![holds, weights, zero], Attrs::default())?;
        let order = if seating.expert == 1 { [0, 1] } else { [1, 0] };
        let experts = v.shape(class).get(seating.expert)?;
        densify(v, v.transpose(kept, &order)?, v.transpose(index, &order)?, seating.expert, experts)
    })
}

fn combine_of_seated_has_capacity(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (capacity, seat) in seat_limits(v, n.arg(1), 4) {
        if v.graph.find(seat.arg(0)) != v.graph.find(n.arg(0)) {
            continue;
        }
        for taken in v.nodes(n.arg(2), Op::TakePairs) {
            if v.graph.find(taken.arg(0)) != v.graph.find(n.arg(0)) {
                continue;
            }
            out.extend(one(|| {
                let attrs = Attrs::new([
                    ("capacity", (&capacity).into()),
                    ("group", seat.dim("group")?.into()),
                    ("slots_first", seat.attrs().bool("slots_first").into()),
                ]);
                let plan = v.op(Op::PlanCapacity, vec![v.term(n.arg(0))?], attrs)?;
                let taken = v.again(taken, vec![plan.clone(), v.term(taken.arg(1))?])?;
                v.again(n, vec![plan, v.term(n.arg(1))?, taken])
            }));
        }
    }
    out
}

/// The numbers of seats such that weights `[tokens, slots]` are 0 where the seat is not below: through
/// factors and dividends, to a choice between something and 0.
fn seat_limits(v: View<'_>, weights: Id, depth: usize) -> Vec<(Dim, Found<'_>)> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    let mut found = Vec::new();
    for n in v.all(weights) {
        match n.op {
            Op::Mul => found.extend(n.args().iter().flat_map(|&arg| seat_limits(v, arg, depth))),
            Op::Div => found.extend(seat_limits(v, n.arg(0), depth)),
            Op::Select if v.is(n.arg(2), 0.0) => {
                for less in v.nodes(n.arg(0), Op::Lt) {
                    let limit = v.uniform(less.arg(1)).filter(|limit| *limit >= 0.0 && limit.fract() == 0.0);
                    let Some(limit) = limit else { continue };
                    let seats = v.nodes(less.arg(0), Op::PlanSeat);
                    found.extend(seats.map(|seat| (Dim::constant(limit as u64), seat)));
                }
            }
            _ => {}
        }
    }
    found
}

fn capacity_that_never_binds(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (capacity, group) = capacity_of(n);
    let never = v.sizing().table().at_most(group, capacity);
    v.term(n.arg(0)).filter(|_| never).into_iter().collect()
}
