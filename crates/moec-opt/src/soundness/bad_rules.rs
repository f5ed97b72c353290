//! Rules that are wrong in the ways rules are wrong: each must be caught by evaluation or by types.

use moec_ir::{Attrs, Op};

use super::evaluate::check;
use super::{all_rules, small_programs};
use crate::options::Numerics;
use crate::rules::Rule;
use crate::term::{Found, Term, View};

const fn bad(
    name: &'static str,
    root: &'static [Op],
    rewrite: for<'a> fn(View<'a>, Found<'a>) -> Vec<Term>,
) -> Rule {
    Rule { name, doc: "Wrong.", numerics: Numerics::Bit, conditions: &[], roots: root, rewrite }
}

/// Values in order of score, at positions in order of expert.
static TAKE_ROWS_OF_WEIGHTS: Rule = bad("rows_for_slots", &[Op::TakeSlots], |v, n| {
    let scores = || v.op(Op::Neg, vec![v.term(n.arg(1))?], Attrs::default());
    let other = || v.op(Op::TakeSlots, vec![v.term(n.arg(0))?, scores()?], Attrs::default());
    other().into_iter().collect()
});

/// Forgets that the softmax over the chosen is not the softmax over all.
static SOFTMAX_COMMUTES: Rule = bad("value_of_softmax_is_softmax_of_value", &[Op::Softmax], |v, n| {
    v.term(n.arg(0)).into_iter().collect()
});

/// Transposes a result but not its type.
static TRANSPOSE_VANISHES: Rule =
    bad("transpose_vanishes", &[Op::Transpose], |v, n| v.term(n.arg(0)).into_iter().collect());

/// Padding pushed through an operation that does not keep zeros.
static SIGMOID_KEEPS_ZERO: Rule = bad("sigmoid_keeps_zero", &[Op::Softmax, Op::Sigmoid], |v, n| {
    let inner = v.nodes(n.arg(0), Op::Densify).chain(v.nodes(n.arg(0), Op::Select));
    inner.filter_map(|d| v.again(n, vec![v.term(*d.args().get(1)?)?])).collect()
});

/// Drops the scale of a product.
static PRODUCT_IS_ONE_FACTOR: Rule =
    bad("product_is_one_factor", &[Op::Mul], |v, n| v.term(n.arg(0)).into_iter().collect());

#[test]
fn bad_rules_are_caught() {
    let programs = small_programs();
    let bad = [
        &TAKE_ROWS_OF_WEIGHTS,
        &SOFTMAX_COMMUTES,
        &TRANSPOSE_VANISHES,
        &SIGMOID_KEEPS_ZERO,
        &PRODUCT_IS_ONE_FACTOR,
    ];
    for rule in bad {
        let rules: Vec<&'static Rule> = all_rules().into_iter().chain([rule]).collect();
        let caught = programs.iter().any(|(_, module)| check(module, &rules, 1).is_err());
        assert!(caught, "{} went unnoticed", rule.name);
    }
}
