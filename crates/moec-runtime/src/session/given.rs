//! Weights as their source gives them, for as long as a step reads them. Owns where their bytes lie: in
//! their files, or in memory; knows nothing of what steps do.

use moec_plan::Plan;

use super::load::LoadError;
use super::source::WeightSource;
use crate::buffer::{Buffer, BufferError};
use crate::weights::{FileBytes, WeightError};

/// The elements of a weight, row-major, of its declared type.
pub enum WeightBytes<'a> {
    /// One tensor.
    Whole(&'a [u8]),
    /// One tensor of a file, or those of a stack in order. They are read where they lie, and copied only
    /// if all of a stack is wanted in one piece, or if run steps read them.
    Parts(Vec<FileBytes>),
    /// Elements made for the occasion.
    Made(Buffer),
}

impl WeightBytes<'_> {
    /// The pieces, in order.
    pub fn parts(&self) -> Vec<&[u8]> {
        match self {
            WeightBytes::Whole(bytes) => vec![bytes],
            WeightBytes::Parts(parts) => parts.iter().map(|part| &**part).collect(),
            WeightBytes::Made(buffer) => vec![buffer.as_slice()],
        }
    }
}

/// Bytes that nobody writes any more.
pub(super) enum Memory {
    /// In a file.
    File(FileBytes),
    /// In memory.
    Own(Buffer),
}

impl Memory {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Memory::File(bytes) => bytes,
            Memory::Own(buffer) => buffer.as_slice(),
        }
    }
}

/// One weight.
pub(super) struct Given(Vec<Memory>);

impl Given {
    /// Weight number `n` from its source. Bytes that are only lent are copied.
    pub(super) fn fetch(plan: &Plan, n: usize, source: &mut dyn WeightSource) -> Result<Given, LoadError> {
        let (name, ty, from) = &plan.weights[n];
        let fail = |source: WeightError| LoadError::Weight { name: name.clone(), source };
        let given = source.weight(name, from, ty).map_err(fail)?;
        // What kernels rely on is checked, whoever the source is.
        let elements = ty.elements()?.eval(plan.dims.sized())?;
        let lengths: Vec<usize> = given.parts().iter().map(|part| part.len()).collect();
        let bytes = lengths.iter().map(|&length| length as u64).sum::<u64>();
        if bytes != elements.saturating_mul(ty.dtype.bytes() as u64)
            || lengths.windows(2).any(|p| p[0] != p[1])
        {
            let reason = format!("{ty} was given in {bytes} bytes");
            return Err(fail(WeightError::Size(reason)));
        }
        Ok(match given {
            WeightBytes::Whole(bytes) => Given(vec![Memory::Own(joined(&[bytes])?)]),
            WeightBytes::Parts(parts) => Given(parts.into_iter().map(Memory::File).collect()),
            WeightBytes::Made(buffer) => Given(vec![Memory::Own(buffer)]),
        })
    }

    /// A weight in one piece of a file.
    pub(super) fn in_file(bytes: FileBytes) -> Given {
        Given(vec![Memory::File(bytes)])
    }

    /// All elements, of `size` bytes each, one after another: where they lie, if they lie so and are aligned.
    pub(super) fn whole(&mut self, size: usize) -> Result<&[u8], BufferError> {
        let fits = |memory: &Memory| memory.bytes().as_ptr().addr().is_multiple_of(size);
        if !matches!(self.0.as_slice(), [one] if fits(one)) {
            self.join()?;
        }
        Ok(self.0.first().map_or(&[], Memory::bytes))
    }

    /// The addresses of `count` slices along axis 0, 8 bytes each.
    pub(super) fn addresses(&mut self, count: u64) -> Result<Buffer, BufferError> {
        if self.0.len() != 1 && self.0.len() as u64 != count {
            // Several axes are stacked.
            self.join()?;
        }
        let mut addresses = Buffer::zeroed(count.max(1) * 8)?;
        let slices = self.0.iter().flat_map(|part| {
            let bytes = part.bytes();
            let pieces = count as usize / self.0.len();
            let size = bytes.len() / pieces.max(1);
            (0..pieces).map(move |piece| bytes.as_ptr().wrapping_add(piece * size))
        });
        for (to, address) in addresses.as_mut_slice::<u8>().chunks_exact_mut(8).zip(slices) {
            to.copy_from_slice(&(address.expose_provenance() as u64).to_ne_bytes());
        }
        Ok(addresses)
    }

    /// The elements in memory, whatever becomes of files.
    pub(super) fn copied(self) -> Result<Buffer, BufferError> {
        let mut parts = self.0;
        match parts.pop() {
            Some(Memory::Own(buffer)) if parts.is_empty() => Ok(buffer),
            last => {
                parts.extend(last);
                joined(&parts.iter().map(Memory::bytes).collect::<Vec<_>>())
            }
        }
    }

    /// The parts, to be read in runs where they lie.
    pub(super) fn into_parts(self) -> Vec<Memory> {
        self.0
    }

    /// Tells the system that the pages of files are not needed soon.
    pub(super) fn leave(self) {
        for part in self.0 {
            if let Memory::File(bytes) = part {
                bytes.leave();
            }
        }
    }

    fn join(&mut self) -> Result<(), BufferError> {
        let parts: Vec<&[u8]> = self.0.iter().map(Memory::bytes).collect();
        let joined = joined(&parts)?;
        std::mem::replace(self, Given(vec![Memory::Own(joined)])).leave();
        Ok(())
    }
}

/// The pieces in one buffer.
fn joined(parts: &[&[u8]]) -> Result<Buffer, BufferError> {
    let total = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut buffer = Buffer::zeroed(total as u64)?;
    let mut rest = buffer.as_mut_slice::<u8>();
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    Ok(buffer)
}
