//! Contractions.

use super::{Infer, Work};
use crate::{DType, Dim, EinsumSpec, TensorType, Type};

/// The specification in attribute `spec`, which must be canonical.
pub(super) fn spec(cx: &Infer<'_>) -> Result<EinsumSpec, String> {
    let text = cx.attrs.str("spec");
    let spec = EinsumSpec::parse(text)?;
    let canonical = spec.canonical();
    if canonical != spec || canonical.to_string() != text {
        return Err(format!("spec = {text:?} is not canonical, expected {:?}", canonical.to_string()));
    }
    Ok(spec)
}

/// The size of each letter, given operands; one letter has one size.
pub(super) fn letter_sizes(cx: &Infer<'_>, operands: &[(&[u8], &[Dim])]) -> Result<Vec<(u8, Dim)>, String> {
    let mut sizes: Vec<(u8, Dim)> = Vec::new();
    for (letters, shape) in operands {
        if letters.len() != shape.len() {
            return Err(format!("{} letters for an operand with {} axes", letters.len(), shape.len()));
        }
        for (&letter, size) in letters.iter().zip(*shape) {
            match sizes.iter().find(|(l, _)| *l == letter) {
                Some((_, known)) => {
                    cx.expect_same(&format!("axis `{}`", char::from(letter)), known, size)?;
                }
                None => sizes.push((letter, size.clone())),
            }
        }
    }
    Ok(sizes)
}

/// The shape with these letters.
pub(super) fn shape_of(letters: &[u8], sizes: &[(u8, Dim)]) -> Vec<Dim> {
    letters.iter().filter_map(|l| sizes.iter().find(|(s, _)| s == l)).map(|(_, d)| d.clone()).collect()
}

pub(super) fn einsum(cx: &Infer<'_>) -> Result<Type, String> {
    let spec = spec(cx)?;
    let (lhs, rhs) = (cx.expect_float(0)?, cx.expect_float(1)?);
    let sizes = letter_sizes(cx, &[(&spec.lhs, &lhs.shape), (&spec.rhs, &rhs.shape)])?;
    Ok(TensorType::new(DType::F32, shape_of(&spec.out, &sizes)).into())
}

/// A multiply and an add for every combination of letters.
pub(super) fn flops(work: &Work<'_>) -> f64 {
    let Ok(spec) = EinsumSpec::parse(work.attrs.str("spec")) else { return 0.0 };
    let mut seen: Vec<u8> = Vec::new();
    let mut total = 2.0;
    for (letters, ty) in [(&spec.lhs, work.args[0]), (&spec.rhs, work.args[1])] {
        for (letter, dim) in letters.iter().zip(ty.dims()) {
            if !seen.contains(letter) {
                seen.push(*letter);
                total *= (work.size)(dim);
            }
        }
    }
    total
}
