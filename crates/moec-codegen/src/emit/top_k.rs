//! The `k` best elements of a row, best first.
//!
//! For few: a sorted list of the best keys so far, in which most elements lose against the last
//! entry at once.
//!
//! ```text
//! scratch  [ list: k x 8 bytes .. ][ row: len x 4 bytes, from byte 8 * len on ]
//! list = k times the worst key
//! for r in 0..len
//!   if key(r) < list[k - 1]: move the worse ones up by one, put it in its place
//! ```
//!
//! For many, or a number not known now: all keys sorted. Values are computed once more, at the
//! indices chosen.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::Dim;

use super::argsort::sorted_keys;
use super::context::Cx;
use super::element::Datum;
use super::row::Row;
use super::sort;
use crate::Lanes;

/// Beyond this many a list is slower than sorting.
const MOST_IN_LIST: u64 = 32;

pub(super) fn emit(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, k: &Dim, largest: bool) {
    let few = cx.known(k).is_some_and(|k| k <= MOST_IN_LIST);
    let k = cx.size(k);
    let keys = if few { list(cx, row, k, largest) } else { sorted_keys(cx, row, largest) };
    let zero = cx.int(0);
    cx.each(zero, k, |cx, place| {
        let address = cx.element(keys, place, 8);
        let key = cx.load(I64, address, 0);
        let index = sort::index(cx, key);
        let at = cx.b.ins().uextend(I64, index);
        let mut point = row.program.clone();
        point.bind(cx, row.axis(), at);
        let value = point.datum(cx, row.op.value);
        let there = row.place(place, Lanes::Scalar);
        there.store(cx, &row.op.out[0], Datum::number(Lanes::Scalar, index));
        there.store(cx, &row.op.out[1], value);
    });
}

fn list(cx: &mut Cx<'_, '_>, row: &Row<'_, '_>, k: Value, largest: bool) -> Value {
    let list = row.scratch;
    let elements = cx.element(row.scratch, row.len, 8);
    row.fill(cx, elements);
    let zero = cx.int(0);
    let worst = cx.int(-1);
    cx.each(zero, k, |cx, place| {
        let address = cx.element(list, place, 8);
        cx.store(worst, address, 0);
    });
    let last = cx.plus(k, -1);
    let last_entry = cx.element(list, last, 8);
    cx.range(zero, row.len, 1, &[worst], |cx, r, bound| {
        let address = cx.element(elements, r, 4);
        let x = cx.lanes(Lanes::Scalar).load(row.dtype(), address, 0);
        let key = sort::key(cx, row.dtype(), x, r, largest);
        let better = cx.below(key, bound[0]);
        cx.when(better, |cx| insert(cx, list, last, key));
        vec![cx.load(I64, last_entry, 0)]
    });
    list
}

/// Puts `key` in its place in the sorted entries `0..=last`, the last of which falls out.
fn insert(cx: &mut Cx<'_, '_>, list: Value, last: Value, key: Value) {
    let [test, compare, shift, found] = [(); 4].map(|()| cx.b.create_block());
    for block in [test, found] {
        cx.b.append_block_param(block, I64);
    }
    cx.b.ins().jump(test, &[last.into()]);
    cx.b.switch_to_block(test);
    let place = cx.b.block_params(test)[0];
    cx.b.ins().brif(place, compare, &[], found, &[place.into()]);

    cx.b.switch_to_block(compare);
    let address = cx.element(list, place, 8);
    let before = cx.load(I64, address, -8);
    let worse = cx.below(key, before);
    cx.b.ins().brif(worse, shift, &[], found, &[place.into()]);

    cx.b.switch_to_block(shift);
    cx.store(before, address, 0);
    let next = cx.plus(place, -1);
    cx.b.ins().jump(test, &[next.into()]);

    cx.b.switch_to_block(found);
    let place = cx.b.block_params(found)[0];
    let address = cx.element(list, place, 8);
    cx.store(key, address, 0);
}
