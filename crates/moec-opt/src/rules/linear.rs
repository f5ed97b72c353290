//! Linear algebra of gates and experts: gates move into contractions, where they are smaller, and
//! contractions that share an operand become one.

use egg::Id;
use moec_ir::{Attrs, DType, Dim, EinsumSpec, Op};

use super::contract::{fresh, sides};
use super::{one, rules};
use crate::term::{Found, Term, View};

rules! {
    /// `sum_e g[e] * (h W)[e]` contracts `g * h` with W over the experts too.
    gate_moves_into_contraction: Reassociate [Sum] if "the gate is dense: a softmax, a sigmoid, an input" if "the gate lies along experts and axes of h" if "W is made of weights, h is not";
    /// `sum_e g[e] * (x W)[e] = x (sum_e g[e] W[e])` for a gate that all tokens share.
    gate_moves_into_weights: Reassociate [Sum] if "the gate lies along axes of W" if "x does not lie along experts";
    /// `sum_e g[e] * (y[e] + b[e])` is the sum for y and the sum for the bias b.
    sum_of_gated_bias: Reassociate [Sum] if "b is made of weights and repeats";
    /// A sum of products of two values that repeat along different axes is a contraction.
    sum_of_outer_product_is_contraction: Reassociate [Sum] if "both lie along the axis" if "each repeats along another axis";
    /// `a * (b * h) = (a * b) * h`, where a and b repeat.
    gates_multiply_first: Reassociate [Mul] if "a lies along axes of b";
    /// A contraction over an axis along which parts stand is the sum of one for each part.
    contraction_of_concat: Reassociate [Einsum] if "the other operand is made of weights" if "the axis is summed over";
    /// `x A + x B = x (A + B)` for weights.
    sum_of_contractions_with_weights: Reassociate [Add] if "A and B are made of weights";
    /// A contraction with one column of weights is a column of a wider contraction of the same x.
    column_joins_contraction: Bit [Einsum] if "both sum over the same axis of x only" if "the wider operand is a weight";
    /// Weights of a combine take up a factor that is the same for all that a token adds up.
    scale_moves_into_combine: Reassociate [Mul] if "the factor is one for each token";
}

/// The ways in which a class repeats something smaller.
fn repeats(v: View<'_>, class: Id) -> Vec<(Id, Vec<usize>)> {
    let rank = v.rank(class);
    v.expansions(class).into_iter().filter(|(_, map)| map.len() < rank).collect()
}

/// Both orders of the operands of the products in a class.
fn products(v: View<'_>, class: Id) -> Vec<(Id, Id)> {
    let both = |n: Found<'_>| [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))];
    v.nodes(class, Op::Mul).flat_map(both).collect()
}

/// For `sum over axis of g * (h W)`: the letters of g, g, the contraction that makes `h W`, h and W.
struct Gated {
    gate: Id,
    letters: Vec<u8>,
    expert: u8,
    spec: EinsumSpec,
    h: Id,
    w: Id,
}

fn gated_contractions(v: View<'_>, n: Found<'_>) -> Vec<Gated> {
    let mut found = Vec::new();
    for (gate, y) in products(v, n.arg(0)) {
        for e in v.nodes(y, Op::Einsum) {
            for (spec, h, w) in sides(e).into_iter().filter(|(_, h, w)| v.fixed(*w) && !v.fixed(*h)) {
                let Some(&expert) = spec.out.get(n.axis()) else { continue };
                for (gate, map) in repeats(v, gate) {
                    let letters: Vec<u8> =
                        map.iter().filter_map(|&axis| spec.out.get(axis).copied()).collect();
                    if letters.len() == map.len() && letters.contains(&expert) && spec.rhs.contains(&expert) {
                        found.push(Gated { gate, letters, expert, spec: spec.clone(), h, w });
                    }
                }
            }
        }
    }
    found
}

/// `x` with axes `own`, as axes `all` of these sizes.
fn spread(v: View<'_>, x: Term, own: &[u8], all: &[u8], shape: &[Dim]) -> Option<Term> {
    let map: Vec<usize> = own.iter().map(|l| all.iter().position(|a| a == l)).collect::<Option<_>>()?;
    v.broadcast(x, &map, shape)
}

