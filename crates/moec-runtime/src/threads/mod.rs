//! The fork-join pool that kernels are split over. Owns worker threads and the hand-over of one job
//! at a time; knows of generated code only how it is called.
//!
//! A job is a number of items and a function of a range of them. Ranges of `grain` items are
//! claimed from one atomic counter, so which thread runs an item is left to chance and every item
//! must be computable by itself: that is what makes results independent of the number of threads.
//! The calling thread works too and waits only for workers that took part, never for one that is
//! still waking up. A steady-state call allocates nothing. Idle workers spin for some tens of
//! microseconds, then sleep.
//!
//! When several host threads call at once, one gets the workers and the others run their job
//! inline: with as many callers as cores that is the better schedule anyway. A job started from
//! within a job runs inline for the same reason.
//!
//! Why our own: on two cores, two chunks of 20 us took 20.3 us here, 34 with `rayon` (a foreign
//! caller sleeps while it waits, and the injector allocates now and then), 75 with `paralight`
//! (which allocates in every call) and 40 with `chili` (work is shared on a heartbeat, too late for
//! chunks this short). `fork_union` 1 needs nightly Rust and never sleeps; 2 is C++.
#![expect(unsafe_code, reason = "a job on the caller's stack is lent to other threads")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use moec_plan::abi::{Frame, KernelFn, Parallel};

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 1024;

/// Rounds of `spin_loop` before a waiting thread sleeps: 20 to 100 microseconds, the gap between
/// two kernels of one run.
const SPINS: u32 = 2000;

/// A pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Zero threads, or more than [`MAX_THREADS`].
    #[error("{0} threads asked for: give a number from 1 to {MAX_THREADS}")]
    Count(usize),
    /// The system refused to start a thread.
    #[error("cannot start worker thread {index}: {source}")]
    Spawn {
        /// The worker's number, from 1; the caller is 0.
        index: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Worker threads that wait for jobs; dropping the pool ends them. See the module for the rules.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the host thread that has the workers.
    busy: AtomicBool,
}

/// On a cache line of its own (two, since x86 prefetches pairs).
#[repr(align(128))]
struct Padded<T>(T);

struct Shared {
    /// `epoch << 32 | OPEN | number of workers inside`. The epoch counts jobs, so that a worker
    /// enters each one once.
    gate: Padded<AtomicU64>,
    /// Chunks claimed so far.
    claimed: Padded<AtomicU64>,
    /// Written only while the gate is closed and empty; read only by workers that entered, and by
    /// the caller.
    job: UnsafeCell<Job>,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    lock: Mutex<()>,
    opened: Condvar,
    emptied: Condvar,
    spins: u32,
}

// SAFETY: every field but `job` is Sync by itself; `job` follows the protocol stated there, and the
// function it points to is Sync (the bound on `Pool::run`).
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing is tied to the thread that made it.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize, Range<u64>),
    work: *const (),
    items: u64,
    grain: u64,
    chunks: u64,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

