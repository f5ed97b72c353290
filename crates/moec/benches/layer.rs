//! Time per call of whole MoE layers, beside the limits of this machine measured in the same run.
//!
//! `cargo bench -p moec --bench layer -- [LAYER] [--tokens 1,32,256] [--threads 1,2] [--type f32|bf16|mixed] [--rounds 9]`
//!
//! For each number of tokens it alternates rounds of the layer with rounds of two probes, one that reads
//! 1 GiB and one that multiplies in registers, on as many threads as the layer runs on. The limit of a
//! call is the longer of its touched weights at the rate of the first and its useful flops at the rate of
//! the second. Figures are medians. Inputs rotate, so that the experts of one call are not those of the
//! call before. With `--type bf16` weights and input are bf16 and the hidden activation is rounded to bf16,
//! as transformers computes in bf16; `mixed` has bf16 weights and f32 activations.

#[expect(dead_code, reason = "the other benchmark needs more")]
mod support;

use std::collections::BTreeSet;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use moec::buffer::Buffer;
use moec::diag::SourceFile;
use moec::probe::{self, Products};
use moec::{Array, ArrayMut, Loaded, Options, Pool, Session, Stage, WeightFiles, Weights};

use support::{Body, Layer, Types, median};

const GATED: Body = Body::Gated { shared: 0 };

const LAYERS: [Layer; 5] = [
    Layer { name: "olmoe", e: 64, k: 8, h: 2048, f: 1024, body: GATED },
    Layer { name: "mixtral4", e: 8, k: 2, h: 1024, f: 3584, body: GATED },
    Layer { name: "qwen3", e: 128, k: 8, h: 2048, f: 768, body: GATED },
    Layer { name: "dsv2lite", e: 64, k: 6, h: 2048, f: 1408, body: Body::Gated { shared: 2 } },
    Layer { name: "toy", e: 4, k: 0, h: 8, f: 64, body: Body::Linear },
];

/// A round of calls takes at least so many seconds.
const ROUND: f64 = 0.04;

/// What the command line asks for.
struct Wanted {
    layer: Option<String>,
    tokens: Vec<u64>,
    threads: Vec<usize>,
    types: Types,
    rounds: usize,
}

fn wanted() -> Result<Wanted, Box<dyn Error>> {
    let mut wanted = Wanted {
        layer: None,
        tokens: vec![1, 4, 32, 256, 1024],
        threads: vec![1],
        types: Types::F32,
        rounds: 9,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => {}
            "--tokens" => wanted.tokens = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--threads" => wanted.threads = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--rounds" => wanted.rounds = value()?.parse::<usize>()?.max(1),
            "--type" => {
                let name = value()?;
                let known = Types::ALL.into_iter().find(|(known, _)| *known == name);
                wanted.types = known.ok_or("--type is f32, bf16 or mixed")?.1;
            }
            name => wanted.layer = Some(name.to_owned()),
        }
    }
    Ok(wanted)
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = wanted()?;
    let pools: Vec<_> =
        wanted.threads.iter().map(|&threads| Pool::new(threads).map(Arc::new)).collect::<Result<_, _>>()?;
    // Written once: memory that was never written may all be one page of zeros.
    let mut memory = Buffer::zeroed(1 << 30)?;
    memory.as_mut_slice::<f32>().fill(1.5);
    for layer in LAYERS.iter().filter(|l| wanted.layer.as_deref().is_none_or(|w| w == l.name)) {
        let loaded = load(layer, wanted.types)?;
        for pool in &pools {
            println!("{} {:?}, threads: {}", layer.name, wanted.types, pool.threads());
            println!(
                "  {:>6} {:>10} {:>9} {:>8} {:>14} {:>11} {:>10} {:>9}",
                "tokens", "ms", "GFLOP/s", "GB/s", "probe GFLOP/s", "probe GB/s", "limit ms", "of limit"
            );
            for &tokens in &wanted.tokens {
                measure(layer, &wanted, tokens, &loaded, pool, &memory)?;
            }
        }
    }
    Ok(())
}

