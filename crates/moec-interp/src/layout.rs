//! Operations that move elements.

use crate::eval::{Cx, Evaluated};
use crate::walk::{Lanes, strides, walk};
use crate::{InterpError, Tensor, number};

/// The elements of `x` in the order in which the result's indices meet them under `strides`, which
/// start at `offset`.
fn moved(cx: &Cx<'_>, x: &Tensor, offset: usize, strides: &[usize]) -> Evaluated {
    let mut data = cx.room()?;
    walk(&cx.shape()?, [strides], |[i]| data.push(x.data[offset + i]));
    cx.result(data)
}

pub(crate) fn broadcast(cx: &Cx<'_>) -> Evaluated {
    let x = cx.tensor(0)?;
    let mut along = vec![0; cx.shape()?.len()];
    for (&axis, stride) in cx.attrs.ints("map").iter().zip(strides(&x.shape)) {
        along[axis as usize] = stride;
    }
    moved(cx, x, 0, &along)
}

pub(crate) fn transpose(cx: &Cx<'_>) -> Evaluated {
    let x = cx.tensor(0)?;
    let source = strides(&x.shape);
    let along: Vec<usize> = cx.attrs.ints("perm").iter().map(|&axis| source[axis as usize]).collect();
    moved(cx, x, 0, &along)
}

pub(crate) fn reshape(cx: &Cx<'_>) -> Evaluated {
    let mut data = cx.room()?;
    data.extend_from_slice(&cx.tensor(0)?.data);
    cx.result(data)
}

pub(crate) fn slice(cx: &Cx<'_>) -> Evaluated {
    let x = cx.tensor(0)?;
    let mut along = strides(&x.shape);
    let offset = cx.size("start")? * along[cx.axis()];
    along[cx.axis()] *= cx.attrs.index("step");
    moved(cx, x, offset, &along)
}

pub(crate) fn pad(cx: &Cx<'_>) -> Evaluated {
    let x = cx.tensor(0)?;
    let mut data = cx.filled(number::constant(x.dtype, cx.attrs.number("value")))?;
    place(x, &mut data, Lanes::new(&cx.shape()?, cx.axis()), cx.axis(), cx.size("before")?);
    cx.result(data)
}

pub(crate) fn concat(cx: &Cx<'_>) -> Evaluated {
    let whole = Lanes::new(&cx.shape()?, cx.axis());
    let mut data = cx.filled(0.0)?;
    let mut start = 0;
    for i in 0..cx.args.len() {
        let x = cx.tensor(i)?;
        place(x, &mut data, whole, cx.axis(), start);
        start += x.shape[cx.axis()];
    }
    cx.result(data)
}

/// Copies `part` into `data` from `start` on along `axis`.
fn place(part: &Tensor, data: &mut [f64], whole: Lanes, axis: usize, start: usize) {
    let rows = Lanes::new(&part.shape, axis);
    for outer in 0..rows.outer {
        let (from, to) = (rows.at(outer, 0, 0), whole.at(outer, start, 0));
        let count = rows.size * rows.inner;
        data[to..to + count].copy_from_slice(&part.data[from..from + count]);
    }
}

/// The elements of `index` as indices below `size`.
fn indices(cx: &Cx<'_>, index: &Tensor, size: usize) -> Result<Vec<usize>, InterpError> {
    index.data.iter().map(|&i| cx.index(i, size)).collect()
}

pub(crate) fn gather(cx: &Cx<'_>) -> Evaluated {
    let (x, index) = (cx.tensor(0)?, cx.tensor(1)?);
    let axis = cx.axis();
    let along = cx.attrs.ints("along");
    let chosen = indices(cx, index, x.shape[axis])?;
    let fresh = along.iter().filter(|&&a| a < 0).count();
    let stride = strides(&x.shape);

    // The result's axes: those of `x` before `axis`, the fresh ones of `index`, the rest of `x`.
    let x_along = [&stride[..axis], &vec![0; fresh], &stride[axis + 1..]].concat();
    let mut index_along = vec![0; x_along.len()];
    let mut next_fresh = axis;
    for (&a, step) in along.iter().zip(strides(&index.shape)) {
        let place = match usize::try_from(a) {
            Ok(a) if a < axis => a,
            Ok(a) => a - 1 + fresh,
            Err(_) => {
                next_fresh += 1;
                next_fresh - 1
            }
        };
        index_along[place] = step;
    }
    let mut data = cx.room()?;
    walk(&cx.shape()?, [&x_along, &index_along], |[at, i]| data.push(x.data[at + chosen[i] * stride[axis]]));
    cx.result(data)
}

pub(crate) fn scatter_add(cx: &Cx<'_>) -> Evaluated {
    let (x, index, updates) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    let (to, from) = (Lanes::new(&x.shape, cx.axis()), Lanes::new(&updates.shape, cx.axis()));
    let mut data = cx.room()?;
    data.extend_from_slice(&x.data);
    for (i, row) in indices(cx, index, to.size)?.into_iter().enumerate() {
        for (outer, inner) in to.each() {
            let cell = &mut data[to.at(outer, row, inner)];
            *cell = number::add(x.dtype, *cell, updates.data[from.at(outer, i, inner)]);
        }
    }
    cx.result(data)
}
