//! Random well-typed programs and data for them, to hold one implementation of the IR against
//! another.
//!
//! A program is grown from sources by random steps, each of which adds one operation or a small
//! fragment; every value is kept with the range of its elements and a bound on what `f32` rounding
//! may have done to it. Steps that could leave the sane range ([`MOST`] in magnitude) or amplify
//! rounding beyond about 3e-5 of it are not taken, so that an implementation in `f32` may be compared with the
//! interpreter under one tolerance for all programs.
//!
//! Operations that are not continuous (comparisons, sorting, selection, casts to narrower types)
//! are fed only with values that `f32` holds exactly, such as inputs, or with monotone functions of
//! `scores` inputs, whose elements all differ by 1e-3 or so. [`Options::discontinuous`] lifts this.
//!
//! Axes of run-time size are not reduced by operations that have no value for none (`max`, `mean`,
//! `argmax`), so that `T = 0` is a fair test. Constant sizes are 0, 1, odd, even and 17.

mod contract;
mod element;
mod inputs;
mod layout;
mod moe;
mod reduce;
mod rng;

use std::sync::Arc;

use moec_ir::{Attr, Builder, DType, Dim, DimExpr, DimKind, Module, Number, Op, Sizes, TensorType, ValueId};

pub use inputs::inputs;
pub use rng::Rng;

/// What programs to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many random steps to take.
    pub steps: usize,
    /// Whether computed, hence rounded, values may be compared, sorted, selected from and cast to
    /// narrower types. Then results in `f32` may differ from the interpreter's altogether.
    pub discontinuous: bool,
    /// Whether to add mixtures of experts among the steps.
    pub moe: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 12, discontinuous: false, moe: true }
    }
}

/// The largest value of the run-time size `T` for which ranges hold.
pub const MAX_TOKENS: u64 = 32;

/// No float of a generated program is larger in magnitude, whatever the data.
pub const MOST: f64 = 1024.0;

/// The random program of this seed. Its only run-time size is `T`, at most [`MAX_TOKENS`]; every
/// result that nothing uses is an output. The names of its inputs tell [`inputs`] what to fill in.
///
/// # Panics
/// On a bug of the generator.
pub fn module(seed: u64, options: &Options) -> Module {
    let mut growth = Growth::new(seed, options.clone());
    let mut taken = 0;
    // A step is refused when nothing suits it, which another one mends.
    for _ in 0..options.steps * 20 {
        if taken == options.steps {
            break;
        }
        let moe = options.moe && growth.rng.once_in(6);
        let step = if moe { growth.rng.pick(moe::STEPS) } else { growth.random_step() };
        taken += usize::from(step(&mut growth).is_some());
    }
    growth.finish()
}

/// Adds to the program, unless nothing there suits.
type Step = fn(&mut Growth) -> Option<()>;

/// What is known of the elements of a value.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
    /// How far a result in `f32` may be off, in units of 2^-24; 0 if `f32` holds it exactly.
    error: f64,
}

impl Range {
    fn exact(low: f64, high: f64) -> Range {
        Range { low, high, error: 0.0 }
    }

    /// The largest magnitude.
    fn most(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// The least range around both.
    fn join(&self, other: &Range) -> Range {
        Range {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            error: self.error.max(other.error),
        }
    }
}

/// A tensor of the program.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: ValueId,
    range: Range,
}

/// A program that grows.
struct Growth {
    builder: Builder,
    rng: Rng,
    options: Options,
    pool: Vec<Known>,
    /// Values of all sizes, with `T` at its largest.
    largest: Sizes,
    names: usize,
}

impl Growth {
    fn new(seed: u64, options: Options) -> Growth {
        let mut rng = Rng::new(seed);
        let mut builder = Builder::new(Module::new("random"));
        let h = rng.pick(&[1, 3, 8, 17]);
        let tokens = Dim::symbol("T");
        let padded = DimExpr::Add(Box::new(DimExpr::Dim(tokens)), Box::new(DimExpr::Dim(2.into())));
        let dims = [
            ("T", DimKind::Runtime),
            ("H", DimKind::Sized(h)),
            // What `pad` makes of an axis of size T.
            ("P", DimKind::Derived(padded)),
        ];
        for (name, kind) in dims {
            builder.dims_mut().declare(name, kind).expect("the names are new");
        }
        let largest = builder.module().dims.bind(&[("T".into(), MAX_TOKENS)].into());
        let largest = largest.expect("every size has a value");
        Growth { builder, rng, options, pool: Vec::new(), largest, names: 0 }
    }

