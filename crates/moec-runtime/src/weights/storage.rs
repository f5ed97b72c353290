//! Reading a file from where it lies, not from the memory of the system: what a call waits for that
//! needs experts which stay in their files. Whoever calls looks at the clock.
//!
//! The file is mapped and its pages are touched, as experts in files are read. Before that the system is asked to
//! forget it, and then whether it has: a file that stays in memory would be measured as memory.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "the system is asked about the pages of a file")
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;

use super::{FileError, map};
use crate::threads::Threads;

/// Bytes that are read in one piece: as many as a matrix of an expert has (OLMoE, in bf16).
pub const BLOCK: usize = 4 << 20;

/// Blocks that a file must have. Fewer say little.
pub const LEAST: usize = 8;

/// Bytes of which at least one is touched.
const PAGE: usize = 4096;

/// A file from which storage cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file does not exist, may not be read, or is not a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Too few bytes.
    #[error("{} has {bytes} bytes; measuring needs {}, in one file", file.display(), LEAST * BLOCK)]
    Small {
        /// The file.
        file: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// The system keeps it.
    #[error(
        "{percent:.0} % of {} stay in memory, so reading it tells nothing of storage: its file system \
         lies in memory, another program holds it, or it may not be written to, and then the system does not tell",
        file.display()
    )]
    Kept {
        /// The file.
        file: PathBuf,
        /// The part of its pages.
        percent: f64,
    },
}

/// A file that lies in storage, no page of it in memory.
#[derive(Debug)]
pub struct Stored {
    map: Mmap,
}

impl Stored {
    /// Opens a file and has the system forget what it knows of it.
    pub fn open(path: &Path) -> Result<Stored, StorageError> {
        let unreadable = |source| FileError::Unreadable { file: path.to_path_buf(), source };
        let file = || path.to_path_buf();
        let map = map(path).map_err(unreadable)?;
        if map.len() < LEAST * BLOCK {
            return Err(StorageError::Small { file: file(), bytes: map.len() as u64 });
        }
        forget(&File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let kept = kept(&map).map_err(unreadable)?;
        // Some pages may come back by themselves, as when files are indexed.
        if kept > 0.02 {
            return Err(StorageError::Kept { file: file(), percent: 100.0 * kept });
        }
        Ok(Stored { map })
    }

    /// Blocks of [`BLOCK`] bytes.
    pub fn blocks(&self) -> u64 {
        (self.map.len() / BLOCK) as u64
    }

    /// Reads the blocks at these places of an order in which no two neighbours in the file follow each other, by all
    /// threads of the pool, and gives the number of bytes. A block that is read a second time comes from memory.
    pub fn read(&self, places: Range<u64>, pool: &dyn Threads) -> u64 {
        let (blocks, stride) = (self.blocks(), stride(self.blocks()));
        let (sum, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let count = places.end.saturating_sub(places.start);
        pool.run(count, 1, &|_, range: Range<u64>| {
            for at in range {
                let block = ((places.start + at) % blocks * stride % blocks) as usize;
                let block = &self.map[block * BLOCK..(block + 1) * BLOCK];
                let touched: u64 = block.iter().step_by(PAGE).map(|&byte| u64::from(byte)).sum();
                sum.fetch_add(touched, Ordering::Relaxed);
                bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
        });
        std::hint::black_box(sum.into_inner());
        bytes.into_inner()
    }
}

/// A number without a common divisor with `blocks`, about 0.6 times as large: steps of it reach every block once,
/// far from the one before.
fn stride(blocks: u64) -> u64 {
    let divides = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (blocks * 618 / 1000..).find(|&step| step > 0 && divides(step, blocks) == 1).unwrap_or(1)
}

/// Has the system write out what is not, and drop all pages that nobody else holds.
#[cfg(target_os = "linux")]
fn forget(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    file.sync_data()?;
    // SAFETY: the descriptor is open, and advice about the pages of a file changes no content.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The part of the pages of a mapped file that are in memory.
#[cfg(target_os = "linux")]
fn kept(map: &Mmap) -> io::Result<f64> {
    // SAFETY: asks for a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE);
    let mut pages = vec![0u8; map.len().div_ceil(page)];
    // SAFETY: the map begins at a page and is as long as it says, and there is a byte for each of its pages.
    let code = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pages.iter().filter(|page| **page & 1 == 1).count() as f64 / pages.len().max(1) as f64)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &File) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "storage can be measured on Linux only"))
}

#[cfg(not(target_os = "linux"))]
fn kept(_: &Mmap) -> io::Result<f64> {
    Ok(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Pool;

    #[test]
    fn every_block_is_read_once_and_far_from_the_one_before() {
        for blocks in [8, 9, 10, 16, 97, 100, 1024] {
            let stride = stride(blocks);
            let order: Vec<u64> = (0..blocks).map(|at| at * stride % blocks).collect();
            assert!(order.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1), "{blocks}: {order:?}");
            let mut all = order.clone();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..blocks), "{blocks}: {order:?}");
        }
    }

    #[test]
    fn small_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        std::fs::write(&path, [1; 10]).unwrap();
        let error = Stored::open(&path).unwrap_err().to_string();
        assert!(error.ends_with("small has 10 bytes; measuring needs 33554432, in one file"), "{error}");
        let missing = Stored::open(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, StorageError::File(FileError::Unreadable { .. })), "{missing}");
        assert!(matches!(Stored::open(folder.path()), Err(StorageError::File(_))));
    }

    /// Where the system lets go of a file, it is read whole; where it does not, that is said.
    #[test]
    fn files_are_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![3u8; LEAST * BLOCK + 5]).unwrap();
        let pool = Pool::new(2).unwrap();
        match Stored::open(&path) {
            Ok(stored) => assert_eq!(stored.read(0..stored.blocks(), &pool), (LEAST * BLOCK) as u64),
            Err(error) => assert!(error.to_string().contains("stay in memory"), "{error}"),
        }
    }
}
