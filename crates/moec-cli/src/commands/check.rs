//! `moec check`: diagnostics of sources.

use std::path::PathBuf;

use moec::diag::{Diagnostic, Severity, SourceFile, Span};
use moec::{CompileError, Options};
use serde::Serialize;

use crate::arguments::{ModelArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moec check model.moe
  moec check --set H=64 model.moe other.moe
  cat model.moe | moec check -
  moec check --json model.moe              one JSON object a finding, for editors and scripts")]
pub(crate) struct Args {
    /// Sources, `.moe` or `.moir`; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print findings as JSON, one a line, on standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let options = options(&args.model, None, terminal)?;
    let (mut errors, mut warnings) = (0, 0);
    for path in &args.files {
        let source = match read_source(path) {
            Ok(source) => source,
            Err(Failure::Input(message)) => {
                terminal.error(&message);
                errors += 1;
                continue;
            }
            Err(other) => return Err(other),
        };
        match findings(&source, &options) {
            Ok(found) => {
                let wrong = found.iter().filter(|finding| finding.is_error()).count();
                (errors, warnings) = (errors + wrong, warnings + found.len() - wrong);
                if args.json {
                    terminal.out(&found.iter().map(|finding| json(finding, &source)).collect::<String>())?;
                } else {
                    terminal.diagnostics(&found, &source);
                }
            }
            Err(CompileError::Ir(error)) => {
                errors += 1;
                let message = error.to_string();
                if args.json {
                    let line = Finding {
                        file: &source.name,
                        severity: "error",
                        message: &message,
                        ..Finding::default()
                    };
                    terminal.out(&line.text())?;
                } else {
                    terminal.error(&format!("{}: {message}", source.name));
                }
            }
            Err(error) => return Err(Failure::compile(error, &source, terminal)),
        }
    }
    if !args.json {
        let files = count(args.files.len(), "file");
        terminal.note(&format!(
            "checked {files}: {}, {}",
            count(errors, "error"),
            count(warnings, "warning")
        ));
    }
    if errors > 0 { Err(Failure::Said) } else { Ok(()) }
}

fn findings(source: &SourceFile, options: &Options) -> Result<Vec<Diagnostic>, CompileError> {
    if source.name.ends_with(".moir") {
        return moec::front(source, options, &mut |_| ()).map(|checked| checked.warnings);
    }
    match moec::check(source, options) {
        Ok((_, warnings)) => Ok(warnings),
        Err(CompileError::Source(diagnostics)) => Ok(diagnostics),
        Err(error) => Err(error),
    }
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// A finding as a script wants it. Lines and columns count from 1, columns in characters.
#[derive(Debug, Default, Serialize)]
struct Finding<'a> {
    file: &'a str,
    severity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    message: &'a str,
    labels: Vec<Label<'a>>,
    notes: &'a [String],
    help: &'a [String],
}

#[derive(Debug, Serialize)]
struct Label<'a> {
    primary: bool,
    text: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl Finding<'_> {
    fn text(&self) -> String {
        // Strings and numbers only, which always have a form in JSON.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

fn json(diagnostic: &Diagnostic, source: &SourceFile) -> String {
    let label = |label: &'_ moec::diag::Label| {
        let Span { start, end } = label.span;
        (source.line_column(start), source.line_column(end))
    };
    let labels = diagnostic.labels.iter().map(|l| {
        let ((line, column), (end_line, end_column)) = label(l);
        Label { primary: l.primary, text: &l.text, line, column, end_line, end_column }
    });
    let finding = Finding {
        file: &source.name,
        severity: if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        code: Some(diagnostic.slug()),
        message: &diagnostic.message,
        labels: labels.collect(),
        notes: &diagnostic.notes,
        help: &diagnostic.help,
    };
    finding.text()
}
