//! Cell by cell: a layer is compiled and loaded once for each type, and called with every routing, number of
//! threads and number of tokens.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use moec::{Artifact, Loaded, Options, Pool, Profile, Stage, WeightFiles, Weights};
use moec_bench::{
    Caller, Layer, LayerWeights, Probes, Row, Types, Useful, measure, routed, table, touched, useful,
};
use serde::Serialize;

use crate::arguments::{Arguments, Routing};

/// The seed of weights and inputs.
const SEED: u64 = 1;

/// Where a figure belongs.
#[derive(Debug, Serialize)]
struct Cell<'a> {
    layer: &'a str,
    #[serde(rename = "type")]
    types: &'a str,
    routing: &'a str,
    threads: usize,
    #[serde(flatten)]
    row: Row,
}

/// Measures and prints the cells that are wanted.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    for layer in &arguments.layers {
        for &types in &arguments.types {
            let ready = Ready::new(layer, types)?;
            if !arguments.json {
                println!("{} {}: {}", layer.name, types.name(), ready.phases);
            }
            for &threads in &arguments.threads {
                let pool = Arc::new(Pool::new(threads)?);
                let probes = Probes::new(&pool)?;
                for &routing in &arguments.routings {
                    measure_all(arguments, &ready, routing, &pool, &probes)?;
                }
            }
        }
    }
    Ok(())
}

fn measure_all(
    arguments: &Arguments,
    ready: &Ready<'_>,
    routing: Routing,
    pool: &Arc<Pool>,
    probes: &Probes,
) -> Result<(), Box<dyn Error>> {
    let (layer, types, threads) = (ready.layer.name, ready.types.name(), pool.threads());
    let mut rows = Vec::new();
    for tokens in ready.layer.tokens(&arguments.tokens) {
        let (mut caller, work) = ready.caller(routing, tokens, pool)?;
        let row = measure(&mut caller, tokens, &work, probes, arguments.rounds)?;
        if arguments.json {
            let cell = Cell { layer, types, routing: routing.name(), threads, row };
            println!("{}", serde_json::to_string(&cell)?);
        } else {
            rows.push(row);
        }
    }
    if !arguments.json {
        let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        println!("{}", table(&format!("{layer} {types}, {} routing, {threads}", routing.name()), &rows));
    }
    Ok(())
}

/// A layer, compiled and loaded.
struct Ready<'a> {
    layer: &'a Layer,
    types: Types,
    artifact: Artifact,
    loaded: Arc<Loaded>,
    /// What took how long until then.
    phases: String,
}

impl<'a> Ready<'a> {
    fn new(layer: &'a Layer, types: Types) -> Result<Ready<'a>, Box<dyn Error>> {
        let mut clock = Instant::now();
        let mut lap = |name: &str| {
            let text = format!("{name} {:.1} ms", clock.elapsed().as_secs_f64() * 1e3);
            clock = Instant::now();
            text
        };
        let mut phases = Vec::new();
        let artifact = moec::compile(&layer.source(types), &Options::default(), &mut |stage: Stage| {
            phases.push(lap(stage.name()));
        })?;
        let pool = Pool::new(std::thread::available_parallelism().map_or(1, |n| n.get()))?;
        let files = WeightFiles::default();
        let mut quiet = |_: &str, _: u64| ();
        let sizes = artifact.checked().ir.dims.sized().clone();
        let random = Weights::new(&files, SEED, sizes, &pool, &mut quiet);
        let loaded = artifact.load(&mut LayerWeights { layer, random }, &pool)?;
        phases.push(lap("load"));
        Ok(Ready { layer, types, artifact, loaded, phases: phases.join(", ") })
    }

    /// Calls with inputs of that routing in turn, and what one of them has to do.
    fn caller(
        &self,
        routing: Routing,
        tokens: u64,
        pool: &Arc<Pool>,
    ) -> Result<(Caller, Useful), Box<dyn Error>> {
        let shares = shares(routing, self.layer.e)?;
        let (mut inputs, mut part) = (Vec::new(), 0.0);
        let count = (512 / tokens.max(1)).clamp(2, 64);
        for n in 0..count {
            let input = routed(self.layer, self.types, &shares, tokens, SEED + n, pool)?;
            part += touched(self.layer, &input) / count as f64;
            inputs.push(vec![input]);
        }
        let mut caller = Caller::new(&self.loaded, pool, inputs)?;
        caller.round(1)?;
        let plans = moec::plan_names(self.artifact.module());
        let parts: BTreeMap<String, f64> = plans.into_iter().map(|(_, name)| (name, part)).collect();
        let work = useful(&self.artifact, tokens, &caller.sizes(), &parts);
        Ok((caller, work))
    }
}

/// How often each expert is chosen, up to a factor.
fn shares(routing: Routing, experts: u64) -> Result<Vec<f64>, Box<dyn Error>> {
    let files: &[&str] = match (routing, experts) {
        (Routing::Uniform, _) => return Ok(vec![1.0; experts as usize]),
        (Routing::Sampled, 0..=8) => &["mixtral-c4-7"],
        // More experts than OLMoE has are as uneven as two of its layers.
        (Routing::Sampled, _) => &["olmoe-c4-7", "olmoe-c4-15"],
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/profiles");
    let mut shares = Vec::new();
    for file in files {
        let profile = Profile::read(&fs::read_to_string(folder.join(file).with_extension("json"))?)?;
        let pairs = profile.plans().iter().flat_map(|plan| &plan.pairs);
        shares.extend(pairs.map(|&pairs| pairs as f64));
    }
    shares.truncate(experts as usize);
    Ok(shares)
}