    fn random_step(&mut self) -> Step {
        let families = [element::STEPS, layout::STEPS, reduce::STEPS, contract::STEPS];
        let family = self.rng.pick(&families);
        self.rng.pick(family)
    }

    fn finish(mut self) -> Module {
        let nodes = &self.builder.module().nodes;
        let mut used = vec![false; nodes.len()];
        nodes.iter().flat_map(|node| &node.args).for_each(|arg| used[arg.index()] = true);
        let free: Vec<ValueId> = (self.builder.module().iter())
            .filter(|(id, node)| !used[id.index()] && node.ty.tensor().is_some())
            .map(|(id, _)| id)
            .collect();
        for (i, id) in free.into_iter().enumerate() {
            self.builder.output(&format!("y{i}"), id).expect("outputs are tensors with new names");
        }
        self.builder.finish()
    }

    fn push<const N: usize>(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: [(&'static str, Attr); N],
    ) -> ValueId {
        match self.builder.op(op, args, attrs) {
            Ok(id) => id,
            Err(error) => panic!("the generator made an ill-typed operation: {error}"),
        }
    }

    /// Adds a tensor that later steps may use.
    fn keep(&mut self, id: ValueId, range: Range) -> Known {
        let known = Known { id, range };
        self.pool.push(known);
        known
    }

    fn ty(&self, value: Known) -> TensorType {
        self.builder.tensor(value.id).clone()
    }

    /// The largest value of a size.
    fn largest(&self, dim: &Dim) -> usize {
        dim.eval(&self.largest).map_or(usize::MAX, |n| n as usize)
    }

    /// The value of a size that does not depend on the run.
    fn constant(&self, dim: &Dim) -> Option<usize> {
        self.builder.module().dims.value(dim).map(|n| n as usize)
    }

    /// Whether a tensor of this shape is small enough for a quick test.
    fn small(&self, shape: &[Dim]) -> bool {
        shape.iter().map(|d| self.largest(d)).product::<usize>() <= 4096
    }

    /// Whether values of this range may go on in the program.
    fn sane(&self, dtype: DType, range: &Range) -> bool {
        match dtype {
            DType::I32 | DType::U8 | DType::Bool => range.most() <= 1e6,
            _ => range.most() <= MOST && range.error <= 500.0 * range.most().max(1.0),
        }
    }

    /// Whether the value may be fed to an operation that is not continuous.
    fn comparable(&self, value: Known) -> bool {
        value.range.error == 0.0 || self.options.discontinuous
    }

    /// A value of the pool that suits, rather a young one.
    fn choose(&mut self, suits: impl Fn(&Growth, Known, &TensorType) -> bool) -> Option<Known> {
        let found: Vec<Known> =
            self.pool.iter().copied().filter(|&k| suits(self, k, self.builder.tensor(k.id))).collect();
        if found.is_empty() {
            return None;
        }
        let at = self.rng.below(found.len()).max(self.rng.below(found.len()));
        Some(found[at])
    }

    /// A value of this element type: one of the pool, or a new source.
    fn any(&mut self, dtype: DType) -> Known {
        if !self.rng.once_in(4)
            && let Some(known) = self.choose(|_, _, ty| ty.dtype == dtype)
        {
            return known;
        }
        let shape = self.shape();
        self.source(TensorType::new(dtype, shape))
    }

    /// A value of this element type that operations that are not continuous may have.
    fn any_comparable(&mut self, dtype: DType) -> Known {
        if !self.rng.once_in(4)
            && let Some(known) = self.choose(|g, k, ty| ty.dtype == dtype && g.comparable(k))
        {
            return known;
        }
        let shape = self.shape();
        self.source(TensorType::new(dtype, shape))
    }

    /// A random axis of `value` of a constant size of at least `least`, with this size.
    fn constant_axis(&mut self, value: Known, least: usize) -> Option<(usize, usize)> {
        let shape = self.ty(value).shape;
        let sizes = shape.iter().enumerate().map(|(i, d)| self.constant(d).map(|n| (i, n)));
        let axes: Vec<(usize, usize)> = sizes.flatten().filter(|(_, n)| *n >= least).collect();
        if axes.is_empty() { None } else { Some(self.rng.pick(&axes)) }
    }

    /// A random axis of `value`, whatever its size.
    fn axis(&mut self, value: Known) -> Option<usize> {
        let rank = self.ty(value).rank();
        if rank == 0 { None } else { Some(self.rng.below(rank)) }
    }

    fn dim(&mut self) -> Dim {
        match self.rng.below(24) {
            0 => Dim::constant(0),
            1..8 => Dim::symbol("T"),
            8..12 => Dim::symbol("H"),
            _ => Dim::constant(self.rng.pick(&[1, 2, 3, 4, 5, 8, 17])),
        }
    }

    /// A shape of up to three axes, `T` at most once.
    fn shape(&mut self) -> Vec<Dim> {
        let mut shape: Vec<Dim> = Vec::new();
        for _ in 0..self.rng.pick(&[0, 1, 2, 2, 2, 3]) {
            let dim = self.dim();
            let twice = self.constant(&dim).is_none() && shape.contains(&dim);
            shape.push(if twice { Dim::constant(3) } else { dim });
        }
        while !self.small(&shape) {
            shape.pop();
        }
        shape
    }

    fn name(&mut self, kind: &str) -> Attr {
        self.names += 1;
        format!("{kind}_{}", self.names).into()
    }

    /// A new input or weight.
    fn declared(&mut self, kind: &str, ty: TensorType, range: Range) -> Known {
        let name = self.name(kind);
        let fixed = ty.shape.iter().all(|d| self.constant(d).is_some());
        let id = if fixed && self.rng.once_in(2) {
            self.push(Op::Weight, &[], [("from", name.clone()), ("name", name), ("type", ty.into())])
        } else {
            self.push(Op::Input, &[], [("name", name), ("type", ty.into())])
        };
        self.keep(id, range)
    }

    /// A new value of this type: an input, a weight or a constant, held exactly in `f32`.
    fn source(&mut self, ty: TensorType) -> Known {
        if self.rng.once_in(5) {
            return self.constants(ty);
        }
        match ty.dtype {
            DType::Bool => self.declared("flags", ty, Range::exact(0.0, 1.0)),
            DType::I32 => {
                let limit = 1 + self.rng.below(9);
                self.indices(ty, limit)
            }
            DType::U8 => self.indices(ty, 256),
            _ if self.rng.once_in(4) => self.declared("scores", ty, Range::exact(-2.0, 2.0)),
            _ => self.declared("x", ty, Range::exact(-1.0, 1.0)),
        }
    }

    /// Integers below `limit`.
    fn indices(&mut self, ty: TensorType, limit: usize) -> Known {
        self.declared(&format!("below{limit}"), ty, Range::exact(0.0, limit as f64 - 1.0))
    }

    /// An element of a constant; for floats a multiple of 1/8, which every float type holds.
    fn element(&mut self, dtype: DType) -> f64 {
        match dtype {
            DType::Bool => self.rng.below(2) as f64,
            DType::I32 | DType::U8 => self.rng.below(7) as f64,
            _ => self.rng.below(17) as f64 / 8.0 - 1.0,
        }
    }

    /// A constant, a literal or an iota.
    fn constants(&mut self, ty: TensorType) -> Known {
        let sizes: Option<Vec<usize>> = ty.shape.iter().map(|d| self.constant(d)).collect();
        let count = sizes.map(|sizes| sizes.into_iter().product::<usize>());
        let range = match ty.dtype {
            DType::Bool => Range::exact(0.0, 1.0),
            DType::I32 | DType::U8 => Range::exact(0.0, 6.0),
            _ => Range::exact(-1.0, 1.0),
        };
        if let Some(count) = count.filter(|&n| n <= 40) {
            let values: Arc<[Number]> = (0..count).map(|_| Number::new(self.element(ty.dtype))).collect();
            let id = self.push(Op::Literal, &[], [("type", ty.into()), ("values", Attr::Numbers(values))]);
            return self.keep(id, range);
        }
        if ty.dtype == DType::I32 && ty.rank() > 0 && self.rng.once_in(2) {
            let axis = self.rng.below(ty.rank());
            let range = Range::exact(0.0, self.largest(&ty.shape[axis]) as f64);
            let id = self.push(Op::Iota, &[], [("axis", axis.into()), ("type", ty.into())]);
            return self.keep(id, range);
        }
        let value = self.element(ty.dtype);
        let id = self.push(Op::Const, &[], [("type", ty.into()), ("value", value.into())]);
        self.keep(id, Range::exact(value, value))
    }

    /// The constant `value` in the shape of `like`.
    fn constant_like(&mut self, like: Known, value: f64) -> Known {
        let ty = self.ty(like);
        let id = self.push(Op::Const, &[], [("type", ty.into()), ("value", value.into())]);
        self.keep(id, Range::exact(value, value))
    }
}
