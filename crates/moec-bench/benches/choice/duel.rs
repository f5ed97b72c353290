//! The two best forms of a program by the model, measured.

use std::error::Error;
use std::sync::Arc;

use moec::buffer::BufferError;
use moec::diag::SourceFile;
use moec::ir::{Module, Sizes};
use moec::{Artifact, HostTensor, Numerics, Options, Pool, Target, WeightFiles, Weights};
use moec_bench::{Caller, median};

use crate::cases::Case;

/// Calls rotate among so many inputs.
const INPUTS: u64 = 16;

/// A program that is measured.
pub(crate) struct Side {
    /// What tells it apart.
    pub(crate) words: String,
    text: String,
    /// Seconds by the model, and in fact.
    pub(crate) model: f64,
    pub(crate) measured: f64,
}

pub(crate) struct Duel {
    pub(crate) preferred: Side,
    pub(crate) other: Side,
}

impl Case {
    fn options(&self, tokens: Option<u64>, target: &Target) -> Options {
        let set = self.set.iter().map(|(name, size)| ((*name).to_owned(), size.to_string())).collect();
        Options { set, tokens, target: target.clone(), ..Options::default() }
    }

    /// The smallest number of tokens of each program where every number gets the cheapest one.
    pub(crate) fn borders(&self, target: &Target) -> Result<Vec<u64>, Box<dyn Error>> {
        let options = Options { batch: Numerics::Reassociate, ..self.options(None, target) };
        let artifact = moec::compile(&self.source, &options, &mut |_| ())?;
        Ok(artifact.programs().iter().skip(1).map(|(from, _)| *from).collect())
    }

    /// The best two forms by the model at so many tokens, measured in rounds; none if there is only one.
    pub(crate) fn duel(
        &self,
        tokens: u64,
        target: &Target,
        pool: &Arc<Pool>,
        rounds: usize,
    ) -> Result<Option<Duel>, Box<dyn Error>> {
        let mut sides: Vec<Side> = Vec::new();
        for (at, numerics) in self.extractions(tokens) {
            let options = Options { numerics, ..self.options(Some(at), target) };
            let artifact = moec::compile(&self.source, &options, &mut |_| ())?;
            let text = moec::ir::print(artifact.module());
            if sides.iter().all(|side| side.text != text) {
                let words = words(artifact.module());
                sides.push(Side { words, text, model: 0.0, measured: 0.0 });
            }
        }
        let mut runs = Vec::new();
        for side in &mut sides {
            let file = SourceFile::new("side.moir", side.text.clone());
            let (target, tokens) = (target.clone(), Some(tokens));
            let options = Options { tokens, optimise: false, target, ..Options::default() };
            let artifact = moec::compile(&file, &options, &mut |_| ())?;
            side.model = artifact.report().seconds_after();
            runs.push((artifact, side));
        }
        runs.sort_by(|(_, a), (_, b)| a.model.total_cmp(&b.model));
        runs.truncate(2);
        if runs.len() < 2 {
            return Ok(None);
        }
        let mut callers = Vec::new();
        for (artifact, _) in &runs {
            let mut caller = caller(artifact, tokens, pool)?;
            let calls = caller.calls_in(0.02)?.max(16);
            callers.push((caller, calls, Vec::new()));
        }
        for round in 0..=rounds {
            for (caller, calls, times) in &mut callers {
                let seconds = caller.round(*calls)?;
                // The first round warms up.
                if round > 0 {
                    times.push(seconds);
                }
            }
        }
        let mut measured = runs.into_iter().zip(callers).map(|((_, side), (_, _, mut times))| Side {
            words: std::mem::take(&mut side.words),
            text: std::mem::take(&mut side.text),
            model: side.model,
            measured: median(&mut times),
        });
        let pair = measured.next().zip(measured.next());
        Ok(pair.map(|(preferred, other)| Duel { preferred, other }))
    }
}

/// The operations of a program that cost something worth a name, and how often they occur.
fn words(module: &Module) -> String {
    let named = ["einsum", "grouped_matmul", "combine", "mul", "sum"];
    let count = |word: &str| module.nodes.iter().filter(|node| node.op.mnemonic() == word).count();
    let words = named.iter().map(|word| (word, count(word))).filter(|(_, n)| *n > 0);
    words.map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

/// Calls with random inputs in turn.
fn caller(artifact: &Artifact, tokens: u64, pool: &Arc<Pool>) -> Result<Caller, Box<dyn Error>> {
    let files = WeightFiles::default();
    let mut quiet = |_: &str, _: u64| ();
    let ir = &artifact.checked().ir;
    let mut sizes: Sizes = artifact.plan().dims.sized().clone();
    let mut weights = Weights::new(&files, 1, sizes.clone(), pool, &mut quiet);
    let loaded = artifact.load(&mut weights, pool)?;
    sizes.insert("T".into(), tokens);
    let mut inputs = Vec::new();
    for seed in 0..INPUTS {
        let mut tensors = Vec::new();
        for (_, name, ty) in ir.inputs() {
            let shape = ty.shape.iter().map(|dim| dim.eval(&sizes)).collect::<Result<Vec<u64>, _>>()?;
            let random = moec::random_input(pool, seed, name, ty.dtype, &shape)?;
            let tensor: Result<HostTensor, BufferError> =
                HostTensor::copied(ty.dtype, &shape, random.as_slice());
            tensors.push(tensor?);
        }
        inputs.push(tensors);
    }
    Ok(Caller::new(&loaded, pool, inputs)?)
}
