//! Reductions, scans and sorts along one axis.

use super::Infer;
use crate::{DType, TensorType, Type};

/// The operand without the reduced axis.
fn reduced<'a>(cx: &'a Infer<'_>) -> Result<(&'a TensorType, TensorType), String> {
    let ty = cx.tensor(0)?;
    let mut result = ty.clone();
    result.shape.remove(cx.axis("axis", ty.rank())?);
    Ok((ty, result))
}

fn wrong(ty: &TensorType, wanted: &str) -> String {
    format!("operand is {ty}, expected {wanted}")
}

/// Sums of 16-bit floats are `f32`.
pub(super) fn sum(cx: &Infer<'_>) -> Result<Type, String> {
    let (ty, result) = reduced(cx)?;
    match ty.dtype {
        DType::F32 | DType::Bf16 | DType::F16 => Ok(result.with_dtype(DType::F32).into()),
        DType::I32 => Ok(result.into()),
        DType::U8 | DType::Bool => Err(wrong(ty, "floats or i32")),
    }
}

pub(super) fn float(cx: &Infer<'_>) -> Result<Type, String> {
    let (ty, result) = reduced(cx)?;
    if ty.dtype.is_float() { Ok(result.with_dtype(DType::F32).into()) } else { Err(wrong(ty, "floats")) }
}

pub(super) fn numeric(cx: &Infer<'_>) -> Result<Type, String> {
    let (ty, result) = reduced(cx)?;
    match ty.dtype {
        DType::F32 | DType::I32 => Ok(result.into()),
        _ => Err(wrong(ty, "f32 or i32")),
    }
}

pub(super) fn boolean(cx: &Infer<'_>) -> Result<Type, String> {
    let (ty, result) = reduced(cx)?;
    if ty.dtype == DType::Bool { Ok(result.into()) } else { Err(wrong(ty, "bool")) }
}

pub(super) fn index(cx: &Infer<'_>) -> Result<Type, String> {
    let Type::Tensor(result) = numeric(cx)? else { return Err("expected a tensor".into()) };
    Ok(result.with_dtype(DType::I32).into())
}

pub(super) fn softmax(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.expect_dtype(0, DType::F32)?;
    cx.axis("axis", ty.rank())?;
    Ok(ty.clone().into())
}

pub(super) fn cumsum(cx: &Infer<'_>) -> Result<Type, String> {
    numeric(cx)?;
    Ok(cx.tensor(0)?.clone().into())
}

pub(super) fn argsort(cx: &Infer<'_>) -> Result<Type, String> {
    numeric(cx)?;
    Ok(cx.tensor(0)?.with_dtype(DType::I32).into())
}
