//! Where rows are independent, a row alone has the bits that it has in its batch.

use std::collections::BTreeMap;

use moec::HostTensor;
use moec::interp::Tensor;
use moec::ir::{DimKind, Module, Rowwise, rowwise};

use crate::execute::Bench;
use crate::header::Run;

/// Runs rows of `inputs` alone, along every run-time dim whose rows are proved independent, and compares
/// with `outputs`, the results of the batch.
pub(crate) fn check_rows(
    bench: &Bench<'_>,
    source: &Module,
    run: &Run,
    inputs: &[HostTensor],
    outputs: &[HostTensor],
    data: &BTreeMap<String, Tensor>,
    failures: &mut Vec<String>,
) -> Result<(), String> {
    for decl in source.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime) {
        let count = run.sizes.get(&decl.name).copied().unwrap_or(0);
        let Some(axes) = rowwise(source, &decl.name).filter(|_| count > 1) else { continue };
        for row in [0, count / 2, count - 1] {
            let batch = Batch { source, axes: &axes, count, row };
            let alone = bench.compiled_on(&batch.of_inputs(inputs)?, data, bench.alone())?;
            for ((output, wanted), got) in source.outputs.iter().zip(batch.of_outputs(outputs)?).zip(&alone) {
                if wanted.bytes() != got.bytes() {
                    let (name, dim) = (&output.name, &decl.name);
                    failures
                        .push(format!("`{name}`: row {row} of {dim} alone has other bits than in the batch"));
                }
            }
        }
    }
    Ok(())
}

/// One row of a batch.
struct Batch<'a> {
    source: &'a Module,
    axes: &'a Rowwise,
    count: u64,
    row: u64,
}

impl Batch<'_> {
    fn of_inputs(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, String> {
        let names = self.source.inputs().map(|(_, name, _)| self.axes.inputs.get(name));
        names.zip(inputs).map(|(axis, tensor)| self.cut(axis, tensor)).collect()
    }

    fn of_outputs(&self, outputs: &[HostTensor]) -> Result<Vec<HostTensor>, String> {
        let names = self.source.outputs.iter().map(|output| self.axes.outputs.get(&output.name));
        names.zip(outputs).map(|(axis, tensor)| self.cut(axis, tensor)).collect()
    }

    /// The row, of a tensor that has rows; all of one that has none.
    fn cut(&self, axis: Option<&usize>, tensor: &HostTensor) -> Result<HostTensor, String> {
        let cut = match axis {
            Some(&axis) => tensor.select(axis, tensor.shape()[axis] / self.count, &[self.row]),
            None => HostTensor::copied(tensor.dtype(), tensor.shape(), tensor.bytes()),
        };
        cut.map_err(|error| error.to_string())
    }
}
