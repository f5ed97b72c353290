//! A session in its steady state allocates nothing, on any of its threads.

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::{Array, ArrayMut, Numerics, Options, Pool, Session, Target, WeightFiles, Weights};

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

const MODEL: &str = include_str!("../../../tests/run/routers/r01_olmoe.moe");
const SIZES: [(&str, &str); 4] = [("H", "64"), ("F", "48"), ("E", "8"), ("K", "2")];

#[test]
fn steady_state_allocates_nothing() {
    let source = SourceFile::new("olmoe.moe", MODEL);
    let set = SIZES.map(|(name, size)| (name.to_owned(), size.to_owned())).into();
    let small = Options { set, ..Options::default() };
    // Where kernels are slow to start, few tokens get another program than many.
    let target = Target { step: 5e-5, ..Target::default() };
    let several = Options { target, batch: Numerics::Reassociate, ..small.clone() };
    for (options, threads, tokens) in
        [(small.clone(), 1, 200), (small, 2, 200), (several.clone(), 1, 200), (several, 2, 1)]
    {
        let artifact = moec::compile(&source, &options, &mut |_| ()).unwrap();
        assert_eq!(artifact.programs().len() > 1, options.batch == Numerics::Reassociate);
        let pool = Arc::new(Pool::new(threads).unwrap());
        let files = WeightFiles::default();
        let sizes = artifact.checked().ir.dims.sized().clone();
        // No file is given: all are seeded.
        let mut nothing = |_: &str, _: u64| ();
        let loaded = artifact.load(&mut Weights::new(&files, 1, sizes, &pool, &mut nothing), &pool).unwrap();
        let mut session = Session::new(loaded, pool);
        let (x, mut y) = (vec![0.5f32; tokens * 64], vec![0f32; tokens * 64]);
        let shape = [tokens as u64, 64];
        let mut call = |y: &mut [f32]| {
            session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, y)]).unwrap();
        };
        // Threads that start, and the first call with these sizes, may allocate.
        (0..50).for_each(|_| call(&mut y));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let profiler = dhat::Profiler::builder().testing().build();
        (0..50).for_each(|_| call(&mut y));
        let blocks = dhat::HeapStats::get().total_blocks;
        drop(profiler);
        assert_eq!(blocks, 0, "{threads} threads, {tokens} tokens");
        assert!(y.iter().all(|v| v.is_finite()));
    }
}
