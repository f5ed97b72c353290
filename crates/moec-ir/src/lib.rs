//! The typed tensor IR that every phase after lowering speaks: types with symbolic dims, the op
//! table, the module, its text form (`.moir`) and its verifier.
//!
//! The IR is first-order, pure and static: no regions, no effects, experts are an axis. It knows
//! nothing of source text, e-graphs, kernels or machines. Start with [`Op`], whose rows in
//! `ops/table.rs` are the one place an operation is described; then [`Module`].

mod attr;
mod carry;
mod dim;
mod dropped;
mod dtype;
mod einsum;
mod module;
mod ops;
mod print;
mod prove;
mod read;
mod rowwise;
mod solve;
mod sum;
mod types;
mod verify;

pub use attr::{Attr, AttrKind, Attrs, Number};
pub use carry::carried_axis;
pub use dim::{Dim, DimDecl, DimExpr, DimKind, DimTable, Fact, Sizes};
pub use dtype::DType;
pub use einsum::EinsumSpec;
pub use module::{Builder, Module, Node, Output, ValueId};
pub use ops::{Op, OpRow, Operands, Work};
pub use print::print;
pub use read::read;
pub use rowwise::{Rowwise, rowwise};
pub use sum::SizeSum;
pub use types::{PlanType, RouteType, TensorType, Type};
pub use verify::verify;

/// What is wrong with a module, a type or an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IrError {
    /// An operation that its operands or attributes do not allow.
    #[error("{op}: {message}")]
    Op {
        /// The mnemonic.
        op: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// A size that does not exist: overflow, a missing symbol.
    #[error("{0}")]
    Dim(String),
    /// Sizes that a declared fact excludes.
    #[error("the fact {fact} does not hold for {sizes}")]
    Fact {
        /// The fact.
        fact: Box<Fact>,
        /// The sizes that it speaks of.
        sizes: String,
    },
    /// A module that breaks one of the guarantees of [`verify`].
    #[error("{0}")]
    Module(String),
    /// Text that is not a module.
    #[error("line {line}: {message}")]
    Text {
        /// 1-based line of the text.
        line: usize,
        /// What was found and what was expected.
        message: String,
    },
}