impl Pool {
    /// A pool that runs jobs on `threads` threads, the calling one included.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        if threads == 0 || threads > MAX_THREADS {
            return Err(PoolError::Count(threads));
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let shared = Arc::new(Shared {
            gate: Padded(AtomicU64::new(0)),
            claimed: Padded(AtomicU64::new(0)),
            job: UnsafeCell::new(Job { call: idle, work: std::ptr::null(), items: 0, grain: 1, chunks: 0 }),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            lock: Mutex::new(()),
            opened: Condvar::new(),
            emptied: Condvar::new(),
            // A thread that spins keeps the one it waits for off the core when there are more
            // threads than cores.
            spins: if threads > cores { 0 } else { SPINS },
        });
        let mut pool =
            Pool { shared, workers: Vec::with_capacity(threads - 1), busy: AtomicBool::new(false) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("moec-{index}"))
                .spawn(move || shared.serve(index))
                .map_err(|source| PoolError::Spawn { index, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads a job runs on, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(worker, range)` on ranges that cover `0..items` once, in any order and on any
    /// threads; returns when all are done.
    ///
    /// `worker` is below [`Pool::threads`] and no two calls at one time share it within one job: it
    /// may index scratch memory. Ranges have `grain` items (the last one fewer), or all of them
    /// where the job runs inline. A panic in `work` ends the job early and goes on in the caller
    /// once no other thread is left in it.
    pub fn run<F: Fn(usize, Range<u64>) + Sync>(&self, items: u64, grain: u64, work: &F) {
        let grain = grain.max(1);
        let chunks = items.div_ceil(grain);
        let helpers = chunks.saturating_sub(1).min(self.workers.len() as u64);
        if helpers == 0 || self.busy.swap(true, Ordering::Acquire) {
            if items > 0 {
                work(0, 0..items);
            }
            return;
        }
        let job = Job { call: call::<F>, work: (&raw const *work).cast(), items, grain, chunks };
        self.shared.open(job, helpers as usize);
        self.shared.drain(&job, 0);
        self.shared.close();
        let panic = lock(&self.shared.panic).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Calls `work(index, chunk)` on the chunks of `chunk` bytes that `bytes` divides into (the
    /// last one shorter), as [`Pool::run`] does.
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

    /// This pool as the `host` argument of [`run_kernel`]. Valid while the pool is neither moved
    /// nor dropped.
    pub fn as_host(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.lock));
        self.shared.opened.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a job, so there is no outcome to look at.
            let _ = worker.join();
        }
    }
}

/// [`Pool::run`] as generated code calls it. A panic in `kernel` aborts the process.
///
/// # Safety
/// `host` is [`Pool::as_host`] of a live pool; `frame` has at least [`Pool::threads`] workers, and
/// `kernel` may be called with it and any part of `0..items` by all of them at once.
pub unsafe extern "C" fn run_kernel(
    host: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    grain: u64,
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

    // SAFETY: `host` is a live pool, by this function's contract.
    let pool = unsafe { &*host.cast_const().cast::<Pool>() };
    let frame = SharedFrame(frame);
    pool.run(items, grain, &|worker, range: Range<u64>| {
        // SAFETY: the range is part of `0..items`, and the caller promised the rest.
        unsafe { kernel(frame.get(), worker as u64, range.start, range.end) }
    });
}

/// That it is the function a [`Frame`] wants.
const _: Parallel = run_kernel;

/// # Safety
/// `work` is a live `F`.
unsafe fn call<F: Fn(usize, Range<u64>) + Sync>(work: *const (), worker: usize, range: Range<u64>) {
    // SAFETY: by this function's contract.
    let work = unsafe { &*work.cast::<F>() };
    work(worker, range);
}

/// What an unused job slot calls.
fn idle(_: *const (), _: usize, _: Range<u64>) {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Publishes a job. Only the holder of `Pool::busy` may call it, and must call
    /// [`Shared::close`] before the job's data dies.
    fn open(&self, job: Job, helpers: usize) {
        // SAFETY: the gate is closed and empty (`close` ended the job before), so no worker reads
        // the slot.
        unsafe { *self.job.get() = job };
        self.claimed.0.store(0, Ordering::Relaxed);
        let epoch = (self.gate.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.gate.0.store(epoch << 32 | OPEN, Ordering::SeqCst);
        // Sequentially consistent with `sleep`: either the sleeper is counted here, or it sees the
        // open gate there.
        let asleep = self.sleepers.load(Ordering::SeqCst).min(helpers);
        if asleep > 0 {
            // A counted sleeper holds the lock until it waits: passing through here means it hears
            // the notification.
            drop(lock(&self.lock));
            (0..asleep).for_each(|_| self.opened.notify_one());
        }
    }

    /// Lets no further worker in and returns when none is inside.
    fn close(&self) {
        if self.gate.0.fetch_and(!OPEN, Ordering::SeqCst) & INSIDE == 0 {
            return;
        }
        for _ in 0..self.spins {
            if self.gate.0.load(Ordering::Acquire) & INSIDE == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.lock);
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while self.gate.0.load(Ordering::SeqCst) & INSIDE != 0 {
            guard = self.emptied.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    /// Claims and runs chunks until none is left. A panic is kept for the caller and ends the job.
    fn drain(&self, job: &Job, worker: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let chunk = self.claimed.0.fetch_add(1, Ordering::Relaxed);
                if chunk >= job.chunks {
                    return;
                }
                let begin = chunk * job.grain;
                let end = begin.saturating_add(job.grain).min(job.items);
                // SAFETY: `Pool::run` keeps the closure alive until `close` has seen every worker
                // leave.
                unsafe { (job.call)(job.work, worker, begin..end) };
            }
        }));
        if let Err(payload) = outcome {
            self.claimed.0.store(job.chunks, Ordering::Relaxed);
            *lock(&self.panic) = Some(payload);
        }
    }

    /// A worker's life: enter each open gate once.
    fn serve(&self, worker: usize) {
        let mut seen = 0;
        let mut spins = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let gate = self.gate.0.load(Ordering::Acquire);
            if gate & OPEN == 0 || gate >> 32 == seen {
                if spins < self.spins {
                    spins += 1;
                    std::hint::spin_loop();
                } else {
                    self.sleep(seen);
                    spins = 0;
                }
                continue;
            }
            if self.gate.0.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            seen = gate >> 32;
            spins = 0;
            // SAFETY: this thread is inside the gate, so the slot is not written until it leaves.
            let job = unsafe { *self.job.get() };
            self.drain(&job, worker);
            let before = self.gate.0.fetch_sub(1, Ordering::SeqCst);
            let last = before & (OPEN | INSIDE) == 1;
            if last && self.caller_sleeps.load(Ordering::SeqCst) {
                drop(lock(&self.lock));
                self.emptied.notify_all();
            }
        }
    }

    /// Sleeps until a job is opened after epoch `seen`; may return early.
    fn sleep(&self, seen: u64) {
        let guard = lock(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.0.load(Ordering::SeqCst);
        if (gate & OPEN == 0 || gate >> 32 == seen) && !self.stop.load(Ordering::SeqCst) {
            drop(self.opened.wait(guard));
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
