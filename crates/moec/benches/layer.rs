//! Time per call of whole MoE layers, beside the limits of this machine measured in the same run.
//!
//! `cargo bench -p moec --bench layer -- [LAYER] [--tokens 1,32,256] [--threads 1] [--type f32|bf16|mixed]`
//!
//! For each number of tokens it alternates rounds of the layer with rounds of a read-bandwidth probe and
//! prints medians: milliseconds, useful GFLOP/s, GB/s of touched weights, and GB/s of the probe. The
//! probe sums 1 GiB once per round, on as many threads as the layer runs on. Inputs rotate, so that the
//! experts of one call are not those of the call before. With `--type bf16` weights and input are bf16 and
//! the hidden activation is rounded to bf16, as transformers computes in bf16; `mixed` has bf16 weights and f32
//! activations.

use std::collections::BTreeSet;
use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use moec::buffer::Buffer;
use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{Array, ArrayMut, Options, Pool, Session, Stage, WeightFiles, Weights};

/// A layer: E experts of width F, K per token.
struct Layer {
    name: &'static str,
    e: u64,
    k: u64,
    h: u64,
    f: u64,
}

const LAYERS: [Layer; 3] = [
    Layer { name: "olmoe", e: 64, k: 8, h: 2048, f: 1024 },
    Layer { name: "mixtral4", e: 8, k: 2, h: 1024, f: 3584 },
    Layer { name: "qwen3", e: 128, k: 8, h: 2048, f: 768 },
];

const ROUNDS: usize = 9;

/// Element types of weights and activations.
#[derive(Clone, Copy, PartialEq)]
enum Types {
    F32,
    Bf16,
    Mixed,
}

impl Types {
    fn from_name(name: &str) -> Option<Types> {
        [("f32", Types::F32), ("bf16", Types::Bf16), ("mixed", Types::Mixed)]
            .into_iter()
            .find_map(|(known, types)| (known == name).then_some(types))
    }

    fn weight(self) -> DType {
        if self == Types::F32 { DType::F32 } else { DType::Bf16 }
    }

    fn input(self) -> DType {
        if self == Types::Bf16 { DType::Bf16 } else { DType::F32 }
    }
}

fn source(layer: &Layer, types: Types) -> String {
    let Layer { name, e, k, h, f } = layer;
    let (weight, input) = (types.weight(), types.input());
    let hidden = "silu(x @ w1[e].T) * (x @ w3[e].T)";
    let hidden = if types == Types::Bf16 { format!("bf16({hidden})") } else { format!("({hidden})") };
    format!(
        "model {name} {{
    dim T, H = {h}, F = {f}, E = {e}, K = {k}
    input  x      : {input}[T, H]
    weight router : {weight}[E, H]    from \"router\"
    weight w1, w3 : {weight}[E, F, H] from \"w1.{{E}}\", \"w3.{{E}}\"
    weight w2     : {weight}[E, H, F] from \"w2.{{E}}\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y     : f32[T, H] = sum e over E {{ g[e] * ({hidden} @ w2[e].T) }}
    output chosen : i32[T, K] = top_k(p, K, over E).index
}}
"
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut wanted = None;
    let (mut tokens, mut threads, mut types) = (vec![1, 4, 32, 256, 1024], 1, Types::F32);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--tokens" => {
                let list = args.next().ok_or("--tokens needs numbers")?;
                tokens = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            "--threads" => threads = args.next().ok_or("--threads needs a number")?.parse()?,
            "--type" => {
                let name = args.next().ok_or("--type needs f32, bf16 or mixed")?;
                types = Types::from_name(&name).ok_or("--type is f32, bf16 or mixed")?;
            }
            name => wanted = Some(name.to_owned()),
        }
    }
    let pool = Arc::new(Pool::new(threads)?);
    // Written once: memory that was never written may all be one page of zeros.
    let mut probe = Buffer::zeroed(1 << 30)?;
    probe.as_mut_slice::<f32>().fill(1.5);
    for layer in LAYERS.iter().filter(|l| wanted.as_deref().is_none_or(|w| w == l.name)) {
        measure(layer, types, &tokens, &pool, &probe)?;
    }
    Ok(())
}

