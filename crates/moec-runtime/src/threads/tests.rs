//! Coverage, panics, many callers, sleep. What a call allocates is in `tests/pool_allocation.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;

fn run_once_each(pool: &Pool, items: u64, grain: u64) {
    let runs: Vec<AtomicU64> = (0..items).map(|_| AtomicU64::new(0)).collect();
    pool.run(items, grain, &|worker, range: Range<u64>| {
        assert!(worker < pool.threads());
        for item in range {
            runs[item as usize].fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{items} items by {grain}");
}

#[test]
fn every_item_runs_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        for items in [0, 1, 2, 7, 64, 1000] {
            for grain in [0, 1, 3, 64, 999, 1000, u64::MAX] {
                run_once_each(&pool, items, grain);
            }
        }
    }
}

#[test]
fn jobs_in_a_row_and_after_sleep() {
    let pool = Pool::new(2).unwrap();
    for round in 0..20_000 {
        run_once_each(&pool, 1 + round % 5, 1);
    }
    for _ in 0..3 {
        let asleep = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            pool.shared.sleepers.load(Ordering::SeqCst) == 1
        });
        assert!(asleep, "an idle worker sleeps");
        run_once_each(&pool, 100, 1);
    }
}

#[test]
fn both_threads_take_part() {
    let pool = Pool::new(2).unwrap();
    let met = std::sync::Barrier::new(2);
    // Passes only when the two items run at the same time.
    pool.run(2, 1, &|_, _| {
        met.wait();
    });
}

#[test]
fn absurd_counts_are_errors() {
    for threads in [0, MAX_THREADS + 1, usize::MAX] {
        assert!(matches!(Pool::new(threads), Err(PoolError::Count(count)) if count == threads));
    }
    let message = Pool::new(0).err().unwrap().to_string();
    assert_eq!(message, "0 threads asked for: give a number from 1 to 1024");
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3).unwrap();
    for bad in [0, 1, 50, 99] {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, 1, &|_, range: Range<u64>| assert!(!range.contains(&bad), "item {bad} is bad"));
        }));
        let payload = outcome.unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().unwrap(), &format!("item {bad} is bad"));
        run_once_each(&pool, 100, 1);
    }
}

#[test]
fn many_host_threads_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|round| run_once_each(&pool, round % 17, 1)));
        }
    });
}

#[test]
fn a_job_within_a_job_runs_inline() {
    let pool = Pool::new(2).unwrap();
    let total = AtomicU64::new(0);
    pool.run(8, 1, &|_, _| {
        pool.run(10, 1, &|_, range: Range<u64>| {
            total.fetch_add(range.end - range.start, Ordering::Relaxed);
        });
    });
    assert_eq!(total.load(Ordering::Relaxed), 80);
}

#[test]
fn generated_code_calls_through_a_function_pointer() {
    /// Notes the square of each item in the buffer, and the worker in the scratch.
    unsafe extern "C" fn square(frame: *const Frame, worker: u64, begin: u64, end: u64) {
        // SAFETY: the test passes a frame with one buffer of 100 atomics.
        let (frame, squares) = unsafe { (&*frame, (*(*frame).buffers).cast::<AtomicU64>()) };
        assert!(worker < frame.workers);
        for item in begin..end {
            // SAFETY: items are below 100.
            unsafe { &*squares.add(item as usize) }.store(item * item, Ordering::Relaxed);
        }
    }
    let pool = Pool::new(2).unwrap();
    let squares: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
    let buffers = [squares.as_ptr().cast_mut().cast::<u8>()];
    let mut steps = Vec::new();
    let mut watch = |step| steps.push(step);
    let mut host = Host { threads: &pool, part: (0, 1), watch: Some(&mut watch) };
    let frame = Frame {
        buffers: buffers.as_ptr(),
        dims: std::ptr::null(),
        scratch: std::ptr::null_mut(),
        scratch_stride: 0,
        workers: pool.threads() as u64,
        parallel: run_kernel,
        host: (&raw mut host).cast(),
        read: std::ptr::null_mut(),
        fault: std::ptr::null_mut(),
        step: 0,
    };
    // SAFETY: the pool, the frame and the squares outlive the call, and `square` may run on any
    // threads.
    unsafe { (frame.parallel)(frame.host, square, &frame, 100, 7, 3) };
    assert_eq!(steps, [3]);
    assert!(squares.iter().enumerate().all(|(i, s)| s.load(Ordering::Relaxed) == (i * i) as u64));
}

#[test]
fn chunks_of_bytes_are_disjoint_and_numbered() {
    let pool = Pool::new(2).unwrap();
    let mut bytes = vec![0u8; 1003];
    pool.run_chunks(&mut bytes, 10, &|index, chunk| chunk.fill(index as u8));
    assert!(bytes.iter().enumerate().all(|(i, &byte)| byte == (i / 10) as u8));
    pool.run_chunks(&mut [], 10, &|_, _| unreachable!("there is no chunk"));
}

/// Pools that do as little as they may, or more than they are asked for.
struct Foreign(fn(usize, &(dyn Fn() + Sync)));

impl Threads for Foreign {
    fn threads(&self) -> usize {
        3
    }

    fn join(&self, most: usize, task: &(dyn Fn() + Sync)) {
        (self.0)(most, task);
    }
}

#[test]
fn any_pool_will_do() {
    let pools = [
        Foreign(|_, _| ()),
        Foreign(|_, task| task()),
        Foreign(|most, task| (0..most + 5).for_each(|_| task())),
        Foreign(|most, task| {
            std::thread::scope(|scope| {
                (1..most).for_each(|_| drop(scope.spawn(task)));
                task();
            });
        }),
        Foreign(|_, task| {
            // A call whose panic the pool keeps to itself.
            let _ = catch_unwind(AssertUnwindSafe(task));
        }),
    ];
    for pool in &pools {
        for (items, grain) in [(0, 1), (1, 1), (2, 1), (100, 1), (100, 7), (1000, 3)] {
            let runs: Vec<AtomicU64> = (0..items).map(|_| AtomicU64::new(0)).collect();
            let busy: [AtomicU64; 3] = Default::default();
            (pool as &dyn Threads).run(items, grain, &|worker, range: Range<u64>| {
                assert_eq!(busy[worker].fetch_add(1, Ordering::SeqCst), 0, "two calls share a worker");
                for item in range {
                    runs[item as usize].fetch_add(1, Ordering::Relaxed);
                }
                busy[worker].fetch_sub(1, Ordering::SeqCst);
            });
            assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{items} items by {grain}");
        }
    }
}
