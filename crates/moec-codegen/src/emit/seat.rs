//! Seats by counting, one item.
//!
//! ```text
//! for each group of tokens
//!   count[e] = 0                                        8 bytes for each expert, 8 for dropped pairs
//!   for slot, for token of the group                    or for token, for slot
//!     out[token, slot] = count[index]++, or -1 for a dropped pair
//! ```
//!
//! Pairs that are dropped already are counted as of one more expert, which changes nothing. An index
//! out of range is a fault and counts as expert 0.

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::DType;
use moec_plan::Seat;

use super::context::Cx;
use super::driver::Work;
use super::group::{Chosen, Order, each_pair_of};

/// One item.
pub(super) fn work(cx: &mut Cx<'_, '_>) -> Work {
    Work::points(cx, &[])
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, seat: &Seat, worker: Value) {
    let count = cx.scratch(worker);
    let [experts, tokens, group] = [&seat.experts, &seat.tokens, &seat.group].map(|dim| cx.size(dim));
    let (zero, one) = (cx.int(0), cx.int(1));
    // Without tokens a group may be empty.
    let step = cx.b.ins().umax(group, one);
    let kinds = cx.plus(experts, 1);
    let order = Order { tokens: &seat.tokens, slots: &seat.slots, slots_first: seat.slots_first };
    let chosen = Chosen { index: &seat.index, experts: &seat.experts, drops: seat.drops };
    cx.repeat(
        &[zero],
        |cx, first| cx.below(first[0], tokens),
        |cx, first| {
            let end = cx.add(first[0], step);
            cx.each(zero, kinds, |cx, e| {
                let place = cx.element(count, e, 8);
                cx.store(zero, place, 0);
            });
            each_pair_of(cx, &order, &chosen, [first[0], end], |cx, token, slot, expert| {
                let place = cx.element(count, expert, 8);
                let before = cx.load(I64, place, 0);
                let after = cx.plus(before, 1);
                cx.store(after, place, 0);
                let counts = cx.below(expert, experts);
                let none = cx.int(-1);
                let result = cx.b.ins().select(counts, before, none);
                let result = cx.b.ins().ireduce(I32, result);
                let mut address = cx.start(seat.out.buffer, &seat.out.offset);
                for (index, stride) in [token, slot].into_iter().zip(&seat.out.strides) {
                    address = cx.stepped(address, index, stride, DType::I32);
                }
                cx.store(result, address, 0);
            });
            vec![end]
        },
    );
}
