//! From plan to machine code with Cranelift.
//!
//! The only crate that knows Cranelift. From the machine upwards: [`Target`] chooses the
//! instruction set, [`CodeModule`] collects functions into a JIT or an object, [`LaneEmitter`]
//! writes element-wise code once for one and for four lanes, `math` the transcendental functions on
//! top of it, `widen` makes its form in vectors of 512 bits, [`tile`] the matrix tiles, `emit` one function for
//! each step of a plan and the entry points, and [`Compiled`] puts all of them together. Nothing here reads files,
//! clocks or the environment, and nothing depends on addresses or hash order: the same plan gives the same bytes
//! of code.

mod amx;
mod assembled;
mod compile;
mod emit;
mod error;
mod isa;
mod lanes;
mod math;
mod module;
pub mod tile;
mod widen;

pub use amx::permission as amx_permission;
pub use compile::{Compiled, compile_object};
pub use error::CodegenError;
pub use isa::{CodeKind, TARGET_NAMES, Target};
pub use lanes::{LaneEmitter, Lanes, Mask};
pub use module::{Code, CodeModule, Listing};

#[cfg(test)]
mod element_loop;
#[cfg(test)]
mod guard;
