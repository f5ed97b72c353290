//! What can go wrong between a plan and its machine code.

use cranelift_module::ModuleError;

/// Why no code came out.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// A target name that is not in [`TARGET_NAMES`](crate::TARGET_NAMES).
    #[error("unknown target `{name}`; known are {}", crate::TARGET_NAMES.join(", "))]
    UnknownTarget {
        /// The name as given.
        name: String,
    },
    /// A target that this machine cannot compile for or cannot run.
    #[error("target `{name}`: {reason}")]
    UnsupportedTarget {
        /// The target's name.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// Cranelift refused a function: a bug of an emitter.
    #[error("function `{function}`: {reason}")]
    Function {
        /// The function's symbol.
        function: String,
        /// Cranelift's words, with the offending instruction where it has one.
        reason: String,
    },
    /// Executable memory or an object file could not be made.
    #[error("code could not be placed: {0}")]
    Placement(String),
}

impl CodegenError {
    /// Names the function in Cranelift's error.
    pub(crate) fn function(function: &str, error: &ModuleError) -> CodegenError {
        CodegenError::Function { function: function.to_owned(), reason: describe(error) }
    }
}

fn describe(error: &ModuleError) -> String {
    match error {
        // The plain `Display` of a verifier error only says that there were some.
        ModuleError::Compilation(inner) => format!("{inner:?}"),
        other => other.to_string(),
    }
}
