//! Which experts stay in memory when not all of them may: the hot ones, if a profile knows them and
//! another one, of other text, agrees. The decision is made on the optimised program as a whole,
//! because a budget of memory is not a cost that adds up operation by operation.
//!
//! What a hot set is held against is memory of the same size without knowledge: a cache that has
//! each expert as likely as any other. That is what the page cache of the system makes of weights
//! that all stay in their files, and what happens when the answer is no.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use moec_ir::{Attr, Builder, Dim, IrError, Module, Op, TensorType, ValueId};
use serde::Serialize;

use super::{PlanProfile, Profile, plan_names};

/// A hot set has to leave no more than this part of the bytes that a cache of the same size would
/// read. The experts of a balanced router differ between two samples of text by chance, which looks
/// like a saving of up to 14 per cent (see `tests/profiles`); less than 20 is not taken for skill.
pub const MARGIN: f64 = 0.8;

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

/// The figures of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Tokens of a call.
    pub tokens: u64,
    /// The part of all choices that fall on the hot set, in the profile that it was learnt from.
    pub learnt: f64,
    /// The same in the profile that it is judged by.
    pub held_out: f64,
    /// The part of the experts that the hot set is: what it would cover without skill.
    pub share: f64,
    /// Bytes of cold experts that a call is expected to read with the hot set.
    pub bytes_hot: f64,
    /// Bytes that a call would miss in a cache of the same size.
    pub bytes_cache: f64,
}

/// What a decision rests on.
pub(crate) struct Evidence<'a> {
    pub(crate) budget: u64,
    pub(crate) learn: Option<&'a Profile>,
    pub(crate) judge: Option<&'a Profile>,
    pub(crate) tokens: u64,
}

/// Places the experts of an optimised program whose sized dims are numbers. None if all weights fit.
/// An error says what cannot stay in files and does not fit.
pub(crate) fn place(
    module: Module,
    evidence: &Evidence<'_>,
) -> Result<Result<(Module, Option<Placement>), String>, IrError> {
    let weights = sum(module.weights().map(|(_, _, ty)| bytes(ty)));
    if weights <= evidence.budget {
        return Ok(Ok((module, None)));
    }
    let movable = movable(&module);
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
    let mut resident: BTreeMap<ValueId, Vec<i64>> = BTreeMap::new();
    for plan in &movable {
        let all = of_plans(plan);
        let expert_bytes = all / plan.experts.max(1);
        // Room is dealt out in proportion.
        let share = (u128::from(room) * u128::from(all) / u128::from(experts.max(1))) as u64;
        let count = (share / expert_bytes.max(1)).min(plan.experts);
        let (hot, decision) = decide(plan, count, expert_bytes, evidence);
        for &product in &plan.products {
            resident.insert(product, hot.iter().map(|&expert| expert as i64).collect());
        }
        plans.push(PlanPlacement {
            plan: plan.name.clone(),
            experts: plan.experts,
            expert_bytes,
            room: count,
            resident: hot,
            decision,
        });
    }
    let placed = rewrite(&module, &resident)?;
    Ok(Ok((placed, Some(Placement { budget: evidence.budget, weights, plans }))))
}

/// The hot set of a plan with room for `count` experts, ascending, and why.
fn decide(plan: &Movable, count: u64, expert_bytes: u64, evidence: &Evidence<'_>) -> (Vec<u64>, Decision) {
    let known = |profile: Option<&Profile>| -> Option<PlanProfile> {
        profile?.plan(&plan.name).filter(|known| known.experts == plan.experts).cloned()
    };
    let Some(learn) = known(evidence.learn) else {
        return (Vec::new(), Decision::Unknown { missing: "a profile to learn from" });
    };
    let Some(judge) = known(evidence.judge) else {
        return (Vec::new(), Decision::Unknown { missing: "a held-out profile to judge by" });
    };
    let mut order: Vec<u64> = (0..plan.experts).collect();
    order.sort_by_key(|&expert| (std::cmp::Reverse(learn.pairs[expert as usize]), expert));
    let mut hot: Vec<u64> = order[..count as usize].to_vec();
    hot.sort_unstable();
    let judgement = judge_hot(&hot, &learn, &judge, expert_bytes, evidence.tokens);
    if judgement.bytes_hot <= MARGIN * judgement.bytes_cache && !hot.is_empty() {
        (hot, Decision::Hot(judgement))
    } else {
        (Vec::new(), Decision::Refused(judgement))
    }
}

/// The figures of a hot set: what it covers, and what calls of `tokens` tokens are expected to read
/// by the profile `judge`.
fn judge_hot(
    hot: &[u64],
    learn: &PlanProfile,
    judge: &PlanProfile,
    expert_bytes: u64,
    tokens: u64,
) -> Judgement {
    let covered = |profile: &PlanProfile| {
        let pairs: u64 = hot.iter().map(|&expert| profile.pairs[expert as usize]).sum();
        pairs as f64 / profile.pairs.iter().sum::<u64>().max(1) as f64
    };
    let touched = |chance: f64| 1.0 - (1.0 - chance).powf(tokens as f64);
    let read: Vec<f64> = judge.chances().into_iter().map(|p| touched(p) * expert_bytes as f64).collect();
    let all: f64 = read.iter().sum();
    let of_hot: f64 = hot.iter().map(|&expert| read[expert as usize]).sum();
    let share = hot.len() as f64 / judge.experts.max(1) as f64;
    Judgement {
        tokens,
        learnt: covered(learn),
        held_out: covered(judge),
        share,
        bytes_hot: (all - of_hot).max(0.0),
        bytes_cache: all * (1.0 - share),
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

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [learnt, held_out, share] = [self.learnt, self.held_out, self.share].map(|part| part * 100.0);
        write!(
            f,
            "they take {learnt:.1} % of the choices where they were learnt and {held_out:.1} % where they are \
             judged, {share:.1} % without skill; a call of {} tokens reads {:.0} bytes, a cache of the same \
             size {:.0}, and the limit is {:.0}",
            self.tokens,
            self.bytes_hot,
            self.bytes_cache,
            MARGIN * self.bytes_cache
        )
    }
}

#[cfg(test)]
mod tests;
