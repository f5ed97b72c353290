//! A call into the pool allocates nothing: the process counts.
#![expect(unsafe_code, reason = "a counting allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use moec_runtime::threads::{Pool, PoolError};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `alloc` above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// Not a test of the harness, whose own thread would be counted too.
fn main() -> Result<(), PoolError> {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads)?;
        let sum = AtomicU64::new(0);
        let round = || {
            pool.run(64, 1, &|_, range| {
                sum.fetch_add(range.sum::<u64>(), Ordering::Relaxed);
            });
        };
        // Every worker has started once each has met the others in a job.
        let met = std::sync::Barrier::new(threads);
        pool.run(threads as u64, 1, &|_, _| {
            met.wait();
        });
        (0..100).for_each(|_| round());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for pause in 0..1000 {
            round();
            if pause % 100 == 0 {
                // Long enough for the workers to sleep: waking them allocates nothing either.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "with {threads} threads");
        assert_eq!(sum.load(Ordering::Relaxed), 1100 * (0..64).sum::<u64>());
    }
    Ok(())
}
