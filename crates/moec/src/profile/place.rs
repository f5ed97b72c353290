//! Which experts stay in memory when not all of them may: the hot ones, if a profile knows them and
//! another one, of other text, agrees. The decision is made on the optimised program as a whole,
//! because a budget of memory is not a cost that adds up operation by operation.
//!
//! Of each plan there are two programs, with and without its hot set. Both are priced by the cost model,
//! at the rates of the target; what the figures mean is `judge`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use moec_ir::{Attr, Builder, Dim, IrError, Module, Op, TensorType, ValueId};
use moec_opt::{OptError, Shares, Target};
use serde::Serialize;

use super::judge::Judgement;
use super::{PlanProfile, Profile, plan_names};

/// Where the experts of a program lie, for a budget of memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placement {
    /// Bytes that weights may take.
    pub budget: u64,
    /// Bytes that all of them would take.
    pub weights: u64,
    /// The plans whose experts may stay in their files.
    pub plans: Vec<PlanPlacement>,
}

/// Where the experts of one plan lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanPlacement {
    /// The plan.
    pub plan: String,
    /// Number of experts.
    pub experts: u64,
    /// Bytes of one expert's weights.
    pub expert_bytes: u64,
    /// How many experts the budget has room for.
    pub room: u64,
    /// The experts that are kept in memory, ascending.
    pub resident: Vec<u64>,
    /// Whether there is a hot set, and why.
    pub decision: Decision,
}

/// Whether a hot set is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Decision {
    /// The profile that it is judged by confirms it.
    Hot(Judgement),
    /// The profile that it is judged by does not.
    Refused(Judgement),
    /// There is no profile of this plan to learn from, or none to judge by.
    Unknown {
        /// What is missing.
        missing: &'static str,
    },
}

/// What a decision rests on.
pub(crate) struct Evidence<'a> {
    pub(crate) budget: u64,
    pub(crate) learn: Option<&'a Profile>,
    pub(crate) judge: Option<&'a Profile>,
    pub(crate) tokens: u64,
    pub(crate) target: &'a Target,
}

/// Places the experts of an optimised program whose sized dims are numbers. None if all weights fit.
/// An error says what cannot stay in files and does not fit.
pub(crate) fn place(
    module: &Module,
    evidence: &Evidence<'_>,
) -> Result<Result<Option<Placement>, String>, IrError> {
    let weights = sum(module.weights().map(|(_, _, ty)| bytes(ty)));
    if weights <= evidence.budget {
        return Ok(Ok(None));
    }
    let movable = movable(module);
    let of_plans = |plan: &Movable| sum(plan.weights.iter().map(|&w| bytes(module.node(w).tensor())));
    let experts = sum(movable.iter().map(of_plans));
    let others = weights - experts.min(weights);
    let Some(room) = evidence.budget.checked_sub(others) else {
        return Ok(Err(format!(
            "a memory budget of {} bytes: weights that are no experts take {others}",
            evidence.budget
        )));
    };
    let mut plans = Vec::new();
    for plan in &movable {
        let all = of_plans(plan);
        let expert_bytes = all / plan.experts.max(1);
        // Room is dealt out in proportion.
        let share = (u128::from(room) * u128::from(all) / u128::from(experts.max(1))) as u64;
        let count = (share / expert_bytes.max(1)).min(plan.experts);
        let (hot, decision) = decide(module, &movable, plan, count, evidence)?;
        plans.push(PlanPlacement {
            plan: plan.name.clone(),
            experts: plan.experts,
            expert_bytes,
            room: count,
            resident: hot,
            decision,
        });
    }
    Ok(Ok(Some(Placement { budget: evidence.budget, weights, plans })))
}

