//! A host lends threads of its own to a compiled model, which then starts none.
//!
//! `cargo run --release -p moec --example own_pool`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use moec::diag::SourceFile;
use moec::{Array, ArrayMut, Options, Session, Threads, WeightFiles, Weights};

/// Here the threads are new for each step; a host has better ones. With rayon, `join` would be
/// `rayon::in_place_scope(|scope| { (1..most).for_each(|_| scope.spawn(|_| task())); task() })`.
struct HostThreads {
    count: usize,
    /// Steps that were split.
    split: AtomicUsize,
}

impl Threads for HostThreads {
    fn threads(&self) -> usize {
        self.count
    }

    fn join(&self, most: usize, task: &(dyn Fn() + Sync)) {
        self.split.fetch_add(1, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 1..most {
                scope.spawn(task);
            }
            task();
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let source = SourceFile::new("granite.moe", include_str!("granite.moe"));
    let artifact = moec::compile(&source, &Options::default(), &mut |_| ())?;
    let pool = Arc::new(HostThreads { count: 2, split: AtomicUsize::new(0) });
    let files = WeightFiles::default();
    let mut nothing = |_: &str, _: u64| ();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let loaded = artifact.load(&mut Weights::new(&files, 0, sizes, &pool, &mut nothing), &pool)?;

    let mut session = Session::new(loaded, Arc::clone(&pool));
    let shape = [64, 1024];
    let x: Vec<f32> = (0..64 * 1024).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut y = vec![0f32; x.len()];
    let before = pool.split.load(Ordering::Relaxed);
    session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, &mut y)])?;
    let split = pool.split.load(Ordering::Relaxed) - before;
    println!("y[0] begins with {:?}; {split} steps ran on the host's threads", &y[..4]);
    Ok(())
}
