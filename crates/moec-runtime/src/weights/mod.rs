//! Tensors in safetensors files, read by memory map and looked up by name. Owns every check between
//! a file and a slice of bytes that may be trusted; knows neither source programs nor packed
//! layouts.
//!
//! `file` maps and checks one file, `header` finds the culprit when the `safetensors` crate refuses
//! one, `pattern` names the tensors of a stack, `write` writes files.

mod file;
mod header;
mod pattern;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use moec_ir::DType;

use file::{Entry, WeightFile};
pub use pattern::{PatternError, StackPattern};
pub use write::{NamedTensor, write_safetensors};

/// Names to give as help when one is missing.
const NEAR_NAMES: usize = 3;

/// Several safetensors files, looked up together.
#[derive(Debug, Default)]
pub struct WeightFiles {
    files: Vec<WeightFile>,
    /// Which file and which of its entries has the name.
    index: BTreeMap<String, (usize, usize)>,
}

/// One tensor of a file.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Length of each axis.
    pub shape: &'a [u64],
    /// Elements, row-major, little-endian; aligned to nothing.
    pub bytes: &'a [u8],
    /// The file it lies in.
    pub file: &'a Path,
}

/// A weight file or a tensor in it cannot be used. Messages name the tensor and the file.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file does not exist, may not be read, or is not a file.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is truncated, corrupt, or something else altogether.
    #[error("{}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two of the files hold a tensor of this name.
    #[error("tensor \"{name}\" is both in {} and in {}", first.display(), second.display())]
    Duplicate {
        /// The tensor.
        name: String,
        /// The file given first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// No file holds the tensor.
    #[error("{0}")]
    Missing(Box<Missing>),
    /// The tensor has an element type that moec does not compute with.
    #[error("tensor \"{name}\" in {} has elements of type {found}; F32, BF16, F16, I32 and BOOL can be used", file.display())]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// The file it lies in.
        file: PathBuf,
        /// The type's name in the file.
        found: String,
    },
    /// The tensor's element type is not the declared one.
    #[error("tensor \"{name}\" in {} has elements of type {found}, declared {expected}", file.display())]
    Type {
        /// The tensor.
        name: String,
        /// The file it lies in.
        file: PathBuf,
        /// As declared.
        expected: DType,
        /// As stored.
        found: DType,
    },
    /// The tensor's shape is not the declared one.
    #[error("tensor \"{name}\" in {} has shape {found:?}, declared {expected:?}", file.display())]
    Shape {
        /// The tensor.
        name: String,
        /// The file it lies in.
        file: PathBuf,
        /// As declared.
        expected: Vec<u64>,
        /// As stored.
        found: Vec<u64>,
    },
    /// The name pattern of a stack cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The file cannot be written; nothing of it was left behind.
    #[error("cannot write {}: {source}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A tensor that no file holds, and what a user needs to see why.
#[derive(Debug)]
pub struct Missing {
    /// The first name that was not found.
    pub name: String,
    /// The stack it belongs to: pattern, number of its tensors that were found, number of all.
    pub stack: Option<(String, u64, u64)>,
    /// The files looked in.
    pub files: Vec<PathBuf>,
    /// Shards of the same model (`x-00002-of-00003.safetensors`) that were not given.
    pub siblings: Vec<String>,
    /// Names that do exist and look alike, best first.
    pub near: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((pattern, found, all)) = &self.stack {
            write!(f, "\"{pattern}\" matched {found} of {all} tensors; ")?;
        }
        write!(f, "no \"{}\"", self.name)?;
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        match files.as_slice() {
            [] => f.write_str(": no weight file was given")?,
            files => write!(f, " in {}", files.join(", "))?,
        }
        if !self.siblings.is_empty() {
            write!(f, "; not given: {}", self.siblings.join(", "))?;
        }
        if !self.near.is_empty() {
            let near: Vec<String> = self.near.iter().map(|name| format!("\"{name}\"")).collect();
            write!(f, "; there is {}", near.join(", "))?;
        }
        Ok(())
    }
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
        let files: Vec<PathBuf> = self.paths().map(Path::to_path_buf).collect();
        let siblings = missing_shards(&files);
        let near = near_names(name, self.index.keys());
        WeightError::Missing(Box::new(Missing { name: name.to_owned(), stack, files, siblings, near }))
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

/// Shards that the files' names promise (`x-00002-of-00003.safetensors`) and that are not among
/// them; at most as many as are shown.
fn missing_shards(files: &[PathBuf]) -> Vec<String> {
    let names: Vec<&str> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let mut missing = Vec::new();
    for name in &names {
        let Some((stem, total)) = name.strip_suffix(".safetensors").and_then(|name| name.rsplit_once("-of-"))
        else {
            continue;
        };
        let Some((model, number)) = stem.rsplit_once('-') else { continue };
        let Ok(count) = total.parse::<u64>() else { continue };
        let width = number.len();
        for shard in (1..=count).map(|shard| format!("{model}-{shard:0width$}-of-{total}.safetensors")) {
            if missing.len() == NEAR_NAMES {
                return missing;
            }
            if !names.contains(&shard.as_str()) && !missing.contains(&shard) {
                missing.push(shard);
            }
        }
    }
    missing
}

/// The existing names that a mistyped or differently prefixed `name` may have meant.
fn near_names<'a>(name: &str, existing: impl Iterator<Item = &'a String>) -> Vec<String> {
    let ending = |other: &str| {
        let (long, short) = if other.len() > name.len() { (other, name) } else { (name, other) };
        long.strip_suffix(short).is_some_and(|prefix| prefix.ends_with('.'))
    };
    let mut ranked: Vec<(usize, &String)> = existing
        .map(|other| (if ending(other) { 0 } else { edit_distance(name, other) }, other))
        .filter(|(distance, _)| *distance <= 2 + name.len() / 5)
        .collect();
    ranked.sort();
    ranked.into_iter().take(NEAR_NAMES).map(|(_, other)| other.clone()).collect()
}

/// Bytes to insert, delete or replace to turn one name into the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
