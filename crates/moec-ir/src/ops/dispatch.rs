//! The algebra of routing plans.

use super::{Infer, Work, contract};
use crate::{DType, Dim, EinsumSpec, PlanType, TensorType, Type};

fn plan_operand<'a>(cx: &'a Infer<'_>) -> Result<&'a PlanType, String> {
    cx.args[0].plan().ok_or_else(|| format!("operand 0 is {}, expected a plan", cx.args[0]))
}

fn rows(plan: &PlanType) -> Result<Dim, String> {
    plan.rows().map_err(|e| e.to_string())
}

pub(super) fn plan(cx: &Infer<'_>) -> Result<Type, String> {
    let index = cx.expect_dtype(0, DType::I32)?;
    let [tokens, slots] = index.shape.as_slice() else {
        return Err(format!("indices {index}, expected [tokens, slots]"));
    };
    let experts = cx.attrs.dim("experts").clone();
    Ok(Type::Plan(PlanType { experts, tokens: tokens.clone(), slots: slots.clone() }))
}

pub(super) fn flatten(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    let tokens = rows(plan)?;
    Ok(Type::Plan(PlanType { experts: plan.experts.clone(), tokens, slots: Dim::constant(1) }))
}

/// The number of groups of tokens.
fn groups(cx: &Infer<'_>) -> Result<Dim, String> {
    let (tokens, group) = (&plan_operand(cx)?.tokens, cx.attrs.dim("group"));
    let whole = |dim: &Dim| cx.dims.resolve(dim).map_err(|e| e.to_string());
    let (all, part) = (whole(tokens)?, whole(group)?);
    let groups = if all == part { Some(Dim::constant(1)) } else { all.divided_by(&part) };
    groups.ok_or_else(|| format!("{tokens} tokens are not proved to be groups of {group}"))
}

pub(super) fn capacity(cx: &Infer<'_>) -> Result<Type, String> {
    groups(cx)?;
    Ok(Type::Plan(plan_operand(cx)?.clone()))
}

pub(super) fn seat(cx: &Infer<'_>) -> Result<Type, String> {
    groups(cx)?;
    let plan = plan_operand(cx)?;
    Ok(TensorType::new(DType::I32, [plan.tokens.clone(), plan.slots.clone()]).into())
}

/// Any number of seats.
pub(super) fn take_seats(cx: &Infer<'_>) -> Result<Type, String> {
    let Some(seats) = cx.tensor(1)?.shape.get(1) else { return Err("operand 1 has no axis of seats".into()) };
    let (plan, group) = (plan_operand(cx)?, cx.attrs.dim("group"));
    if !cx.attrs.bool("grouped") {
        cx.expect_same("one group and all tokens", group, &plan.tokens)?;
        return taken(cx, &[&plan.experts, seats]);
    }
    let Some(groups) = cx.tensor(1)?.shape.get(2) else {
        return Err("operand 1 has no axis of groups".into());
    };
    let tokens = groups.times(group).map_err(|e| e.to_string())?;
    cx.expect_same("groups and all tokens", &tokens, &plan.tokens)?;
    taken(cx, &[&plan.experts, seats, groups])
}

pub(super) fn subset(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    let list = cx.expect_dtype(1, DType::I32)?;
    let [kept] = list.shape.as_slice() else {
        return Err(format!("experts {list}, expected one axis"));
    };
    if kept.is(0) || !cx.dims.at_most(kept, &plan.experts) {
        return Err(format!("{kept} experts are not proved to be some of {}", plan.experts));
    }
    Ok(Type::Plan(PlanType { experts: kept.clone(), ..plan.clone() }))
}

/// Operand 1 with its `leading` axes replaced by plan rows.
fn taken(cx: &Infer<'_>, leading: &[&Dim]) -> Result<Type, String> {
    let ty = cx.tensor(1)?;
    if ty.rank() < leading.len() {
        return Err(format!("operand 1 is {ty}, expected at least {} axes", leading.len()));
    }
    for (found, wanted) in ty.shape.iter().zip(leading) {
        cx.expect_same("operand axis and plan", found, wanted)?;
    }
    let mut shape = vec![rows(plan_operand(cx)?)?];
    shape.extend_from_slice(&ty.shape[leading.len()..]);
    Ok(TensorType::new(ty.dtype, shape).into())
}

