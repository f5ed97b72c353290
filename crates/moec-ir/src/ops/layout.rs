//! Operations that move elements and compute none.

use super::Infer;
use crate::{DType, Dim, TensorType, Type};

/// `list` as axes of a tensor with `rank` axes, each at most once.
fn axes(name: &str, list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let axes: Vec<usize> = list.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect();
    let distinct = (0..axes.len()).all(|i| !axes[..i].contains(&axes[i]));
    if distinct && axes.iter().all(|&a| a < rank) {
        return Ok(axes);
    }
    Err(format!("{name} = {list:?} does not name axes of a tensor with {rank}, each at most once"))
}

pub(super) fn broadcast(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let shape = cx.attrs.dims("shape");
    let map = axes("map", cx.attrs.ints("map"), shape.len())?;
    if map.len() != ty.rank() {
        return Err(format!("map = {map:?} for an operand {ty}"));
    }
    for (size, &axis) in ty.shape.iter().zip(&map) {
        cx.expect_same("operand and result axis", size, &shape[axis])?;
    }
    Ok(TensorType::new(ty.dtype, shape).into())
}

pub(super) fn transpose(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let perm = axes("perm", cx.attrs.ints("perm"), ty.rank())?;
    if perm.len() != ty.rank() {
        return Err(format!("perm = {perm:?} for an operand {ty}"));
    }
    let shape: Vec<Dim> = perm.iter().map(|&axis| ty.shape[axis].clone()).collect();
    Ok(TensorType::new(ty.dtype, shape).into())
}

pub(super) fn reshape(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let result = TensorType::new(ty.dtype, cx.attrs.dims("shape"));
    let count = |ty: &TensorType| ty.elements().map_err(|e| e.to_string());
    cx.expect_same("element counts", &count(ty)?, &count(&result)?)?;
    Ok(result.into())
}

/// `ty` with axis `axis` of size `size`.
fn resized(ty: &TensorType, axis: usize, size: &Dim) -> Type {
    let mut result = ty.clone();
    result.shape[axis] = size.clone();
    result.into()
}

pub(super) fn slice(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let axis = cx.axis("axis", ty.rank())?;
    let (start, size, step) = (cx.attrs.dim("start"), cx.attrs.dim("size"), cx.attrs.int("step"));
    let whole = &ty.shape[axis];
    if step < 1 {
        return Err(format!("step = {step}, expected at least 1"));
    }
    if !cx.dims.within(start, size, step as u64, whole) {
        return Err(format!("{size} elements from {start} by {step} are not proved to lie in {whole}"));
    }
    Ok(resized(ty, axis, size))
}

pub(super) fn pad(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let axis = cx.axis("axis", ty.rank())?;
    let (before, after) = (cx.attrs.dim("before"), cx.attrs.dim("after"));
    let parts: Vec<Dim> =
        [before, &ty.shape[axis], after].into_iter().filter(|d| !d.is(0)).cloned().collect();
    sized_by_parts(cx, ty, axis, &parts)
}

pub(super) fn concat(cx: &Infer<'_>) -> Result<Type, String> {
    let first = cx.tensor(0)?;
    let axis = cx.axis("axis", first.rank())?;
    let mut parts = Vec::new();
    for i in 0..cx.args.len() {
        let ty = cx.tensor(i)?;
        let mut aligned = ty.shape.clone();
        if ty.rank() == first.rank() {
            aligned[axis] = first.shape[axis].clone();
        }
        if ty.dtype != first.dtype || !cx.dims.same_shape(&aligned, &first.shape) {
            return Err(format!("operands {first} and {ty} differ in more than axis {axis}"));
        }
        parts.push(ty.shape[axis].clone());
    }
    sized_by_parts(cx, first, axis, &parts)
}

fn sized_by_parts(cx: &Infer<'_>, ty: &TensorType, axis: usize, parts: &[Dim]) -> Result<Type, String> {
    let size = cx.attrs.dim("size");
    if !cx.dims.adds_up(parts, size) {
        let parts: Vec<String> = parts.iter().map(Dim::to_string).collect();
        return Err(format!("{} is not proved to be {size}", parts.join(" + ")));
    }
    Ok(resized(ty, axis, size))
}

pub(super) fn gather(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let index = cx.expect_dtype(1, DType::I32)?;
    let axis = cx.axis("axis", ty.rank())?;
    let along = cx.attrs.ints("along");
    if along.len() != index.rank() {
        return Err(format!("along = {along:?} for indices {index}"));
    }
    let aligned: Vec<i64> = along.iter().copied().filter(|&a| a != -1).collect();
    if axes("along", &aligned, ty.rank())?.contains(&axis) {
        return Err(format!("along = {along:?} holds the gathered axis {axis}"));
    }
    let mut new = Vec::new();
    for (size, &axis) in index.shape.iter().zip(along) {
        match usize::try_from(axis) {
            Ok(axis) => cx.expect_same("index and operand axis", size, &ty.shape[axis])?,
            Err(_) => new.push(size.clone()),
        }
    }
    let shape = [&ty.shape[..axis], &new, &ty.shape[axis + 1..]].concat();
    Ok(TensorType::new(ty.dtype, shape).into())
}

pub(super) fn scatter_add(cx: &Infer<'_>) -> Result<Type, String> {
    let ty = cx.tensor(0)?;
    let index = cx.expect_dtype(1, DType::I32)?;
    let updates = cx.tensor(2)?;
    let axis = cx.axis("axis", ty.rank())?;
    if !matches!(ty.dtype, DType::F32 | DType::I32) || updates.dtype != ty.dtype {
        return Err(format!("{updates} into {ty}, expected f32 or i32 on both sides"));
    }
    let [count] = index.shape.as_slice() else {
        return Err(format!("indices {index}, expected one axis"));
    };
    let mut wanted = ty.shape.clone();
    wanted[axis] = count.clone();
    if !cx.dims.same_shape(&updates.shape, &wanted) {
        return Err(format!("updates {updates}, expected {}", TensorType::new(ty.dtype, wanted)));
    }
    Ok(ty.clone().into())
}
