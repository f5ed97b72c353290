//! `moec run`: compiles a source, runs it, compares with the interpreter, and says what it did.
//!
//! `inputs` finds sizes and data, `weights` loads weights and speaks of their faults, `engine` compiles and
//! calls, `sample` and `verify` hold the result against the interpreter, `report` is what is said of it all,
//! `routing` what is said of experts.

mod engine;
pub(super) mod inputs;
mod report;
mod routing;
mod sample;
mod verify;
pub(super) mod weights;

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use moec::{Pool, Record, WeightFiles, write_safetensors};

use crate::arguments::{LoadArgs, ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::{read_source, write_profile};
use crate::terminal::Terminal;
use engine::Results;
use inputs::Inputs;
use report::Report;
use verify::Verdict;
use weights::Provider;

/// What runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Code compiled for this machine
    Jit,
    /// The interpreter, in f64: slow, and what everything else is held against
    Interp,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tensors in files are named as in the source. Inputs that no file has, and all weights where no file
is given, are random numbers that follow from the seed; the report names them. The result is compared with the
interpreter's on a few rows (on all of it if its rows depend on each other), unless that would
take too long.

Examples:
  moec run model.moe
  moec run model.moe --weights model.safetensors --input x.safetensors --output y.safetensors
  moec run mixtral.moe --weights Mixtral-8x7B-v0.1/
  moec run model.moe --tokens 1 --threads 1 --repeat 100
  moec run model.moe --verify 0            do not compare
  moec run model.moe --json | jq .median_ms")]
pub(crate) struct Args {
    /// The source, `.moe` or `.moir`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    weights: LoadArgs,

    /// Inputs; may be repeated
    #[arg(long, value_name = "I.safetensors", num_args = 1..)]
    input: Vec<PathBuf>,

    /// Where the outputs go
    #[arg(long, value_name = "O.safetensors")]
    output: Option<PathBuf>,

    /// The value of run-time dims that no input file tells, 32 if not given
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,

    /// Threads, as many as the machine has if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// What runs the program
    #[arg(long, value_enum, default_value = "jit", conflicts_with = "packed")]
    engine: Engine,

    /// Compare this many rows with the interpreter, however long it takes; 0 for none
    #[arg(long, value_name = "ROWS")]
    verify: Option<u64>,

    /// Calls to time, after the first
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: u32,

    /// Where to write how often each expert was chosen, for `--profile`
    #[arg(long, value_name = "P.json", help_heading = "Profiles")]
    profile_out: Option<PathBuf>,

    /// Add to the counts that the file has already
    #[arg(long, requires = "profile_out", help_heading = "Profiles")]
    profile_add: bool,

    /// Report how the pairs of token and expert fared: how many capacities dropped, and the gate mass that
    /// was lost with them, for each expert in `--json`
    #[arg(long)]
    routing: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let source = read_source(&args.file)?;
    let mut options = options(&args.model, Some(&args.optimise), terminal)?;
    let checked = moec::front(&source, &options, &mut |_| ())
        .map_err(|error| Failure::compile(error, &source, terminal))?;
    terminal.diagnostics(&checked.warnings, &source);

    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let pool = Pool::new(threads).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))?;
    let input_files = WeightFiles::open(&args.input).map_err(Failure::input)?;
    let LoadArgs { given, packed: packed_path } = &args.weights;
    let weight_files = given.open()?;
    let inputs = Inputs::gather(&checked, &source, &input_files, args.tokens, given.seed, &pool, terminal)?;
    let counts = [("--profile-out", args.profile_out.is_some()), ("--routing", args.routing)];
    if let Some((option, _)) = counts.iter().find(|(_, given)| *given) {
        if args.engine == Engine::Interp {
            let message = format!("`{option}` counts what compiled programs do: leave out `--engine interp`");
            return Err(Failure::Usage(message));
        }
        options.record = Record::All;
    }
    if options.memory_budget.is_some() {
        options.call_tokens = inputs.runtime.iter().map(|(_, size)| *size).max();
    }
    let packed = args.weights.open_packed()?;
    let provider = Provider {
        files: &weight_files,
        args: given,
        packed: packed.as_ref(),
        copied: false,
        pool: &pool,
        source: &source,
        terminal,
    };

    let mut report = Report::new(&checked, &inputs, threads);
    report.packed(packed_path.as_deref());
    let Results { outputs, routing } = match args.engine {
        Engine::Jit => engine::compiled(&source, &options, &inputs, &provider, args.repeat, &mut report)?,
        Engine::Interp => engine::interpreted(&checked, &inputs, &provider, &mut report)?,
    };
    let verdict = match args.engine {
        // Weights are there in packed form only, which the interpreter does not read.
        Engine::Jit if packed.is_some() && given.weights.is_empty() => {
            Verdict::skipped("give the weights that were packed by `--weights` too")
        }
        Engine::Jit => verify::verify(&checked, &inputs, &outputs, &provider, args.verify)?,
        Engine::Interp => Verdict::skipped("the interpreter is what ran"),
    };
    if let Some(message) = verdict.fault() {
        terminal.out(&report.show(&verdict, args.json))?;
        return Err(Failure::Input(message));
    }
    if let (Some(path), Some(routing)) = (&args.profile_out, &routing) {
        write_profile(path, routing.profile().map_err(Failure::input)?, args.profile_add)?;
        report.profiled(path);
    }
    report.routing(routing.filter(|_| args.routing));
    if let Some(path) = &args.output {
        let names = checked.ir.outputs.iter().map(|output| &*output.name);
        let tensors: Vec<_> =
            names.zip(&outputs).map(|(name, t)| (name, t.dtype(), t.shape(), t.bytes())).collect();
        write_safetensors(path, &tensors).map_err(Failure::input)?;
        report.written(path, &tensors);
    }
    terminal.out(&report.show(&verdict, args.json))
}
