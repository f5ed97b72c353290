//! Whether the program that the cost model prefers is the faster one.
//!
//! `cargo bench -p moec-bench --bench choice -- [--target FILE.toml] [--threads N] [--rounds N] [--write docs/cost-model.md]`
//!
//! For each program and number of tokens it gathers what the optimiser would extract for other numbers
//! of tokens and with fewer rewrites. The one that is cheapest by the model runs against the next best,
//! in alternating rounds; medians are compared. `--target` takes what `moec calibrate --output FILE.toml`
//! measured. `--write` puts the table between the marks in the document. Nothing else should run meanwhile.

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use moec::buffer::BufferError;
use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{Artifact, HostTensor, Numerics, Options, Pool, Target, WeightFiles, Weights};
use moec_bench::{Caller, Expert, Layer, Types, median};

/// `k` is 0 where all experts are computed, weighted by a softmax.
const LAYERS: [Layer; 8] = [
    Layer::plain("tiny", 4, 2, 16, 16, Expert::Relu),
    Layer::plain("few", 4, 3, 64, 64, Expert::Relu),
    Layer::plain("half", 8, 4, 128, 128, Expert::Relu),
    Layer::plain("most", 8, 7, 256, 256, Expert::Relu),
    Layer::plain("sparse", 16, 2, 256, 256, Expert::Relu),
    Layer::plain("many", 64, 8, 64, 32, Expert::Relu),
    Layer::plain("large", 8, 6, 1024, 1024, Expert::Relu),
    Layer::plain("soft", 8, 0, 256, 256, Expert::Chain),
];

const TOKENS: [u64; 4] = [1, 4, 32, 256];

const BEGIN: &str = "<!-- choices: written by the benchmark `choice` -->";
const END: &str = "<!-- end of choices -->";

/// What the command line asks for.
struct Wanted {
    target: Target,
    pool: Arc<Pool>,
    rounds: usize,
    write: Option<String>,
}

fn wanted() -> Result<Wanted, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (mut target, mut threads, mut rounds, mut write) = (Target::default(), cores, 9, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => {}
            "--target" => target = Target::read(&std::fs::read_to_string(value()?)?)?,
            "--threads" => threads = value()?.parse()?,
            "--rounds" => rounds = value()?.parse::<usize>()?.max(1),
            "--write" => write = Some(value()?),
            other => return Err(format!("{other} is no option").into()),
        }
    }
    Ok(Wanted { target, pool: Arc::new(Pool::new(threads)?), rounds, write })
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = wanted()?;
    let mut table = format!(
        "Target: {}.\n\n| program | tokens | preferred | model us | measured us | against | model us | measured us | \
         the preferred is |\n|---|---|---|---|---|---|---|---|---|\n",
        wanted.target.source
    );
    let (mut pairs, mut right) = (0, 0);
    for layer in &LAYERS {
        for tokens in TOKENS {
            let Some(duel) = duel(layer, tokens, &wanted)? else { continue };
            let ratio = duel.other.measured / duel.preferred.measured;
            pairs += 1;
            right += usize::from(ratio >= 1.0);
            let verdict = match ratio {
                r if r >= 1.0 => format!("{r:.2} times as fast"),
                r => format!("**a miss: {:.2} times as slow**", 1.0 / r),
            };
            let us = |seconds: f64| format!("{:.1}", seconds * 1e6);
            let side = |side: &Side| format!("{} | {} | {}", side.words, us(side.model), us(side.measured));
            let row = format!(
                "| {} | {tokens} | {} | {} | {verdict} |\n",
                layer.name,
                side(&duel.preferred),
                side(&duel.other)
            );
            print!("{row}");
            table += &row;
        }
    }
    let _ = writeln!(table, "\n{right} of {pairs} choices were the faster program.");
    println!("{right} of {pairs}");
    if let Some(path) = wanted.write {
        let text = std::fs::read_to_string(&path)?;
        let begin = text.find(BEGIN).ok_or("the document has no mark to begin at")? + BEGIN.len();
        let end = text.find(END).ok_or("the document has no mark to end at")?;
        std::fs::write(&path, format!("{}\n\n{table}\n{}", &text[..begin], &text[end..]))?;
    }
    Ok(())
}

