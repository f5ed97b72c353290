//! The files of a model folder. Owns which files are read and every refusal to read one: a shard is
//! a file of the folder itself, whatever an index says; sizes of JSON are bounded before it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use moec_ir::DType;
use moec_runtime::weights::WeightFiles;

use crate::error::ImportError;
use crate::json::{self, Value};
use crate::tensors::Tensors;

/// The configuration of a model has some kilobytes.
const MAX_CONFIG: u64 = 4 << 20;

/// The index of the largest models has some ten megabytes, of some hundred thousand tensors.
const MAX_INDEX: u64 = 64 << 20;
const MAX_INDEX_VALUES: usize = 1 << 20;

/// More shards than any model has.
const MAX_FILES: usize = 10_000;

/// A model folder as Hugging Face publishes it, its weights mapped and not read.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    config: String,
    weights: WeightFiles,
    /// Which shard holds which tensor, where there is an index.
    index: BTreeMap<String, String>,
    /// Shards of the index that are not there.
    absent: BTreeSet<String>,
}

impl Folder {
    /// Reads the configuration and the headers of the weights.
    pub fn open(path: &Path) -> Result<Folder, ImportError> {
        let config = read_text(path, "config.json", MAX_CONFIG)?;
        let Shards { files, index, absent } = Shards::of(path)?;
        Ok(Folder { path: path.to_owned(), config, weights: WeightFiles::open(&files)?, index, absent })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of its configuration.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Its weights.
    pub fn weights(&self) -> &WeightFiles {
        &self.weights
    }
}

impl Tensors for Folder {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let indexed = self.index.keys().map(String::as_str);
        Box::new(self.weights.names().chain(indexed.filter(|name| !self.weights.contains(name))))
    }

    fn get(&self, name: &str) -> Result<Option<(DType, &[u64])>, ImportError> {
        if let Some(stored) = Tensors::get(&self.weights, name)? {
            return Ok(Some(stored));
        }
        let Some(shard) = self.index.get(name) else { return Ok(None) };
        let why = if self.absent.contains(shard) { "which is not there" } else { "which has no such tensor" };
        Err(ImportError::Tensor(format!("the index says that tensor \"{name}\" lies in {shard}, {why}")))
    }
}

/// Maps weight files; a folder stands for the files that its index names, or all it has.
pub fn open_weights<P: AsRef<Path>>(paths: &[P]) -> Result<WeightFiles, ImportError> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            files.extend(Shards::of(path)?.files);
        } else {
            files.push(path.to_owned());
        }
    }
    Ok(WeightFiles::open(&files)?)
}

/// The weight files of a folder.
struct Shards {
    files: Vec<PathBuf>,
    index: BTreeMap<String, String>,
    absent: BTreeSet<String>,
}

impl Shards {
    fn of(folder: &Path) -> Result<Shards, ImportError> {
        let mut names = safetensors_files(folder)?;
        let mut indices: Vec<String> = Vec::new();
        names.retain(|name| {
            let is_index = name.ends_with(".index.json");
            if is_index {
                indices.push(name.clone());
            }
            !is_index
        });
        let preferred = "model.safetensors.index.json";
        let index = indices.iter().find(|name| *name == preferred).or(indices.first());
        // A single file beside an index that belongs to other files is what is meant.
        if let Some(name) = index.filter(|_| !names.iter().any(|name| name == "model.safetensors")) {
            return Shards::indexed(folder, name);
        }
        if names.iter().any(|name| name == "model.safetensors") {
            names.retain(|name| name == "model.safetensors");
        }
        if names.is_empty() {
            return Err(fault(folder, "it has no weights as *.safetensors".to_owned()));
        }
        let files = names.iter().map(|name| inside(folder, name)).collect::<Result<_, _>>()?;
        Ok(Shards { files, index: BTreeMap::new(), absent: BTreeSet::new() })
    }

