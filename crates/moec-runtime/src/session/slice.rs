//! Part of the items of a step, on a pool: how loading does some steps slice by slice.

use std::ffi::c_void;
use std::ops::Range;

use moec_plan::abi::{Frame, KernelFn, Parallel};

use crate::threads::{Threads, split};

/// One of `count` equal parts of the items of steps.
pub(super) struct Slice<'a> {
    pub(super) pool: &'a dyn Threads,
    pub(super) workers: usize,
    pub(super) number: u64,
    pub(super) count: u64,
}

impl Slice<'_> {
    /// This as the `host` argument of [`run_slice`]. Valid while it is neither moved nor dropped.
    pub(super) fn as_host(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

/// Runs the kernel on the items of a slice, as generated code calls it.
///
/// # Safety
/// `host` is [`Slice::as_host`] of a live slice; `frame` has at least as many workers as its pool has
/// threads, and `kernel` may be called with it and any part of `0..items` by all of them at once.
pub(super) unsafe extern "C" fn run_slice(
    host: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    grain: u64,
    _step: u64,
) {
    struct SharedFrame(*const Frame);
    // SAFETY: the caller of `run_slice` promises that the kernel may use the frame from several threads.
    unsafe impl Sync for SharedFrame {}
    impl SharedFrame {
        fn get(&self) -> *const Frame {
            self.0
        }
    }

    // SAFETY: `host` is a live slice, by this function's contract.
    let slice = unsafe { &*host.cast_const().cast::<Slice<'_>>() };
    let frame = SharedFrame(frame);
    let part = items / slice.count;
    let first = slice.number * part;
    split(slice.pool, slice.workers, part, grain, &|worker, range: Range<u64>| {
        // SAFETY: the range is part of `0..items`, and the caller promised the rest.
        unsafe { kernel(frame.get(), worker as u64, first + range.start, first + range.end) }
    });
}

/// That it is the function a [`Frame`] wants.
const _: Parallel = run_slice;
