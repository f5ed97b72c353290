//! Rows of pairs that a plan drops hold anything: a grouped product need not compute them, and rules
//! hold for the others alone. So nothing that leaves the program may depend on them. `combine` by
//! the same plan leaves them out; until then they may only be worked on row by row. An integer made
//! of one could be an index out of range, so floats are not turned into integers there.
//!
//! A sound check, not a complete one: a mixture inside an expert of a plan that drops pairs is
//! refused.

use crate::carry::carried;
use crate::{DType, IrError, Module, Node, Op, ValueId};

/// The axis of a value that is in the rows of a plan, some of which hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    plan: ValueId,
    axis: usize,
}

/// Errors when an output could depend on the row of a dropped pair.
pub(crate) fn check(module: &Module) -> Result<(), IrError> {
    // The plan whose rows are those of each plan, if it drops pairs.
    let mut drops: Vec<Option<ValueId>> = vec![None; module.nodes.len()];
    let mut found: Vec<Option<Rows>> = Vec::new();
    for (id, node) in module.iter() {
        drops[id.index()] = match node.op {
            Op::PlanCapacity | Op::PlanSubset => Some(id),
            Op::PlanFlatten => drops[node.args[0].index()],
            _ => None,
        };
        let rows = of(module, node, &drops, &found);
        found.push(rows.map_err(|what| IrError::Module(format!("%{}: {what}", id.0)))?);
    }
    match module.outputs.iter().find(|output| found[output.value.index()].is_some()) {
        Some(output) => Err(IrError::Module(format!("output {} has rows of dropped pairs", output.name))),
        None => Ok(()),
    }
}

fn of(
    module: &Module,
    node: &Node,
    drops: &[Option<ValueId>],
    found: &[Option<Rows>],
) -> Result<Option<Rows>, String> {
    let mut result: Option<Rows> = None;
    let in_plan_rows = matches!(
        node.op,
        Op::TakeRows
            | Op::TakeSlots
            | Op::TakeExperts
            | Op::TakePairs
            | Op::TakeSeats
            | Op::GroupedMatmul
            | Op::PlacedMatmul
    );
    let own = node.args.first().and_then(|plan| drops[plan.index()]);
    if in_plan_rows {
        result = own.map(|plan| Rows { plan, axis: 0 });
    }
    for (operand, arg) in node.args.iter().enumerate() {
        let Some(rows) = found[arg.index()] else { continue };
        let by_plan = matches!(node.op, Op::GroupedMatmul | Op::PlacedMatmul | Op::Combine);
        if by_plan && (own != Some(rows.plan) || rows.axis != 0) {
            return Err(format!("operand {operand} has rows of pairs that another plan drops"));
        }
        if node.op == Op::Combine && operand == 2 {
            continue;
        }
        let number = node.op == Op::Cast && module.node(*arg).tensor().dtype.is_float();
        let axis = carried(module, node, operand, rows.axis)
            .filter(|_| !(number && node.tensor().dtype == DType::I32))
            .ok_or_else(|| format!("{} of rows of which some belong to dropped pairs", node.op))?;
        let rows = Rows { axis, ..rows };
        if result.is_some_and(|known| known != rows) {
            return Err("rows of which some belong to dropped pairs meet others".into());
        }
        result = Some(rows);
    }
    Ok(result)
}
