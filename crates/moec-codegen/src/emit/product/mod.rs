//! Matrix products: plain, batched, grouped by expert.
//!
//! ```text
//! for item in begin..end              group with rows, block of panels, block of rows (if not routed)
//!   if the expert is cold             pack the block into the worker's scratch
//!   for a chunk of its rows           addresses of the rows, direct or by token
//!     for panel in block
//!       for each weight
//!         for m rows at a time        tile(rows, panel) -> sums, chunk x columns on the stack
//!                                     and a part of the panel that comes next into the cache
//!       for row in the chunk          all columns at once, if the panel is full and there is a wide form
//!         for column by four lanes    out[row, column] = epilogue(sums, ..)
//! ```
//!
//! Where the epilogue is the sum itself and panels are full, tiles write into `out`.
//!
//! Rows of a chunk are cut into as few tiles as possible, all of one height `m` but the last: with tiles of
//! at most 8 rows, 9 rows are 5 and 4. All of them pass by one panel before the next, so that only this one
//! and the next have to stay in the second-level cache. A block of panels is about [`BLOCK_BYTES`](moec_plan::BLOCK_BYTES): with few
//! rows panels stream from memory in order. Each element of a tile is summed in
//! one order (see [`tile`](crate::tile)), so neither blocks nor the number of rows are seen in
//! the result.
//!
//! **Ahead.** From some rows on ([`ahead_rows`]), a panel takes about as long to multiply as to read. The tiles
//! of one panel then fetch the next one, each its share, so that memory works all the time and no product
//! waits. With fewer rows most processors' own fetching keeps memory busy, and more only gets in its way; where
//! it does not, a tile that is the only one to pass by a panel fetches it some KiB before it is there
//! ([`Tiles::lead`]).

mod chunk;
mod work;

use std::collections::BTreeMap;
use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{FuncRef, InstBuilder, SigRef, Value};
use moec_ir::{DType, Dim};
use moec_plan::{Cold, Groups, PackedWeight, Plan, Product, Scalar, abi};

use super::context::Cx;
use super::line::Line;
use super::pack::Packing;
use super::scalar::Program;
use crate::tile::{TileArgs, TileOperands};
use chunk::{Pass, Place, Sums, call_tiles, find_rows, finish_panel};
pub(super) use work::work;
use work::{BLOCK_ROWS, Cut, cut};

/// The least rows of a chunk with which the next panel is fetched. Where memory gives 27 GB/s, reading takes as
/// long as multiplying with 8 rows, or with 4 where a panel is widened; fetching pays from somewhat fewer on.
/// Measured on OLMoE, Mixtral and DeepSeek-V2-Lite.
fn ahead_rows(operands: TileOperands) -> i64 {
    match (operands.row, operands.element) {
        (DType::F32, DType::F32) => 5,
        (DType::F32, _) => 2,
        _ => 7,
    }
}

/// The axes of the epilogue.
const ROW: usize = 0;
pub(super) const COLUMN: usize = 1;
const GROUP: usize = 2;
const TOKEN: usize = 3;
const PAIR: usize = 4;

/// What the function at hand may call.
#[derive(Default)]
pub(super) struct Callees {
    /// The tiles for each kind of operands.
    pub(super) tiles: BTreeMap<TileOperands, Tiles>,
    /// The epilogue of a row of a full panel, if it has a wide form.
    pub(super) line: Option<(Line, FuncRef)>,
}

/// The tiles for one kind of operands.
pub(super) struct Tiles {
    /// For 1, 2, .. rows.
    pub(super) heights: Vec<FuncRef>,
    /// How many bytes before its use one fetches its panel if no other passes by; 0 if it does not.
    pub(super) lead: u64,
    /// Rows that pass by a panel before the next, at most.
    pub(super) chunk_rows: u64,
}

/// What the tiles multiply that a product with that weight is made of.
pub(super) fn operands(plan: &Plan, product: &Product, weight: &PackedWeight) -> TileOperands {
    let [row, element] = [product.lhs.buffer, weight.buffer].map(|buffer| plan.buffer(buffer).dtype);
    TileOperands { row, element, interleave: weight.interleave }
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
    /// Steps of a tile's sums.
    steps: Value,
    cut: Cut,
    /// Array of the addresses of a chunk's rows.
    rows: Value,
    /// The most rows of a tile.
    height: usize,
    /// As in [`Tiles`], of the first weight's.
    lead: u64,
    chunk_rows: u64,
    /// For each weight the address of the first panel of an item, 8 bytes each.
    starts: Value,
    /// Whether it is known that all panels are full.
    full: bool,
    /// Whether tiles write the result.
    direct: bool,
    /// The epilogue of a row of a full panel.
    line: Option<Wide<'p>>,
    signature: SigRef,
}

/// Whether tiles write the result: all panels are full, and nothing is computed from the sums.
pub(super) fn is_direct(plan: &Plan, product: &Product) -> bool {
    let sum = product.scalars.list.get(product.value.0 as usize);
    is_full(plan, product)
        && product.weights.len() == 1
        && matches!(sum, Some(Scalar::Accumulator(0)))
        && plan.buffer(product.out.buffer).dtype == DType::F32
        && product.out.strides.get(COLUMN).is_some_and(|stride| stride.is(1))
}

