//! What runs: kernels over buffers, in order, and the calling convention of generated code.
//!
//! The planner turns an optimised, instantiated module into a [`Plan`]: it decides which operations
//! become views, which are fused into one kernel, which work is done once when weights are loaded,
//! and how long each buffer lives. It knows nothing of instructions; [`Product`] leaves the choice
//! of tiles to the code generator, which knows the machine.

pub mod abi;
mod access;
mod build;
mod image;
mod kernel;
mod plan;
mod print;
mod scalar;
mod slices;
mod verify;
mod work;

pub use build::{plan, plan_programs};
pub use image::Image;
pub use kernel::{
    BLOCK_BYTES, Cold, Group, Groups, Kernel, Lhs, Map, Pack, PackedWeight, Product, Reduce, ReduceOp,
    RowIndex, RowKind, RowOp, ScatterAdd, Seat,
};
pub use plan::{Buffer, BufferId, Panels, Phase, Place, Plan, RoutingBuffers, Step, Switch, stages};
pub use print::print;
pub use scalar::{Index, Load, Scalar, ScalarId, Scalars, Store};
pub use slices::Slices;
pub use verify::verify;
pub use work::ProductRows;

/// Why a module cannot be planned. Legal modules can; an error here is about sizes, or a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A size that overflows or is not known where it must be.
    #[error(transparent)]
    Ir(#[from] moec_ir::IrError),
    /// A plan that breaks a guarantee of the verifier.
    #[error("{0}")]
    Broken(String),
}
