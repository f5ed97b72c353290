//! Running sums of a row, ascending.
//!
//! ```text
//! for r in 0..len     out[r] = sum before r, if exclusive; else sum up to and with r
//! ```

use moec_plan::ReduceOp;

use super::context::Cx;
use super::element::Datum;
use super::fold::Fold;
use super::row::Row;
use crate::Lanes;

pub(super) fn emit(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, exclusive: bool) {
    let lanes = Lanes::Scalar;
    let sum = Fold { op: ReduceOp::Sum, dtype: row.dtype() };
    let zero = cx.int(0);
    let state = sum.identity(cx, lanes);
    cx.range(zero, row.len, 1, &state, |cx, r, state| {
        let mut point = row.program.clone();
        point.bind(cx, row.axis(), r);
        let x = point.datum(cx, row.op.value);
        let next = sum.step(cx, lanes, state, x, r);
        let shown = if exclusive { state[0] } else { next[0] };
        point.store(cx, &row.op.out[0], Datum::number(lanes, shown));
        next
    });
}
