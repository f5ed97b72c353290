//! How choices made in rounds are recognised. In each round a token chooses one expert, by a one-hot
//! mask, perhaps under a condition; those that chose an expert stand in a queue for its seats, and a
//! later round stands behind the earlier ones. Together they are a plan with a slot for each round.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, Op};

use super::gate::{at, in_range};
use super::seating::{Factor, Order, Seating, operands};
use crate::term::{Found, Term, View};

/// Which expert a token has chosen, in axes of its own: equal choices are equal, wherever they stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Choice {
    /// A class that is `one_hot` of indices in range.
    pub(super) hot: Id,
    /// Truth values along axes of the index: all must hold, or nothing is chosen.
    pub(super) conditions: Vec<Factor>,
}

/// A choice of those only whose numbers in a queue are below a limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mask {
    choice: Choice,
    limits: Vec<(Count, u64)>,
}

/// A number for each token, at its own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Count {
    /// How many earlier tokens (or how many of the group, if not `true`) have made the same choice.
    queues: Vec<(bool, Mask)>,
    /// What is added.
    plus: i64,
    /// It is counted where these have chosen, and 0 elsewhere.
    only: Vec<Mask>,
}

/// Where the axes of a bigger tensor are.
struct Frame {
    expert: usize,
    /// The axes of the index: groups, if there are any, then tokens.
    tokens: Vec<usize>,
}

impl Frame {
    fn token(&self) -> Option<usize> {
        self.tokens.last().copied()
    }

    /// `map` in axes of the index, if it lies along no others.
    fn own(&self, map: &[usize]) -> Option<Vec<usize>> {
        map.iter().map(|axis| self.tokens.iter().position(|t| t == axis)).collect()
    }
}

/// How deep masks and numbers are looked into.
const DEPTH: usize = 8;

/// How many rounds there are at most.
const MOST: usize = 8;

/// How many ways to write a mask are looked at.
const WAYS: usize = 24;

/// The ways in which a class is a product of masks and factors that hold none.
fn products(v: View<'_>, class: Id, map: &[usize], depth: usize) -> Vec<Vec<Factor>> {
    let own = || vec![vec![(v.graph.find(class), map.to_vec())]];
    let is_hot = |class: Id| v.nodes(class, Op::OneHot).next().is_some();
    let Some(depth) = depth.checked_sub(1).filter(|_| choosing(v, class).is_none()) else { return own() };
    let mut found: Vec<Vec<Factor>> = Vec::new();
    for n in v.all(class) {
        let Some(parts) = operands(v, n, map) else { continue };
        if parts.iter().any(|(part, _)| v.graph.find(*part) == v.graph.find(class)) {
            continue;
        }
        let mut ways: Vec<Vec<Factor>> = vec![Vec::new()];
        for (part, map) in &parts {
            let more = products(v, *part, map, depth);
            ways = ways.iter().flat_map(|a| more.iter().map(|b| [a.as_slice(), b].concat())).collect();
            ways.truncate(WAYS);
        }
        // A number in which there is no mask is one factor, however it is made.
        let is_number = v.tensor(class).is_some_and(|ty| ty.dtype != DType::Bool)
            && !matches!(n.op, Op::Broadcast | Op::Transpose);
        for way in ways {
            let masked = way.iter().any(|(factor, _)| is_hot(*factor));
            if found.len() < WAYS && (masked || !is_number) && !found.contains(&way) {
                found.push(way);
            }
        }
    }
    if found.is_empty() { own() } else { found }
}

/// The node that makes a class a one-hot choice.
pub(super) fn choosing<'a>(v: View<'a>, class: Id) -> Option<Found<'a>> {
    v.nodes(class, Op::OneHot).find(|hot| in_range(v, hot.arg(0), hot.dim("size")))
}

/// The choice that a mask is, whose experts lie along `expert`.
pub(super) fn choice(v: View<'_>, mask: Id, expert: usize) -> Option<Choice> {
    let axes: Vec<usize> = (0..v.rank(mask)).collect();
    let frame = Frame { expert, tokens: axes.iter().copied().filter(|&axis| axis != expert).collect() };
    let found = masks(v, mask, &axes, &frame, 2);
    found.into_iter().find(|mask| mask.limits.is_empty()).map(|mask| mask.choice)
}

