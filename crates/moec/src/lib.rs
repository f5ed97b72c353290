//! moec compiles the mathematics of Mixture-of-Experts models to native code. This crate is its only
//! public API: a source goes to an [`Artifact`] ([`compile`]), weights go into a [`Loaded`], and any
//! number of [`Session`]s run it on slices of the caller.
//!
//! It wires the phases and owns none of their work. It reads no files but those of weights, prints
//! nothing and looks at no clock; the command line does that.

mod artifact;
mod compile;
mod diff;
mod emit;
mod error;
mod explain;
mod oracle;
mod profile;
mod shrink;
mod stage;
mod table;
mod tensor;
pub mod tiles;
mod validate;

pub use artifact::Artifact;
pub use compile::{Checked, Options, Watch, check, compile, front};
pub use diff::{Counterexample, Diff, DiffError, DiffOptions, OutputPair, Unknown, Verdict, diff};
pub use emit::emit;
pub use error::CompileError;
pub use explain::{Explanation, explain};
pub use moec_diag as diag;
pub use moec_import::{Folder, ImportError, ImportOptions, Imported, import, model_types, open_weights};
pub use moec_interp as interp;
pub use moec_ir as ir;
pub use moec_lower::{Declaration, DeclarationKind, LoweredModel};
pub use moec_opt::{
    Alternative, Bound, Choice, EClass, EGraph, EOperation, NodeReport, Numerics, Reason, Report, RuleInfo,
    Target, TargetError, rule_infos,
};
pub use moec_plan as plan;
pub use moec_runtime::packed::{PackedError, PackedFile};
pub use moec_runtime::session::{
    Array, ArrayMut, LoadError, Loaded, Origin, RunError, Scalar, Session, WeightBytes, WeightSource,
    Weights, random_input,
};
pub use moec_runtime::threads::{Pool, PoolError, Threads};
pub use moec_runtime::weights::{FileError, WeightError, WeightFiles, storage, write_safetensors};
pub use moec_runtime::{buffer, cpu, probe};
pub use moec_syntax::format;
pub use oracle::to_oracle;
pub use profile::{
    Decision, Drops, Judgement, Placement, PlanPlacement, PlanProfile, PlanRouting, Profile, ProfileError,
    Record, Routing, Tallies, Tally, plan_names,
};
pub use stage::{Emit, Stage};
pub use tensor::HostTensor;
pub use validate::{Validation, difference, faults};
