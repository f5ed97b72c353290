//! `moec test`: test files.

use std::path::PathBuf;

use moec_filetest::{Case, test_files};

use crate::failure::Failure;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A test file is a program with comments that say what is to be true of it:
  output y : f32[T, O] = g * out // error: [shape-mismatch]    a finding on this line
  // run: T = 5, seed = 3                                      interpreter and compiled code agree
  // expect opt:                                               what a stage prints, rewritten by --bless

Examples:
  moec test tests
  moec test --bless tests/run/softmax.moe")]
pub(crate) struct Args {
    /// Test files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Rewrite expected blocks that differ (also with MOEC_BLESS=1)
    #[arg(long)]
    bless: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let bless = args.bless || std::env::var_os("MOEC_BLESS").is_some_and(|value| value == "1");
    let files = test_files(&args.paths).map_err(Failure::input)?;
    let (mut passed, mut failed, mut blessed) = (0, 0, 0);
    for file in &files {
        let outcome = Case::read(file).and_then(|case| moec_filetest::run(&case, bless));
        let failures = match outcome {
            Ok(outcome) => {
                blessed += usize::from(outcome.blessed);
                outcome.failures
            }
            Err(error) => vec![error.to_string()],
        };
        if failures.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            for failure in failures {
                terminal.out(&format!("{}: {}\n", file.display(), failure.trim_end()))?;
            }
        }
    }
    let rewritten = if blessed > 0 { format!("; {blessed} rewritten") } else { String::new() };
    terminal.out(&format!("{passed} passed; {failed} failed{rewritten}\n"))?;
    if failed > 0 { Err(Failure::Said) } else { Ok(()) }
}
