//! The calling convention between generated code and its host.
//!
//! A compiled plan has two entry points, `load` and `run`, of type [`Entry`]. `load` does one step, so
//! that weights need not all be in memory at once: it is called for each of its phase, in order. `run` walks
//! the steps of its phase in order. For a step an entry point counts the work items and calls
//! [`Frame::parallel`], which calls the step's kernel (of type [`KernelFn`]) on ranges that together cover
//! all items, and returns when all are done. Items of a step are independent, so any split gives the same bits.
//! For steps that are done together there is one such call: their kernel does the items of each, one step's
//! after another's. Steps of loading with more than one item always go that way, so that the host may do them
//! in parts.

#![expect(unsafe_code, reason = "a promise about machine code is declared here; nothing unsafe is done")]

use std::ffi::c_void;
use std::fmt::Debug;

use crate::{Phase, Plan};

/// A plan with its machine code.
///
/// # Safety
/// The entry points were compiled from exactly this plan, keep the contracts of its kernels, and
/// stay callable as long as the value lives.
pub unsafe trait Program: Send + Sync {
    /// The plan.
    fn plan(&self) -> &Plan;

    /// The instruction set that the code is for, with every feature that it may use: equal names, equal
    /// bits.
    fn target(&self) -> &str;

    /// The entry point of a phase.
    fn entry(&self, phase: Phase) -> Entry;
}

/// An entry point. Returns 0, or 1 + the number of the step that met a fault (an index out of range
/// in the data); of steps done together, the first that can. On a fault outputs hold unspecified values.
pub type Entry = unsafe extern "C" fn(frame: *const Frame) -> u64;

/// The kernel of one step, or of those done together: does the items `begin..end` on worker number `worker`.
pub type KernelFn = unsafe extern "C" fn(frame: *const Frame, worker: u64, begin: u64, end: u64);

/// Runs `kernel`, that of step number `step` of its phase (the last of those done together), over `0..items`,
/// each item once, in ranges of at least `grain` items (the last may be shorter); worker numbers are below
/// [`Frame::workers`] and never used twice at a time. A worker's ranges follow one another where possible: kernels fetch ahead.
pub type Parallel = unsafe extern "C" fn(
    host: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    grain: u64,
    step: u64,
);

/// What generated code is given. Fields are read at fixed offsets, see [`offset`].
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// One pointer per buffer of the plan, 64-byte aligned but for inputs and outputs, which have
    /// the alignment of their element. Every buffer has at least one byte.
    pub buffers: *const *mut u8,
    /// One value per symbol of the plan.
    pub dims: *const u64,
    /// `Plan::worker_scratch` bytes for each worker, 64-byte aligned, one after another.
    pub scratch: *mut u8,
    /// Bytes from one worker's scratch to the next.
    pub scratch_stride: u64,
    /// The number of workers.
    pub workers: u64,
    /// Runs a kernel over items.
    pub parallel: Parallel,
    /// First argument of `parallel`.
    pub host: *mut c_void,
    /// One word for each worker, 64 bytes apart, to which kernels add the bytes that they read from
    /// mapped weights.
    pub read: *mut u64,
    /// One word that kernels set to 1 on a fault; zero on entry.
    pub fault: *mut u64,
    /// The load step to do.
    pub step: u64,
}

/// A promise that this process may use the registers of AMX, for which it has to ask the system.
///
/// # Safety
/// The processor has AMX with products of bf16 pairs, and the system has granted this process its registers.
pub unsafe trait AmxPermission: Debug + Sync {}

/// Byte offsets of the fields of [`Frame`].
pub mod offset {
    use super::Frame;
    use std::mem::offset_of;

    /// Of `buffers`.
    pub const BUFFERS: i32 = offset_of!(Frame, buffers) as i32;
    /// Of `dims`.
    pub const DIMS: i32 = offset_of!(Frame, dims) as i32;
    /// Of `scratch`.
    pub const SCRATCH: i32 = offset_of!(Frame, scratch) as i32;
    /// Of `scratch_stride`.
    pub const SCRATCH_STRIDE: i32 = offset_of!(Frame, scratch_stride) as i32;
    /// Of `workers`.
    pub const WORKERS: i32 = offset_of!(Frame, workers) as i32;
    /// Of `parallel`.
    pub const PARALLEL: i32 = offset_of!(Frame, parallel) as i32;
    /// Of `host`.
    pub const HOST: i32 = offset_of!(Frame, host) as i32;
    /// Of `read`.
    pub const READ: i32 = offset_of!(Frame, read) as i32;
    /// Of `fault`.
    pub const FAULT: i32 = offset_of!(Frame, fault) as i32;
    /// Of `step`.
    pub const STEP: i32 = offset_of!(Frame, step) as i32;
}
