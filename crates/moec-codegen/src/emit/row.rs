//! Operations on whole rows: the loop over rows that they share.
//!
//! ```text
//! for item in begin..end          the points of the shape
//!   scratch[..len] = value(item, ..), by four lanes
//!   softmax | cumsum | argsort | top_k of scratch, into out[item, ..]
//! ```
//!
//! A row in scratch has room for whole vectors: 16 bytes an element are more than `len` rounded up
//! to four elements of 4 bytes.

use cranelift_codegen::ir::Value;
use moec_ir::DType;
use moec_plan::{RowKind, RowOp};

use super::context::Cx;
use super::driver::Work;
use super::scalar::Program;
use super::{argsort, cumsum, softmax, top_k};
use crate::Lanes;

/// A row under emission.
pub(super) struct Row<'r, 'p> {
    pub(super) op: &'p RowOp,
    /// The program with all axes bound but the row's.
    pub(super) program: &'r Program<'p>,
    /// The number of elements.
    pub(super) len: Value,
    /// The worker's scratch.
    pub(super) scratch: Value,
}

/// Items: the points of the shape. A row without elements, or a choice of none, is no work.
pub(super) fn work(cx: &mut Cx<'_, '_>, op: &RowOp) -> Work {
    let mut work = Work::points(cx, &op.shape);
    work.only_if(cx, &op.len);
    if let RowKind::TopK { k, .. } = &op.kind {
        work.only_if(cx, k);
    }
    work.times(cx, &op.len);
    work.scale(cx, op.scalars.list.len() + 4);
    work
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, op: &RowOp, worker: Value, begin: Value, end: Value) {
    let program = Program::new(cx, &op.scalars, &[op.value], op.shape.len() + 1);
    let scratch = cx.scratch(worker);
    let len = cx.size(&op.len);
    cx.points(&op.shape, begin, end, |cx, index| {
        let mut program = program.clone();
        program.bind_first(cx, index);
        let row = Row { op, program: &program, len, scratch };
        match &op.kind {
            RowKind::Softmax => softmax::emit(cx, &row),
            RowKind::Cumsum { exclusive } => cumsum::emit(cx, &row, *exclusive),
            RowKind::Argsort { descending } => argsort::emit(cx, &row, *descending),
            RowKind::TopK { k, largest } => top_k::emit(cx, &row, k, *largest),
        }
    });
}

impl<'p> Row<'_, 'p> {
    /// The element type of the row.
    pub(super) fn dtype(&self) -> DType {
        self.op.scalars.dtype(self.op.value)
    }

    /// The axis of the row.
    pub(super) fn axis(&self) -> usize {
        self.op.shape.len()
    }

    /// Writes the row to `place`, 4 bytes an element.
    pub(super) fn fill(&self, cx: &mut Cx<'_, '_>, place: Value) {
        let dtype = self.dtype();
        cx.by_lanes(&self.op.len, |cx, lanes, r| {
            let mut point = self.program.clone();
            point.bind_lanes(cx, self.axis(), r, lanes);
            let x = point.datum(cx, self.op.value);
            let x = cx.widened(x, lanes);
            let x = cx.value(x);
            let address = cx.element(place, r, 4);
            cx.lanes(lanes).store(dtype, x, address, 0);
        });
    }

    /// The point of element `r`, to store one or four results at.
    pub(super) fn place(&self, r: Value, lanes: Lanes) -> Program<'p> {
        self.program.placed(self.axis(), r, lanes)
    }
}
