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
//! (`argmax`, which needs no order, goes one by one.) Otherwise:
//!
//! ```text
//! for item in begin..end                      all axes but the last
//!   for j in 0..last by 16, by 4, by 1        results side by side in lanes
//!     for r in 0..len                         ascending
//!       result[j..] += value(item, j.., r)
//! ```
//!
//! Without elements nothing is loaded at all.

use cranelift_codegen::ir::{InstBuilder, Value};
use moec_plan::{Reduce, ReduceOp};

use super::context::Cx;
use super::driver::Work;
use super::fold::Fold;
use super::loops::width_lanes;
use super::scalar::{Program, contiguous};
use crate::Lanes;

/// Items: the points of the result, or of all its axes but the last.
pub(super) fn work(cx: &mut Cx<'_, '_>, reduce: &Reduce) -> Work {
    let mut work =
        if along_lanes(cx, reduce) { Work::points(cx, &reduce.shape) } else { Work::rows(cx, &reduce.shape) };
    work.times(cx, &reduce.len);
    work.scale(cx, reduce.scalars.list.len());
    work
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, reduce: &Reduce, begin: Value, end: Value) {
    let len = cx.size(&reduce.len);
    let along = along_lanes(cx, reduce);
    cx.either(
        len,
        |cx| match along {
            true => emit_along(cx, reduce, begin, end),
            false => emit_across(cx, reduce, begin, end),
        },
        |cx| emit_empty(cx, reduce, along, begin, end),
    );
}

fn along_lanes(cx: &Cx<'_, '_>, reduce: &Reduce) -> bool {
    let rank = reduce.shape.len();
    let contiguous = |axis| contiguous(cx, &reduce.scalars, reduce.value, axis);
    contiguous(rank) && (rank == 0 || !contiguous(rank - 1))
}

fn fold(reduce: &Reduce) -> Fold {
    Fold { op: reduce.op, dtype: reduce.scalars.dtype(reduce.value) }
}

/// One result an item, the reduced axis in lanes.
fn emit_along(cx: &mut Cx<'_, '_>, reduce: &Reduce, begin: Value, end: Value) {
    let fold = fold(reduce);
    let rank = reduce.shape.len();
    let len = cx.size(&reduce.len);
    let program = Program::new(cx, &reduce.scalars, &[reduce.value], rank + 1);
    let (_, lanes_slot) = cx.slot(16);
    cx.points(&reduce.shape, begin, end, |cx, index| {
        let mut item = program.clone();
        item.bind_first(cx, index);
        let zero = cx.int(0);
        let state = if reduce.op == ReduceOp::Argmax {
            let state = fold.identity(cx, Lanes::Scalar);
            cx.range(zero, len, 1, &state, |cx, r, state| {
                let mut point = item.clone();
                point.bind(cx, rank, r);
                let x = point.datum(cx, reduce.value);
                fold.step(cx, Lanes::Scalar, state, x, r)
            })
        } else {
            let state = fold.identity(cx, Lanes::X4);
            let rounds = cx.b.ins().band_imm_s(len, -4);
            let state = cx.range(zero, rounds, 4, &state, |cx, r, state| {
                let mut point = item.clone();
                point.bind_lanes(cx, rank, r, Lanes::X4);
                let x = point.datum(cx, reduce.value);
                fold.step(cx, Lanes::X4, state, x, r)
            });
            cx.store(state[0], lanes_slot, 0);
            let ty = fold.state_type();
            cx.each(rounds, len, |cx, r| {
                let lane = cx.b.ins().band_imm_s(r, 3);
                let place = cx.element(lanes_slot, lane, 4);
                let partial = cx.load(ty, place, 0);
                let mut point = item.clone();
                point.bind(cx, rank, r);
                let x = point.datum(cx, reduce.value);
                let partial = fold.step(cx, Lanes::Scalar, &[partial], x, r);
                cx.store(partial[0], place, 0);
            });
            let [a, b, c, d] = [0, 4, 8, 12].map(|offset| cx.load(ty, lanes_slot, offset));
            vec![fold.lanes_joined(cx, [a, b, c, d])]
        };
        let result = fold.finish(cx, Lanes::Scalar, &state, len);
        item.store(cx, &reduce.out, result);
    });
}

