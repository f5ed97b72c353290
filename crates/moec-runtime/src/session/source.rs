//! Where weights come from: files, a generator, or files with a generator for what they lack.

use std::collections::BTreeMap;

use moec_ir::{DType, Sizes, TensorType};

use super::WeightBytes;
use crate::buffer::{Buffer, BufferError};
use crate::packed::{Checksum, sample_parts, sample_seed};
use crate::seeded;
use crate::threads::Threads;
use crate::weights::{FileBytes, StackPattern, WeightError, WeightFiles};

/// Where weights come from.
pub trait WeightSource {
    /// The elements of the weight `name`, whose file name pattern is `from`.
    fn weight(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError>;

    /// A checksum that tells this weight from others at little cost: of a few of its bytes.
    fn sample(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<Checksum, WeightError> {
        Ok(sample_parts(&self.weight(name, from, ty)?.parts()))
    }
}

/// Where one weight came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the files.
    Given,
    /// Made by the generator.
    Seeded,
}

/// Weights from files, or made: random numbers that follow from the seed, the name and the place alone.
pub struct Weights<'a> {
    files: &'a WeightFiles,
    seed: u64,
    /// Whether weights that no file has are made.
    makes: bool,
    pool: &'a dyn Threads,
    sizes: Sizes,
    origins: BTreeMap<String, Origin>,
    watch: &'a mut dyn FnMut(&str, u64),
}

impl<'a> Weights<'a> {
    /// Weights for a program whose sized dims have these values. All are made where there are no files;
    /// where there are, one that none of them has is an error. `watch` is told the name and the bytes of
    /// each weight when it is there.
    pub fn new(
        files: &'a WeightFiles,
        seed: u64,
        sizes: Sizes,
        pool: &'a dyn Threads,
        watch: &'a mut dyn FnMut(&str, u64),
    ) -> Weights<'a> {
        let makes = files.paths().next().is_none();
        Weights { files, seed, makes, pool, sizes, origins: BTreeMap::new(), watch }
    }

    /// Makes weights that no file has, even where there are files.
    pub fn make_missing(self) -> Weights<'a> {
        Weights { makes: true, ..self }
    }

    /// Where each weight asked for so far came from.
    pub fn origins(&self) -> &BTreeMap<String, Origin> {
        &self.origins
    }

    /// The tensors of a weight, if files have it; notes where it comes from.
    fn given(
        &mut self,
        name: &str,
        from: &str,
        ty: &TensorType,
        shape: &[u64],
    ) -> Result<Option<Vec<FileBytes>>, WeightError> {
        let axes = StackPattern::axes(from);
        let (counts, rest) = shape.split_at(axes.min(shape.len()));
        let pattern = StackPattern::parse(from, axes)?;
        if self.makes && !pattern.names(counts).take(1 << 16).any(|tensor| self.files.contains(&tensor)) {
            self.origins.insert(name.to_owned(), Origin::Seeded);
            return Ok(None);
        }
        let tensors = self.files.get_stack(from, counts, ty.dtype, rest)?;
        self.origins.insert(name.to_owned(), Origin::Given);
        Ok(Some(tensors.into_iter().map(|tensor| tensor.shared).collect()))
    }

    fn shape(&self, ty: &TensorType) -> Result<Vec<u64>, WeightError> {
        let size = |dim: &moec_ir::Dim| dim.eval(&self.sizes);
        ty.shape.iter().map(size).collect::<Result<_, _>>().map_err(|e| WeightError::Size(e.to_string()))
    }
}

impl WeightSource for Weights<'_> {
    fn weight(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
        let shape = self.shape(ty)?;
        if let Some(parts) = self.given(name, from, ty, &shape)? {
            (self.watch)(name, parts.iter().map(|part| part.len() as u64).sum());
            return Ok(WeightBytes::Parts(parts));
        }
        let memory = random(self.pool, self.seed, name, ty.dtype, &shape)
            .map_err(|e| WeightError::Size(e.to_string()))?;
        (self.watch)(name, memory.len() as u64);
        Ok(WeightBytes::Made(memory))
    }

    fn sample(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<Checksum, WeightError> {
        let shape = self.shape(ty)?;
        Ok(match self.given(name, from, ty, &shape)? {
            Some(parts) => sample_parts(&parts.iter().map(|part| &**part).collect::<Vec<_>>()),
            None => sample_seed(self.seed, name, ty.dtype, &shape),
        })
    }
}

/// A random tensor: deviation `1 / sqrt(last axis)` for matrices, so that products keep the scale of
/// their input; a tenth for vectors, such as biases.
fn random(
    pool: &dyn Threads,
    seed: u64,
    name: &str,
    dtype: DType,
    shape: &[u64],
) -> Result<Buffer, BufferError> {
    let spread = match shape {
        [] | [_] => 0.1,
        [.., last] => 1.0 / (*last as f32).max(1.0).sqrt(),
    };
    filled(pool, seed, name, dtype, shape, spread)
}

/// A random input of deviation 1. Integers are 0: whatever they index, that is in range.
pub fn random_input(
    pool: &dyn Threads,
    seed: u64,
    name: &str,
    dtype: DType,
    shape: &[u64],
) -> Result<Buffer, BufferError> {
    filled(pool, seed, name, dtype, shape, 1.0)
}

fn filled(
    pool: &dyn Threads,
    seed: u64,
    name: &str,
    dtype: DType,
    shape: &[u64],
    spread: f32,
) -> Result<Buffer, BufferError> {
    let mut memory = Buffer::zeroed_shape(shape, dtype.bytes())?;
    seeded::fill(pool, seed, name, dtype, spread, memory.as_mut_slice::<u8>());
    Ok(memory)
}
