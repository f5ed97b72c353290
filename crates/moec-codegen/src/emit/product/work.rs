//! How a product is cut into items, and what they cost.

use cranelift_codegen::ir::{InstBuilder, Value};
use moec_plan::{BLOCK_BYTES, Groups, Product};

use crate::emit::context::Cx;
use crate::emit::driver::Work;

/// Blocks that columns are split into at least, if there are panels enough, to share the work.
const LEAST_BLOCKS: u64 = 8;
/// Rows of an item that is not routed.
pub(super) const BLOCK_ROWS: u64 = 48;

/// How items are cut.
pub(super) struct Cut {
    /// Groups that have rows.
    pub(super) groups: Value,
    /// Panels of a matrix.
    pub(super) panels: Value,
    /// Panels of an item.
    pub(super) block: Value,
    /// Items side by side: blocks of columns.
    pub(super) across: Value,
    /// Items below each other: blocks of rows; 1 if routed.
    pub(super) down: Value,
}

pub(super) fn cut(cx: &mut Cx<'_, '_>, product: &Product) -> Cut {
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
        Groups::Routed(routing) => {
            let touched = cx.base(routing.touched);
            let experts = cx.size(&routing.experts);
            (cx.load_index(touched, experts), one)
        }
    };
    Cut { groups, panels, block, across, down }
}

/// Items: groups times blocks of columns, times blocks of rows if not routed.
pub(in crate::emit) fn work(cx: &mut Cx<'_, '_>, product: &Product) -> Work {
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
        // On average over the experts that have some.
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
    work.scale(cx, product.weights.len());
    work
}
