//! Why a program cannot be compiled.

use moec_diag::Diagnostic;
use moec_ir::IrError;

use crate::{ProfileError, Stage};

/// Why a program cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The source is wrong; at least one of the diagnostics is an error.
    #[error("the source has errors")]
    Source(Vec<Diagnostic>),
    /// The text of a `.moir` file is wrong.
    #[error(transparent)]
    Ir(IrError),
    /// A profile that is not one of this program.
    #[error("the profile: {0}")]
    Profile(#[from] ProfileError),
    /// An option that does not exist or does not fit.
    #[error("{0}")]
    Options(String),
    /// A stage failed on a program that the stages before it accepted: a bug in moec.
    #[error("bug in moec: {}: {message}", stage.name())]
    Internal {
        /// The stage.
        stage: Stage,
        /// What it said.
        message: String,
    },
}

impl CompileError {
    pub(crate) fn internal(stage: Stage, error: impl std::fmt::Display) -> CompileError {
        CompileError::Internal { stage, message: error.to_string() }
    }
}