/// The choices that a class is, its axes being `map` of the frame.
fn masks(v: View<'_>, class: Id, map: &[usize], frame: &Frame, depth: usize) -> Vec<Mask> {
    let ways = products(v, class, map, DEPTH);
    let found = ways.iter().filter_map(|way| {
        let picks: Vec<usize> = (0..way.len()).filter(|&i| is_pick(v, &way[i], frame)).collect();
        let [pick] = picks[..] else { return None };
        let rest = way.iter().enumerate().filter(|(i, _)| *i != pick).map(|(_, factor)| factor);
        let (mask, others) = restricted(v, way[pick].0, rest, frame, depth)?;
        others.is_empty().then_some(mask)
    });
    found.collect()
}

fn is_pick(v: View<'_>, (class, map): &Factor, frame: &Frame) -> bool {
    let own = map.split_last().is_some_and(|(e, rest)| *e == frame.expert && rest == frame.tokens);
    own && choosing(v, *class).is_some()
}

/// The choice `hot` where all of `rest` hold, and those of them that are no truth values.
fn restricted<'f>(
    v: View<'_>,
    hot: Id,
    rest: impl Iterator<Item = &'f Factor>,
    frame: &Frame,
    depth: usize,
) -> Option<(Mask, Vec<Factor>)> {
    let (mut conditions, mut limits, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (class, map) in rest.filter(|(class, _)| !v.is(*class, 1.0)) {
        if v.tensor(*class)?.dtype != DType::Bool {
            others.push((*class, map.clone()));
        } else if let Some(limit) = limit(v, *class, map, frame, depth) {
            limits.push(limit);
        } else {
            conditions.push((v.graph.find(*class), frame.own(map)?));
        }
    }
    conditions.sort();
    conditions.dedup();
    limits.sort();
    limits.dedup();
    Some((Mask { choice: Choice { hot: v.graph.find(hot), conditions }, limits }, others))
}

/// The number in a queue that a class compares with a limit.
fn limit(v: View<'_>, class: Id, map: &[usize], frame: &Frame, depth: usize) -> Option<(Count, u64)> {
    let depth = depth.checked_sub(1)?;
    v.nodes(class, Op::Lt).find_map(|less| {
        let limit = v.uniform(less.arg(1)).filter(|limit| *limit >= 0.0 && limit.fract() == 0.0)?;
        let count = count(v, less.arg(0), map, frame, depth).filter(|count| !count.queues.is_empty())?;
        Some((count, limit as u64))
    })
}

/// The number in a queue that a class is.
fn count(v: View<'_>, class: Id, map: &[usize], frame: &Frame, depth: usize) -> Option<Count> {
    if let Some(value) = v.uniform(class) {
        return (value.fract() == 0.0).then(|| Count { plus: value as i64, ..Count::default() });
    }
    let depth = depth.checked_sub(1)?;
    let below = |arg: Id, map: &[usize]| count(v, arg, map, frame, depth);
    v.all(class).find_map(|n| {
        let found = match n.op {
            Op::Add => {
                let (mut a, b) = (below(n.arg(0), map)?, below(n.arg(1), map)?);
                a.queues.extend(b.queues);
                a.only.extend(b.only);
                Count { plus: a.plus + b.plus, ..a }
            }
            Op::Sub => {
                let less = v.uniform(n.arg(1)).filter(|less| less.fract() == 0.0)?;
                let count = below(n.arg(0), map)?;
                Count { plus: count.plus - less as i64, ..count }
            }
            Op::Cast => below(n.arg(0), map)?,
            Op::Broadcast => {
                let own: Vec<usize> = n.axes("map").iter().map(|&axis| map[axis]).collect();
                below(n.arg(0), &own)?
            }
            Op::Transpose => {
                let back = crate::term::inverse(&n.axes("perm"));
                let own: Vec<usize> = back.iter().map(|&axis| map[axis]).collect();
                below(n.arg(0), &own)?
            }
            Op::Cumsum if map.get(n.axis()).copied() == frame.token() => {
                let mask = masks(v, n.arg(0), map, frame, depth).into_iter().next()?;
                let itself = i64::from(!n.attrs().bool("exclusive"));
                Count { queues: vec![(true, mask)], plus: itself, ..Count::default() }
            }
            Op::Sum => {
                let mut wide = map.to_vec();
                let gone = if map.contains(&frame.expert) { frame.token()? } else { frame.expert };
                wide.insert(n.axis(), gone);
                if gone == frame.expert {
                    return counted_at(v, n.arg(0), &wide, frame, depth);
                }
                let mask = masks(v, n.arg(0), &wide, frame, depth).into_iter().next()?;
                Count { queues: vec![(false, mask)], ..Count::default() }
            }
            _ => return None,
        };
        Some(sorted(found))
    })
}

fn sorted(mut count: Count) -> Count {
    count.queues.sort();
    count.only.sort();
    count.only.dedup();
    count
}

/// The number that a product of a number and a choice has at the choice, and nowhere else.
fn counted_at(v: View<'_>, class: Id, map: &[usize], frame: &Frame, depth: usize) -> Option<Count> {
    let ways = products(v, class, map, DEPTH);
    ways.iter().find_map(|way| {
        let pick = way.iter().position(|factor| is_pick(v, factor, frame))?;
        let rest = way.iter().enumerate().filter(|(i, _)| *i != pick).map(|(_, factor)| factor);
        let (mask, others) = restricted(v, way[pick].0, rest, frame, depth)?;
        let [(number, own)] = &others[..] else { return None };
        let mut found = count(v, *number, own, frame, depth)?;
        found.only.push(mask);
        Some(sorted(found))
    })
}

/// One round: a mask over tokens, experts and seats.
struct Round {
    frame: Frame,
    mask: Mask,
    /// The axis of the seats, and how many there are.
    seat: usize,
    capacity: Dim,
    /// The seat of each token.
    count: Count,
    /// Factors that are no truth values.
    weights: Vec<Factor>,
}

/// The rounds that a class may be.
fn rounds(v: View<'_>, class: Id) -> Vec<Round> {
    let axes: Vec<usize> = (0..v.rank(class)).collect();
    let ways = products(v, class, &axes, DEPTH);
    let mut found = Vec::new();
    for way in &ways {
        for (seated, (class, map)) in way.iter().enumerate() {
            for seats in v.nodes(*class, Op::OneHot) {
                for pick in (0..way.len()).filter(|pick| *pick != seated) {
                    found.extend(round(v, way, (seated, seats, map), pick));
                }
            }
        }
    }
    found
}

/// The rounds that a class without an axis of seats may be: of those whose number is below one limit.
fn limited(v: View<'_>, class: Id) -> Vec<Round> {
    let axes: Vec<usize> = (0..v.rank(class)).collect();
    let ways = products(v, class, &axes, DEPTH);
    let of_way = |way: &Vec<Factor>| {
        (0..way.len()).find_map(|pick| {
            let (hot, map) = &way[pick];
            let (&expert, tokens) = map.split_last()?;
            let frame = Frame { expert, tokens: tokens.to_vec() };
            if !is_pick(v, &way[pick], &frame) {
                return None;
            }
            let rest = way.iter().enumerate().filter(|(i, _)| *i != pick).map(|(_, factor)| factor);
            let (mask, weights) = restricted(v, *hot, rest, &frame, DEPTH)?;
            let [(count, limit)] = &mask.limits[..] else { return None };
            let (count, capacity) = (count.clone(), Dim::constant(*limit));
            // Nobody asks for the axis of the seats, which is the same for all rounds.
            Some(Round { frame, mask, seat: expert, capacity, count, weights })
        })
    };
    ways.iter().filter_map(of_way).collect()
}

fn round(
    v: View<'_>,
    way: &[Factor],
    (seated, seats, seat_map): (usize, Found<'_>, &[usize]),
    pick: usize,
) -> Option<Round> {
    let (hot, map) = &way[pick];
    let ((&expert, tokens), (&seat, numbered)) = (map.split_last()?, seat_map.split_last()?);
    let frame = Frame { expert, tokens: tokens.to_vec() };
    if !is_pick(v, &way[pick], &frame) || seat == expert || tokens.contains(&seat) {
        return None;
    }
    let rest = way.iter().enumerate().filter(|(i, _)| *i != pick && *i != seated).map(|(_, factor)| factor);
    let (mask, weights) = restricted(v, *hot, rest, &frame, DEPTH)?;
    let count = count(v, seats.arg(0), numbered, &frame, DEPTH)?;
    Some(Round { frame, mask, seat, capacity: seats.dim("size")?.clone(), count, weights })
}

/// The terms of a sum.
fn terms(v: View<'_>, class: Id, depth: usize) -> Vec<Id> {
    let mut sums = v.nodes(class, Op::Add).filter(|sum| sum.args().iter().all(|&a| v.uniform(a).is_none()));
    match sums.next() {
        Some(sum) if depth > 0 => sum.args().iter().flat_map(|&arg| terms(v, arg, depth - 1)).collect(),
        _ => vec![class],
    }
}

/// The masks of seats that a class is as the sum of one mask for each round.
pub(super) fn seating(v: View<'_>, class: Id) -> Option<Seating> {
    one_behind_the_other(v, class, rounds)
}

/// The same for a class without an axis of seats: a gate that is 0 for whoever finds no seat.
pub(super) fn served(v: View<'_>, class: Id) -> Option<Seating> {
    one_behind_the_other(v, class, limited)
}

fn one_behind_the_other(v: View<'_>, class: Id, of_term: fn(View<'_>, Id) -> Vec<Round>) -> Option<Seating> {
    let mut found = Vec::new();
    for term in terms(v, class, MOST) {
        let all = of_term(v, term);
        found.push(all.into_iter().find(|round| is_served(v, round))?);
    }
    found.sort_by_key(|round| round.count.queues.len());
    let first = found.first()?;
    for (at, round) in found.iter().enumerate() {
        let alike = round.frame.expert == first.frame.expert
            && round.frame.tokens == first.frame.tokens
            && round.seat == first.seat
            && round.capacity == first.capacity;
        if !alike || !is_behind(v, round, &found[..at]) || !is_new(v, round, &found[..at]) {
            return None;
        }
    }
    plan(v, &found)
}

/// Whether two counts are the same where both are made.
fn same_number(a: &Count, b: &Count) -> bool {
    a.queues == b.queues && a.plus == b.plus
}

/// Whether whoever has chosen and is below the limits has a seat, and where a number is not counted
/// nobody has chosen.
fn is_served(v: View<'_>, round: &Round) -> bool {
    let Mask { choice, limits } = &round.mask;
    let seats = v.sizing().table().value(&round.capacity);
    let own = |(count, limit): &(Count, u64)| Some(*limit) == seats && same_number(count, &round.count);
    let all = || [&round.count].into_iter().chain(limits.iter().map(|(count, _)| count));
    let counted = |only: &Mask| {
        let conditions = only.choice.conditions.iter().all(|c| choice.conditions.contains(c));
        let limited = only.limits.iter().all(|l| own(l) && limits.iter().any(|m| same_number(&m.0, &l.0)));
        only.choice.hot == choice.hot && conditions && limited
    };
    limits.iter().all(own) && all().flat_map(|count| &count.only).all(counted)
}

/// Whether a round stands behind all of the earlier ones, and behind nothing else.
fn is_behind(v: View<'_>, round: &Round, earlier: &[Round]) -> bool {
    let seats = v.sizing().table().value(&round.capacity);
    let mut own = 0;
    let mut before = vec![0; earlier.len()];
    for (running, mask) in &round.count.queues {
        // Those who found no seat stand behind all who did: whether they are counted shows nowhere.
        let of = |other: &Round| {
            let is_limit =
                |(count, limit): &(Count, u64)| Some(*limit) == seats && same_number(count, &other.count);
            mask.choice == other.mask.choice && mask.limits.iter().all(is_limit)
        };
        match earlier.iter().position(of) {
            Some(at) if !running => before[at] += 1,
            None if *running && mask.choice == round.mask.choice && mask.limits.is_empty() => own += 1,
            _ => return false,
        }
    }
    own == 1 && before.iter().all(|&count| count == 1) && round.count.plus == 0
}

/// Whether a token that chose in earlier rounds chooses another expert in this one.
fn is_new(v: View<'_>, round: &Round, earlier: &[Round]) -> bool {
    let Some(hot) = choosing(v, round.mask.choice.hot) else { return false };
    let enough = hot_size(v, round.mask.choice.hot).is_some_and(|experts| experts > earlier.len() as u64);
    let excluded = excluded(v, hot.arg(0), earlier.len());
    enough && earlier.iter().all(|other| excluded.contains(&other.mask.choice))
}

/// The choices that were taken out of the scores before `index` was chosen by them.
fn excluded(v: View<'_>, index: Id, rounds: usize) -> Vec<Choice> {
    let mut found = Vec::new();
    let split = v.nodes(index, Op::Reshape).flat_map(|r| v.nodes(r.arg(0), Op::RouteIndex));
    for chosen in split.chain(v.nodes(index, Op::RouteIndex)) {
        for top in v.nodes(chosen.arg(0), Op::TopK).filter(|top| top.attrs().bool("largest")) {
            let mut scores = vec![top.arg(0)];
            for _ in 0..rounds {
                let without: Vec<_> =
                    scores.iter().flat_map(|&s| masked_out(v, s, top.axis(), MOST)).collect();
                found.extend(without.iter().filter_map(|(mask, _)| choice(v, *mask, top.axis())));
                scores = without.into_iter().map(|(_, scores)| scores).collect();
            }
        }
    }
    found
}

/// The ways in which a class is scores that are least where a mask holds: the mask, and the scores.
/// Least is -inf, or 0 for scores that are above it: shares of a softmax, sigmoids.
pub(super) fn masked_out(v: View<'_>, class: Id, axis: usize, depth: usize) -> Vec<(Id, Id)> {
    let mut found = Vec::new();
    let Some(depth) = depth.checked_sub(1) else { return found };
    for select in v.nodes(class, Op::Select) {
        let (condition, a, b) = (select.arg(0), select.arg(1), select.arg(2));
        let without = v.nodes(condition, Op::Not).map(|not| (not.arg(0), a, b));
        for (mask, scores, least) in without.chain([(condition, b, a)]) {
            let share = |n: Found<'_>| match n.op {
                Op::Softmax => n.axis() == axis,
                op => op == Op::Sigmoid,
            };
            let above = || v.all(scores).any(share) || !masked_out(v, scores, axis, depth).is_empty();
            if v.is(least, f64::NEG_INFINITY) || (v.is(least, 0.0) && above()) {
                found.push((mask, scores));
            }
        }
    }
    found
}

