//! Checksums of large buffers, on all threads, and of weights: of all of their bytes, or of a few.

use std::collections::BTreeMap;

use moec_ir::{DType, TensorType};
use moec_plan::Plan;

use crate::session::{WeightBytes, WeightSource};
use crate::threads::Threads;
use crate::weights::WeightError;

/// A BLAKE3 checksum.
pub type Checksum = [u8; 32];

/// Bytes that one thread sums at a time.
const CHUNK: usize = 1 << 20;

/// Places of a weight that are looked at for a sample of it.
const PLACES: usize = 64;

/// Bytes looked at in each.
const SAMPLE: usize = 256;

pub(super) fn of_text(text: &str) -> Checksum {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// The checksum of the checksums of chunks.
pub(super) fn of(pool: &dyn Threads, bytes: &[u8]) -> Checksum {
    let mut sums = vec![0; bytes.len().div_ceil(CHUNK) * 32];
    pool.run_chunks(&mut sums, 32, &|index, sum| {
        let chunk = bytes.chunks(CHUNK).nth(index as usize).unwrap_or_default();
        sum.copy_from_slice(blake3::hash(chunk).as_bytes());
    });
    *blake3::hash(&sums).as_bytes()
}

/// The same on this thread.
pub(super) fn of_bytes(bytes: &[u8]) -> Checksum {
    let sums: Vec<u8> = bytes.chunks(CHUNK).flat_map(|chunk| *blake3::hash(chunk).as_bytes()).collect();
    *blake3::hash(&sums).as_bytes()
}

/// One checksum of those of all weights, by name.
fn combined(sums: &BTreeMap<String, Checksum>) -> Checksum {
    let mut all = blake3::Hasher::new();
    for (name, sum) in sums {
        all.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(sum);
    }
    *all.finalize().as_bytes()
}

/// A source that sums what passes through it.
pub(crate) struct Summing<'a> {
    source: &'a mut dyn WeightSource,
    pool: &'a dyn Threads,
    sums: BTreeMap<String, Checksum>,
}

impl<'a> Summing<'a> {
    pub(crate) fn new(source: &'a mut dyn WeightSource, pool: &'a dyn Threads) -> Summing<'a> {
        Summing { source, pool, sums: BTreeMap::new() }
    }

    /// The checksum of all weights that passed.
    pub(crate) fn sum(&self) -> Checksum {
        combined(&self.sums)
    }
}

impl WeightSource for Summing<'_> {
    fn weight(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
        let weight = self.source.weight(name, from, ty)?;
        let parts: Vec<u8> = weight.parts().iter().flat_map(|part| of(self.pool, part)).collect();
        self.sums.insert(name.to_owned(), *blake3::hash(&parts).as_bytes());
        Ok(weight)
    }

    fn sample(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<Checksum, WeightError> {
        self.source.sample(name, from, ty)
    }
}

/// The checksum of samples of all weights of a plan.
pub(crate) fn samples(
    plan: &Plan,
    source: &mut dyn WeightSource,
) -> Result<Checksum, crate::session::LoadError> {
    let mut sums = BTreeMap::new();
    for (name, ty, from) in &plan.weights {
        let fail = |source| crate::session::LoadError::Weight { name: name.clone(), source };
        sums.insert(name.to_string(), source.sample(name, from, ty).map_err(fail)?);
    }
    Ok(combined(&sums))
}

/// The checksum of the sizes of the parts of a weight and of bytes spread over them: enough to tell the
/// weights of one model from those of another, and from what was trained on.
pub(crate) fn sample_parts(parts: &[&[u8]]) -> Checksum {
    let mut sum = blake3::Hasher::new();
    let places = PLACES.div_ceil(parts.len().max(1));
    for part in parts {
        sum.update(&(part.len() as u64).to_le_bytes());
        for place in 0..places {
            let at = part.len() / places * place;
            sum.update(&part[at..part.len().min(at + SAMPLE)]);
        }
    }
    *sum.finalize().as_bytes()
}

/// What stands for a sample of a weight that would have to be made first.
pub(crate) fn sample_seed(seed: u64, name: &str, dtype: DType, shape: &[u64]) -> Checksum {
    of_text(&format!("seed {seed} {name:?} {dtype} {shape:?}"))
}