/// The size of the axis called `letter`.
fn size_of(v: View<'_>, letters: &[u8], class: Id, letter: u8) -> Option<Dim> {
    v.shape(class).get(letters.iter().position(|l| *l == letter)?).cloned()
}

fn gate_moves_into_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    // A sparse gate is better spent on choosing experts; and the experts' weights would be packed a
    // second time for this form, beside those for the chosen.
    let is_dense = |gate| v.all(gate).any(|n| matches!(n.op, Op::Softmax | Op::Sigmoid | Op::Input));
    let found = gated_contractions(v, n).into_iter().filter(|found| is_dense(found.gate));
    found
        .filter_map(|Gated { gate, letters, expert, spec, h, w }| {
            // The axis of experts stands before what was summed over, so that both make one depth.
            let mut lhs = spec.lhs.clone();
            let mut shape = v.shape(h).to_vec();
            if !lhs.contains(&expert) {
                let at = lhs.iter().position(|l| !spec.out.contains(l)).unwrap_or(lhs.len());
                lhs.insert(at, expert);
                shape.insert(at, size_of(v, &spec.rhs, w, expert)?);
            }
            let gate = spread(v, v.term(gate)?, &letters, &lhs, &shape)?;
            let h = spread(v, v.term(h)?, &spec.lhs, &lhs, &shape)?;
            let gated = v.op(Op::Mul, vec![gate, h], Attrs::default())?;
            let out = spec.out.iter().copied().filter(|l| *l != expert).collect();
            v.einsum(&EinsumSpec { lhs, rhs: spec.rhs, out }, gated, v.term(w)?)
        })
        .collect()
}

fn gate_moves_into_weights(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let found = gated_contractions(v, n).into_iter();
    found
        .filter_map(|Gated { gate, letters, expert, spec, h, w }| {
            let of_weights = letters.iter().all(|l| spec.rhs.contains(l) && !spec.lhs.contains(l));
            if !of_weights {
                return None;
            }
            let out: Vec<u8> = spec.out.iter().copied().filter(|l| *l != expert).collect();
            let kept: Vec<u8> = spec.rhs.iter().copied().filter(|l| *l != expert).collect();
            let merge = EinsumSpec { lhs: letters, rhs: spec.rhs, out: kept.clone() };
            let merged = v.einsum(&merge, v.term(gate)?, v.term(w)?)?;
            v.einsum(&EinsumSpec { lhs: spec.lhs, rhs: kept, out }, v.term(h)?, merged)
        })
        .collect()
}

fn sum_of_gated_bias(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (gate, y) in products(v, n.arg(0)).into_iter().filter(|(gate, _)| !repeats(v, *gate).is_empty()) {
        for sum in v.nodes(y, Op::Add) {
            let bias = |class: &Id| {
                repeats(v, *class).iter().any(|(source, map)| v.fixed(*source) && !map.is_empty())
            };
            if sum.args().iter().filter(|arg| bias(arg)).count() != 1 {
                continue;
            }
            let gated = |&part: &Id| {
                v.again(n, vec![v.op(Op::Mul, vec![v.term(gate)?, v.term(part)?], Attrs::default())?])
            };
            out.extend(one(|| v.again(sum, sum.args().iter().map(gated).collect::<Option<_>>()?)));
        }
    }
    out
}

fn sum_of_outer_product_is_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let rank = v.rank(n.arg(0));
    if v.tensor(n.arg(0)).is_none_or(|ty| ty.dtype != DType::F32) {
        return Vec::new();
    }
    let Some(letters) = fresh(&[], rank) else { return Vec::new() };
    let mut found = Vec::new();
    for product in v.nodes(n.arg(0), Op::Mul) {
        for (a, first) in repeats(v, product.arg(0)) {
            for (b, second) in repeats(v, product.arg(1)) {
                let covered = (0..rank).all(|axis| first.contains(&axis) || second.contains(&axis));
                let both = first.contains(&n.axis()) && second.contains(&n.axis());
                found.extend(one(|| {
                    let named = |map: &[usize]| map.iter().map(|&axis| letters[axis]).collect::<Vec<u8>>();
                    let out = (0..rank).filter(|&axis| axis != n.axis()).map(|axis| letters[axis]).collect();
                    let spec = EinsumSpec { lhs: named(&first), rhs: named(&second), out };
                    v.einsum(&spec, v.term(a)?, v.term(b)?).filter(|_| covered && both)
                }));
            }
        }
    }
    found
}

