//! What generated code is given, and the call itself.

use moec_ir::{DimTable, Sizes};
use moec_plan::abi::{Entry, Frame};
use moec_plan::{BufferId, Plan};

use crate::threads::{Host, run_kernel};

/// The pointers and dims of one caller, reused from call to call.
pub(super) struct Frames {
    buffers: Vec<*mut u8>,
    dims: Vec<u64>,
    scratch: *mut u8,
    scratch_stride: u64,
    /// As in [`Frame::read`]: 8 words for each worker.
    read: Vec<u64>,
}

// SAFETY: the pointers lead to memory that the owner of the frames owns or borrows for the length
// of a call; nothing about them is tied to a thread.
unsafe impl Send for Frames {}

/// A byte that buffers without memory point to; aligned for every buffer.
#[repr(align(64))]
struct Nowhere([u8; 64]);

static NOWHERE: Nowhere = Nowhere([0; 64]);

/// A pointer that is never written and only read as padding.
pub(super) fn nowhere() -> *mut u8 {
    NOWHERE.0.as_ptr().cast_mut()
}

impl Frames {
    pub(super) fn new(plan: &Plan) -> Frames {
        Frames {
            buffers: vec![nowhere(); plan.buffers.len()],
            dims: vec![0; plan.dims.decls().len()],
            scratch: nowhere(),
            scratch_stride: 0,
            read: Vec::new(),
        }
    }

    /// Sets the address of buffer number `at`.
    pub(super) fn set(&mut self, at: usize, pointer: *mut u8) {
        self.buffers[at] = pointer;
    }

    /// The address of a buffer.
    pub(super) fn get(&self, buffer: BufferId) -> *mut u8 {
        self.buffers[buffer.0 as usize]
    }

    /// Sets the value of every symbol (zero where it has none yet) and the scratch memory.
    pub(super) fn bind(&mut self, dims: &DimTable, sizes: &Sizes, scratch: *mut u8, stride: u64) {
        for (value, decl) in self.dims.iter_mut().zip(dims.decls()) {
            *value = sizes.get(&decl.name).copied().unwrap_or(0);
        }
        (self.scratch, self.scratch_stride) = (scratch, stride);
    }

    /// Bytes that the last call read from mapped weights.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.iter().sum()
    }

    /// Calls an entry point, that of the load phase for step number `step`; returns its status.
    ///
    /// # Safety
    /// The entry point belongs to the plan of these frames, and every buffer that its phase (or its step) touches
    /// points to memory of the plan's size for the bound dims, as does the scratch memory for every
    /// worker.
    pub(super) unsafe fn call(
        &mut self,
        entry: Entry,
        step: u64,
        workers: usize,
        host: &mut Host<'_>,
    ) -> u64 {
        let mut fault = 0;
        self.read.resize(8 * workers, 0);
        self.read.fill(0);
        let frame = Frame {
            buffers: self.buffers.as_ptr(),
            dims: self.dims.as_ptr(),
            scratch: self.scratch,
            scratch_stride: self.scratch_stride,
            workers: workers as u64,
            parallel: run_kernel,
            host: (&raw mut *host).cast(),
            read: self.read.as_mut_ptr(),
            fault: &raw mut fault,
            step,
        };
        // SAFETY: by this function's contract; the frame outlives the call.
        unsafe { entry(&raw const frame) }
    }
}
