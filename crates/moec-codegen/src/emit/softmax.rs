//! Softmax of a row: `exp(x - max) / sum exp(x - max)`.
//!
//! ```text
//! scratch[len..]    = -inf, up to a whole vector: their exponential is 0
//! max               = largest of lanes r % 4, then of the four; NaN if any is NaN
//! scratch[..]       = exp(scratch[..] - max)
//! sum               = lanes r % 4, ascending, then (0 + 2) + (1 + 3)
//! out[r]            = scratch[r] / sum
//! ```

use cranelift_codegen::ir::types::F32X4;
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::DType;
use moec_plan::ReduceOp;

use super::context::Cx;
use super::element::Datum;
use super::fold::Fold;
use super::row::Row;
use crate::Lanes;

pub(super) fn emit(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>) {
    row.fill(cx, row.scratch);
    let up = cx.plus(row.len, 3);
    let padded = cx.b.ins().band_imm_s(up, -4);
    let lowest = cx.lanes(Lanes::Scalar).float(f32::NEG_INFINITY);
    cx.each(row.len, padded, |cx, r| {
        let place = cx.element(row.scratch, r, 4);
        cx.store(lowest, place, 0);
    });

    let zero = cx.int(0);
    let max = Fold { op: ReduceOp::Max, dtype: DType::F32 };
    let state = max.identity(cx, Lanes::X4);
    let state = cx.range(zero, padded, 4, &state, |cx, r, state| {
        let place = cx.element(row.scratch, r, 4);
        let x = cx.load(F32X4, place, 0);
        max.step(cx, Lanes::X4, state, Datum::number(Lanes::X4, x), r)
    });
    let largest = across(cx, &max, state[0]);

    let sum = Fold { op: ReduceOp::Sum, dtype: DType::F32 };
    let state = sum.identity(cx, Lanes::X4);
    let state = cx.range(zero, padded, 4, &state, |cx, r, state| {
        let place = cx.element(row.scratch, r, 4);
        let x = cx.load(F32X4, place, 0);
        let mut e = cx.lanes(Lanes::X4);
        let distance = e.sub(x, largest);
        let power = e.exp(distance);
        cx.store(power, place, 0);
        sum.step(cx, Lanes::X4, state, Datum::number(Lanes::X4, power), r)
    });
    let total = across(cx, &sum, state[0]);

    cx.by_lanes(&row.op.len, |cx, lanes, r| {
        let place = cx.element(row.scratch, r, 4);
        let mut e = cx.lanes(lanes);
        let power = e.load(DType::F32, place, 0);
        let total = if lanes == Lanes::X4 { total } else { e.builder.ins().extractlane(total, 0u8) };
        let share = e.div(power, total);
        row.place(r, lanes).store(cx, &row.op.out[0], Datum::number(lanes, share));
    });
}

/// The four partial results as one, in every lane.
fn across(cx: &mut Cx<'_, '_>, fold: &Fold, partial: Value) -> Value {
    let split = cx.lanes(Lanes::X4).split(partial);
    let joined = fold.lanes_joined(cx, [split[0], split[1], split[2], split[3]]);
    cx.lanes(Lanes::X4).splat(joined)
}
