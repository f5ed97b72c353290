//! Which part of a run is compared with the interpreter: a few rows where rows are independent, else
//! everything, and no more than is bearable.

use moec::HostTensor;
use moec::interp::Tensor;
use moec::ir::{Dim, DimKind, Module, Node, Rowwise, Sizes, Work, rowwise};

use super::inputs::Inputs;
use crate::failure::Failure;

/// Rows that are compared where nothing else was asked for.
const ROWS: u64 = 4;

/// Floating-point operations that the interpreter may take unasked: some seconds.
const WORK: f64 = 2e9;

/// Elements of weights that the interpreter may hold unasked: 4 GiB of f64.
const WEIGHTS: f64 = (1u64 << 29) as f64;

/// What of a run is compared.
pub(super) struct Sample {
    /// Where rows lie, if they are independent.
    pub(super) along: Option<Rowwise>,
    pub(super) symbol: String,
    /// The rows that are compared.
    pub(super) rows: Vec<u64>,
    /// Rows in all.
    pub(super) total: u64,
    /// The sizes of the sample.
    pub(super) sizes: Sizes,
}

impl Sample {
    /// As much as is bearable, or why nothing is.
    pub(super) fn choose(ir: &Module, inputs: &Inputs, wanted: Option<u64>) -> Result<Sample, String> {
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

    pub(super) fn inputs(&self, ir: &Module, inputs: &Inputs) -> Result<Vec<HostTensor>, Failure> {
        let axes =
            ir.inputs().map(|(_, name, _)| self.along.as_ref().and_then(|a| a.inputs.get(name).copied()));
        axes.zip(&inputs.tensors).map(|(axis, tensor)| self.cut(axis, tensor)).collect()
    }

    pub(super) fn outputs(&self, ir: &Module, outputs: &[HostTensor]) -> Result<Vec<HostTensor>, Failure> {
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
    pub(super) fn difference(&self, outputs: &[(&str, &Tensor, Tensor)], row: usize) -> f64 {
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
}

fn apart(expected: f64, found: f64, scale: f64) -> f64 {
    match (expected.is_nan(), found.is_nan()) {
        (true, true) => 0.0,
        (false, false) if expected == found => 0.0,
        (false, false) => (expected - found).abs() / scale,
        _ => f64::INFINITY,
    }
}

fn elements(shape: &[Dim], sizes: &Sizes) -> f64 {
    shape.iter().map(|dim| dim.eval(sizes).map_or(f64::INFINITY, |n| n as f64)).product()
}

/// Floating-point operations of the source as it is written.
fn work(ir: &Module, runtime: &Sizes) -> f64 {
    let Ok(sizes) = ir.dims.bind(runtime) else { return f64::INFINITY };
    let size = |dim: &Dim| dim.eval(&sizes).map_or(f64::INFINITY, |n| n as f64);
    let of = |node: &Node| {
        let args: Vec<_> = node.args.iter().map(|&arg| &ir.node(arg).ty).collect();
        let work = Work { args: &args, attrs: &node.attrs, result: &node.ty, size: &size };
        (node.op.row().flops)(&work) + work.elements(&node.ty)
    };
    ir.nodes.iter().map(of).sum()
}
