//! The smallest host program: compile a model, give it weights, run it on slices of your own.
//!
//! `cargo run --release -p moec --example embed`

use std::error::Error;
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::{Array, ArrayMut, Options, Pool, Session, WeightFiles, Weights};

fn main() -> Result<(), Box<dyn Error>> {
    let source = SourceFile::new("granite.moe", include_str!("granite.moe"));
    let artifact = moec::compile(&source, &Options::default(), &mut |_| ())?;

    // Weights come from safetensors files; those that no file has are random. Here, all of them.
    let pool = Arc::new(Pool::new(2)?);
    let files = WeightFiles::open::<&str>(&[])?;
    let mut nothing = |_: &str, _: u64| ();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let mut weights = Weights::new(&files, 0, sizes, &pool, &mut nothing);
    let loaded = artifact.load(&mut weights, &pool)?;

    let mut session = Session::new(loaded, pool);
    for tokens in [1, 5] {
        let shape = [tokens, 1024];
        let x: Vec<f32> = (0..tokens * 1024).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut y = vec![0f32; x.len()];
        session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, &mut y)])?;
        println!("{tokens} tokens: y[0] begins with {:?}", &y[..4]);
    }
    Ok(())
}
