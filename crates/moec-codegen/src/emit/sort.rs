//! Sorting by keys: 64-bit numbers whose upper half orders the values and whose lower half is the
//! index, so that all are different and any order-preserving method is stable.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::DType;

use super::context::Cx;
use crate::Lanes;

/// The key of element `x`, number `index`: ascending with `x`, or descending; NaN last both ways,
/// -0 like +0.
pub(super) fn key(cx: &mut Cx<'_, '_>, dtype: DType, x: Value, index: Value, descending: bool) -> Value {
    let mut e = cx.lanes(Lanes::Scalar);
    let order = if dtype == DType::F32 {
        let zero = e.float(0.0);
        let positive_zero = e.add(x, zero);
        let bits = e.to_bits(positive_zero);
        // Negative numbers: all bits flipped; others: the sign.
        let sign = e.builder.ins().sshr_imm_u(bits, 31);
        let flips = e.builder.ins().bor_imm_u(sign, 1 << 31);
        e.builder.ins().bxor(bits, flips)
    } else {
        e.builder.ins().bxor_imm_u(x, 1 << 31)
    };
    let order = if descending { e.builder.ins().bnot(order) } else { order };
    let order = if dtype == DType::F32 {
        let nan = e.compare(FloatCC::Unordered, x, x);
        let last = e.int(u32::MAX);
        e.select(nan, last, order)
    } else {
        order
    };
    let upper = cx.b.ins().uextend(I64, order);
    let upper = cx.b.ins().ishl_imm_u(upper, 32);
    cx.b.ins().bor(upper, index)
}

/// The index in a key, as `i32`.
pub(super) fn index(cx: &mut Cx<'_, '_>, key: Value) -> Value {
    cx.b.ins().ireduce(I32, key)
}

/// Sorts `len` keys at `keys` by merging, with `spare` as room for as many. Gives where they are.
///
/// ```text
/// width = 1, 2, 4, ..
///   for each pair of sorted runs [low, middle) and [middle, high) of that width
///     merge into the other array, from low on
///   exchange the arrays
/// ```
pub(super) fn merge_sort(cx: &mut Cx<'_, '_>, keys: Value, spare: Value, len: Value) -> Value {
    let one = cx.int(1);
    let state = cx.repeat(
        &[one, keys, spare],
        |cx, state| cx.below(state[0], len),
        |cx, state| {
            let [width, from, to] = [state[0], state[1], state[2]];
            let zero = cx.int(0);
            cx.repeat(
                &[zero],
                |cx, low| cx.below(low[0], len),
                |cx, low| {
                    let middle = cx.add(low[0], width);
                    let middle = cx.smaller(middle, len);
                    let high = cx.add(middle, width);
                    let high = cx.smaller(high, len);
                    merge(cx, from, to, [low[0], middle, high]);
                    vec![high]
                },
            );
            let double = cx.add(width, width);
            vec![double, to, from]
        },
    );
    state[1]
}

/// Merges two runs. Of an empty one some key within the array is read and not used.
fn merge(cx: &mut Cx<'_, '_>, from: Value, to: Value, [low, middle, high]: [Value; 3]) {
    let last_left = cx.plus(middle, -1);
    let last_right = cx.plus(high, -1);
    cx.range(low, high, 1, &[low, middle], |cx, place, at| {
        let [left, right] = [at[0], at[1]];
        let [a, b] = [(left, last_left), (right, last_right)].map(|(at, last)| {
            let at = cx.smaller(at, last);
            let address = cx.element(from, at, 8);
            cx.load(I64, address, 0)
        });
        let left_is_left = cx.below(left, middle);
        let right_is_done = cx.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, right, high);
        let left_is_less = cx.below(a, b);
        let wanted = cx.b.ins().bor(right_is_done, left_is_less);
        let take_left = cx.b.ins().band(left_is_left, wanted);
        let key = cx.b.ins().select(take_left, a, b);
        let address = cx.element(to, place, 8);
        cx.store(key, address, 0);
        let step = cx.b.ins().uextend(I64, take_left);
        let left = cx.add(left, step);
        let other = cx.b.ins().bxor_imm_u(step, 1);
        vec![left, cx.add(right, other)]
    });
}