/// Results side by side, the reduced axis one by one.
fn emit_across(cx: &mut Cx<'_, '_>, reduce: &Reduce, begin: Value, end: Value) {
    let fold = fold(reduce);
    let rank = reduce.shape.len();
    let len = cx.size(&reduce.len);
    let program = Program::new(cx, &reduce.scalars, &[reduce.value], rank + 1);
    rows(cx, reduce, begin, end, &program, |cx, row, width, j| {
        let lanes = width_lanes(width);
        // One program for each vector, all with what depends on the results' axes only.
        let columns: Vec<Program<'_>> = (0..width.div_ceil(4))
            .map(|vector| {
                let mut column = row.clone();
                if let Some(j) = j {
                    let j = cx.plus(j, vector as i64 * 4);
                    column.bind_lanes(cx, rank - 1, j, lanes);
                }
                column
            })
            .collect();
        let zero = cx.int(0);
        let identity = fold.identity(cx, lanes);
        let parts = identity.len();
        let states = identity.repeat(columns.len());
        let states = cx.range(zero, len, 1, &states, |cx, r, states| {
            let mut shared = row.clone();
            shared.bind(cx, rank, r);
            let mut next = Vec::new();
            for (column, state) in columns.iter().zip(states.chunks(parts)) {
                let mut point = column.clone();
                point.adopt(&shared);
                point.bind(cx, rank, r);
                let x = point.datum(cx, reduce.value);
                next.extend(fold.step(cx, lanes, state, x, r));
            }
            next
        });
        for (column, state) in columns.iter().zip(states.chunks(parts)) {
            let result = fold.finish(cx, lanes, state, len);
            column.store(cx, &reduce.out, result);
        }
    });
}

/// The results of nothing.
fn emit_empty(cx: &mut Cx<'_, '_>, reduce: &Reduce, along: bool, begin: Value, end: Value) {
    let fold = fold(reduce);
    let program = Program::new(cx, &reduce.scalars, &[], reduce.shape.len() + 1);
    let zero = cx.int(0);
    if along {
        return cx.points(&reduce.shape, begin, end, |cx, index| {
            let mut item = program.clone();
            item.bind_first(cx, index);
            let state = fold.identity(cx, Lanes::Scalar);
            let result = fold.finish(cx, Lanes::Scalar, &state, zero);
            item.store(cx, &reduce.out, result);
        });
    }
    rows(cx, reduce, begin, end, &program, |cx, row, width, j| {
        let lanes = width_lanes(width);
        let state = fold.identity(cx, lanes);
        let result = fold.finish(cx, lanes, &state, zero);
        for vector in 0..width.div_ceil(4) {
            let mut column = row.clone();
            if let Some(j) = j {
                let j = cx.plus(j, vector as i64 * 4);
                column.bind_lanes(cx, reduce.shape.len() - 1, j, lanes);
            }
            column.store(cx, &reduce.out, result);
        }
    });
}

/// Items as rows of the result, each in parts of 16, 4 and 1; a single result is a part of one
/// without a place in a row.
fn rows<'p>(
    cx: &mut Cx<'_, '_>,
    reduce: &Reduce,
    begin: Value,
    end: Value,
    program: &Program<'p>,
    mut part: impl FnMut(&mut Cx<'_, '_>, &Program<'p>, u64, Option<Value>),
) {
    let Some((last, outer)) = reduce.shape.split_last() else {
        return part(cx, program, 1, None);
    };
    cx.points(outer, begin, end, |cx, index| {
        let mut row = program.clone();
        row.bind_first(cx, index);
        cx.split(last, &[16, 4, 1], |cx, width, j| part(cx, &row, width, Some(j)));
    });
}