fn load(layer: &Layer, types: Types) -> Result<Arc<Loaded>, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let pool = Pool::new(cores)?;
    let file = SourceFile::new(format!("{}.moe", layer.name), layer.source(types));
    let mut clock = Instant::now();
    let mut phases = Vec::new();
    let artifact = moec::compile(&file, &Options::default(), &mut |stage: Stage| {
        phases.push(format!("{} {:.1}", stage.name(), clock.elapsed().as_secs_f64() * 1e3));
        clock = Instant::now();
    })?;
    println!("{}: compiled in ms: {}", layer.name, phases.join(", "));
    let files = WeightFiles::default();
    let mut quiet = |_: &str, _: u64| ();
    let mut weights = Weights::new(&files, 1, artifact.plan().dims.sized().clone(), &pool, &mut quiet);
    Ok(artifact.load(&mut weights, &pool)?)
}

/// Times calls of that many tokens and prints a line.
fn measure(
    layer: &Layer,
    wanted: &Wanted,
    tokens: u64,
    loaded: &Arc<Loaded>,
    pool: &Arc<Pool>,
    memory: &Buffer,
) -> Result<(), Box<dyn Error>> {
    let types = wanted.types;
    let mut session = Session::new(Arc::clone(loaded), Arc::clone(pool));
    let shape = [tokens, layer.h];
    let inputs: Vec<Buffer> = (0..16)
        .map(|seed| moec::random_input(pool, seed, "x", types.input(), &shape))
        .collect::<Result<_, _>>()?;
    let width = if matches!(layer.body, Body::Linear) { layer.f } else { layer.h };
    let (result, routes) = ([tokens, width], [tokens, layer.k]);
    let mut y = vec![0f32; (tokens * width) as usize];
    let mut chosen = vec![0i32; (tokens * layer.k) as usize];
    let mut call = |input: &Buffer, chosen: &mut [i32]| {
        let size = (tokens * layer.h) as usize * types.input().bytes();
        let x = Array { dtype: types.input(), shape: &shape, bytes: &input.as_slice::<u8>()[..size] };
        let mut y = ArrayMut::new(&result, &mut y);
        if layer.k == 0 {
            return session.run(&[x], &mut [y]);
        }
        let mut chosen = ArrayMut::new(&routes, chosen);
        // Outputs come in the order of the source.
        std::mem::swap(&mut y, &mut chosen);
        session.run(&[x], &mut [y, chosen])
    };
    let products = if types == Types::Bf16 { Products::Bf16Pairs } else { Products::F32 };
    call(&inputs[0], &mut chosen)?;
    let start = Instant::now();
    call(&inputs[1], &mut chosen)?;
    let calls = (ROUND / start.elapsed().as_secs_f64()).clamp(1.0, 10_000.0) as usize;
    let [mut seconds, mut rates, mut peaks, mut touched] = [const { Vec::new() }; 4];
    for round in 0..=wanted.rounds {
        let start = Instant::now();
        for n in 0..calls {
            call(&inputs[(round * calls + n) % inputs.len()], &mut chosen)?;
        }
        let per_call = start.elapsed().as_secs_f64() / calls as f64;
        let start = Instant::now();
        black_box(probe::read(memory, pool));
        let rate = memory.len() as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        let flops = probe::multiply(products, 1 << 20, pool).unwrap_or(0) as f64;
        let peak = flops / start.elapsed().as_secs_f64();
        // The first round warms up.
        if round > 0 {
            seconds.push(per_call);
            rates.push(rate);
            peaks.push(peak);
            let experts =
                if layer.k == 0 { layer.e as usize } else { chosen.iter().collect::<BTreeSet<_>>().len() };
            touched.push(experts as f64);
        }
    }
    let [seconds, rate, peak, touched] =
        [&mut seconds, &mut rates, &mut peaks, &mut touched].map(|v| median(v));
    let matrix = layer.matrix() as f64;
    let flops = 2.0 * (tokens * layer.per_token()) as f64 * matrix;
    let bytes = (touched + layer.always() as f64) * matrix * types.weight().bytes() as f64;
    let limit = (bytes / rate).max(flops / peak);
    println!(
        "  {tokens:>6} {:>10.4} {:>9.1} {:>8.1} {:>14.1} {:>11.1} {:>10.4} {:>8.0}%",
        seconds * 1e3,
        flops / seconds / 1e9,
        bytes / seconds / 1e9,
        peak / 1e9,
        rate / 1e9,
        limit * 1e3,
        100.0 * limit / seconds
    );
    Ok(())
}
