//! Where an optimised program drops pairs of token and expert because their expert has no seat left.
//!
//! There are two forms. A sum over experts goes by a plan without such pairs (`plan_capacity`), or it has
//! weight 0 for them, because of a comparison of seats. Seats are counted by `plan_seat`, or by a
//! `cumsum` of what was chosen. Seats that are used otherwise are named and not counted.

use std::collections::{BTreeMap, BTreeSet};

use moec_ir::{Attr, Attrs, Builder, DType, Dim, IrError, Module, Number, Op, TensorType, ValueId};
use serde::Serialize;

/// How the pairs of token and chosen expert fared in one call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Routing {
    /// The routing plans, in the order of the program.
    pub plans: Vec<PlanRouting>,
    /// Where pairs may be dropped that are not counted, and why.
    pub not_counted: Vec<String>,
}

/// How the pairs of one routing plan fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanRouting {
    /// The plan's name, as in a profile.
    pub name: String,
    /// Number of experts.
    pub experts: u64,
    /// Experts that each token chooses.
    pub slots: u64,
    /// Tokens of the call.
    pub tokens: u64,
    /// For each expert, the tokens that chose it.
    pub pairs: Vec<u64>,
    /// What capacities drop; none where the plan has none.
    pub drops: Option<Drops>,
}

/// What the capacities of a plan drop, for each expert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drops {
    /// Pairs that some sum over experts leaves out for want of a seat, or gives the weight 0, which they would
    /// not have with seats for all.
    pub dropped: Vec<u64>,
    /// The weights of all pairs, were there seats for all, added up.
    pub gate: Vec<f64>,
    /// The part of `gate` that belongs to dropped pairs.
    pub lost: Vec<f64>,
}

/// The sums of a program that may leave out pairs, and what may drop pairs and is not understood.
pub(super) struct Limited {
    pub(super) sums: Vec<Sum>,
    pub(super) not_counted: Vec<String>,
}

/// A sum over experts that may leave out pairs.
pub(super) struct Sum {
    /// The plan of all pairs.
    pub(super) root: ValueId,
    /// The plan of the sum.
    plan: ValueId,
    /// Whether the plan is of some experts only.
    some: bool,
    /// Whether the plan drops pairs of these experts.
    drops: bool,
    /// Weights of pairs.
    weights: ValueId,
    /// Comparisons of seats that the weights depend on, with what they are for pairs that have one.
    limits: Vec<(ValueId, bool)>,
}

/// Where a plan comes from.
#[derive(Clone)]
struct Origin {
    root: ValueId,
    /// Whether it is of some experts only.
    some: bool,
    /// Whether it drops pairs of these experts.
    drops: bool,
}

/// Looks through a program whose sized dims are numbers.
pub(super) fn limited(module: &Module) -> Limited {
    let (origins, seats) = (origins(module), seats(module));
    let mut understood: BTreeSet<ValueId> = BTreeSet::new();
    let mut sums = Vec::new();
    for (_, node) in module.iter().filter(|(_, node)| node.op == Op::Combine) {
        let (plan, weights) = (node.args[0], node.args[1]);
        let Some(Origin { root, some, drops }) = origins[plan.index()].clone() else { continue };
        let limits = cone(module, weights).into_iter();
        let limits: Vec<_> =
            limits.filter_map(|value| Some((value, limit(module, &seats, value)?))).collect();
        understood.extend(limits.iter().map(|(value, _)| *value));
        let mut at = plan;
        while module.node(at).op != Op::Plan {
            understood.insert(at);
            at = module.node(at).args[0];
        }
        sums.push(Sum { root, plan, some, drops, weights, limits });
    }
    // A sum that leaves out nothing counts where another of the same plan does.
    let roots = sums.iter().filter(|sum| sum.drops || !sum.limits.is_empty()).map(|sum| sum.root);
    let roots: BTreeSet<ValueId> = roots.collect();
    sums.retain(|sum| roots.contains(&sum.root));
    Limited { sums, not_counted: not_counted(module, &seats, &understood) }
}

/// For each plan, where it comes from.
fn origins(module: &Module) -> Vec<Option<Origin>> {
    let mut origins: Vec<Option<Origin>> = Vec::new();
    for (id, node) in module.iter() {
        let of = |origins: &[Option<Origin>]| node.args.first().and_then(|arg| origins[arg.index()].clone());
        origins.push(match node.op {
            Op::Plan => Some(Origin { root: id, some: false, drops: false }),
            Op::PlanFlatten => of(&origins),
            Op::PlanCapacity => of(&origins).map(|origin| Origin { drops: true, ..origin }),
            Op::PlanSubset => of(&origins).map(|origin| Origin { some: true, ..origin }),
            _ => None,
        });
    }
    origins
}

/// The values that a value depends on, itself included, as far as plans.
fn cone(module: &Module, value: ValueId) -> BTreeSet<ValueId> {
    let mut found = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if module.node(value).ty.plan().is_none() && found.insert(value) {
            open.extend(&module.node(value).args);
        }
    }
    found
}

