//! Reductions.

use moec_ir::{DType, Dim, Op};
use moec_plan::{Index, Kernel, Load, Reduce, ReduceOp, Scalar};

use super::harness::{Builder, EDGES, Expr, at, into, number};

const OPS: [(ReduceOp, DType); 11] = [
    (ReduceOp::Sum, DType::F32),
    (ReduceOp::Sum, DType::I32),
    (ReduceOp::Mean, DType::F32),
    (ReduceOp::Max, DType::F32),
    (ReduceOp::Max, DType::I32),
    (ReduceOp::Min, DType::F32),
    (ReduceOp::Min, DType::I32),
    (ReduceOp::Any, DType::Bool),
    (ReduceOp::All, DType::Bool),
    (ReduceOp::Argmax, DType::F32),
    (ReduceOp::Argmax, DType::I32),
];

fn result(op: ReduceOp, dtype: DType) -> DType {
    if op == ReduceOp::Argmax { DType::I32 } else { dtype }
}

/// Reduces axis `axis` of an array of shape `[a, b]` or `[a, len, b]`.
fn reduce(op: ReduceOp, dtype: DType, sizes: &[u64], axis: usize, constant: bool) -> Builder {
    let mut builder = Builder::new();
    let dims: Vec<Dim> = sizes
        .iter()
        .enumerate()
        .map(|(i, &n)| if constant { number(n) } else { builder.dim(&format!("D{i}"), n) })
        .collect();
    let mut shape = dims.clone();
    let len = shape.remove(axis);
    let rank = shape.len();
    // Kernel axes: those of the result, then the reduced one.
    let axes: Vec<usize> =
        (0..dims.len()).map(|i| if i == axis { rank } else { i - usize::from(i > axis) }).collect();
    let x = builder.buffer("x", dtype, &dims);
    let out = builder.buffer("out", result(op, dtype), &shape);
    let mut e = Expr::default();
    let value = e.load(dtype, at(x, &dims, &axes));
    let kernel = Reduce { out: into(out, &shape), shape, len, op, scalars: e.scalars, value };
    builder.step("reduce", Kernel::Reduce(kernel));
    builder
}

#[test]
fn every_operation_along_and_across() {
    for (op, dtype) in OPS {
        for n in EDGES {
            reduce(op, dtype, &[n], 0, false).check();
            reduce(op, dtype, &[3, n], 1, false).check();
            reduce(op, dtype, &[n, 5], 0, false).check();
        }
    }
}

#[test]
fn shapes() {
    for constant in [false, true] {
        for n in EDGES {
            for m in [0, 1, 4, 19, 37] {
                reduce(ReduceOp::Sum, DType::F32, &[2, n, m], 1, constant).check();
                reduce(ReduceOp::Mean, DType::F32, &[2, m, n], 2, constant).check();
                reduce(ReduceOp::Any, DType::Bool, &[n, 2, m], 0, constant).check();
            }
        }
    }
}

#[test]
fn nan_and_infinity() {
    for (op, dtype) in OPS.into_iter().filter(|(_, dtype)| *dtype == DType::F32) {
        for axis in [0, 1] {
            for n in [4, 7] {
                let builder = reduce(op, dtype, &[n, n], axis, false);
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for place in [0, 3, 4 * n as usize - 4, n as usize + 2] {
                        let mut contents = builder.contents(1);
                        contents[0][place * 4..place * 4 + 4].copy_from_slice(&value.to_le_bytes());
                        builder.check_on(&contents);
                    }
                    let all: Vec<u8> = (0..n * n).flat_map(|_| value.to_le_bytes()).collect();
                    let out = builder.contents(1)[1].clone();
                    builder.check_on(&[all, out]);
                }
            }
        }
    }
}

#[test]
fn sums_in_the_order_of_the_contract() {
    for n in [5u64, 16, 19] {
        let builder = reduce(ReduceOp::Sum, DType::F32, &[n], 0, false);
        let contents = builder.contents(9);
        let xs: Vec<f32> = contents[0].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut lanes = [0.0f32; 4];
        for (r, x) in xs.iter().enumerate() {
            lanes[r % 4] += x;
        }
        let wanted = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
        assert_eq!(builder.run_on(&contents)[1], wanted.to_le_bytes());

        let builder = reduce(ReduceOp::Sum, DType::F32, &[n, 6], 0, false);
        let contents = builder.contents(9);
        let x =
            |r: usize, j: usize| f32::from_le_bytes(contents[0][(r * 6 + j) * 4..][..4].try_into().unwrap());
        let sums: Vec<u8> =
            (0..6).flat_map(|j| (0..n as usize).fold(0.0f32, |sum, r| sum + x(r, j)).to_le_bytes()).collect();
        assert_eq!(builder.run_on(&contents)[1], sums);
    }
}

/// `y[t, h] = sum over s of w[t, s] * v[rows[t, s], h]`, as combine does it.
#[test]
fn combine() {
    for (t, s, h) in [(0, 2, 5), (1, 1, 16), (5, 3, 17), (17, 2, 4), (3, 4, 35), (3, 0, 5)] {
        let mut builder = Builder::new();
        let (t, s, h) = (builder.dim("T", t), builder.dim("S", s), builder.dim("H", h));
        let total = t.times(&s).unwrap();
        let pairs = [t.clone(), s.clone()];
        let w = builder.buffer("w", DType::F32, &pairs);
        let rows = builder.buffer("rows", DType::I32, &pairs);
        let v = builder.buffer("v", DType::F32, &[total.clone(), h.clone()]);
        let out = builder.buffer("out", DType::F32, &[t.clone(), h.clone()]);
        let mut e = Expr::default();
        let w = e.load(DType::F32, at(w, &pairs, &[0, 2]));
        let row = e.load(DType::I32, at(rows, &pairs, &[0, 2]));
        let row = e.push(Scalar::InRange(row, total), DType::I32);
        let terms = vec![(Index::Value(row), h.clone()), (Index::Axis(1), number(1))];
        let v = e.load(DType::F32, Load { buffer: v, offset: Vec::new(), terms });
        let value = e.apply(Op::Mul, &[w, v]);
        let shape = vec![t, h];
        let out = into(out, &shape);
        let kernel = Reduce { shape, len: s, op: ReduceOp::Sum, scalars: e.scalars, value, out };
        builder.step("combine", Kernel::Reduce(kernel));
        let mut contents = builder.contents(5);
        let count = (contents[1].len() / 4) as u32;
        for at in 0..count {
            let row = (at * 7 + 3) % count;
            contents[1][at as usize * 4..][..4].copy_from_slice(&row.to_le_bytes());
        }
        builder.check_on(&contents);
    }
}
