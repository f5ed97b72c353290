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

const LAYER: &str = include_str!("../../../tests/run/routers/r01_olmoe.moe");
/// 100 MB of weights.
const SIZES: [(&str, u64); 4] = [("H", HIDDEN), ("F", 512), ("E", EXPERTS), ("K", 2)];

const TOKENS: u64 = 256;
const HIDDEN: u64 = 1024;
const EXPERTS: u64 = 16;
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
    let set = SIZES.map(|(name, size)| (name.to_owned(), size.to_string())).into();
    let options = Options { set, ..Options::default() };
    let artifact = moec::compile(&SourceFile::new("olmoe.moe", LAYER), &options, &mut |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    {
        let (matrix, router) = (vec![7; 4 * 512 * 1024], vec![7; 4 * 16 * 1024]);
        let of_expert = |e| {
            [("w1", [512, HIDDEN]), ("w3", [512, HIDDEN]), ("w2", [HIDDEN, 512])]
                .map(|(name, shape)| (format!("experts.{e}.{name}.weight"), shape))
        };
        let matrices: Vec<_> = (0..EXPERTS).flat_map(of_expert).collect();
        let mut tensors: Vec<(&str, DType, &[u64], &[u8])> =
            matrices.iter().map(|(name, shape)| (&**name, DType::F32, &shape[..], &matrix[..])).collect();
        tensors.push(("gate.weight", DType::F32, &[EXPERTS, HIDDEN], &router));
        write_safetensors(&path, &tensors).unwrap();
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
