//! What every compiled program keeps: work for the chosen experts only, and bits that depend neither on
//! the batch nor on the threads.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::Sizes;
use moec::{Array, ArrayMut, Artifact, Emit, Loaded, Options, Pool, Session, Threads, WeightFiles, Weights};

fn source(name: &str, text: &str) -> SourceFile {
    SourceFile::new(name, text)
}

macro_rules! example {
    ($name:literal) => {
        source($name, include_str!(concat!("../../../examples/", $name)))
    };
}

fn compile(source: &SourceFile, optimise: bool) -> Artifact {
    moec::compile(source, &Options { optimise, ..Options::default() }, &mut |_| ()).unwrap()
}

fn load(artifact: &Artifact, pool: &Pool) -> Arc<Loaded> {
    let files = WeightFiles::default();
    let sizes = artifact.checked().ir.dims.sized().clone();
    artifact.load(&mut Weights::new(&files, 7, sizes, pool, &mut |_, _| ()), pool).unwrap()
}

fn optimised(source: &SourceFile) -> String {
    let mut texts = moec::emit(source, &Options::default(), &[Emit::Opt], &mut |_| ()).unwrap();
    texts.pop().unwrap().1
}

#[test]
fn the_way_it_is_written_does_not_matter() {
    let forms = [example!("systems/s2_top_k.moe"), example!("systems/s2b_flatten.moe")];
    assert_eq!(optimised(&forms[0]), optimised(&forms[1]));
    let forms = [example!("systems/s1_soft_sum.moe"), example!("systems/s1_soft_stacked.moe")];
    assert_eq!(optimised(&forms[0]), optimised(&forms[1]));
}

/// 8 experts, 2 per token: gate, up and down for two rows a token instead of eight.
#[test]
fn only_chosen_experts_are_computed() {
    for file in [example!("systems/s2_top_k.moe"), example!("systems/s2b_flatten.moe")] {
        let sizes: Sizes = [("T".into(), 64)].into();
        let rows = compile(&file, true).plan().product_rows(&sizes).unwrap();
        assert_eq!((rows.routed, rows.plain), (3 * 2 * 64, 64), "{}", file.name);
    }
    let file = example!("systems/s2_top_k.moe");
    let rows = compile(&file, false).plan().product_rows(&[("T".into(), 64)].into()).unwrap();
    // Gate and up for all experts are one product each whose columns are all experts'.
    assert_eq!(rows.routed, 0);
    assert!(rows.plain >= (8 + 2 + 1) * 64, "{rows:?}");
}

/// Granite at its real sizes, a batch of 1000.
#[test]
fn bits_depend_on_neither_batch_nor_threads() {
    const HIDDEN: u64 = 1024;
    const TOKENS: u64 = 1000;
    let artifact = compile(&example!("granite.moe"), true);
    let two = Arc::new(Pool::new(2).unwrap());
    let loaded = load(&artifact, &two);
    let x: Vec<f32> = (0..TOKENS * HIDDEN).map(|i| ((i * 7919 % 10_007) as f32 * 0.61).sin()).collect();
    let run = |pool: &Arc<Pool>, x: &[f32]| {
        let mut session = Session::new(Arc::clone(&loaded), Arc::clone(pool));
        let shape = [x.len() as u64 / HIDDEN, HIDDEN];
        let mut y = vec![0f32; x.len()];
        session.run(&[Array::new(&shape, x)], &mut [ArrayMut::new(&shape, &mut y)]).unwrap();
        y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let whole = run(&two, &x);
    assert!(whole.iter().any(|&bits| bits != 0));
    let one = Arc::new(Pool::new(1).unwrap());
    assert_eq!(whole, run(&one, &x), "one thread and two");
    for pool in [&one, &two] {
        for token in (0..TOKENS as usize).step_by(83) {
            let row = token * HIDDEN as usize..(token + 1) * HIDDEN as usize;
            assert_eq!(whole[row.clone()], run(pool, &x[row]), "token {token} alone");
        }
        let part = 17 * HIDDEN as usize..(17 + 39) * HIDDEN as usize;
        assert_eq!(whole[part.clone()], run(pool, &x[part]), "39 tokens");
    }
}

/// DeepSeek-V2-Lite made narrower: the shared experts are done with the others.
#[test]
fn shared_experts_give_the_same_bits_on_any_threads() {
    let text = r#"
model shared {
    dim T, H = 256, F = 176, E = 16, K = 3, S = 352
    input  x      : f32[T, H]
    weight router : bf16[E, H]    from "router"
    weight w1, w3 : bf16[E, F, H] from "w1", "w3"
    weight w2     : bf16[E, H, F] from "w2"
    weight s1, s3 : bf16[S, H]    from "s1", "s3"
    weight s2     : bf16[H, S]    from "s2"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * swiglu(x, w1[e], w3[e], w2[e]) } + swiglu(x, s1, s3, s2)
}
"#;
    let artifact = compile(&source("shared.moe", text), true);
    assert_eq!(artifact.plan().run.iter().filter(|step| step.together).count(), 1);
    let own = Pool::new(1).unwrap();
    let loaded = load(&artifact, &own);
    for tokens in [0, 1, 32, 300] {
        let x: Vec<f32> = (0..tokens * 256).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |pool: Box<dyn Threads>| {
            let mut session = Session::new(Arc::clone(&loaded), Arc::<dyn Threads>::from(pool));
            let (shape, mut y) = ([tokens, 256], vec![0f32; x.len()]);
            session.run(&[Array::new(&shape, &x)], &mut [ArrayMut::new(&shape, &mut y)]).unwrap();
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = run(Box::new(Pool::new(1).unwrap()));
        assert_eq!(one, run(Box::new(Pool::new(2).unwrap())), "{tokens} tokens, two threads");
        assert_eq!(one, run(Box::new(Scoped)), "{tokens} tokens, threads of the host");
    }
}

/// A pool of the host, which starts its threads anew for each step.
struct Scoped;

impl Threads for Scoped {
    fn threads(&self) -> usize {
        3
    }

    fn join(&self, most: usize, task: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..most {
                scope.spawn(task);
            }
            task();
        });
    }
}

#[test]
fn a_pool_of_the_host_gives_the_same_bits() {
    let artifact = compile(&example!("granite.moe"), true);
    let own = Pool::new(1).unwrap();
    let shape = [40, 1024];
    let x: Vec<f32> = (0..40 * 1024).map(|i| (i as f32 * 0.61).sin()).collect();
    let run = |loaded: Arc<Loaded>, pool: Box<dyn Threads>| {
        let steps = artifact.plan().run.len();
        let mut session = Session::new(loaded, Arc::<dyn Threads>::from(pool));
        let mut y = vec![0f32; x.len()];
        let mut done = Vec::new();
        let (given, mut wanted) = ([Array::new(&shape, &x)], [ArrayMut::new(&shape, &mut y)]);
        session.run_watched(&given, &mut wanted, &mut |step| done.push(step)).unwrap();
        assert_eq!(done, (0..steps).collect::<Vec<_>>());
        y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let files = WeightFiles::default();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let theirs =
        artifact.load(&mut Weights::new(&files, 7, sizes, &Scoped, &mut |_, _| ()), &Scoped).unwrap();
    let ours = load(&artifact, &own);
    assert_eq!(run(theirs, Box::new(Scoped)), run(ours, Box::new(own)));
}
