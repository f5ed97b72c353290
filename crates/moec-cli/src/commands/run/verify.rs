//! The result against the interpreter, which runs the source as it was written, in f64.
//!
//! Where rows are independent, a few of them are compared, spread over the batch; else everything. When f32
//! and f64 see two experts' scores in a different order, the results differ and neither is wrong: a row is left
//! out if its scores are that close, and only then.

use std::collections::BTreeMap;

use moec::interp::{Tensor, Value};
use moec::ir::{DType, Dim, DimKind, Module, Op, Rowwise, Sizes, Work, rowwise};
use moec::{Checked, HostTensor};
use serde::Serialize;

use super::inputs::Inputs;
use super::weights::Provider;
use crate::failure::Failure;

/// Rows that are compared where nothing else was asked for.
const ROWS: u64 = 4;

/// Floating-point operations that the interpreter may take unasked: some seconds.
const WORK: f64 = 2e9;

/// Elements of weights that the interpreter may hold unasked: 4 GiB of f64.
const WEIGHTS: f64 = (1u64 << 29) as f64;

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
        let apart = |row: &usize| sample.difference(&pairs, *row) <= allowed;
        let suspects: Vec<usize> = left.iter().copied().filter(|row| !apart(row)).collect();
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

/// What of a run is compared.
struct Sample {
    /// Where rows lie, if they are independent.
    along: Option<Rowwise>,
    symbol: String,
    /// The rows that are compared.
    rows: Vec<u64>,
    /// Rows in all.
    total: u64,
    /// The sizes of the sample.
    sizes: Sizes,
}

impl Sample {
    /// As much as is bearable, or why nothing is.
    fn choose(ir: &Module, inputs: &Inputs, wanted: Option<u64>) -> Result<Sample, String> {
        let open = ir.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime);
        let along = open.filter_map(|decl| Some((decl.name.to_string(), rowwise(ir, &decl.name)?))).next();
        let weights: f64 = ir.weights().map(|(_, _, ty)| elements(&ty.shape, &inputs.sizes)).sum();
        if wanted.is_none() && weights > WEIGHTS {
            return Err("the interpreter would need more than 4 GiB; ask for it with --verify 1".to_owned());
        }
        let Some((symbol, axes)) = along else {
            if wanted.is_none() && work(ir, &inputs.sizes) > WORK {
                let reason = "rows depend on each other, and the interpreter would take long for all of them; \
                              ask for it with --verify 1";
                return Err(reason.to_owned());
            }
            let (along, rows, sizes) = (None, Vec::new(), inputs.sizes.clone());
            return Ok(Sample { along, symbol: String::new(), rows, total: 0, sizes });
        };
        let total = inputs.sizes.get(&*symbol).copied().unwrap_or(0);
        let mut sizes: Sizes =
            inputs.runtime.iter().map(|(name, size)| (name.as_str().into(), *size)).collect();
        let mut count = wanted.unwrap_or(ROWS).min(total);
        loop {
            sizes.insert(symbol.as_str().into(), count);
            if wanted.is_some() || work(ir, &sizes) <= WORK {
                break;
            }
            count /= 2;
            if count == 0 {
                let reason = "the interpreter would take long for a single row; ask for it with --verify 1";
                return Err(reason.to_owned());
            }
        }
        let spread = |i: u64| if count < 2 { total / 2 } else { i * (total - 1) / (count - 1) };
        let rows = (0..count).map(spread).collect();
        Ok(Sample { along: Some(axes), symbol, rows, total, sizes })
    }

    fn inputs(&self, ir: &Module, inputs: &Inputs) -> Result<Vec<HostTensor>, Failure> {
        let axes =
            ir.inputs().map(|(_, name, _)| self.along.as_ref().and_then(|a| a.inputs.get(name).copied()));
        axes.zip(&inputs.tensors).map(|(axis, tensor)| self.cut(axis, tensor)).collect()
    }

    fn outputs(&self, ir: &Module, outputs: &[HostTensor]) -> Result<Vec<HostTensor>, Failure> {
        let axis = |name: &str| self.along.as_ref().and_then(|axes| axes.outputs.get(name).copied());
        let axes = ir.outputs.iter().map(|output| axis(&output.name));
        axes.zip(outputs).map(|(axis, tensor)| self.cut(axis, tensor)).collect()
    }

    /// The rows of the sample, or all of a tensor without rows.
    fn cut(&self, axis: Option<usize>, tensor: &HostTensor) -> Result<HostTensor, Failure> {
        let cut = match axis {
            Some(axis) => tensor.select(axis, tensor.shape()[axis] / self.total.max(1), &self.rows),
            None => HostTensor::copied(tensor.dtype(), tensor.shape(), tensor.bytes()),
        };
        cut.map_err(Failure::input)
    }

    /// The largest difference in a row of the sample, over all outputs, each relative to its scale. Without
    /// rows, that of everything.
    fn difference(&self, outputs: &[(&str, &Tensor, Tensor)], row: usize) -> f64 {
        let of = |(name, expected, found): &(&str, &Tensor, Tensor)| {
            let axis = self.along.as_ref().and_then(|axes| axes.outputs.get(*name).copied());
            let scale = expected.data.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
            let scale = if scale == 0.0 { 1.0 } else { scale };
            let inner = axis.map_or(1, |axis| expected.shape[axis + 1..].iter().product::<usize>());
            let size = axis.map_or(1, |axis| expected.shape[axis]);
            let block = (size / self.rows.len().max(1)).max(1);
            let mine = |at: usize| axis.is_none() || at / inner % size / block == row;
            let pairs = expected.data.iter().zip(&found.data).enumerate().filter(|(at, _)| mine(*at));
            pairs.map(|(_, (e, f))| apart(*e, *f, scale)).fold(0.0, f64::max)
        };
        outputs.iter().map(of).fold(0.0, f64::max)
    }

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
                close |= margin(scores, route.axis, route.index.shape[route.axis]) < TIE;
            }
        }
        Ok(close)
    }
}

