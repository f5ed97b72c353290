//! What loading takes and what a call adds: hardly more than the packed weights and the activations. The only test of
//! its process, whose memory is watched.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{Array, ArrayMut, Options, Pool, Session, WeightFiles, Weights, write_safetensors};

/// 100 MB of weights.
const LAYER: &str = "
model layer {
    dim T, H = 1024, F = 512, E = 16, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w1, w3 : f32[E, F, H] from \"w1\", \"w3\"
    weight w2     : f32[E, H, F] from \"w2\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * swiglu(x, w1[e], w3[e], w2[e]) }
}
";

const TOKENS: u64 = 256;
const HIDDEN: u64 = 1024;
/// Rows of the widths H and F, gathered and not, for each chosen expert.
const ACTIVATIONS: u64 = TOKENS * 2 * 2 * (HIDDEN + 512) * 4;

/// Bytes that this process has beside its mapped files.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// What `work` gives, and by how much memory rose at most meanwhile.
fn watched<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let (before, done) = (anonymous(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(anonymous());
                std::thread::sleep(Duration::from_millis(1));
            }
            most.max(anonymous())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, watch.join().unwrap().saturating_sub(before))
    })
}

#[test]
fn a_loaded_layer_takes_little_more_than_its_weights() {
    let artifact =
        moec::compile(&SourceFile::new("layer.moe", LAYER), &Options::default(), &mut |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    {
        let expert = vec![7; 4 * 16 * 512 * 1024];
        let router = vec![7; 4 * 16 * 1024];
        write_safetensors(
            &path,
            &[
                ("router", DType::F32, &[16, 1024], &router),
                ("w1", DType::F32, &[16, 512, 1024], &expert),
                ("w3", DType::F32, &[16, 512, 1024], &expert),
                ("w2", DType::F32, &[16, 1024, 512], &expert),
            ],
        )
        .unwrap();
    }
    let files = WeightFiles::open(&[path]).unwrap();
    let pool = Arc::new(Pool::new(2).unwrap());
    let sizes = artifact.checked().ir.dims.sized().clone();
    let (loaded, peak) = watched(|| {
        let mut nothing = |_: &str, _: u64| ();
        artifact.load(&mut Weights::new(&files, 0, sizes, &pool, &mut nothing), &pool).unwrap()
    });
    let packed = loaded.bytes() as u64;
    let foretold = artifact.loaded_bytes().unwrap();
    assert!((packed..packed + 4096).contains(&foretold), "{foretold} foretold, {packed} taken");
    assert!(packed > 100_000_000, "{packed}");
    assert!(peak > packed / 2, "{peak} of {packed}: nothing was watched");
    assert!(peak <= packed + packed / 10, "loading rose to {peak}, packed weights are {packed}");

    let x = vec![0.5f32; (TOKENS * HIDDEN) as usize];
    let (_, more) = watched(|| {
        let mut session = Session::new(Arc::clone(&loaded), Arc::clone(&pool));
        let mut y = vec![0f32; x.len()];
        let shape = [TOKENS, HIDDEN];
        session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, &mut y)]).unwrap();
        y
    });
    assert!(more <= ACTIVATIONS, "a call rose by {more}, activations are {ACTIVATIONS}");
}
