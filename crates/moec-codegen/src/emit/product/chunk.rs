//! A chunk of rows with a panel of every weight: the tiles, and what is made of their sums.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::{DType, Dim};
use moec_plan::{Groups, Lhs, Product, RoutingBuffers, RowIndex, Scalar};

use super::{COLUMN, PAIR, ROW, Shared, TOKEN, Wide};
use crate::Lanes;
use crate::emit::context::Cx;
use crate::emit::element::Datum;
use crate::emit::scalar::Program;
use crate::tile::TileArgs;
use crate::widen::Operand;

/// Writes the addresses of rows `row..row + count` of the left operand.
pub(super) fn find_rows(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, group: Value, row: Value, count: Value) {
    let Lhs { buffer, offset, group_stride, row_stride, row: by } = &shared.product.lhs;
    let dtype = cx.dtype(*buffer);
    let start = cx.start(*buffer, offset);
    let start = cx.stepped(start, group, group_stride, dtype);
    let routing = routing(shared.product);
    let zero = cx.int(0);
    cx.each(zero, count, |cx, i| {
        let at = cx.add(row, i);
        let at = match (by, routing) {
            (RowIndex::Token, Some(routing)) => {
                let tokens = cx.base(routing.token);
                cx.load_index(tokens, at)
            }
            _ => at,
        };
        let address = cx.stepped(start, at, row_stride, dtype);
        let entry = cx.element(shared.rows, i, 8);
        cx.store(address, entry, 0);
    });
}

/// A chunk of rows that passes by a block of panels.
pub(super) struct Pass {
    pub(super) count: Value,
    /// How many tiles the rows make, and the height of all but the last.
    pub(super) tiles: Value,
    pub(super) height: Value,
    /// Whether panels of this block are fetched ahead, and whether that which comes after it is.
    pub(super) within: Value,
    pub(super) beyond: Value,
    /// The latter's address; 0 if there is none.
    pub(super) after: Value,
    /// Where the result of the first row begins, if tiles write it.
    pub(super) out: Option<Value>,
}

/// A panel of an item.
pub(super) struct Place {
    /// Its number in its matrix, and in the item.
    pub(super) panel: Value,
    pub(super) at: Value,
    /// Whether it is the item's last.
    pub(super) last: Value,
}

/// The sums of a chunk with a panel of every weight.
pub(super) fn call_tiles(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, pass: &Pass, place: Place) {
    let Place { panel: in_matrix, at: panel, last } = place;
    for (number, weight) in shared.weights.iter().enumerate() {
        let start = |cx: &mut Cx<'_, '_>, number: usize, panel: Value| {
            let far = cx.b.ins().imul(panel, shared.weights[number].panel);
            let start = cx.load(I64, shared.starts, 8 * number as i32);
            cx.add(start, far)
        };
        let address = start(cx, number, panel);
        cx.store(address, weight.args, offset_of!(TileArgs, panel) as i32);
        let following = shared.weights.get(number + 1);
        let (next, wanted) = match following {
            Some(_) => (start(cx, number + 1, panel), pass.within),
            None => {
                let next = cx.plus(panel, 1);
                let next = start(cx, 0, next);
                let some = cx.b.ins().icmp_imm_u(IntCC::NotEqual, pass.after, 0);
                let beyond = cx.b.ins().band(pass.beyond, some);
                let next = cx.b.ins().select(last, pass.after, next);
                (next, cx.b.ins().select(last, beyond, pass.within))
            }
        };
        // Each tile fetches its share, so many bytes a step; one alone its own panel, where that has a lead.
        let following = following.unwrap_or(&shared.weights[0]);
        let zero = cx.int(0);
        let whole = cx.int(following.step);
        let share = cx.parts_of(whole, pass.tiles);
        let share = cx.b.ins().select(wanted, share, zero);
        let next = cx.b.ins().select(wanted, next, address);
        let (next, share) = match shared.lead {
            0 => (next, share),
            lead => {
                let alone = cx.b.ins().icmp_imm_u(IntCC::Equal, pass.tiles, 1);
                let (own, step) = (cx.plus(address, lead as i64), cx.int(weight.step));
                (cx.b.ins().select(alone, own, next), cx.b.ins().select(alone, step, share))
            }
        };
        cx.store(share, weight.args, offset_of!(TileArgs, ahead_step) as i32);
        let part = cx.b.ins().imul(share, shared.steps);
        cx.each(zero, pass.tiles, |cx, tile| {
            let row = cx.b.ins().imul(tile, pass.height);
            let left = cx.b.ins().isub(pass.count, row);
            let m = cx.smaller(left, pass.height);
            let rows = cx.element(shared.rows, row, 8);
            let sums = match pass.out {
                Some(out) => {
                    let row = cx.stepped(out, row, &shared.product.out.strides[ROW], DType::F32);
                    cx.element(row, in_matrix, 4 * shared.columns)
                }
                None => cx.element(weight.sums, row, 4 * shared.columns),
            };
            let ahead = cx.b.ins().imul(tile, part);
            let ahead = cx.add(next, ahead);
            for (offset, value) in [
                (offset_of!(TileArgs, rows), rows),
                (offset_of!(TileArgs, out), sums),
                (offset_of!(TileArgs, ahead), ahead),
            ] {
                cx.store(value, weight.args, offset as i32);
            }
            let entry = cx.element(weight.tiles, m, 8);
            let tile = cx.load(I64, entry, -8);
            cx.b.ins().call_indirect(shared.signature, tile, &[weight.args]);
        });
    }
}

