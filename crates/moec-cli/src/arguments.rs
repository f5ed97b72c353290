//! The command line, and options that several commands share.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser};
use moec::{Numerics, Options, PackedFile, WeightFiles};

use crate::commands::Command;
use crate::failure::Failure;
use crate::files::read_profile;
use crate::targets;
use crate::terminal::{Color, Terminal};

/// Compiles the mathematics of Mixture-of-Experts models to native code.
#[derive(Debug, Parser)]
#[command(name = "moec", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// When to use colour; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN", display_order = 900)]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  moec check examples/granite.moe       what is wrong with it
  moec run examples/granite.moe         compile, run on random data, compare with the interpreter
  moec opt examples/granite.moe         the optimised program

Exit codes: 0 done; 1 the input was wrong; 2 usage; 3 unknown (`moec diff`); 101 a bug in moec.";

/// Which program of a source, with which values.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model, where the source has several
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Gives a param or a sized dim another value; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

/// Where weights come from.
#[derive(Debug, Args)]
pub(crate) struct WeightArgs {
    /// Weights; may be repeated, as for the shards of a model. A model folder stands for its shards. All
    /// are random if not given
    #[arg(long, value_name = "W.safetensors", num_args = 1..)]
    pub(crate) weights: Vec<PathBuf>,

    /// Make up weights that none of the files has, which is an error otherwise
    #[arg(long, requires = "weights")]
    pub(crate) seed_missing: bool,

    /// The seed of random weights and inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

impl WeightArgs {
    /// The weight files.
    pub(crate) fn open(&self) -> Result<WeightFiles, Failure> {
        moec::open_weights(&self.weights).map_err(Failure::input)
    }
}

/// Where the weights of a program that runs come from.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) given: WeightArgs,

    /// Packed weights, as `moec pack` writes them; given weight files too, only if it was packed from them
    #[arg(long, value_name = "P.moepack")]
    pub(crate) packed: Option<PathBuf>,
}

impl LoadArgs {
    /// The packed file, if there is one.
    pub(crate) fn open_packed(&self) -> Result<Option<PackedFile>, Failure> {
        self.packed.as_deref().map(PackedFile::open).transpose().map_err(Failure::input)
    }
}

/// How to optimise.
#[derive(Debug, Args)]
pub(crate) struct OptimiseArgs {
    /// How far rewrites may move the bits of a result
    #[arg(long, value_name = "CLASS", default_value = "reassociate",
          value_parser = PossibleValuesParser::new(Numerics::ALL.map(Numerics::name)))]
    pub(crate) numerics: String,

    /// How far the bits of a token may depend on the size of its batch, where another program is
    /// faster for another number of tokens
    #[arg(long, value_name = "CLASS", default_value = "bit",
          value_parser = PossibleValuesParser::new(Numerics::ALL.map(Numerics::name)))]
    pub(crate) batch_numerics: String,

    /// The machine to compile for: a name, or a file such as `moec calibrate --output` writes
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "host")]
    pub(crate) target: String,

    /// Compiles the program as it is written
    #[arg(long)]
    pub(crate) no_optimise: bool,

    /// How often experts are chosen, as `moec run --profile-out` writes it; costs depend on it
    #[arg(long, value_name = "P.json")]
    pub(crate) profile: Option<PathBuf>,

    /// A profile of other text, by which the hot experts of `--profile` are judged
    #[arg(long, value_name = "P.json", requires = "profile")]
    pub(crate) holdout: Option<PathBuf>,

    /// Memory for weights, in bytes or as 512K, 40M, 2G: experts beyond it stay in their files, all or
    /// all but the hot ones
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory_budget: Option<u64>,
}

/// Reads `NAME=VALUE`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K')) => (&text[..at], 1 << 10),
        Some((at, 'M')) => (&text[..at], 1 << 20),
        Some((at, 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    count.ok_or_else(|| "expected a number of bytes, such as `500000`, `512K`, `40M` or `2G`".to_owned())
}

pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected NAME=VALUE, such as `layer=3` or `H=64`".to_owned()),
    }
}

/// The options of the facade for these arguments.
pub(crate) fn options(
    model: &ModelArgs,
    optimise: Option<&OptimiseArgs>,
    terminal: &Terminal,
) -> Result<Options, Failure> {
    let mut options = Options { model: model.model.clone(), ..Options::default() };
    options.set = model.set.iter().cloned().collect();
    if let Some(args) = optimise {
        options.numerics = Numerics::from_name(&args.numerics).unwrap_or(options.numerics);
        options.batch = Numerics::from_name(&args.batch_numerics).unwrap_or(options.batch);
        options.target = targets::resolve(&args.target, terminal)?;
        options.optimise = !args.no_optimise;
        options.profile = args.profile.as_deref().map(read_profile).transpose()?;
        options.holdout = args.holdout.as_deref().map(read_profile).transpose()?;
        options.memory_budget = args.memory_budget;
    }
    Ok(options)
}
