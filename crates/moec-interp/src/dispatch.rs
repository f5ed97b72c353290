//! The algebra of routing plans.

use crate::contract::{self, Contraction};
use crate::eval::{Cx, Evaluated};
use crate::{InterpError, Plan, Value, value};

pub(crate) fn plan(cx: &Cx<'_>) -> Evaluated {
    let index = cx.tensor(0)?;
    let experts = cx.size("experts")?;
    let (tokens, slots) = (index.shape[0], index.shape[1]);
    let chosen = index.data.iter().map(|&value| cx.index(value, experts).map(Some));
    let chosen: Vec<Option<usize>> = chosen.collect::<Result<_, _>>()?;
    value::elements(&[experts])?;
    Ok(Value::Plan(Plan::new(tokens, slots, experts, &chosen)))
}

/// The seat of each pair, by number; none for dropped pairs.
fn seats(cx: &Cx<'_>) -> Result<Vec<Option<usize>>, InterpError> {
    let (plan, group) = (cx.plan()?, cx.size("group")?);
    let chosen = plan.expert_of_pair();
    let mut seats = vec![None; chosen.len()];
    let number = |token: usize, slot: usize| token * plan.slots + slot;
    for first in (0..plan.tokens).step_by(group.max(1)) {
        let tokens = first..first + group;
        let order: Vec<usize> = match cx.attrs.bool("slots_first") {
            true => (0..plan.slots).flat_map(|s| tokens.clone().map(move |t| number(t, s))).collect(),
            false => tokens.flat_map(|t| (0..plan.slots).map(move |s| number(t, s))).collect(),
        };
        let mut taken = vec![0; plan.experts()];
        for pair in order {
            let Some(expert) = chosen[pair] else { continue };
            seats[pair] = Some(taken[expert]);
            taken[expert] += 1;
        }
    }
    Ok(seats)
}

pub(crate) fn seat(cx: &Cx<'_>) -> Evaluated {
    cx.result(seats(cx)?.into_iter().map(|seat| seat.map_or(-1.0, |seat| seat as f64)).collect())
}

pub(crate) fn capacity(cx: &Cx<'_>) -> Evaluated {
    let (plan, capacity) = (cx.plan()?, cx.size("capacity")?);
    let seated = seats(cx)?.into_iter().map(|seat| seat.is_some_and(|seat| seat < capacity));
    let kept = |(expert, seated): (Option<usize>, bool)| expert.filter(|_| seated);
    let chosen: Vec<Option<usize>> = plan.expert_of_pair().into_iter().zip(seated).map(kept).collect();
    Ok(Value::Plan(Plan::new(plan.tokens, plan.slots, plan.experts(), &chosen)))
}

pub(crate) fn take_seats(cx: &Cx<'_>) -> Evaluated {
    let (plan, group, x) = (cx.plan()?, cx.size("group")?, cx.tensor(1)?);
    let (seats, all) = (seats(cx)?, x.shape[1]);
    let groups = if cx.attrs.bool("grouped") { x.shape[2] } else { 1 };
    let size: usize = cx.shape()?[1..].iter().product();
    let mut data = cx.room()?;
    for (expert, &pair) in plan.expert_of_row().into_iter().zip(&plan.pairs) {
        match seats[pair].filter(|&seat| seat < all) {
            Some(seat) => {
                let block = (expert * all + seat) * groups + (pair / plan.slots) / group;
                data.extend_from_slice(&x.data[block * size..(block + 1) * size]);
            }
            None => data.resize(data.len() + size, 0.0),
        }
    }
    cx.result(data)
}

pub(crate) fn subset(cx: &Cx<'_>) -> Evaluated {
    let (plan, list) = (cx.plan()?, cx.tensor(1)?);
    let mut renumbered = vec![None; plan.experts()];
    for (new, &value) in list.data.iter().enumerate() {
        let expert = cx.index(value, plan.experts())?;
        if renumbered[expert].replace(new).is_some() {
            return Err(cx.error(format!("expert {expert} is listed twice")));
        }
    }
    let chosen: Vec<Option<usize>> =
        plan.expert_of_pair().into_iter().map(|expert| expert.and_then(|e| renumbered[e])).collect();
    Ok(Value::Plan(Plan::new(plan.tokens, plan.slots, list.data.len(), &chosen)))
}

pub(crate) fn flatten(cx: &Cx<'_>) -> Evaluated {
    let plan = cx.plan()?.clone();
    Ok(Value::Plan(Plan { tokens: plan.tokens * plan.slots, slots: 1, ..plan }))
}

/// For each plan row the block of operand 1 with that number; a block has the elements of one
/// result row.
fn take(cx: &Cx<'_>, blocks: impl Iterator<Item = usize>) -> Evaluated {
    let x = cx.tensor(1)?;
    let size: usize = cx.shape()?[1..].iter().product();
    let mut data = cx.room()?;
    for block in blocks {
        data.extend_from_slice(&x.data[block * size..(block + 1) * size]);
    }
    cx.result(data)
}

pub(crate) fn take_rows(cx: &Cx<'_>) -> Evaluated {
    let plan = cx.plan()?;
    take(cx, plan.pairs.iter().map(|pair| pair / plan.slots))
}

pub(crate) fn take_slots(cx: &Cx<'_>) -> Evaluated {
    take(cx, cx.plan()?.pairs.iter().copied())
}

pub(crate) fn take_experts(cx: &Cx<'_>) -> Evaluated {
    take(cx, cx.plan()?.expert_of_row().into_iter())
}

pub(crate) fn take_pairs(cx: &Cx<'_>) -> Evaluated {
    let plan = cx.plan()?;
    let tokens = plan.pairs.iter().map(|pair| pair / plan.slots);
    take(cx, plan.expert_of_row().into_iter().zip(tokens).map(|(expert, token)| expert * plan.tokens + token))
}

pub(crate) fn grouped_matmul(cx: &Cx<'_>) -> Evaluated {
    let (plan, x, w) = (cx.plan()?, cx.tensor(1)?, cx.tensor(2)?);
    let spec = contract::spec(cx)?;
    // One row with one expert's weights: the first letter of each side is fixed.
    let one = Contraction::new(
        (&spec.lhs[1..], &x.shape[1..]),
        (&spec.rhs[1..], &w.shape[1..]),
        &spec,
        &spec.out[1..],
    );
    let x_row: usize = x.shape[1..].iter().product();
    let w_expert: usize = w.shape[1..].iter().product();
    let mut data = cx.room()?;
    for (row, expert) in plan.expert_of_row().into_iter().enumerate() {
        let (x, w) = (&x.data[row * x_row..][..x_row], &w.data[expert * w_expert..][..w_expert]);
        one.run(x, w, &mut data);
    }
    cx.result(data)
}

pub(crate) fn combine(cx: &Cx<'_>) -> Evaluated {
    let (plan, weights, z) = (cx.plan()?, cx.tensor(1)?, cx.tensor(2)?);
    let size: usize = z.shape[1..].iter().product();
    let mut data = cx.filled(0.0)?;
    let mut started = vec![false; plan.tokens];
    // Plan rows are in expert order, so every token meets its terms in ascending expert order. The
    // pairs that the plan drops come last.
    let kept = plan.kept();
    for (row, &pair) in plan.pairs.iter().enumerate() {
        let token = pair / plan.slots;
        let sums = &mut data[token * size..][..size];
        for (sum, z) in sums.iter_mut().zip(&z.data[row * size..]) {
            let term = if row < kept { weights.data[pair] * z } else { 0.0 };
            *sum = if started[token] { *sum + term } else { term };
        }
        started[token] = true;
    }
    cx.result(data)
}
