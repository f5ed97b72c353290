//! `moec fmt`: the one style.

use std::path::PathBuf;

use moec::diag::SourceFile;

use crate::failure::Failure;
use crate::files::{is_stdin, read_source, replace};
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A source with syntax errors is left as it is. Formatting changes neither meaning nor order.

Examples:
  moec fmt model.moe other.moe
  moec fmt --check models/*.moe            exit code 1 if a file would change
  cat model.moe | moec fmt -               the formatted text on standard output")]
pub(crate) struct Args {
    /// Sources; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write nothing; name the files that would change
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let mut wrong = false;
    for path in &args.files {
        let source = match read_source(path) {
            Ok(source) => source,
            Err(Failure::Input(message)) => {
                terminal.error(&message);
                wrong = true;
                continue;
            }
            Err(other) => return Err(other),
        };
        let Some(text) = formatted(&source, terminal) else {
            wrong = true;
            continue;
        };
        let changes = text != source.text;
        if args.check {
            if changes {
                terminal.out(&format!("{} would change\n", source.name))?;
                wrong = true;
            }
        } else if is_stdin(path) {
            terminal.out(&text)?;
        } else if changes {
            replace(path, &text)?;
        }
    }
    if wrong { Err(Failure::Said) } else { Ok(()) }
}

/// The text in the one style; says what is wrong if there is none.
fn formatted(source: &SourceFile, terminal: &Terminal) -> Option<String> {
    if source.name.ends_with(".moir") {
        terminal.error(&format!("{}: only .moe sources are formatted", source.name));
        return None;
    }
    match moec::format(&source.text) {
        Ok(text) => Some(text),
        Err(diagnostics) => {
            terminal.diagnostics(&diagnostics, source);
            None
        }
    }
}
