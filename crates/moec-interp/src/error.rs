//! What can go wrong in a run.

use moec_ir::IrError;

/// Why a program has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InterpError {
    /// Types or sizes that do not fit together: a size without a value, a fact that does not hold,
    /// an operation whose operands do not suit it.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// An input or weight that the program needs and was not given.
    #[error("`{name}` is missing: expected {expected}")]
    Missing {
        /// Its name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// An input or weight of another type, or with elements that its type does not have.
    #[error("`{name}` is {found}, expected {expected}")]
    Mismatch {
        /// Its name.
        name: String,
        /// What was given.
        found: String,
        /// What the program declares.
        expected: String,
    },
    /// An index outside the axis it points into.
    #[error("{op}: index {index} is out of range for {size} elements")]
    Index {
        /// The operation.
        op: &'static str,
        /// The index.
        index: i64,
        /// The number of elements.
        size: usize,
    },
    /// An operation without a value for these operands.
    #[error("{op}: {message}")]
    Op {
        /// The operation.
        op: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// A tensor of more than [`MAX_ELEMENTS`](crate::MAX_ELEMENTS), or more than there is memory for.
    #[error("a tensor of shape {shape:?} is too large for the interpreter")]
    TooLarge {
        /// Its shape.
        shape: Vec<usize>,
    },
}
