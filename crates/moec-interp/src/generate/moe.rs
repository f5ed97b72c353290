//! Mixtures of experts in the dense forms that sources have.

use moec_ir::{DType, Dim, Op, TensorType};

use super::{Growth, Known, Range, Step};

pub(super) const STEPS: &[Step] = &[mixture];

/// `y[t] = sum over e of gate[t, e] * expert_e(x[t])`, with a gate and a body of random form.
fn mixture(g: &mut Growth) -> Option<()> {
    let t = Dim::symbol("T");
    let experts = g.rng.pick(&[1, 3, 4, 8]);
    let k = 1 + g.rng.below(experts.min(3));
    let e = Dim::constant(experts as u64);
    let h = Dim::constant(g.rng.pick(&[1, 3, 8, 17]));
    let f = Dim::constant(g.rng.pick(&[2, 5, 17]));
    let x = g.declared("x", TensorType::new(DType::F32, [t.clone(), h.clone()]), Range::exact(-1.0, 1.0));

    let mut scores = scores(g, &t, &e, x)?;
    scores = match g.rng.below(3) {
        0 => g.softmax(scores, 1)?,
        1 => g.unary(Op::Sigmoid, scores)?,
        _ => scores,
    };
    let gate = gate(g, scores, k, &e)?;
    // Experts last or first, as `[T, E, F]` or `[E, T, F]`.
    let last = g.rng.once_in(2);
    let up = g.matrix(vec![e.clone(), f.clone(), h.clone()]);
    let into = if last { "th,efh->tef" } else { "th,efh->etf" };
    let mut body = g.einsum(into, x, up)?;
    if g.rng.once_in(2) {
        let bias = g.source(TensorType::new(DType::F32, [e.clone(), f.clone()]));
        let shape = g.ty(body).shape;
        let bias = g.spread(bias, if last { vec![1, 2] } else { vec![0, 2] }, shape);
        body = g.binary(Op::Add, body, bias)?;
    }
    let activation = g.rng.pick(&[Op::Silu, Op::Gelu, Op::Relu, Op::Tanh]);
    let mut inner = g.unary(activation, body)?;
    if g.rng.once_in(2) {
        let other = g.matrix(vec![e.clone(), f.clone(), h.clone()]);
        let other = g.einsum(into, x, other)?;
        let other = g.unary(Op::Tanh, other)?;
        inner = g.binary(Op::Mul, inner, other)?;
    }
    if g.rng.once_in(2) {
        let down = g.matrix(vec![e.clone(), h.clone(), f.clone()]);
        inner = g.einsum(if last { "tef,ehf->teh" } else { "etf,ehf->eth" }, inner, down)?;
    }
    if g.rng.once_in(2) {
        return g.einsum(if last { "te,tef->tf" } else { "te,etf->tf" }, gate, inner).map(drop);
    }
    // The same as a product with the spread gate, summed over experts.
    let shape = g.ty(inner).shape;
    let gate = g.spread(gate, if last { vec![0, 1] } else { vec![1, 0] }, shape);
    let terms = g.binary(Op::Mul, inner, gate)?;
    let range = g.sum_range(DType::F32, &terms.range, experts)?;
    g.along(Op::Sum, terms, usize::from(last), range);
    Some(())
}

/// `f32[T, E]`: an input, or computed by a router if that is allowed.
fn scores(g: &mut Growth, t: &Dim, e: &Dim, x: Known) -> Option<Known> {
    if g.options.discontinuous && g.rng.once_in(2) {
        let h = g.ty(x).shape[1].clone();
        let router = g.matrix(vec![e.clone(), h]);
        return g.einsum("th,eh->te", x, router);
    }
    let ty = TensorType::new(DType::F32, [t.clone(), e.clone()]);
    Some(g.declared("scores", ty, Range::exact(-2.0, 2.0)))
}

/// The gate `f32[T, E]` that is zero outside the `k` best scores.
fn gate(g: &mut Growth, scores: Known, k: usize, e: &Dim) -> Option<Known> {
    let k = Dim::constant(k as u64);
    let attrs = [("axis", 1usize.into()), ("k", (&k).into()), ("largest", true.into())];
    let route = g.push(Op::TopK, &[scores.id], attrs);
    let zero = g.constant_like(scores, 0.0);
    let kept = scores.range.join(&zero.range);
    let gate = match g.rng.below(3) {
        0 => {
            let mask = g.push(Op::RouteMask, &[route], []);
            let gate = g.push(Op::Select, &[mask, scores.id, zero.id], []);
            g.keep(gate, kept)
        }
        form => {
            let index = g.push(Op::RouteIndex, &[route], []);
            let value = g.push(Op::RouteValue, &[route], []);
            let mut value = g.keep(value, scores.range);
            if g.rng.once_in(2) {
                value = g.softmax(value, 1)?;
            }
            if form == 1 {
                let attrs = [("axis", 1usize.into()), ("size", e.into())];
                let gate = g.push(Op::Densify, &[value.id, index], attrs);
                g.keep(gate, value.range.join(&zero.range))
            } else {
                let hot = g.push(Op::OneHot, &[index], [("size", e.into())]);
                let hot = g.push(Op::Cast, &[hot], [("to", DType::F32.into())]);
                let hot = g.keep(hot, Range::exact(0.0, 1.0));
                g.einsum("tk,tke->te", value, hot)?
            }
        }
    };
    if g.rng.once_in(2) || gate.range.low < 0.0 {
        return Some(gate);
    }
    // Divided by its sum, kept away from zero as some models do.
    let sum = g.sum_range(DType::F32, &gate.range, g.largest(e))?;
    let sum = g.along(Op::Sum, gate, 1, sum);
    let half = g.constant_like(sum, 0.5);
    let sum = g.binary(Op::Add, sum, half)?;
    let shape = g.ty(gate).shape;
    let sum = g.spread(sum, vec![0], shape);
    g.binary(Op::Div, gate, sum)
}
