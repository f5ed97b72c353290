//! `moec bench`: time per call, beside the limits of this machine measured in the same rounds.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::DimKind;
use moec::{Artifact, HostTensor, Loaded, Options, PackedFile, Pool, Record, WeightFiles};
use moec_bench::{BenchError, Caller, Probes, Row, StepTime, measure, step_table, table, useful};
use serde::Serialize;

use super::run::inputs::Inputs;
use super::run::weights::Provider;
use crate::arguments::{LoadArgs, ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

/// Inputs that calls rotate among, so that the experts of one call are not those of the call before.
const INPUTS: u64 = 8;

/// Calls that the time of a step is a median of: some for each input.
const STEP_CALLS: usize = 4 * INPUTS as usize;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
For each number of tokens, rounds of calls alternate with probes of what the machine can do: one
reads memory, one computes. The limit of a call is the longer of its touched weights at the rate of
the first and its useful flops at the rate of the second. Figures are medians over the rounds; a
round in which a probe is off does not count. Inputs are random and rotate; the machine should be
doing nothing else. The most tokens are measured first: calls right after loading can be disturbed.

Examples:
  moec bench model.moe
  moec bench model.moe --tokens 1,32 --threads 1
  moec bench model.moe --tokens 256 --steps     what the router, the sort and each product take
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

    /// Show what each step takes, in calls of their own after the others; steps are named as by `--emit plan`
    #[arg(long)]
    steps: bool,

    #[command(flatten)]
    weights: LoadArgs,

    /// Print the figures as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    threads: usize,
    rounds: u32,
    rows: Vec<Figure>,
}

/// Those of a number of tokens.
#[derive(Debug, Serialize)]
struct Figure {
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepTime>,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let source = read_source(&args.file)?;
    let options = options(&args.model, Some(&args.optimise), terminal)?;
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let pool = Pool::new(threads).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))?;
    let files = args.weights.given.open()?;
    let packed = args.weights.open_packed()?;
    let (files, packed) = (&files, packed.as_ref());
    let bench = Bench { args, source: &source, options, files, packed, pool: &pool, terminal };
    // First what routing does, which the timed program does not count.
    let counted = bench.load(Record::All)?;
    let touched: Vec<_> =
        args.tokens.iter().map(|&t| bench.touched(&counted, t)).collect::<Result<_, _>>()?;
    drop(counted);
    let timed = bench.load(Record::Nothing)?;
    let probes = Probes::new(&pool).map_err(Failure::input)?;
    let mut order: Vec<usize> = (0..touched.len()).collect();
    order.sort_by_key(|&at| Reverse(args.tokens[at]));
    let mut rows = BTreeMap::new();
    for at in order {
        let tokens = args.tokens[at];
        let mut caller = bench.caller(&timed, tokens)?;
        let work = useful(&timed.0, tokens, &caller.sizes(), &touched[at]);
        let row = measure(&mut caller, tokens, &work, &probes, args.rounds as usize)?;
        let steps = if args.steps { caller.steps(STEP_CALLS)? } else { Vec::new() };
        rows.insert(at, Figure { row, steps });
    }
    let model = timed.0.module().name.to_string();
    let figures = Figures { model, threads, rounds: args.rounds, rows: rows.into_values().collect() };
    match args.json {
        true => terminal.out(&(serde_json::to_string_pretty(&figures).map_err(Failure::input)? + "\n")),
        false => {
            let threads = if threads == 1 { "1 thread" } else { &format!("{threads} threads") };
            let title = format!("{}: {threads}, medians of {} rounds", figures.model, args.rounds);
            let mut text = table(&title, figures.rows.iter().map(|figure| &figure.row));
            for Figure { row, steps } in figures.rows.iter().filter(|figure| !figure.steps.is_empty()) {
                text += &format!("\n{}", step_table(row.tokens, steps));
            }
            terminal.out(&text)
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Failure {
        match error {
            // Only sources of ours are compiled there.
            BenchError::Compile(error) => Failure::Bug(error.to_string()),
            error => Failure::input(error),
        }
    }
}

type Ready = (Artifact, Arc<Loaded>);

struct Bench<'a> {
    args: &'a Args,
    source: &'a SourceFile,
    options: Options,
    files: &'a WeightFiles,
    packed: Option<&'a PackedFile>,
    pool: &'a Arc<Pool>,
    terminal: &'a Terminal,
}

impl Bench<'_> {
    fn load(&self, record: Record) -> Result<Ready, Failure> {
        let options = Options { record, ..self.options.clone() };
        let artifact = moec::compile(self.source, &options, &mut |_| ())
            .map_err(|error| Failure::compile(error, self.source, self.terminal))?;
        let (files, args, packed) = (self.files, &self.args.weights.given, self.packed);
        let (pool, source, terminal) = (self.pool, self.source, self.terminal);
        let provider = Provider { files, args, packed, copied: true, pool, source, terminal };
        let loaded = provider.load(&artifact)?.loaded;
        Ok((artifact, loaded))
    }

    /// Calls with random inputs of that many tokens, one set for each seed.
    fn caller(&self, (artifact, loaded): &Ready, tokens: u64) -> Result<Caller, Failure> {
        let none = WeightFiles::default();
        let checked = artifact.checked();
        let open = checked.ir.dims.decls().iter().any(|dim| matches!(dim.kind, DimKind::Runtime));
        let tokens = open.then_some(tokens);
        let gather = |n| {
            let seed = self.args.weights.given.seed.wrapping_add(n);
            let inputs = Inputs::gather(checked, self.source, &none, tokens, seed, self.pool, self.terminal);
            inputs.map(|inputs| inputs.tensors)
        };
        let inputs = (0..INPUTS).map(gather).collect::<Result<Vec<Vec<HostTensor>>, _>>()?;
        Ok(Caller::new(loaded, self.pool, inputs)?)
    }

    /// The part of its experts that each routing plan chooses, on average over the inputs.
    fn touched(&self, ready: &Ready, tokens: u64) -> Result<BTreeMap<String, f64>, Failure> {
        let mut caller = self.caller(ready, tokens)?;
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..caller.inputs() {
            caller.round(1)?;
            let routing = ready.0.routing(caller.outputs(), &caller.sizes()).map_err(Failure::input)?;
            for plan in &routing.plans {
                let chosen = plan.pairs.iter().filter(|pairs| **pairs > 0).count();
                *sums.entry(plan.name.clone()).or_default() +=
                    chosen as f64 / plan.experts.max(1) as f64 / caller.inputs() as f64;
            }
        }
        Ok(sums)
    }
}