/// Whether it is known now that all panels are full.
fn is_full(plan: &Plan, product: &Product) -> bool {
    let columns = product.weights.first().and_then(|weight| plan.dims.value(&weight.n));
    columns.is_some_and(|n| n.is_multiple_of(plan.panels.columns))
}

/// A wide form of the epilogue.
struct Wide<'p> {
    line: &'p Line,
    callee: FuncRef,
    /// Its argument: a word for each operand, and one for the result.
    args: Value,
}

/// One right operand.
struct Weight {
    base: Value,
    /// Bytes of a panel.
    panel: Value,
    /// Bytes of a panel that one step of a tile reads.
    step: i64,
    /// The tile's argument, a [`TileArgs`].
    args: Value,
    /// The results for a chunk, rows of as many sums as a panel has columns.
    sums: Value,
    /// Array of the tiles' addresses, the one for `m` rows at `m - 1`.
    tiles: Value,
}

pub(super) fn emit(
    cx: &mut Cx<'_, '_>,
    product: &Product,
    callees: &Callees,
    worker: Value,
    begin: Value,
    end: Value,
) {
    let Some(shared) = prepare(cx, product, callees) else { return };
    let packings: Vec<Packing<'_>> =
        product.cold.iter().flat_map(|cold| &cold.packs).map(|pack| Packing::new(cx, pack)).collect();
    let ahead_rows = ahead_rows(operands(cx.plan, product, &product.weights[0]));
    cx.each(begin, end, |cx, item| {
        let down = cx.b.ins().urem(item, shared.cut.down);
        let rest = cx.b.ins().udiv(item, shared.cut.down);
        let across = cx.b.ins().urem(rest, shared.cut.across);
        let nth = cx.b.ins().udiv(rest, shared.cut.across);
        let first_panel = cx.b.ins().imul(across, shared.cut.block);
        let last_panel = cx.add(first_panel, shared.cut.block);
        let last_panel = cx.smaller(last_panel, shared.cut.panels);
        let (group, first_row, last_row) = match &product.groups {
            Groups::Batch { rows, .. } => {
                let rows = cx.size(rows);
                let first = cx.b.ins().imul_imm_u(down, BLOCK_ROWS as i64);
                let last = cx.plus(first, BLOCK_ROWS as i64);
                (nth, first, cx.smaller(last, rows))
            }
            Groups::Routed(routing) => {
                let [touched, offsets] = [routing.touched, routing.offsets].map(|buffer| cx.base(buffer));
                let group = cx.load_index(touched, nth);
                let next = cx.plus(group, 1);
                (group, cx.load_index(offsets, group), cx.load_index(offsets, next))
            }
        };
        let mut program = shared.program.clone();
        program.bind(cx, GROUP, group);
        match &product.cold {
            None => find_panels(cx, &shared, group, first_panel),
            Some(cold) => {
                let block = Block { group, first_panel, last_panel };
                find_or_pack(cx, &shared, cold, &packings, worker, &block);
            }
        }
        let after = after_block(cx, &shared, nth, last_panel);
        let rows = cx.b.ins().isub(last_row, first_row);
        let chunks = cx.parts(rows, shared.chunk_rows);
        let chunk_rows = cx.parts_of(rows, chunks);
        let tiles = cx.parts(chunk_rows, shared.height as u64);
        let chunk_rows = cx.b.ins().imul_imm_u(tiles, shared.height as i64);
        let [zero, most] = [0, shared.chunk_rows as i64].map(|n| cx.int(n));
        let chunk_rows = cx.smaller(chunk_rows, most);
        cx.each(zero, chunks, |cx, chunk| {
            let above = cx.b.ins().imul(chunk, chunk_rows);
            let row = cx.add(first_row, above);
            let left = cx.b.ins().isub(last_row, row);
            let count = cx.smaller(left, chunk_rows);
            find_rows(cx, &shared, group, row, count);
            let tiles = cx.parts(count, shared.height as u64);
            let height = cx.parts_of(count, tiles);
            let many = cx.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, count, ahead_rows);
            let first_chunk = cx.b.ins().icmp_imm_u(IntCC::Equal, chunk, 0);
            let last_chunk = cx.plus(chunk, 1);
            let last_chunk = cx.b.ins().icmp(IntCC::Equal, last_chunk, chunks);
            let pass = Pass {
                count,
                tiles,
                height,
                within: cx.b.ins().band(many, first_chunk),
                beyond: cx.b.ins().band(many, last_chunk),
                after,
                out: shared.direct.then(|| {
                    let out = &product.out;
                    let start = cx.start(out.buffer, &out.offset);
                    let start = cx.stepped(start, group, &out.strides[GROUP], DType::F32);
                    cx.stepped(start, row, &out.strides[ROW], DType::F32)
                }),
            };
            cx.each(first_panel, last_panel, |cx, panel| {
                let at = cx.b.ins().isub(panel, first_panel);
                let next = cx.plus(panel, 1);
                let last = cx.b.ins().icmp(IntCC::Equal, next, last_panel);
                call_tiles(cx, &shared, &pass, Place { panel, at, last });
                if !shared.direct {
                    finish_panel(cx, &shared, &program, Sums { row, count, panel });
                }
            });
        });
    });
}

