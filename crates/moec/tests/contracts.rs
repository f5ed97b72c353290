//! What every compiled program keeps: work for the chosen experts only, and bits that depend neither on
//! the batch nor on the threads.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::interp::{Tensor, round_to};
use moec::ir::{DType, Sizes};
use moec::{
    Array, ArrayMut, Artifact, Emit, HostTensor, Loaded, Options, Pool, Session, Target, Threads,
    WeightFiles, Weights,
};

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

/// The bits of an output that has the shape of the input.
fn bits(loaded: &Arc<Loaded>, pool: impl Threads + 'static, x: &Array<'_>) -> Vec<u32> {
    let mut session = Session::new(Arc::clone(loaded), pool);
    let mut y = vec![0f32; x.shape.iter().product::<u64>() as usize];
    session.run(&[*x], &mut [ArrayMut::new(x.shape, &mut y)]).unwrap();
    y.into_iter().map(f32::to_bits).collect()
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
        bits(&loaded, Arc::clone(pool), &Array::new(&[x.len() as u64 / HIDDEN, HIDDEN], x))
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

/// DeepSeek-V2-Lite made narrower.
fn narrow(weight: DType, input: DType) -> SourceFile {
    let hidden = if input == DType::Bf16 { "bf16" } else { "" };
    let text = format!(
        "model narrow {{
    dim T, H = {WIDTH}, F = 176, E = 16, K = 3, S = 352
    input  x      : {input}[T, H]
    weight router : {weight}[E, H]    from \"router\"
    weight w1, w3 : {weight}[E, F, H] from \"w1\", \"w3\"
    weight w2     : {weight}[E, H, F] from \"w2\"
    weight s1, s3 : {weight}[S, H]    from \"s1\", \"s3\"
    weight s2     : {weight}[H, S]    from \"s2\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    let routed = sum e over E {{ g[e] * ({hidden}(silu(x @ w1[e].T) * (x @ w3[e].T)) @ w2[e].T) }}
    output y : f32[T, H] = routed + {hidden}(silu(x @ s1.T) * (x @ s3.T)) @ s2.T
}}
"
    );
    source("narrow.moe", &text)
}

/// Width of the hidden states of [`narrow`].
const WIDTH: u64 = 256;
/// Tokens of a batch. More than 192 for each of 16 experts, 3 of which a token chooses: rows of one make more than one chunk.
const MANY: u64 = 1100;

/// Every kind of product, on every instruction set that this machine has: a token gives the same bits in
/// whatever batch, on whatever threads.
#[test]
fn every_target_and_type_keeps_its_bits() {
    let mut ran = Vec::new();
    for target in Target::names() {
        for (weight, input) in
            [(DType::F32, DType::F32), (DType::Bf16, DType::F32), (DType::Bf16, DType::Bf16)]
        {
            let options = Options { target: Target::named(target).unwrap(), ..Options::default() };
            let artifact = match moec::compile(&narrow(weight, input), &options, &mut |_| ()) {
                Err(error) if error.to_string().contains("this machine cannot run code") => continue,
                artifact => artifact.unwrap(),
            };
            let form = format!("{target}, {input} by {weight}");
            let together = artifact.plan().run.iter().filter(|step| step.together).count();
            assert_eq!(together, 1, "{form}: shared experts are done with the others");
            keeps_its_bits(&artifact, input, &form);
            ran.push(target);
        }
    }
    assert_eq!(ran[..3], ["host"; 3]);
}

fn keeps_its_bits(artifact: &Artifact, input: DType, form: &str) {
    let own = Pool::new(1).unwrap();
    let loaded = load(artifact, &own);
    let value = |i: u64| (i * 7919 % 10_007) as f64 * 0.61;
    let x = (0..MANY * WIDTH).map(|i| round_to(input, value(i).sin())).collect();
    let x = HostTensor::from_oracle(&Tensor::new(input, vec![MANY as usize, WIDTH as usize], x).unwrap());
    let x = x.unwrap();
    let run = |pool: Arc<dyn Threads>, first: u64, count: u64| {
        let part = x.select(0, 1, &(first..first + count).collect::<Vec<_>>()).unwrap();
        bits(&loaded, pool, &part.array())
    };
    let pool = |threads| Arc::new(Pool::new(threads).unwrap());
    let whole = run(pool(1), 0, MANY);
    assert!(whole.iter().any(|&bits| bits != 0), "{form}");
    assert_eq!(whole, run(pool(2), 0, MANY), "{form}: two threads");
    assert_eq!(whole, run(Arc::new(Scoped), 0, MANY), "{form}: threads of the host");
    for (first, count) in [(0, 0), (0, 1), (611, 1), (1099, 1), (40, 4), (17, 39), (300, 300)] {
        let rows = (first * WIDTH) as usize..((first + count) * WIDTH) as usize;
        for threads in [1, 2] {
            let found = run(pool(threads), first, count);
            assert_eq!(whole[rows.clone()], found, "{form}: {count} tokens from {first}, {threads} threads");
        }
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