/// The sums of a chunk with one panel of each weight.
pub(super) struct Sums {
    pub(super) row: Value,
    pub(super) count: Value,
    /// The panel's number in its matrix.
    pub(super) panel: Value,
}

/// Their epilogue and its stores.
pub(super) fn finish_panel(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, program: &Program<'_>, of: Sums) {
    let product = shared.product;
    let first = cx.b.ins().imul_imm_u(of.panel, shared.columns);
    let left = cx.b.ins().isub(shared.n, first);
    let full = cx.int(shared.columns);
    let valid = cx.smaller(left, full);
    let zero = cx.int(0);
    cx.each(zero, of.count, |cx, i| {
        let row = cx.add(of.row, i);
        let mut of_row = program.clone();
        of_row.bind(cx, ROW, row);
        if let Some(routing) = routing(product) {
            for (axis, buffer) in [(TOKEN, routing.token), (PAIR, routing.pair)] {
                if of_row.uses(axis) || moves(&product.out.strides, axis) {
                    let numbers = cx.base(buffer);
                    let number = cx.load_index(numbers, row);
                    of_row.bind(cx, axis, number);
                }
            }
        }
        let part = |cx: &mut Cx<'_, '_>| finish_by_lanes(cx, shared, &of_row, i, (first, valid));
        match &shared.line {
            None => part(cx),
            Some(wide) if shared.full => finish_row(cx, shared, wide, &of_row, i, first),
            Some(wide) => {
                let whole = cx.b.ins().icmp(IntCC::Equal, valid, full);
                cx.either(whole, |cx| finish_row(cx, shared, wide, &of_row, i, first), part);
            }
        }
    });
}

/// Row `i` of a chunk and a panel by its wide form; the panel's first column is `first`.
fn finish_row(
    cx: &mut Cx<'_, '_>,
    shared: &Shared<'_>,
    wide: &Wide<'_>,
    of_row: &Program<'_>,
    i: Value,
    first: Value,
) {
    let product = shared.product;
    let start = of_row.at(COLUMN, first);
    for (number, &leaf) in wide.line.leaves.iter().enumerate() {
        let word = match (wide.line.run.operands[number], product.scalars.get(leaf)) {
            (Operand::One, _) => {
                let datum = of_row.datum(cx, leaf);
                cx.value(datum)
            }
            (_, Scalar::Load(load)) => start.place_of(cx, load),
            (_, Scalar::Accumulator(n)) => cx.element(shared.weights[*n].sums, i, 4 * shared.columns),
            _ => return cx.refuse("an operand of an epilogue that lies nowhere"),
        };
        cx.store(word, wide.args, 8 * number as i32);
    }
    let out = start.place_in(cx, &product.out);
    cx.store(out, wide.args, 8 * wide.line.leaves.len() as i32);
    cx.b.ins().call(wide.callee, &[wide.args]);
}

/// The first `valid` columns of row `i` from column `first` on.
fn finish_by_lanes(
    cx: &mut Cx<'_, '_>,
    shared: &Shared<'_>,
    of_row: &Program<'_>,
    i: Value,
    (first, valid): (Value, Value),
) {
    let product = shared.product;
    let known = shared.full.then_some(shared.columns as u64);
    cx.split_value(valid, known, &[4, 1], &mut |cx, width, c| {
        let (lanes, ty) = if width == 4 { (Lanes::X4, F32X4) } else { (Lanes::Scalar, F32) };
        let mut point = of_row.clone();
        let sums = shared
            .weights
            .iter()
            .map(|weight| {
                let sums = cx.element(weight.sums, i, 4 * shared.columns);
                let place = cx.element(sums, c, 4);
                Datum::number(lanes, cx.load(ty, place, 0))
            })
            .collect();
        point.accumulate(sums);
        let column = cx.add(first, c);
        point.bind_lanes(cx, COLUMN, column, lanes);
        let value = point.datum(cx, product.value);
        point.store(cx, &product.out, value);
    });
}

fn routing(product: &Product) -> Option<&RoutingBuffers> {
    match &product.groups {
        Groups::Routed(routing) => Some(routing),
        Groups::Batch { .. } => None,
    }
}

fn moves(strides: &[Dim], axis: usize) -> bool {
    strides.get(axis).is_some_and(|stride| !stride.is(0))
}
