//! Bounds on the elements of a value, where they are not NaN. Ends are 0, powers of two from 1 to
//! 128 of either sign, or infinite: a coarse scale with few steps, so that facts which improve one
//! another in a cyclic e-graph come to rest.

use moec_ir::{Attrs, DType, DimTable, Op, Type};

/// All elements lie between `low` and `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

// Ends are never NaN.
impl Eq for Range {}

/// The largest finite end.
const MOST: f64 = 128.0;

/// The least end that is not below `x`; `x` is not NaN.
fn up(x: f64) -> f64 {
    let mut step = MOST;
    match x {
        _ if x > MOST => f64::INFINITY,
        _ if x > 0.0 => {
            while step > 1.0 && step / 2.0 >= x {
                step /= 2.0;
            }
            step
        }
        _ if x > -1.0 => 0.0,
        _ => {
            while step > -x {
                step /= 2.0;
            }
            -step
        }
    }
}

impl Range {
    /// No bound.
    pub(crate) const ALL: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// The narrowest range on the scale that holds everything from `low` to `high`.
    fn new(low: f64, high: f64) -> Range {
        if low.is_nan() || high.is_nan() {
            return Range::ALL;
        }
        Range { low: -up(-low), high: up(high) }
    }

    fn union(self, other: Range) -> Range {
        Range { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// What both ranges hold. Two ranges of one value meet, unless it has no elements or all are NaN.
    pub(crate) fn meet(self, other: Range) -> Range {
        Range { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

fn product(a: Range, b: Range) -> Range {
    let ends = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
    if ends.iter().any(|x| x.is_nan()) {
        return Range::ALL;
    }
    Range::new(
        ends.iter().copied().fold(f64::INFINITY, f64::min),
        ends.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    )
}

/// The range of the result of an operation on operands with these ranges and types.
pub(crate) fn range(op: Op, args: &[(&Type, Range)], attrs: &Attrs, table: &DimTable) -> Range {
    let of = |i: usize| args.get(i).map_or(Range::ALL, |(_, range)| *range);
    let (a, b) = (of(0), of(1));
    match op {
        Op::Const => Range::new(attrs.number("value"), attrs.number("value")),
        Op::Neg => Range { low: -a.high, high: -a.low },
        Op::Abs => Range { low: 0.0, high: a.high.max(-a.low) },
        Op::Exp | Op::Sqrt | Op::Rsqrt | Op::Softplus => Range { low: 0.0, high: f64::INFINITY },
        Op::Tanh | Op::Erf => Range { low: -1.0, high: 1.0 },
        Op::Sigmoid | Op::Softmax => Range { low: 0.0, high: 1.0 },
        // No smaller than -0.28, -0.17.
        Op::Silu | Op::Gelu | Op::GeluTanh => Range { low: -1.0, high: a.high.max(0.0) },
        Op::Relu => Range { low: a.low.max(0.0), high: a.high.max(0.0) },
        // Rounding is monotone and exact at the ends, so it does not leave the range.
        Op::Add => Range::new(a.low + b.low, a.high + b.high),
        Op::Sub => Range::new(a.low - b.high, a.high - b.low),
        Op::Mul => product(a, b),
        Op::Div if a.low >= 0.0 && b.low >= 0.0 => Range { low: 0.0, high: f64::INFINITY },
        // Integers wrap.
        Op::Sum if a.low >= 0.0 && is_float(args) => Range { low: 0.0, high: f64::INFINITY },
        Op::Einsum if product(a, b).low >= 0.0 => Range { low: 0.0, high: f64::INFINITY },
        Op::Minimum => Range { low: a.low.min(b.low), high: a.high.min(b.high) },
        Op::Maximum => Range { low: a.low.max(b.low), high: a.high.max(b.high) },
        Op::Select => b.union(of(2)),
        Op::Cast => match args.first().and_then(|(ty, _)| ty.tensor()).map(|ty| ty.dtype) {
            Some(DType::Bool) => Range { low: 0.0, high: 1.0 },
            // To i32 it goes towards zero and turns NaN into 0.
            _ => a.union(Range { low: 0.0, high: 0.0 }),
        },
        Op::Pad => a.union(Range::new(attrs.number("value"), attrs.number("value"))),
        Op::Concat => args.iter().map(|(_, range)| *range).reduce(Range::union).unwrap_or(Range::ALL),
        Op::Densify => a.union(Range { low: 0.0, high: 0.0 }),
        Op::Broadcast | Op::Transpose | Op::Reshape | Op::Slice | Op::Gather | Op::TopK | Op::RouteValue => a,
        Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::TakePairs => b,
        // Of none they are infinite or NaN.
        Op::Max | Op::Min | Op::Mean
            if args.first().and_then(|(ty, _)| axis_size(ty, attrs, table)).is_some_and(|n| n > 0) =>
        {
            a
        }
        _ => Range::ALL,
    }
}

fn is_float(args: &[(&Type, Range)]) -> bool {
    args.first().and_then(|(ty, _)| ty.tensor()).is_some_and(|ty| ty.dtype.is_float())
}

/// The size, where it is known, of the axis of a value of type `ty` that `attrs` name.
pub(crate) fn axis_size(ty: &Type, attrs: &Attrs, table: &DimTable) -> Option<u64> {
    table.value(ty.tensor()?.shape.get(attrs.index("axis"))?)
}

/// Whether the result of an operation is whole numbers, given whether its operands are.
pub(crate) fn whole(op: Op, args: &[(&Type, bool)], attrs: &Attrs, ty: &Type) -> bool {
    let of = |i: usize| args.get(i).is_some_and(|(_, whole)| *whole);
    if ty.tensor().is_some_and(|ty| !ty.dtype.is_float()) {
        return true;
    }
    match op {
        Op::Const => attrs.number("value").fract() == 0.0,
        Op::Neg | Op::Abs | Op::Relu | Op::Cast | Op::Densify => of(0),
        Op::Add | Op::Sub | Op::Mul | Op::Minimum | Op::Maximum => of(0) && of(1),
        Op::Select => of(1) && of(2),
        Op::Broadcast | Op::Transpose | Op::Reshape | Op::Slice | Op::Gather | Op::TopK | Op::RouteValue => {
            of(0)
        }
        Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::TakePairs => of(1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, up};

    #[test]
    fn ends_are_rounded_outwards() {
        let table = [(0.3, 1.0), (1.0, 1.0), (1.1, 2.0), (100.0, 128.0), (129.0, f64::INFINITY), (0.0, 0.0)];
        for (x, end) in table {
            assert_eq!(up(x), end, "{x}");
        }
        for (x, end) in [(-0.3, 0.0), (-1.0, -1.0), (-1.9, -1.0), (-4.0, -4.0), (-1000.0, -128.0)] {
            assert_eq!(up(x), end, "{x}");
        }
        assert_eq!(Range::new(-3.0, 5.0), Range { low: -4.0, high: 8.0 });
        assert_eq!(Range::new(f64::NAN, 1.0), Range::ALL);
        assert_eq!(Range::new(f64::NEG_INFINITY, 2.0), Range { low: f64::NEG_INFINITY, high: 2.0 });
    }
}
