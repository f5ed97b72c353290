//! The result against the interpreter, which runs the source as it was written, in f64.
//!
//! Where rows are independent, a few of them are compared, spread over the batch; else everything. When f32
//! and f64 see two experts' scores in a different order, the results differ and neither is wrong: a row is left
//! out if its scores are that close, and only then.

use std::collections::BTreeMap;

use moec::interp::{Tensor, Value};
use moec::ir::{DType, Module, Op};
use moec::{Checked, HostTensor};
use serde::Serialize;

use super::inputs::Inputs;
use super::sample::Sample;
use super::weights::Provider;
use crate::failure::Failure;

/// The largest difference that is no fault, relative to the output's scale.
const ALLOWED: f64 = 1e-4;

/// The same where values are rounded to 16 bits on the way.
const ALLOWED_ROUNDED: f64 = 5e-2;

/// Scores closer than this, relative to the largest, may stand in another order in f32.
const TIE: f64 = 1e-6;

/// What comparing with the interpreter gave.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(super) enum Verdict {
    /// The results were compared.
    Compared {
        /// The largest difference, relative to the output's scale.
        difference: f64,
        /// What is allowed.
        allowed: f64,
        /// Rows compared, and rows in all; none if everything was compared.
        rows: Option<(u64, u64)>,
        /// Rows that were left out because two scores were too close to tell.
        ties: Vec<u64>,
    },
    /// They were not.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    pub(super) fn skipped(reason: impl Into<String>) -> Verdict {
        Verdict::Skipped { reason: reason.into() }
    }

    /// The message if the results differ.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Verdict::Compared { difference, allowed, .. } if difference > allowed => Some(format!(
                "the result differs from the interpreter's by {difference:.1e} of the output's scale, \
                 more than {allowed:.0e}; nothing was written"
            )),
            _ => None,
        }
    }
}

/// Compares outputs with the interpreter's.
pub(super) fn verify(
    checked: &Checked,
    inputs: &Inputs,
    outputs: &[HostTensor],
    provider: &Provider<'_>,
    wanted: Option<u64>,
) -> Result<Verdict, Failure> {
    if wanted == Some(0) {
        return Ok(Verdict::skipped("not asked for"));
    }
    if outputs.iter().all(|output| output.bytes().is_empty()) {
        return Ok(Verdict::skipped("the outputs have no elements"));
    }
    if !inputs.are_finite() {
        return Ok(Verdict::skipped(
            "an input holds NaN or infinity, where rewrites of class `finite` may change results",
        ));
    }
    let ir = &checked.ir;
    let sample = match Sample::choose(ir, inputs, wanted) {
        Ok(sample) => sample,
        Err(reason) => return Ok(Verdict::skipped(reason)),
    };
    let (mut data, _) = provider.oracle(checked)?;
    let picked = sample.inputs(ir, inputs)?;
    let compared = sample.outputs(ir, outputs)?;
    for ((_, name, _), tensor) in ir.inputs().zip(&picked) {
        data.insert(name.to_owned(), tensor.to_oracle());
    }
    let expected = match moec::interp::run(ir, &sample.sizes, &data) {
        Ok(expected) => expected,
        Err(error) => return Ok(Verdict::skipped(format!("the interpreter refuses: {error}"))),
    };
    let allowed = if rounds(ir) { ALLOWED_ROUNDED } else { ALLOWED };
    let mut left: Vec<usize> = (0..sample.rows.len().max(1)).collect();
    let mut ties = Vec::new();
    let pairs: Vec<(&str, &Tensor, Tensor)> = expected
        .iter()
        .zip(&compared)
        .map(|((name, expected), found)| (name.as_str(), expected, found.to_oracle()))
        .collect();
    if sample.along.is_some() {
        let differs = |row: &usize| sample.difference(&pairs, *row) > allowed;
        let suspects: Vec<usize> = left.iter().copied().filter(differs).collect();
        for row in suspects {
            if sample.is_tie(ir, &picked, &mut data, row)? {
                left.retain(|other| *other != row);
                ties.push(sample.rows[row]);
            }
        }
    }
    if left.is_empty() {
        return Ok(Verdict::skipped("in every row compared, two scores were too close to tell"));
    }
    let worst = left.iter().map(|&row| sample.difference(&pairs, row)).fold(0.0, f64::max);
    let rows = sample.along.as_ref().map(|_| (left.len() as u64, sample.total));
    Ok(Verdict::Compared { difference: worst, allowed, rows, ties })
}