/// Where the first weight's panel lies that the item after this one begins with, as far as items are done in
/// order; 0 if there is none, or if it is packed in between.
fn after_block(cx: &mut Cx<'_, '_>, shared: &Shared<'_>, nth: Value, last_panel: Value) -> Value {
    let product = shared.product;
    if product.cold.is_some() {
        return cx.int(0);
    }
    // Within a matrix, and from one matrix of a batch to the next, panels follow one another.
    let start = cx.load(I64, shared.starts, 0);
    let panels = cx.smaller(shared.cut.block, last_panel);
    let bytes = cx.b.ins().imul(panels, shared.weights[0].panel);
    let following = cx.add(start, bytes);
    let Groups::Routed(routing) = &product.groups else { return following };
    let ends = cx.b.ins().icmp(IntCC::Equal, last_panel, shared.cut.panels);
    let next = cx.plus(nth, 1);
    let touched = cx.base(routing.touched);
    // The entry behind the last group with rows is readable: there is one for each expert, and one more.
    let group = cx.load_index(touched, next);
    let there = cx.b.ins().imul(group, shared.cut.panels);
    let there = cx.b.ins().imul(there, shared.weights[0].panel);
    let there = cx.add(shared.weights[0].base, there);
    let more = cx.below(next, shared.cut.groups);
    let none = cx.int(0);
    let there = cx.b.ins().select(more, there, none);
    cx.b.ins().select(ends, there, following)
}

fn prepare<'p>(cx: &mut Cx<'_, '_>, product: &'p Product, callees: &'p Callees) -> Option<Shared<'p>> {
    let Some(first) = product.weights.first() else {
        cx.refuse("a product without weights");
        return None;
    };
    let of_weight = |weight| callees.tiles.get(&operands(cx.plan, product, weight));
    let Some(of_weights) = product.weights.iter().map(of_weight).collect::<Option<Vec<_>>>() else {
        cx.refuse("no tile for the operands of a product");
        return None;
    };
    let Tiles { lead, chunk_rows, .. } = *of_weights[0];
    let height = of_weights.iter().map(|tiles| tiles.heights.len()).min().unwrap_or(0);
    let program = Program::new(cx, &product.scalars, &[product.value], 5);
    let full = is_full(cx.plan, product);
    let direct = is_direct(cx.plan, product);
    let line = callees.line.as_ref().map(|(line, callee)| {
        let (_, args) = cx.slot(8 * (line.leaves.len() + 1));
        Wide { line, callee: *callee, args }
    });
    let out_stride = direct.then_some(&product.out.strides[ROW]);
    let (_, rows) = cx.slot(8 * chunk_rows as usize);
    let k = cx.size(&first.k);
    let weights = product
        .weights
        .iter()
        .zip(&of_weights)
        .map(|(weight, tiles)| prepare_weight(cx, weight, tiles, height, k, out_stride))
        .collect();
    let signature = cx.b.func.dfg.ext_funcs[of_weights[0].heights[0]].signature;
    let n = cx.size(&first.n);
    let columns = cx.plan.panels.columns as i64;
    let (_, starts) = cx.slot(8 * product.weights.len());
    let cut = cut(cx, product);
    let steps = cx.b.ins().udiv_imm_u(k, first.interleave.max(1) as i64);
    Some(Shared {
        product,
        program,
        weights,
        columns,
        n,
        steps,
        cut,
        rows,
        height,
        lead,
        chunk_rows,
        starts,
        full,
        direct,
        line,
        signature,
    })
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
    tiles: &Tiles,
    height: usize,
    k: Value,
    out_stride: Option<&Dim>,
) -> Weight {
    let (_, addresses) = cx.slot(8 * height);
    for (m, &tile) in tiles.heights[..height].iter().enumerate() {
        let address = cx.b.ins().func_addr(I64, tile);
        cx.store(address, addresses, 8 * m as i32);
    }
    let columns = cx.plan.panels.columns as i64;
    let (_, sums) = cx.slot(4 * columns as usize * tiles.chunk_rows as usize);
    let (_, args) = cx.slot(size_of::<TileArgs>());
    let stride = match out_stride {
        Some(stride) => cx.bytes(stride, DType::F32),
        None => cx.int(4 * columns),
    };
    for (offset, value) in [(offset_of!(TileArgs, depth), k), (offset_of!(TileArgs, out_stride), stride)] {
        cx.store(value, args, offset as i32);
    }
    let panel = cx.bytes(&weight.k, cx.dtype(weight.buffer));
    let panel = cx.b.ins().imul_imm_u(panel, columns);
    let step = columns * cx.dtype(weight.buffer).bytes() as i64 * weight.interleave as i64;
    Weight { base: cx.base(weight.buffer), panel, step, args, sums, tiles: addresses }
}
