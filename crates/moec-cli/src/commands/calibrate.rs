//! `moec calibrate`: measures what the cost model needs to know of this machine, with the kernels
//! that compiled programs run on; and, of the place where weights lie, how fast it gives them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moec::cpu::Cpu;
use moec::ir::DType;
use moec::storage::Stored;
use moec::{Pool, Target};
use moec_bench::Caller;

use crate::failure::Failure;
use crate::files::write;
use crate::targets::cache_file;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Takes some seconds, in which the machine should be doing nothing else. The result is a description
like those that --target takes. It is kept in the cache folder (XDG_CACHE_HOME, or ~/.cache), and
from then on costs on `host` assume it; delete the file to go back to the built-in figures.

What storage gives depends on where weights lie, so it is measured where --storage says: a file of that
folder is read, and nothing is written there. Without it, that figure stays what it was.

Examples:
  moec calibrate
  moec calibrate --storage OLMoE-1B-7B-0924/
  moec calibrate --show                    the figures that are in use, and where they come from
  moec calibrate --output server.toml      for `--target server.toml`, here or elsewhere")]
pub(crate) struct Args {
    /// Print the description that is in use; measure nothing
    #[arg(long, conflicts_with_all = ["output", "threads", "storage"])]
    show: bool,

    /// Write the description here and not into the cache folder; `-` is standard output
    #[arg(long, value_name = "FILE.toml")]
    output: Option<PathBuf>,

    /// Threads, as many as the machine has if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Measure how fast storage gives this file, or the largest one of this folder: a file of weights, say
    #[arg(long, value_name = "FILE|FOLDER")]
    storage: Option<PathBuf>,
}

/// Storage is read no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    if args.show {
        return show(terminal);
    }
    let cpu = Cpu::detect();
    let threads = args.threads.unwrap_or(cpu.cores);
    let place = match &args.output {
        Some(path) => path.clone(),
        None => cache_file().ok_or_else(|| {
            Failure::Usage("there is no cache folder, since HOME is not set: give --output FILE".to_owned())
        })?,
    };
    // First what may be refused.
    let storage_bandwidth = match &args.storage {
        Some(path) => storage(path, threads)?,
        None => crate::targets::resolve("host", terminal)?.storage_bandwidth,
    };
    let target = measure(&cpu, threads, storage_bandwidth)?;
    let text = target.to_string();
    // What was measured must be of use: a clock that stands still, say, gives no rate.
    Target::read(&text).map_err(|error| Failure::Input(format!("the measurement failed: {error}")))?;
    if place == Path::new("-") {
        return terminal.out(&text);
    }
    if args.output.is_none() {
        let folder = place.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Input(format!("cannot make {}: {error}", folder.display())))?;
    }
    write(&place, &text)?;
    terminal.out(&format!("{text}\nwritten to {}\n", place.display()))
}

fn show(terminal: &Terminal) -> Result<(), Failure> {
    let target = crate::targets::resolve("host", terminal)?;
    let from = match cache_file().filter(|path| path.exists()) {
        Some(path) => format!("# {}\n", path.display()),
        None => "# built in; `moec calibrate` has not measured this machine\n".to_owned(),
    };
    terminal.out(&format!("{from}{target}"))
}

