//! Matrix products: plain, batched, grouped by expert.
//!
//! ```text
//! for item in begin..end              group, block of panels, block of rows (if not routed)
//!   if the expert is cold             pack the block into the worker's scratch
//!   for m rows at a time              addresses of the rows, direct or by token
//!     for panel in block
//!       for each weight               tile(rows, panel) -> sums, m x columns on the stack
//!       for row in the m
//!         for column by four lanes    out[row, column] = epilogue(sums, ..)
//! ```
//!
//! Rows are cut into as few tiles as possible, all of one height `m` but the last: with tiles of at
//! most 8 rows, 9 rows are 5 and 4.
//! A block of panels is about [`BLOCK_BYTES`], so that it stays in the second-level cache while all
//! rows pass; with one row panels stream from memory in order. Each element of a tile is summed in
//! one order (see [`tile`](crate::tile)), so neither the block nor the number of rows is seen in
//! the result.

use std::collections::BTreeMap;
use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I32, I64};
use cranelift_codegen::ir::{FuncRef, InstBuilder, SigRef, Value};
use moec_ir::{DType, Dim};
use moec_plan::{BLOCK_BYTES, Cold, Groups, Lhs, PackedWeight, Product, RoutingBuffers, RowIndex, abi};

use super::context::Cx;
use super::driver::Work;
use super::element::Datum;
use super::pack::Packing;
use super::scalar::Program;
use crate::Lanes;
use crate::tile::TileArgs;

/// Blocks that columns are split into at least, if there are panels enough, to share the work.
const LEAST_BLOCKS: u64 = 8;
/// Rows of an item that is not routed.
const BLOCK_ROWS: u64 = 48;

/// The axes of the epilogue.
const ROW: usize = 0;
const COLUMN: usize = 1;
const GROUP: usize = 2;
const TOKEN: usize = 3;
const PAIR: usize = 4;

/// The tiles for each element type of rows and of panels, for 1, 2, .. rows, callable from the function at
/// hand.
pub(super) type Tiles = BTreeMap<(DType, DType), Vec<FuncRef>>;

/// How items are cut.
struct Cut {
    groups: Value,
    /// Panels of a matrix.
    panels: Value,
    /// Panels of an item.
    block: Value,
    /// Items side by side: blocks of columns.
    across: Value,
    /// Items below each other: blocks of rows; 1 if routed.
    down: Value,
}

fn cut(cx: &mut Cx<'_, '_>, product: &Product) -> Cut {
    let weight = &product.weights[0];
    let n = cx.size(&weight.n);
    let panels = cx.parts(n, cx.plan.panels.columns);
    let bytes: u64 = product.weights.iter().map(|w| cx.dtype(w.buffer).bytes() as u64).sum();
    let k = cx.size(&weight.k);
    let one = cx.int(1);
    let k = cx.b.ins().umax(k, one);
    let panel_bytes = cx.b.ins().imul_imm_u(k, (bytes * cx.plan.panels.columns) as i64);
    let budget = cx.int(BLOCK_BYTES as i64);
    let fitting = cx.b.ins().udiv(budget, panel_bytes);
    let fair = cx.parts(panels, LEAST_BLOCKS);
    let block = cx.smaller(fitting, fair);
    let block = cx.b.ins().umax(block, one);
    let across = cx.parts_of(panels, block);
    let (groups, down) = match &product.groups {
        Groups::Batch { count, rows } => {
            let rows = cx.size(rows);
            (cx.size(count), cx.parts(rows, BLOCK_ROWS))
        }
        Groups::Routed(routing) => (cx.size(&routing.experts), one),
    };
    Cut { groups, panels, block, across, down }
}

/// Items: groups times blocks of columns, times blocks of rows if not routed.
pub(super) fn work(cx: &mut Cx<'_, '_>, product: &Product) -> Work {
    if product.weights.is_empty() {
        return Work::points(cx, &[]);
    }
    let cut = cut(cx, product);
    let matrices = cx.b.ins().imul(cut.groups, cut.across);
    let items = cx.b.ins().imul(matrices, cut.down);
    let rows = match &product.groups {
        Groups::Batch { rows, .. } => {
            let rows = cx.size(rows);
            let most = cx.int(BLOCK_ROWS as i64);
            cx.smaller(rows, most)
        }
        // On average over the experts.
        Groups::Routed(routing) => {
            let total = cx.size(&routing.total);
            let one = cx.int(1);
            let experts = cx.b.ins().umax(cut.groups, one);
            cx.b.ins().udiv(total, experts)
        }
    };
    let rows = cx.plus(rows, 1);
    let k = cx.size(&product.weights[0].k);
    let cost = cx.b.ins().imul(rows, k);
    let cost = cx.b.ins().imul(cost, cut.block);
    let mut work = Work { items, cost };
    if let Groups::Routed(routing) = &product.groups {
        work.only_if(cx, &routing.total);
    }
    work.scale(cx, product.weights.len());
    work
}

