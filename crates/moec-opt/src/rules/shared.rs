//! Shared experts: one that every token uses is an expert that is always chosen, and the other way
//! round. In which form it is cheaper depends on the number of kernels.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, EinsumSpec, Op};

use super::contract::sides;
use super::gate::in_range;
use super::{one, rules};
use crate::term::{Found, Term, View, commutative, element_wise};

rules! {
    /// What every token adds to a combine is one more expert, chosen by all, if it computes as the
    /// experts do.
    shared_expert_is_chosen_by_all: Reassociate [Add] if "the same operations" if "weights of the same shape and type" if "weights of at most 16 MiB, which are copied when loaded";
    /// An expert that all tokens choose is computed for all tokens.
    expert_chosen_by_all_is_shared: Reassociate [Combine] if "it is the last expert and stands in the last slot";
}

fn concat(v: View<'_>, parts: [Term; 2], axis: usize) -> Option<Term> {
    let size = |term: &Term| v.sizing().table().value(term.shape().get(axis)?);
    let total = Dim::constant(size(&parts[0])? + size(&parts[1])?);
    v.op(Op::Concat, parts.into(), Attrs::new([("axis", axis.into()), ("size", (&total).into())]))
}

/// `x` with a first axis of size 1.
fn raised(v: View<'_>, x: Term) -> Option<Term> {
    let shape: Vec<Dim> = [Dim::constant(1)].iter().chain(x.shape()).cloned().collect();
    v.reshape(x, &shape)
}

/// `x` without its first axis, of size 1.
fn lowered(v: View<'_>, x: Term) -> Option<Term> {
    let shape = x.shape().get(1..)?.to_vec();
    v.reshape(x, &shape)
}

/// The contraction of one expert in a grouped product.
fn of_one(spec: &EinsumSpec) -> EinsumSpec {
    EinsumSpec { lhs: spec.lhs.clone(), rhs: spec.rhs[1..].to_vec(), out: spec.out.clone() }.canonical()
}

/// Whether weights may be copied.
fn is_small(v: View<'_>, weights: &Term) -> bool {
    let elements = v.sizing().product(weights.shape()).and_then(|count| v.sizing().table().value(&count));
    let bytes = |ty: &moec_ir::TensorType| elements?.checked_mul(ty.dtype.bytes() as u64);
    weights.ty.tensor().and_then(bytes).is_some_and(|bytes| bytes <= 16 << 20)
}

/// How deep an expert is looked into.
const DEPTH: usize = 16;

/// Plan rows `rows` of `small` with those of the last expert, `all` by token, as rows of `large`.
fn joined(v: View<'_>, (small, large): (Id, &Term), rows: Id, all: Id, depth: usize) -> Option<Term> {
    let depth = depth.checked_sub(1)?;
    let own = |n: &Found<'_>| v.graph.find(n.arg(0)) == v.graph.find(small);
    let below = |rows, all| joined(v, (small, large), rows, all, depth);
    let take = |op, x| v.op(op, vec![large.clone(), x], Attrs::default());
    v.all(rows).find_map(|r| match r.op {
        Op::TakeRows if own(&r) && v.graph.find(r.arg(1)) == v.graph.find(all) => take(r.op, v.term(all)?),
        Op::TakeExperts if own(&r) => {
            let map: Vec<usize> = (1..v.rank(all)).collect();
            let (last, _) = v.expansions(all).into_iter().find(|(x, found)| *found == map && v.fixed(*x))?;
            take(r.op, concat(v, [v.term(r.arg(1))?, raised(v, v.term(last)?)?], 0)?)
        }
        Op::GroupedMatmul if own(&r) => {
            let spec = r.spec()?;
            let plain = of_one(&spec);
            let mut products = v.nodes(all, Op::Einsum).flat_map(sides).filter(|(found, ..)| *found == plain);
            products.find_map(|(_, x, w)| {
                let w = concat(
                    v,
                    [
                        v.term(r.arg(2)).filter(|w| is_small(v, w))?,
                        raised(v, v.term(w).filter(|_| v.fixed(w))?)?,
                    ],
                    0,
                )?;
                v.op(r.op, vec![large.clone(), below(r.arg(1), x)?, w], r.attrs())
            })
        }
        Op::Const => {
            let value = v.uniform(all).filter(|value| v.is(rows, *value))?;
            let shape: Vec<Dim> =
                [large.ty.plan()?.rows().ok()?].iter().chain(v.shape(rows).get(1..)?).cloned().collect();
            v.constant(v.tensor(rows)?.dtype, &shape, value)
        }
        op if element_wise(op) => v.nodes(all, op).filter(|s| s.attrs() == r.attrs()).find_map(|s| {
            let straight: Vec<Id> = s.args().to_vec();
            let mut crossed = straight.clone();
            crossed.reverse();
            let orders = if commutative(op) { vec![straight, crossed] } else { vec![straight] };
            orders.into_iter().find_map(|order| {
                let args = r.args().iter().zip(order).map(|(&a, b)| below(a, b)).collect::<Option<_>>()?;
                v.again(r, args)
            })
        }),
        _ => None,
    })
}

