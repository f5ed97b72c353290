//! One file a subcommand.

mod bench;
mod calibrate;
mod check;
mod diff;
mod explain;
mod fmt;
mod import;
mod opt;
mod pack;
mod run;
mod test;
mod tiles;

use clap::Subcommand;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with sources
    Check(check::Args),
    /// Format sources in the one style
    Fmt(fmt::Args),
    /// Print the stages of a compilation
    Opt(opt::Args),
    /// Explain a diagnostic code, or what the optimiser did to a source
    Explain(explain::Args),
    /// Write source for a layer of a model folder
    Import(import::Args),
    /// Say whether two sources compute the same function
    Diff(diff::Args),
    /// Pack weights into a file that later starts map
    Pack(pack::Args),
    /// Compile a source, run it, and compare with the interpreter
    Run(run::Args),
    /// Time a source beside the limits of this machine
    Bench(bench::Args),
    /// List the matrix tiles for a shape, with what they reach
    Tiles(tiles::Args),
    /// Run test files
    Test(test::Args),
    /// Measure this machine for the cost model
    Calibrate(calibrate::Args),
}

/// Carries out a command.
pub(crate) fn run(command: &Command, terminal: &Terminal) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check::run(args, terminal),
        Command::Fmt(args) => fmt::run(args, terminal),
        Command::Opt(args) => opt::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Import(args) => import::run(args, terminal),
        Command::Diff(args) => diff::run(args, terminal),
        Command::Pack(args) => pack::run(args, terminal),
        Command::Run(args) => run::run(args, terminal),
        Command::Bench(args) => bench::run(args, terminal),
        Command::Tiles(args) => tiles::run(args, terminal),
        Command::Test(args) => test::run(args, terminal),
        Command::Calibrate(args) => calibrate::run(args, terminal),
    }
}
