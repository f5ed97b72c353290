//! Element-wise operations. All operands have one shape; broadcasting is an operation of its own.

use super::Infer;
use crate::{DType, TensorType, Type};

/// The common type of all operands.
fn common<'a>(cx: &'a Infer<'_>) -> Result<&'a TensorType, String> {
    let first = cx.tensor(0)?;
    for i in 1..cx.args.len() {
        let other = cx.tensor(i)?;
        if other.dtype != first.dtype || !cx.dims.same_shape(&first.shape, &other.shape) {
            return Err(format!("operands {first} and {other} differ"));
        }
    }
    Ok(first)
}

pub(super) fn numeric(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = common(cx)?;
    match ty.dtype {
        DType::F32 | DType::I32 => Ok(ty.clone().into()),
        _ => Err(format!("operands are {ty}, expected f32 or i32")),
    }
}

pub(super) fn float(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = common(cx)?;
    match ty.dtype {
        DType::F32 => Ok(ty.clone().into()),
        _ => Err(format!("operands are {ty}, expected f32")),
    }
}

pub(super) fn integer(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = common(cx)?;
    match ty.dtype {
        DType::I32 => Ok(ty.clone().into()),
        _ => Err(format!("operands are {ty}, expected i32")),
    }
}

pub(super) fn boolean(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = common(cx)?;
    match ty.dtype {
        DType::Bool => Ok(ty.clone().into()),
        _ => Err(format!("operands are {ty}, expected bool")),
    }
}

pub(super) fn comparison(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = common(cx)?;
    match ty.dtype {
        DType::F32 | DType::I32 => Ok(ty.with_dtype(DType::Bool).into()),
        _ => Err(format!("operands are {ty}, expected f32 or i32")),
    }
}

pub(super) fn select(cx: &Infer<'_>) -> Result<Type, String> {
    let condition = cx.expect_dtype(0, DType::Bool)?;
    let (yes, no) = (cx.tensor(1)?, cx.tensor(2)?);
    if yes.dtype != no.dtype || !cx.dims.same_shape(&yes.shape, &no.shape) {
        return Err(format!("branches {yes} and {no} differ"));
    }
    if !cx.dims.same_shape(&condition.shape, &yes.shape) {
        return Err(format!("condition {condition} and branch {yes} differ in shape"));
    }
    Ok(yes.clone().into())
}

pub(super) fn cast(cx: &Infer<'_>) -> Result<Type, String> {
    Ok(cx.tensor(0)?.with_dtype(cx.attrs.dtype("to")).into())
}
