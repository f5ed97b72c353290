//! Products with weights that all experts share: by token, not by pair of token and expert.

use moec_ir::{EinsumSpec, Op};

use super::contract::sides;
use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// A product of taken rows with what all experts share takes rows of the product.
    product_of_taken_rows: Bit [Einsum] if "the other operand has no rows";
    /// The combine of products with weights that all experts share is the product of the combine.
    combine_of_products: Reassociate [Combine] if "the weights are not those of experts";
}

/// The two operands of a contraction whose left one has rows first, and so has the result.
fn of_rows(n: Found<'_>) -> Vec<(EinsumSpec, egg::Id, egg::Id)> {
    let rows_first = |spec: &EinsumSpec| {
        let row = spec.lhs.first();
        row.is_some_and(|row| spec.out.first() == Some(row) && !spec.rhs.contains(row))
    };
    sides(n).into_iter().filter(|(spec, ..)| rows_first(spec)).collect()
}

fn product_of_taken_rows(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (spec, rows, w) in of_rows(n) {
        for take in v.nodes(rows, Op::TakeRows) {
            out.extend(one(|| {
                let product = v.einsum(&spec, v.term(take.arg(1))?, v.term(w)?)?;
                v.again(take, vec![v.term(take.arg(0))?, product])
            }));
        }
    }
    out
}

fn combine_of_products(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for e in v.nodes(n.arg(2), Op::Einsum) {
        for (spec, rows, w) in of_rows(e).into_iter().filter(|(_, rows, w)| v.fixed(*w) && !v.fixed(*rows)) {
            out.extend(one(|| {
                let sum = v.again(n, vec![v.term(n.arg(0))?, v.term(n.arg(1))?, v.term(rows)?])?;
                v.einsum(&spec, sum, v.term(w)?)
            }));
        }
    }
    out
}
