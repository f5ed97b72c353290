//! How one-hot masks of seats are recognised: which factors a mask has, and in which order seats are
//! counted.

use egg::Id;
use moec_ir::{Attr, Attrs, Dim, Op};

use super::gate::{are_distinct, in_range};
use crate::term::{Found, Term, View};

/// The ways in which a class is `one_hot`, expanded: the node, and for each of its axes (those of
/// the index, then the experts) the axis of the class. Also as numbers.
pub(super) fn one_hots<'a>(v: View<'a>, class: Id) -> Vec<(Found<'a>, Vec<usize>)> {
    let mut found = Vec::new();
    for (source, map) in v.expansions(class) {
        found.extend(v.nodes(source, Op::OneHot).map(|hot| (hot, map.clone())));
        for cast in v.nodes(source, Op::Cast) {
            for (inner, own) in v.expansions(cast.arg(0)) {
                let map: Vec<usize> = own.iter().map(|&axis| map[axis]).collect();
                found.extend(v.nodes(inner, Op::OneHot).map(|hot| (hot, map.clone())));
            }
        }
    }
    found
}

/// The order in which pairs are counted.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Tokens of a group.
    pub(super) group: Dim,
    /// Whether slots come first.
    pub(super) slots_first: bool,
    /// The axes, in some tensor, of groups (if there are any), tokens and slots (if there are any).
    pub(super) axes: Vec<usize>,
    /// Their sizes.
    pub(super) shape: Vec<Dim>,
    /// Whether there is an axis of slots.
    pub(super) slots: bool,
}

impl Order {
    /// The order of pairs whose chosen experts are `index`, with its axes at `places` of a tensor in
    /// which the axes `summed` are counted over. The index must have its groups, tokens and slots in
    /// this order.
    pub(super) fn of(
        v: View<'_>,
        index: Id,
        places: &[usize],
        summed: std::ops::Range<usize>,
    ) -> Option<Order> {
        let shape = v.shape(index).to_vec();
        let slots = match shape.len() {
            0 => return None,
            1 => false,
            rank => are_distinct(v, index, rank - 1),
        };
        let (tokens, groups) = match (shape.len(), slots) {
            (1, false) => (0, None),
            (2, false) => (1, Some(0)),
            (2, true) => (0, None),
            (3, true) => (1, Some(0)),
            _ => return None,
        };
        let group_counted = groups.is_some_and(|g| summed.contains(&places[g]));
        let counted = |i: usize| summed.contains(&places[i]);
        let all = (0..shape.len()).filter(|&i| Some(i) != groups).all(counted);
        if group_counted || !all || summed.len() != shape.len() - usize::from(groups.is_some()) {
            return None;
        }
        let slots_first = slots && places[shape.len() - 1] < places[tokens];
        Some(Order { group: shape[tokens].clone(), slots_first, axes: places.to_vec(), shape, slots })
    }

    /// The shape `[tokens, slots]`.
    pub(super) fn pairs(&self, v: View<'_>) -> Option<Vec<Dim>> {
        let (tokens, slots) = self.shape.split_at(self.shape.len() - usize::from(self.slots));
        let slots = slots.first().cloned().unwrap_or(Dim::constant(1));
        Some(vec![v.sizing().product(tokens)?, slots])
    }

    /// The plan of the index in this order.
    pub(super) fn plan(&self, v: View<'_>, index: Id, experts: &Dim) -> Option<Term> {
        let index = v.reshape(v.term(index)?, &self.pairs(v)?)?;
        v.op(Op::Plan, vec![index], Attrs::new([("experts", experts.into())]))
    }

    /// The attributes of `plan_seat`.
    pub(super) fn attrs(&self) -> Attrs {
        Attrs::new([("group", (&self.group).into()), ("slots_first", self.slots_first.into())])
    }

    /// The attributes of `plan_capacity`.
    pub(super) fn capacity(&self, capacity: &Dim) -> Attrs {
        let own = [("capacity", Attr::from(capacity)), ("group", (&self.group).into())];
        Attrs::new(own.into_iter().chain([("slots_first", self.slots_first.into())]))
    }

    /// The attributes of `take_seats`.
    pub(super) fn take(&self, grouped: bool) -> Attrs {
        let own = [("group", Attr::from(&self.group)), ("grouped", grouped.into())];
        Attrs::new(own.into_iter().chain([("slots_first", self.slots_first.into())]))
    }
}

