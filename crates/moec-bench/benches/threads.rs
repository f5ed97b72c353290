//! What a parallel job costs: one item of some microseconds for each thread, less the item. Run it with
//! `cargo bench -p moec-bench --bench threads`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use moec::Pool;
use moec_bench::median;

/// Jobs in a round, one right after another, as the steps of a layer are.
const JOBS: u32 = 200;
const ROUNDS: usize = 51;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    println!("{:>7} {:>12} {:>16}", "threads", "an item, us", "more for a job, us");
    for threads in 2..=cores {
        let pool = Pool::new(threads)?;
        for micros in [5, 20, 100] {
            let item = Duration::from_micros(micros);
            let mut over: Vec<f64> = (0..ROUNDS).map(|_| over(&pool, threads, item)).collect();
            println!("{threads:>7} {micros:>12} {:>16.2}", median(&mut over) * 1e6);
        }
    }
    Ok(())
}

/// Seconds that a job takes beyond the time of an item.
fn over(pool: &Pool, threads: usize, item: Duration) -> f64 {
    let started = Instant::now();
    for _ in 0..JOBS {
        pool.run(threads as u64, 1, &|_, range| {
            let started = Instant::now();
            while started.elapsed() < item {
                black_box(&range);
            }
        });
    }
    (started.elapsed() / JOBS).as_secs_f64() - item.as_secs_f64()
}