impl Placement {
    /// A program with its experts where this says, which was decided for the equal program `decided`. None if
    /// they differ in what may stay in files.
    pub(crate) fn apply(&self, module: &Module, decided: &Module) -> Result<Option<Module>, IrError> {
        let names = |of: &Module, plan: &Movable| -> BTreeSet<String> {
            plan.weights.iter().map(|&weight| of.node(weight).attrs.str("name").to_owned()).collect()
        };
        let needs = |of: &Module, plans: &[Movable]| -> BTreeMap<String, (u64, BTreeSet<String>)> {
            plans.iter().map(|plan| (plan.name.clone(), (plan.experts, names(of, plan)))).collect()
        };
        let plans = movable(module);
        if needs(module, &plans) != needs(decided, &movable(decided)) {
            return Ok(None);
        }
        let mut resident: BTreeMap<ValueId, Vec<i64>> = BTreeMap::new();
        for plan in &plans {
            let placed = self.plans.iter().find(|placed| placed.plan == plan.name);
            let experts = placed.map(|placed| placed.resident.iter().map(|&expert| expert as i64).collect());
            let experts: Vec<i64> = experts.unwrap_or_default();
            resident.extend(plan.products.iter().map(|&product| (product, experts.clone())));
        }
        rewrite(module, &resident).map(Some)
    }
}

/// The hot set of a plan with room for `count` experts, ascending, and why.
fn decide(
    module: &Module,
    movable: &[Movable],
    plan: &Movable,
    count: u64,
    evidence: &Evidence<'_>,
) -> Result<(Vec<u64>, Decision), IrError> {
    let known = |profile: Option<&Profile>| -> Option<PlanProfile> {
        profile?.plan(&plan.name).filter(|known| known.experts == plan.experts).cloned()
    };
    let unknown = |missing| Ok((Vec::new(), Decision::Unknown { missing }));
    let Some(learn) = known(evidence.learn) else { return unknown("a profile to learn from") };
    let Some(judge) = known(evidence.judge) else { return unknown("a held-out profile to judge by") };
    let mut order: Vec<u64> = (0..plan.experts).collect();
    order.sort_by_key(|&expert| (std::cmp::Reverse(learn.pairs[expert as usize]), expert));
    let mut hot: Vec<u64> = order[..count as usize].to_vec();
    hot.sort_unstable();
    // The other plans are the same in both programs: all in files.
    let priced = |resident: &[u64], in_memory: f64| -> Result<f64, IrError> {
        let mut placed: BTreeMap<ValueId, Vec<i64>> = BTreeMap::new();
        for other in movable {
            let own = if other.name == plan.name { resident } else { &[] };
            let experts: Vec<i64> = own.iter().map(|&expert| expert as i64).collect();
            placed.extend(other.products.iter().map(|&product| (product, experts.clone())));
        }
        seconds(&rewrite(module, &placed)?, &judge, in_memory, evidence)
    };
    let mut judgement = Judgement::of(&hot, &learn, &judge, evidence.tokens);
    judgement.seconds_hot = priced(&hot, 0.0)?;
    judgement.seconds_cache = priced(&[], 1.0 - judgement.missed)?;
    Ok(match judgement.confirms() {
        true => (hot, Decision::Hot(judgement)),
        false => (Vec::new(), Decision::Refused(judgement)),
    })
}

/// What a call of a placed program costs by the cost model, where experts are chosen as in `judge`.
fn seconds(
    placed: &Module,
    judge: &PlanProfile,
    in_memory: f64,
    evidence: &Evidence<'_>,
) -> Result<f64, IrError> {
    let mut shares = Shares::default();
    shares.insert(&judge.pairs.iter().map(|&pairs| pairs as f64).collect::<Vec<_>>());
    let options = moec_opt::Options {
        tokens: evidence.tokens,
        target: evidence.target.clone(),
        shares,
        mapped_in_memory: in_memory,
        ..moec_opt::Options::default()
    };
    match moec_opt::price(placed, &options) {
        Ok(nodes) => Ok(nodes.iter().map(|node| node.seconds).sum()),
        Err(OptError::Invalid(error)) => Err(error),
        // No rule is named here.
        Err(OptError::UnknownRule(_)) => Ok(f64::INFINITY),
    }
}

/// A plan with the products and weights of its experts that may stay in files.
struct Movable {
    name: String,
    experts: u64,
    products: Vec<ValueId>,
    weights: BTreeSet<ValueId>,
}

