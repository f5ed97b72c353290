//! What the e-graph knows of each class: the type, whether it depends on weights only, whether all
//! elements are one number, bounds, and where it is 0 because a gate is. The merge is a meet: what either side proves
//! holds for both, in whatever order they meet.

use std::cmp::Ordering;

use egg::{Analysis, DidMerge, Id};
use moec_ir::{Attr, Attrs, Dim, Number, Op, Type};

use crate::kept::{Kept, kept};
use crate::node::ENode;
use crate::range::{Range, range, whole};
use crate::sizing::Sizing;
use crate::vanish::{Vanishings, join, vanishing};

/// The e-graph of a module.
pub(crate) type Graph = egg::EGraph<ENode, Facts>;

/// The analysis: what every class needs to look at, and what went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The spelling of sizes.
    pub(crate) sizing: Sizing,
    /// Nodes without a type and classes with two. Not empty means that a rule is wrong.
    pub(crate) conflicts: Vec<String>,
}

/// What is known of the value of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The type.
    pub(crate) ty: Type,
    /// Whether the value follows from weights and constants, so that it is computed once.
    pub(crate) fixed: bool,
    /// The number that all elements are.
    pub(crate) uniform: Option<Number>,
    /// A size that all elements, as indices, are below; none is negative.
    pub(crate) below: Option<Dim>,
    /// What a plan keeps, if it may drop pairs.
    pub(crate) kept: Option<Kept>,
    /// Bounds of the elements; of the scores, if it is a route.
    pub(crate) range: Range,
    /// Whether all elements are proved to be whole numbers.
    pub(crate) whole: bool,
    /// The sparse gates that it is 0 with.
    pub(crate) vanishing: Vanishings,
}

/// The data of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// An attribute.
    Attr(Attr),
    /// A value.
    Value(Box<Known>),
    /// A node that inference refused.
    IllTyped,
}

impl Facts {
    /// The analysis of a module with these sizes.
    pub(crate) fn new(sizing: Sizing) -> Facts {
        Facts { sizing, conflicts: Vec::new() }
    }
}

/// The attributes of `node`, which is an operation.
pub(crate) fn attrs_of(graph: &Graph, op: Op, node: &ENode) -> Attrs {
    let values = node.attrs().iter().map(|&id| match &graph[id].data {
        Fact::Attr(attr) => attr.clone(),
        _ => unreachable!("an attribute child is always a leaf"),
    });
    Attrs::new(op.row().attrs.iter().map(|(name, _)| *name).zip(values))
}

/// What is known of the value of a class.
pub(crate) fn known(graph: &Graph, id: Id) -> Option<&Known> {
    match &graph[id].data {
        Fact::Value(known) => Some(known),
        _ => None,
    }
}

/// Whether the result holds only elements of the first operand.
fn moves_elements(op: Op) -> bool {
    matches!(
        op,
        Op::Broadcast
            | Op::Transpose
            | Op::Reshape
            | Op::Slice
            | Op::Gather
            | Op::TakeRows
            | Op::TakeSlots
            | Op::TakeExperts
            | Op::TakePairs
    )
}

