//! Translation validation: the optimised program against the original, on sizes small enough for the
//! interpreter, at every compilation.
//!
//! Smaller sizes are tried where small ones are still too much work, as when dims count blocks of 32. Where
//! such sizes contradict the program (a constant slice, say), the real ones are used if the work is
//! bearable, and otherwise the outcome says that nothing was checked.

use std::collections::BTreeMap;

use moec_interp::{InterpError, Tensor, generate};
use moec_ir::{DType, Module, Op, Sizes};

use crate::shrink::{BASES, runtime_sizes, small, work};

/// What validation found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Validation {
    /// Every output agreed on every seed.
    Agreed {
        /// How many random inputs were tried.
        seeds: u64,
        /// The largest difference, relative to the output's scale.
        difference: f64,
    },
    /// Nothing could be checked.
    Unchecked {
        /// Why.
        reason: String,
    },
    /// The programs differ. The original was compiled instead.
    Differed {
        /// The largest difference, relative to the output's scale.
        difference: f64,
        /// Where.
        output: String,
    },
    /// The optimiser was not asked to change anything.
    Unchanged,
}

/// Random inputs tried.
const SEEDS: u64 = 2;

/// Floating-point operations that one validation may take.
const WORK: f64 = 3e8;

/// Compares `optimised` with `original`; both with their sized symbols.
pub(crate) fn validate(original: &Module, optimised: &Module) -> Validation {
    let mut reason = String::new();
    let own = std::iter::once_with(|| original.dims.sized().clone());
    for sizes in BASES.into_iter().map(|base| small(original, base)).chain(own) {
        let pair = (original.instantiate(&sizes), optimised.instantiate(&sizes));
        let (Ok(a), Ok(b)) = pair else {
            reason = "small sizes contradict the program, and its own are too large".to_owned();
            continue;
        };
        let runtime = runtime_sizes(&a);
        if work(&a, &runtime) > WORK {
            reason = "the interpreter would take too long".to_owned();
            continue;
        }
        match compare(&a, &b, &runtime) {
            Ok(outcome) => return outcome,
            Err(error) => reason = error.to_string(),
        }
    }
    Validation::Unchecked { reason }
}

fn compare(a: &Module, b: &Module, runtime: &Sizes) -> Result<Validation, InterpError> {
    let allowed = allowed(a);
    let mut largest = 0.0;
    for seed in 0..SEEDS {
        let inputs: BTreeMap<String, Tensor> = generate::inputs(a, runtime, seed)?;
        let before = moec_interp::run(a, runtime, &inputs)?;
        let after = moec_interp::run(b, runtime, &inputs)?;
        for ((output, before), (_, after)) in before.iter().zip(&after) {
            let difference = difference(&before.data, &after.data);
            if difference > allowed {
                return Ok(Validation::Differed { difference, output: output.clone() });
            }
            largest = f64::max(largest, difference);
        }
    }
    Ok(Validation::Agreed { seeds: SEEDS, difference: largest })
}

/// What went wrong on the way to a program that is right all the same, as sentences for its user: rules
/// that panicked, and programs that were found and not used. Each is a bug in moec.
pub fn faults(report: &moec_opt::Report, validation: &Validation) -> Vec<String> {
    let mut faults = Vec::new();
    if let Validation::Differed { difference, output } = validation {
        faults.push(format!(
            "`{output}` of the optimised program differed from the source's by {difference:.1e} of its scale, and \
             that program is not used"
        ));
    }
    if let Some(reason) = &report.fallback {
        faults.push(format!("the optimiser failed, and the source is compiled as it is: {reason}"));
    }
    faults.extend(report.panicked.iter().map(|rule| format!("the rule `{rule}` panicked and was left out")));
    faults
}

/// The largest difference, relative to the output's scale, that two equal programs may have under the
/// interpreter. Values rounded to 16 bits on the way amplify a last bit.
pub(crate) fn allowed(module: &Module) -> f64 {
    let rounds = (module.nodes.iter())
        .any(|node| node.op == Op::Cast && matches!(node.attrs.dtype("to"), DType::Bf16 | DType::F16));
    if rounds { 2e-2 } else { 1e-9 }
}

/// The largest difference, relative to the largest magnitude of `expected` (to 1 if all are zero).
/// Equal infinities and two NaNs do not differ; a NaN on one side differs infinitely.
pub fn difference(expected: &[f64], found: &[f64]) -> f64 {
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let finite = expected.iter().map(|v| v.abs()).filter(|v| v.is_finite());
    let scale = finite.fold(0.0, f64::max);
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let pairs = expected.iter().zip(found);
    let worst = pairs.map(|(e, f)| match (e.is_nan(), f.is_nan()) {
        (true, true) => 0.0,
        (false, false) if e == f => 0.0,
        (false, false) => ((e - f) / scale).abs(),
        _ => f64::INFINITY,
    });
    worst.fold(0.0, f64::max)
}
