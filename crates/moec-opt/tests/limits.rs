//! Programs of a size that nobody writes by hand: they optimise, and the report says whether a limit
//! was hit.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use moec_interp::{generate, run};
use moec_ir::{Attrs, Builder, Dim, DimKind, Module, Op, Sizes, TensorType, ValueId};
use moec_opt::{Limits, Options, Report, optimize};

/// A program under construction: rows of `width` elements, experts without a hidden layer.
struct Draft {
    builder: Builder,
    weights: usize,
}

const WIDTH: u64 = 3;
const EXPERTS: u64 = 2;

impl Draft {
    fn new() -> (Draft, ValueId) {
        let mut builder = Builder::new(Module::new("large"));
        builder.dims_mut().declare("T", DimKind::Runtime).unwrap();
        let mut draft = Draft { builder, weights: 0 };
        let shape = vec![Dim::symbol("T"), WIDTH.into()];
        let x = draft.source(Op::Input, "x", shape);
        (draft, x)
    }

    fn source(&mut self, op: Op, name: &str, shape: Vec<Dim>) -> ValueId {
        let ty = TensorType::new(moec_ir::DType::F32, shape);
        let mut attrs = vec![("name", name.into()), ("type", ty.into())];
        if op == Op::Weight {
            attrs.push(("from", name.into()));
        }
        self.builder.push(op, &[], Attrs::new(attrs)).unwrap()
    }

    fn weight(&mut self, shape: &[u64]) -> ValueId {
        self.weights += 1;
        let name = format!("w{}", self.weights);
        self.source(Op::Weight, &name, shape.iter().map(|&n| n.into()).collect())
    }

    fn einsum(&mut self, a: ValueId, b: ValueId, spec: &str) -> ValueId {
        self.builder.op(Op::Einsum, &[a, b], [("spec", spec.into())]).unwrap()
    }

    /// `[experts, T, width]` of the rows of `x`.
    fn experts(&mut self, x: ValueId) -> ValueId {
        let w = self.weight(&[EXPERTS, WIDTH, WIDTH]);
        self.einsum(x, w, "ab,cdb->cad")
    }

    /// A top-1 mixture of `of`, `[count, T, width]`, with a gate on `x`.
    fn mixture(&mut self, x: ValueId, of: ValueId) -> ValueId {
        let count = self.builder.tensor(of).shape[0].as_const().unwrap();
        let router = self.weight(&[count, WIDTH]);
        let logits = self.einsum(x, router, "ab,cb->ac");
        let b = &mut self.builder;
        let scores = b.op(Op::Softmax, &[logits], [("axis", 1usize.into())]).unwrap();
        let attrs = [("axis", 1usize.into()), ("k", Dim::constant(1).into()), ("largest", true.into())];
        let route = b.op(Op::TopK, &[scores], attrs).unwrap();
        let mask = b.op(Op::RouteMask, &[route], []).unwrap();
        let ty = b.tensor(scores).clone();
        let zero = b.op(Op::Const, &[], [("value", 0.0.into()), ("type", ty.into())]).unwrap();
        let gate = b.op(Op::Select, &[mask, scores, zero], []).unwrap();
        let shape = b.tensor(of).shape.clone();
        let attrs = [("map", vec![1usize, 0].into()), ("shape", shape.into())];
        let gate = b.op(Op::Broadcast, &[gate], attrs).unwrap();
        let weighted = b.op(Op::Mul, &[gate, of], []).unwrap();
        b.op(Op::Sum, &[weighted], [("axis", 0usize.into())]).unwrap()
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.builder.op(Op::Add, &[a, b], []).unwrap()
    }

    fn finish(mut self, y: ValueId) -> Module {
        self.builder.output("y", y).unwrap();
        self.builder.finish()
    }
}

/// At least `nodes` operations: layers with a mixture each, one after the other.
fn long(nodes: usize) -> Module {
    let (mut draft, mut x) = Draft::new();
    while draft.builder.module().nodes.len() < nodes {
        let experts = draft.experts(x);
        let y = draft.mixture(x, experts);
        x = draft.add(x, y);
    }
    draft.finish(x)
}

/// A mixture whose last expert is a mixture whose last expert is ..., `levels` deep.
fn nested(levels: usize) -> Module {
    let (mut draft, x) = Draft::new();
    let experts = draft.experts(x);
    let mut y = draft.mixture(x, experts);
    for _ in 1..levels {
        let experts = draft.experts(x);
        let shape = vec![1.into(), Dim::symbol("T"), WIDTH.into()];
        let below = draft.builder.op(Op::Reshape, &[y], [("shape", shape.into())]).unwrap();
        let attrs = [("axis", 0usize.into()), ("size", Dim::constant(EXPERTS + 1).into())];
        let all = draft.builder.op(Op::Concat, &[experts, below], attrs).unwrap();
        y = draft.mixture(x, all);
    }
    draft.finish(y)
}

/// The report, if the optimised program computes the same.
fn checked(module: &Module, options: &Options) -> Report {
    let optimized = optimize(module, options).unwrap();
    let sizes: Sizes = [("T".into(), 2)].into();
    let inputs = generate::inputs(module, &sizes, 5).unwrap();
    let [a, b] = [module, &optimized.module].map(|m| run(m, &sizes, &inputs).unwrap().remove(0).1);
    let scale = a.data.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
    for (x, y) in a.data.iter().zip(&b.data) {
        assert!((x - y).abs() / scale < 1e-9, "{x} {y}");
    }
    optimized.report
}

#[test]
fn large_programs_optimise_and_report_their_limits() {
    for (name, module) in [("long", long(2_000)), ("nested", nested(64))] {
        let report = checked(&module, &Options::default());
        assert_eq!((report.limit, &report.fallback), (None, &None), "{name}");
        assert!(report.seconds_after() <= report.seconds_before(), "{name}");
        // Limits in the middle: what was found until then counts.
        for (limits, hit) in [
            (Limits { nodes: report.nodes - 100, iterations: 40 }, "nodes"),
            (Limits { nodes: 50_000, iterations: 1 }, "iterations"),
        ] {
            let cut = checked(&module, &Options { limits, ..Options::default() });
            assert_eq!((cut.limit, &cut.fallback), (Some(hit), &None), "{name}");
            assert!(cut.seconds_after() <= cut.seconds_before(), "{name}");
        }
    }
}