/// The mask of the rounds, in the order of their queues.
fn plan(v: View<'_>, rounds: &[Round]) -> Option<Seating> {
    let first = rounds.first()?;
    let hot = choosing(v, first.mask.choice.hot)?;
    let experts = hot.dim("size")?;
    let shape = v.shape(hot.arg(0)).to_vec();
    // Experts along two axes are numbered along both; their tokens follow one another in a group.
    let own: Vec<usize> = match shape.len() {
        1 | 2 => (0..shape.len()).collect(),
        3 => vec![1, 0, 2],
        _ => return None,
    };
    let batch = (own.len() == 3).then(|| &shape[0]);
    let group = match batch {
        Some(batch) => v.sizing().product(&[batch.clone(), shape.last()?.clone()])?,
        None => shape.last()?.clone(),
    };
    let ordered = own.iter().map(|&axis| shape[axis].clone());
    let order = Order {
        group,
        slots_first: true,
        axes: own.iter().map(|&axis| first.frame.tokens[axis]).collect(),
        shape: ordered.chain([Dim::constant(rounds.len() as u64)]).collect(),
        slots: true,
    };
    let experts = &match batch {
        Some(batch) => v.sizing().product(&[batch.clone(), experts.clone()])?,
        None => experts.clone(),
    };
    let pairs = order.pairs(v)?;
    // Where a condition does not hold, a number beyond the experts is chosen, another in each round.
    let listed = v.sizing().table().value(experts);
    let mut nobody = 0;
    let mut numbers = Vec::new();
    for round in rounds {
        let Choice { hot, conditions } = &round.mask.choice;
        let index = choosing(v, *hot)?.arg(0);
        if v.shape(index) != shape {
            return None;
        }
        let mut holds: Option<Term> = None;
        for (condition, map) in conditions {
            let condition = v.broadcast(v.term(*condition)?, map, &shape)?;
            holds = Some(match holds {
                Some(known) => v.op(Op::And, vec![known, condition], Attrs::default())?,
                None => condition,
            });
        }
        let index = match batch {
            Some(_) => numbered(v, v.term(index)?, hot_size(v, *hot)?)?,
            None => v.term(index)?,
        };
        numbers.push(match holds {
            None => index,
            Some(holds) => {
                let none = v.constant(DType::I32, &shape, (listed? + nobody) as f64)?;
                nobody += 1;
                v.op(Op::Select, vec![holds, index, none], Attrs::default())?
            }
        });
    }
    let by_pair = |columns: Vec<Term>| {
        let columns: Option<Vec<Term>> = columns.into_iter().map(|x| v.transpose(x, &own)).collect();
        v.reshape(side_by_side(v, columns?)?, &pairs)
    };
    let index = by_pair(numbers)?;
    let all = if nobody == 0 { experts.clone() } else { Dim::constant(listed? + nobody) };
    let plan = v.op(Op::Plan, vec![index], Attrs::new([("experts", all.into())]))?;
    let plan = match nobody {
        0 => plan,
        _ => v.op(Op::PlanSubset, vec![plan, v.count(experts)?], Attrs::default())?,
    };
    let weights = match rounds.iter().all(|round| round.weights.is_empty()) {
        true => None,
        false => {
            let all: Option<Vec<Term>> = rounds.iter().map(|round| weight(v, round, &shape)).collect();
            Some(by_pair(all?)?)
        }
    };
    let tokens = &first.frame.tokens;
    Some(Seating {
        plan,
        order,
        capacity: first.capacity.clone(),
        weights,
        nonzero: None,
        batch: batch.map(|_| tokens[0]),
        expert: first.frame.expert,
        seat: first.seat,
        token: *tokens.last()?,
        group: tokens.len().checked_sub(2).map(|group| tokens[group]),
    })
}

