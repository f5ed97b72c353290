//! The law that makes a sum over experts sparse: `sum_e densify(w, i) * Y = combine(plan(i), w,
//! take_pairs(plan(i), Y))`. What computes `Y` is then restricted to the pairs by the rules of
//! `pull`.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, Op};

use super::gate::in_range;
use super::{one, rules};
use crate::term::{Found, Term, View, leading};
use crate::vanish::Vanishing;

rules! {
    /// The sum over experts of a sparse gate, or of a part of one, times Y adds up the chosen pairs only.
    sum_of_gated_is_combine: Finite [Sum];
    /// A sum gated by a sum of sparse gates is the sum of one gated by each.
    sum_gated_by_sum_of_gates: Reassociate [Sum];
    /// The sum over experts of Y where chosen, else 0, adds up the chosen pairs only.
    sum_of_chosen_is_combine: Reassociate [Sum] if "the other branch is 0" if "indices are in range";
    /// Weighted sums over slots of Y where the expert is the slot's, else 0, add up the pairs of the slots.
    sum_by_slot_is_combine: Reassociate [Sum] if "the other branch is 0" if "indices are in range" if "Y is the same for all slots";
    /// The sum over experts of what is 0 where a sparse gate is 0 adds up the chosen pairs only.
    sum_of_vanishing_is_combine: Finite [Sum] if "what is added up is proved to be 0 with the gate";
    /// A contraction over experts with a sparse gate adds up the chosen pairs only.
    contraction_with_gate_is_combine: Reassociate [Einsum];
}

/// A sparse gate inside a bigger tensor.
struct Gate {
    /// `[tokens, slots]`.
    weights: Term,
    /// `[tokens, slots]`.
    index: Term,
    /// How many experts there are.
    experts: Dim,
    /// The experts that the gate is for, if it is a part of one for all.
    among: Option<Term>,
    /// The axis of the bigger tensor that is the gate's tokens.
    tokens: usize,
}

/// The ways in which a class is a `densify`, or some positions of one along its axis: which, as a list.
fn densified(v: View<'_>, class: Id) -> Vec<(Found<'_>, Option<Term>)> {
    let mut found: Vec<_> = v.nodes(class, Op::Densify).map(|d| (d, None)).collect();
    for part in v.all(class).filter(|part| matches!(part.op, Op::Slice | Op::Gather)) {
        for d in v.nodes(part.arg(0), Op::Densify).filter(|d| d.axis() == part.axis()) {
            let list = match part.op {
                Op::Slice => d.dim("size").and_then(|size| v.along(part, vec![v.count(size)?], 0)),
                _ if part.axes("along") == [usize::MAX] => {
                    let distinct = v.integers(part.arg(1)).is_some_and(|list| all_differ(&list));
                    v.term(part.arg(1)).filter(|_| distinct)
                }
                _ => None,
            };
            found.extend(list.map(|list| (d, Some(list))));
        }
    }
    found
}

fn all_differ(list: &[i64]) -> bool {
    (1..list.len()).all(|i| !list[..i].contains(&list[i]))
}

