//! The pool of our own: worker threads that wait for jobs, one at a time.
//!
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

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Padded, Threads};

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
    pub(super) shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the host thread that has the workers.
    busy: AtomicBool,
}

pub(super) struct Shared {
    /// `epoch << 32 | OPEN | number of workers inside`. The epoch counts jobs, so that a worker
    /// enters each one once.
    gate: Padded<AtomicU64>,
    /// Written only while the gate is closed and empty; read only by workers that entered, and by
    /// the caller.
    job: UnsafeCell<Job>,
    pub(super) sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    lock: Mutex<()>,
    opened: Condvar,
    emptied: Condvar,
    spins: u32,
}

// SAFETY: every field but `job` is Sync by itself; `job` follows the protocol stated there, and the
// function it points to is Sync (the bound on `Threads::join`).
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing is tied to the thread that made it.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    /// Leads to a `&(dyn Fn() + Sync)` of the caller.
    task: *const (),
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
            job: UnsafeCell::new(Job { task: std::ptr::null() }),
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
                .spawn(move || shared.serve())
                .map_err(|source| PoolError::Spawn { index, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads a job runs on, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// As every host's threads do, see [`Threads`].
    pub fn run<F: Fn(usize, Range<u64>) + Sync>(&self, items: u64, grain: u64, work: &F) {
        (self as &dyn Threads).run(items, grain, work);
    }

    /// As every host's threads do.
    pub fn run_chunks<F: Fn(u64, &mut [u8]) + Sync>(&self, bytes: &mut [u8], chunk: usize, work: &F) {
        (self as &dyn Threads).run_chunks(bytes, chunk, work);
    }
}

impl Threads for Pool {
    fn threads(&self) -> usize {
        self.threads()
    }

    /// A panic in `task` goes on in the caller once no other thread is left in it.
    fn join(&self, most: usize, task: &(dyn Fn() + Sync)) {
        let helpers = most.saturating_sub(1).min(self.workers.len());
        if helpers == 0 || self.busy.swap(true, Ordering::Acquire) {
            task();
            return;
        }
        self.shared.open(Job { task: (&raw const task).cast() }, helpers);
        self.shared.take_part(Job { task: (&raw const task).cast() });
        self.shared.close();
        let panic = lock(&self.shared.panic).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
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

    /// Calls the task. A panic is kept for the caller.
    fn take_part(&self, job: Job) {
        // SAFETY: `join` keeps the task alive until `close` has seen every worker leave, and none enters
        // after that.
        let task = unsafe { *job.task.cast::<&(dyn Fn() + Sync)>() };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(task)) {
            *lock(&self.panic) = Some(payload);
        }
    }

    /// A worker's life: enter each open gate once.
    fn serve(&self) {
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
            self.take_part(job);
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
