//! A routing plan by counting sort, one item.
//!
//! ```text
//! scratch[e]  = 0                                       8 bytes for each expert, 8 for dropped pairs
//! for token, for slot       scratch[index] += 1
//! for e                     offsets[e], scratch[e] = number of pairs before expert e
//!                           touched[..] gets e if it has pairs
//! for token, for slot       row = scratch[index]++
//!                           expert[row], token[row], pair[row] = index, token, pair number
//!                           rows[token] gets row, ascending, by insertion
//! ```
//!
//! Dropped pairs are those of one more expert, but `expert[row]` is 0 for them. An index out of range
//! is a fault and counts as expert 0, so that every place stays in bounds.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::{DType, Dim};
use moec_plan::{Group, Load, Scalar, ScalarId, Scalars};

use super::context::Cx;
use super::driver::Work;
use super::scalar::{Program, below};

/// One item; no experts and no tokens are work too: the first offset is written.
pub(super) fn work(cx: &mut Cx<'_, '_>) -> Work {
    Work::points(cx, &[])
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, group: &Group, worker: Value) {
    let experts = cx.size(&group.experts);
    cx.either(
        experts,
        |cx| sort(cx, group, worker),
        |cx| {
            let total = cx.product([&group.tokens, &group.slots]);
            cx.when(total, Cx::fault);
            let zero = cx.int(0);
            for buffer in [group.out.offsets, group.out.touched] {
                let buffer = cx.base(buffer);
                cx.store_index(zero, buffer, zero);
            }
        },
    );
}

fn sort(cx: &mut Cx<'_, '_>, group: &Group, worker: Value) {
    let count = cx.scratch(worker);
    let [experts, slots] = [&group.experts, &group.slots].map(|dim| cx.size(dim));
    let zero = cx.int(0);
    let kinds = cx.plus(experts, i64::from(group.out.drops));
    cx.each(zero, kinds, |cx, e| {
        let place = cx.element(count, e, 8);
        cx.store(zero, place, 0);
    });
    let order = Order { tokens: &group.tokens, slots: &group.slots, slots_first: false };
    let chosen = Chosen { index: &group.index, experts: &group.experts, drops: group.out.drops };
    each_pair(cx, &order, &chosen, |cx, _, _, expert| {
        let place = cx.element(count, expert, 8);
        let before = cx.load(I64, place, 0);
        let after = cx.plus(before, 1);
        cx.store(after, place, 0);
    });
    let [offsets, touched] = [group.out.offsets, group.out.touched].map(|buffer| cx.base(buffer));
    let total = cx.range(zero, experts, 1, &[zero, zero], |cx, e, sums| {
        cx.store_index(sums[0], offsets, e);
        let place = cx.element(count, e, 8);
        let pairs = cx.load(I64, place, 0);
        cx.store(sums[0], place, 0);
        // Written over by the next expert if this one has none.
        cx.store_index(e, touched, sums[1]);
        let some = cx.b.ins().icmp_imm_u(IntCC::NotEqual, pairs, 0);
        let some = cx.b.ins().uextend(I64, some);
        vec![cx.add(sums[0], pairs), cx.add(sums[1], some)]
    });
    cx.store_index(total[0], offsets, experts);
    cx.store_index(total[1], touched, experts);
    if group.out.drops {
        let place = cx.element(count, experts, 8);
        cx.store(total[0], place, 0);
    }

    let [expert_of, token_of, pair_of, rows] =
        [group.out.expert, group.out.token, group.out.pair, group.out.rows].map(|buffer| cx.base(buffer));
    each_pair(cx, &order, &chosen, |cx, token, slot, expert| {
        let place = cx.element(count, expert, 8);
        let row = cx.load(I64, place, 0);
        let next = cx.plus(row, 1);
        cx.store(next, place, 0);
        let first = cx.b.ins().imul(token, slots);
        let pair = cx.add(first, slot);
        let read_as = match group.out.drops {
            true => {
                let kept = cx.below(expert, experts);
                cx.b.ins().select(kept, expert, zero)
            }
            false => expert,
        };
        cx.store_index(read_as, expert_of, row);
        cx.store_index(token, token_of, row);
        cx.store_index(pair, pair_of, row);
        let of_token = cx.element(rows, first, 4);
        insert(cx, of_token, slot, row);
    });
}