    fn indexed(folder: &Path, name: &str) -> Result<Shards, ImportError> {
        let path = folder.join(name);
        let text = read_text(folder, name, MAX_INDEX)?;
        let value = json::parse(&text, MAX_INDEX_VALUES).map_err(|error| fault(&path, error.to_string()))?;
        drop(text);
        let entries = match value {
            Value::Object(entries) => entries,
            other => return Err(fault(&path, format!("holds {other}, not an object"))),
        };
        let map = match entries.into_iter().find(|(key, _)| key == "weight_map") {
            Some((_, Value::Object(map))) => map,
            Some((_, other)) => return Err(fault(&path, format!("`weight_map` is {other}, not an object"))),
            None => return Err(fault(&path, "has no `weight_map`".to_owned())),
        };
        let mut index = BTreeMap::new();
        for (tensor, shard) in map {
            match shard {
                Value::String(shard) => index.insert(tensor, shard),
                other => {
                    let tensor: String = tensor.chars().take(80).collect();
                    return Err(fault(&path, format!("the file of \"{tensor}\" is {other}, not a name")));
                }
            };
        }
        let shards: BTreeSet<&String> = index.values().collect();
        if shards.len() > MAX_FILES {
            return Err(fault(&path, format!("{} files; no model has so many", shards.len())));
        }
        let mut files = Vec::new();
        let mut absent = BTreeSet::new();
        for shard in shards {
            if shard.contains(['/', '\\', '\0']) || shard.starts_with('.') || shard.is_empty() {
                let shard = Value::String(shard.clone());
                return Err(fault(&path, format!("{shard} is no file of this folder, so it is not read")));
            }
            if folder.join(shard).symlink_metadata().is_ok() {
                files.push(inside(folder, shard)?);
            } else {
                absent.insert(shard.clone());
            }
        }
        match absent.first() {
            _ if !files.is_empty() => Ok(Shards { files, index, absent }),
            Some(first) => {
                let count = absent.len();
                Err(fault(&path, format!("none of its {count} files is there, such as {first}")))
            }
            None => Err(fault(&path, "its `weight_map` is empty".to_owned())),
        }
    }
}

fn fault(path: &Path, reason: String) -> ImportError {
    ImportError::Folder { path: path.to_owned(), reason }
}

/// Names of weight files and indices, sorted; not those of the original format that some models are
/// published in a second time.
fn safetensors_files(folder: &Path) -> Result<Vec<String>, ImportError> {
    let unreadable = |error: std::io::Error| fault(folder, error.to_string());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if is_weights && !name.starts_with("consolidated") && !name.starts_with('.') {
            names.push(name.to_owned());
        }
        if names.len() > MAX_FILES {
            return Err(fault(folder, format!("more than {MAX_FILES} weight files; no model has so many")));
        }
    }
    names.sort();
    Ok(names)
}

/// The path of a file of the folder. A link that leads elsewhere is refused, but for those of the
/// cache of Hugging Face, in which all files of a model are links to its own `blobs`.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, ImportError> {
    let path = folder.join(name);
    let unreadable = |error: std::io::Error| fault(&path, error.to_string());
    let root = std::fs::canonicalize(folder).map_err(unreadable)?;
    let real = std::fs::canonicalize(&path).map_err(unreadable)?;
    let blobs = root
        .parent()
        .filter(|snapshots| snapshots.file_name().is_some_and(|name| name == "snapshots"))
        .and_then(Path::parent)
        .map(|model| model.join("blobs"));
    if real.starts_with(&root) || blobs.is_some_and(|blobs| real.parent() == Some(&blobs)) {
        return Ok(path);
    }
    Err(fault(&path, "a link that leads out of the folder, so it is not read".to_owned()))
}

fn read_text(folder: &Path, name: &str, limit: u64) -> Result<String, ImportError> {
    let path = inside(folder, name)?;
    let unreadable = |error: std::io::Error| fault(&path, error.to_string());
    // Asked before opening, because opening a pipe would wait for its writer.
    let file = std::fs::metadata(&path).map_err(unreadable)?;
    if !file.is_file() {
        return Err(fault(&path, "not a regular file".to_owned()));
    }
    let too_large = |bytes: u64| fault(&path, format!("{bytes} bytes; at most {limit} are read"));
    if file.len() > limit {
        return Err(too_large(file.len()));
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    let text = String::from_utf8(bytes);
    text.map_err(|error| fault(&path, format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to())))
}
