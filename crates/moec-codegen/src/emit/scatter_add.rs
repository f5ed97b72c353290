//! Additions at computed places, in blocks of 64 columns so that threads can share one long axis.
//!
//! ```text
//! for item in begin..end            all outer axes but the last, times blocks of the last
//!   for s in 0..len
//!     for j in block, by four lanes         out[item, j, s] = base
//!   for m in 0..count                       ascending
//!     for j in block, by four lanes         out[item, j, index[m]] += update
//! ```
//!
//! If indices differ along the last outer axis, the second part goes one by one.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::Op;
use moec_plan::{ScalarId, ScatterAdd};

use super::context::Cx;
use super::driver::Work;
use super::loops::width_lanes;
use super::scalar::Program;

/// Columns of an item.
const BLOCK: u64 = 64;

/// Items: all outer axes but the last, times blocks. Without a place to add to there is no work.
pub(super) fn work(cx: &mut Cx<'_, '_>, scatter: &ScatterAdd) -> Work {
    let mut work = Work::rows(cx, &scatter.outer);
    if let Some(last) = scatter.outer.last() {
        let last = cx.size(last);
        let blocks = cx.parts(last, BLOCK);
        work.items = cx.b.ins().imul(work.items, blocks);
        let block = cx.int(BLOCK as i64);
        work.cost = cx.smaller(last, block);
    }
    work.only_if(cx, &scatter.len);
    let len = cx.size(&scatter.len);
    let count = cx.size(&scatter.count);
    let rows = cx.add(len, count);
    work.cost = cx.b.ins().imul(work.cost, rows);
    work.scale(cx, 4);
    work
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, scatter: &ScatterAdd, begin: Value, end: Value) {
    let rank = scatter.outer.len();
    let len = cx.size(&scatter.len);
    let count = cx.size(&scatter.count);
    cx.each(begin, end, |cx, item| {
        let block = Block::of(cx, scatter, item);
        let copy = block.bound(cx, scatter, &[scatter.base]);
        let zero = cx.int(0);
        cx.each(zero, len, |cx, s| {
            let mut row = copy.clone();
            row.bind(cx, rank, s);
            block.columns(cx, &row, rank, &[4, 1], |cx, point| {
                let base = point.datum(cx, scatter.base);
                point.store(cx, &scatter.out, base);
            });
        });
        cx.when(count, |cx| {
            let add = block.bound(cx, scatter, &[scatter.index, scatter.update]);
            let index = block.bound(cx, scatter, &[scatter.index]);
            let widths: &[u64] = if rank > 0 && index.uses(rank - 1) { &[1] } else { &[4, 1] };
            cx.each(zero, count, |cx, m| {
                let mut row = add.clone();
                row.bind(cx, rank, m);
                block.columns(cx, &row, rank, widths, |cx, point| {
                    let index = point.datum(cx, scatter.index);
                    let index = cx.value(index);
                    let index = cx.b.ins().uextend(I64, index);
                    let place = point.at(rank, index);
                    let before = place.stored(cx, &scatter.out);
                    let update = point.datum(cx, scatter.update);
                    let update = cx.widened(update, before.lanes);
                    let dtype = scatter.scalars.dtype(scatter.update);
                    let sum = cx.apply(Op::Add, dtype, &[before, update]);
                    place.store(cx, &scatter.out, sum);
                });
            });
        });
    });
}

/// What an item covers.
struct Block {
    /// Indices of the outer axes but the last.
    outer: Vec<Value>,
    /// First index along the last outer axis, and how many; none without outer axes.
    columns: Option<(Value, Value)>,
}

impl Block {
    fn of(cx: &mut Cx<'_, '_>, scatter: &ScatterAdd, item: Value) -> Block {
        let Some((last, outer)) = scatter.outer.split_last() else {
            return Block { outer: Vec::new(), columns: None };
        };
        let last = cx.size(last);
        let blocks = cx.parts(last, BLOCK);
        let row = cx.b.ins().udiv(item, blocks);
        let block = cx.b.ins().urem(item, blocks);
        let outer = cx.point(outer, row);
        let first = cx.b.ins().imul_imm_u(block, BLOCK as i64);
        let left = cx.b.ins().isub(last, first);
        let full = cx.int(BLOCK as i64);
        let count = cx.smaller(left, full);
        Block { outer, columns: Some((first, count)) }
    }

    /// A program with the outer axes but the last bound.
    fn bound<'p>(&self, cx: &mut Cx<'_, '_>, scatter: &'p ScatterAdd, roots: &[ScalarId]) -> Program<'p> {
        let mut program = Program::new(cx, &scatter.scalars, roots, scatter.outer.len() + 1);
        program.bind_first(cx, &self.outer);
        program
    }

    /// Every column of the block.
    fn columns<'p>(
        &self,
        cx: &mut Cx<'_, '_>,
        row: &Program<'p>,
        rank: usize,
        widths: &[u64],
        mut body: impl FnMut(&mut Cx<'_, '_>, &Program<'p>),
    ) {
        let Some((first, count)) = self.columns else { return body(cx, row) };
        cx.split_value(count, None, widths, &mut |cx, width, j| {
            let mut point = row.clone();
            let j = cx.add(first, j);
            point.bind_lanes(cx, rank - 1, j, width_lanes(width));
            body(cx, &point);
        });
    }
}
