//! Packed weights in a file: what loading made, to be mapped by a later start. Owns the file and the
//! question whether it fits; knows nothing of packing itself and takes no size from the file: all follow
//! from the plan and are compared.
//!
//! `header` is the format, `checksum` how bytes are summed, `write` makes a file.
//!
//! A file holds the [`Image`] of a plan, a section for each buffer, and is bound to what its bytes follow
//! from: the recipe, the weights, the instruction set, and the version of moec. The header is checked
//! whenever a file is opened. The bytes of sections are summed by [`PackedFile::verify`] alone: reading
//! them all takes as long as a start is meant not to take, and like the bytes of weights they are numbers,
//! which no address is computed from without a check.

mod checksum;
mod header;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use moec_plan::abi::Program;
use moec_plan::{Image, Plan};

pub use checksum::Checksum;
pub(crate) use checksum::{Summing, sample_parts, sample_seed, samples};
pub use header::seal;
use header::{Header, PAGE, Refusal, Section};
pub(crate) use write::write;

use crate::buffer::{HUGE_PAGE, LARGE};
use crate::session::{LoadError, image_bytes};
use crate::threads::Threads;
use crate::weights::{FileBytes, FileError, map};

/// The version of the format, and of what packing makes of a recipe: it changes with either.
const VERSION: u32 = 1;

/// The version of moec that packs.
const MOEC: &str = env!("CARGO_PKG_VERSION");

/// Weights that cannot be packed into a file, or a file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// The file cannot be read or written, or is no packed file, or not all of one, or not as it was written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A packed file for something else.
    #[error("{} does not fit: {reason}; pack the weights again", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it was packed for, and what is wanted.
        reason: String,
    },
    /// A program whose loaded weights cannot lie in a file.
    #[error(
        "the experts of some tokens follow from weights alone, and such plans cannot be packed into a file"
    )]
    Routed,
    /// Weights that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A packed file whose header is sound.
#[derive(Debug, Clone)]
pub struct PackedFile {
    path: PathBuf,
    map: Arc<Mmap>,
    header: Header,
}