/// How many experts a choice is among.
fn hot_size(v: View<'_>, hot: Id) -> Option<u64> {
    v.sizing().table().value(choosing(v, hot)?.dim("size")?)
}

/// An index among `experts`, numbered among those of all places along axis 0.
fn numbered(v: View<'_>, index: Term, experts: u64) -> Option<Term> {
    let places = moec_ir::TensorType::new(DType::I32, index.shape());
    let places =
        v.op(Op::Iota, Vec::new(), Attrs::new([("axis", 0usize.into()), ("type", places.into())]))?;
    let size = v.constant(DType::I32, index.shape(), experts as f64)?;
    let first = v.op(Op::Mul, vec![places, size], Attrs::default())?;
    v.op(Op::Add, vec![first, index], Attrs::default())
}

/// Terms of one shape along a new last axis.
fn side_by_side(v: View<'_>, terms: Vec<Term>) -> Option<Term> {
    let shape = terms.first()?.shape().to_vec();
    let column: Vec<Dim> = shape.iter().cloned().chain([Dim::constant(1)]).collect();
    let size = Dim::constant(terms.len() as u64);
    let columns: Vec<Term> = terms.into_iter().map(|term| v.reshape(term, &column)).collect::<Option<_>>()?;
    match columns.len() {
        1 => columns.into_iter().next(),
        _ => v.op(Op::Concat, columns, Attrs::new([("axis", shape.len().into()), ("size", (&size).into())])),
    }
}