pub(super) fn take_rows(cx: &Infer<'_>) -> Result<Type, String> {
    taken(cx, &[&plan_operand(cx)?.tokens])
}

pub(super) fn take_slots(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    taken(cx, &[&plan.tokens, &plan.slots])
}

pub(super) fn take_experts(cx: &Infer<'_>) -> Result<Type, String> {
    taken(cx, &[&plan_operand(cx)?.experts])
}

pub(super) fn take_pairs(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    taken(cx, &[&plan.experts, &plan.tokens])
}

/// The row letter is first on the left and in the result, the expert letter first on the right and
/// nowhere else; the rest contracts as in `einsum`.
pub(super) fn grouped_matmul(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    let spec = contract::spec(cx)?;
    let (row, expert) = (spec.lhs.first(), spec.rhs.first());
    let in_form = row.is_some()
        && spec.out.first() == row
        && !spec.rhs.contains(row.unwrap_or(&0))
        && expert.is_some_and(|e| !spec.lhs.contains(e) && !spec.out.contains(e));
    if !in_form {
        return Err(format!("spec = {spec}, expected rows first on the left, experts first on the right"));
    }
    let (x, w) = (cx.expect_float(1)?, cx.expect_float(2)?);
    let sizes = contract::letter_sizes(cx, &[(&spec.lhs, &x.shape), (&spec.rhs, &w.shape)])?;
    cx.expect_same("rows and plan", &x.shape[0], &rows(plan)?)?;
    cx.expect_same("experts and plan", &w.shape[0], &plan.experts)?;
    Ok(TensorType::new(DType::F32, contract::shape_of(&spec.out, &sizes)).into())
}

pub(super) fn placed_matmul(cx: &Infer<'_>) -> Result<Type, String> {
    let resident = cx.attrs.ints("resident");
    let experts = cx.dims.value(&plan_operand(cx)?.experts);
    let below = |&expert: &i64| u64::try_from(expert).is_ok_and(|e| experts.is_none_or(|n| e < n));
    if !resident.is_sorted_by(|a, b| a < b) || !resident.iter().all(below) {
        return Err(format!("resident = {resident:?}, expected numbers of experts, ascending"));
    }
    grouped_matmul(cx)
}

/// A multiply and an add for every row and every letter but the experts.
pub(super) fn flops(work: &Work<'_>) -> f64 {
    let Ok(spec) = EinsumSpec::parse(work.attrs.str("spec")) else { return 0.0 };
    let weight = spec.rhs.iter().zip(work.args[2].dims()).skip(1);
    let contracted: f64 =
        weight.filter(|(l, _)| !spec.out.contains(l)).map(|(_, d)| (work.size)(d)).product();
    2.0 * work.elements(work.result) * contracted
}

pub(super) fn combine(cx: &Infer<'_>) -> Result<Type, String> {
    let plan = plan_operand(cx)?;
    let weights = cx.expect_dtype(1, DType::F32)?;
    let z = cx.expect_dtype(2, DType::F32)?;
    if !cx.dims.same_shape(&weights.shape, &[plan.tokens.clone(), plan.slots.clone()]) {
        return Err(format!("weights {weights}, expected f32[{}, {}]", plan.tokens, plan.slots));
    }
    let Some(found) = z.shape.first() else { return Err("operand 2 is a scalar".into()) };
    cx.expect_same("rows and plan", found, &rows(plan)?)?;
    let mut shape = z.shape.clone();
    shape[0] = plan.tokens.clone();
    Ok(TensorType::new(DType::F32, shape).into())
}

pub(super) fn combine_flops(work: &Work<'_>) -> f64 {
    2.0 * work.elements(work.args[2])
}
