//! Identities of element-wise arithmetic.

use moec_ir::{DType, Op};

use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// `x * 1 = x`.
    mul_one: Bit [Mul];
    /// `x + 0 = x`, but for the sign of a zero.
    add_zero: Finite [Add];
    /// `x - 0 = x`.
    sub_zero: Bit [Sub];
    /// `x / 1 = x`.
    div_one: Bit [Div];
    /// `-(-x) = x`.
    neg_of_neg: Bit [Neg];
    /// A cast to the type that the operand has.
    cast_to_same: Bit [Cast];
    /// The smaller or larger of a value and itself, and a choice between a value and itself.
    same_on_both_sides: Bit [Minimum, Maximum, Select];
    /// A comparison of constants is a constant.
    comparison_of_constants: Bit [Eq, Ne, Lt, Le, Gt, Ge] if "all elements of each side are one number, exact in f32";
}

/// The operands that stand beside an operand for which `neutral` holds.
fn beside(v: View<'_>, n: Found<'_>, neutral: f64) -> Vec<Term> {
    let (a, b) = (n.arg(0), n.arg(1));
    let sides = [(a, b), (b, a)].into_iter().filter(|(x, _)| v.is(*x, neutral));
    sides.filter_map(|(_, y)| v.term(y)).collect()
}

/// The first operand, if the second is `neutral`.
fn before(v: View<'_>, n: Found<'_>, neutral: f64) -> Vec<Term> {
    v.term(n.arg(0)).filter(|_| v.is(n.arg(1), neutral)).into_iter().collect()
}

fn mul_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    beside(v, n, 1.0)
}

fn add_zero(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    beside(v, n, 0.0)
}

fn sub_zero(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    before(v, n, 0.0)
}

fn div_one(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    before(v, n, 1.0)
}

fn neg_of_neg(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    v.nodes(n.arg(0), Op::Neg).filter_map(|inner| v.term(inner.arg(0))).collect()
}

fn cast_to_same(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let same = v.tensor(n.arg(0)).is_some_and(|ty| ty.dtype == n.attrs().dtype("to"));
    v.term(n.arg(0)).filter(|_| same).into_iter().collect()
}

fn same_on_both_sides(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let [.., a, b] = *n.args() else { return Vec::new() };
    v.term(a).filter(|_| v.graph.find(a) == v.graph.find(b)).into_iter().collect()
}

fn comparison_of_constants(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    one(|| {
        // Constants that f32 rounds may become equal.
        let exact = |value: &f64| f64::from(*value as f32) == *value;
        let (a, b) = (v.uniform(n.arg(0)).filter(exact)?, v.uniform(n.arg(1)).filter(exact)?);
        let holds = match n.op {
            Op::Eq => a == b,
            Op::Ne => a != b,
            Op::Lt => a < b,
            Op::Le => a <= b,
            Op::Gt => a > b,
            _ => a >= b,
        };
        v.constant(DType::Bool, v.shape(n.arg(0)), f64::from(holds))
    })
}
