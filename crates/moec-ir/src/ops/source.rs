//! Inputs, weights and constants.

use super::Infer;
use crate::{DType, Type};

pub(super) fn declared(cx: &Infer<'_>) -> Result<Type, String> {
    Ok(cx.attrs.tensor_type("type").clone().into())
}

pub(super) fn constant(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.attrs.tensor_type("type");
    let value = cx.attrs.number("value");
    match ty.dtype {
        DType::I32 if value.fract() != 0.0 || value < i32::MIN.into() || value > i32::MAX.into() => {
            Err(format!("{value} is not an i32"))
        }
        DType::U8 if value.fract() != 0.0 || !(0.0..=255.0).contains(&value) => {
            Err(format!("{value} is not a u8"))
        }
        DType::Bool if value != 0.0 && value != 1.0 => Err(format!("{value} is not a bool")),
        _ => declared(cx),
    }
}

pub(super) fn literal(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.attrs.tensor_type("type");
    let found = cx.attrs.numbers("values").len() as u64;
    let wanted = ty.elements().map_err(|e| e.to_string())?;
    if cx.dims.value(&wanted) != Some(found) {
        return Err(format!("{found} values for {ty}"));
    }
    declared(cx)
}

pub(super) fn iota(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.attrs.tensor_type("type");
    cx.axis("axis", ty.rank())?;
    if ty.dtype != DType::I32 {
        return Err(format!("{ty}, expected element type i32"));
    }
    declared(cx)
}
