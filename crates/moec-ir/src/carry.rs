//! Where the positions along one axis of an operand are found in a result: the analyses that follow
//! rows through a program (`rowwise`, `dropped`) rest on it.

use crate::{Attrs, Dim, DimTable, EinsumSpec, Module, Node, Op, TensorType, Type};

/// [`carried_axis`] for a node of a module.
pub(crate) fn carried(module: &Module, node: &Node, operand: usize, axis: usize) -> Option<usize> {
    let operands: Vec<Option<&TensorType>> =
        node.args.iter().map(|&arg| module.node(arg).ty.tensor()).collect();
    carried_axis(node.op, &node.attrs, &operands, &node.ty, &module.dims, (operand, axis))
}

/// The axis of the result on which each position along an axis of an operand (number of the operand,
/// axis) stays by itself, at its place; none if positions are mixed, moved or lost. Routing plans move
/// rows and are not looked at, but for grouped products, which keep them.
pub fn carried_axis(
    op: Op,
    attrs: &Attrs,
    operands: &[Option<&TensorType>],
    result: &Type,
    dims: &DimTable,
    (operand, axis): (usize, usize),
) -> Option<usize> {
    match op {
        op if (Op::Neg..=Op::Cast).contains(&op) => Some(axis),
        Op::RouteIndex | Op::RouteValue | Op::RouteMask | Op::OneHot => Some(axis),
        Op::Broadcast => usize::try_from(*attrs.ints("map").get(axis)?).ok(),
        Op::Transpose => attrs.ints("perm").iter().position(|&p| p as usize == axis),
        Op::Reshape => {
            let (from, to) = (&operands.first()?.as_ref()?.shape, &result.tensor()?.shape);
            let product = |shape: &[Dim]| dims.resolve(&Dim::product(shape).ok()?).ok();
            let before = product(&from[..axis])?;
            (0..to.len())
                .find(|&at| dims.same(&from[axis], &to[at]) && product(&to[..at]).as_ref() == Some(&before))
        }
        Op::Slice
        | Op::Pad
        | Op::Concat
        | Op::Densify
        | Op::Softmax
        | Op::Cumsum
        | Op::Argsort
        | Op::TopK => (axis != attrs.index("axis")).then_some(axis),
        Op::ScatterAdd => (axis != attrs.index("axis") && operand != 1).then_some(axis),
        Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All | Op::Argmax => {
            let gone = attrs.index("axis");
            (axis != gone).then(|| axis - usize::from(axis > gone))
        }
        Op::Gather => gathered(attrs.index("axis"), attrs.ints("along"), operand, axis),
        Op::Einsum | Op::GroupedMatmul | Op::PlacedMatmul => {
            let spec = EinsumSpec::parse(attrs.str("spec")).ok()?;
            let left = operands.len() - 2;
            let letters = if operand == left { &spec.lhs } else { &spec.rhs };
            let letter = letters.get(axis).filter(|_| operand >= left)?;
            spec.out.iter().position(|l| l == letter)
        }
        _ => None,
    }
}

/// Fresh axes of the indices stand where `gone` was.
fn gathered(gone: usize, along: &[i64], operand: usize, axis: usize) -> Option<usize> {
    let fresh = |upto: usize| along[..upto].iter().filter(|&&a| a < 0).count();
    let kept = |a: usize| if a < gone { a } else { a + fresh(along.len()) - 1 };
    match operand {
        0 => (axis != gone).then(|| kept(axis)),
        _ => Some(match usize::try_from(*along.get(axis)?) {
            Ok(with) => kept(with),
            Err(_) => gone + fresh(axis),
        }),
    }
}
