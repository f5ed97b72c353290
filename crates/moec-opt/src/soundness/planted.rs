//! Rules that are wrong in the ways in which rules are wrong. Each stands with the program that its
//! author would have shown, in `planted.moir` under the same name.

use moec_ir::{Attrs, Op, read};

use crate::options::Numerics;
use crate::rules::Rule;
use crate::term::{Found, Term, View};

/// The program of a planted rule.
pub(super) fn example(name: &str) -> moec_ir::Module {
    let all = include_str!("planted.moir");
    let start = all.find(&format!("module {name} {{")).unwrap_or_else(|| panic!("{name} has no program"));
    let end = all[start..].find("\n}\n").unwrap();
    read(&all[start..start + end + 3]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Declares rules, each with how it is wrong, the operations that it begins with, and what it gives.
macro_rules! planted {
    ($($(#[doc = $doc:literal])+ $name:ident [$($op:ident),+] |$v:ident, $n:ident| $body:expr;)*) => {
        pub(super) static PLANTED: &[Rule] = &[$(Rule {
            name: stringify!($name),
            doc: concat!($($doc),+),
            numerics: Numerics::Bit,
            conditions: &[],
            roots: &[$(Op::$op),+],
            rewrite: {
                fn rewrite(v: View<'_>, n: Found<'_>) -> Vec<Term> {
                    let ($v, $n) = (v, n);
                    let term = || -> Option<Term> { $body };
                    term().into_iter().collect()
                }
                rewrite
            },
        }),*];
    };
}

fn plain() -> Attrs {
    Attrs::default()
}

/// The attributes of a slice with another start and step.
fn slice_attrs(n: Found<'_>, start: u64, step: i64) -> Attrs {
    let size = n.dim("size").cloned().unwrap();
    Attrs::new([
        ("axis", n.axis().into()),
        ("size", size.into()),
        ("start", moec_ir::Dim::constant(start).into()),
        ("step", step.into()),
    ])
}

planted! {
    /// A product loses a factor.
    product_is_one_factor [Mul] |v, n| v.term(n.arg(0));
    /// A transpose is left out; only a square hides it from types.
    transpose_vanishes [Transpose] |v, n| v.term(n.arg(0));
    /// A softmax is left out.
    softmax_is_its_argument [Softmax] |v, n| v.term(n.arg(0));
    /// Zeros are pushed through a function that does not keep them.
    sigmoid_keeps_zero [Sigmoid] |v, n| {
        let d = v.nodes(n.arg(0), Op::Densify).next()?;
        v.again(d, vec![v.again(n, vec![v.term(d.arg(0))?])?, v.term(d.arg(1))?])
    };
    /// A sum moves through a transpose and keeps its axis.
    sum_along_the_other_axis [Sum] |v, n| {
        let t = v.nodes(n.arg(0), Op::Transpose).next()?;
        v.again(n, vec![v.term(t.arg(0))?])
    };
    /// A reshape of a transpose reshapes the operand: the element counts agree.
    reshape_ignores_transpose [Reshape] |v, n| {
        let t = v.nodes(n.arg(0), Op::Transpose).next()?;
        v.again(n, vec![v.term(t.arg(0))?])
    };
    /// An operation moves through a broadcast, which is forgotten: shapes differ.
    broadcast_without_its_shape [Neg] |v, n| {
        let b = v.nodes(n.arg(0), Op::Broadcast).next()?;
        v.again(n, vec![v.term(b.arg(0))?])
    };
    /// A slice starts at the element before.
    slice_starts_one_early [Slice] |v, n| {
        let start = n.dim("start")?.as_const()?.checked_sub(1)?;
        v.op(Op::Slice, vec![v.term(n.arg(0))?], slice_attrs(n, start, 1))
    };
    /// Interleaved halves are taken for halves one after the other.
    every_second_is_the_first_half [Slice] |v, n| {
        let interleaved = n.attrs().int("step") == 2;
        v.op(Op::Slice, vec![v.term(n.arg(0)).filter(|_| interleaved)?], slice_attrs(n, 0, 1))
    };
    /// A bias is lost.
    bias_is_lost [Add] |v, n| {
        let bias = v.expansions(n.arg(1)).iter().skip(1).any(|(b, _)| v.fixed(*b));
        v.term(n.arg(0)).filter(|_| bias)
    };
    /// A score scales the argument of an activation, not its result.
    scale_before_activation [Mul] |v, n| {
        let (f, s) = [(0, 1), (1, 0)].into_iter().find_map(|(f, s)| {
            Some((v.nodes(n.arg(f), Op::Silu).next()?, v.term(n.arg(s))?))
        })?;
        v.again(f, vec![v.op(Op::Mul, vec![s, v.term(f.arg(0))?], plain())?])
    };
    /// The activation is on the wrong half.
    gate_and_up_swapped [Mul] |v, n| {
        let (f, up) = [(0, 1), (1, 0)].into_iter().find_map(|(f, s)| {
            Some((v.nodes(n.arg(f), Op::Silu).next()?, v.term(n.arg(s))?))
        })?;
        v.op(Op::Mul, vec![v.again(f, vec![up])?, v.term(f.arg(0))?], plain())
    };
    /// A capacity moves through a sort: the first of the sorted are not the sorted first.
    first_of_sorted_is_sorted_of_first [Slice] |v, n| {
        let sort = v.nodes(n.arg(0), Op::Argsort).find(|sort| sort.axis() == n.axis())?;
        v.again(sort, vec![v.again(n, vec![v.term(sort.arg(0))?])?])
    };
    /// Among equals the last one is found.
    tie_to_the_higher_index [Argmax] |v, n| {
        let (x, ty, axis) = (v.term(n.arg(0))?, v.tensor(n.arg(0))?, n.axis());
        let along = || Attrs::new([("axis", axis.into())]);
        let best = v.op(Op::Max, vec![x.clone()], along())?;
        let others: Vec<usize> = (0..x.rank()).filter(|&a| a != axis).collect();
        let best = v.broadcast(best, &others, &ty.shape)?;
        let index = ty.with_dtype(moec_ir::DType::I32);
        let position = Attrs::new([("axis", axis.into()), ("type", index.clone().into())]);
        let position = v.op(Op::Iota, Vec::new(), position)?;
        let none = v.constant(index.dtype, &index.shape, 0.0)?;
        let equal = v.op(Op::Eq, vec![x, best], plain())?;
        v.op(Op::Max, vec![v.op(Op::Select, vec![equal, position, none], plain())?], along())
    };
    /// The softmax over all is taken for the softmax over the chosen.
    softmax_over_all_is_over_the_chosen [Softmax] |v, n| {
        let s = v.nodes(n.arg(0), Op::Select).find(|s| v.is(s.arg(2), f64::NEG_INFINITY))?;
        let all = v.again(n, vec![v.term(s.arg(1))?])?;
        let zero = v.constant(moec_ir::DType::F32, v.shape(n.arg(0)), 0.0)?;
        v.again(s, vec![v.term(s.arg(0))?, all, zero])
    };
    /// An epsilon is too small to matter, until nothing else is left.
    epsilon_vanishes [Add] |v, n| {
        let small = |class| v.uniform(class).is_some_and(|x| x != 0.0 && x.abs() < 1e-6);
        let (x, _) = [(0, 1), (1, 0)].into_iter().find(|&(_, e)| small(n.arg(e)))?;
        v.term(n.arg(x))
    };
    /// What may not be chosen is given the score 0, which is more than a negative one.
    masked_with_zero [Select] |v, n| {
        let zero = v.constant(moec_ir::DType::F32, v.shape(n.arg(2)), 0.0)?;
        v.again(n, vec![v.term(n.arg(0))?, v.term(n.arg(1))?, zero]).filter(|_| v.is(n.arg(2), f64::NEG_INFINITY))
    };
    /// A negation of the condition is left out.
    branches_swapped [Select] |v, n| {
        let not = v.nodes(n.arg(0), Op::Not).next()?;
        v.again(n, vec![v.term(not.arg(0))?, v.term(n.arg(1))?, v.term(n.arg(2))?])
    };
    /// Weights are taken from the scores that a bias was added to for selection.
    selection_bias_is_a_weight [Gather] |v, n| {
        let index = v.nodes(n.arg(1), Op::RouteIndex).next()?;
        let top = v.nodes(index.arg(0), Op::TopK).next()?;
        let biased = v.nodes(top.arg(0), Op::Add).any(|add| add.args().contains(&n.arg(0)));
        v.op(Op::RouteValue, vec![v.term(index.arg(0)).filter(|_| biased)?], plain())
    };
    /// A factor moves into the weights of a combine and stays outside too.
    scaled_twice [Mul] |v, n| {
        let (s, c) = [(0, 1), (1, 0)].into_iter().find_map(|(s, c)| {
            Some((v.uniform(n.arg(s))?, v.nodes(n.arg(c), Op::Combine).next()?))
        })?;
        let weights = v.term(c.arg(1))?;
        let scale = v.constant(moec_ir::DType::F32, weights.shape(), s)?;
        let weights = v.op(Op::Mul, vec![scale, weights], plain())?;
        let sum = v.again(c, vec![v.term(c.arg(0))?, weights, v.term(c.arg(2))?])?;
        let outside = v.constant(moec_ir::DType::F32, sum.shape(), s)?;
        v.op(Op::Mul, vec![outside, sum], plain())
    };
    /// Two selections are composed in the wrong order.
    gathers_in_the_wrong_order [Gather] |v, n| {
        let inner = v.nodes(n.arg(0), Op::Gather).next()?;
        let index = v.again(n, vec![v.term(n.arg(1))?, v.term(inner.arg(1))?])?;
        v.again(n, vec![v.term(inner.arg(0))?, index])
    };
    /// Operands of a difference are ordered like those of a sum.
    difference_commutes [Sub] |v, n| v.again(n, vec![v.term(n.arg(1))?, v.term(n.arg(0))?]);
    /// A cast to a narrow type and back is left out.
    rounding_is_lost [Cast] |v, n| {
        let inner = v.nodes(n.arg(0), Op::Cast).next()?;
        v.term(inner.arg(0)).filter(|x| x.ty.tensor().map(|ty| ty.dtype) == v.tensor(n.arg(0)).map(|_| n.attrs().dtype("to")))
    };
    /// Values in order of score stand at positions in order of expert.
    values_in_order_of_score [TakeSlots] |v, n| {
        let x = v.term(n.arg(1)).filter(|x| x.rank() == 2)?;
        v.reshape(x, &[v.plan(n.arg(0))?.rows().ok()?])
    };
}
