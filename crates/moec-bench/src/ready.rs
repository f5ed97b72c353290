//! A layer made ready: compiled, loaded, with inputs that steer its routing; and as files for others.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use moec::buffer::Buffer;
use moec::ir::DType;
use moec::{
    Artifact, HostTensor, Loaded, Options, Pool, Profile, Stage, WeightBytes, WeightFiles, WeightSource,
    Weights, write_safetensors,
};
use moec_bench::{Caller, Layer, LayerWeights, Types, Useful, routed, touched, useful};

use crate::arguments::Routing;

/// The seed of weights and inputs.
const SEED: u64 = 1;

/// A layer, compiled and loaded.
pub(crate) struct Ready<'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) types: Types,
    artifact: Artifact,
    loaded: Arc<Loaded>,
    /// What took how long until then.
    pub(crate) phases: String,
}

impl<'a> Ready<'a> {
    pub(crate) fn new(layer: &'a Layer, types: Types) -> Result<Ready<'a>, Box<dyn Error>> {
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

    /// Inputs of that routing, as many as calls rotate among.
    pub(crate) fn inputs(&self, routing: Routing, tokens: u64) -> Result<Vec<HostTensor>, Box<dyn Error>> {
        let shares = shares(routing, self.layer.e)?;
        let pool = Pool::new(1)?;
        let count = (512 / tokens.max(1)).clamp(2, 64);
        let one = |n| routed(self.layer, self.types, &shares, tokens, SEED + n, &pool);
        Ok((0..count).map(one).collect::<Result<_, _>>()?)
    }

    /// Calls with these inputs in turn, and what one of them has to do.
    pub(crate) fn caller(
        &self,
        inputs: &[HostTensor],
        pool: &Arc<Pool>,
    ) -> Result<(Caller, Useful), Box<dyn Error>> {
        let part = inputs.iter().map(|input| touched(self.layer, input)).sum::<f64>() / inputs.len() as f64;
        let tokens = inputs.first().map_or(0, |input| input.shape()[0]);
        let copies = inputs.iter().map(|x| Ok(vec![HostTensor::copied(x.dtype(), x.shape(), x.bytes())?]));
        let mut caller =
            Caller::new(&self.loaded, pool, copies.collect::<Result<_, moec_bench::BenchError>>()?)?;
        caller.round(1)?;
        let plans = moec::plan_names(self.artifact.module());
        let parts: BTreeMap<String, f64> = plans.into_iter().map(|(_, name)| (name, part)).collect();
        let work = useful(&self.artifact, tokens, &caller.sizes(), &parts);
        Ok((caller, work))
    }

    /// Writes the weights under the names of the source.
    pub(crate) fn write_weights(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let module = &self.artifact.checked().ir;
        let pool = Pool::new(std::thread::available_parallelism().map_or(1, |n| n.get()))?;
        let files = WeightFiles::default();
        let mut quiet = |_: &str, _: u64| ();
        let random = Weights::new(&files, SEED, module.dims.sized().clone(), &pool, &mut quiet);
        let mut source = LayerWeights { layer: self.layer, random };
        let mut tensors: Vec<(&str, DType, Vec<u64>, Buffer)> = Vec::new();
        for (id, name, ty) in module.weights() {
            let shape = ty.shape.iter().map(|dim| dim.eval(module.dims.sized())).collect::<Result<_, _>>()?;
            match source.weight(name, module.node(id).attrs.str("from"), ty)? {
                WeightBytes::Made(memory) => tensors.push((name, ty.dtype, shape, memory)),
                _ => return Err("a weight is not random".into()),
            }
        }
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, shape, memory)| {
                let size = shape.iter().product::<u64>() as usize * dtype.bytes();
                (*name, *dtype, shape.as_slice(), &memory.as_slice::<u8>()[..size])
            })
            .collect();
        Ok(write_safetensors(path, &views)?)
    }
}

/// Writes inputs as one tensor `x`, the first axis their number.
pub(crate) fn write_inputs(path: &Path, inputs: &[HostTensor]) -> Result<(), Box<dyn Error>> {
    let first = inputs.first().ok_or("no inputs")?;
    let shape: Vec<u64> = std::iter::once(inputs.len() as u64).chain(first.shape().iter().copied()).collect();
    let size = first.shape().iter().product::<u64>() as usize * first.dtype().bytes();
    let bytes: Vec<u8> = inputs.iter().flat_map(|input| &input.bytes()[..size]).copied().collect();
    Ok(write_safetensors(path, &[("x", first.dtype(), &shape, &bytes)])?)
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
