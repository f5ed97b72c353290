//! Writes safetensors files whole or not at all.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use moec_ir::DType;
use safetensors::tensor::{Dtype, View};

use super::FileError;

/// A tensor to write: name, element type, shape, and its elements as little-endian bytes,
/// row-major.
pub type NamedTensor<'a> = (&'a str, DType, &'a [u64], &'a [u8]);

/// Writes the tensors to a file beside `path` that then takes its name: `path` holds the old
/// content or the new, never a part. Where `path` is a link, that is the file it leads to. What is no regular file, such
/// as a device or a pipe, is written to and never replaced.
///
/// Two tensors of one name, and bytes that do not fit the shape, are refused.
pub fn write_safetensors(path: &Path, tensors: &[NamedTensor<'_>]) -> Result<(), FileError> {
    write(path, tensors).map_err(|source| FileError::Unwritable { file: path.to_path_buf(), source })
}

fn write(path: &Path, tensors: &[NamedTensor<'_>]) -> io::Result<()> {
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.0).collect();
    names.sort_unstable();
    if let Some(&[name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return refuse(format!("two tensors are named \"{name}\""));
    }
    for (name, dtype, shape, bytes) in tensors {
        let needed = shape.iter().try_fold(dtype.bytes() as u64, |product, &axis| product.checked_mul(axis));
        if needed != Some(bytes.len() as u64) || *name == "__metadata__" {
            return refuse(format!("tensor \"{name}\", {dtype} {shape:?}, has {} bytes", bytes.len()));
        }
    }
    let views = tensors.iter().map(|&(name, dtype, shape, bytes)| (name, Elements::new(dtype, shape, bytes)));

    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        let mut place = std::fs::OpenOptions::new().write(true).open(path)?;
        let content = safetensors::serialize(views, None).map_err(io::Error::other)?;
        return place.write_all(&content);
    }
    let full =
        |temporary: &Path| safetensors::serialize_to_file(views, None, temporary).map_err(io::Error::other);
    replace(path, full)
}

/// Has `fill` write a file beside `path`, which then takes its name.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary =
        tempfile::Builder::new().prefix(".moec-").suffix(".tmp").tempfile_in(folder)?.into_temp_path();
    fill(&temporary)?;
    set_default_permissions(&temporary, folder)?;
    temporary.persist(path).map_err(|failure| failure.error)
}

/// Temporary files are private to their owner; a result is as readable as any new file.
#[cfg(unix)]
fn set_default_permissions(file: &Path, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let open_to_all = std::fs::Permissions::from_mode(0o666);
    let ordinary = tempfile::Builder::new().prefix(".moec-").permissions(open_to_all).tempfile_in(folder)?;
    std::fs::set_permissions(file, ordinary.as_file().metadata()?.permissions())
}

#[cfg(not(unix))]
fn set_default_permissions(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

struct Elements<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Elements<'a> {
    fn new(dtype: DType, shape: &[u64], bytes: &'a [u8]) -> Elements<'a> {
        let dtype = match dtype {
            DType::F32 => Dtype::F32,
            DType::Bf16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::I32 => Dtype::I32,
            DType::U8 => Dtype::U8,
            DType::Bool => Dtype::BOOL,
        };
        // An axis beyond `usize` can only be beside a zero one: there are no bytes, and no reader
        // of this machine minds.
        let shape = shape.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect();
        Elements { dtype, shape, bytes }
    }
}

impl View for Elements<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
