//! Constants.

use crate::eval::{Cx, Evaluated};
use crate::{number, walk};

pub(crate) fn constant(cx: &Cx<'_>) -> Evaluated {
    let value = number::constant(cx.dtype()?, cx.attrs.number("value"));
    cx.result(cx.filled(value)?)
}

pub(crate) fn literal(cx: &Cx<'_>) -> Evaluated {
    let dtype = cx.dtype()?;
    let mut data = cx.room()?;
    data.extend(cx.attrs.numbers("values").iter().map(|n| number::constant(dtype, n.get())));
    cx.result(data)
}

pub(crate) fn iota(cx: &Cx<'_>) -> Evaluated {
    let shape = cx.shape()?;
    let mut ones = vec![0; shape.len()];
    ones[cx.axis()] = 1;
    let mut data = cx.room()?;
    walk::walk(&shape, [&ones], |[i]| data.push(i as f64));
    cx.result(data)
}