/// What all items share.
struct Shared<'p> {
    product: &'p Product,
    program: Program<'p>,
    weights: Vec<Weight>,
    /// Columns of a panel.
    columns: i64,
    /// Columns of a matrix.
    n: Value,
    cut: Cut,
    /// Array of the addresses of a tile's rows.
    rows: Value,
    /// The most rows of a tile.
    height: usize,
    /// For each weight the address of the first panel of an item, 8 bytes each.
    starts: Value,
    signature: SigRef,
}

/// One right operand.
struct Weight {
    base: Value,
    /// Bytes of a panel.
    panel: Value,
    /// The tile's argument, a [`TileArgs`].
    args: Value,
    /// Its result, rows of as many sums as a panel has columns.
    sums: Value,
    /// Array of the tiles' addresses, the one for `m` rows at `m - 1`.
    tiles: Value,
}

pub(super) fn emit(
    cx: &mut Cx<'_, '_>,
    product: &Product,
    tiles: &Tiles,
    worker: Value,
    begin: Value,
    end: Value,
) {
    let Some(shared) = prepare(cx, product, tiles) else { return };
    let packings: Vec<Packing<'_>> =
        product.cold.iter().flat_map(|cold| &cold.packs).map(|pack| Packing::new(cx, pack)).collect();
    cx.each(begin, end, |cx, item| {
        let down = cx.b.ins().urem(item, shared.cut.down);
        let rest = cx.b.ins().udiv(item, shared.cut.down);
        let across = cx.b.ins().urem(rest, shared.cut.across);
        let group = cx.b.ins().udiv(rest, shared.cut.across);
        let first_panel = cx.b.ins().imul(across, shared.cut.block);
        let last_panel = cx.add(first_panel, shared.cut.block);
        let last_panel = cx.smaller(last_panel, shared.cut.panels);
        let (first_row, last_row) = match &product.groups {
            Groups::Batch { rows, .. } => {
                let rows = cx.size(rows);
                let first = cx.b.ins().imul_imm_u(down, BLOCK_ROWS as i64);
                let last = cx.plus(first, BLOCK_ROWS as i64);
                (first, cx.smaller(last, rows))
            }
            Groups::Routed(routing) => {
                let offsets = cx.base(routing.offsets);
                let next = cx.plus(group, 1);
                (cx.load_index(offsets, group), cx.load_index(offsets, next))
            }
        };
        let mut program = shared.program.clone();
        program.bind(cx, GROUP, group);
        let rows = cx.b.ins().isub(last_row, first_row);
        let [zero, one] = [0, 1].map(|n| cx.int(n));
        match &product.cold {
            None => find_panels(cx, &shared, group, first_panel),
            Some(cold) => {
                let block = Block { group, first_panel, last_panel };
                cx.when(rows, |cx| find_or_pack(cx, &shared, cold, &packings, worker, &block));
            }
        }
        let tiles = cx.parts(rows, shared.height as u64);
        let some = cx.b.ins().umax(tiles, one);
        let height = cx.parts_of(rows, some);
        cx.each(zero, tiles, |cx, tile| {
            let above = cx.b.ins().imul(tile, height);
            let row = cx.add(first_row, above);
            let left = cx.b.ins().isub(last_row, row);
            let m = cx.smaller(left, height);
            find_rows(cx, &shared, group, row, m);
            cx.each(first_panel, last_panel, |cx, panel| {
                let at = cx.b.ins().isub(panel, first_panel);
                call_tiles(cx, &shared, at, m);
                finish_tile(cx, &shared, &program, Tile { row, m, panel });
            });
        });
    });
}

fn prepare<'p>(cx: &mut Cx<'_, '_>, product: &'p Product, tiles: &Tiles) -> Option<Shared<'p>> {
    let Some(first) = product.weights.first() else {
        cx.refuse("a product without weights");
        return None;
    };
    let elements =
        product.weights.iter().map(|weight| (cx.dtype(product.lhs.buffer), cx.dtype(weight.buffer)));
    let Some(of_weights) = elements.map(|pair| tiles.get(&pair)).collect::<Option<Vec<_>>>() else {
        cx.refuse("no tile for the element types of a product");
        return None;
    };
    let height = of_weights.iter().map(|tiles| tiles.len()).min().unwrap_or(0);
    let program = Program::new(cx, &product.scalars, &[product.value], 5);
    let (_, rows) = cx.slot(8 * height);
    let k = cx.size(&first.k);
    let weights = product
        .weights
        .iter()
        .zip(&of_weights)
        .map(|(weight, tiles)| prepare_weight(cx, weight, &tiles[..height], rows, k))
        .collect();
    let signature = cx.b.func.dfg.ext_funcs[of_weights[0][0]].signature;
    let n = cx.size(&first.n);
    let columns = cx.plan.panels.columns as i64;
    let (_, starts) = cx.slot(8 * product.weights.len());
    let cut = cut(cx, product);
    Some(Shared { product, program, weights, columns, n, cut, rows, height, starts, signature })
}

/// What an item covers of its matrices.
struct Block {
    group: Value,
    first_panel: Value,
    last_panel: Value,
}

