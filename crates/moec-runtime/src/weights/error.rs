//! What can be wrong with weights, and the help that goes with a name that was not found.

use std::fmt;
use std::path::PathBuf;

use moec_ir::DType;

use super::PatternError;

/// Names to give as help when one is missing.
const NEAR_NAMES: usize = 3;

/// A file that cannot be read, written, or understood.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not exist, may not be read, or is not a file.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is truncated, corrupt, or something else altogether.
    #[error("{}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be written; nothing of it was left behind.
    #[error("cannot write {}: {source}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A weight file or a tensor in it cannot be used. Messages name the tensor and the file.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// A file that cannot be used at all.
    #[error(transparent)]
    File(#[from] FileError),
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
    #[error("tensor \"{name}\" in {} has elements of type {found}; F32, BF16, F16, I32, U8 and BOOL can be used", file.display())]
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
    /// A tensor that cannot be made: its size is unknown, overflows, or asks for too much memory.
    #[error("{0}")]
    Size(String),
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

impl Missing {
    pub(super) fn new<'a>(
        name: &str,
        stack: Option<(String, u64, u64)>,
        files: Vec<PathBuf>,
        existing: impl Iterator<Item = &'a String>,
    ) -> Missing {
        let siblings = missing_shards(&files);
        Missing { name: name.to_owned(), stack, files, siblings, near: near_names(name, existing) }
    }
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
