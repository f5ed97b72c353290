//! Scratch memory of one phase: buffers whose lives do not overlap share bytes.

use moec_ir::{IrError, Sizes};
use moec_plan::{Phase, Place, Plan};

use super::RunError;
use crate::buffer::{ALIGNMENT, Buffer};

/// One block of memory and where each scratch buffer lies in it.
pub(super) struct Arena {
    block: Buffer,
    /// Number of the plan's buffer, offset in the block.
    offsets: Vec<(usize, u64)>,
}

/// A buffer that has its place already.
struct Taken {
    start: u64,
    end: u64,
    first: usize,
    last: usize,
}

impl Arena {
    /// Lays out the scratch buffers that a call of `phase` with these sizes uses, each at the lowest
    /// offset that is free for its life. What is loaded in slices has room for one.
    pub(super) fn new(plan: &Plan, phase: Phase, sizes: &Sizes) -> Result<Arena, RunError> {
        let active = match phase {
            Phase::Load => 0..plan.load.len(),
            Phase::Run => plan.active(sizes),
        };
        let sliced = if phase == Phase::Load { plan.slices() } else { Vec::new() };
        let mut taken: Vec<Taken> = Vec::new();
        let mut offsets = Vec::new();
        let mut total = 0;
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let Place::Scratch { phase: lives, first, last } = buffer.place else { continue };
            if lives != phase || !active.contains(&first) {
                continue;
            }
            let mut bytes = buffer_bytes(plan, at, sizes)?;
            if let Some(slices) = sliced.iter().find(|slices| slices.buffer.0 as usize == at) {
                bytes = (bytes / slices.count).next_multiple_of(ALIGNMENT as u64);
            }
            taken.sort_by_key(|t| t.start);
            let mut start = 0;
            for other in taken.iter().filter(|t| t.first <= last && first <= t.last) {
                if start + bytes <= other.start {
                    break;
                }
                start = start.max(other.end);
            }
            let end = start + bytes;
            total = total.max(end);
            taken.push(Taken { start, end, first, last });
            offsets.push((at, start));
        }
        Ok(Arena { block: Buffer::zeroed(total)?, offsets })
    }

    /// The address of each buffer, by its number in the plan.
    pub(super) fn pointers(&mut self) -> Vec<(usize, *mut u8)> {
        let base = self.block.as_mut_ptr();
        self.offsets.iter().map(|&(at, offset)| (at, base.wrapping_add(offset as usize))).collect()
    }
}

/// Bytes of buffer number `at`, at least one, rounded up so that the next one is aligned.
pub(super) fn buffer_bytes(plan: &Plan, at: usize, sizes: &Sizes) -> Result<u64, IrError> {
    let buffer = &plan.buffers[at];
    let elements = buffer.elements.eval(sizes)?;
    let bytes = elements
        .checked_mul(buffer.dtype.bytes() as u64)
        .and_then(|bytes| bytes.max(1).checked_next_multiple_of(ALIGNMENT as u64))
        .filter(|&bytes| bytes < 1 << 48);
    bytes.ok_or_else(|| IrError::Dim(format!("{} of {elements} elements is too large", buffer.name)))
}
