//! Counting what routing does. What is counted are ordinary results of the program, computed by
//! ordinary operations beside its own; kernels know nothing of it. They are results by pair of token
//! and slot, which are added up here, in `f64`: sums by expert in the program would be rounded to `f32`.

use moec_ir::{Attr, Builder, Dim, IrError, Module, Op, Sizes, ValueId};

use super::drops::{Limited, limited};
use super::{Drops, PlanProfile, PlanRouting, Profile, ProfileError, Routing, plan_names};
use crate::HostTensor;

/// What a compiled program says beside its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// Nothing.
    #[default]
    Nothing,
    /// How the pairs of every routing plan fared, for a [`Profile`] and a [`Routing`].
    All,
}

/// Outputs behind those of the source that say how the pairs of a plan fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The name of the plan.
    pub plan: String,
    /// Number of experts.
    pub experts: u64,
    /// Experts that each token chooses.
    pub slots: u64,
    /// Tokens of a call.
    tokens: Dim,
    /// The number of the output `i32[tokens, slots]` that has the chosen experts.
    choices: usize,
    /// The sums over the plan's experts, if some pair may be missing in one of them.
    sums: Vec<SumTally>,
}

/// A sum over experts of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SumTally {
    /// The number of the output `bool[tokens, slots]` that says of which pairs it has the experts, if not of
    /// all.
    own: Option<usize>,
    /// The number of the output `f32[tokens, slots]` that has the weights of pairs, were there seats for all.
    gate: usize,
    /// The same with the weights that they have, which are 0 without a seat, if that is so.
    weights: Option<usize>,
    /// The number of the output `bool[tokens, slots]` that says which pairs the plan of the sum has, if not
    /// all.
    planned: Option<usize>,
}

/// What a program counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tallies {
    /// One for each routing plan.
    pub plans: Vec<Tally>,
    /// Where pairs may be dropped that are not counted, and why, as sentences.
    pub not_counted: Vec<String>,
}

/// Adds the tallies asked for to an optimised module whose sized dims are numbers.
pub(crate) fn record(module: Module, what: Record) -> Result<(Module, Tallies), IrError> {
    if what == Record::Nothing {
        return Ok((module, Tallies::default()));
    }
    let names = plan_names(&module);
    let Limited { sums, not_counted } = limited(&module);
    let mut tallies = Tallies { plans: Vec::new(), not_counted };
    let mut outputs = Outputs { builder: Builder::new(module) };
    for (id, name) in names {
        let node = outputs.builder.module().node(id).clone();
        let Some(plan) = node.ty.plan() else { continue };
        let (Some(experts), Some(slots)) = (plan.experts.as_const(), plan.slots.as_const()) else { continue };
        let choices = outputs.add(&format!("{name}.choices"), node.args[0])?;
        let mut of_sums = Vec::new();
        for sum in sums.iter().filter(|sum| sum.root == id) {
            let pairs = [plan.tokens.clone(), plan.slots.clone()];
            let own = sum.own(&mut outputs.builder)?;
            let own = own.map(|value| outputs.by_pair(&format!("{name}.own"), value, &pairs)).transpose()?;
            let planned = sum.planned(&mut outputs.builder)?;
            let planned = planned
                .map(|value| outputs.by_pair(&format!("{name}.planned"), value, &pairs))
                .transpose()?;
            let gate = sum.gate(&mut outputs.builder)?;
            let gate = outputs.by_pair(&format!("{name}.gate"), gate, &pairs)?;
            let weights = sum.weights();
            let weights = weights
                .map(|value| outputs.by_pair(&format!("{name}.weights"), value, &pairs))
                .transpose()?;
            of_sums.push(SumTally { own, gate, weights, planned });
        }
        let tokens = plan.tokens.clone();
        tallies.plans.push(Tally { plan: name, experts, slots, tokens, choices, sums: of_sums });
    }
    Ok((outputs.builder.finish(), tallies))
}

/// Outputs behind those of the source.
struct Outputs {
    builder: Builder,
}

impl Outputs {
    /// The number of an output with a value for each pair, whose axes may be one.
    fn by_pair(&mut self, name: &str, value: ValueId, pairs: &[Dim; 2]) -> Result<usize, IrError> {
        let shape = Attr::Dims(pairs.to_vec());
        let value = match self.builder.tensor(value).shape == pairs {
            true => value,
            false => self.builder.op(Op::Reshape, &[value], [("shape", shape)])?,
        };
        self.add(name, value)
    }

    /// The number of an output with this value, which may be there.
    fn add(&mut self, name: &str, value: ValueId) -> Result<usize, IrError> {
        let outputs = &self.builder.module().outputs;
        let at = outputs.len();
        let mut name = name.to_owned();
        while outputs.iter().any(|output| *output.name == *name) {
            name.push('\'');
        }
        self.builder.output(&name, value)?;
        Ok(at)
    }
}

/// How the pairs of one call fared whose outputs, those of the tallies included, are these.
pub(crate) fn of_call(
    tallies: &Tallies,
    outputs: &[HostTensor],
    sizes: &Sizes,
) -> Result<Routing, ProfileError> {
    let malformed = |error: &dyn std::fmt::Display| ProfileError::Malformed(error.to_string());
    let numbers = |at: usize| outputs.get(at).map_or(Vec::new(), |output| output.to_oracle().data);
    let mut plans = Vec::new();
    for tally in &tallies.plans {
        let choices: Vec<usize> = numbers(tally.choices).into_iter().map(|expert| expert as usize).collect();
        let mut pairs = vec![0; tally.experts as usize];
        for &expert in &choices {
            *pairs.get_mut(expert).ok_or_else(|| malformed(&"an expert that is none"))? += 1;
        }
        let drops = (!tally.sums.is_empty()).then(|| {
            let mut drops = Drops {
                dropped: vec![0; pairs.len()],
                gate: vec![0.0; pairs.len()],
                lost: vec![0.0; pairs.len()],
            };
            let mut dropped = vec![false; choices.len()];
            for sum in &tally.sums {
                let gate = numbers(sum.gate);
                let [own, weights, planned] = [sum.own, sum.weights, sum.planned].map(|at| at.map(numbers));
                let zero = |of: &Option<Vec<f64>>, pair: usize| of.as_ref().is_some_and(|of| of[pair] == 0.0);
                let out = |pair| zero(&planned, pair) || zero(&weights, pair) && gate[pair] != 0.0;
                for (pair, &expert) in choices.iter().enumerate() {
                    if zero(&own, pair) {
                        continue;
                    }
                    drops.gate[expert] += gate[pair];
                    if out(pair) {
                        drops.lost[expert] += gate[pair];
                        dropped[pair] = true;
                    }
                }
            }
            for (&expert, _) in choices.iter().zip(dropped).filter(|(_, dropped)| *dropped) {
                drops.dropped[expert] += 1;
            }
            drops
        });
        plans.push(PlanRouting {
            name: tally.plan.clone(),
            experts: tally.experts,
            slots: tally.slots,
            tokens: tally.tokens.eval(sizes).map_err(|error| malformed(&error))?,
            pairs,
            drops,
        });
    }
    Ok(Routing { plans, not_counted: tallies.not_counted.clone() })
}

impl Routing {
    /// As a profile, which speaks of choices only.
    pub fn profile(&self) -> Result<Profile, ProfileError> {
        let plans = self.plans.iter().map(|plan| PlanProfile {
            name: plan.name.clone(),
            experts: plan.experts,
            slots: plan.slots,
            tokens: plan.tokens,
            pairs: plan.pairs.clone(),
        });
        Profile::new(plans.collect())
    }
}