/// The pairs and their order.
pub(super) struct Order<'p> {
    pub(super) tokens: &'p Dim,
    pub(super) slots: &'p Dim,
    /// Whether all tokens of a slot come before the next slot.
    pub(super) slots_first: bool,
}

/// What pairs chose.
pub(super) struct Chosen<'p> {
    pub(super) index: &'p Load,
    pub(super) experts: &'p Dim,
    /// Whether an index may be `experts`.
    pub(super) drops: bool,
}

/// Every token, slot and expert, in the order of pairs.
fn each_pair(
    cx: &mut Cx<'_, '_>,
    order: &Order<'_>,
    chosen: &Chosen<'_>,
    body: impl FnOnce(&mut Cx<'_, '_>, Value, Value, Value),
) {
    let zero = cx.int(0);
    let tokens = cx.size(order.tokens);
    each_pair_of(cx, order, chosen, [zero, tokens], body);
}

/// The same for the tokens `begin..end`.
pub(super) fn each_pair_of(
    cx: &mut Cx<'_, '_>,
    order: &Order<'_>,
    chosen: &Chosen<'_>,
    [begin, end]: [Value; 2],
    body: impl FnOnce(&mut Cx<'_, '_>, Value, Value, Value),
) {
    let scalars = Scalars { list: vec![Scalar::Load(chosen.index.clone())], types: vec![DType::I32] };
    let index = ScalarId(0);
    let zero = cx.int(0);
    let slots = cx.size(order.slots);
    let experts = cx.size(chosen.experts);
    let limit = cx.plus(experts, i64::from(chosen.drops));
    let program = Program::new(cx, &scalars, &[index], 2);
    // Axis 0 of the load is the token, axis 1 the slot.
    let (outer, inner) = if order.slots_first { (1, 0) } else { (0, 1) };
    let ranges = [[begin, end], [zero, slots]];
    let [first, last] = ranges[outer];
    cx.each(first, last, |cx, i| {
        let mut row = program.clone();
        row.bind(cx, outer, i);
        let [first, last] = ranges[inner];
        cx.each(first, last, |cx, j| {
            let mut point = row.clone();
            point.bind(cx, inner, j);
            let expert = point.datum(cx, index);
            let expert = below(cx, expert, limit);
            let expert = cx.value(expert);
            let expert = cx.b.ins().uextend(I64, expert);
            let (token, slot) = if order.slots_first { (j, i) } else { (i, j) };
            body(cx, token, slot, expert);
        });
    });
}

/// Puts `row` in its place among the `count` ascending entries of `list`.
fn insert(cx: &mut Cx<'_, '_>, list: Value, count: Value, row: Value) {
    let [test, compare, shift, found] = [(); 4].map(|()| cx.b.create_block());
    for block in [test, found] {
        cx.b.append_block_param(block, I64);
    }
    cx.b.ins().jump(test, &[count.into()]);
    cx.b.switch_to_block(test);
    let place = cx.b.block_params(test)[0];
    cx.b.ins().brif(place, compare, &[], found, &[place.into()]);

    cx.b.switch_to_block(compare);
    let before = cx.plus(place, -1);
    let entry = cx.load_index(list, before);
    let larger = cx.below(row, entry);
    cx.b.ins().brif(larger, shift, &[], found, &[place.into()]);

    cx.b.switch_to_block(shift);
    cx.store_index(entry, list, place);
    cx.b.ins().jump(test, &[before.into()]);

    cx.b.switch_to_block(found);
    let place = cx.b.block_params(found)[0];
    cx.store_index(row, list, place);
}
