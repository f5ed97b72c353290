//! What a reduction does with one more element: identity, step, result, for one and four lanes.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, I32};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use moec_ir::{DType, Op};
use moec_plan::ReduceOp;

use super::context::Cx;
use super::element::Datum;
use crate::Lanes;

/// A reduction of elements of one type. Its state is one value; of `argmax` two, the largest so far
/// and its index. Truth values are `i32` 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fold {
    pub(super) op: ReduceOp,
    pub(super) dtype: DType,
}

impl Fold {
    /// The type of one lane of the first value of the state.
    pub(super) fn state_type(&self) -> Type {
        if self.dtype == DType::F32 { F32 } else { I32 }
    }

    /// The state before the first element.
    pub(super) fn identity(&self, cx: &mut Cx<'_, '_>, lanes: Lanes) -> Vec<Value> {
        let float = self.dtype == DType::F32;
        let mut e = cx.lanes(lanes);
        let first = match self.op {
            ReduceOp::Sum | ReduceOp::Mean if float => e.float(0.0),
            ReduceOp::Max | ReduceOp::Argmax if float => e.float(f32::NEG_INFINITY),
            ReduceOp::Min if float => e.float(f32::INFINITY),
            ReduceOp::Max | ReduceOp::Argmax => e.int(i32::MIN as u32),
            ReduceOp::Min => e.int(i32::MAX as u32),
            ReduceOp::All => e.int(1),
            ReduceOp::Sum | ReduceOp::Mean | ReduceOp::Any => e.int(0),
        };
        match self.op {
            ReduceOp::Argmax => vec![first, e.int(0)],
            _ => vec![first],
        }
    }

    /// The state with element `x`, number `r`.
    pub(super) fn step(
        &self,
        cx: &mut Cx<'_, '_>,
        lanes: Lanes,
        state: &[Value],
        x: Datum,
        r: Value,
    ) -> Vec<Value> {
        let x = cx.widened(x, lanes);
        let x = cx.value(x);
        if self.op != ReduceOp::Argmax {
            return vec![self.join(cx, lanes, state[0], x)];
        }
        let r = cx.b.ins().ireduce(I32, r);
        let mut e = cx.lanes(lanes);
        let better = if self.dtype == DType::F32 {
            let larger = e.compare(FloatCC::GreaterThan, x, state[0]);
            let nan = e.compare(FloatCC::Unordered, x, x);
            let number = e.compare(FloatCC::Ordered, state[0], state[0]);
            let first_nan = e.both(nan, number);
            e.either(larger, first_nan)
        } else {
            e.compare_int(IntCC::SignedGreaterThan, x, state[0])
        };
        let r = e.splat(r);
        vec![e.select(better, x, state[0]), e.select(better, r, state[1])]
    }

    /// Two partial results as one, the earlier one first.
    fn join(&self, cx: &mut Cx<'_, '_>, lanes: Lanes, a: Value, b: Value) -> Value {
        let op = match self.op {
            ReduceOp::Sum | ReduceOp::Mean => Op::Add,
            ReduceOp::Max | ReduceOp::Argmax => Op::Maximum,
            ReduceOp::Min => Op::Minimum,
            ReduceOp::Any => return cx.b.ins().bor(a, b),
            ReduceOp::All => return cx.b.ins().band(a, b),
        };
        let [a, b] = [a, b].map(|value| Datum::number(lanes, value));
        let joined = cx.apply(op, self.dtype, &[a, b]);
        cx.value(joined)
    }

    /// The four partial results of the lanes as one.
    pub(super) fn lanes_joined(&self, cx: &mut Cx<'_, '_>, [a, b, c, d]: [Value; 4]) -> Value {
        let even = self.join(cx, Lanes::Scalar, a, c);
        let odd = self.join(cx, Lanes::Scalar, b, d);
        self.join(cx, Lanes::Scalar, even, odd)
    }

    /// The result after `len` elements.
    pub(super) fn finish(&self, cx: &mut Cx<'_, '_>, lanes: Lanes, state: &[Value], len: Value) -> Datum {
        match self.op {
            ReduceOp::Mean => {
                let count = cx.b.ins().fcvt_from_uint(F32, len);
                let mut e = cx.lanes(lanes);
                let count = e.splat(count);
                Datum::number(lanes, e.div(state[0], count))
            }
            ReduceOp::Any | ReduceOp::All => {
                let mask = cx.mask(Datum::number(lanes, state[0]));
                Datum::truth(lanes, mask)
            }
            ReduceOp::Argmax => Datum::number(lanes, state[1]),
            _ => Datum::number(lanes, state[0]),
        }
    }
}