/// A mask over tokens, experts and seats: for each pair its weight at its expert and seat, summed
/// over slots.
#[derive(Clone, Debug)]
pub(super) struct Seating {
    /// The plan that seats are counted in.
    pub(super) plan: Term,
    pub(super) order: Order,
    /// How many seats.
    pub(super) capacity: Dim,
    /// `[tokens, slots]`; none if all are 1.
    pub(super) weights: Option<Term>,
    /// `[tokens, slots]`: only pairs where these are not 0 are in the mask; all, if there are none.
    pub(super) nonzero: Option<Term>,
    /// The axis of the mask along which experts are others, if they lie along two axes: their numbers in
    /// the plan count along this one first. Tokens follow one another along it in each group.
    pub(super) batch: Option<usize>,
    /// Axes of the mask.
    pub(super) expert: usize,
    pub(super) seat: usize,
    pub(super) token: usize,
    pub(super) group: Option<usize>,
}

/// A factor of a product of masks, with the axes of the product that its own are.
pub(super) type Factor = (Id, Vec<usize>);

/// How many ways to write a product are looked at.
const WAYS: usize = 200;

/// What a node is the product of, if it is one: truth values, numbers, or a choice between a number and 0.
pub(super) fn operands(v: View<'_>, n: Found<'_>, map: &[usize]) -> Option<Vec<Factor>> {
    Some(match n.op {
        Op::And | Op::Mul => n.args().iter().map(|&arg| (arg, map.to_vec())).collect(),
        Op::Select if v.is(n.arg(2), 0.0) => vec![(n.arg(0), map.to_vec()), (n.arg(1), map.to_vec())],
        Op::Cast => vec![(n.arg(0), map.to_vec())],
        Op::Broadcast => {
            vec![(n.arg(0), n.axes("map").iter().map(|&axis| map[axis]).collect())]
        }
        Op::Transpose => {
            let back = crate::term::inverse(&n.axes("perm"));
            vec![(n.arg(0), back.iter().map(|&axis| map[axis]).collect())]
        }
        Op::Einsum => {
            let spec = n.spec().filter(|spec| spec.contracted().is_empty())?;
            let placed = |letters: &[u8]| -> Option<Vec<usize>> {
                letters.iter().map(|l| map.get(spec.out.iter().position(|o| o == l)?).copied()).collect()
            };
            vec![(n.arg(0), placed(&spec.lhs)?), (n.arg(1), placed(&spec.rhs)?)]
        }
        _ => return None,
    })
}

