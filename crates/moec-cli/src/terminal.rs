//! What goes to the terminal, and whether in colour.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use moec::diag::{Diagnostic, SourceFile, render};

use crate::failure::{ASK_FOR_REPORT, Failure};

/// When to use colour. `Auto`: on a terminal, unless NO_COLOR is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// Columns that diagnostics keep to.
const WIDTH: usize = 120;

/// More findings than this are only counted.
const MOST_FINDINGS: usize = 100;

/// Standard output and standard error.
#[derive(Debug)]
pub(crate) struct Terminal {
    color: bool,
}

impl Terminal {
    pub(crate) fn new(color: Color) -> Terminal {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::io::stderr().is_terminal()
            }
        };
        Terminal { color }
    }

    /// Writes results to standard output.
    pub(crate) fn out(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Input(format!("cannot write to standard output: {error}")),
        })
    }

    /// Writes to standard error what is not a result. If nobody reads it, it is lost.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Says that something is wrong.
    pub(crate) fn error(&self, message: &str) {
        let head = if self.color { "\x1b[1m\x1b[91merror\x1b[0m\x1b[1m:\x1b[0m" } else { "error:" };
        self.note(&format!("{head} {message}"));
    }

    /// Says what may turn out to be wrong.
    pub(crate) fn warning(&self, message: &str) {
        let head = if self.color { "\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m:\x1b[0m" } else { "warning:" };
        self.note(&format!("{head} {message}"));
    }

    /// Says what moec got wrong and worked around.
    pub(crate) fn faults(&self, faults: &[String]) {
        for fault in faults {
            self.warning(&format!("{fault}. The result is right all the same\n{ASK_FOR_REPORT}"));
        }
    }

    /// Shows findings about a source.
    pub(crate) fn diagnostics(&self, diagnostics: &[Diagnostic], source: &SourceFile) {
        for diagnostic in diagnostics.iter().take(MOST_FINDINGS) {
            self.note(&(render(diagnostic, source, self.color, WIDTH) + "\n"));
        }
        if let Some(more) = diagnostics.len().checked_sub(MOST_FINDINGS).filter(|&more| more > 0) {
            self.note(&format!("and {more} more\n"));
        }
    }
}
