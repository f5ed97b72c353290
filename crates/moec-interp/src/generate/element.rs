//! Element-wise steps.

use moec_ir::{DType, Dim, Op, TensorType};

use super::{Growth, Known, MOST, Range, Step};
use crate::number;

pub(super) const STEPS: &[Step] =
    &[function, function, arithmetic, arithmetic, quotient, integer, comparison, logic, select, cast, cast];

/// A function of one operand: where it is fed, its values, and its steepest slope there.
struct Function {
    op: Op,
    /// Least and greatest operand.
    from: [f64; 2],
    f: fn(f64) -> f64,
    slope: fn(&Range) -> f64,
    /// Its least value, where that is not at an end of the operand's range.
    least: Option<f64>,
}

const ANY: [f64; 2] = [-MOST, MOST];
const POSITIVE: [f64; 2] = [0.25, MOST];

const FUNCTIONS: &[Function] = &[
    Function { op: Op::Exp, from: [-MOST, 3.0], f: f64::exp, slope: |x| x.high.exp(), least: None },
    Function { op: Op::Exp2, from: [-MOST, 4.0], f: f64::exp2, slope: |x| x.high.exp2(), least: None },
    Function { op: Op::Log, from: POSITIVE, f: f64::ln, slope: |x| 1.0 / x.low, least: None },
    Function { op: Op::Sqrt, from: POSITIVE, f: f64::sqrt, slope: |x| 0.5 / x.low.sqrt(), least: None },
    Function { op: Op::Rsqrt, from: POSITIVE, f: rsqrt, slope: |x| 0.5 * x.low.powf(-1.5), least: None },
    Function { op: Op::Tanh, from: ANY, f: f64::tanh, slope: |_| 1.0, least: None },
    Function { op: Op::Erf, from: ANY, f: number::erf, slope: |_| 1.13, least: None },
    Function { op: Op::Sigmoid, from: ANY, f: number::sigmoid, slope: |_| 0.25, least: None },
    Function { op: Op::Silu, from: ANY, f: |x| x * number::sigmoid(x), slope: |_| 1.1, least: Some(-0.28) },
    Function { op: Op::Gelu, from: ANY, f: number::gelu, slope: |_| 1.13, least: Some(-0.18) },
    Function { op: Op::GeluTanh, from: ANY, f: number::gelu_tanh, slope: |_| 1.13, least: Some(-0.18) },
    Function { op: Op::Softplus, from: ANY, f: number::softplus, slope: |_| 1.0, least: None },
    Function { op: Op::Neg, from: ANY, f: |x| -x, slope: |_| 1.0, least: None },
    Function { op: Op::Abs, from: ANY, f: f64::abs, slope: |_| 1.0, least: Some(0.0) },
    Function { op: Op::Relu, from: ANY, f: |x| x.max(0.0), slope: |_| 1.0, least: None },
];

fn rsqrt(x: f64) -> f64 {
    1.0 / x.sqrt()
}

impl Growth {
    /// `op` of `x`, brought into the range that it needs first.
    pub(super) fn unary(&mut self, op: Op, x: Known) -> Option<Known> {
        let function = FUNCTIONS.iter().find(|function| function.op == op)?;
        let [least, most] = function.from;
        let x = match (x.range.low < least, x.range.high > most) {
            (false, false) => x,
            (true, _) => {
                let inside = self.unary(Op::Sigmoid, x)?;
                let half = self.constant_like(inside, 0.5);
                self.binary(Op::Add, inside, half)?
            }
            (false, true) => self.unary(Op::Tanh, x)?,
        };
        let ends = [(function.f)(x.range.low), (function.f)(x.range.high)];
        let mut range = Range::exact(ends[0].min(ends[1]), ends[0].max(ends[1]));
        range.low = function.least.map_or(range.low, |least| least.min(range.low));
        let only_moves = matches!(op, Op::Neg | Op::Abs | Op::Relu);
        let rounding = if only_moves { 0.0 } else { 4.0 * range.most() };
        range.error = x.range.error * (function.slope)(&x.range) + rounding;
        if !self.sane(DType::F32, &range) {
            return None;
        }
        let id = self.push(op, &[x.id], []);
        Some(self.keep(id, range))
    }

    /// `op` of two values of one type.
    pub(super) fn binary(&mut self, op: Op, x: Known, y: Known) -> Option<Known> {
        let dtype = self.ty(x).dtype;
        let (a, b) = (x.range, y.range);
        let corners = |f: fn(f64, f64) -> f64| {
            let ends = [f(a.low, b.low), f(a.low, b.high), f(a.high, b.low), f(a.high, b.high)];
            Range::exact(
                ends.into_iter().fold(f64::INFINITY, f64::min),
                ends.into_iter().fold(f64::NEG_INFINITY, f64::max),
            )
        };
        let (mut range, error) = match op {
            Op::Add => (corners(|x, y| x + y), a.error + b.error),
            Op::Sub => (corners(|x, y| x - y), a.error + b.error),
            Op::Mul => (corners(|x, y| x * y), a.error * b.most() + b.error * a.most()),
            Op::Minimum => (corners(f64::min), a.error.max(b.error)),
            Op::Maximum => (corners(f64::max), a.error.max(b.error)),
            Op::Div if b.low >= 0.25 => {
                (corners(|x, y| x / y), (a.error + b.error * a.most() / b.low) / b.low)
            }
            _ => return None,
        };
        let only_moves = matches!(op, Op::Minimum | Op::Maximum) || dtype == DType::I32;
        range.error = if only_moves { error } else { error + range.most() };
        if !self.sane(dtype, &range) {
            return None;
        }
        let id = self.push(op, &[x.id, y.id], []);
        Some(self.keep(id, range))
    }

