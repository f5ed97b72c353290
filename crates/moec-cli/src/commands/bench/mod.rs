//! `moec bench`: time per call, beside the limits of this machine measured in the same rounds.

mod work;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use moec::diag::SourceFile;
use moec::ir::{DType, DimKind, Sizes};
use moec::{Artifact, HostTensor, Loaded, Options, Pool, Record, Session, WeightFiles};
use serde::Serialize;

use super::calibrate::Program;
use super::run::engine::outputs;
use super::run::inputs::Inputs;
use super::run::weights::Provider;
use crate::arguments::{ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;
use work::{Useful, useful};

/// Inputs that calls rotate among, so that the experts of one call are not those of the call before.
const INPUTS: u64 = 8;
/// A round of calls takes about so long.
const ROUND: f64 = 0.05;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
For each number of tokens, rounds of calls alternate with rounds of two probes: a product with one row,
which reads memory, and one with many, which computes. The limit of a call is the longer of its touched
weights at the rate of the first and its useful flops at the rate of the second. Figures are medians over
the rounds. Inputs are random and rotate; the machine should be doing nothing else.

Examples:
  moec bench model.moe
  moec bench model.moe --tokens 1,32 --threads 1
  moec bench model.moe --weights Mixtral-8x7B-v0.1/ --json")]
pub(crate) struct Args {
    /// The source, `.moe` or `.moir`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Numbers of tokens
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4,32,256,1024")]
    tokens: Vec<u64>,

    /// Threads, as many as the machine has if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Rounds to take medians of, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Weights; a model folder stands for its shards. Those that no file has are random
    #[arg(long, value_name = "W.safetensors", num_args = 1..)]
    weights: Vec<PathBuf>,

    /// The seed of random weights and inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// The figures of one number of tokens.
#[derive(Debug, Serialize)]
struct Row {
    tokens: u64,
    /// Median, least and most milliseconds of a call.
    ms: f64,
    least_ms: f64,
    most_ms: f64,
    /// Useful flops a second, in 1e9.
    gflops: f64,
    /// Bytes of touched weights a second, in 1e9.
    gbytes: f64,
    /// What the probes reached beside it.
    probe_gflops: f64,
    probe_gbytes: f64,
    /// The least time that these allow.
    limit_ms: f64,
    /// The limit in per cent of the time.
    of_limit: f64,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    threads: usize,
    rounds: u32,
    rows: Vec<Row>,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let source = read_source(&args.file)?;
    let options = options(&args.model, Some(&args.optimise), terminal)?;
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let pool = Pool::new(threads).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))?;
    let files = moec::open_weights(&args.weights).map_err(Failure::input)?;
    let bench = Bench { args, source: &source, options, files: &files, pool: &pool, terminal };
    // First what routing does, which the timed program does not count.
    let counted = bench.load(Record::All)?;
    let touched: Vec<_> =
        args.tokens.iter().map(|&t| bench.touched(&counted, t)).collect::<Result<_, _>>()?;
    drop(counted);
    let timed = bench.load(Record::Nothing)?;
    let mut probes = Probes::new(&timed.0, &pool)?;
    let mut rows = Vec::new();
    for (&tokens, touched) in args.tokens.iter().zip(&touched) {
        rows.push(bench.measure(&timed, tokens, touched, &mut probes)?);
    }
    let model = timed.0.module().name.to_string();
    let figures = Figures { model, threads, rounds: args.rounds, rows };
    match args.json {
        true => terminal.out(&(serde_json::to_string_pretty(&figures).map_err(Failure::input)? + "\n")),
        false => terminal.out(&text(&figures)),
    }
}

/// The probes: products of this machine's own kernels.
struct Probes {
    memory: Program,
    /// Bytes that a call of it reads.
    bytes: f64,
    matrix: Program,
    bf16: Option<Program>,
}

impl Probes {
    /// Rows, depth and columns of the one that computes.
    const MATRIX: [u64; 3] = [512, 1024, 2048];
    /// Depth and columns of the one that reads: more than caches hold.
    const MEMORY: [u64; 2] = [4096, 8192];

    fn new(artifact: &Artifact, pool: &Arc<Pool>) -> Result<Probes, Failure> {
        let [rows, depth, columns] = Probes::MATRIX;
        let [deep, wide] = Probes::MEMORY;
        let bf16 = artifact.module().nodes.iter().any(|node| {
            let of = |arg: &moec::ir::ValueId| artifact.module().node(*arg).ty.tensor().map(|ty| ty.dtype);
            node.args.len() >= 2 && node.args.iter().rev().take(2).all(|arg| of(arg) == Some(DType::Bf16))
        });
        Ok(Probes {
            memory: Program::product(DType::F32, 1, deep, wide, pool)?,
            bytes: (deep * wide * 4) as f64,
            matrix: Program::product(DType::F32, rows, depth, columns, pool)?,
            bf16: bf16.then(|| Program::product(DType::Bf16, rows, depth, columns, pool)).transpose()?,
        })
    }

    fn flops() -> f64 {
        2.0 * Probes::MATRIX.iter().product::<u64>() as f64
    }
}

type Ready = (Artifact, Arc<Loaded>);

struct Bench<'a> {
    args: &'a Args,
    source: &'a SourceFile,
    options: Options,
    files: &'a WeightFiles,
    pool: &'a Arc<Pool>,
    terminal: &'a Terminal,
}

