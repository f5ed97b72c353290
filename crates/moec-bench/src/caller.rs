//! A program that is called over and over, with inputs in turn.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moec::diag::SourceFile;
use moec::ir::DType;
use moec::plan::stages;
use moec::{Array, ArrayMut, HostTensor, Loaded, Options, Pool, RunError, Session, WeightFiles, Weights};

use crate::{BenchError, StepTime, median};

/// A session with inputs and outputs. Calls rotate among the inputs, so that the experts of one call are
/// not those of the call before.
pub struct Caller {
    session: Session,
    /// All of the same shapes; at least one.
    inputs: Vec<Vec<HostTensor>>,
    outputs: Vec<HostTensor>,
    next: usize,
}

impl Caller {
    /// A session for a loaded program. `inputs` are those of one call each, in the order of the program.
    ///
    /// # Errors
    /// If there are none, or they do not fit.
    pub fn new(
        loaded: &Arc<Loaded>,
        pool: &Arc<Pool>,
        inputs: Vec<Vec<HostTensor>>,
    ) -> Result<Caller, BenchError> {
        let mut session = Session::new(Arc::clone(loaded), Arc::clone(pool));
        let shapes: Vec<&[u64]> =
            inputs.first().ok_or(BenchError::NoInput)?.iter().map(HostTensor::shape).collect();
        let shapes = session.output_shapes(&shapes)?.to_vec();
        let types: Vec<DType> = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect();
        let zeros = types.iter().zip(&shapes).map(|(dtype, shape)| HostTensor::zeros(*dtype, shape));
        let outputs = zeros.collect::<Result<_, _>>()?;
        Ok(Caller { session, inputs, outputs, next: 0 })
    }

    /// A product of zeros with a random weight, both of element type `dtype`.
    ///
    /// # Errors
    /// If memory for them cannot be had.
    pub fn product(
        dtype: DType,
        rows: u64,
        depth: u64,
        columns: u64,
        pool: &Arc<Pool>,
    ) -> Result<Caller, BenchError> {
        let body = format!(
            "    %1 = weight {{from = \"w\", name = \"w\"}} : {dtype}[{columns}, {depth}]
    %2 = einsum %0, %1 {{spec = \"ab,cb->ac\"}} : f32[T, {columns}]
"
        );
        Caller::operations(dtype, &body, 2, rows, depth, pool)
    }

    /// Operations on an input `%0 : dtype[T, input]` of zeros, of which `%result` is the output, as they are
    /// written: nothing is optimised.
    ///
    /// # Errors
    /// If they do not compile, or memory for them cannot be had.
    pub fn operations(
        dtype: DType,
        body: &str,
        result: u32,
        rows: u64,
        input: u64,
        pool: &Arc<Pool>,
    ) -> Result<Caller, BenchError> {
        let text = format!(
            "module probe {{\n    dim T\n    %0 = input {{name = \"x\"}} : {dtype}[T, {input}]\n{body}    \
             output \"y\" = %{result}\n}}\n"
        );
        let options = Options { optimise: false, ..Options::default() };
        let artifact = moec::compile(&SourceFile::new("probe.moir", text), &options, &mut |_| ())?;
        let files = WeightFiles::default();
        let sizes = artifact.checked().ir.dims.sized().clone();
        let mut quiet = |_: &str, _: u64| ();
        let mut weights = Weights::new(&files, 0, sizes, pool, &mut quiet);
        let loaded = artifact.load(&mut weights, pool)?;
        Caller::new(&loaded, pool, vec![vec![HostTensor::zeros(dtype, &[rows, input])?]])
    }

    /// Seconds of a call, on average over that many.
    ///
    /// # Errors
    /// If a call fails.
    pub fn round(&mut self, calls: usize) -> Result<f64, BenchError> {
        self.repeat(calls, Session::run)
    }

    /// Makes so many calls, each as `call` does, and gives the seconds of one, on average.
    fn repeat(
        &mut self,
        calls: usize,
        mut call: impl FnMut(&mut Session, &[Array<'_>], &mut [ArrayMut<'_>]) -> Result<(), RunError>,
    ) -> Result<f64, BenchError> {
        let inputs: Vec<Vec<_>> =
            self.inputs.iter().map(|tensors| tensors.iter().map(HostTensor::array).collect()).collect();
        let mut outputs: Vec<_> = self.outputs.iter_mut().map(HostTensor::array_mut).collect();
        let started = Instant::now();
        for at in self.next..self.next + calls {
            call(&mut self.session, &inputs[at % inputs.len()], &mut outputs)?;
        }
        let seconds = started.elapsed().as_secs_f64() / calls.max(1) as f64;
        self.next = (self.next + calls) % inputs.len();
        Ok(seconds)
    }

    /// The time of each step of a call, medians of so many calls, in the order in which steps are done; those without
    /// work are left out.
    ///
    /// # Errors
    /// If a call fails.
    pub fn steps(&mut self, calls: usize) -> Result<Vec<StepTime>, BenchError> {
        let mut seconds: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        self.repeat(calls, |session, inputs, outputs| {
            let mut before = Instant::now();
            session.run_watched(inputs, outputs, &mut |step| {
                let now = Instant::now();
                seconds.entry(step).or_default().push((now - before).as_secs_f64());
                before = now;
            })
        })?;
        let steps = &self.session.plan().run;
        let medians: Vec<_> = stages(steps)
            .filter_map(|stage| Some((median(seconds.get_mut(&(stage.end - 1))?), stage)))
            .collect();
        let total: f64 = medians.iter().map(|(median, _)| median).sum();
        let time = |(median, stage): (f64, Range<usize>)| StepTime {
            steps: steps[stage].iter().map(|step| step.name.clone()).collect(),
            ms: median * 1e3,
            share: 100.0 * median / total,
        };
        Ok(medians.into_iter().map(time).collect())
    }

    /// Warms up, and says how many calls take about `seconds`; at least one.
    ///
    /// # Errors
    /// If a call fails.
    pub fn calls_in(&mut self, seconds: f64) -> Result<usize, BenchError> {
        self.round(1)?;
        let once = self.round(1)?;
        Ok((seconds / once.max(1e-9)).clamp(1.0, 1e5) as usize)
    }

    /// The seconds of a call, over a quarter of a second. What disturbs it only makes it longer, so
    /// it is the tenth part of calls that took least which tells.
    ///
    /// # Errors
    /// If a call fails.
    pub fn least(&mut self) -> Result<f64, BenchError> {
        self.round(3)?;
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.len() < 7 || begun.elapsed() < Duration::from_millis(250) {
            times.push(self.round(1)?);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 10])
    }

    /// Calls it with the first inputs, and gives the outputs in the order of the program, those that
    /// [`moec::Record`] asks for after them.
    ///
    /// # Errors
    /// If the call fails.
    pub fn first(&mut self) -> Result<&[HostTensor], BenchError> {
        self.next = 0;
        self.round(1)?;
        Ok(&self.outputs)
    }

    /// The sizes of the calls.
    pub fn sizes(&self) -> moec::ir::Sizes {
        self.session.sizes().cloned().unwrap_or_default()
    }

    /// How many inputs calls rotate among.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The outputs of the last call.
    pub fn outputs(&self) -> &[HostTensor] {
        &self.outputs
    }
}
