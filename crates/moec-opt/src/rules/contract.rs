//! Contractions take up layout operations around them, and are selected before they are computed.

use egg::Id;
use moec_ir::{Dim, EinsumSpec, Op};

use super::{one, rules};
use crate::term::{Found, Term, View, inverse, leading};

rules! {
    /// A contraction of a transposed operand.
    contraction_of_transpose: Bit [Einsum];
    /// A transposed contraction.
    transpose_of_contraction: Bit [Transpose];
    /// A contraction of an operand that repeats along an axis that the other operand or the result
    /// has.
    contraction_of_broadcast: Bit [Einsum] if "the repeated axis is not summed over alone";
    /// A slice of a contraction contracts sliced operands.
    slice_of_contraction: Bit [Slice];
    /// Selected elements of a contraction contract selected operands.
    gather_of_contraction: Bit [Gather] if "one list of indices";
    /// A contraction whose result is split along axes of an operand contracts the split operand.
    split_of_contraction: Bit [Reshape] if "split axes belong to weights, or were merged before";
    /// A contraction whose result has axes merged contracts operands with these axes merged.
    merged_axes_of_contraction: Bit [Reshape] if "an operand has all merged axes or none";
    /// A contraction over merged axes is one over the axes that were merged.
    contraction_over_merged_axes: Reassociate [Einsum] if "the other operand is made of weights";
    /// `(x W) V = x (W V)` for weights.
    product_of_weights_first: Reassociate [Einsum] if "W and V are made of weights";
}

/// Both readings of a contraction: each operand as the left one.
pub(super) fn sides(n: Found<'_>) -> Vec<(EinsumSpec, Id, Id)> {
    let Some(spec) = n.spec() else { return Vec::new() };
    let swapped = spec.swapped();
    vec![(spec, n.arg(0), n.arg(1)), (swapped, n.arg(1), n.arg(0))]
}

fn contraction_of_transpose(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (spec, a, b) in sides(n) {
        for t in v.nodes(a, Op::Transpose) {
            let back = inverse(&t.axes("perm"));
            let lhs: Option<Vec<u8>> = back.iter().map(|&p| spec.lhs.get(p).copied()).collect();
            out.extend(one(|| {
                let spec = EinsumSpec { lhs: lhs?, ..spec.clone() };
                v.einsum(&spec, v.term(t.arg(0))?, v.term(b)?)
            }));
        }
    }
    out
}

fn transpose_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let perm = n.axes("perm");
    let mut out = Vec::new();
    for e in v.nodes(n.arg(0), Op::Einsum) {
        out.extend(one(|| {
            let spec = e.spec()?;
            let result: Option<Vec<u8>> = perm.iter().map(|&p| spec.out.get(p).copied()).collect();
            let spec = EinsumSpec { out: result?, ..spec };
            v.einsum(&spec, v.term(e.arg(0))?, v.term(e.arg(1))?)
        }));
    }
    out
}

fn contraction_of_broadcast(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (spec, a, b) in sides(n) {
        for repeated in v.nodes(a, Op::Broadcast) {
            out.extend(one(|| without_repeated_axes(v, &spec, repeated, v.term(b)?)));
        }
    }
    out
}

fn without_repeated_axes(v: View<'_>, spec: &EinsumSpec, repeated: Found<'_>, b: Term) -> Option<Term> {
    let (map, shape) = (repeated.axes("map"), repeated.dims("shape"));
    let gone = |axis: usize| {
        let letter = spec.lhs[axis];
        !map.contains(&axis) && (spec.rhs.contains(&letter) || spec.out.contains(&letter))
    };
    let kept: Vec<usize> = (0..shape.len()).filter(|&axis| !gone(axis)).collect();
    if kept.len() == shape.len() || shape.len() != spec.lhs.len() {
        return None;
    }
    let narrow: Vec<usize> = map.iter().map(|m| kept.iter().position(|k| k == m)).collect::<Option<_>>()?;
    let narrow_shape: Vec<Dim> = kept.iter().map(|&axis| shape[axis].clone()).collect();
    let x = v.broadcast(v.term(repeated.arg(0))?, &narrow, &narrow_shape)?;
    let lhs: Vec<u8> = kept.iter().map(|&axis| spec.lhs[axis]).collect();
    // Letters of the result that no operand has any more are repeated there.
    let there = |letter: &u8| lhs.contains(letter) || spec.rhs.contains(letter);
    let result: Vec<u8> = spec.out.iter().copied().filter(there).collect();
    let map: Vec<usize> = (0..spec.out.len()).filter(|&i| there(&spec.out[i])).collect();
    let full: Vec<Dim> = (spec.out.iter())
        .map(|letter| {
            let of = |letters: &[u8], shape: &[Dim]| {
                letters.iter().position(|l| l == letter).and_then(|i| shape.get(i).cloned())
            };
            of(&spec.lhs, shape).or_else(|| of(&spec.rhs, b.shape()))
        })
        .collect::<Option<_>>()?;
    let inner = EinsumSpec { lhs, rhs: spec.rhs.clone(), out: result };
    v.broadcast(v.einsum(&inner, x, b)?, &map, &full)
}

