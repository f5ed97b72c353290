//! Buffers and steps.

use std::ops::Range;
use std::sync::Arc;

use moec_ir::{DType, Dim, DimExpr, DimKind, DimTable, IrError, Number, Sizes, TensorType};

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
    /// The loader: weight number `weight` where it lies in its files. Its `parts` slices along axis 0
    /// may lie anywhere: the pointer of the buffer leads to an array of their addresses, 8 bytes each.
    /// Only packing reads it.
    Mapped {
        /// The weight.
        weight: usize,
        /// The size of its axis 0.
        parts: u64,
    },
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
    /// `[experts + 1]`: the experts that have rows, ascending; the last entry is how many they are, those
    /// between are unspecified.
    pub touched: BufferId,
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

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For dumps and symbols: what it computes, such as `product_v12`.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Whether it is done together with the step before it: items of both are handed out in one job.
    pub together: bool,
}

/// The numbers of steps that are done together, in order; most are by themselves.
pub fn stages(steps: &[Step]) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    steps.chunk_by(|_, next| next.together).map(move |stage| {
        let first = begin;
        begin += stage.len();
        first..begin
    })
}

/// What tiles of a target read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panels {
    /// Columns of a panel.
    pub columns: u64,
    /// Whether bf16 rows meet bf16 panels in products of pairs; rows are widened to `f32` if not.
    pub pairs: bool,
}

/// From a number of tokens on, another part of the run steps is the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The smallest value of [`Plan::selector`] for it.
    pub from: u64,
    /// The first of its steps.
    pub step: usize,
}

/// A program in kernels.
///
/// There may be several programs for one set of weights, each for a range of numbers of tokens:
/// their run steps stand one after another, and a call carries out those of one.
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
    /// Where another program begins among the run steps, in ascending order of both.
    pub switches: Vec<Switch>,
}

impl Plan {
    /// The buffer `id`.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The symbol that selects the program: the only one that is open until the program runs. None
    /// if there is one program.
    pub fn selector(&self) -> Option<&Arc<str>> {
        let mut open = self.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime);
        open.next().filter(|_| !self.switches.is_empty()).map(|decl| &decl.name)
    }

    /// The run steps of each program, and the numbers of tokens from which on it serves.
    pub fn programs(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let starts = std::iter::once(Switch { from: 0, step: 0 }).chain(self.switches.iter().copied());
        let ends = self.switches.iter().map(|switch| switch.step).chain([self.run.len()]);
        starts.zip(ends).map(|(start, end)| (start.from, start.step..end))
    }

    /// The run steps that a call with these sizes carries out.
    pub fn active(&self, sizes: &Sizes) -> Range<usize> {
        let tokens = self.selector().and_then(|name| sizes.get(name)).copied().unwrap_or(0);
        let serving = self.programs().filter(|(from, _)| *from <= tokens).last();
        serving.map_or(0..self.run.len(), |(_, steps)| steps)
    }

    /// Bytes of scratch that each worker needs at load and for a call with these sizes.
    pub fn worker_scratch(&self, sizes: &Sizes) -> Result<u64, IrError> {
        let steps = self.load.iter().chain(&self.run[self.active(sizes)]);
        steps.map(|step| step.kernel.scratch(sizes)).try_fold(0, |most, bytes| Ok(most.max(bytes?)))
    }

    /// The steps of a phase.
    pub fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Load => &self.load,
            Phase::Run => &self.run,
        }
    }
}