/// The ways in which a class is a sparse gate along `axis` that repeats along all axes but one.
fn gates(v: View<'_>, class: Id, axis: usize) -> Vec<Gate> {
    let mut found = Vec::new();
    for (source, map) in v.expansions(class) {
        if map.len() != 2 || !map.contains(&axis) {
            continue;
        }
        let along = |(d, _): &(Found<'_>, _)| map.get(d.axis()) == Some(&axis);
        for (d, among) in densified(v, source).into_iter().filter(along) {
            let tokens = 1 - d.axis();
            let perm = [tokens, d.axis()];
            let row_first = |arg| v.transpose(v.term(arg)?, &perm);
            if let (Some(weights), Some(index), Some(experts)) =
                (row_first(d.arg(0)), row_first(d.arg(1)), d.dim("size"))
            {
                found.push(Gate { weights, index, experts: experts.clone(), among, tokens: map[tokens] });
            }
        }
    }
    found
}

/// The ways in which a truth value says, along `axis`, which experts a token has chosen.
fn choices(v: View<'_>, class: Id, axis: usize) -> Vec<Gate> {
    let mut found = Vec::new();
    let mut push = |index: Option<Term>, experts: &Dim, tokens: usize| {
        if let Some(index) = index
            && let Some(weights) = v.constant(DType::F32, index.shape(), 1.0)
        {
            found.push(Gate { weights, index, experts: experts.clone(), among: None, tokens });
        }
    };
    for (source, map) in v.expansions(class) {
        if map.len() != 2 || !map.contains(&axis) {
            continue;
        }
        for mask in v.nodes(source, Op::RouteMask) {
            let Some(route) = v.known(mask.arg(0)).and_then(|known| known.ty.route()) else { continue };
            if map[route.axis] == axis {
                let tokens = 1 - route.axis;
                let index = v
                    .term(mask.arg(0))
                    .and_then(|r| v.op(Op::RouteIndex, vec![r], Attrs::default()))
                    .and_then(|index| v.transpose(index, &[tokens, route.axis]));
                push(index, &route.scores.shape[route.axis], map[tokens]);
            }
        }
        for hot in v.nodes(source, Op::OneHot).filter(|_| map[1] == axis) {
            if let Some(size) = hot.dim("size").filter(|size| in_range(v, hot.arg(0), Some(size))) {
                let rows = v.shape(hot.arg(0)).iter().cloned().chain([Dim::constant(1)]);
                let index = v.term(hot.arg(0)).and_then(|i| v.reshape(i, &rows.collect::<Vec<_>>()));
                push(index, size, map[0]);
            }
        }
    }
    found
}

/// `sum over axis of gate * y` by the chosen pairs.
fn combine(v: View<'_>, gate: Gate, y: Term, axis: usize) -> Option<Term> {
    let rank = y.rank();
    let pairs = v.transpose(y, &leading(&[axis, gate.tokens], rank))?;
    let mut plan = v.op(Op::Plan, vec![gate.index], Attrs::new([("experts", gate.experts.into())]))?;
    if let Some(list) = gate.among {
        plan = v.op(Op::PlanSubset, vec![plan, list], Attrs::default())?;
    }
    let taken = v.op(Op::TakePairs, vec![plan.clone(), pairs], Attrs::default())?;
    let sum = v.op(Op::Combine, vec![plan, gate.weights, taken], Attrs::default())?;
    // Tokens are first now; back to where they were without `axis`.
    let at = gate.tokens - usize::from(gate.tokens > axis);
    let mut perm: Vec<usize> = (1..rank - 1).collect();
    perm.insert(at, 0);
    v.transpose(sum, &perm)
}

/// How many factors of a product are looked at for a gate.
const FACTORS: usize = 3;

/// The ways in which a class is a sparse gate along `axis` times something.
fn gated(v: View<'_>, class: Id, axis: usize, factors: usize) -> Vec<(Gate, Term)> {
    let mut found = Vec::new();
    for product in v.nodes(class, Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (one, other) in [(a, b), (b, a)] {
            let Some(rest) = v.term(other) else { continue };
            found.extend(gates(v, one, axis).into_iter().map(|gate| (gate, rest.clone())));
            if factors > 2 {
                for (gate, more) in gated(v, one, axis, factors - 1) {
                    found.extend(
                        v.op(Op::Mul, vec![more, rest.clone()], Attrs::default()).map(|rest| (gate, rest)),
                    );
                }
            }
        }
    }
    found
}

fn sum_of_gated_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let found = gated(v, n.arg(0), axis, FACTORS).into_iter();
    found.filter_map(|(gate, rest)| combine(v, gate, rest, axis)).collect()
}

fn sum_gated_by_sum_of_gates(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let mut out = Vec::new();
    for product in v.nodes(n.arg(0), Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (gate, y) in [(a, b), (b, a)] {
            for (source, map) in v.expansions(gate) {
                let sparse = |class| v.nodes(class, Op::Densify).any(|d| map.get(d.axis()) == Some(&axis));
                for sum in v.nodes(source, Op::Add).filter(|sum| sum.args().iter().all(|&g| sparse(g))) {
                    let gated = |&g| {
                        let gate = v.broadcast(v.term(g)?, &map, v.shape(gate))?;
                        let product = v.op(Op::Mul, vec![gate, v.term(y)?], Attrs::default())?;
                        v.along(n, vec![product], axis)
                    };
                    out.extend(one(|| {
                        let parts = sum.args().iter().map(gated).collect::<Option<_>>()?;
                        v.op(Op::Add, parts, Attrs::default())
                    }));
                }
            }
        }
    }
    out
}

fn sum_of_chosen_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let axis = n.axis();
    let mut out = Vec::new();
    for select in v.nodes(n.arg(0), Op::Select).filter(|s| v.is(s.arg(2), 0.0)) {
        for gate in choices(v, select.arg(0), axis) {
            out.extend(one(|| combine(v, gate, v.term(select.arg(1))?, axis)));
        }
    }
    out
}

/// The ways in which a class is something times a weight for each of two axes, `slots` one of them, on
/// an axis of its own: the weights, its other axis, and what they weigh.
fn weighed_by_slot(v: View<'_>, class: Id, slots: usize) -> Vec<(Id, Vec<usize>, Id)> {
    let mut found = Vec::new();
    for product in v.nodes(class, Op::Mul) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (weights, rest) in [(a, b), (b, a)] {
            let own = |(_, map): &(Id, Vec<usize>)| map.len() == 2 && map.contains(&slots);
            found.extend(v.expansions(weights).into_iter().filter(own).map(|(w, map)| (w, map, rest)));
        }
    }
    found
}

