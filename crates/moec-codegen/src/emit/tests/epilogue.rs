//! Epilogues of products: what a column gives must not depend on whether its panel is full, where a whole row
//! may be computed at once, or a part, where it never is.

use moec_ir::{DType, Dim, Op};
use moec_plan::{Groups, Kernel, Lhs, Load, PackedWeight, Product, RowIndex, Scalar, ScalarId, Store};

use super::harness::{Builder, Expr, at, number};
use super::pack::panels;
use crate::Target;
use crate::element_loop::targets_by_family;

const ROWS: u64 = 5;
const DEPTH: u64 = 3;
/// Columns of the last panel, which repeat the first ones of the first panel.
const PART: u64 = 7;
/// Rows of the matrix of elements that an epilogue may load from.
const MANY: u64 = 44;

/// What an epilogue can be made of. Columns are those of the result.
struct Parts<'e> {
    e: &'e mut Expr,
    gate: ScalarId,
    up: ScalarId,
    columns: Vec<(DType, ScalarId)>,
    /// An f32 and a truth value for each row.
    of_row: [ScalarId; 2],
    /// An f32 for each row and column, at the place of the result.
    residual: ScalarId,
    /// f32 by column, many of them, of which none is loaded yet.
    many: Vec<Load>,
}

impl Parts<'_> {
    fn column(&self, dtype: DType) -> ScalarId {
        self.columns.iter().find(|(other, _)| *other == dtype).unwrap().1
    }

    fn many(&mut self, count: usize) -> Vec<ScalarId> {
        let loads = self.many[..count].to_vec();
        loads.into_iter().map(|load| self.e.load(DType::F32, load)).collect()
    }
}

type Epilogue<'a> = dyn Fn(&mut Parts<'_>) -> ScalarId + 'a;

/// A product with two weights and that epilogue, and the contents of its buffers, of which the first is
/// the result. Everything in the last panel is what it is in the first.
fn product(target: &Target, out: DType, epilogue: &Epilogue<'_>) -> (Builder, Vec<Vec<u8>>) {
    let mut builder = Builder::on(target);
    let whole = target.panels().columns;
    let count = whole + PART;
    let [m, n, k, one] =
        [("M", ROWS), ("N", count), ("K", DEPTH), ("G", 1)].map(|(name, value)| builder.dim(name, value));
    let by_column: [Dim; 1] = [n.clone()];
    let by_both = [m.clone(), n.clone()];
    let result = builder.buffer("out", out, &by_both);
    let weights: Vec<PackedWeight> = (0..2).map(|_| panels(&mut builder, DType::F32, &one, &n, &k)).collect();
    let mut e = Expr::default();
    let [gate, up] = [0, 1].map(|i| e.push(Scalar::Accumulator(i), DType::F32));
    let types = [DType::F32, DType::Bf16, DType::F16, DType::I32, DType::U8, DType::Bool];
    let columns: Vec<_> = types.map(|dtype| (dtype, builder.buffer("column", dtype, &by_column))).into();
    let many = builder.buffer("many", DType::F32, &[number(MANY), n.clone()]);
    let of_row = [DType::F32, DType::Bool].map(|dtype| {
        let buffer = builder.buffer("of_row", dtype, std::slice::from_ref(&m));
        e.load(dtype, at(buffer, std::slice::from_ref(&m), &[0]))
    });
    let lhs = builder.buffer("lhs", DType::F32, &[m.clone(), k.clone()]);
    let loads = columns.iter().map(|(dtype, buffer)| (*dtype, e.load(*dtype, at(*buffer, &by_column, &[1]))));
    let columns: Vec<_> = loads.collect();
    let residual = e.load(out, at(result, &by_both, &[0, 1]));
    let many = (0..MANY).map(|row| {
        let offset = n.times(&number(row)).unwrap();
        Load { offset: vec![offset], ..at(many, &by_column, &[1]) }
    });
    let mut parts = Parts { e: &mut e, gate, up, columns, of_row, residual, many: many.collect() };
    let value = epilogue(&mut parts);
    let lhs =
        Lhs { buffer: lhs, offset: Vec::new(), group_stride: number(0), row_stride: k, row: RowIndex::Row };
    let out = Store { buffer: result, offset: Vec::new(), strides: vec![n, number(1), number(0)] };
    let groups = Groups::Batch { count: one, rows: m };
    let kernel = Product { groups, lhs, weights, cold: None, scalars: e.scalars, value, out };
    builder.step("product", Kernel::Product(kernel));
    let mut contents = builder.contents(11);
    for (buffer, bytes) in builder.plan.buffers.iter().zip(&mut contents) {
        let element = buffer.dtype.bytes();
        match buffer.name.as_str() {
            "panels" => {
                let half = bytes.len() / 2;
                bytes.copy_within(..half, half);
            }
            "out" | "column" | "many" => {
                for row in bytes.chunks_mut(count as usize * element) {
                    row.copy_within(..PART as usize * element, whole as usize * element);
                }
            }
            _ => {}
        }
    }
    (builder, contents)
}

