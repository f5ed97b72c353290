//! Additions at computed places.

use moec_ir::{DType, Dim};
use moec_plan::{Kernel, Scalar, ScatterAdd};

use super::harness::{Builder, EDGES, Expr, at, into};

/// `out[len, h] = base[len, h]`, then `out[index[m], h] += updates[m, h]`; or with an index for
/// each column, `index[m, h]`.
fn scatter(dtype: DType, len: u64, count: u64, h: u64, by_column: bool) -> Builder {
    let mut builder = Builder::new();
    let (len, count, h) = (builder.dim("L", len), builder.dim("M", count), builder.dim("H", h));
    let shape = [len.clone(), h.clone()];
    let moved = [count.clone(), h.clone()];
    let index_shape: &[Dim] = if by_column { &moved } else { &moved[..1] };
    let index = builder.buffer("index", DType::I32, index_shape);
    let base = builder.buffer("base", dtype, &shape);
    let updates = builder.buffer("updates", dtype, &moved);
    let out = builder.buffer("out", dtype, &shape);
    let mut e = Expr::default();
    // Kernel axes: 0 the column, 1 the scattered axis or the update.
    let base = e.load(dtype, at(base, &shape, &[1, 0]));
    let index = e.load(DType::I32, at(index, index_shape, if by_column { &[1, 0] } else { &[1] }));
    let index = e.push(Scalar::InRange(index, len.clone()), DType::I32);
    let update = e.load(dtype, at(updates, &moved, &[1, 0]));
    let mut out = into(out, &shape);
    out.strides.swap(0, 1);
    let kernel = ScatterAdd { outer: vec![h], len, count, scalars: e.scalars, base, index, update, out };
    builder.step("scatter", Kernel::ScatterAdd(kernel));
    builder
}

fn with_indices(builder: &Builder, index: impl Fn(u32) -> i32) {
    let mut contents = builder.contents(11);
    for at in 0..contents[0].len() / 4 {
        contents[0][at * 4..][..4].copy_from_slice(&index(at as u32).to_le_bytes());
    }
    builder.check_on(&contents);
}

#[test]
fn rows_and_columns() {
    for dtype in [DType::F32, DType::I32] {
        for by_column in [false, true] {
            for h in EDGES.into_iter().chain([64, 70, 130]) {
                for (len, count) in [(5, 9), (1, 4), (5, 0), (0, 0), (0, 2)] {
                    let builder = scatter(dtype, len, count, h, by_column);
                    with_indices(&builder, |m| (m * 3 % 5).min(len.max(1) as u32 - 1) as i32);
                }
            }
            let builder = scatter(dtype, 5, 3, 6, by_column);
            with_indices(&builder, |m| if m == 2 { 5 } else { 0 });
            with_indices(&builder, |m| -(m as i32));
        }
    }
}

#[test]
fn one_axis_only() {
    for (len, count) in [(4u64, 7u64), (1, 0), (0, 0)] {
        let mut builder = Builder::new();
        let (len, count) = (builder.dim("L", len), builder.dim("M", count));
        let [of_len, of_count] = [[len.clone()], [count.clone()]];
        let index = builder.buffer("index", DType::I32, &of_count);
        let base = builder.buffer("base", DType::F32, &of_len);
        let updates = builder.buffer("updates", DType::F32, &of_count);
        let out = into(builder.buffer("out", DType::F32, &of_len), &of_len);
        let mut e = Expr::default();
        let base = e.load(DType::F32, at(base, &of_len, &[0]));
        let index = e.load(DType::I32, at(index, &of_count, &[0]));
        let index = e.push(Scalar::InRange(index, len.clone()), DType::I32);
        let update = e.load(DType::F32, at(updates, &of_count, &[0]));
        let outer = Vec::new();
        let kernel = ScatterAdd { outer, len, count, scalars: e.scalars, base, index, update, out };
        builder.step("scatter", Kernel::ScatterAdd(kernel));
        with_indices(&builder, |m| (m * 3 % 4) as i32);
    }
}