fn gates_multiply_first(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (first, rest) in [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))] {
        for (second, h) in products(v, rest) {
            for (a, inner) in repeats(v, first) {
                for (b, outer) in repeats(v, second) {
                    let Some(map) = inner
                        .iter()
                        .map(|axis| outer.iter().position(|o| o == axis))
                        .collect::<Option<Vec<usize>>>()
                    else {
                        continue;
                    };
                    out.extend(one(|| {
                        let a = v.broadcast(v.term(a)?, &map, v.shape(b))?;
                        let product = v.op(Op::Mul, vec![a, v.term(b)?], Attrs::default())?;
                        let gate = v.broadcast(product, &outer, v.shape(h))?;
                        v.op(Op::Mul, vec![gate, v.term(h)?], Attrs::default())
                    }));
                }
            }
        }
    }
    out
}

fn contraction_of_concat(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (spec, parts, w) in sides(n).into_iter().filter(|(_, parts, w)| v.fixed(*w) && !v.fixed(*parts)) {
        for concat in v.nodes(parts, Op::Concat) {
            out.extend(one(|| {
                let letter = *spec.lhs.get(concat.axis())?;
                let at = spec.rhs.iter().position(|l| *l == letter)?;
                if spec.out.contains(&letter) {
                    return None;
                }
                let mut start = 0;
                let mut total: Option<Term> = None;
                for &part in concat.args() {
                    let size = v.shape(part).get(concat.axis())?;
                    let attrs = Attrs::new([
                        ("axis", at.into()),
                        ("size", size.into()),
                        ("start", (&Dim::constant(start)).into()),
                        ("step", 1i64.into()),
                    ]);
                    start += v.sizing().table().value(size)?;
                    let w = v.op(Op::Slice, vec![v.term(w)?], attrs)?;
                    let term = v.einsum(&spec, v.term(part)?, w)?;
                    total = Some(match total {
                        None => term,
                        Some(sum) => v.op(Op::Add, vec![sum, term], Attrs::default())?,
                    });
                }
                total
            }));
        }
    }
    out
}

fn sum_of_contractions_with_weights(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let (left, right) = (n.arg(0), n.arg(1));
    let with_weights = |class: Id| {
        let all = v.nodes(class, Op::Einsum).flat_map(sides);
        all.filter(|(_, x, w)| v.fixed(*w) && !v.fixed(*x)).collect::<Vec<_>>()
    };
    let others = with_weights(right);
    let wide = |w: Id| v.op(Op::Cast, vec![v.term(w)?], Attrs::new([("to", DType::F32.into())]));
    let mut out = Vec::new();
    for (spec, x, a) in with_weights(left) {
        for (other, y, b) in &others {
            if v.graph.find(x) == v.graph.find(*y) && spec == *other {
                out.extend(one(|| {
                    let sum = v.op(Op::Add, vec![wide(a)?, wide(*b)?], Attrs::default())?;
                    v.einsum(&spec, v.term(x)?, sum)
                }));
            }
        }
    }
    out
}

/// A contraction `x w` over one axis: the position of that axis in x and in w, and w's other axis,
/// if it has one, which is last in the result.
struct Product {
    x: Id,
    w: Id,
    summed: usize,
    depth: usize,
    columns: Option<usize>,
}

