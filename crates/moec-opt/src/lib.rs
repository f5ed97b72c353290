//! Equality saturation over the IR. A module goes into an e-graph (egg), rules say what is equal to
//! what, and the cheapest program on a target comes out, in an order that depends on its structure
//! alone.
//!
//! This is the only crate that knows egg. It knows nothing of kernels: which operations fuse is the
//! planner's business, and costs only assume that element-wise chains do. Start with [`optimize`];
//! the rules are in `rules/`, one file a family, each with a page in `ir-specs/rules/`.

mod canonical;
mod choose;
mod cost;
mod encode;
mod extract;
mod facts;
mod joint;
mod kept;
mod node;
mod optimize;
mod options;
mod order;
mod range;
mod report;
mod rules;
mod saturate;
mod sizing;
#[cfg(test)]
mod soundness;
mod target;
mod term;
mod vanish;
mod view;

pub use canonical::canonical;
pub use choose::SLACK;
pub use joint::{Equality, Joint, Mismatch, join, prove};
pub use optimize::{Optimized, Variant, optimize, price};
pub use options::{Limits, Numerics, Options, Shares};
pub use report::{Alternative, Bound, Choice, NodeReport, Reason, Report, RuleCount};
pub use rules::{RuleInfo, rule_infos};
pub use target::{Target, TargetError};
pub use view::{EClass, EGraph, EOperation, egraph};

/// Why a module cannot be optimised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptError {
    /// The module does not pass the verifier.
    #[error("the module to optimise is not valid: {0}")]
    Invalid(#[from] moec_ir::IrError),
    /// A name in `ablate` is no rule.
    #[error("there is no rule `{0}`")]
    UnknownRule(String),
}