/// A program that is measured.
struct Side {
    /// What tells it apart.
    words: String,
    text: String,
    /// Seconds by the model, and in fact.
    model: f64,
    measured: f64,
}

struct Duel {
    preferred: Side,
    other: Side,
}

/// The best two programs by the model, measured; none if there is only one.
fn duel(layer: &Layer, tokens: u64, wanted: &Wanted) -> Result<Option<Duel>, Box<dyn Error>> {
    let file = layer.source(Types::F32);
    let mut sides: Vec<Side> = Vec::new();
    for (at, numerics) in [
        (tokens, Numerics::Reassociate),
        (1, Numerics::Reassociate),
        (4096, Numerics::Reassociate),
        (tokens, Numerics::Bit),
    ] {
        let target = wanted.target.clone();
        let options = Options { tokens: Some(at), numerics, target, ..Options::default() };
        let artifact = moec::compile(&file, &options, &mut |_| ())?;
        let text = moec::ir::print(artifact.module());
        if sides.iter().all(|side| side.text != text) {
            let (model, measured) = (0.0, 0.0);
            let words = words(artifact.module());
            sides.push(Side { words, text, model, measured });
        }
    }
    let mut runs = Vec::new();
    for side in &mut sides {
        let file = SourceFile::new("side.moir", side.text.clone());
        let target = wanted.target.clone();
        let options = Options { tokens: Some(tokens), optimise: false, target, ..Options::default() };
        let artifact = moec::compile(&file, &options, &mut |_| ())?;
        side.model = artifact.report().seconds_after();
        runs.push(artifact);
    }
    let mut order: Vec<usize> = (0..sides.len()).collect();
    order.sort_by(|&a, &b| sides[a].model.total_cmp(&sides[b].model));
    let [first, second, ..] = order[..] else { return Ok(None) };
    let mut callers = Vec::new();
    for at in [first, second] {
        let mut caller = caller(&runs[at], layer, tokens, &wanted.pool)?;
        let calls = caller.calls_in(0.02)?.max(16);
        callers.push((caller, calls));
    }
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=wanted.rounds {
        for ((caller, calls), times) in callers.iter_mut().zip(&mut times) {
            let seconds = caller.round(*calls)?;
            // The first round warms up.
            if round > 0 {
                times.push(seconds);
            }
        }
    }
    for (at, times) in [first, second].into_iter().zip(&mut times) {
        sides[at].measured = median(times);
    }
    let mut side = |at: usize| {
        let empty = Side { words: String::new(), text: String::new(), model: 0.0, measured: 0.0 };
        std::mem::replace(&mut sides[at], empty)
    };
    Ok(Some(Duel { preferred: side(first), other: side(second) }))
}

/// The operations of a program that cost something worth a name, and how often they occur.
fn words(module: &moec::ir::Module) -> String {
    let named = ["einsum", "grouped_matmul", "combine", "sum"];
    let count = |word: &str| module.nodes.iter().filter(|node| node.op.mnemonic() == word).count();
    let words = named.iter().map(|word| (word, count(word))).filter(|(_, n)| *n > 0);
    words.map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

/// Calls with sixteen inputs in turn.
fn caller(
    artifact: &Artifact,
    layer: &Layer,
    tokens: u64,
    pool: &Arc<Pool>,
) -> Result<Caller, Box<dyn Error>> {
    let files = WeightFiles::default();
    let mut quiet = |_: &str, _: u64| ();
    let mut weights = Weights::new(&files, 1, artifact.plan().dims.sized().clone(), pool, &mut quiet);
    let loaded = artifact.load(&mut weights, pool)?;
    let shape = [tokens, layer.h];
    let input = |seed| {
        let random = moec::random_input(pool, seed, "x", DType::F32, &shape)?;
        Ok(vec![HostTensor::copied(DType::F32, &shape, random.as_slice())?])
    };
    let inputs = (0..16).map(input).collect::<Result<_, BufferError>>()?;
    Ok(Caller::new(&loaded, pool, inputs)?)
}
