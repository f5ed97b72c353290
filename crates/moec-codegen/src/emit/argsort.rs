//! The order of a row's elements: keys, merged; the scratch holds two arrays of keys.
//!
//! ```text
//! scratch  [ keys: len x 8 bytes ][ spare: len x 8 bytes ]
//!                                   first the row itself, len x 4 bytes
//! ```

use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types::I64;

use super::context::Cx;
use super::element::Datum;
use super::row::Row;
use super::sort;
use crate::Lanes;

pub(super) fn emit(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, descending: bool) {
    let keys = sorted_keys(cx, row, descending);
    let zero = cx.int(0);
    cx.each(zero, row.len, |cx, r| {
        let address = cx.element(keys, r, 8);
        let key = cx.load(I64, address, 0);
        let index = sort::index(cx, key);
        row.place(r, Lanes::Scalar).store(cx, &row.op.out[0], Datum::number(Lanes::Scalar, index));
    });
}

/// The keys of the row in order, somewhere in scratch.
pub(super) fn sorted_keys(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, descending: bool) -> Value {
    let spare = cx.element(row.scratch, row.len, 8);
    fill_keys(cx, row, spare, descending);
    sort::merge_sort(cx, row.scratch, spare, row.len)
}

fn fill_keys(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, spare: Value, descending: bool) {
    row.fill(cx, spare);
    let zero = cx.int(0);
    cx.each(zero, row.len, |cx, r| {
        let address = cx.element(spare, r, 4);
        let x = cx.lanes(Lanes::Scalar).load(row.dtype(), address, 0);
        let key = sort::key(cx, row.dtype(), x, r, descending);
        let address = cx.element(row.scratch, r, 8);
        cx.store(key, address, 0);
    });
}