/// For each value, whether it is a number of seats: counted, and then moved or calculated with.
fn seats(module: &Module) -> Vec<bool> {
    // Whether a value depends on a choice, and whether it is a mask, maybe as numbers.
    let (mut chosen, mut mask): (Vec<bool>, Vec<bool>) = (Vec::new(), Vec::new());
    let mut seats: Vec<bool> = Vec::new();
    for node in &module.nodes {
        let any = |of: &[bool]| node.args.iter().any(|arg| of[arg.index()]);
        let number = node.ty.tensor().is_some_and(|ty| ty.dtype != DType::Bool);
        seats.push(match node.op {
            Op::PlanSeat => true,
            Op::Cumsum => any(&chosen) && any(&mask),
            _ => number && any(&seats),
        });
        let moves = matches!(
            node.op,
            Op::Cast | Op::Reshape | Op::Transpose | Op::Broadcast | Op::Slice | Op::Gather | Op::Concat
        );
        mask.push(node.ty.tensor().is_some() && (!number || moves && mask[node.args[0].index()]));
        chosen.push(any(&chosen) || matches!(node.op, Op::TopK | Op::Argmax | Op::Argsort | Op::OneHot));
    }
    seats
}

/// If a value is a comparison of seats with something else: what it is for seats that are small.
fn limit(module: &Module, seats: &[bool], value: ValueId) -> Option<bool> {
    let node = module.node(value);
    let below = match node.op {
        Op::Lt | Op::Le => true,
        Op::Gt | Op::Ge => false,
        _ => return None,
    };
    match (seats[node.args[0].index()], seats[node.args[1].index()]) {
        (true, false) => Some(below),
        (false, true) => Some(!below),
        _ => None,
    }
}

/// What may drop pairs and is not understood.
fn not_counted(module: &Module, seats: &[bool], understood: &BTreeSet<ValueId>) -> Vec<String> {
    let others = module.iter().filter(|(id, _)| !understood.contains(id));
    let others = others.filter_map(|(id, node)| {
        let ends = !seats[id.index()] && node.args.iter().any(|arg| seats[arg.index()]);
        let why = match node.op {
            Op::PlanCapacity => "no sum over experts goes by it",
            Op::TakeSeats => "rows without a seat are zeros",
            _ if ends => "seats are used otherwise than for the weights of a sum over experts",
            _ => return None,
        };
        Some(format!("%{} = {}: {why}", id.0, node.op))
    });
    others.collect()
}

impl Sum {
    /// `bool`, one for each pair: whether the sum is over its expert. None if it is over all.
    pub(super) fn own(&self, builder: &mut Builder) -> Result<Option<ValueId>, IrError> {
        if !self.some {
            return Ok(None);
        }
        let plan = without_capacity(builder, self.plan)?;
        has(builder, plan).map(Some)
    }

    /// `bool`, one for each pair: whether the plan has it. None if it has all of its experts.
    pub(super) fn planned(&self, builder: &mut Builder) -> Result<Option<ValueId>, IrError> {
        self.drops.then(|| has(builder, self.plan)).transpose()
    }

    /// The weights of pairs, if they may be 0 for want of a seat.
    pub(super) fn weights(&self) -> Option<ValueId> {
        Some(self.weights).filter(|_| !self.limits.is_empty())
    }

    /// The weights of pairs, were there seats for all.
    pub(super) fn gate(&self, builder: &mut Builder) -> Result<ValueId, IrError> {
        let mut instead: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for (value, kept) in &self.limits {
            let shape = builder.tensor(*value).shape.clone();
            instead.insert(*value, filled(builder, DType::Bool, &shape, f64::from(u8::from(*kept)))?);
        }
        for value in cone(builder.module(), self.weights) {
            let node = builder.module().node(value).clone();
            let args: Vec<ValueId> = node.args.iter().map(|arg| *instead.get(arg).unwrap_or(arg)).collect();
            if args != node.args && !instead.contains_key(&value) {
                instead.insert(value, builder.push(node.op, &args, node.attrs)?);
            }
        }
        Ok(*instead.get(&self.weights).unwrap_or(&self.weights))
    }
}

/// The plan without its capacities.
fn without_capacity(builder: &mut Builder, plan: ValueId) -> Result<ValueId, IrError> {
    let node = builder.module().node(plan).clone();
    match node.op {
        Op::Plan => Ok(plan),
        Op::PlanCapacity => without_capacity(builder, node.args[0]),
        _ => {
            let mut args = node.args;
            args[0] = without_capacity(builder, args[0])?;
            builder.push(node.op, &args, node.attrs)
        }
    }
}

/// `bool`, one for each pair: whether a plan has it.
fn has(builder: &mut Builder, plan: ValueId) -> Result<ValueId, IrError> {
    let Some(ty) = builder.ty(plan).plan().cloned() else {
        return Err(IrError::Module(format!("%{} is no plan", plan.0)));
    };
    let order = [("group", Attr::from(&ty.tokens)), ("slots_first", false.into())];
    let seat = builder.op(Op::PlanSeat, &[plan], order)?;
    let zero = filled(builder, DType::I32, &[ty.tokens, ty.slots], 0.0)?;
    builder.push(Op::Ge, &[seat, zero], Attrs::default())
}

fn filled(builder: &mut Builder, dtype: DType, shape: &[Dim], value: f64) -> Result<ValueId, IrError> {
    let ty = TensorType::new(dtype, shape.to_vec());
    builder.op(Op::Const, &[], [("type", Attr::Type(ty)), ("value", Attr::Number(Number::new(value)))])
}
