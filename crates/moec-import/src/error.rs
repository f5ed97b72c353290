//! Why a folder gives no source.

use std::path::PathBuf;

use moec_runtime::weights::WeightError;

/// Why a folder gives no source. Each message says what was found and what would do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of the folder that cannot be read, or is not to be.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration: not JSON, a key missing, a value of the wrong type or out of range.
    #[error("{0}")]
    Config(String),
    /// No row describes the model, or several do and differ.
    #[error("{0}")]
    Unknown(String),
    /// The layer holds no mixture of experts.
    #[error("{0}")]
    Layer(String),
    /// A tensor that is missing, has another shape than the configuration says, or that the row
    /// does not account for.
    #[error("{0}")]
    Tensor(String),
    /// A weight file that cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The importer's own fault: a row, or what was composed from it.
    #[error("{0}")]
    Internal(String),
}