fn measure(cpu: &Cpu, threads: usize, storage_bandwidth: f64) -> Result<Target, Failure> {
    let (all, one) = (pool(threads)?, pool(1)?);
    let cache_bytes = last_cache().unwrap_or(Target::default().cache_bytes);
    // More weights than any cache holds, read once for one token.
    let columns = ((4.0 * cache_bytes).max(128e6) / (4.0 * 4096.0)) as u64 / 64 * 64;
    let memory = Caller::product(DType::F32, 1, 4096, columns, &all)?.least()?;
    let step = chain(40, 1, 8, &one)? - chain(8, 1, 8, &one)?;
    let step = (step / 32.0).max(1e-9);
    let alone = chain(16, 256, 512, &one)? / 16.0;
    let fork = if threads > 1 { chain(16, 256, 512, &all)? / 16.0 - alone / threads as f64 } else { 0.0 };
    let fork = fork.max(1e-7);
    let near_columns = ((0.4 * cache_bytes).min(16e6) as u64 / (4 * 1024)).max(1);
    let near = Caller::product(DType::F32, 1, 1024, near_columns, &all)?.least()?;
    let matrix = Caller::product(DType::F32, 512, 1024, 2048, &all)?.least()?;
    let element = elements(256, 1024, &all)?;
    Ok(Target {
        name: "host".to_owned(),
        isa: "host".to_owned(),
        source: format!("measured by `moec calibrate` with {threads} threads on {cpu}"),
        threads: threads as f64,
        matrix_flops: rounded(2.0 * 512.0 * 1024.0 * 2048.0 / matrix),
        // Two silu and two products for each element.
        element_flops: rounded(256.0 * 1024.0 * 42.0 / element),
        memory_bandwidth: rounded(4096.0 * columns as f64 * 4.0 / memory),
        cache_bandwidth: rounded(1024.0 * near_columns as f64 * 4.0 / near),
        cache_bytes,
        storage_bandwidth,
        step: rounded(step),
        fork: rounded(fork),
    })
}

fn pool(threads: usize) -> Result<Arc<Pool>, Failure> {
    Pool::new(threads).map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))
}

/// Bytes a second of a file, or of the largest one of a folder, that is read as experts in files are: by all
/// threads, in pieces of the size of a matrix of an expert, here and there.
fn storage(path: &Path, threads: usize) -> Result<f64, Failure> {
    let pool = pool(threads)?;
    let stored = Stored::open(&largest(path)?).map_err(Failure::input)?;
    let (started, mut bytes, mut at) = (Instant::now(), 0, 0);
    while at < stored.blocks() && started.elapsed() < PATIENCE {
        // As many at a time as keep every thread busy.
        let next = (at + 4 * threads as u64).min(stored.blocks());
        bytes += stored.read(at..next, &*pool);
        at = next;
    }
    Ok(rounded(bytes as f64 / started.elapsed().as_secs_f64()))
}

/// The file itself, or the largest one of a folder; links lead to what they name.
fn largest(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::Input(format!("cannot read {}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if let Some(known) = std::fs::metadata(&file).ok().filter(|known| known.is_file()) {
            files.push((known.len(), file));
        }
    }
    let largest = files.into_iter().max().map(|(_, file)| file);
    largest.ok_or_else(|| Failure::Input(format!("there is no file in the folder {}", path.display())))
}

/// Three digits: more are noise.
fn rounded(value: f64) -> f64 {
    let digits = 10f64.powf(2.0 - value.abs().log10().floor());
    (value * digits).round() / digits
}

/// Seconds of as many kernels that each wait for the one before, over rows of `width`.
fn chain(kernels: u32, rows: u64, width: u64, pool: &Arc<Pool>) -> Result<f64, Failure> {
    let mut body = String::new();
    for at in 0..kernels {
        let _ = writeln!(body, "    %{} = softmax %{at} {{axis = 1}} : f32[T, {width}]", at + 1);
    }
    Ok(Caller::operations(DType::F32, &body, kernels, rows, width, pool)?.least()?)
}

/// One loop over elements.
fn elements(rows: u64, width: u64, pool: &Arc<Pool>) -> Result<f64, Failure> {
    let ty = format!("f32[T, {width}]");
    let body = format!(
        "    %1 = silu %0 : {ty}\n    %2 = mul %0, %1 : {ty}\n    %3 = silu %2 : {ty}\n    \
         %4 = mul %1, %3 : {ty}\n"
    );
    Ok(Caller::operations(DType::F32, &body, 4, rows, width, pool)?.least()?)
}

/// Bytes of the largest cache of the first core, where the system tells.
fn last_cache() -> Option<f64> {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let sizes = std::fs::read_dir(folder).ok()?.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<u64>().ok()
    });
    sizes.max().map(|kibibytes| kibibytes as f64 * 1024.0)
}