impl Bench<'_> {
    fn load(&self, record: Record) -> Result<Ready, Failure> {
        let options = Options { record, ..self.options.clone() };
        let artifact = moec::compile(self.source, &options, &mut |_| ())
            .map_err(|error| Failure::compile(error, self.source, self.terminal))?;
        let (files, seed) = (self.files, self.args.seed);
        let provider =
            Provider { files, seed, pool: self.pool, source: self.source, terminal: self.terminal };
        let loaded = provider.load(&artifact)?.loaded;
        Ok((artifact, loaded))
    }

    /// Random inputs of that many tokens, one set for each seed.
    fn inputs(&self, artifact: &Artifact, tokens: u64) -> Result<Vec<Inputs>, Failure> {
        let none = WeightFiles::default();
        let open = artifact.checked().ir.dims.decls().iter().any(|dim| matches!(dim.kind, DimKind::Runtime));
        (0..INPUTS)
            .map(|n| {
                let seed = self.args.seed.wrapping_add(n);
                let tokens = open.then_some(tokens);
                Inputs::gather(artifact.checked(), self.source, &none, tokens, seed, self.pool, self.terminal)
            })
            .collect()
    }

    /// The part of its experts that each routing plan chooses, on average over the inputs.
    fn touched(&self, (artifact, loaded): &Ready, tokens: u64) -> Result<BTreeMap<String, f64>, Failure> {
        let mut session = Session::new(Arc::clone(loaded), Arc::clone(self.pool));
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for inputs in self.inputs(artifact, tokens)? {
            let mut results = outputs(&mut session, &inputs)?;
            let arrays: Vec<_> = inputs.tensors.iter().map(HostTensor::array).collect();
            let mut targets: Vec<_> = results.iter_mut().map(HostTensor::array_mut).collect();
            session.run(&arrays, &mut targets).map_err(Failure::input)?;
            let sizes: Sizes = session.sizes().cloned().unwrap_or_default();
            let profile = artifact.profile(&results, &sizes).map_err(Failure::input)?;
            for plan in profile.plans() {
                let chosen = plan.pairs.iter().filter(|pairs| **pairs > 0).count();
                *sums.entry(plan.name.clone()).or_default() +=
                    chosen as f64 / plan.experts.max(1) as f64 / INPUTS as f64;
            }
        }
        Ok(sums)
    }

    fn measure(
        &self,
        (artifact, loaded): &Ready,
        tokens: u64,
        touched: &BTreeMap<String, f64>,
        probes: &mut Probes,
    ) -> Result<Row, Failure> {
        let mut session = Session::new(Arc::clone(loaded), Arc::clone(self.pool));
        let inputs = self.inputs(artifact, tokens)?;
        let mut results = outputs(&mut session, &inputs[0])?;
        let mut call = |at: usize| {
            let arrays: Vec<_> = inputs[at % inputs.len()].tensors.iter().map(HostTensor::array).collect();
            let mut targets: Vec<_> = results.iter_mut().map(HostTensor::array_mut).collect();
            let started = Instant::now();
            session.run(&arrays, &mut targets).map_err(Failure::input)?;
            Ok::<f64, Failure>(started.elapsed().as_secs_f64())
        };
        call(0)?;
        let calls = (ROUND / call(1)?.max(1e-9)).clamp(1.0, 10_000.0) as usize;
        let [mut times, mut memory, mut matrix, mut bf16] = [const { Vec::new() }; 4];
        for round in 0..=self.args.rounds as usize {
            let mut spent = 0.0;
            for n in 0..calls {
                spent += call(round * calls + n)?;
            }
            let probed = [probes.memory.once()?, probes.matrix.once()?];
            let pairs = probes.bf16.as_mut().map(Program::once).transpose()?;
            // The first round warms up.
            if round > 0 {
                times.push(spent / calls as f64);
                memory.push(probed[0]);
                matrix.push(probed[1]);
                bf16.extend(pairs);
            }
        }
        let seconds = median(&mut times);
        let read = probes.bytes / median(&mut memory);
        let compute = Probes::flops() / median(&mut matrix);
        let pairs = if bf16.is_empty() { compute } else { Probes::flops() / median(&mut bf16) };
        let sizes: Sizes = inputs[0].sizes.clone();
        let programs = artifact.programs();
        let program = programs.partition_point(|(from, _)| *from <= tokens).saturating_sub(1);
        let Useful { flops, bf16_flops, bytes } = useful(&programs[program].1, &sizes, touched);
        let limit = (bytes / read).max(flops / compute + bf16_flops / pairs);
        let bound_by_pairs = bf16_flops > flops;
        Ok(Row {
            tokens,
            ms: seconds * 1e3,
            least_ms: times[0] * 1e3,
            most_ms: times[times.len() - 1] * 1e3,
            gflops: (flops + bf16_flops) / seconds / 1e9,
            gbytes: bytes / seconds / 1e9,
            probe_gflops: if bound_by_pairs { pairs } else { compute } / 1e9,
            probe_gbytes: read / 1e9,
            limit_ms: limit * 1e3,
            of_limit: 100.0 * limit / seconds,
        })
    }
}

/// The middle of the values, which are sorted afterwards.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn text(figures: &Figures) -> String {
    let threads = if figures.threads == 1 { "1 thread" } else { &format!("{} threads", figures.threads) };
    let mut text = format!("{}: {threads}, medians of {} rounds\n", figures.model, figures.rounds);
    let _ = writeln!(
        text,
        "{:>8} {:>10} {:>9} {:>8} {:>14} {:>13} {:>10} {:>9}",
        "tokens", "ms", "GFLOP/s", "GB/s", "probe GFLOP/s", "probe GB/s", "limit ms", "of limit"
    );
    for row in &figures.rows {
        let _ = writeln!(
            text,
            "{:>8} {:>10.4} {:>9.1} {:>8.1} {:>14.1} {:>13.1} {:>10.4} {:>8.0}%",
            row.tokens,
            row.ms,
            row.gflops,
            row.gbytes,
            row.probe_gflops,
            row.probe_gbytes,
            row.limit_ms,
            row.of_limit
        );
    }
    text
}
