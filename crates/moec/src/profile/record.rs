//! Counting what routing does. Counts are ordinary results of the program, computed by ordinary
//! operations from the choices that its plans are made of; kernels know nothing of them.

use moec_ir::{Attr, Builder, DType, Dim, IrError, Module, Number, Op, Sizes, TensorType, ValueId};

use super::{PlanProfile, Profile, ProfileError, plan_names};
use crate::HostTensor;

/// What a compiled program counts beside its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// Nothing.
    #[default]
    Nothing,
    /// The pairs of every routing plan, for a [`Profile`].
    All,
}

/// What a tally counts, for each expert of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TallyKind {
    /// Pairs of token and chosen expert, `i32`.
    Pairs,
}

/// An output that counts, behind those of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The name of the plan.
    pub plan: String,
    /// What is counted.
    pub kind: TallyKind,
    /// Number of experts, and of elements of the output.
    pub experts: u64,
    /// Experts that each token chooses.
    pub slots: u64,
    /// Tokens of a call.
    tokens: Dim,
    /// The number of the output.
    pub output: usize,
}

/// Adds the tallies asked for to an optimised module whose sized dims are numbers.
pub(crate) fn record(module: Module, what: Record) -> Result<(Module, Vec<Tally>), IrError> {
    let mut tallies = Vec::new();
    if what == Record::Nothing {
        return Ok((module, tallies));
    }
    let names = plan_names(&module);
    let mut builder = Builder::new(module);
    for (id, name) in names {
        let node = builder.module().node(id);
        let Some(plan) = node.ty.plan().cloned() else { continue };
        let (Some(experts), Some(slots)) = (plan.experts.as_const(), plan.slots.as_const()) else { continue };
        let choices = node.args[0];
        let pairs = pairs(&mut builder, choices, &plan.experts, &plan.rows()?)?;
        let output = add_output(&mut builder, &format!("{name}.pairs"), pairs)?;
        let tokens = plan.tokens.clone();
        tallies.push(Tally { plan: name, kind: TallyKind::Pairs, experts, slots, tokens, output });
    }
    Ok((builder.finish(), tallies))
}

/// `i32[experts]`: how often each expert occurs in `choices: i32[tokens, slots]`.
fn pairs(builder: &mut Builder, choices: ValueId, experts: &Dim, rows: &Dim) -> Result<ValueId, IrError> {
    let shape = Attr::Dims(vec![rows.clone()]);
    let flat = builder.op(Op::Reshape, &[choices], [("shape", shape)])?;
    let zeros = filled(builder, DType::I32, experts, 0.0)?;
    let ones = filled(builder, DType::I32, rows, 1.0)?;
    builder.op(Op::ScatterAdd, &[zeros, flat, ones], [("axis", Attr::Int(0))])
}

fn filled(builder: &mut Builder, dtype: DType, size: &Dim, value: f64) -> Result<ValueId, IrError> {
    let ty = TensorType::new(dtype, [size.clone()]);
    builder.op(Op::Const, &[], [("type", Attr::Type(ty)), ("value", Attr::Number(Number::new(value)))])
}

/// Names a result behind the others; its number.
fn add_output(builder: &mut Builder, name: &str, value: ValueId) -> Result<usize, IrError> {
    let outputs = &builder.module().outputs;
    let at = outputs.len();
    let mut name = name.to_owned();
    while outputs.iter().any(|output| *output.name == *name) {
        name.push('\'');
    }
    builder.output(&name, value)?;
    Ok(at)
}

/// The profile of one call whose outputs, tallies included, are these.
pub(crate) fn of_call(
    tallies: &[Tally],
    outputs: &[HostTensor],
    sizes: &Sizes,
) -> Result<Profile, ProfileError> {
    let mut plans = Vec::new();
    for tally in tallies.iter().filter(|tally| tally.kind == TallyKind::Pairs) {
        let Some(counts) = outputs.get(tally.output).map(HostTensor::to_oracle) else { continue };
        plans.push(PlanProfile {
            name: tally.plan.clone(),
            experts: tally.experts,
            slots: tally.slots,
            tokens: tally.tokens.eval(sizes).map_err(|error| ProfileError::Malformed(error.to_string()))?,
            pairs: counts.data.iter().map(|&count| count as u64).collect(),
        });
    }
    Profile::new(plans)
}
