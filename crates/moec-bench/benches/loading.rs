//! Time and memory of loading a layer: packing its weights from files, and mapping and copying a packed file.
//!
//! `cargo bench -p moec-bench --bench loading -- [olmoe|olmoe_bf16|gpt_oss] [--threads N] [--folder DIR]`
//!
//! Weight files and packed files go to a temporary folder, or to DIR, where they are kept and found again. Each
//! figure is of a process of its own, which loads once; the files are in the page cache. Peaks are those of
//! `RssAnon`, looked at every millisecond: memory that the process cannot do without, as against pages of
//! mapped files, which the system takes back when it wants to (`RssFile`, given too). The rate is bytes read
//! and bytes written in a second, beside a probe that reads memory on the same threads.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moec::buffer::Buffer;
use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{Artifact, Options, PackedFile, Pool, WeightFiles, Weights, write_safetensors};

/// How often each figure is taken; the least time counts, as everything else is somebody else's.
const ROUNDS: usize = 5;

const OLMOE: &str = "
model olmoe {
    dim T, H = 2048, F = 1024, E = 64, K = 8
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w1, w3 : f32[E, F, H] from \"w1.{E}\", \"w3.{E}\"
    weight w2     : f32[E, H, F] from \"w2.{E}\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * swiglu(x, w1[e], w3[e], w2[e]) }
}
";

const GPT_OSS: &str = include_str!("../../../tests/run/mxfp4_gpt_oss.moe");

fn compile(layer: &str) -> Result<Artifact, Box<dyn Error>> {
    let mut options = Options::default();
    let text = match layer {
        "olmoe" => OLMOE.to_owned(),
        "olmoe_bf16" => {
            let text = OLMOE.replace(": f32[E", ": bf16[E").replace("x      : f32", "x      : bf16");
            text.replace(
                "swiglu(x, w1[e], w3[e], w2[e])",
                "(bf16(silu(x @ w1[e].T) * (x @ w3[e].T)) @ w2[e].T)",
            )
        }
        "gpt_oss" => {
            let real = [("E", "32"), ("G", "90"), ("J", "90"), ("K", "4")];
            options.set = real.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            GPT_OSS.to_owned()
        }
        other => return Err(format!("there is no layer {other}").into()),
    };
    Ok(moec::compile(&SourceFile::new(format!("{layer}.moe"), text), &options, &mut |_| ())?)
}

/// Writes random weights under the names of the layer, one tensor for each expert where its pattern says so.
fn write_weights(artifact: &Artifact, path: &Path, pool: &Pool) -> Result<(), Box<dyn Error>> {
    let sizes = artifact.checked().ir.dims.sized().clone();
    let mut tensors: Vec<(String, DType, Vec<u64>, Buffer)> = Vec::new();
    for (name, ty, from) in &artifact.plan().weights {
        let shape = ty.shape.iter().map(|dim| dim.eval(&sizes)).collect::<Result<Vec<u64>, _>>()?;
        let stacked = from.contains("{0}");
        let (count, shape) = if stacked { (shape[0], shape[1..].to_vec()) } else { (1, shape) };
        for number in 0..count {
            let tensor = from.replace("{0}", &number.to_string());
            let content = moec::random_input(pool, number, name, ty.dtype, &shape)?;
            tensors.push((tensor, ty.dtype, shape.clone(), content));
        }
    }
    let named: Vec<_> =
        tensors.iter().map(|(n, dtype, shape, b)| (&**n, *dtype, &**shape, b.as_slice())).collect();
    Ok(write_safetensors(path, &named)?)
}

/// Loads once, and prints milliseconds and bytes.
fn child(layer: &str, way: &str, threads: usize, folder: &Path) -> Result<(), Box<dyn Error>> {
    let artifact = compile(layer)?;
    let pool = Pool::new(threads)?;
    let files = WeightFiles::open(&[weights_path(folder, layer)])?;
    let mut nothing = |_: &str, _: u64| ();
    let sizes = artifact.checked().ir.dims.sized().clone();
    let mut weights = Weights::new(&files, 0, sizes, &pool, &mut nothing);
    let packed = packed_path(folder, layer);
    let started = Instant::now();
    let loaded = match way {
        "pack" => artifact.load(&mut weights, &pool)?,
        "write" => artifact.pack(&mut weights, &pool, &packed)?,
        "map" => artifact.load_packed(&PackedFile::open(&packed)?, Some(&mut weights), None)?,
        _ => artifact.load_packed(&PackedFile::open(&packed)?, None, Some(&pool))?,
    };
    println!("{} {}", started.elapsed().as_secs_f64() * 1e3, loaded.bytes());
    Ok(())
}

