//! Experts that stay in their files: the same bits as with all of them in memory, and no more bytes
//! read than the decision said. Bytes are counted, not timed. Routing follows a real profile.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{
    Array, Decision, HostTensor, Options, Pool, Profile, Session, WeightFiles, Weights, write_safetensors,
};

const EXPERTS: usize = 64;
const SLOTS: usize = 8;
/// Sizes of the layer: the router passes its input on, so that tests choose the experts.
const H: usize = EXPERTS;
const F: usize = 64;
/// Bytes of one expert, bytes of the router.
const EXPERT: u64 = (3 * H * F * 4) as u64;
const ROUTER: u64 = (EXPERTS * H * 4) as u64;
/// Experts that the budget has room for.
const ROOM: u64 = 16;
const TOKENS: usize = 2;
const CALLS: u64 = 100;

fn profile(name: &str) -> Profile {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/profiles");
    Profile::read(&std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap()).unwrap()
}

/// Numbers between 0 and 1, always the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A token that chooses its experts with the chances of the profile.
fn token(chances: &[f64], dice: &mut Dice) -> Vec<f32> {
    let mut left = chances.to_vec();
    let mut x: Vec<f32> = (0..EXPERTS).map(|_| dice.next() as f32).collect();
    for _ in 0..SLOTS {
        let mut at = dice.next() * left.iter().sum::<f64>();
        let chosen = left.iter().position(|chance| {
            at -= chance;
            at < 0.0
        });
        let chosen = chosen.unwrap_or_else(|| left.iter().position(|&chance| chance > 0.0).unwrap());
        left[chosen] = 0.0;
        x[chosen] += 4.0;
    }
    x
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// A file with one tensor for each expert and matrix, and the router.
fn weights(folder: &std::path::Path) -> WeightFiles {
    let mut dice = Dice(1);
    let mut tensors = Vec::new();
    let router: Vec<f32> = (0..EXPERTS * H).map(|at| if at / H == at % H { 1.0 } else { 0.0 }).collect();
    let at = "model.layers.0.mlp";
    tensors.push((format!("{at}.gate.weight"), vec![EXPERTS as u64, H as u64], bytes(&router)));
    for expert in 0..EXPERTS {
        for (name, shape) in [("gate_proj", [F, H]), ("up_proj", [F, H]), ("down_proj", [H, F])] {
            let values: Vec<f32> = (0..H * F).map(|_| dice.next() as f32 - 0.5).collect();
            let shape = shape.map(|size| size as u64).to_vec();
            tensors.push((format!("{at}.experts.{expert}.{name}.weight"), shape, bytes(&values)));
        }
    }
    let named: Vec<_> =
        tensors.iter().map(|(name, shape, bytes)| (&**name, DType::F32, &**shape, &**bytes)).collect();
    let path = folder.join("layer.safetensors");
    write_safetensors(&path, &named).unwrap();
    WeightFiles::open(&[path]).unwrap()
}

/// A session of the layer; if it has a hot set, the experts that a call is expected to read.
fn session(files: &WeightFiles, options: Options, threads: usize) -> (Session, Option<f64>) {
    let text = include_str!("../../../examples/olmoe.moe");
    let mut options = Options { tokens: Some(TOKENS as u64), ..options };
    for (name, value) in [("H", H), ("F", F)] {
        options.set.insert(name.to_owned(), value.to_string());
    }
    let artifact = moec::compile(&SourceFile::new("olmoe.moe", text), &options, &mut |_| ()).unwrap();
    let pool = Arc::new(Pool::new(threads).unwrap());
    let mut nothing = |_: &str, _: u64| ();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let mut source = Weights::new(files, 0, sizes, &pool, &mut nothing);
    let loaded = artifact.load(&mut source, &pool).unwrap();
    let hot = artifact.placement().and_then(|placement| match &placement.plans[0].decision {
        Decision::Hot(judgement) => Some(judgement.cold),
        _ => None,
    });
    if let Some(budget) = options.memory_budget {
        assert!(loaded.bytes() as u64 <= budget + (8 * 3 * EXPERTS as u64) + 1024, "{}", loaded.bytes());
    }
    (Session::new(loaded, pool), hot)
}

/// The outputs of many calls, and the bytes that they read from the file.
fn run(session: &mut Session, chances: &[f64]) -> (Vec<Vec<u8>>, u64) {
    let mut dice = Dice(7);
    let (mut outputs, mut read) = (Vec::new(), 0);
    let shape = [TOKENS as u64, H as u64];
    for _ in 0..CALLS {
        let x: Vec<f32> = (0..TOKENS).flat_map(|_| token(chances, &mut dice)).collect();
        let mut y = HostTensor::zeros(DType::F32, &shape).unwrap();
        session.run(&[Array::new(&shape, &x)], &mut [y.array_mut()]).unwrap();
        outputs.push(y.bytes().to_vec());
        read += session.mapped_bytes_read();
    }
    (outputs, read)
}

#[test]
fn a_hot_set_reads_less_and_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let files = weights(folder.path());
    let judge = profile("olmoe-github-15");
    let chances = judge.plans()[0].chances();
    let (expected, none) = run(&mut session(&files, Options::default(), 1).0, &chances);
    assert_eq!(none, 0);

    let budget = Some(ROUTER + ROOM * EXPERT);
    let (mut cold, hot) = session(&files, Options { memory_budget: budget, ..Options::default() }, 1);
    assert_eq!(hot, None);
    let (outputs, all_cold) = run(&mut cold, &chances);
    assert!(outputs == expected, "cold experts give other bits");
    assert_eq!(all_cold % EXPERT, 0, "whole experts are read");

    let learnt = Options {
        profile: Some(profile("olmoe-arxiv-15")),
        holdout: Some(judge),
        memory_budget: budget,
        ..Options::default()
    };
    for threads in [1, 2] {
        let (mut session, hot) = session(&files, learnt.clone(), threads);
        let promised = hot.expect("the hot set is confirmed");
        let (outputs, read) = run(&mut session, &chances);
        assert!(outputs == expected, "a hot set gives other bits on {threads} threads");
        // What a cache of the same size that knows nothing would miss, and what was promised.
        let cache = all_cold as f64 * (1.0 - ROOM as f64 / EXPERTS as f64);
        assert!((read as f64) < 0.8 * cache, "{read} bytes against {cache}");
        let promised = promised * (CALLS * EXPERT) as f64;
        assert!((0.9..1.1).contains(&(read as f64 / promised)), "{read} bytes, and {promised} were expected");
    }
}

#[test]
fn a_refused_hot_set_leaves_every_expert_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = weights(folder.path());
    let options = Options {
        profile: Some(profile("olmoe-c4-15")),
        holdout: Some(profile("olmoe-arxiv-15")),
        memory_budget: Some(ROUTER + ROOM * EXPERT),
        ..Options::default()
    };
    let (mut session, hot) = session(&files, options, 2);
    assert_eq!(hot, None);
    // Every token on the same experts: each is read once a call, however many tokens it has.
    let chances: Vec<f64> = (0..EXPERTS).map(|expert| if expert < SLOTS { 1.0 } else { 0.0 }).collect();
    let (_, read) = run(&mut session, &chances);
    assert_eq!(read, CALLS * SLOTS as u64 * EXPERT);
}
