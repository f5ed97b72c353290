//! Runs of elements in vectors of 512 bits, derived from their form in four lanes.
//!
//! Cranelift has no vectors of more than 128 bits, and element-wise code is written once, in its IR
//! ([`LaneEmitter`](crate::LaneEmitter)). Here a straight line of such code becomes machine code for a whole
//! run: [`read`] takes the function apart into steps, each of which is one instruction of AVX-512 or a
//! few, and [`assemble`] gives them registers. Every step means the same in each lane as the operation that
//! it comes from, so bits are those of four lanes (payloads of NaN excepted). What has no step, such as a
//! conversion to integers, is not widened: whoever asks then keeps to four lanes.
//!
//! **Calls.** `extern "C" fn(*const u64)`, System V. The words are, for each operand, the address of its first
//! element or, where there is one for the whole run, its bits; and last the address of the first result.
//! A run reads and writes exactly its elements, at any alignment. Changes `rax`, `rsi`, vector and mask
//! registers; no stack, no calls; constants stand behind the code.

mod assemble;
mod read;

use cranelift_codegen::ir::Function;
use iced_x86::IcedError;
use moec_ir::DType;

use crate::assembled::Assembled;

/// Elements of a vector.
pub(crate) const WIDE: usize = 16;

/// An operand of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operand {
    /// An element of that type for each result, side by side; floats are widened to f32, bytes to i32.
    Each(DType),
    /// One f32 or i32 for all.
    One,
}

/// A run: what it reads, what it writes, how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the parameters of the function are, in order: of four lanes or of one.
    pub(crate) operands: Vec<Operand>,
    /// Element type of the results. What the function gives is stored as it is: f32, i32, or the pattern of
    /// a shorter type in the lower bits of an i32.
    pub(crate) out: DType,
    /// Number of results, a multiple of [`WIDE`].
    pub(crate) len: usize,
}

/// The machine code of a run, each element of which is what `function` gives. None if something in it has no
/// wide form.
///
/// # Errors
/// The assembler's, for an instruction that does not exist.
pub(crate) fn widen(function: &Function, run: &Run) -> Result<Option<Assembled>, IcedError> {
    debug_assert!(run.len.is_multiple_of(WIDE), "a part of a vector");
    match read::steps(function, run) {
        Some(line) => assemble::assemble(&line, run),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
