//! Loops: counted, by four lanes with a remainder, over the points of a shape.
//!
//! Every loop tests before its first round and after each round, so that a round costs one jump.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value};
use moec_ir::Dim;

use super::context::Cx;
use crate::Lanes;

impl Cx<'_, '_> {
    /// `for i in (begin..end).step_by(step)` with values that each round replaces; gives the last.
    pub(super) fn range(
        &mut self,
        begin: Value,
        end: Value,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let [round, exit] = [(); 2].map(|()| self.b.create_block());
        self.b.append_block_param(round, I64);
        for value in carried {
            let ty = self.b.func.dfg.value_type(*value);
            self.b.append_block_param(round, ty);
            self.b.append_block_param(exit, ty);
        }
        self.next_round(begin, end, carried, round, exit);
        self.b.switch_to_block(round);
        let parameters = self.b.block_params(round).to_vec();
        let next = body(self, parameters[0], &parameters[1..]);
        let i = self.plus(parameters[0], step);
        self.next_round(i, end, &next, round, exit);
        self.b.switch_to_block(exit);
        self.b.block_params(exit).to_vec()
    }

    fn next_round(&mut self, i: Value, end: Value, carried: &[Value], round: Block, exit: Block) {
        let more = self.below(i, end);
        let again = arguments([i].iter().chain(carried));
        self.b.ins().brif(more, round, &again, exit, &again[1..]);
    }

    /// `for i in begin..end` without carried values.
    pub(super) fn each(&mut self, begin: Value, end: Value, body: impl FnOnce(&mut Self, Value)) {
        self.range(begin, end, 1, &[], |cx, i, _| {
            body(cx, i);
            Vec::new()
        });
    }

