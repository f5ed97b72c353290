//! Many threads serve requests from one compiled model: the code and the weights are shared, each thread has a
//! session of its own. A result does not depend on who computes it, or on what else is in its batch.
//!
//! `cargo run --release -p moec --example serve`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use moec::diag::SourceFile;
use moec::{Array, ArrayMut, Loaded, Options, Pool, RunError, Session, WeightFiles, Weights};

const WIDTH: usize = 1024;
const REQUESTS: usize = 64;
const SERVERS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let source = SourceFile::new("granite.moe", include_str!("granite.moe"));
    let artifact = moec::compile(&source, &Options::default(), &mut |_| ())?;
    let files = WeightFiles::open::<&str>(&[])?;
    let mut nothing = |_: &str, _: u64| ();
    let loading = Pool::new(SERVERS)?;
    let sizes = artifact.checked().ir.dims.sized().clone();
    let loaded = artifact.load(&mut Weights::new(&files, 0, sizes, &loading, &mut nothing), &loading)?;

    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let counts = std::thread::scope(|scope| {
        let servers: Vec<_> = (0..SERVERS).map(|_| scope.spawn(|| serve(&loaded, &next))).collect();
        // A server does not panic; if it did, its requests would be missing from the sum.
        servers
            .into_iter()
            .map(|server| server.join().unwrap_or(Ok(0)))
            .collect::<Result<Vec<usize>, RunError>>()
    })?;
    let tokens: usize = counts.iter().sum();
    println!("{REQUESTS} requests, {tokens} tokens in {:?}; by server: {counts:?}", started.elapsed());
    Ok(())
}

/// Takes requests until there are no more. Gives the number of tokens served.
fn serve(loaded: &Arc<Loaded>, next: &AtomicUsize) -> Result<usize, RunError> {
    // With as many callers as cores, each is best served by its own thread alone.
    let Ok(alone) = Pool::new(1) else { return Ok(0) };
    let mut session = Session::new(Arc::clone(loaded), Arc::new(alone));
    let mut served = 0;
    loop {
        let request = next.fetch_add(1, Ordering::Relaxed);
        if request >= REQUESTS {
            return Ok(served);
        }
        let tokens = 1 + request % 7;
        let shape = [tokens as u64, WIDTH as u64];
        let x: Vec<f32> = (0..tokens * WIDTH).map(|i| ((i + request) as f32 * 0.37).sin()).collect();
        let mut y = vec![0f32; x.len()];
        session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, &mut y)])?;
        served += tokens;
    }
}