/// The ways in which a class is something times a factor for each token: with no factor first.
fn factored(v: View<'_>, class: Id) -> Vec<(Id, Option<Id>)> {
    let mut found = vec![(class, None)];
    for n in v.nodes(class, Op::Mul) {
        for (gate, rest) in [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))] {
            let by_token = v.expansions(gate).into_iter().filter(|(_, map)| *map == [0]);
            found.extend(by_token.map(|(gate, _)| (rest, Some(gate))));
        }
    }
    found
}

fn shared_expert_is_chosen_by_all(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (sum, shared) in [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))] {
        for combine in v.nodes(sum, Op::Combine) {
            for plan in v.nodes(combine.arg(0), Op::Plan) {
                for (all, factor) in factored(v, shared) {
                    out.extend(one(|| {
                        let experts = plan.dim("experts")?;
                        let number = v.sizing().table().value(experts)?;
                        let column = [v.shape(plan.arg(0)).first()?.clone(), Dim::constant(1)];
                        let last = v.constant(DType::I32, &column, number as f64)?;
                        let index = concat(v, [v.term(plan.arg(0))?, last], 1)?;
                        let attrs = Attrs::new([("experts", Dim::constant(number + 1).into())]);
                        let large = v.op(Op::Plan, vec![index], attrs)?;
                        let rows = joined(v, (combine.arg(0), &large), combine.arg(2), all, DEPTH)?;
                        let weight = match factor {
                            Some(factor) => v.reshape(v.term(factor)?, &column)?,
                            None => v.constant(DType::F32, &column, 1.0)?,
                        };
                        let weights = concat(v, [v.term(combine.arg(1))?, weight], 1)?;
                        v.again(combine, vec![large, weights, rows])
                    }));
                }
            }
        }
    }
    out
}

/// The two parts of what is one after another along `axis`, the second of size 1.
fn parts(v: View<'_>, class: Id, axis: usize) -> Option<[Id; 2]> {
    v.nodes(class, Op::Concat).filter(|c| c.axis() == axis).find_map(|c| match *c.args() {
        [first, last] if v.shape(last).get(axis).is_some_and(|size| size.is(1)) => Some([first, last]),
        _ => None,
    })
}

/// All experts but the last, and the last.
fn split_experts(v: View<'_>, w: Id, others: &Dim) -> Option<[Term; 2]> {
    if let Some([first, last]) = parts(v, w, 0) {
        return Some([v.term(first)?, lowered(v, v.term(last)?)?]);
    }
    let slice = |start: Dim, size: Dim| {
        let attrs = Attrs::new([
            ("axis", 0usize.into()),
            ("size", size.into()),
            ("start", start.into()),
            ("step", 1i64.into()),
        ]);
        v.op(Op::Slice, vec![v.term(w)?], attrs)
    };
    Some([slice(Dim::constant(0), others.clone())?, lowered(v, slice(others.clone(), Dim::constant(1))?)?])
}