fn check(out: DType, epilogue: &Epilogue<'_>) {
    for target in targets_by_family() {
        let (builder, contents) = product(&target, out, epilogue);
        builder.check_on(&contents);
        let found = &builder.run_on(&contents)[0];
        let (whole, part) = (target.panels().columns as usize * out.bytes(), PART as usize * out.bytes());
        for row in found.chunks(whole + part) {
            assert_eq!(row[..part], row[whole..], "in a full panel and in a part of one");
        }
    }
}

#[test]
fn results_of_every_type() {
    check(DType::F32, &|p| {
        let gate = p.e.apply(Op::Silu, &[p.gate]);
        let product = p.e.apply(Op::Mul, &[gate, p.up]);
        p.e.apply(Op::Add, &[product, p.residual])
    });
    for dtype in [DType::Bf16, DType::F16] {
        check(dtype, &|p| {
            let gate = p.e.apply(Op::Tanh, &[p.gate]);
            let product = p.e.apply(Op::Mul, &[gate, p.up]);
            p.e.cast(dtype, product)
        });
        // Rounded when it is stored.
        check(dtype, &|p| p.e.apply(Op::Mul, &[p.column(dtype), p.residual]));
        check(dtype, &|p| {
            let product = p.e.apply(Op::Mul, &[p.column(dtype), p.residual]);
            p.e.cast(dtype, product)
        });
        check(dtype, &|p| p.column(dtype));
        check(dtype, &|p| {
            let row = p.e.cast(dtype, p.of_row[0]);
            let other = p.e.constant(dtype, 0.1);
            p.e.apply(Op::Mul, &[row, other])
        });
    }
    check(DType::I32, &|p| {
        let wide = p.e.cast(DType::I32, p.column(DType::U8));
        let product = p.e.apply(Op::Mul, &[wide, p.column(DType::I32)]);
        p.e.apply(Op::Sub, &[product, p.residual])
    });
    check(DType::I32, &|p| p.e.cast(DType::I32, p.gate));
    check(DType::U8, &|p| p.e.apply(Op::Select, &[p.of_row[1], p.column(DType::U8), p.residual]));
    check(DType::U8, &|p| p.e.cast(DType::U8, p.gate));
    check(DType::Bool, &|p| p.e.apply(Op::Lt, &[p.gate, p.up]));
}

#[test]
fn truth_values_of_rows_and_columns() {
    check(DType::F32, &|p| p.e.apply(Op::Select, &[p.of_row[1], p.gate, p.up]));
    check(DType::F32, &|p| p.e.apply(Op::Select, &[p.column(DType::Bool), p.gate, p.up]));
    check(DType::F32, &|p| {
        let less = p.e.apply(Op::Lt, &[p.gate, p.up]);
        let both = p.e.apply(Op::And, &[less, p.of_row[1]]);
        let not = p.e.apply(Op::Not, &[both]);
        let never = p.e.constant(DType::Bool, 0.0);
        let either = p.e.apply(Op::Or, &[never, not]);
        let number = p.e.cast(DType::F32, either);
        let chosen = p.e.apply(Op::Select, &[either, p.gate, p.column(DType::F32)]);
        p.e.apply(Op::Add, &[number, chosen])
    });
    check(DType::F32, &|p| {
        let differ = p.e.apply(Op::Ne, &[p.column(DType::I32), p.column(DType::I32)]);
        let number = p.e.cast(DType::I32, differ);
        p.e.cast(DType::F32, number)
    });
}

/// As many values and masks at a time as there are registers, one fewer, and more.
#[test]
fn values_at_a_time_around_the_number_of_registers() {
    for count in [1, 26, 28, 29, 30, 31, 32, 33, MANY as usize - 1] {
        check(DType::F32, &|p| {
            let loads = p.many(count);
            let products: Vec<_> =
                (0..count).map(|i| p.e.apply(Op::Mul, &[loads[i], loads[(i + 1) % count]])).collect();
            let scaled: Vec<_> = products
                .iter()
                .enumerate()
                .map(|(i, x)| {
                    let factor = p.e.constant(DType::F32, 1.0 / (i + 3) as f64);
                    p.e.apply(Op::Mul, &[*x, factor])
                })
                .collect();
            let sum = scaled.iter().rev().fold(p.gate, |sum, x| p.e.apply(Op::Add, &[sum, *x]));
            p.e.apply(Op::Mul, &[sum, p.of_row[0]])
        });
    }
    for count in [1, 5, 6, 7, 8, 9] {
        check(DType::F32, &|p| {
            let loads = p.many(count);
            let masks: Vec<_> = loads.iter().map(|x| p.e.apply(Op::Lt, &[*x, p.gate])).collect();
            let mut value = p.up;
            for (mask, x) in masks.iter().zip(&loads).rev() {
                let other = p.e.apply(Op::Sub, &[value, *x]);
                value = p.e.apply(Op::Select, &[*mask, value, other]);
            }
            value
        });
    }
}