fn apart(expected: f64, found: f64, scale: f64) -> f64 {
    match (expected.is_nan(), found.is_nan()) {
        (true, true) => 0.0,
        (false, false) if expected == found => 0.0,
        (false, false) => (expected - found).abs() / scale,
        _ => f64::INFINITY,
    }
}

/// The least distance between the last chosen and the first left out, relative to the largest score.
fn margin(scores: &Tensor, axis: usize, k: usize) -> f64 {
    let (size, inner) = (scores.shape[axis], scores.shape[axis + 1..].iter().product::<usize>());
    if k == 0 || k >= size {
        return f64::INFINITY;
    }
    let mut least = f64::INFINITY;
    for start in (0..scores.data.len()).filter(|at| at / inner.max(1) % size == 0) {
        let mut lane: Vec<f64> = (0..size).map(|i| scores.data[start + i * inner]).collect();
        let scale = lane.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        lane.sort_by(|a, b| b.total_cmp(a));
        // Smallest first or largest first: the border is k from the one end or the other.
        let gap = |at: usize| (lane[at - 1] - lane[at]).abs() / scale;
        least = least.min(gap(k)).min(gap(size - k));
    }
    least
}

fn elements(shape: &[Dim], sizes: &Sizes) -> f64 {
    shape.iter().map(|dim| dim.eval(sizes).map_or(f64::INFINITY, |n| n as f64)).product()
}

/// Floating-point operations of the source as it is written.
fn work(ir: &Module, runtime: &Sizes) -> f64 {
    let Ok(sizes) = ir.dims.bind(runtime) else { return f64::INFINITY };
    let size = |dim: &Dim| dim.eval(&sizes).map_or(f64::INFINITY, |n| n as f64);
    let of = |node: &moec::ir::Node| {
        let args: Vec<_> = node.args.iter().map(|&arg| &ir.node(arg).ty).collect();
        let work = Work { args: &args, attrs: &node.attrs, result: &node.ty, size: &size };
        (node.op.row().flops)(&work) + work.elements(&node.ty)
    };
    ir.nodes.iter().map(of).sum()
}
