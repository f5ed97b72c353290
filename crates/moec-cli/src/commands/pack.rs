//! `moec pack`: weights, packed for a program on this machine, into a file that later starts map; and
//! whether such a file is sound.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use moec::{PackedFile, Pool};

use super::run::weights::Provider;
use crate::arguments::{ModelArgs, OptimiseArgs, WeightArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(mut_arg("weights", |weights| weights.requires("file")), after_help = "\
`moec run` and `moec bench` take the file by `--packed`, with the same source, options and target. They
map it: nothing is copied, and pages are read when they are used. A file that was packed for something
else is refused. Its content is summed by `--verify` alone, since that reads all of it.

Examples:
  moec pack mixtral.moe --weights Mixtral-8x7B-v0.1/ -o mixtral.moepack
  moec run mixtral.moe --packed mixtral.moepack
  moec pack --verify mixtral.moepack
  moec pack mixtral.moe --weights Mixtral-8x7B-v0.1/ --verify mixtral.moepack")]
pub(crate) struct Args {
    /// The source, `.moe` or `.moir`; `-` is standard input. May be left out to verify a file by itself
    #[arg(value_name = "FILE", required_unless_present = "verify")]
    file: Option<PathBuf>,

    #[command(flatten)]
    weights: WeightArgs,

    /// Where the packed weights go
    #[arg(long, short, value_name = "P.moepack", required_unless_present = "verify")]
    output: Option<PathBuf>,

    /// Read all of a packed file and say whether it is sound; and, with a source and weights, whether it
    /// was packed for them
    #[arg(long, value_name = "P.moepack", conflicts_with = "output")]
    verify: Option<PathBuf>,

    /// Threads, as many as the machine has if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let pool = Pool::new(threads).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))?;
    let packed = args.verify.as_deref().map(PackedFile::open).transpose().map_err(Failure::input)?;
    let Some(file) = &args.file else {
        let Some(packed) = packed else { return Ok(()) };
        packed.verify(&pool).map_err(Failure::input)?;
        return terminal.out(&sound(&packed, ""));
    };
    let source = read_source(file)?;
    let options = options(&args.model, Some(&args.optimise), terminal)?;
    let artifact = moec::compile(&source, &options, &mut |_| ())
        .map_err(|error| Failure::compile(error, &source, terminal))?;
    terminal.diagnostics(&artifact.checked().warnings, &source);
    let files = args.weights.open()?;
    let provider = Provider {
        files: &files,
        args: &args.weights,
        packed: None,
        copied: false,
        pool: &pool,
        source: &source,
        terminal,
    };
    if let Some(packed) = packed {
        let whose = provider.verify(&artifact, &packed)?;
        return terminal.out(&sound(&packed, whose));
    }
    let Some(output) = &args.output else { return Ok(()) };
    let started = Instant::now();
    provider.pack(&artifact, output)?;
    let seconds = started.elapsed().as_secs_f64();
    let packed = PackedFile::open(output).map_err(Failure::input)?;
    let gigabytes = packed.bytes() as f64 / 1e9;
    terminal.out(&format!(
        "{}: {gigabytes:.3} GB for `{}`, {seconds:.2} s\n",
        output.display(),
        packed.model()
    ))
}

fn sound(packed: &PackedFile, whose: &str) -> String {
    let gigabytes = packed.bytes() as f64 / 1e9;
    format!("{}: sound, {gigabytes:.3} GB for `{}`{whose}\n", packed.path().display(), packed.model())
}