/// `e` with `change` made to each operand along the axis whose letter is that of axis `axis` of the
/// result.
fn selected<'a>(
    v: View<'a>,
    e: Found<'a>,
    axis: usize,
    change: impl Fn(Term, usize) -> Option<Term>,
) -> Option<Term> {
    let spec = e.spec()?;
    let letter = *spec.out.get(axis)?;
    let operand = |letters: &[u8], arg: Id| match letters.iter().position(|l| *l == letter) {
        Some(at) => change(v.term(arg)?, at),
        None => v.term(arg),
    };
    v.einsum(&spec, operand(&spec.lhs, e.arg(0))?, operand(&spec.rhs, e.arg(1))?)
}

fn slice_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let inner = v.nodes(n.arg(0), Op::Einsum);
    inner.filter_map(|e| selected(v, e, n.axis(), |x, at| v.along(n, vec![x], at))).collect()
}

fn gather_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    if n.axes("along") != [usize::MAX] {
        return Vec::new();
    }
    let inner = v.nodes(n.arg(0), Op::Einsum);
    let gathered = |x, at| v.along(n, vec![x, v.term(n.arg(1))?], at);
    inner.filter_map(|e| selected(v, e, n.axis(), gathered)).collect()
}

/// For a reshape from `from` to `to` that splits axes and merges none: the axes of `to` that each
/// axis of `from` becomes.
pub(super) fn parts(v: View<'_>, from: &[Dim], to: &[Dim]) -> Option<Vec<std::ops::Range<usize>>> {
    let mut start = 0;
    let mut ranges = Vec::new();
    for (i, size) in from.iter().enumerate() {
        let last = i + 1 == from.len();
        let fits = |end: &usize| {
            v.sizing().product(&to[start..*end]).as_ref() == Some(size) && (!last || *end == to.len())
        };
        let end = (start + 1..=to.len()).find(fits)?;
        ranges.push(start..end);
        start = end;
    }
    (start == to.len()).then_some(ranges)
}

/// Letters that are not in `used`.
pub(super) fn fresh(used: &[u8], count: usize) -> Option<Vec<u8>> {
    let free: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').filter(|l| !used.contains(l)).take(count).collect();
    (free.len() == count).then_some(free)
}

/// An operand with the axis of `letter` split into axes of sizes `parts` called `letters`.
fn split(
    v: View<'_>,
    (x, own): (Term, &[u8]),
    letter: u8,
    parts: &[Dim],
    letters: &[u8],
) -> Option<(Term, Vec<u8>)> {
    let Some(at) = own.iter().position(|l| *l == letter) else { return Some((x, own.to_vec())) };
    let mut shape = x.shape().to_vec();
    shape.splice(at..=at, parts.iter().cloned());
    let mut own = own.to_vec();
    own.splice(at..=at, letters.iter().copied());
    Some((v.reshape(x, &shape)?, own))
}

/// Whether axis `at` of a class was merged from axes of these sizes.
fn was_split(v: View<'_>, class: Id, at: usize, sizes: &[Dim]) -> bool {
    v.nodes(class, Op::Reshape).any(|r| {
        let from = v.shape(r.arg(0));
        let ranges = parts(v, v.shape(class), from);
        ranges.is_some_and(|ranges| ranges.get(at).is_some_and(|range| from[range.clone()] == *sizes))
    })
}

fn split_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let to = n.dims("shape");
    let Some(ranges) = parts(v, v.shape(n.arg(0)), to) else { return Vec::new() };
    let inner = v.nodes(n.arg(0), Op::Einsum);
    inner
        .filter_map(|e| {
            let mut spec = e.spec()?;
            let (mut a, mut b) = (v.term(e.arg(0))?, v.term(e.arg(1))?);
            let result = spec.out.clone();
            for (letter, range) in result.into_iter().zip(&ranges).filter(|(_, range)| range.len() > 1) {
                let sizes = &to[range.clone()];
                let free = |letters: &[u8], arg| match letters.iter().position(|l| *l == letter) {
                    Some(at) => v.fixed(arg) || was_split(v, arg, at, sizes),
                    None => true,
                };
                if !free(&e.spec()?.lhs, e.arg(0)) || !free(&e.spec()?.rhs, e.arg(1)) {
                    return None;
                }
                let letters = fresh(&[spec.lhs.as_slice(), &spec.rhs].concat(), range.len())?;
                let parts = &to[range.clone()];
                (a, spec.lhs) = split(v, (a, &spec.lhs), letter, parts, &letters)?;
                (b, spec.rhs) = split(v, (b, &spec.rhs), letter, parts, &letters)?;
                let at = spec.out.iter().position(|l| *l == letter)?;
                spec.out.splice(at..=at, letters);
            }
            v.einsum(&spec, a, b)
        })
        .collect()
}