fn measure(
    layer: &Layer,
    types: Types,
    tokens: &[u64],
    pool: &Arc<Pool>,
    probe: &Buffer,
) -> Result<(), Box<dyn Error>> {
    let file = SourceFile::new(format!("{}.moe", layer.name), source(layer, types));
    let mut clock = Instant::now();
    let mut phases = Vec::new();
    let artifact = moec::compile(&file, &Options::default(), &mut |stage: Stage| {
        phases.push(format!("{} {:.1}", stage.name(), clock.elapsed().as_secs_f64() * 1e3));
        clock = Instant::now();
    })?;
    println!("{}: compiled in ms: {}", layer.name, phases.join(", "));
    let files = WeightFiles::default();
    let mut quiet = |_: &str, _: u64| ();
    let mut weights = Weights::new(&files, 1, artifact.plan().dims.sized().clone(), pool, &mut quiet);
    let loaded = artifact.load(&mut weights, pool)?;
    let mut session = Session::new(loaded, Arc::clone(pool));
    println!("  {:>6} {:>10} {:>9} {:>8} {:>9} {:>7}", "tokens", "ms", "GFLOP/s", "GB/s", "probe", "ratio");
    for &t in tokens {
        let shape = [t, layer.h];
        let inputs: Vec<Buffer> = (0..16)
            .map(|seed| moec::random_input(pool, seed, "x", types.input(), &shape))
            .collect::<Result<_, _>>()?;
        let mut y = vec![0f32; (t * layer.h) as usize];
        let mut chosen = vec![0i32; (t * layer.k) as usize];
        let mut call = |input: &Buffer, chosen: &mut [i32]| {
            let size = t as usize * layer.h as usize * types.input().bytes();
            let x = Array { dtype: types.input(), shape: &shape, bytes: &input.as_slice::<u8>()[..size] };
            let routes = [t, layer.k];
            let mut outputs = [ArrayMut::new(&shape, &mut y), ArrayMut::new(&routes, chosen)];
            session.run(&[x], &mut outputs)
        };
        // As many calls a round as fill about a tenth of a second, at least one for each input at one token.
        let calls = (32 / t.max(2)).max(1) as usize;
        let (mut seconds, mut rates, mut touched) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS + 1 {
            let start = Instant::now();
            for n in 0..calls {
                call(&inputs[(round * calls + n) % inputs.len()], &mut chosen)?;
            }
            let per_call = start.elapsed().as_secs_f64() / calls as f64;
            let start = Instant::now();
            black_box(read(probe, pool));
            let rate = probe.len() as f64 / start.elapsed().as_secs_f64();
            // The first round warms up.
            if round > 0 {
                seconds.push(per_call);
                rates.push(rate);
                touched.push(chosen.iter().collect::<BTreeSet<_>>().len() as f64);
            }
        }
        let (seconds, probe_rate, touched) = (median(seconds), median(rates), median(touched));
        let matrix = (3 * layer.h * layer.f) as f64;
        let flops = 2.0 * (t * layer.k) as f64 * matrix / seconds;
        let rate = touched * matrix * types.weight().bytes() as f64 / seconds;
        println!(
            "  {t:>6} {:>10.3} {:>9.1} {:>8.1} {:>9.1} {:>6.0}%",
            seconds * 1e3,
            flops / 1e9,
            rate / 1e9,
            probe_rate / 1e9,
            100.0 * rate / probe_rate
        );
    }
    Ok(())
}

/// Reads every byte once.
fn read(buffer: &Buffer, pool: &Pool) -> u64 {
    let words = buffer.as_slice::<f32>();
    let chunk = 1 << 20;
    let sums: Vec<std::sync::atomic::AtomicU64> =
        words.chunks(chunk).map(|_| std::sync::atomic::AtomicU64::new(0)).collect();
    pool.run(sums.len() as u64, 1, &|_, range: Range<u64>| {
        for index in range {
            let part = &words[index as usize * chunk..][..chunk];
            let mut lanes = [0f32; 64];
            for row in part.as_chunks::<64>().0 {
                for (lane, value) in lanes.iter_mut().zip(row) {
                    *lane += value;
                }
            }
            let sum: f32 = lanes.iter().sum();
            sums[index as usize].store(u64::from(sum.to_bits()), std::sync::atomic::Ordering::Relaxed);
        }
    });
    sums.iter().map(|s| s.load(std::sync::atomic::Ordering::Relaxed)).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
