//! `run:` lines: the source under the interpreter, the optimised program under the interpreter, the
//! compiled program on one and on two threads; and what must be equal among them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use moec::buffer::Buffer;
use moec::interp::{InterpError, Tensor, generate};
use moec::ir::{DType, Module, Op, TensorType};
use moec::{
    Artifact, HostTensor, Options, Pool, Session, WeightBytes, WeightError, WeightSource, difference,
};

use crate::case::Case;
use crate::header::Run;
use crate::row::check_rows;

/// How far an optimised program may be off under the interpreter, relative to the output's scale.
const REASSOCIATED: f64 = 1e-9;

/// The same, and for compiled code too, where values are rounded to 16 bits on the way.
const ROUNDED: f64 = 2e-2;

/// How far compiled code may be off.
const COMPILED: f64 = 1e-5;

/// Carries out every run of a case. Gives the values of all outputs as text.
pub(crate) fn execute(case: &Case, options: &Options, failures: &mut Vec<String>) -> Result<String, String> {
    let artifact = moec::compile(&case.source, options, &mut |_| ()).map_err(|error| error.to_string())?;
    check_text(&artifact.checked().ir, failures);
    check_text(artifact.module(), failures);
    if let moec::Validation::Differed { difference, output } = artifact.validation() {
        failures.push(format!("the optimised program was rejected: {output} differs by {difference:e}"));
    }
    let pools = [pool(1)?, pool(2)?];
    let rounds = [&artifact.checked().ir, artifact.module()].into_iter().any(rounds);
    let wanted = case.header.tolerance.unwrap_or(COMPILED);
    let tolerance = if rounds { wanted.max(ROUNDED) } else { wanted };
    let bench = Bench { artifact: &artifact, pools: &pools, tolerance, rounds };
    let mut values = String::new();
    for run in &case.runs {
        let mut found = Vec::new();
        match bench.run(run, &mut found) {
            Ok(outputs) => show(&mut values, run, &outputs),
            Err(message) => found.push(message),
        }
        failures.extend(found.into_iter().map(|message| format!("`run: {}`: {message}", run.text)));
    }
    Ok(values)
}

/// The text of a module reads back as the module.
fn check_text(module: &Module, failures: &mut Vec<String>) {
    match moec::ir::read(&moec::ir::print(module)) {
        Ok(again) if again == *module => {}
        Ok(_) => failures.push("the text of the IR reads back as another program".to_owned()),
        Err(error) => failures.push(format!("the text of the IR does not read back: {error}")),
    }
}

fn pool(threads: usize) -> Result<Arc<Pool>, String> {
    Pool::new(threads).map(Arc::new).map_err(|error| error.to_string())
}

/// Whether values are rounded to 16 bits on the way, which makes the last bit of others a large step.
fn rounds(module: &Module) -> bool {
    let short = |dtype: DType| matches!(dtype, DType::Bf16 | DType::F16);
    let results = module.outputs.iter().map(|output| module.node(output.value).tensor().dtype);
    results.chain(module.nodes.iter().filter(|n| n.op == Op::Cast).map(|n| n.attrs.dtype("to"))).any(short)
}

pub(crate) struct Bench<'a> {
    artifact: &'a Artifact,
    pools: &'a [Arc<Pool>; 2],
    tolerance: f64,
    rounds: bool,
}

