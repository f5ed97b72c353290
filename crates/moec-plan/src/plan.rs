//! Buffers and steps.

use std::sync::Arc;

use moec_ir::{DType, Dim, DimExpr, DimTable, IrError, Number, Sizes, TensorType};

use crate::Kernel;

/// The number of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Who provides the memory of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The caller: input number `n`, contiguous.
    Input(usize),
    /// The caller: output number `n`, contiguous.
    Output(usize),
    /// The loader: weight number `n` as it lies in the files, contiguous, stacks made one. It is
    /// there while weights are loaded, and later only if a run step reads it.
    Weight(usize),
    /// Constant elements.
    Literal(Arc<[Number]>),
    /// Made by load steps and kept for every run.
    Kept,
    /// Alive from run (or load) step `first` to step `last`, both included.
    Scratch {
        /// The phase in which it lives.
        phase: Phase,
        /// The step that writes it first.
        first: usize,
        /// The last step that reads it.
        last: usize,
    },
}

/// A piece of memory: a number of elements of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// For dumps: the name of the input, weight or output, or of the value, `v12`.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub elements: DimExpr,
    /// Who provides it.
    pub place: Place,
}

/// A routing plan in memory, all `i32`. R = tokens * slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingBuffers {
    /// `[experts + 1]`: the first plan row of each expert; the last entry is R, or, if pairs may be
    /// dropped, how many are not: their rows come first.
    pub offsets: BufferId,
    /// `[R]`: the expert of each plan row; 0 for dropped pairs.
    pub expert: BufferId,
    /// `[R]`: the token of each plan row.
    pub token: BufferId,
    /// `[R]`: the pair number `token * slots + slot` of each plan row.
    pub pair: BufferId,
    /// `[tokens, slots]`: the plan rows of each token, ascending, hence in ascending expert order.
    pub rows: BufferId,
    /// Number of experts.
    pub experts: Dim,
    /// R.
    pub total: Dim,
    /// Whether pairs may be dropped.
    pub drops: bool,
}

/// When a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Once, when weights are loaded.
    Load,
    /// At every call.
    Run,
}

/// One kernel call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For dumps and symbols: what it computes, such as `product_v12`.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
}

/// What tiles of a target read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panels {
    /// Columns of a panel.
    pub columns: u64,
    /// Whether bf16 rows meet bf16 panels in products of pairs; rows are widened to `f32` if not.
    pub pairs: bool,
}

/// A program in kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name of the model.
    pub name: Arc<str>,
    /// Symbols that have a value when the program runs; `Frame::dims` holds them in this order.
    pub dims: DimTable,
    /// Name and type of each input.
    pub inputs: Vec<(Arc<str>, TensorType)>,
    /// Name, type and file pattern of each weight.
    pub weights: Vec<(Arc<str>, TensorType, Arc<str>)>,
    /// Name and type of each output.
    pub outputs: Vec<(Arc<str>, TensorType)>,
    /// The panels of packed weights, as the tile family of the target reads them.
    pub panels: Panels,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// The steps of phase load.
    pub load: Vec<Step>,
    /// The steps of phase run.
    pub run: Vec<Step>,
}

impl Plan {
    /// The buffer `id`.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Bytes of scratch that each worker needs, for sizes of all symbols.
    pub fn worker_scratch(&self, sizes: &Sizes) -> Result<u64, IrError> {
        let mut bytes = 0;
        for step in self.load.iter().chain(&self.run) {
            bytes = bytes.max(step.kernel.scratch(sizes)?);
        }
        Ok(bytes)
    }

    /// The steps of a phase.
    pub fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Load => &self.load,
            Phase::Run => &self.run,
        }
    }
}