/// The ways in which a class is a product of factors that have not all of its axes.
fn factors(v: View<'_>, class: Id, map: &[usize], depth: usize) -> Vec<Vec<Factor>> {
    let mut ways = vec![vec![(v.graph.find(class), map.to_vec())]];
    let Some(depth) = depth.checked_sub(1) else { return ways };
    for n in v.all(class) {
        let Some(parts) = operands(v, n, map) else { continue };
        let (last, parts) = (parts.len() - 1, parts.iter().enumerate());
        let mut more: Vec<Vec<Factor>> = vec![Vec::new()];
        for (i, (part, map)) in parts {
            // What a choice is made of stays whole.
            let own = match n.op {
                Op::Select if i == last => vec![vec![(*part, map.clone())]],
                _ => factors(v, *part, map, depth),
            };
            more = more.iter().flat_map(|a| own.iter().map(|b| [a.as_slice(), b].concat())).collect();
        }
        for way in more {
            if ways.len() < WAYS && !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    ways
}

/// The masks of seats that a class is, with their weights.
fn weighted(v: View<'_>, class: Id) -> Vec<Seating> {
    if !(3..=5).contains(&v.rank(class)) {
        return Vec::new();
    }
    let mut found: Vec<Seating> = Vec::new();
    let mut look = |product: Id, slots: Option<usize>| {
        let map: Vec<usize> = (0..v.rank(product)).collect();
        for way in factors(v, product, &map, 6) {
            if let Some(seating) = seating(v, &way, slots) {
                let known = found.iter().any(|s| s.weights.is_none() == seating.weights.is_none());
                if !known {
                    found.push(seating);
                }
            }
        }
    };
    let masks = truths(v, class);
    for &mask in &masks {
        for sum in v.all(mask).filter(|n| matches!(n.op, Op::Sum | Op::Any)) {
            look(sum.arg(0), Some(sum.axis()));
        }
    }
    look(class, None);
    if found.is_empty() {
        found.extend(masks.iter().find_map(|&mask| super::queue::seating(v, mask)));
    }
    found
}

/// The truth values that a class is, as numbers or as they are.
fn truths(v: View<'_>, class: Id) -> Vec<Id> {
    v.nodes(class, Op::Cast).map(|cast| cast.arg(0)).chain([class]).collect()
}

/// The masks of seats that a class is, also as where another is not 0.
pub(super) fn seatings(v: View<'_>, class: Id) -> Vec<Seating> {
    let mut found = weighted(v, class);
    for product in truths(v, class).into_iter().flat_map(|truth| nonzero(v, truth)) {
        found.extend(weighted(v, product).into_iter().filter_map(|seating| {
            let nonzero = Some(seating.weights.clone()?);
            Some(Seating { weights: None, nonzero, ..seating })
        }));
    }
    found
}

/// The numbers of which a class says where they are not 0.
fn nonzero(v: View<'_>, class: Id) -> Vec<Id> {
    let mut found = Vec::new();
    for n in v.all(class) {
        let (a, b) = match n.op {
            Op::Ne | Op::Gt => (n.arg(0), n.arg(1)),
            Op::Lt => (n.arg(1), n.arg(0)),
            _ => continue,
        };
        let sides = if n.op == Op::Ne { vec![(a, b), (b, a)] } else { vec![(a, b)] };
        for (x, zero) in sides {
            let above = n.op == Op::Ne || v.within(x, 0.0, f64::INFINITY);
            if v.uniform(zero) == Some(0.0) && v.uniform(x).is_none() && above {
                found.push(x);
            }
        }
    }
    found
}

fn seating(v: View<'_>, factors: &[Factor], slots: Option<usize>) -> Option<Seating> {
    for (at, (hot, hot_map)) in factors.iter().enumerate() {
        for seats in v.nodes(*hot, Op::OneHot) {
            let (&seat, seat_axes) = hot_map.split_last()?;
            for (plan, order_of) in seat_numbers(v, seats.arg(0)) {
                for (other, (pick, pick_map)) in factors.iter().enumerate().filter(|(i, _)| *i != at) {
                    for chosen in v.nodes(*pick, Op::OneHot) {
                        let index = chosen.arg(0);
                        let (&expert, places) = pick_map.split_last()?;
                        // The seat has the axes of the index.
                        let placed: Vec<usize> = order_of.1.iter().map(|&axis| seat_axes[axis]).collect();
                        let own = is_plan_of(v, plan.arg(0), index, chosen.dim("size")) && placed == places;
                        if !own || seat == expert || !in_range(v, index, chosen.dim("size")) {
                            continue;
                        }
                        let has_slots = order_of.0.slots;
                        if has_slots != slots.is_some() || (has_slots && slots != places.last().copied()) {
                            continue;
                        }
                        let order = Order { axes: places.to_vec(), ..order_of.0.clone() };
                        let rest = (factors.iter().enumerate()).filter(|(i, _)| *i != at && *i != other);
                        let rest: Vec<&Factor> = rest.map(|(_, factor)| factor).collect();
                        let Some(weights) = product(v, &rest, &order) else { continue };
                        // Axes of the mask, which lacks that of the slots.
                        let kept = |axis: usize| axis - usize::from(slots.is_some_and(|s| s < axis));
                        let token_at = places.len() - 1 - usize::from(has_slots);
                        return Some(Seating {
                            plan: v.term(plan.arg(0))?,
                            order,
                            capacity: seats.dim("size")?.clone(),
                            weights,
                            nonzero: None,
                            batch: None,
                            expert: kept(expert),
                            seat: kept(seat),
                            token: kept(places[token_at]),
                            group: (token_at == 1).then(|| kept(places[0])),
                        });
                    }
                }
            }
        }
    }
    None
}

/// The ways in which a class holds the seats of a plan: the `plan_seat`, the order with its axes, and
/// for each of groups, tokens and slots the axis of the class.
pub(super) fn seat_numbers<'a>(v: View<'a>, class: Id) -> Vec<(Found<'a>, (Order, Vec<usize>))> {
    let mut found = Vec::new();
    for (source, map) in v.expansions(class) {
        let direct = v.nodes(source, Op::PlanSeat);
        let split = v.nodes(source, Op::Reshape).flat_map(|r| v.nodes(r.arg(0), Op::PlanSeat));
        for seat in direct.chain(split) {
            let shape = v.shape(source).to_vec();
            let Some(plan) = v.plan(seat.arg(0)) else { continue };
            let Some(group) = seat.dim("group") else { continue };
            // `[groups?, tokens of a group, slots?]`.
            let pairs = [plan.tokens.clone(), plan.slots.clone()];
            let slots = match shape.as_slice() {
                [a, b] if [a, b] == [&pairs[0], &pairs[1]] => true,
                [_, b, c] if b == group && *c == pairs[1] => true,
                [a] if *a == pairs[0] => false,
                [_, b] if b == group => false,
                _ => continue,
            };
            let order = Order {
                group: group.clone(),
                slots_first: seat.attrs().bool("slots_first"),
                axes: Vec::new(),
                shape,
                slots,
            };
            found.push((seat, (order, map.clone())));
        }
    }
    found
}

/// Whether a plan is that of `index`, whose groups and tokens may be two axes.
fn is_plan_of(v: View<'_>, plan: Id, index: Id, experts: Option<&Dim>) -> bool {
    let own = |class: Id| {
        v.graph.find(class) == v.graph.find(index)
            || v.nodes(class, Op::Reshape).any(|r| v.graph.find(r.arg(0)) == v.graph.find(index))
    };
    v.nodes(plan, Op::Plan).any(|p| p.dim("experts") == experts && own(p.arg(0)))
}

/// The product of factors that have no axes but those of pairs, as `[tokens, slots]`: none if all are
/// 1, nothing at all if a factor has another axis.
fn product(v: View<'_>, factors: &[&Factor], order: &Order) -> Option<Option<Term>> {
    let mut result: Option<Term> = None;
    for (class, map) in factors {
        if v.is(*class, 1.0) {
            continue;
        }
        let (class, map) = narrow(v, *class, map, order)?;
        let map: Vec<usize> =
            map.iter().map(|axis| order.axes.iter().position(|a| a == axis)).collect::<Option<_>>()?;
        let factor = v.broadcast(v.term(class)?, &map, &order.shape)?;
        let factor = v.reshape(factor, &order.pairs(v)?)?;
        result = Some(match result {
            Some(known) => v.op(Op::Mul, vec![known, factor], Attrs::default())?,
            None => factor,
        });
    }
    Some(result)
}

/// A class that a factor is an expansion of and that has only axes of `order`.
fn narrow(v: View<'_>, class: Id, map: &[usize], order: &Order) -> Option<(Id, Vec<usize>)> {
    let expansions = v.expansions(class).into_iter();
    let mut composed =
        expansions.map(|(source, own)| (source, own.iter().map(|&a| map[a]).collect::<Vec<_>>()));
    composed.find(|(source, map)| {
        map.iter().all(|axis| order.axes.contains(axis))
            && v.tensor(*source).is_some_and(|ty| ty.dtype == moec_ir::DType::F32)
    })
}

/// Capacity and size of a group of a `plan_capacity`.
pub(super) fn capacity_of(n: Found<'_>) -> (&Dim, &Dim) {
    match (n.dim("capacity"), n.dim("group")) {
        (Some(capacity), Some(group)) => (capacity, group),
        _ => unreachable!("the row of plan_capacity has both"),
    }
}

/// Whether `plan` keeps, of the pairs of the plan of `seating`, those of the experts `list` (all, if
/// there is none) and none whose seat is not below `seats`.
pub(super) fn seats_kept(
    v: View<'_>,
    plan: Id,
    seating: &Seating,
    list: &Option<Vec<i64>>,
    seats: &Dim,
) -> bool {
    let Some(root) = v.existing(&seating.plan) else { return false };
    let table = v.sizing().table();
    let group = &seating.order.group;
    origins(v, plan, root, 6).iter().any(|origin| {
        let limited = origin.capacities.iter().any(|(capacity, of, slots_first)| {
            of == group && *slots_first == seating.order.slots_first && table.at_most(capacity, seats)
        });
        origin.experts == *list && (limited || table.at_most(group, seats))
    })
}

/// Where a plan comes from.
struct Origin {
    /// The experts of that plan that are kept, in the new order; none for all.
    experts: Option<Vec<i64>>,
    /// Capacities with the size of a group and the order of counting.
    capacities: Vec<(Dim, Dim, bool)>,
}

/// The ways in which a plan comes from the plan `root`.
fn origins(v: View<'_>, plan: Id, root: Id, depth: usize) -> Vec<Origin> {
    let plan = v.graph.find(plan);
    let mut found = Vec::new();
    if plan == root {
        found.push(Origin { experts: None, capacities: Vec::new() });
    }
    let Some(depth) = depth.checked_sub(1) else { return found };
    for n in v.all(plan) {
        match n.op {
            Op::PlanCapacity if v.graph.find(n.arg(0)) != plan => {
                let (capacity, group) = capacity_of(n);
                let own = (capacity.clone(), group.clone(), n.attrs().bool("slots_first"));
                found.extend(origins(v, n.arg(0), root, depth).into_iter().map(|mut origin| {
                    origin.capacities.push(own.clone());
                    origin
                }));
            }
            Op::PlanSubset => {
                let Some(listed) = v.integers(n.arg(1)) else { continue };
                for mut origin in origins(v, n.arg(0), root, depth) {
                    let chosen: Option<Vec<i64>> = match &origin.experts {
                        None => Some(listed.clone()),
                        Some(all) => {
                            listed.iter().map(|&i| all.get(usize::try_from(i).ok()?).copied()).collect()
                        }
                    };
                    origin.experts = chosen;
                    found.push(origin);
                }
            }
            _ => {}
        }
    }
    found
}