/// Writes where the panels of an item begin that are packed already: those of matrix `place`, from
/// `first_panel` on.
fn find_panels(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, place: Value, first_panel: Value) {
    let before = cx.b.ins().imul(place, shared.cut.panels);
    let at = cx.add(before, first_panel);
    for (number, weight) in shared.weights.iter().enumerate() {
        let far = cx.b.ins().imul(at, weight.panel);
        let address = cx.add(weight.base, far);
        cx.store(address, shared.starts, 8 * number as i32);
    }
}

/// The same where the expert may be cold: its panels are packed into the worker's scratch.
fn find_or_pack(
    cx: &mut Cx<'_, '_>,
    shared: &Shared<'_>,
    cold: &Cold,
    packings: &[Packing<'_>],
    worker: Value,
    block: &Block,
) {
    let &Block { group, first_panel, last_panel } = block;
    let slots = cx.base(cold.slots);
    let entry = cx.element(slots, group, 4);
    let slot = cx.load(I32, entry, 0);
    let slot = cx.b.ins().sextend(I64, slot);
    let is_cold = cx.b.ins().icmp_imm_s(IntCC::SignedLessThan, slot, 0);
    cx.either(
        is_cold,
        |cx| {
            let mut out = cx.scratch(worker);
            let read = cx.frame_field(abi::offset::READ);
            let word = cx.element(read, worker, 64);
            for (number, (weight, packing)) in shared.weights.iter().zip(packings).enumerate() {
                cx.store(out, shared.starts, 8 * number as i32);
                let after = cx.range(first_panel, last_panel, 1, &[out], |cx, panel, carried| {
                    let bytes = packing.panel(cx, group, panel, carried[0]);
                    let before = cx.load(I64, word, 0);
                    let sum = cx.add(before, bytes);
                    cx.store(sum, word, 0);
                    vec![cx.add(carried[0], weight.panel)]
                });
                out = after[0];
            }
        },
        |cx| find_panels(cx, shared, slot, first_panel),
    );
}

fn prepare_weight(
    cx: &mut Cx<'_, '_>,
    weight: &PackedWeight,
    tiles: &[FuncRef],
    rows: Value,
    k: Value,
) -> Weight {
    let (_, addresses) = cx.slot(8 * tiles.len());
    for (m, &tile) in tiles.iter().enumerate() {
        let address = cx.b.ins().func_addr(I64, tile);
        cx.store(address, addresses, 8 * m as i32);
    }
    let columns = cx.plan.panels.columns as i64;
    let (_, sums) = cx.slot(4 * columns as usize * tiles.len());
    let (_, args) = cx.slot(size_of::<TileArgs>());
    let stride = cx.int(4 * columns);
    for (offset, value) in [
        (offset_of!(TileArgs, rows), rows),
        (offset_of!(TileArgs, depth), k),
        (offset_of!(TileArgs, out), sums),
        (offset_of!(TileArgs, out_stride), stride),
    ] {
        cx.store(value, args, offset as i32);
    }
    let panel = cx.bytes(&weight.k, cx.dtype(weight.buffer));
    let panel = cx.b.ins().imul_imm_u(panel, columns);
    Weight { base: cx.base(weight.buffer), panel, args, sums, tiles: addresses }
}

/// Writes the addresses of rows `row..row + m` of the left operand.
fn find_rows(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, group: Value, row: Value, m: Value) {
    let Lhs { buffer, offset, group_stride, row_stride, row: by } = &shared.product.lhs;
    let dtype = cx.dtype(*buffer);
    let start = cx.start(*buffer, offset);
    let start = cx.stepped(start, group, group_stride, dtype);
    let routing = routing(shared.product);
    let zero = cx.int(0);
    cx.each(zero, m, |cx, i| {
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

/// The sums of `m` rows with the item's panel number `panel` of every weight.
fn call_tiles(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, panel: Value, m: Value) {
    for (number, weight) in shared.weights.iter().enumerate() {
        let far = cx.b.ins().imul(panel, weight.panel);
        let start = cx.load(I64, shared.starts, 8 * number as i32);
        let address = cx.add(start, far);
        cx.store(address, weight.args, offset_of!(TileArgs, panel) as i32);
        let entry = cx.element(weight.tiles, m, 8);
        let tile = cx.load(I64, entry, -8);
        cx.b.ins().call_indirect(shared.signature, tile, &[weight.args]);
    }
}

/// What a tile covers.
struct Tile {
    row: Value,
    m: Value,
    /// The panel's number in its matrix.
    panel: Value,
}

/// The epilogue of a tile and its stores.
fn finish_tile(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, program: &Program<'_>, tile: Tile) {
    let product = shared.product;
    let first = cx.b.ins().imul_imm_u(tile.panel, shared.columns);
    let left = cx.b.ins().isub(shared.n, first);
    let full = cx.int(shared.columns);
    let valid = cx.smaller(left, full);
    let zero = cx.int(0);
    cx.each(zero, tile.m, |cx, i| {
        let row = cx.add(tile.row, i);
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
        let columns = shared.columns as u64;
        let known = cx.known(&product.weights[0].n).filter(|n| n.is_multiple_of(columns)).map(|_| columns);
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