fn evaluate(graph: &Graph, op: Op, node: &ENode) -> Result<Known, String> {
    let sizing = &graph.analysis.sizing;
    let attrs = attrs_of(graph, op, node);
    let args: Option<Vec<&Known>> = node.args().iter().map(|&id| known(graph, id)).collect();
    let args = args.ok_or_else(|| format!("{op} of an ill-typed operand"))?;
    let types: Vec<&Type> = args.iter().map(|known| &known.ty).collect();
    let ty = op.infer(&types, &attrs, sizing.table()).map_err(|e| e.to_string())?;
    let ty = sizing.ty(&ty);
    // Takes have the plan first.
    let source = args.iter().find(|known| known.ty.tensor().is_some());
    let uniform = match op {
        Op::Const => Some(Number::new(attrs.number("value"))),
        _ if moves_elements(op) => source.and_then(|known| known.uniform),
        _ => None,
    };
    let below = match (op, &ty) {
        (Op::RouteIndex, _) => types[0].route().map(|r| r.scores.shape[r.axis].clone()),
        (Op::Argsort, Type::Tensor(t)) => t.shape.get(attrs.index("axis")).cloned(),
        (Op::Argmax, _) => types[0].tensor().and_then(|t| t.shape.get(attrs.index("axis")).cloned()),
        (Op::Iota, Type::Tensor(t)) => t.shape.get(attrs.index("axis")).cloned(),
        _ if moves_elements(op) => source.and_then(|known| known.below.clone()),
        _ => None,
    };
    let fixed = op != Op::Input && args.iter().all(|known| known.fixed);
    let plan = args.first().filter(|known| known.ty.plan().is_some());
    let from = plan.and_then(|known| known.ty.plan());
    let kept = kept(op, &attrs, ty.plan(), from, plan.and_then(|known| known.kept.as_ref()));
    let ranges: Vec<(&Type, Range)> = args.iter().map(|known| (&known.ty, known.range)).collect();
    let wholes: Vec<(&Type, bool)> = args.iter().map(|known| (&known.ty, known.whole)).collect();
    let range = range(op, &ranges, &attrs, sizing.table());
    let whole = whole(op, &wholes, &attrs, &ty);
    let ids: Vec<Id> = node.args().iter().map(|&arg| graph.find(arg)).collect();
    let shape = ty.tensor().map_or(&[][..], |ty| &ty.shape);
    let vanishing = vanishing(op, &args, &ids, &attrs, shape, sizing);
    Ok(Known { ty, fixed, uniform, below, kept, range, whole, vanishing })
}

/// Replaces `to` by the smaller of the two, where there are two.
fn meet<T: Ord>(to: &mut Option<T>, from: Option<T>) -> (bool, bool) {
    match (to.as_ref(), from) {
        (None, Some(from)) => {
            *to = Some(from);
            (true, false)
        }
        (Some(_), None) => (false, true),
        (None, None) => (false, false),
        (Some(a), Some(b)) => match (*a).cmp(&b) {
            Ordering::Less => (false, true),
            Ordering::Equal => (false, false),
            Ordering::Greater => {
                *to = Some(b);
                (true, false)
            }
        },
    }
}

impl Analysis<ENode> for Facts {
    type Data = Fact;

    fn make(graph: &mut Graph, node: &ENode, _: Id) -> Fact {
        let ENode::Op(op, _) = node else {
            let ENode::Leaf(attr) = node else { return Fact::IllTyped };
            return Fact::Attr(attr.clone());
        };
        match evaluate(graph, *op, node) {
            Ok(known) => Fact::Value(Box::new(known)),
            Err(message) => {
                graph.analysis.conflicts.push(message);
                Fact::IllTyped
            }
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        match (a, b) {
            (Fact::Value(a), Fact::Value(b)) => {
                if a.ty != b.ty {
                    self.conflicts.push(format!("one class has the types {} and {}", a.ty, b.ty));
                }
                let fixed = (!a.fixed && b.fixed, a.fixed && !b.fixed);
                a.fixed |= b.fixed;
                let uniform = meet(&mut a.uniform, b.uniform);
                let below = meet(&mut a.below, b.below);
                let kept = meet(&mut a.kept, b.kept);
                let met = a.range.meet(b.range);
                let range = (met != a.range, met != b.range);
                a.range = met;
                let whole = (!a.whole && b.whole, a.whole && !b.whole);
                a.whole |= b.whole;
                let vanishing = join(&mut a.vanishing, b.vanishing);
                let parts = [fixed, uniform, below, kept, range, whole, vanishing];
                DidMerge(parts.iter().any(|p| p.0), parts.iter().any(|p| p.1))
            }
            (a, b) => {
                if *a != b {
                    self.conflicts.push("one class has two kinds of data".into());
                }
                DidMerge(false, false)
            }
        }
    }
}