/// Plan rows of `large` as rows of `small`, and what the last expert computes for each token.
fn split(v: View<'_>, (small, large): (&Term, Id), rows: Id, depth: usize) -> Option<[Term; 2]> {
    let depth = depth.checked_sub(1)?;
    let own = |n: &Found<'_>| v.graph.find(n.arg(0)) == v.graph.find(large);
    let plan = small.ty.plan()?;
    v.all(rows).find_map(|r| match r.op {
        Op::TakeRows if own(&r) => {
            let x = v.term(r.arg(1))?;
            Some([v.op(r.op, vec![small.clone(), x.clone()], Attrs::default())?, x])
        }
        Op::TakeExperts if own(&r) => {
            let [others, last] = split_experts(v, r.arg(1), &plan.experts)?;
            let shape: Vec<Dim> = [&plan.tokens].into_iter().chain(last.shape()).cloned().collect();
            let map: Vec<usize> = (1..shape.len()).collect();
            let all = v.broadcast(last, &map, &shape)?;
            Some([v.op(r.op, vec![small.clone(), others], Attrs::default())?, all])
        }
        Op::GroupedMatmul if own(&r) && v.fixed(r.arg(2)) => {
            let [x, all] = split(v, (small, large), r.arg(1), depth)?;
            let [others, last] = split_experts(v, r.arg(2), &plan.experts)?;
            let rows = v.op(r.op, vec![small.clone(), x, others], r.attrs())?;
            Some([rows, v.einsum(&of_one(&r.spec()?), all, last)?])
        }
        Op::Const => {
            let ty = r.attrs().tensor_type("type").clone();
            let of = |count: &Dim| {
                let shape: Vec<Dim> = [count].into_iter().chain(ty.shape.get(1..)?).cloned().collect();
                v.constant(ty.dtype, &shape, r.attrs().number("value"))
            };
            Some([of(&plan.rows().ok()?)?, of(&plan.tokens)?])
        }
        op if element_wise(op) => {
            let pairs: Vec<[Term; 2]> =
                r.args().iter().map(|&arg| split(v, (small, large), arg, depth)).collect::<Option<_>>()?;
            let (rows, all) = pairs.into_iter().map(|[rows, all]| (rows, all)).unzip();
            Some([v.again(r, rows)?, v.again(r, all)?])
        }
        _ => None,
    })
}

fn expert_chosen_by_all_is_shared(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for plan in v.nodes(n.arg(0), Op::Plan) {
        out.extend(one(|| {
            let last = v.sizing().table().value(plan.dim("experts")?)?.checked_sub(1)?;
            let others = v.sizing().dim(&Dim::constant(last));
            let [index, always] = parts(v, plan.arg(0), 1)?;
            let [weights, weight] = parts(v, n.arg(1), 1)?;
            if !v.is(always, last as f64) || !in_range(v, index, Some(&others)) {
                return None;
            }
            let attrs = Attrs::new([("experts", others.into())]);
            let small = v.op(Op::Plan, vec![v.term(index)?], attrs)?;
            let [rows, all] = split(v, (&small, n.arg(0)), n.arg(2), DEPTH)?;
            let sum = v.again(n, vec![small, v.term(weights)?, rows])?;
            let all = match v.is(weight, 1.0) {
                true => all,
                false => {
                    let factor = v.reshape(v.term(weight)?, &v.shape(weight)[..1])?;
                    let factor = v.broadcast(factor, &[0], all.shape())?;
                    v.op(Op::Mul, vec![factor, all], Attrs::default())?
                }
            };
            v.op(Op::Add, vec![sum, all], Attrs::default())
        }));
    }
    out
}