fn sum_by_slot_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (slots, mut out) = (n.axis(), Vec::new());
    for (weights, weigh, rest) in weighed_by_slot(v, n.arg(0), slots) {
        for sum in v.nodes(rest, Op::Sum) {
            let expert = sum.axis();
            let wide = |axis: usize| axis + usize::from(axis >= expert);
            for select in v.nodes(sum.arg(0), Op::Select).filter(|s| v.is(s.arg(2), 0.0)) {
                let pairs: Vec<usize> = weigh.iter().map(|&axis| wide(axis)).collect();
                for (hot, map) in v.expansions(select.arg(0)) {
                    let [.., last] = map[..] else { continue };
                    let aligned =
                        map.len() == 3 && last == expert && pairs.iter().all(|axis| map.contains(axis));
                    for hot in v.nodes(hot, Op::OneHot).filter(|_| aligned) {
                        let Some(size) = hot.dim("size").filter(|size| in_range(v, hot.arg(0), Some(size)))
                        else {
                            continue;
                        };
                        for (y, own) in v.expansions(select.arg(1)) {
                            let slot = Slots { slots: wide(slots), expert, size, weights: (weights, &pairs) };
                            out.extend(one(|| slot.combine(v, n, (hot.arg(0), &map[..2]), (y, &own))));
                        }
                    }
                }
            }
        }
    }
    out
}

/// Axes of what is summed over slots and experts: `[.., expert, ..]` with tokens, slots and more.
struct Slots<'a> {
    slots: usize,
    expert: usize,
    /// How many experts there are.
    size: &'a Dim,
    /// Weights by token and slot, and the axes of these.
    weights: (Id, &'a [usize]),
}

impl Slots<'_> {
    /// The combine that is `n`, of `index` with its axes and Y with those that it has.
    fn combine(
        &self,
        v: View<'_>,
        n: Found<'_>,
        (index, of_index): (Id, &[usize]),
        (y, own): (Id, &[usize]),
    ) -> Option<Term> {
        let tokens = *of_index.iter().find(|axis| **axis != self.slots)?;
        let at = |axis: usize| own.iter().position(|&o| o == axis);
        let (expert, token) = (at(self.expert)?, at(tokens)?);
        if at(self.slots).is_some() {
            return None;
        }
        let by_token = |class, axes: &[usize]| {
            v.transpose(v.term(class)?, if axes[0] == tokens { &[0, 1] } else { &[1, 0] })
        };
        let gate = Gate {
            weights: by_token(self.weights.0, self.weights.1)?,
            index: by_token(index, of_index)?,
            experts: self.size.clone(),
            among: None,
            tokens: token,
        };
        let sum = combine(v, gate, v.term(y)?, expert)?;
        // Without slots and experts, as the axes of the result are.
        let left = |axis: usize| axis - usize::from(axis > self.slots) - usize::from(axis > self.expert);
        let map: Vec<usize> =
            own.iter().filter(|&&axis| axis != self.expert).map(|&axis| left(axis)).collect();
        let shape: Vec<Dim> = {
            let all = v.shape(n.arg(0));
            (0..all.len()).filter(|&axis| axis != n.axis()).map(|axis| all[axis].clone()).collect()
        };
        v.broadcast(sum, &map, &shape)
    }
}

fn sum_of_vanishing_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (axis, y) = (n.axis(), n.arg(0));
    // Numbers by expert and token are gates, with rules of their own; and a gate that is a factor of
    // the sum is better kept as the weights.
    if v.rank(y) < 3 || !gated(v, y, axis, FACTORS).is_empty() {
        return Vec::new();
    }
    let facts = v.known(y).map_or(&[][..], |known| &known.vanishing);
    let combined = |fact: &Vanishing| {
        let index = v.transpose(v.term(fact.index)?, &[1 - fact.slots, fact.slots])?;
        let weights = v.constant(DType::F32, index.shape(), 1.0)?;
        let experts = v.shape(y).get(axis)?.clone();
        combine(v, Gate { weights, index, experts, among: None, tokens: fact.tokens }, v.term(y)?, axis)
    };
    facts.iter().filter(|fact| fact.experts == axis).filter_map(combined).collect()
}

fn contraction_with_gate_is_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some(spec) = n.spec() else { return Vec::new() };
    let swapped = spec.swapped();
    let sides = [(&spec, n.arg(0), n.arg(1)), (&swapped, n.arg(1), n.arg(0))];
    let mut out = Vec::new();
    for (spec, gate, y) in sides {
        let [expert] = spec.contracted()[..] else { continue };
        let inside = spec.lhs.iter().all(|letter| spec.rhs.contains(letter));
        if spec.lhs.len() != 2 || !inside || v.tensor(y).is_none_or(|ty| ty.dtype != DType::F32) {
            continue;
        }
        let Some(axis) = spec.rhs.iter().position(|l| *l == expert) else { continue };
        let Some(own) = spec.lhs.iter().position(|l| *l == expert) else { continue };
        let Some(tokens) = spec.rhs.iter().position(|l| *l == spec.lhs[1 - own]) else { continue };
        for mut gate in gates(v, gate, own) {
            gate.tokens = tokens;
            out.extend(one(|| {
                let sum = combine(v, gate, v.term(y)?, axis)?;
                let kept: Vec<u8> = spec.rhs.iter().copied().filter(|l| *l != expert).collect();
                let perm: Option<Vec<usize>> =
                    spec.out.iter().map(|l| kept.iter().position(|k| k == l)).collect();
                v.transpose(sum, &perm?)
            }));
        }
    }
    out
}
