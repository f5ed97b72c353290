//! Selection: routes and the masks and gates made from them.

use super::Infer;
use crate::{DType, RouteType, TensorType, Type};

pub(super) fn top_k(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    if !matches!(ty.dtype, DType::F32 | DType::I32) {
        return Err(format!("scores are {ty}, expected f32 or i32"));
    }
    let axis = cx.axis("axis", ty.rank())?;
    let k = cx.attrs.dim("k");
    if !cx.dims.at_most(k, &ty.shape[axis]) {
        return Err(format!("k = {k} is not proved to be at most {}", ty.shape[axis]));
    }
    Ok(Type::Route(RouteType { scores: ty.clone(), axis, k: k.clone() }))
}

fn route<'a>(cx: &'a Infer<'_>) -> Result<&'a RouteType, String> {
    cx.args[0].route().ok_or_else(|| format!("operand is {}, expected a route", cx.args[0]))
}

fn chosen(route: &RouteType) -> TensorType {
    let mut ty = route.scores.clone();
    ty.shape[route.axis] = route.k.clone();
    ty
}

pub(super) fn index(cx: &Infer<'_>) -> Result<Type, String> {
    Ok(chosen(route(cx)?).with_dtype(DType::I32).into())
}

pub(super) fn value(cx: &Infer<'_>) -> Result<Type, String> {
    Ok(chosen(route(cx)?).into())
}

pub(super) fn mask(cx: &Infer<'_>) -> Result<Type, String> {
    Ok(route(cx)?.scores.with_dtype(DType::Bool).into())
}

pub(super) fn one_hot(cx: &Infer<'_>) -> Result<Type, String> {
    let mut ty = cx.expect_dtype(0, DType::I32)?.with_dtype(DType::Bool);
    ty.shape.push(cx.attrs.dim("size").clone());
    Ok(ty.into())
}

pub(super) fn densify(cx: &Infer<'_>) -> Result<Type, String> {
    let values = cx.tensor(0)?;
    let index = cx.expect_dtype(1, DType::I32)?;
    if !cx.dims.same_shape(&values.shape, &index.shape) {
        return Err(format!("values {values} and indices {index} differ in shape"));
    }
    let axis = cx.axis("axis", values.rank())?;
    let mut ty = values.clone();
    ty.shape[axis] = cx.attrs.dim("size").clone();
    Ok(ty.into())
}
