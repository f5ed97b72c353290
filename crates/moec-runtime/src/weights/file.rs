//! One safetensors file in memory: mapped, its header checked, its tensors listed. Owns the only
//! memory map of files.
#![expect(unsafe_code, reason = "files are mapped into memory")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use moec_ir::DType;
use safetensors::tensor::Dtype;
use safetensors::{SafeTensorError, SafeTensors};

use super::header::{describe, duplicate, misplaced};
use super::{FileError, Tensor, WeightError};

#[cfg(target_endian = "big")]
compile_error!("weight files are little-endian and are used as they lie in memory");

/// A mapped file whose header has been checked against its size.
#[derive(Debug)]
pub(super) struct WeightFile {
    pub(super) path: PathBuf,
    map: Arc<Mmap>,
    /// By name.
    pub(super) entries: Vec<Entry>,
}

/// Bytes of a mapped file, which stays mapped as long as they are held.
#[derive(Debug, Clone)]
pub struct FileBytes {
    map: Arc<Mmap>,
    start: usize,
    end: usize,
}

impl FileBytes {
    /// The part of a map from `start` to `end`, or none of it where it is shorter.
    pub(crate) fn new(map: Arc<Mmap>, start: usize, end: usize) -> FileBytes {
        FileBytes { map, start, end }
    }

    /// Tells the system that these pages are not needed soon; they are read again where they are.
    pub(crate) fn leave(&self) {
        #[cfg(unix)]
        if self.start < self.end {
            // SAFETY: the map is of a file and read-only, so its pages have no content of their own.
            // Failing, the advice has no effect.
            let _ = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                self.map.unchecked_advise_range(advice, self.start, self.end - self.start)
            };
        }
    }
}

impl std::ops::Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.get(self.start..self.end).unwrap_or_default()
    }
}

/// Where a tensor lies.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The type's name in the file where moec has no such type.
    dtype: Result<DType, String>,
    shape: Vec<u64>,
    /// In the file.
    start: usize,
    end: usize,
}

impl WeightFile {
    /// Maps the file and checks it: magic, header, and that the tensors fill the data without hole
    /// or overlap.
    pub(super) fn open(path: &Path) -> Result<WeightFile, WeightError> {
        let unreadable = |source| FileError::Unreadable { file: path.to_path_buf(), source };
        let map = map(path).map_err(unreadable)?;
        let malformed = |reason| WeightError::from(FileError::Malformed { file: path.to_path_buf(), reason });
        let (header_bytes, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| malformed(explain(&error, &map)))?;
        let data_start = header_bytes + 8;
        let described = describe(header(&map).unwrap_or_default());
        let tensors = metadata.tensors();
        if described.len() != tensors.len() {
            let name = duplicate(&described).unwrap_or("?");
            return Err(malformed(format!("tensor \"{name}\" occurs twice in the header")));
        }
        let mut entries: Vec<Entry> = tensors
            .into_iter()
            .map(|(name, info)| Entry {
                name,
                dtype: element_type(info.dtype).ok_or_else(|| info.dtype.to_string()),
                shape: info.shape.iter().map(|&axis| axis as u64).collect(),
                start: data_start + info.data_offsets.0,
                end: data_start + info.data_offsets.1,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(WeightFile { path: path.to_path_buf(), map: Arc::new(map), entries })
    }

    /// The tensor of an entry of this file.
    pub(super) fn tensor<'a>(&'a self, entry: &'a Entry) -> Result<Tensor<'a>, WeightError> {
        let dtype = entry.dtype.as_ref().map_err(|found| WeightError::UnsupportedType {
            name: entry.name.clone(),
            file: self.path.clone(),
            found: found.clone(),
        })?;
        let bytes = self.map.get(entry.start..entry.end).unwrap_or_default();
        let shared = FileBytes::new(Arc::clone(&self.map), entry.start, entry.end);
        Ok(Tensor { name: &entry.name, dtype: *dtype, shape: &entry.shape, bytes, shared, file: &self.path })
    }
}

/// Maps a regular file for reading.
pub(crate) fn map(path: &Path) -> io::Result<Mmap> {
    // Asked before opening, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    // SAFETY: the map is read-only. Nothing can keep another process from changing the file
    // meanwhile; as with every program that maps weights, values then change and a file made
    // shorter ends the process. No check of ours is repeated on mapped bytes that memory safety
    // depends on: offsets are copied out of the header once.
    unsafe { Mmap::map(&file) }
}

/// The JSON of the header, where there is one.
fn header(file: &[u8]) -> Option<&str> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// The message for a refused file, with the tensor's name where the library leaves it out.
fn explain(error: &SafeTensorError, file: &[u8]) -> String {
    let promised = || file.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("not a safetensors file: {} bytes, less than a header length", file.len())
        }
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => format!(
            "truncated, or not a safetensors file: its first 8 bytes promise a header of {} bytes, and the file has {}",
            promised(),
            file.len()
        ),
        SafeTensorError::InvalidHeader(_) | SafeTensorError::InvalidHeaderDeserialization(_) => {
            format!("not a safetensors file, or a corrupt one: {error}")
        }
        _ => header(file)
            .and_then(|header| {
                let data_bytes = file.len() - 8 - header.len();
                let tensors = describe(header);
                let twice = duplicate(&tensors);
                twice
                    .map(|name| format!("tensor \"{name}\" occurs twice in the header"))
                    .or_else(|| misplaced(&tensors, data_bytes as u64, element_bits))
            })
            .unwrap_or_else(|| error.to_string()),
    }
}

fn element_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::BF16 => Some(DType::Bf16),
        Dtype::F16 => Some(DType::F16),
        Dtype::I32 => Some(DType::I32),
        Dtype::U8 => Some(DType::U8),
        Dtype::BOOL => Some(DType::Bool),
        _ => None,
    }
}

/// Bits of one element of the type of that name in a file.
fn element_bits(name: &str) -> Option<u64> {
    Some(match name {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => 8,
    })
}