fn products_with_weights(v: View<'_>, n: Found<'_>) -> Vec<Product> {
    let product = |(spec, x, w): (EinsumSpec, Id, Id)| {
        let [letter] = spec.contracted()[..] else { return None };
        let at = |letters: &[u8]| letters.iter().position(|l| *l == letter);
        let (summed, depth) = (at(&spec.lhs)?, at(&spec.rhs)?);
        let columns = (0..spec.rhs.len()).find(|&i| i != depth);
        let rows = spec.lhs.iter().filter(|l| **l != letter);
        let expected: Vec<u8> = rows.copied().chain(columns.map(|i| spec.rhs[i])).collect();
        let plain = spec.rhs.len() <= 2 && spec.out == expected && v.nodes(w, Op::Weight).next().is_some();
        plain.then_some(Product { x, w, summed, depth, columns })
    };
    sides(n).into_iter().filter_map(product).collect()
}

fn column_joins_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for own in products_with_weights(v, n) {
        for other in v.users(own.x, Op::Einsum).flat_map(|user| products_with_weights(v, user)) {
            out.extend(joined(v, &own, &other, false));
            out.extend(joined(v, &other, &own, true));
        }
    }
    out
}

/// The wide product of `wide` with the column of `narrow` behind it: the column, or the rest.
fn joined(v: View<'_>, wide: &Product, narrow: &Product, column: bool) -> Option<Term> {
    let columns = wide.columns?;
    let is_column = narrow.columns.is_none_or(|axis| v.shape(narrow.w)[axis].is(1));
    let same = v.graph.find(wide.x) == v.graph.find(narrow.x) && wide.summed == narrow.summed;
    let count = v.shape(wide.w)[columns].clone();
    if !is_column || !same || count.is(1) {
        return None;
    }
    let total = Dim::constant(v.sizing().table().value(&count)? + 1);
    let mut shape = v.shape(wide.w).to_vec();
    shape[columns] = Dim::constant(1);
    let w = [v.term(wide.w)?, v.reshape(v.term(narrow.w)?, &shape)?];
    let attrs = Attrs::new([("axis", columns.into()), ("size", (&total).into())]);
    let w = v.op(Op::Concat, w.into(), attrs)?;
    let rank = v.rank(wide.x);
    let letters = fresh(&[], rank + 1)?;
    let lhs = letters[..rank].to_vec();
    let mut rhs = vec![letters[rank]; 2];
    rhs[wide.depth] = letters[wide.summed];
    let result = lhs.iter().copied().filter(|l| *l != letters[wide.summed]).chain([letters[rank]]).collect();
    let product = v.einsum(&EinsumSpec { lhs, rhs, out: result }, v.term(wide.x)?, w)?;
    let (start, size) = if column { (count, Dim::constant(1)) } else { (Dim::constant(0), count) };
    let last = product.rank() - 1;
    let attrs = Attrs::new([
        ("axis", last.into()),
        ("size", (&size).into()),
        ("start", (&start).into()),
        ("step", 1i64.into()),
    ]);
    let part = v.op(Op::Slice, vec![product], attrs)?;
    match column && narrow.columns.is_none() {
        true => {
            let shape = part.shape()[..last].to_vec();
            v.reshape(part, &shape)
        }
        false => Some(part),
    }
}

fn scale_moves_into_combine(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (scale, sum) in [(n.arg(0), n.arg(1)), (n.arg(1), n.arg(0))] {
        for combine in v.nodes(sum, Op::Combine) {
            let weights = combine.arg(1);
            let own = v.shape(weights);
            let constant = v.uniform(scale).and_then(|value| v.constant(DType::F32, own, value));
            let by_token = repeats(v, scale).into_iter().filter(|(_, map)| *map == [0]);
            let by_token = by_token.filter_map(|(source, _)| v.broadcast(v.term(source)?, &[0], own));
            let scales: Vec<Term> = match constant {
                Some(constant) => vec![constant],
                None => by_token.collect(),
            };
            for scale in scales {
                out.extend(one(|| {
                    let weights = v.op(Op::Mul, vec![scale, v.term(weights)?], Attrs::default())?;
                    v.again(combine, vec![v.term(combine.arg(0))?, weights, v.term(combine.arg(2))?])
                }));
            }
        }
    }
    out
}
