//! Tensors in safetensors files, read by memory map and looked up by name. Owns every check between
//! a file and a slice of bytes that may be trusted; knows neither source programs nor packed
//! layouts.
//!
//! `error` makes the messages, `file` maps and checks one file, `header` finds the culprit when the `safetensors` crate refuses
//! one, `pattern` names the tensors of a stack, `storage` reads a file from where it lies, `write` writes files.

mod error;
mod file;
mod header;
mod pattern;
pub mod storage;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moec_ir::DType;

pub use error::{FileError, Missing, WeightError};
pub use file::FileBytes;
pub(crate) use file::map;
use file::{Entry, WeightFile};
pub use pattern::{PatternError, StackPattern};
pub(crate) use write::replace;
pub use write::{NamedTensor, write_safetensors};

/// Several safetensors files, looked up together.
#[derive(Debug, Default)]
pub struct WeightFiles {
    files: Vec<WeightFile>,
    /// Which file and which of its entries has the name.
    index: BTreeMap<String, (usize, usize)>,
}

/// One tensor of a file.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Length of each axis.
    pub shape: &'a [u64],
    /// Elements, row-major, little-endian; aligned to nothing.
    pub bytes: &'a [u8],
    /// The same elements for whoever needs them longer.
    pub shared: FileBytes,
    /// The file it lies in.
    pub file: &'a Path,
}

impl WeightFiles {
    /// Maps and checks the files. A name in two of them is an error: which one is meant would
    /// depend on their order.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<WeightFiles, WeightError> {
        let mut all = WeightFiles::default();
        for path in paths {
            let file = WeightFile::open(path.as_ref())?;
            for (position, entry) in file.entries.iter().enumerate() {
                let place = (all.files.len(), position);
                if let Some((first, _)) = all.index.insert(entry.name.clone(), place) {
                    let first = all.files.get(first).map_or_else(PathBuf::new, |file| file.path.clone());
                    return Err(WeightError::Duplicate {
                        name: entry.name.clone(),
                        first,
                        second: file.path,
                    });
                }
            }
            all.files.push(file);
        }
        Ok(all)
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// The files, in the order given.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Whether a file holds a tensor of this name, of whatever type.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Result<Tensor<'_>, WeightError> {
        match self.find(name) {
            Some((file, entry)) => file.tensor(entry),
            None => Err(self.missing(name, None)),
        }
    }

    /// The tensor of this name, which must have this element type and shape.
    pub fn get_typed(&self, name: &str, dtype: DType, shape: &[u64]) -> Result<Tensor<'_>, WeightError> {
        let tensor = self.get(name)?;
        tensor.check(dtype, shape)?;
        Ok(tensor)
    }

    /// Every tensor of a stack, row-major over its axes; each must have this element type and
    /// shape.
    ///
    /// `pattern` has one hole per axis (`"experts.{0}.w1.weight"`), `counts` the length of each
    /// axis. Without axes this is the one tensor of that name.
    pub fn get_stack(
        &self,
        pattern: &str,
        counts: &[u64],
        dtype: DType,
        shape: &[u64],
    ) -> Result<Vec<Tensor<'_>>, WeightError> {
        let parsed = StackPattern::parse(pattern, counts.len())?;
        let all = counts.iter().fold(1u64, |product, &count| product.saturating_mul(count));
        // More names than tensors: one is missing among the first `index.len() + 1`. Looking
        // further serves the count in the message.
        let looked = (self.index.len() as u64 + 1).max(1 << 16);
        let mut tensors = Vec::new();
        let mut first_missing = None;
        for name in parsed.names(counts).take(usize::try_from(looked).unwrap_or(usize::MAX)) {
            match self.find(&name) {
                Some((file, entry)) => {
                    let tensor = file.tensor(entry)?;
                    tensor.check(dtype, shape)?;
                    tensors.push(tensor);
                }
                None => first_missing = first_missing.or(Some(name)),
            }
        }
        match first_missing {
            None => Ok(tensors),
            Some(name) if counts.is_empty() => Err(self.missing(&name, None)),
            Some(name) => Err(self.missing(&name, Some((pattern.to_owned(), tensors.len() as u64, all)))),
        }
    }

    fn find(&self, name: &str) -> Option<(&WeightFile, &Entry)> {
        let &(file, position) = self.index.get(name)?;
        let file = self.files.get(file)?;
        Some((file, file.entries.get(position)?))
    }

    fn missing(&self, name: &str, stack: Option<(String, u64, u64)>) -> WeightError {
        let files = self.paths().map(Path::to_path_buf).collect();
        let missing = Missing::new(name, stack, files, self.index.keys());
        WeightError::Missing(Box::new(missing))
    }
}

impl Tensor<'_> {
    /// Errs unless the element type and shape are these.
    pub fn check(&self, dtype: DType, shape: &[u64]) -> Result<(), WeightError> {
        let (name, file) = (|| self.name.to_owned(), || self.file.to_path_buf());
        if self.dtype != dtype {
            return Err(WeightError::Type { name: name(), file: file(), expected: dtype, found: self.dtype });
        }
        if self.shape != shape {
            let (expected, found) = (shape.to_vec(), self.shape.to_vec());
            return Err(WeightError::Shape { name: name(), file: file(), expected, found });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