/// The product of the weights of a round, in the axes of its index.
fn weight(v: View<'_>, round: &Round, shape: &[Dim]) -> Option<Term> {
    let mut result: Option<Term> = None;
    for (class, map) in &round.weights {
        if v.tensor(*class)?.dtype != DType::F32 {
            return None;
        }
        let factor = match map.iter().position(|&axis| axis == round.frame.expert) {
            None => v.broadcast(v.term(*class)?, &round.frame.own(map)?, shape)?,
            // Along experts too: what it is at the chosen one.
            Some(expert) => {
                let all: Vec<usize> =
                    round.frame.tokens.iter().copied().chain([round.frame.expert]).collect();
                let wide: Option<Vec<usize>> =
                    map.iter().map(|axis| all.iter().position(|a| a == axis)).collect();
                let sizes: Vec<Dim> =
                    shape.iter().cloned().chain([v.shape(*class)[expert].clone()]).collect();
                let x = v.broadcast(v.term(*class)?, &wide?, &sizes)?;
                let index = v.term(choosing(v, round.mask.choice.hot)?.arg(0))?;
                let column: Vec<Dim> = shape.iter().cloned().chain([Dim::constant(1)]).collect();
                v.reshape(at(v, x, v.reshape(index, &column)?, shape.len())?, shape)?
            }
        };
        result = Some(match result {
            Some(known) => v.op(Op::Mul, vec![known, factor], Attrs::default())?,
            None => factor,
        });
    }
    result.or_else(|| v.constant(DType::F32, shape, 1.0))
}
