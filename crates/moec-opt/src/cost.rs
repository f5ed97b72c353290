//! What an operation costs on a target, in picoseconds: a roofline over the flops and bytes that
//! the op row counts. Costs are integers, so that sums do not depend on their order.

use egg::Id;
use moec_ir::{Attrs, Dim, Op, PlanType, Type, Work};

use crate::facts::{Graph, attrs_of, known};
use crate::node::ENode;
use crate::options::Target;
use crate::sizing::Sizing;
use crate::term::element_wise;

/// The cost model at one number of tokens.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) target: Target,
    pub(crate) tokens: u64,
    pub(crate) sizing: &'a Sizing,
}

/// Of a view that a strided access absorbs.
const VIEW: f64 = 20e-9;
/// Of starting one element-wise operation in a fused loop, and the part of its traffic that fusion
/// does not save.
const FUSED: f64 = 100e-9;
const FUSED_TRAFFIC: f64 = 0.1;

impl Model<'_> {
    /// The cost of one e-node in a class of type `ty`; at least 1, so that sums grow along chains.
    pub(crate) fn node(&self, graph: &Graph, class: Id, node: &ENode) -> u64 {
        let (Some(op), Some(result)) = (node.op(), known(graph, class)) else { return 1 };
        // Folded when weights are loaded.
        if result.fixed {
            return 1;
        }
        let args: Option<Vec<&Type>> =
            node.args().iter().map(|&arg| known(graph, arg).map(|k| &k.ty)).collect();
        let Some(args) = args else { return u64::MAX >> 20 };
        self.op(op, &args, &attrs_of(graph, op, node), &result.ty)
    }

    /// The cost of one operation.
    pub(crate) fn op(&self, op: Op, args: &[&Type], attrs: &Attrs, result: &Type) -> u64 {
        let size = |dim: &Dim| self.sizing.estimate(dim, self.tokens);
        let work = Work { args, attrs, result, size: &size };
        let (flops, out) = ((op.row().flops)(&work), work.bytes(result));
        let target = &self.target;
        let seconds = match op {
            Op::Input | Op::Weight | Op::Const | Op::Literal | Op::Iota => 0.0,
            Op::Broadcast | Op::Reshape | Op::Slice | Op::RouteIndex | Op::RouteValue | Op::PlanFlatten => {
                VIEW
            }
            // Absorbed by most consumers, not by all.
            Op::Transpose => VIEW + FUSED_TRAFFIC * 0.5 * out / target.bandwidth,
            Op::TakeRows
            | Op::TakeSlots
            | Op::TakeExperts
            | Op::TakePairs
            | Op::Gather
            | Op::RouteMask
            | Op::OneHot => FUSED + FUSED_TRAFFIC * out / target.bandwidth,
            _ if element_wise(op) => {
                FUSED + flops / target.element_flops + FUSED_TRAFFIC * out / target.bandwidth
            }
            _ => {
                let peak = match op {
                    Op::Einsum | Op::GroupedMatmul => target.matrix_flops,
                    _ => target.element_flops,
                };
                let read: f64 = args.iter().map(|arg| work.bytes(arg)).sum();
                let untouched = match (op, args) {
                    (Op::GroupedMatmul, [Type::Plan(plan), _, weight]) => {
                        work.bytes(weight) * (1.0 - self.touched(plan))
                    }
                    _ => 0.0,
                };
                let bytes = read - untouched + out;
                (flops / peak).max(bytes / target.bandwidth) + target.launch
            }
        };
        // 2^50 ps are 20 minutes; saturating keeps sums of many such far from overflow.
        (seconds * 1e12).clamp(1.0, (1u64 << 50) as f64) as u64
    }

    /// The part of the experts that at least one token chooses, if all are equally likely.
    fn touched(&self, plan: &PlanType) -> f64 {
        let size = |dim: &Dim| self.sizing.estimate(dim, self.tokens);
        let miss = 1.0 - (size(&plan.slots) / size(&plan.experts)).min(1.0);
        1.0 - miss.powf(size(&plan.tokens))
    }
}