fn weights_path(folder: &Path, layer: &str) -> PathBuf {
    folder.join(format!("{layer}.safetensors"))
}

fn packed_path(folder: &Path, layer: &str) -> PathBuf {
    folder.join(format!("{layer}.moepack"))
}

/// Milliseconds, bytes of the result, and peaks of anonymous memory and of mapped files.
fn measure(
    layer: &str,
    way: &str,
    threads: usize,
    folder: &Path,
) -> Result<(f64, u64, u64, u64), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", layer, way, &threads.to_string()]).arg(folder).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (mut anonymous, mut mapped) = (0, 0);
    while child.try_wait()?.is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0) * 1024
        };
        (anonymous, mapped) = (field("RssAnon:").max(anonymous), field("RssFile:").max(mapped));
        std::thread::sleep(Duration::from_millis(1));
    }
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    let (ms, bytes) = said.trim().split_once(' ').ok_or("the process that loads failed")?;
    Ok((ms.parse()?, bytes.parse()?, anonymous, mapped))
}

/// Gigabytes a second that threads read of memory.
fn probe(pool: &Pool) -> Result<f64, Box<dyn Error>> {
    let mut memory = Buffer::zeroed(1 << 30)?;
    memory.as_mut_slice::<f32>().fill(1.5);
    let words = memory.as_slice::<f32>();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        pool.run(words.len() as u64, 1 << 20, &|_, range| {
            let part = &words[range.start as usize..range.end as usize];
            let mut sums = [0f32; 64];
            for chunk in part.as_chunks::<64>().0 {
                sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
            }
            std::hint::black_box(sums);
        });
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(memory.len() as f64 / best / 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [first, layer, way, threads, folder] = args.as_slice()
        && first == "--child"
    {
        return child(layer, way, threads.parse()?, Path::new(folder));
    }
    let (mut layers, mut threads, mut kept) = (Vec::new(), 2, None);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => threads = args.next().ok_or("--threads needs a number")?.parse()?,
            "--folder" => kept = Some(PathBuf::from(args.next().ok_or("--folder needs a folder")?)),
            _ => layers.push(arg),
        }
    }
    if layers.is_empty() {
        layers = ["olmoe", "olmoe_bf16", "gpt_oss"].map(str::to_owned).to_vec();
    }
    let temporary = std::env::temp_dir().join(format!("moec-loading-{}", std::process::id()));
    let folder = kept.clone().unwrap_or(temporary);
    std::fs::create_dir_all(&folder)?;
    let pool = Arc::new(Pool::new(threads)?);
    for layer in &layers {
        let path = weights_path(&folder, layer);
        if !path.exists() {
            write_weights(&compile(layer)?, &path, &pool)?;
        }
        // Into the page cache.
        std::io::copy(&mut std::fs::File::open(&path)?, &mut std::io::sink())?;
        let given = std::fs::metadata(&path)?.len() as f64;
        println!(
            "{layer}: {:.2} GB in files, {threads} threads, probe {:.1} GB/s",
            given / 1e9,
            probe(&pool)?
        );
        println!(
            "  {:6} {:>9} {:>7} {:>9} {:>12} {:>10}",
            "way", "ms", "GB/s", "packed", "peak memory", "of packed"
        );
        for way in ["pack", "write", "map", "copy"] {
            let rounds = if way == "write" { 1 } else { ROUNDS };
            let mut best = (f64::MAX, 0, 0, 0);
            for _ in 0..rounds {
                let one = measure(layer, way, threads, &folder)?;
                best = (best.0.min(one.0), one.1, one.2.max(best.2), one.3.max(best.3));
            }
            let (ms, bytes, anonymous, _) = best;
            let rate = if way == "map" {
                String::new()
            } else {
                format!("{:.1}", (given + bytes as f64) / ms / 1e6)
            };
            println!(
                "  {way:6} {ms:9.2} {rate:>7} {:>6.2} GB {:>9.2} GB {:>10.2}",
                bytes as f64 / 1e9,
                anonymous as f64 / 1e9,
                anonymous as f64 / bytes as f64
            );
        }
    }
    if kept.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