/// The plans of a program whose experts are slices of weights that nothing else uses.
fn movable(module: &Module) -> Vec<Movable> {
    // The `plan` that the pairs of a plan come from, if its experts are the same.
    let mut base: Vec<Option<ValueId>> = vec![None; module.nodes.len()];
    let mut products: BTreeMap<ValueId, Vec<(ValueId, ValueId)>> = BTreeMap::new();
    let mut kept: BTreeSet<ValueId> = module.outputs.iter().filter_map(|o| weight(module, o.value)).collect();
    for (id, node) in module.iter() {
        base[id.index()] = match node.op {
            Op::Plan => Some(id),
            Op::PlanFlatten | Op::PlanCapacity => base[node.args[0].index()],
            _ => None,
        };
        let view = by_expert(module, id).is_some();
        for (at, arg) in node.args.iter().enumerate() {
            let plan = base[node.args[0].index()].filter(|_| node.op == Op::GroupedMatmul && at == 2);
            match (plan, by_expert(module, *arg)) {
                (Some(plan), Some(weight)) => products.entry(plan).or_default().push((id, weight)),
                _ if view => {}
                _ => kept.extend(weight(module, *arg)),
            }
        }
    }
    let mut plans = Vec::new();
    for (plan, name) in plan_names(module) {
        let of_plan = products.remove(&plan).unwrap_or_default();
        let experts = module.node(plan).ty.plan().and_then(|plan| plan.experts.as_const()).unwrap_or(0);
        let (products, weights): (Vec<_>, BTreeSet<_>) =
            of_plan.into_iter().filter(|(_, weight)| !kept.contains(weight)).unzip();
        if !products.is_empty() {
            plans.push(Movable { name, experts, products, weights });
        }
    }
    plans
}

/// The weight that a value is a view of, whatever happens to its axes.
fn weight(module: &Module, mut value: ValueId) -> Option<ValueId> {
    loop {
        let node = module.node(value);
        match node.op {
            Op::Weight => return Some(value),
            Op::Cast | Op::Slice | Op::Transpose | Op::Reshape | Op::Broadcast => value = node.args[0],
            _ => return None,
        }
    }
}

/// The same if axis 0 stays what it is all the way.
fn by_expert(module: &Module, mut value: ValueId) -> Option<ValueId> {
    loop {
        let node = module.node(value);
        let stays = match node.op {
            Op::Weight => return Some(value),
            Op::Cast => true,
            Op::Slice => node.attrs.index("axis") != 0,
            Op::Transpose => node.attrs.ints("perm").first() == Some(&0),
            Op::Reshape => node.tensor().shape.first() == module.node(node.args[0]).tensor().shape.first(),
            _ => false,
        };
        if !stays {
            return None;
        }
        value = node.args[0];
    }
}

/// The program with these products placed.
fn rewrite(module: &Module, resident: &BTreeMap<ValueId, Vec<i64>>) -> Result<Module, IrError> {
    let mut builder = Builder::new(Module { dims: module.dims.clone(), ..Module::new(&module.name) });
    for (id, node) in module.iter() {
        match resident.get(&id) {
            Some(experts) => {
                let spec = Attr::from(node.attrs.str("spec").to_owned());
                let attrs = [("resident", Attr::Ints(experts.clone())), ("spec", spec)];
                builder.op(Op::PlacedMatmul, &node.args, attrs)?;
            }
            None => {
                builder.push(node.op, &node.args, node.attrs.clone())?;
            }
        }
    }
    let mut placed = builder.finish();
    placed.outputs = module.outputs.clone();
    Ok(placed)
}

fn bytes(ty: &TensorType) -> u64 {
    let elements = ty.shape.iter().map(Dim::as_const).try_fold(1u64, |n, size| n.checked_mul(size?));
    elements.unwrap_or(0).saturating_mul(ty.dtype.bytes() as u64)
}

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

impl fmt::Display for PlanPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanPlacement { plan, experts, expert_bytes, room, .. } = self;
        write!(f, "plan `{plan}`: room for {room} of {experts} experts of {expert_bytes} bytes; ")?;
        match &self.decision {
            Decision::Hot(judgement) => write!(f, "the {room} most used stay in memory: {judgement}"),
            Decision::Refused(judgement) => write!(f, "all stay in their files: {judgement}"),
            Decision::Unknown { missing } => write!(f, "all stay in their files, without {missing}"),
        }
    }
}

#[cfg(test)]
mod tests;