impl Bench<'_> {
    fn run(&self, run: &Run, failures: &mut Vec<String>) -> Result<Vec<(String, Tensor)>, String> {
        let source = &self.artifact.checked().ir;
        let data = generate::inputs(source, &run.sizes, run.seed).map_err(|error| error.to_string());
        let oracle = data.and_then(|data| match moec::interp::run(source, &run.sizes, &data) {
            Ok(expected) => Ok((data, expected)),
            // An index out of range; the compiled program must say so too.
            Err(error @ InterpError::Index { .. }) if run.fails.is_some() => {
                match self.compiled(&data, &self.pools[0]) {
                    Ok(_) => failures.push(format!("the compiled program runs, but: {error}")),
                    Err(message) => {
                        if !message.contains("out of range") {
                            failures.push(format!("the compiled program refuses to run with: {message}"));
                        }
                    }
                }
                Err(error.to_string())
            }
            Err(error) => Err(error.to_string()),
        });
        let (data, expected) = match (oracle, &run.fails) {
            (Ok(_), Some(message)) => return Err(format!("it runs, and was to be refused with `{message}`")),
            (Err(message), Some(wanted)) if message.contains(wanted.as_str()) => return Ok(Vec::new()),
            (Err(message), _) => return Err(format!("interpreter: {message}")),
            (Ok(pair), None) => pair,
        };

        let optimised = moec::interp::run(self.artifact.module(), &run.sizes, &data)
            .map_err(|error| format!("interpreter, optimised: {error}"))?;
        let allowed = if self.rounds { ROUNDED } else { REASSOCIATED };
        for ((name, wanted), (_, got)) in expected.iter().zip(&optimised) {
            hold(&format!("optimised, under the interpreter, `{name}`"), wanted, got, allowed, failures);
        }

        let inputs = self.inputs(&data)?;
        let one = self.compiled_on(&inputs, &data, &self.pools[0])?;
        for ((name, wanted), got) in expected.iter().zip(&one) {
            hold(&format!("compiled, `{name}`"), wanted, &got.to_oracle(), self.tolerance, failures);
        }
        let two = self.compiled_on(&inputs, &data, &self.pools[1])?;
        for ((name, _), (one, two)) in expected.iter().zip(one.iter().zip(&two)) {
            if one.bytes() != two.bytes() {
                failures.push(format!("`{name}` has other bits on two threads than on one"));
            }
        }
        check_rows(self, source, run, &inputs, &one, &data, failures)?;
        Ok(expected)
    }

    /// The inputs of the program, in order.
    fn inputs(&self, data: &BTreeMap<String, Tensor>) -> Result<Vec<HostTensor>, String> {
        let tensor = |name: &str| data.get(name).ok_or_else(|| format!("no data for `{name}`"));
        let host = |name| HostTensor::from_oracle(tensor(name)?).map_err(|error| error.to_string());
        self.artifact.checked().ir.inputs().map(|(_, name, _)| host(name)).collect()
    }

    fn compiled(&self, data: &BTreeMap<String, Tensor>, pool: &Arc<Pool>) -> Result<Vec<HostTensor>, String> {
        self.compiled_on(&self.inputs(data)?, data, pool)
    }

    /// The outputs of the compiled program for these inputs, with weights from `data`.
    pub(crate) fn compiled_on(
        &self,
        inputs: &[HostTensor],
        data: &BTreeMap<String, Tensor>,
        pool: &Arc<Pool>,
    ) -> Result<Vec<HostTensor>, String> {
        let loaded = self.artifact.load(&mut Data(data), pool).map_err(|error| error.to_string())?;
        let mut session = Session::new(loaded, Arc::clone(pool));
        let shapes: Vec<&[u64]> = inputs.iter().map(HostTensor::shape).collect();
        let shapes = session.output_shapes(&shapes).map_err(|error| error.to_string())?.to_vec();
        let types = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect::<Vec<_>>();
        let zeros = |(dtype, shape): (&DType, &Vec<u64>)| HostTensor::zeros(*dtype, shape);
        let mut outputs: Vec<HostTensor> = types
            .iter()
            .zip(&shapes)
            .map(zeros)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let arrays: Vec<_> = inputs.iter().map(HostTensor::array).collect();
        let mut targets: Vec<_> = outputs.iter_mut().map(HostTensor::array_mut).collect();
        session.run(&arrays, &mut targets).map_err(|error| error.to_string())?;
        Ok(outputs)
    }

    /// The pool of one thread.
    pub(crate) fn alone(&self) -> &Arc<Pool> {
        &self.pools[0]
    }
}

/// Integers and truth values must be equal, floats near.
fn hold(what: &str, expected: &Tensor, found: &Tensor, allowed: f64, failures: &mut Vec<String>) {
    let allowed = if expected.dtype.is_float() { allowed } else { 0.0 };
    let off = difference(&expected.data, &found.data);
    if expected.shape != found.shape || off > allowed {
        let types = (expected.ty(), found.ty());
        failures.push(format!(
            "{what}: {} instead of {}, off by {off:.1e}, allowed {allowed:.0e}",
            types.1, types.0
        ));
    }
}

/// Weights of a run.
struct Data<'a>(&'a BTreeMap<String, Tensor>);

impl WeightSource for Data<'_> {
    fn weight(&mut self, name: &str, _: &str, _: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
        let tensor = self.0.get(name).ok_or_else(|| WeightError::Size(format!("no data for `{name}`")))?;
        let made = HostTensor::from_oracle(tensor).and_then(|host| {
            let mut memory = Buffer::zeroed(host.bytes().len() as u64)?;
            memory.as_mut_slice::<u8>().copy_from_slice(host.bytes());
            Ok(memory)
        });
        made.map(WeightBytes::Made).map_err(|error| WeightError::Size(error.to_string()))
    }
}

/// Outputs as text, to six digits: exact enough to read, coarse enough to be the same everywhere.
fn show(text: &mut String, run: &Run, outputs: &[(String, Tensor)]) {
    let head = if run.text.is_empty() { String::new() } else { format!("{}: ", run.text) };
    for (name, tensor) in outputs {
        let _ = writeln!(text, "{head}{name} : {}", tensor.ty());
        let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
        for row in tensor.data.chunks(columns) {
            let numbers: Vec<String> = row.iter().map(|&value| digits(value)).collect();
            let _ = writeln!(text, "    {}", numbers.join(" "));
        }
    }
}

fn digits(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    // Through the shortest form of the rounded number: 0.5 stays 0.5. Zero has no sign here.
    let rounded = format!("{value:.5e}").parse::<f64>().unwrap_or(value) + 0.0;
    if rounded == 0.0 || (1e-4..1e7).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.5, -0.0, 1.0 / 3.0, 1e-30, 123_456_789.0, f64::NAN, f64::NEG_INFINITY].map(digits).into();
        assert_eq!(shown, ["0.5", "0", "0.333333", "1e-30", "1.23457e8", "NaN", "-inf"]);
    }
}
