//! Whole modules: every target, the same bytes every time, plans that break a guarantee.

use moec_ir::{DType, Dim, Op};
use moec_plan::{Kernel, Map, Pack, Reduce, ReduceOp, RowKind, RowOp, ScatterAdd};

use super::harness::{Builder, Expr, at, into, number};
use super::pack::panels;
use crate::element_loop::targets_by_family;
use crate::{CodeKind, CodegenError, Target, compile_object};

/// One step of each kind, in no meaningful connection, and a map for each of `ops`.
fn every_kernel(target: &Target, ops: &[Op]) -> Builder {
    let mut builder = Builder::on(target);
    let (t, h) = (builder.dim("T", 3), builder.dim("H", 20));
    let shape = [t.clone(), h.clone()];
    let x = builder.buffer("x", DType::F32, &shape);
    let y = builder.buffer("y", DType::F32, &shape);
    let order = builder.buffer("order", DType::I32, &shape);
    let total = builder.buffer("total", DType::F32, &[]);
    for &op in ops {
        let mut e = Expr::default();
        let value = e.load(DType::F32, at(x, &shape, &[0, 1]));
        let value = e.apply(op, &[value]);
        let kernel = Map { shape: shape.to_vec(), scalars: e.scalars, value, out: into(y, &shape) };
        builder.step("map", Kernel::Map(kernel));
    }
    let mut e = Expr::default();
    let value = e.load(DType::F32, at(x, std::slice::from_ref(&h), &[0]));
    let out = into(total, &[]);
    let (shape1, len) = (Vec::new(), h.clone());
    let kernel = Reduce { shape: shape1, len, op: ReduceOp::Mean, scalars: e.scalars, value, out };
    builder.step("mean", Kernel::Reduce(kernel));
    let kinds = [
        (RowKind::Softmax, y),
        (RowKind::Cumsum { exclusive: true }, y),
        (RowKind::Argsort { descending: true }, order),
    ];
    for (kind, out) in kinds {
        let mut e = Expr::default();
        let value = e.load(DType::F32, at(x, &shape, &[0, 1]));
        let out = vec![into(out, &shape)];
        let (outer, len) = (vec![t.clone()], h.clone());
        let kernel = RowOp { shape: outer, len, kind, scalars: e.scalars, value, out };
        builder.step("row", Kernel::Row(kernel));
    }
    let mut e = Expr::default();
    let base = e.load(DType::F32, at(x, &shape, &[0, 1]));
    let index = e.constant(DType::I32, 1.0);
    let out = into(y, &shape);
    let (outer, len, count) = (vec![t.clone()], h.clone(), h.clone());
    let scalars = e.scalars;
    let kernel = ScatterAdd { outer, len, count, scalars, base, index, update: base, out };
    builder.step("scatter", Kernel::ScatterAdd(kernel));
    let out = panels(&mut builder, DType::F32, &number(1), &t, &h);
    let source = at(x, &shape, &[0, 1]);
    let kernel = Pack { groups: Vec::new(), n: vec![t], k: vec![h], source, parts: None, out };
    builder.step("pack", Kernel::Pack(kernel));
    builder
}

#[test]
fn every_target_gives_the_same_bytes_every_time() {
    for name in crate::TARGET_NAMES {
        let target = Target::named(name, CodeKind::Object).unwrap();
        let (routed, _) = super::product::example(&target);
        let everything = every_kernel(&target, &[Op::Silu, Op::Gelu, Op::GeluTanh, Op::Log, Op::Erf]);
        for plan in [everything.plan, routed.plan] {
            let (bytes, listings) = compile_object(&plan, &target, true).unwrap();
            let (again, texts) = compile_object(&plan, &target, true).unwrap();
            assert_eq!(bytes, again, "{name}");
            assert_eq!(listings, texts, "{name}");
            let names: Vec<&str> = listings.iter().map(|listing| listing.name.as_str()).collect();
            assert!(names.ends_with(&["test_run"]) && names.contains(&"test_load"), "{names:?}");
            assert!(listings.iter().all(|l| !l.clif.is_empty() && !l.assembly.is_empty()));
        }
    }
}

#[test]
fn every_family_runs_every_kernel() {
    for target in targets_by_family() {
        let builder = every_kernel(&target, &[Op::Silu, Op::Tanh, Op::Softplus]);
        builder.check_on(&builder.contents(8));
        let (routed, contents) = super::product::example(&target);
        routed.check_on(&contents);
    }
}

#[test]
fn a_plan_that_breaks_a_guarantee_is_refused() {
    let target = Target::host(CodeKind::Object).unwrap();
    let refusal = |builder: Builder| match compile_object(&builder.plan, &target, false) {
        Err(CodegenError::Function { function, reason }) => format!("{function}: {reason}"),
        other => panic!("{other:?}"),
    };
    let mut builder = Builder::new();
    let x = builder.buffer("x", DType::F32, &[]);
    let mut e = Expr::default();
    let value = e.load(DType::F32, at(x, &[number(4)], &[3]));
    let kernel = Map { shape: vec![number(4)], scalars: e.scalars, value, out: into(x, &[number(4)]) };
    builder.step("lost", Kernel::Map(kernel));
    assert_eq!(refusal(builder), "test.run0.lost: scalar 0 depends on an axis that its kernel has not");

    let mut builder = Builder::new();
    let x = builder.buffer("x", DType::F32, &[]);
    let unknown = [Dim::symbol("Q")];
    let mut e = Expr::default();
    let value = e.load(DType::F32, at(x, &unknown, &[0]));
    let kernel = Map { shape: unknown.to_vec(), scalars: e.scalars, value, out: into(x, &unknown) };
    builder.step("unknown", Kernel::Map(kernel));
    assert_eq!(refusal(builder), "test.run0.unknown: the dim Q is not declared");

    let mut builder = Builder::new();
    let panels = target.panels();
    builder.plan.panels.columns = 8;
    let found = builder.plan.panels;
    assert_eq!(refusal(builder), format!("test: the plan has {found:?}, the target's tiles {panels:?}"));
}
