//! Plans over flattened pairs are plans over tokens: what code that repeats rows, flattens indices
//! and adds up by hand comes down to.

use moec_ir::{Attrs, Dim, Op};

use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// The plan of flattened indices is the flattened plan.
    plan_of_flattened_index: Bit [Plan] if "the indices have an axis of slots";
    /// A grouped product, or rows by expert, by the flattened plan: its rows are those of the plan.
    rows_of_flattened_plan: Bit [GroupedMatmul, TakeExperts];
    /// Rows by pair number are elements by token and slot.
    rows_of_flattened_tokens: Bit [TakeRows];
    /// Elements by token and slot of what is the same for all slots are rows by token.
    slots_of_repeated_rows: Bit [TakeSlots];
    /// Adding up by pair and then over slots adds up by token.
    sum_of_flattened_combine: Reassociate [Sum];
    /// Weights for each slot multiply those of the flattened combine.
    weighted_sum_of_flattened_combine: Reassociate [Sum];
}

fn plan_of_flattened_index(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let [_, slots] = v.shape(n.arg(0)) else { return Vec::new() };
    if !slots.is(1) {
        return Vec::new();
    }
    let inner = v.nodes(n.arg(0), Op::Reshape);
    inner
        .filter_map(|flat| {
            let index = flat.arg(0);
            let plan = v.again(n, vec![v.term(index).filter(|_| v.rank(index) == 2)?])?;
            v.op(Op::PlanFlatten, vec![plan], Attrs::default())
        })
        .collect()
}

fn rows_of_flattened_plan(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let plans = v.nodes(n.arg(0), Op::PlanFlatten);
    plans
        .filter_map(|flat| {
            let plan = [flat.arg(0)];
            v.again(n, plan.iter().chain(&n.args()[1..]).map(|&arg| v.term(arg)).collect::<Option<_>>()?)
        })
        .collect()
}

fn rows_of_flattened_tokens(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for flat in v.nodes(n.arg(0), Op::PlanFlatten) {
        let Some(plan) = v.plan(flat.arg(0)) else { continue };
        let rest = &v.shape(n.arg(1))[1..];
        let split: Vec<Dim> = [&plan.tokens, &plan.slots].into_iter().chain(rest).cloned().collect();
        for merged in v.nodes(n.arg(1), Op::Reshape).filter(|r| v.shape(r.arg(0)) == split) {
            out.extend(one(|| {
                v.op(Op::TakeSlots, vec![v.term(flat.arg(0))?, v.term(merged.arg(0))?], Attrs::default())
            }));
        }
    }
    out
}

fn slots_of_repeated_rows(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (x, map) in v.expansions(n.arg(1)) {
        // Tokens and everything else, without the slots, in order.
        let rows: Vec<usize> = (0..v.rank(n.arg(1))).filter(|&axis| axis != 1).collect();
        if map == rows {
            out.extend(one(|| v.op(Op::TakeRows, vec![v.term(n.arg(0))?, v.term(x)?], Attrs::default())));
        }
    }
    out
}

/// For a class `[tokens, slots, ..]` that is a reshaped combine by the flattened plan of tokens and
/// slots: the plan, the weights as `[tokens, slots]`, the plan rows.
fn flattened_combines(v: View<'_>, class: egg::Id) -> Vec<[Term; 3]> {
    let mut found = Vec::new();
    for split in v.nodes(class, Op::Reshape) {
        for combine in v.nodes(split.arg(0), Op::Combine) {
            for flat in v.nodes(combine.arg(0), Op::PlanFlatten) {
                let Some(plan) = v.plan(flat.arg(0)) else { continue };
                let rest = v.shape(split.arg(0)).get(1..).unwrap_or_default();
                let pairs = [plan.tokens.clone(), plan.slots.clone()];
                let wanted: Vec<Dim> = pairs.iter().chain(rest).cloned().collect();
                if v.shape(class) != wanted {
                    continue;
                }
                if let (Some(plan), Some(weights), Some(rows)) =
                    (v.term(flat.arg(0)), v.term(combine.arg(1)), v.term(combine.arg(2)))
                    && let Some(weights) = v.reshape(weights, &pairs)
                {
                    found.push([plan, weights, rows]);
                }
            }
        }
    }
    found
}

fn sum_of_flattened_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if n.axis() != 1 {
        return Vec::new();
    }
    let found = flattened_combines(v, n.arg(0)).into_iter();
    found.filter_map(|parts| v.op(Op::Combine, parts.into(), Attrs::default())).collect()
}

fn weighted_sum_of_flattened_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for product in v.nodes(n.arg(0), Op::Mul).filter(|_| n.axis() == 1) {
        let (a, b) = (product.arg(0), product.arg(1));
        for (weights, sums) in [(a, b), (b, a)] {
            for (source, _) in v.expansions(weights).into_iter().filter(|(_, map)| *map == [0, 1]) {
                for [plan, own, rows] in flattened_combines(v, sums) {
                    out.extend(one(|| {
                        let ones = matches!(&own.kind, crate::term::TermKind::Class(id) if v.is(*id, 1.0));
                        let weights = match ones {
                            true => v.term(source)?,
                            false => v.op(Op::Mul, vec![v.term(source)?, own], Attrs::default())?,
                        };
                        v.op(Op::Combine, vec![plan, weights, rows], Attrs::default())
                    }));
                }
            }
        }
    }
    out
}
