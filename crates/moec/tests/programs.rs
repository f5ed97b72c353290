//! Several programs in one artifact, each for a range of numbers of tokens.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{
    Array, ArrayMut, Artifact, Numerics, Options, Pool, Session, Target, WeightFiles, Weights, difference,
    random_input,
};

const HIDDEN: u64 = 64;

const MODEL: &str = "
model few {
    dim T, H = 64, F = 64, E = 4, K = 3
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w1     : f32[E, F, H] from \"w1\"
    weight w2     : f32[E, H, F] from \"w2\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * (relu(x @ w1[e].T) @ w2[e].T) }
}
";

/// A machine on which kernels are slow to start: at few tokens all experts in few kernels are cheaper
/// than the chosen ones in many.
fn options(tokens: Option<u64>, batch: Numerics) -> Options {
    let target = Target { step: 5e-6, ..Target::default() };
    Options { tokens, batch, target, ..Options::default() }
}

fn compile(options: &Options) -> Artifact {
    moec::compile(&SourceFile::new("few.moe", MODEL), options, &mut |_| ()).unwrap()
}

/// A session, and the bytes of its weights.
fn session(artifact: &Artifact, pool: &Arc<Pool>) -> (Session, usize) {
    let files = WeightFiles::default();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let loaded = artifact.load(&mut Weights::new(&files, 7, sizes, pool, &mut |_, _| ()), pool).unwrap();
    let bytes = loaded.bytes();
    (Session::new(loaded, Arc::clone(pool)), bytes)
}

fn run(session: &mut Session, x: &[f32]) -> Vec<f32> {
    let shape = [x.len() as u64 / HIDDEN, HIDDEN];
    let mut y = vec![0f32; x.len()];
    session.run(&[Array::new(&shape, x)], &mut [ArrayMut::new(&shape, &mut y)]).unwrap();
    y
}

fn is_sparse(module: &moec::ir::Module) -> bool {
    module.nodes.iter().any(|node| node.op.mnemonic() == "combine")
}

#[test]
fn each_range_has_its_program() {
    let artifact = compile(&options(None, Numerics::Reassociate));
    let [(0, dense), (from, sparse)] = artifact.programs() else {
        panic!("{:?}", artifact.programs().iter().map(|(from, _)| from).collect::<Vec<_>>());
    };
    assert!(!is_sparse(dense) && is_sparse(sparse));
    let choices = &artifact.report().choices;
    assert!(choices.iter().all(|choice| choice.variant == usize::from(choice.tokens >= *from)));
    let pool = Arc::new(Pool::new(1).unwrap());
    let (mut both, bytes) = session(&artifact, &pool);
    // From one size to another and back; each program gives what it gives alone.
    for tokens in [1, *from, from - 1, 300, 0, 5] {
        let at = usize::from(tokens >= *from);
        let alone = compile(&options(Some(if at == 0 { 1 } else { 4096 }), Numerics::Bit));
        assert_eq!(alone.module(), &artifact.programs()[at].1);
        let (mut alone, bytes_alone) = session(&alone, &pool);
        let x = random_input(&pool, tokens, "x", DType::F32, &[tokens, HIDDEN]).unwrap();
        let x = &x.as_slice::<f32>()[..(tokens * HIDDEN) as usize];
        let bits = |y: Vec<f32>| y.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(run(&mut both, x)), bits(run(&mut alone, x)), "{tokens} tokens");
        // The weights of experts are there once.
        assert!(bytes < bytes_alone + bytes_alone / 10, "{bytes} and {bytes_alone}");
    }
}

/// What the default promises: a token has the bits that it has alone, on any machine.
#[test]
fn programs_of_the_default_do_not_show_the_batch() {
    let artifact = compile(&options(None, Numerics::Bit));
    let pool = Arc::new(Pool::new(1).unwrap());
    let (mut session, _) = session(&artifact, &pool);
    let x = random_input(&pool, 3, "x", DType::F32, &[300, HIDDEN]).unwrap();
    let x = &x.as_slice::<f32>()[..300 * HIDDEN as usize];
    let whole = run(&mut session, x);
    for (token, (x, y)) in x.chunks(HIDDEN as usize).zip(whole.chunks(HIDDEN as usize)).enumerate() {
        let alone = run(&mut session, x);
        assert!(alone.iter().zip(y).all(|(a, b)| a.to_bits() == b.to_bits()), "token {token}");
    }
}

#[test]
fn what_was_refused_is_reported() {
    let options = Options { alternatives: true, ..options(None, Numerics::Bit) };
    let artifact = compile(&options);
    // At the usual number of tokens the chosen experts are cheaper, and at few all of them would be; but
    // a dense sum has other bits than a sparse one where data is not finite.
    let first = &artifact.report().choices[0];
    assert_eq!(first.tokens, 1);
    let dense = first.alternatives.iter().find(|other| other.reason == moec::Reason::Batch).unwrap();
    assert!(dense.seconds < first.seconds, "{dense:?}");
    assert!(dense.without.contains(&"combine"), "{dense:?}");
    let last = artifact.report().choices.last().unwrap();
    assert_eq!(last.tokens, 4096);
    assert!(last.alternatives.iter().all(|other| other.seconds >= last.seconds), "{last:?}");
}

#[test]
fn programs_agree() {
    let pool = Arc::new(Pool::new(2).unwrap());
    let x = random_input(&pool, 3, "x", DType::F32, &[9, HIDDEN]).unwrap();
    let results = [options(None, Numerics::Reassociate), Options::default()].map(|options| {
        let (mut session, _) = session(&compile(&options), &pool);
        let y = run(&mut session, &x.as_slice::<f32>()[..9 * HIDDEN as usize]);
        y.into_iter().map(f64::from).collect::<Vec<_>>()
    });
    assert!(difference(&results[0], &results[1]) < 1e-5);
}
