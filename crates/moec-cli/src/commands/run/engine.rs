//! Compiling and calling, with a clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moec::diag::SourceFile;
use moec::{Checked, HostTensor, Options, Record, Routing, Session};

use super::inputs::Inputs;
use super::report::Report;
use super::weights::Provider;
use crate::failure::Failure;

/// Calls are repeated no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a call gave.
pub(super) struct Results {
    /// The outputs of the source.
    pub(super) outputs: Vec<HostTensor>,
    /// How pairs of token and expert fared, if that was asked for.
    pub(super) routing: Option<Routing>,
}

/// Outputs of the compiled program.
pub(super) fn compiled(
    source: &SourceFile,
    options: &Options,
    inputs: &Inputs,
    provider: &Provider<'_>,
    repeat: u32,
    report: &mut Report,
) -> Result<Results, Failure> {
    let mut last = Instant::now();
    let artifact = moec::compile(source, options, &mut |stage| {
        report.phase(stage, last.elapsed());
        last = Instant::now();
    });
    let artifact = artifact.map_err(|error| Failure::compile(error, source, provider.terminal))?;
    report.optimised(&artifact);
    provider.terminal.faults(&moec::faults(artifact.report(), artifact.validation()));

    let started = Instant::now();
    let bound = provider.load(&artifact)?;
    report.load(&bound, started.elapsed());

    let mut session = Session::new(Arc::clone(&bound.loaded), Arc::clone(provider.pool));
    let mut outputs = outputs(&mut session, inputs)?;

    let arrays: Vec<_> = inputs.tensors.iter().map(HostTensor::array).collect();
    let mut targets: Vec<_> = outputs.iter_mut().map(HostTensor::array_mut).collect();
    let mut call = || {
        let started = Instant::now();
        session.run(&arrays, &mut targets).map_err(Failure::input)?;
        Ok::<Duration, Failure>(started.elapsed())
    };
    let first = call()?;
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < repeat as usize && begun.elapsed() < PATIENCE {
        times.push(call()?);
    }
    report.calls(first, times);
    report.read(session.mapped_bytes_read());
    let sizes = session.sizes().cloned().unwrap_or_default();
    let routing = match options.record {
        Record::Nothing => None,
        Record::All => Some(artifact.routing(&outputs, &sizes).map_err(Failure::input)?),
    };
    outputs.truncate(artifact.checked().ir.outputs.len());
    Ok(Results { outputs, routing })
}

/// Zeros for the outputs of a call with these inputs.
fn outputs(session: &mut Session, inputs: &Inputs) -> Result<Vec<HostTensor>, Failure> {
    let shapes: Vec<&[u64]> = inputs.tensors.iter().map(HostTensor::shape).collect();
    let shapes = session.output_shapes(&shapes).map_err(Failure::input)?.to_vec();
    let types: Vec<_> = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect();
    let zeros = types.iter().zip(&shapes).map(|(dtype, shape)| HostTensor::zeros(*dtype, shape));
    zeros.collect::<Result<_, _>>().map_err(Failure::input)
}

/// Outputs of the interpreter.
pub(super) fn interpreted(
    checked: &Checked,
    inputs: &Inputs,
    provider: &Provider<'_>,
    report: &mut Report,
) -> Result<Results, Failure> {
    let started = Instant::now();
    let (mut data, origins) = provider.oracle(checked)?;
    report.weights(&origins, started.elapsed());
    let names = checked.ir.inputs().map(|(_, name, _)| name.to_owned());
    data.extend(names.zip(inputs.tensors.iter().map(HostTensor::to_oracle)));
    let started = Instant::now();
    let outputs = moec::interp::run(&checked.ir, &inputs.sizes, &data).map_err(Failure::input)?;
    report.calls(started.elapsed(), Vec::new());
    let host = outputs.iter().map(|(_, tensor)| HostTensor::from_oracle(tensor));
    let outputs = host.collect::<Result<_, _>>().map_err(Failure::input)?;
    Ok(Results { outputs, routing: None })
}
