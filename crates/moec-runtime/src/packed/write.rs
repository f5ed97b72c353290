//! Writes a packed file whole or not at all.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use moec_plan::abi::Program;

use super::header::{Header, Section};
use super::{Checksum, MOEC, PackedError, checksum, layout, packable, sizes};
use crate::threads::Threads;
use crate::weights::{FileError, map, replace};

/// Writes the image of a program to `path`. `samples` and `weights` are the checksums of what it was packed
/// from; `parts` gives each buffer of the plan by its number, in pieces.
pub(crate) fn write<'a>(
    path: &Path,
    program: &dyn Program,
    [samples, weights]: [Checksum; 2],
    pool: &dyn Threads,
    parts: &dyn Fn(usize) -> Vec<&'a [u8]>,
) -> Result<(), PackedError> {
    let plan = program.plan();
    let image = packable(plan)?;
    let sizes = sizes(plan, &image)?;
    let none = Section { offset: 0, bytes: 0, checksum: Checksum::default() };
    let mut header = Header {
        moec: MOEC.to_owned(),
        model: plan.name.to_string(),
        target: program.target().to_owned(),
        recipe: checksum::of_text(&image.recipe),
        samples,
        weights,
        sections: vec![none; sizes.len()],
    };
    let places = layout(header.len(), &sizes);
    let write = |temporary: &Path| {
        let mut file = File::options().write(true).open(temporary)?;
        file.set_len(places.last().map_or(header.len(), |(offset, bytes)| offset + bytes))?;
        for ((offset, bytes), buffer) in places.iter().zip(&image.buffers) {
            file.seek(SeekFrom::Start(*offset))?;
            let parts = parts(buffer.0 as usize);
            if parts.iter().map(|part| part.len() as u64).sum::<u64>() != *bytes {
                return Err(io::Error::other("a buffer is not as long as the plan says"));
            }
            parts.iter().try_for_each(|part| file.write_all(part))?;
        }
        // Summed as it lies in the file.
        let map = map(temporary)?;
        for (section, (offset, bytes)) in header.sections.iter_mut().zip(places) {
            let content = map.get(offset as usize..(offset + bytes) as usize).unwrap_or_default();
            *section = Section { offset, bytes, checksum: checksum::of(pool, content) };
        }
        file.rewind()?;
        file.write_all(&header.bytes())?;
        // A name must never lead to a file that a power cut left with holes.
        file.sync_all()
    };
    // A link leads to the file that is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let unwritable = |source| FileError::Unwritable { file: path.to_path_buf(), source };
    if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(unwritable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")).into());
    }
    Ok(replace(path, write).map_err(unwritable)?)
}