impl PackedFile {
    /// Maps a file and checks its header. Reads nothing else of it.
    pub fn open(path: &Path) -> Result<PackedFile, PackedError> {
        let unreadable = |source| FileError::Unreadable { file: path.to_path_buf(), source };
        let map = map(path).map_err(unreadable)?;
        let malformed = |reason| PackedError::from(FileError::Malformed { file: path.to_path_buf(), reason });
        let header = Header::read(&map).map_err(|refusal| match refusal {
            Refusal::Stranger => malformed("not a file of packed weights".to_owned()),
            Refusal::Truncated(bytes) => {
                malformed(format!("truncated: {bytes} bytes are less than its header"))
            }
            Refusal::Damaged => malformed("the header is damaged".to_owned()),
            Refusal::Version(found) => PackedError::Foreign {
                file: path.to_path_buf(),
                reason: format!(
                    "it has version {found} of the format, and this moec reads version {VERSION}"
                ),
            },
        })?;
        let end = header.sections.last().map(|last| last.offset.saturating_add(last.bytes));
        let end = end.unwrap_or(header.len());
        if end != map.len() as u64 {
            let problem = if end > map.len() as u64 { "truncated" } else { "something was added" };
            return Err(malformed(format!("{problem}: {} bytes, and the header tells of {end}", map.len())));
        }
        #[cfg(target_os = "linux")]
        {
            // Where the system reads files in huge pages, it then does so here.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(PackedFile { path: path.to_path_buf(), map: Arc::new(map), header })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the model that it was packed for.
    pub fn model(&self) -> &str {
        &self.header.model
    }

    /// The number of buffers in it.
    pub fn sections(&self) -> usize {
        self.header.sections.len()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Reads all of the file and compares it with its checksums.
    pub fn verify(&self, pool: &dyn Threads) -> Result<(), PackedError> {
        for (number, section) in self.header.sections.iter().enumerate() {
            let bytes = self.section(section);
            let whole = bytes.len() as u64 == section.bytes;
            if !whole || checksum::of(pool, &bytes) != section.checksum {
                let all = self.header.sections.len();
                let reason = format!("section {} of {all} is damaged", number + 1);
                return Err(FileError::Malformed { file: self.path.clone(), reason }.into());
            }
        }
        let mut end = self.header.len();
        for section in &self.header.sections {
            let gap = self.map.get(end as usize..section.offset as usize);
            if gap.is_none_or(|gap| gap.iter().any(|&byte| byte != 0)) {
                let reason = format!("the bytes before byte {} are damaged", section.offset);
                return Err(FileError::Malformed { file: self.path.clone(), reason }.into());
            }
            end = section.offset.saturating_add(section.bytes);
        }
        Ok(())
    }

    /// The buffers of the program's image, in its order, if the file was packed for this program on this
    /// target.
    pub(crate) fn image(&self, program: &dyn Program) -> Result<Vec<FileBytes>, PackedError> {
        let (plan, header) = (program.plan(), &self.header);
        let foreign = |reason| Err(PackedError::Foreign { file: self.path.clone(), reason });
        if header.moec != MOEC {
            return foreign(format!("it was packed by moec {}, and this is moec {MOEC}", header.moec));
        }
        if header.target != program.target() {
            let (found, wanted) = (&header.target, program.target());
            return foreign(format!(
                "it was packed for `{found}`, and the program is compiled for `{wanted}`"
            ));
        }
        let image = packable(plan)?;
        if header.recipe != checksum::of_text(&image.recipe) {
            let (found, wanted) = (&header.model, &plan.name);
            let reason = match **wanted == **found {
                true => format!("it was packed for another source or other options of `{wanted}`"),
                false => format!("it was packed for `{found}`, and the program is `{wanted}`"),
            };
            return foreign(reason);
        }
        // Equal recipes have equal sizes, unless somebody made up a header.
        let places = layout(header.len(), &sizes(plan, &image)?);
        if !places.iter().copied().eq(header.sections.iter().map(|section| (section.offset, section.bytes))) {
            let reason = "its sections are not those that the program has".to_owned();
            return Err(FileError::Malformed { file: self.path.clone(), reason }.into());
        }
        Ok(header.sections.iter().map(|section| self.section(section)).collect())
    }

    /// That it was packed from weights with these checksums of samples.
    pub(crate) fn fits_samples(&self, found: Checksum) -> Result<(), PackedError> {
        self.fits_weights(self.header.samples == found)
    }

    /// That it was packed from weights with these checksums.
    pub(crate) fn fits_sums(&self, found: Checksum) -> Result<(), PackedError> {
        self.fits_weights(self.header.weights == found)
    }

    fn fits_weights(&self, fits: bool) -> Result<(), PackedError> {
        let reason = || "it was packed from other weights than those given".to_owned();
        if fits { Ok(()) } else { Err(PackedError::Foreign { file: self.path.clone(), reason: reason() }) }
    }

    fn section(&self, section: &Section) -> FileBytes {
        let end = section.offset.saturating_add(section.bytes);
        FileBytes::new(Arc::clone(&self.map), section.offset as usize, end as usize)
    }
}

/// A file of these sections that fits no program: to try with what reads files.
pub fn stray_file(sections: &[&[u8]]) -> Vec<u8> {
    let none = Checksum::default();
    let mut header = Header {
        moec: MOEC.to_owned(),
        model: "stray".to_owned(),
        target: "none".to_owned(),
        recipe: none,
        samples: none,
        weights: none,
        sections: vec![Section { offset: 0, bytes: 0, checksum: none }; sections.len()],
    };
    let sizes: Vec<u64> = sections.iter().map(|section| section.len() as u64).collect();
    let places = layout(header.len(), &sizes);
    for ((section, (offset, bytes)), content) in header.sections.iter_mut().zip(&places).zip(sections) {
        *section = Section { offset: *offset, bytes: *bytes, checksum: checksum::of_bytes(content) };
    }
    let mut file = header.bytes();
    for ((offset, _), content) in places.iter().zip(sections) {
        file.resize(*offset as usize, 0);
        file.extend(*content);
    }
    file
}

/// The image of a plan, if it may lie in a file. A routing plan may not: run steps believe its indices.
fn packable(plan: &Plan) -> Result<Image, PackedError> {
    if plan.routes_at_load() { Err(PackedError::Routed) } else { Ok(plan.image()) }
}

/// Bytes of each buffer of an image.
fn sizes(plan: &Plan, image: &Image) -> Result<Vec<u64>, PackedError> {
    let bytes = |buffer: &moec_plan::BufferId| image_bytes(plan, buffer.0 as usize, plan.dims.sized());
    image.buffers.iter().map(bytes).collect::<Result<_, _>>().map_err(|error| LoadError::from(error).into())
}

/// Where sections of these sizes lie, with their sizes: large ones as huge pages would have them.
fn layout(header: u64, sizes: &[u64]) -> Vec<(u64, u64)> {
    let mut end = header;
    let place = |&bytes: &u64| {
        let page = if bytes >= LARGE as u64 { HUGE_PAGE } else { PAGE };
        let offset = end.next_multiple_of(page as u64);
        end = offset.saturating_add(bytes);
        (offset, bytes)
    };
    sizes.iter().map(place).collect()
}

#[cfg(test)]
mod tests;