fn merged_axes_of_contraction(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let to = n.dims("shape");
    let Some(groups) = parts(v, to, v.shape(n.arg(0))) else { return Vec::new() };
    let inner = v.nodes(n.arg(0), Op::Einsum);
    inner
        .filter_map(|e| {
            let mut spec = e.spec()?;
            let (mut a, mut b) = (v.term(e.arg(0))?, v.term(e.arg(1))?);
            let result = spec.out.clone();
            for (group, size) in groups.iter().zip(to).filter(|(group, _)| group.len() > 1) {
                let letters = &result[group.clone()];
                (a, spec.lhs) = merge(v, a, &spec.lhs, letters, size)?;
                (b, spec.rhs) = merge(v, b, &spec.rhs, letters, size)?;
                spec.out.retain(|l| !letters[1..].contains(l));
            }
            v.einsum(&spec, a, b)
        })
        .collect()
}

/// An operand with the axes of `letters` merged into the first of them, if it has them.
fn merge(v: View<'_>, x: Term, own: &[u8], letters: &[u8], size: &Dim) -> Option<(Term, Vec<u8>)> {
    let at: Vec<usize> = letters.iter().filter_map(|l| own.iter().position(|o| o == l)).collect();
    if at.is_empty() {
        return Some((x, own.to_vec()));
    }
    if at.len() < letters.len() {
        return None;
    }
    // In place where they lie side by side, else in front.
    let side_by_side = at.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let (order, first) = match side_by_side {
        true => ((0..own.len()).collect(), at[0]),
        false => (leading(&at, own.len()), 0),
    };
    let x = v.transpose(x, &order)?;
    let mut shape = x.shape().to_vec();
    shape.splice(first..first + at.len(), [size.clone()]);
    let mut merged: Vec<u8> = order.iter().map(|&axis| own[axis]).collect();
    merged.splice(first..first + at.len(), [letters[0]]);
    Some((v.reshape(x, &shape)?, merged))
}

fn contraction_over_merged_axes(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (spec, a, b) in sides(n) {
        for merged in v.nodes(a, Op::Reshape).filter(|_| v.fixed(b) && !v.fixed(a)) {
            out.extend(one(|| {
                let source = v.term(merged.arg(0))?;
                let ranges = parts(v, v.shape(a), source.shape())?;
                let (mut spec, mut b) = (spec.clone(), v.term(b)?);
                let before = spec.lhs.clone();
                let mut lhs = Vec::new();
                for (letter, range) in before.into_iter().zip(ranges) {
                    if range.len() == 1 {
                        lhs.push(letter);
                        continue;
                    }
                    if spec.out.contains(&letter) {
                        return None;
                    }
                    let used = [spec.lhs.as_slice(), &spec.rhs, &lhs].concat();
                    let letters = fresh(&used, range.len())?;
                    let parts = &source.shape()[range];
                    (b, spec.rhs) = split(v, (b, &spec.rhs), letter, parts, &letters)?;
                    lhs.extend(letters);
                }
                v.einsum(&EinsumSpec { lhs, ..spec }, source, b)
            }));
        }
    }
    out
}

fn product_of_weights_first(v: View<'_>, n: Found<'_>) -> Vec<Term> {
    let mut out = Vec::new();
    for (outer, inner, last) in sides(n) {
        for e in v.nodes(inner, Op::Einsum).filter(|_| v.fixed(last) && !v.fixed(inner)) {
            for (first, x, w) in sides(e).into_iter().filter(|(_, _, w)| v.fixed(*w)) {
                out.extend(one(|| {
                    // One alphabet: the letters of the outer contraction, and new ones for what the
                    // inner one sums over.
                    let used = [outer.lhs.as_slice(), &outer.rhs].concat();
                    let summed = first.contracted();
                    let names = fresh(&used, summed.len())?;
                    let rename = |letter: &u8| match first.out.iter().position(|l| l == letter) {
                        Some(at) => outer.lhs.get(at).copied(),
                        None => summed.iter().position(|l| l == letter).map(|at| names[at]),
                    };
                    let x_letters: Vec<u8> = first.lhs.iter().map(rename).collect::<Option<_>>()?;
                    let w_letters: Vec<u8> = first.rhs.iter().map(rename).collect::<Option<_>>()?;
                    let mut kept: Vec<u8> = Vec::new();
                    for letter in w_letters.iter().chain(&outer.rhs) {
                        let needed = x_letters.contains(letter) || outer.out.contains(letter);
                        if needed && !kept.contains(letter) {
                            kept.push(*letter);
                        }
                    }
                    let weights = EinsumSpec { lhs: w_letters, rhs: outer.rhs.clone(), out: kept.clone() };
                    let product = v.einsum(&weights, v.term(w)?, v.term(last)?)?;
                    let spec = EinsumSpec { lhs: x_letters, rhs: kept, out: outer.out.clone() };
                    v.einsum(&spec, v.term(x)?, product)
                }));
            }
        }
    }
    out
}