    /// Another value of the type of `x`: of the pool, new, or broadcast from fewer axes.
    pub(super) fn partner(&mut self, x: Known) -> Known {
        let ty = self.ty(x);
        match self.rng.below(3) {
            0 => {
                let found = self.choose(|_, _, other| *other == ty);
                found.unwrap_or_else(|| self.source(ty))
            }
            1 => {
                let kept: Vec<usize> = (0..ty.rank()).filter(|_| self.rng.once_in(2)).collect();
                let part: Vec<Dim> = kept.iter().map(|&axis| ty.shape[axis].clone()).collect();
                let part = self.source(TensorType::new(ty.dtype, part));
                self.spread(part, kept, ty.shape)
            }
            _ => self.source(ty),
        }
    }

    /// `value` broadcast to `shape`, its axes becoming those of `map`.
    pub(super) fn spread(&mut self, value: Known, map: Vec<usize>, shape: Vec<Dim>) -> Known {
        let id = self.push(Op::Broadcast, &[value.id], [("map", map.into()), ("shape", shape.into())]);
        self.keep(id, value.range)
    }
}

fn function(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::F32);
    let at = g.rng.below(FUNCTIONS.len());
    g.unary(FUNCTIONS[at].op, x).map(drop)
}

fn arithmetic(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::F32);
    let y = g.partner(x);
    let op = g.rng.pick(&[Op::Add, Op::Sub, Op::Mul, Op::Mul, Op::Minimum, Op::Maximum]);
    g.binary(op, x, y).map(drop)
}

fn quotient(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::F32);
    let y = g.partner(x);
    let y = g.unary(Op::Softplus, y)?;
    let half = g.constant_like(y, 0.5);
    let y = g.binary(Op::Add, y, half)?;
    g.binary(Op::Div, x, y).map(drop)
}

fn integer(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::I32);
    if g.rng.once_in(3) {
        let op = g.rng.pick(&[Op::Neg, Op::Abs, Op::Relu]);
        let most = x.range.most();
        let id = g.push(op, &[x.id], []);
        g.keep(id, Range::exact(-most, most));
        return Some(());
    }
    let y = g.partner(x);
    let op = g.rng.pick(&[Op::Add, Op::Sub, Op::Mul, Op::Minimum, Op::Maximum, Op::FloorDiv, Op::Mod]);
    if !matches!(op, Op::FloorDiv | Op::Mod) {
        return g.binary(op, x, y).map(drop);
    }
    // By 0 the first is 0 and the second is the dividend; else a remainder is below its divisor.
    let most = x.range.most().max(if op == Op::Mod { y.range.most() } else { 0.0 });
    let y = if g.rng.once_in(2) { y } else { g.constant_like(y, 4.0) };
    let id = g.push(op, &[x.id, y.id], []);
    g.keep(id, Range::exact(-most, most));
    Some(())
}

fn comparison(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::I32]);
    let x = g.any_comparable(dtype);
    let y = Some(g.partner(x)).filter(|&y| g.comparable(y))?;
    let op = g.rng.pick(&[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]);
    let id = g.push(op, &[x.id, y.id], []);
    g.keep(id, Range::exact(0.0, 1.0));
    Some(())
}

fn logic(g: &mut Growth) -> Option<()> {
    let x = g.any(DType::Bool);
    let op = g.rng.pick(&[Op::And, Op::Or, Op::Not]);
    let id = if op == Op::Not {
        g.push(op, &[x.id], [])
    } else {
        let y = g.partner(x);
        g.push(op, &[x.id, y.id], [])
    };
    g.keep(id, Range::exact(0.0, 1.0));
    Some(())
}

fn select(g: &mut Growth) -> Option<()> {
    let dtype = g.rng.pick(&[DType::F32, DType::F32, DType::I32, DType::Bf16, DType::U8]);
    let x = g.any(dtype);
    let y = g.partner(x);
    let shape = g.ty(x).shape;
    let wanted = TensorType::new(DType::Bool, shape);
    let found = g.choose(|_, _, ty| *ty == wanted);
    let condition = found.unwrap_or_else(|| g.source(wanted));
    let id = g.push(Op::Select, &[condition.id, x.id, y.id], []);
    g.keep(id, x.range.join(&y.range));
    Some(())
}

fn cast(g: &mut Growth) -> Option<()> {
    let from = g.rng.pick(&DType::ALL);
    let to = g.rng.pick(&DType::ALL);
    let x = g.any_comparable(from);
    let range = match to {
        DType::Bool => Range::exact(0.0, 1.0),
        DType::U8 => Range::exact(x.range.low.clamp(0.0, 255.0), x.range.high.clamp(0.0, 255.0)),
        // Rounding may pass the ends, by less than a part in 256.
        _ => Range::exact(x.range.low - x.range.most() / 256.0, x.range.high + x.range.most() / 256.0),
    };
    if !g.sane(to, &range) {
        return None;
    }
    let id = g.push(Op::Cast, &[x.id], [("to", to.into())]);
    let error = if to == DType::F32 { x.range.error } else { 0.0 };
    g.keep(id, Range { error, ..range });
    Some(())
}
