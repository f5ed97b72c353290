//! Operations on rows.

use moec_ir::{DType, Op};
use moec_plan::{Kernel, RowKind, RowOp};

use super::harness::{Builder, EDGES, Expr, at, into, number};

/// A row operation on `[a, len]`, over the last axis or the first.
fn row(kind: RowKind, dtype: DType, a: u64, len: u64, first: bool) -> Builder {
    let mut builder = Builder::new();
    let (a, len) = (builder.dim("A", a), builder.dim("L", len));
    let width = match &kind {
        RowKind::TopK { k, .. } => {
            if k.as_const().is_none() {
                builder.dim("K", 2);
            }
            k.clone()
        }
        _ => len.clone(),
    };
    let out_type = match kind {
        RowKind::Softmax | RowKind::Cumsum { .. } => dtype,
        RowKind::Argsort { .. } | RowKind::TopK { .. } => DType::I32,
    };
    let shape = if first { [len.clone(), a.clone()] } else { [a.clone(), len.clone()] };
    let x = builder.buffer("x", dtype, &shape);
    let result = if first { [width, a.clone()] } else { [a.clone(), width] };
    let mut out = vec![into(builder.buffer("out", out_type, &result), &result)];
    if matches!(kind, RowKind::TopK { .. }) {
        out.push(into(builder.buffer("values", dtype, &result), &result));
    }
    if first {
        for store in &mut out {
            store.strides.swap(0, 1);
        }
    }
    let mut e = Expr::default();
    let x = e.load(dtype, at(x, &shape, if first { &[1, 0] } else { &[0, 1] }));
    let value = if dtype == DType::F32 { e.apply(Op::Neg, &[x]) } else { x };
    let kernel = RowOp { shape: vec![a], len, kind, scalars: e.scalars, value, out };
    builder.step("row", Kernel::Row(kernel));
    builder
}

fn kinds() -> Vec<(RowKind, DType)> {
    let mut kinds = vec![(RowKind::Softmax, DType::F32)];
    for dtype in [DType::F32, DType::I32] {
        for flag in [false, true] {
            kinds.push((RowKind::Cumsum { exclusive: flag }, dtype));
            kinds.push((RowKind::Argsort { descending: flag }, dtype));
        }
    }
    kinds
}

#[test]
fn softmax_cumsum_argsort() {
    for (kind, dtype) in kinds() {
        for len in EDGES.into_iter().chain([33, 100]) {
            for a in [0, 1, 3] {
                row(kind.clone(), dtype, a, len, false).check();
                row(kind.clone(), dtype, a, len, true).check();
            }
        }
    }
}

#[test]
fn top_k_few_and_many() {
    for dtype in [DType::F32, DType::I32] {
        for largest in [false, true] {
            for (len, k) in
                [(0, 0), (1, 0), (1, 1), (3, 2), (4, 4), (5, 1), (16, 8), (17, 17), (100, 40), (64, 8)]
            {
                for first in [false, true] {
                    row(RowKind::TopK { k: number(k), largest }, dtype, 3, len, first).check();
                }
            }
            row(RowKind::TopK { k: moec_ir::Dim::symbol("K"), largest }, dtype, 3, 9, false).check();
        }
    }
}

#[test]
fn ties_zeros_and_nan() {
    let line = [0.0, -0.0, f32::NAN, 1.0, f32::INFINITY, 1.0, -f32::NAN, f32::NEG_INFINITY, 0.0, -1.0, -0.0];
    let top = |largest| RowKind::TopK { k: number(11), largest };
    let kinds = [
        RowKind::Argsort { descending: false },
        RowKind::Argsort { descending: true },
        top(false),
        top(true),
    ];
    for kind in kinds {
        let builder = row(kind, DType::F32, 1, 11, false);
        for turn in 0..11 {
            let mut contents = builder.contents(1);
            let bytes: Vec<u8> = (0..11).flat_map(|i| line[(i + turn) % 11].to_le_bytes()).collect();
            contents[0].copy_from_slice(&bytes);
            builder.check_on(&contents);
        }
    }
}
