//! Element-wise operations.

use moec_ir::DType;

use crate::eval::{Cx, Evaluated};
use crate::number::round_to;

/// A function of one operand, with its form on `i32`.
pub(crate) fn unary(cx: &Cx<'_>, float: fn(f64) -> f64, int: fn(i32) -> i32) -> Evaluated {
    let x = cx.tensor(0)?;
    let mut data = cx.room()?;
    match x.dtype {
        DType::I32 => data.extend(x.data.iter().map(|&x| f64::from(int(x as i32)))),
        _ => data.extend(x.data.iter().map(|&x| float(x))),
    }
    cx.result(data)
}

/// A function of one operand that is not `i32`.
pub(crate) fn float(cx: &Cx<'_>, f: fn(f64) -> f64) -> Evaluated {
    unary(cx, f, |x| x)
}

/// A function of two operands, with its form on `i32`.
pub(crate) fn binary(cx: &Cx<'_>, float: fn(f64, f64) -> f64, int: fn(i32, i32) -> i32) -> Evaluated {
    let (x, y) = (cx.tensor(0)?, cx.tensor(1)?);
    let pairs = x.data.iter().zip(&y.data);
    let mut data = cx.room()?;
    match x.dtype {
        DType::I32 => data.extend(pairs.map(|(&x, &y)| f64::from(int(x as i32, y as i32)))),
        _ => data.extend(pairs.map(|(&x, &y)| float(x, y))),
    }
    cx.result(data)
}

/// A truth value from two operands.
pub(crate) fn compare(cx: &Cx<'_>, holds: fn(f64, f64) -> bool) -> Evaluated {
    let (x, y) = (cx.tensor(0)?, cx.tensor(1)?);
    let mut data = cx.room()?;
    data.extend(x.data.iter().zip(&y.data).map(|(&x, &y)| f64::from(holds(x, y))));
    cx.result(data)
}

pub(crate) fn select(cx: &Cx<'_>) -> Evaluated {
    let (condition, yes, no) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    let branches = yes.data.iter().zip(&no.data);
    let mut data = cx.room()?;
    data.extend(condition.data.iter().zip(branches).map(|(&c, (&x, &y))| if c != 0.0 { x } else { y }));
    cx.result(data)
}

pub(crate) fn cast(cx: &Cx<'_>) -> Evaluated {
    let x = cx.tensor(0)?;
    let to = cx.dtype()?;
    let mut data = cx.room()?;
    if to == x.dtype {
        data.extend_from_slice(&x.data);
    } else {
        data.extend(x.data.iter().map(|&x| round_to(to, x)));
    }
    cx.result(data)
}