    /// `while condition(state) { state = body(state) }`; gives the last state.
    pub(super) fn repeat(
        &mut self,
        state: &[Value],
        condition: impl FnOnce(&mut Self, &[Value]) -> Value,
        body: impl FnOnce(&mut Self, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let [test, round, exit] = [(); 3].map(|()| self.b.create_block());
        for value in state {
            let ty = self.b.func.dfg.value_type(*value);
            self.b.append_block_param(test, ty);
        }
        self.b.ins().jump(test, &arguments(state));
        self.b.switch_to_block(test);
        let state = self.b.block_params(test).to_vec();
        let more = condition(self, &state);
        self.b.ins().brif(more, round, &[], exit, &[]);
        self.b.switch_to_block(round);
        let next = body(self, &state);
        self.b.ins().jump(test, &arguments(&next));
        self.b.switch_to_block(exit);
        state
    }

    /// `if condition { body }`.
    pub(super) fn when(&mut self, condition: Value, body: impl FnOnce(&mut Self)) {
        let [yes, after] = [(); 2].map(|()| self.b.create_block());
        self.b.ins().brif(condition, yes, &[], after, &[]);
        self.b.switch_to_block(yes);
        body(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }

    /// `if condition { yes } else { no }`.
    pub(super) fn either(
        &mut self,
        condition: Value,
        yes: impl FnOnce(&mut Self),
        no: impl FnOnce(&mut Self),
    ) {
        let [then, other, after] = [(); 3].map(|()| self.b.create_block());
        self.b.ins().brif(condition, then, &[], other, &[]);
        self.b.switch_to_block(then);
        yes(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(other);
        no(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }

    /// All of `0..len` in rounds of `width` while there are so many, then in narrower ones. `body`
    /// emits one round from `i` on and is called once for each width, of `widths` descending to 1.
    pub(super) fn split(&mut self, len: &Dim, widths: &[u64], mut body: impl FnMut(&mut Self, u64, Value)) {
        let known = self.known(len);
        let len = self.size(len);
        self.split_value(len, known, widths, &mut body);
    }

    /// As [`split`](Self::split), for a computed length.
    pub(super) fn split_value(
        &mut self,
        len: Value,
        known: Option<u64>,
        widths: &[u64],
        body: &mut dyn FnMut(&mut Self, u64, Value),
    ) {
        let mut begin = self.int(0);
        // What is left when the length is known, else what can be left at most.
        let mut left = known;
        for &width in widths {
            if left.is_some_and(|left| left < width) {
                continue;
            }
            let end = if width == 1 { len } else { self.b.ins().band_imm_s(len, -(width as i64)) };
            self.range(begin, end, width as i64, &[], |cx, i, _| {
                body(cx, width, i);
                Vec::new()
            });
            begin = end;
            left = left.map(|left| left % width);
        }
    }

    /// All of `0..len`, by four lanes and then one by one.
    pub(super) fn by_lanes(&mut self, len: &Dim, mut body: impl FnMut(&mut Self, Lanes, Value)) {
        self.split(len, &[4, 1], |cx, width, i| body(cx, width_lanes(width), i));
    }

    /// The points number `begin..end` of `shape` in row-major order, with their indices.
    pub(super) fn points(
        &mut self,
        shape: &[Dim],
        begin: Value,
        end: Value,
        body: impl FnOnce(&mut Self, &[Value]),
    ) {
        let sizes: Vec<Value> = shape.iter().map(|dim| self.size(dim)).collect();
        let moving = self.moving(shape);
        let first = self.decompose(begin, &sizes, &moving);
        self.range(begin, end, 1, &first, |cx, _, current| {
            let index = cx.spread(shape.len(), &moving, current);
            body(cx, &index);
            cx.next_point(&sizes, &moving, current)
        });
    }

    /// The indices of point `number` of `shape` in row-major order.
    pub(super) fn point(&mut self, shape: &[Dim], number: Value) -> Vec<Value> {
        let sizes: Vec<Value> = shape.iter().map(|dim| self.size(dim)).collect();
        let moving = self.moving(shape);
        let index = self.decompose(number, &sizes, &moving);
        self.spread(shape.len(), &moving, &index)
    }

    /// The axes that have more than one index, as far as is known now.
    fn moving(&self, shape: &[Dim]) -> Vec<usize> {
        (0..shape.len()).filter(|&axis| self.known(&shape[axis]) != Some(1)).collect()
    }

    /// The indices of all axes, from those of the moving ones.
    fn spread(&mut self, rank: usize, moving: &[usize], values: &[Value]) -> Vec<Value> {
        let mut index = vec![self.int(0); rank];
        for (&axis, &value) in moving.iter().zip(values) {
            index[axis] = value;
        }
        index
    }

    /// The indices of point number `number`, along the axes `moving`.
    fn decompose(&mut self, number: Value, sizes: &[Value], moving: &[usize]) -> Vec<Value> {
        let mut rest = number;
        let mut index = Vec::new();
        for (at, &axis) in moving.iter().enumerate().rev() {
            if at == 0 {
                index.push(rest);
            } else {
                index.push(self.b.ins().urem(rest, sizes[axis]));
                rest = self.b.ins().udiv(rest, sizes[axis]);
            }
        }
        index.reverse();
        index
    }

    /// The indices after `current`: the last axis moves on, each that is full carries into the one
    /// before it. The first is never full before the end.
    fn next_point(&mut self, sizes: &[Value], moving: &[usize], current: &[Value]) -> Vec<Value> {
        let mut next = current.to_vec();
        let mut carry = self.int(1);
        for at in (0..moving.len()).rev() {
            let moved = self.add(current[at], carry);
            if at == 0 {
                next[at] = moved;
                break;
            }
            let full = self.b.ins().icmp(IntCC::Equal, moved, sizes[moving[at]]);
            let zero = self.int(0);
            next[at] = self.b.ins().select(full, zero, moved);
            carry = self.b.ins().uextend(I64, full);
        }
        next
    }
}

/// How many lanes a round of that width takes.
pub(super) fn width_lanes(width: u64) -> Lanes {
    if width == 1 { Lanes::Scalar } else { Lanes::X4 }
}

fn arguments<'v>(values: impl IntoIterator<Item = &'v Value>) -> Vec<BlockArg> {
    values.into_iter().map(|value| BlockArg::Value(*value)).collect()
}
