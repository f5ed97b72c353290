//! How kernels are split over threads: who has them ([`Threads`], ours is [`Pool`]), and what each does.
//! Knows of generated code only how it is called.
//!
//! A job is a number of items and a function of a range of them. Every item must be computable by itself,
//! since which thread runs it is left to chance: that is what makes results independent of the number of
//! threads. Items are cut into ranges of `grain`, and these into as many runs as there are threads. Each
//! thread takes the ranges of its own run in order, and then what is left of the others', one at a time. So
//! a thread reads memory in order, and what it does next follows what it did, which kernels count on when
//! they fetch ahead; and no thread is idle while there are ranges to take.
#![expect(unsafe_code, reason = "a job on the caller's stack is lent to other threads")]

mod pool;

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use moec_plan::abi::{Frame, KernelFn, Parallel};

pub use pool::{MAX_THREADS, Pool, PoolError};

/// Threads that a program's work is split over. A host that has a pool of its own implements this for it
/// and gives it to sessions in place of a [`Pool`]; nothing that an implementation does can break memory
/// safety or change a result.
pub trait Threads: Send + Sync {
    /// How many threads there are, the calling one included.
    fn threads(&self) -> usize;

    /// Calls `task` on this thread and on up to `most - 1` others at the same time, and returns when all
    /// calls have. Each call works until nothing is left to do: fewer calls are as good, only slower, and a
    /// call that comes late finds nothing.
    fn join(&self, most: usize, task: &(dyn Fn() + Sync));
}

impl<T: Threads + ?Sized> Threads for Arc<T> {
    fn threads(&self) -> usize {
        (**self).threads()
    }

    fn join(&self, most: usize, task: &(dyn Fn() + Sync)) {
        (**self).join(most, task);
    }
}

impl dyn Threads + '_ {
    /// Calls `work(worker, range)` on ranges that cover `0..items` once, in any order and on any
    /// threads; returns when all are done.
    ///
    /// `worker` is below [`Threads::threads`] and no two calls at one time share it within one job: it
    /// may index scratch memory. Ranges have `grain` items (the last one fewer), or all of them
    /// where one thread does them.
    pub fn run<F: Fn(usize, Range<u64>) + Sync>(&self, items: u64, grain: u64, work: &F) {
        split(self, self.threads(), items, grain, work);
    }

    /// Calls `work(index, chunk)` on the chunks of `chunk` bytes that `bytes` divides into (the
    /// last one shorter), as `run` does.
    pub fn run_chunks<F: Fn(u64, &mut [u8]) + Sync>(&self, bytes: &mut [u8], chunk: usize, work: &F) {
        struct Base(*mut u8);
        // SAFETY: each thread touches only the chunks it claimed, which overlap with no other.
        unsafe impl Sync for Base {}
        impl Base {
            /// # Safety
            /// The range lies in the slice and no other reference into it is alive.
            #[expect(clippy::mut_from_ref, reason = "the contract demands that the ranges are disjoint")]
            unsafe fn part(&self, range: Range<usize>) -> &mut [u8] {
                // SAFETY: by this function's contract.
                unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
            }
        }

        let (chunk, total) = (chunk.max(1), bytes.len());
        let base = Base(bytes.as_mut_ptr());
        self.run(total.div_ceil(chunk) as u64, 1, &|_, range: Range<u64>| {
            for index in range {
                let start = index as usize * chunk;
                // SAFETY: `run` hands out each index once, and `bytes` is borrowed for as long as
                // it runs.
                work(index, unsafe { base.part(start..total.min(start + chunk)) });
            }
        });
    }
}

/// On a cache line of its own (two, since x86 prefetches pairs).
#[repr(align(128))]
struct Padded<T>(T);

/// The most runs of ranges; with more threads, several share one.
const RUNS: usize = 16;

/// What the threads of a job share.
struct Job {
    items: u64,
    grain: u64,
    /// Ranges in all, in how many runs.
    ranges: u64,
    runs: usize,
    /// The next range of each run.
    next: [Padded<AtomicU64>; RUNS],
    workers: usize,
    /// Threads that came.
    came: AtomicUsize,
}

/// `run` on `workers` threads at most, whatever their host says now.
pub(crate) fn split<F: Fn(usize, Range<u64>) + Sync>(
    threads: &dyn Threads,
    workers: usize,
    items: u64,
    grain: u64,
    work: &F,
) {
    let grain = grain.max(1);
    let ranges = items.div_ceil(grain);
    let most = ranges.min(workers as u64) as usize;
    if most <= 1 {
        if items > 0 {
            work(0, 0..items);
        }
        return;
    }
    let runs = most.min(RUNS);
    let came = AtomicUsize::new(0);
    let job =
        Job { items, grain, ranges, runs, next: [const { Padded(AtomicU64::new(0)) }; RUNS], workers, came };
    for run in 0..runs {
        job.next[run].0.store(job.first(run), Ordering::Relaxed);
    }
    threads.join(most, &|| job.take(work));
    // What a host left that called nobody.
    job.take(work);
}

impl Job {
    /// The first range of a run.
    fn first(&self, run: usize) -> u64 {
        (u128::from(self.ranges) * run as u128 / self.runs as u128) as u64
    }

    /// Takes ranges until none is left.
    fn take<F: Fn(usize, Range<u64>)>(&self, work: &F) {
        let worker = self.came.fetch_add(1, Ordering::Relaxed);
        if worker >= self.workers {
            return;
        }
        for run in (0..self.runs).map(|far| (worker + far) % self.runs) {
            let end = self.first(run + 1);
            loop {
                let range = self.next[run].0.fetch_add(1, Ordering::Relaxed);
                if range >= end {
                    break;
                }
                let begin = range * self.grain;
                work(worker, begin..begin.saturating_add(self.grain).min(self.items));
            }
        }
    }
}

/// What generated code is called back with.
pub(crate) struct Host<'h> {
    /// Whose threads work.
    pub(crate) threads: &'h dyn Threads,
    /// Which of how many equal parts of the items of each step is done: loading does some steps slice by slice.
    pub(crate) part: (u64, u64),
    /// Told the number of each step that is done, of those done together that of the last.
    pub(crate) watch: Option<&'h mut dyn FnMut(usize)>,
}

/// `run` as generated code calls it. A panic in `kernel` aborts the process.
///
/// # Safety
/// `host` leads to a [`Host`] that nobody else uses meanwhile; `frame` has memory for [`Frame::workers`], and
/// `kernel` may be called with it and any part of `0..items` by all of them at once.
pub(crate) unsafe extern "C" fn run_kernel(
    host: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    grain: u64,
    step: u64,
) {
    struct SharedFrame(*const Frame);
    // SAFETY: the caller of `run_kernel` promises that the kernel may use the frame from several
    // threads.
    unsafe impl Sync for SharedFrame {}
    impl SharedFrame {
        fn get(&self) -> *const Frame {
            self.0
        }
    }

    // SAFETY: by this function's contract.
    let (host, workers) = unsafe { (&mut *host.cast::<Host<'_>>(), (*frame).workers) };
    let frame = SharedFrame(frame);
    let (number, count) = host.part;
    let items = items / count;
    let first = number * items;
    split(host.threads, workers as usize, items, grain, &|worker, range: Range<u64>| {
        // SAFETY: the range is part of `0..items`, and the caller promised the rest.
        unsafe { kernel(frame.get(), worker as u64, first + range.start, first + range.end) }
    });
    if let Some(watch) = &mut host.watch {
        watch(step as usize);
    }
}

/// That it is the function a [`Frame`] wants.
const _: Parallel = run_kernel;

#[cfg(test)]
mod tests;
