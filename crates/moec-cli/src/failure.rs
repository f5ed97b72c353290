//! Why a command does not end with 0, and what its exit code is.

use std::process::ExitCode;

use moec::CompileError;
use moec::diag::SourceFile;

use crate::terminal::Terminal;

/// What a user can do about a bug of ours.
pub(crate) const ASK_FOR_REPORT: &str =
    "Please report it at https://github.com/moec/moec/issues, with the command line and the file.";

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input was wrong, and that has been said.
    Said,
    /// The input is wrong.
    Input(String),
    /// The options do not fit.
    Usage(String),
    /// moec is wrong.
    Bug(String),
    /// What is to be said has been said; this is the exit code.
    Ended(u8),
    /// Whoever reads the output has enough of it.
    Closed,
}

impl Failure {
    /// An error that displays itself.
    pub(crate) fn input(error: impl std::fmt::Display) -> Failure {
        Failure::Input(error.to_string())
    }

    /// What a failed compilation of `source` says on the terminal, and the failure that remains.
    pub(crate) fn compile(error: CompileError, source: &SourceFile, terminal: &Terminal) -> Failure {
        match error {
            CompileError::Source(diagnostics) => {
                terminal.diagnostics(&diagnostics, source);
                Failure::Said
            }
            CompileError::Ir(error) => Failure::Input(format!("{}: {error}", source.name)),
            error @ CompileError::Profile(_) => Failure::input(error),
            CompileError::Options(message) => Failure::Usage(message),
            error @ CompileError::Internal { .. } => Failure::Bug(error.to_string()),
        }
    }

    /// Says what is left to say, and gives the exit code.
    pub(crate) fn report(self, terminal: &Terminal) -> ExitCode {
        match self {
            Failure::Said => ExitCode::from(1),
            Failure::Input(message) => {
                terminal.error(&message);
                ExitCode::from(1)
            }
            Failure::Usage(message) => {
                terminal.error(&message);
                ExitCode::from(2)
            }
            Failure::Bug(message) => {
                terminal.error(&format!("{message}\n{ASK_FOR_REPORT}"));
                ExitCode::from(101)
            }
            Failure::Ended(code) => ExitCode::from(code),
            Failure::Closed => ExitCode::SUCCESS,
        }
    }
}