/// Whether values are rounded to 16 bits on the way or at the end.
fn rounds(ir: &Module) -> bool {
    let short = |dtype: DType| matches!(dtype, DType::Bf16 | DType::F16);
    let results = ir.outputs.iter().map(|output| ir.node(output.value).tensor().dtype);
    results.chain(ir.nodes.iter().filter(|n| n.op == Op::Cast).map(|n| n.attrs.dtype("to"))).any(short)
}

impl Sample {
    /// Whether some choice of experts in this row hangs on the last bits of a score.
    fn is_tie(
        &self,
        ir: &Module,
        picked: &[HostTensor],
        data: &mut BTreeMap<String, Tensor>,
        row: usize,
    ) -> Result<bool, Failure> {
        let Some(axes) = &self.along else { return Ok(false) };
        for ((_, name, _), tensor) in ir.inputs().zip(picked) {
            if let Some(&axis) = axes.inputs.get(name) {
                let block = tensor.shape()[axis] / self.rows.len().max(1) as u64;
                let alone = tensor.select(axis, block, &[row as u64]).map_err(Failure::input)?;
                data.insert(name.to_owned(), alone.to_oracle());
            }
        }
        let mut sizes = self.sizes.clone();
        sizes.insert(self.symbol.as_str().into(), 1);
        let values = moec::interp::run_all(ir, &sizes, data).map_err(Failure::input)?;
        let routes = ir.nodes.iter().zip(&values).filter(|(node, _)| node.op == Op::TopK);
        let mut close = false;
        for (node, value) in routes {
            if let (Value::Route(route), Value::Tensor(scores)) = (value, &values[node.args[0].index()]) {
                let (k, largest) = (route.index.shape[route.axis], node.attrs.bool("largest"));
                close |= margin(scores, route.axis, k, largest) < TIE;
            }
        }
        Ok(close)
    }
}

/// The least distance between the last chosen and the best left out, relative to the largest score.
fn margin(scores: &Tensor, axis: usize, k: usize, largest: bool) -> f64 {
    let (size, inner) = (scores.shape[axis], scores.shape[axis + 1..].iter().product::<usize>());
    if k == 0 || k >= size {
        return f64::INFINITY;
    }
    let mut least = f64::INFINITY;
    for start in (0..scores.data.len()).filter(|at| at / inner % size == 0) {
        let mut lane: Vec<f64> = (0..size).map(|i| scores.data[start + i * inner]).collect();
        let scale = lane.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        lane.sort_by(f64::total_cmp);
        let border = if largest { size - k } else { k };
        let gap = (lane[border] - lane[border - 1]) / scale;
        // Equal scores, such as masked ones, go to the lower index in any precision.
        if gap > 0.0 {
            least = least.min(gap);
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_that_of_the_closest_choice() {
        let data = vec![1.0, 8.0, 4.0, 2.0, 6.0, 3.0, 5.0, 4.0];
        let scores = Tensor { dtype: DType::F32, shape: vec![2, 4], data };
        assert_eq!(margin(&scores, 1, 1, true), 1.0 / 6.0);
        assert_eq!(margin(&scores, 1, 1, false), 1.0 / 8.0);
        assert_eq!(margin(&scores, 1, 4, true), f64::INFINITY);
        assert_eq!(margin(&scores, 0, 1, true), 1.0 / 5.0, "4 and 5 of the third column");
    }
}
