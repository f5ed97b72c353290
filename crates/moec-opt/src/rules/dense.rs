//! From chosen pairs back to all of them: where nearly every expert is chosen, or experts are small,
//! one product over all is cheaper than sorting tokens by expert. The cost decides.

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::{Attrs, Dim, EinsumSpec, Op, PlanType};

use super::gate::are_distinct;
use super::rules;
use crate::term::{Found, Term, View, element_wise};

rules! {
    /// A combine is the sum over all experts, gated by `densify` of its weights.
    combine_is_dense_sum: Finite [Combine] if "indices of a token are distinct" if "what computes the rows treats them alike" if "no sum over the experts is known to be equal";
}

/// What plan rows are taken from.
struct All<'a> {
    v: View<'a>,
    plan: Id,
    index: Id,
    ty: &'a PlanType,
    /// Classes of rows and their `[experts, tokens, ..]`; none for those that have none, and for
    /// those that are being looked at.
    known: BTreeMap<Id, Option<Term>>,
    /// How many operations terms may have, since a term is a tree.
    left: usize,
}

/// The most operations of a dense form.
const MOST: usize = 400;

impl<'a> All<'a> {
    /// `[experts, tokens, ..]` such that `rows` are taken from it.
    fn of(&mut self, rows: Id) -> Option<Term> {
        let rows = self.v.graph.find(rows);
        if let Some(known) = self.known.get(&rows) {
            let size = known.as_ref().map_or(0, operations);
            self.left = self.left.checked_sub(size)?;
            return known.clone();
        }
        self.known.insert(rows, None);
        let found = self.v.all(rows).find_map(|n| {
            self.left.checked_sub(1).and_then(|left| {
                self.left = left;
                self.by(n)
            })
        });
        self.known.insert(rows, found.clone());
        found
    }

    fn shape(&self, rest: &[Dim]) -> Vec<Dim> {
        [&self.ty.experts, &self.ty.tokens].into_iter().chain(rest).cloned().collect()
    }

    fn is_own(&self, n: Found<'a>) -> bool {
        self.v.graph.find(n.arg(0)) == self.plan
    }

    fn by(&mut self, n: Found<'a>) -> Option<Term> {
        let v = self.v;
        let repeated = |axis: usize| -> Option<Term> {
            let x = v.term(n.arg(1))?;
            let map: Vec<usize> = [axis].into_iter().chain(2..x.rank() + 1).collect();
            let shape = self.shape(&x.shape()[1..]);
            v.broadcast(x, &map, &shape)
        };
        match n.op {
            Op::TakePairs if self.is_own(n) => v.term(n.arg(1)),
            Op::TakeRows if self.is_own(n) => repeated(1),
            Op::TakeExperts if self.is_own(n) => repeated(0),
            Op::TakeSlots if self.is_own(n) && v.rank(n.arg(1)) == 2 => {
                v.transpose(gate(v, v.term(n.arg(1))?, self.index, &self.ty.experts)?, &[1, 0])
            }
            Op::Const => {
                let ty = n.attrs().tensor_type("type").clone();
                let shape = self.shape(ty.shape.get(1..)?);
                v.constant(ty.dtype, &shape, n.attrs().number("value"))
            }
            Op::GroupedMatmul if self.is_own(n) => {
                let spec = n.spec()?;
                let (expert, row) = (*spec.rhs.first()?, *spec.lhs.first()?);
                let out = [&[expert, row], &spec.out[1..]].concat();
                let by_token = v.nodes(n.arg(1), Op::TakeRows).find(|take| self.is_own(*take));
                let (x, lhs) = match by_token {
                    Some(take) => (v.term(take.arg(1))?, spec.lhs.clone()),
                    None => (self.of(n.arg(1))?, [&[expert], &spec.lhs[..]].concat()),
                };
                v.einsum(&EinsumSpec { lhs, rhs: spec.rhs, out }, x, v.term(n.arg(2))?)
            }
            Op::Broadcast => {
                let map = n.axes("map");
                let shape = self.shape(n.dims("shape").get(1..)?);
                let moved = |axes: &[usize]| axes.iter().map(|axis| axis + 1).collect::<Vec<_>>();
                match map.split_first() {
                    Some((0, rest)) => {
                        let map = [vec![0, 1], moved(rest)].concat();
                        v.broadcast(self.of(n.arg(0))?, &map, &shape)
                    }
                    _ if !map.contains(&0) => v.broadcast(v.term(n.arg(0))?, &moved(&map), &shape),
                    _ => None,
                }
            }
            Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Softmax | Op::Slice if n.axis() > 0 => {
                v.along(n, vec![self.of(n.arg(0))?], n.axis() + 1)
            }
            op if element_wise(op) => {
                let args = n.args().iter().map(|&arg| self.of(arg)).collect::<Option<_>>()?;
                v.again(n, args)
            }
            _ => None,
        }
    }
}

/// How many operations a term has.
fn operations(term: &Term) -> usize {
    match &term.kind {
        crate::term::TermKind::Class(_) => 0,
        crate::term::TermKind::Op(_, args, _) => 1 + args.iter().map(operations).sum::<usize>(),
    }
}

/// `[tokens, experts]`: weights `[tokens, slots]` at the indices, 0 elsewhere.
fn gate(v: View<'_>, weights: Term, index: Id, experts: &Dim) -> Option<Term> {
    let attrs = Attrs::new([("axis", 1usize.into()), ("size", experts.into())]);
    v.op(Op::Densify, vec![weights, v.term(index)?], attrs)
}

/// Whether a class is known to be a sum over an axis as long as there are experts, or is made of
/// parts that may be.
fn has_dense_form(v: View<'_>, class: Id, experts: &Dim) -> bool {
    v.all(class).any(|n| match n.op {
        Op::Sum => v.shape(n.arg(0)).get(n.axis()) == Some(experts),
        Op::Add | Op::Mul | Op::Einsum => true,
        _ => false,
    })
}

fn combine_is_dense_sum(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let Some(ty) = v.plan(n.arg(0)) else { return Vec::new() };
    if v.class_of(n).is_none_or(|class| has_dense_form(v, class, &ty.experts)) {
        return Vec::new();
    }
    let plan = v.graph.find(n.arg(0));
    let dense = |own: Found<'_>| {
        let mut all = All { v, plan, index: own.arg(0), ty, known: BTreeMap::new(), left: MOST };
        let y = all.of(n.arg(2))?;
        let gate = gate(v, v.term(n.arg(1))?, own.arg(0), &ty.experts)?;
        let shape = y.shape().to_vec();
        let product = v.op(Op::Mul, vec![v.broadcast(gate, &[1, 0], &shape)?, y], Attrs::default())?;
        v.op(Op::Sum, vec![product], Attrs::new([("axis", 0usize.into())]))
    };
    v.nodes(plan, Op::Plan).filter(|own| are_distinct(v, own.arg(0), 1)).filter_map(dense).collect()
}
