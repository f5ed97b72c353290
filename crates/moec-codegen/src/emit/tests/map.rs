//! Maps.

use moec_ir::{DType, Dim, Op};
use moec_plan::{Index, Kernel, Load, Map, Scalar, ScalarId, Store};

use super::harness::{Builder, EDGES, Expr, at, into, number};

fn map(shape: &[Dim], expr: Expr, value: ScalarId, out: Store) -> Kernel {
    Kernel::Map(Map { shape: shape.to_vec(), scalars: expr.scalars, value, out })
}

/// A map over `[a, b]`, with one symbolic and one constant size.
fn plane(a: u64, b: u64, fill: impl Fn(&mut Builder, &mut Expr, &[Dim]) -> (ScalarId, DType)) {
    for shape in 0..2 {
        let mut builder = Builder::new();
        let (a, b) = match shape {
            0 => (builder.dim("A", a), builder.dim("B", b)),
            _ => (builder.dim("A", a), number(b)),
        };
        let shape = [a, b];
        let mut expr = Expr::default();
        let (value, dtype) = fill(&mut builder, &mut expr, &shape);
        let out = builder.buffer("out", dtype, &shape);
        let kernel = map(&shape, expr, value, into(out, &shape));
        builder.step("map", kernel);
        builder.check();
    }
}

fn planes(fill: impl Fn(&mut Builder, &mut Expr, &[Dim]) -> (ScalarId, DType)) {
    for a in [0, 1, 3] {
        for b in EDGES {
            plane(a, b, &fill);
        }
    }
}

#[test]
fn arithmetic_and_activations() {
    planes(|builder, e, shape| {
        let x = builder.buffer("x", DType::F32, shape);
        let y = builder.buffer("y", DType::Bf16, shape);
        let row = builder.buffer("row", DType::F16, &shape[..1]);
        let x = e.load(DType::F32, at(x, shape, &[0, 1]));
        let y = e.load(DType::Bf16, at(y, shape, &[0, 1]));
        let y = e.cast(DType::F32, y);
        let row = e.load(DType::F16, at(row, &shape[..1], &[0]));
        let row = e.cast(DType::F32, row);
        let silu = e.apply(Op::Silu, &[x]);
        let sum = e.apply(Op::Add, &[silu, y]);
        let gate = e.apply(Op::Sigmoid, &[row]);
        (e.apply(Op::Mul, &[sum, gate]), DType::F32)
    });
}

#[test]
fn every_operation() {
    let unary = [
        Op::Neg,
        Op::Abs,
        Op::Exp,
        Op::Exp2,
        Op::Log,
        Op::Sqrt,
        Op::Rsqrt,
        Op::Tanh,
        Op::Sigmoid,
        Op::Silu,
        Op::Relu,
        Op::Softplus,
    ];
    let binary = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Minimum, Op::Maximum];
    for op in unary.into_iter().chain(binary) {
        plane(2, 7, |builder, e, shape| {
            let ids: Vec<_> = (0..2)
                .map(|_| {
                    let x = builder.buffer("x", DType::F32, shape);
                    e.load(DType::F32, at(x, shape, &[0, 1]))
                })
                .collect();
            let count = if binary.contains(&op) { 2 } else { 1 };
            (e.apply(op, &ids[..count]), DType::F32)
        });
    }
    for op in [Op::Neg, Op::Abs, Op::Relu, Op::Add, Op::Sub, Op::Mul, Op::Minimum, Op::Maximum] {
        plane(2, 7, |builder, e, shape| {
            let x = builder.buffer("x", DType::I32, shape);
            let x = e.load(DType::I32, at(x, shape, &[0, 1]));
            let big = e.constant(DType::I32, 2147483646.0);
            let y = e.apply(Op::Mul, &[x, big]);
            let args = if matches!(op, Op::Neg | Op::Abs | Op::Relu) { vec![y] } else { vec![x, y] };
            (e.apply(op, &args), DType::I32)
        });
    }
}

/// Every pair of divisor and dividend, the refused ones and powers of two as constants included.
#[test]
fn integer_quotients() {
    let divisors = [1, 2, 16, 1 << 30, 3, 10, -1, -7, -16, i32::MIN, i32::MAX];
    for op in [Op::FloorDiv, Op::Mod] {
        for divisor in divisors.into_iter().map(Some).chain([None]) {
            plane(3, 9, |builder, e, shape| {
                let [x, y] = ["x", "y"].map(|name| {
                    let buffer = builder.buffer(name, DType::I32, shape);
                    e.load(DType::I32, at(buffer, shape, &[0, 1]))
                });
                let big = e.constant(DType::I32, 715_827_883.0);
                let x = e.apply(Op::Mul, &[x, big]);
                let y = divisor.map_or(y, |number| e.constant(DType::I32, number.into()));
                (e.apply(op, &[x, y]), DType::I32)
            });
        }
        for dividend in [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX] {
            plane(3, 9, |builder, e, shape| {
                let y = builder.buffer("y", DType::I32, shape);
                let y = e.load(DType::I32, at(y, shape, &[0, 1]));
                let x = e.constant(DType::I32, dividend.into());
                (e.apply(op, &[x, y]), DType::I32)
            });
        }
    }
}

#[test]
fn bytes() {
    planes(|builder, e, shape| {
        let byte = builder.buffer("byte", DType::U8, shape);
        let row = builder.buffer("row", DType::U8, &shape[..1]);
        let byte = e.load(DType::U8, at(byte, shape, &[0, 1]));
        let row = e.load(DType::U8, at(row, &shape[..1], &[0]));
        let number = e.cast(DType::F32, byte);
        let scale = e.constant(DType::F32, 1.75);
        let number = e.apply(Op::Mul, &[number, scale]);
        let scaled = e.cast(DType::U8, number);
        let wide = e.cast(DType::I32, row);
        let far = e.constant(DType::I32, 200.0);
        let wide = e.apply(Op::Sub, &[wide, far]);
        let cut = e.cast(DType::U8, wide);
        let flag = e.cast(DType::Bool, byte);
        (e.apply(Op::Select, &[flag, scaled, cut]), DType::U8)
    });
}

#[test]
fn truth_values() {
    for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge] {
        plane(3, 9, |builder, e, shape| {
            let flag = builder.buffer("flag", DType::Bool, shape);
            let row_flag = builder.buffer("row_flag", DType::Bool, &shape[..1]);
            let x = builder.buffer("x", DType::I32, shape);
            let y = builder.buffer("y", DType::F32, shape);
            let flag = e.load(DType::Bool, at(flag, shape, &[0, 1]));
            let row_flag = e.load(DType::Bool, at(row_flag, &shape[..1], &[0]));
            let x = e.load(DType::I32, at(x, shape, &[0, 1]));
            let y = e.load(DType::F32, at(y, shape, &[0, 1]));
            let zero = e.constant(DType::I32, 0.0);
            let one = e.constant(DType::F32, 1.0);
            let a = e.apply(op, &[x, zero]);
            let b = e.apply(op, &[y, one]);
            let no = e.apply(Op::Not, &[row_flag]);
            let both = e.apply(Op::And, &[a, no]);
            let any = e.apply(Op::Or, &[both, b]);
            let chosen = e.apply(Op::Select, &[flag, any, row_flag]);
            (chosen, DType::Bool)
        });
    }
    planes(|builder, e, shape| {
        let flag = builder.buffer("flag", DType::Bool, shape);
        let flag = e.load(DType::Bool, at(flag, shape, &[0, 1]));
        let i = e.push(Scalar::Iota(1), DType::I32);
        let j = e.push(Scalar::Iota(0), DType::I32);
        let size = e.push(Scalar::Size(shape[1].clone()), DType::I32);
        let j = e.apply(Op::Mul, &[j, size]);
        (e.apply(Op::Select, &[flag, i, j]), DType::I32)
    });
}

#[test]
fn conversions() {
    for to in DType::ALL {
        for from in DType::ALL {
            plane(2, 6, |builder, e, shape| {
                let x = builder.buffer("x", from, shape);
                let x = e.load(from, at(x, shape, &[0, 1]));
                (e.cast(to, x), to)
            });
        }
        plane(1, 5, |_, e, _| (e.constant(to, 2.7), to));
    }
}

#[test]
fn transposed_strided_and_offset() {
    for dtype in DType::ALL {
        for (a, b) in [(3, 17), (4, 5), (5, 0), (1, 1)] {
            let mut builder = Builder::new();
            let (a, b) = (builder.dim("A", a), builder.dim("B", b));
            let turned = [b.clone(), a.clone()];
            let double = [a.clone(), b.clone(), number(2)];
            let x = builder.buffer("x", dtype, &turned);
            let out = builder.buffer("out", dtype, &double);
            let mut e = Expr::default();
            let x = e.load(dtype, at(x, &turned, &[1, 0]));
            let mut store = into(out, &double);
            store.strides.pop();
            store.offset = vec![number(1)];
            let kernel = map(&[a, b], e, x, store);
            builder.step("map", kernel);
            builder.check();
        }
    }
}

#[test]
fn shapes_without_axes_and_with_many() {
    let mut builder = Builder::new();
    let (x, out) = (builder.buffer("x", DType::F32, &[]), builder.buffer("out", DType::F32, &[]));
    let mut e = Expr::default();
    let x = e.load(DType::F32, at(x, &[], &[]));
    let y = e.apply(Op::Neg, &[x]);
    let kernel = map(&[], e, y, into(out, &[]));
    builder.step("map", kernel);
    builder.check();

    for sizes in [[2, 3, 1, 5], [1, 1, 4, 4], [3, 0, 2, 1], [2, 2, 2, 2]] {
        let mut builder = Builder::new();
        let mut shape: Vec<Dim> =
            sizes.iter().enumerate().map(|(i, n)| builder.dim(&format!("D{i}"), *n)).collect();
        shape.insert(2, number(1));
        let x = builder.buffer("x", DType::I32, &shape);
        let out = builder.buffer("out", DType::I32, &shape);
        let mut e = Expr::default();
        let mut value = e.load(DType::I32, at(x, &shape, &[0, 1, 2, 3, 4]));
        for axis in 0..5 {
            let i = e.push(Scalar::Iota(axis), DType::I32);
            let ten = e.constant(DType::I32, 10.0);
            value = e.apply(Op::Mul, &[value, ten]);
            value = e.apply(Op::Add, &[value, i]);
        }
        let kernel = map(&shape, e, value, into(out, &shape));
        builder.step("map", kernel);
        builder.check();
    }
}

/// `out[i, j] = x[index[..], j]`, or with the index along the last axis: `x[i, index[j]]`.
fn gather(a: u64, b: u64, along_last: bool, indices: &[i32], size: u64) {
    let mut builder = Builder::new();
    let (a, b, n) = (builder.dim("A", a), builder.dim("B", b), builder.dim("N", size));
    let (index_dim, axis) = if along_last { (b.clone(), 1) } else { (a.clone(), 0) };
    let table = if along_last { [a.clone(), n.clone()] } else { [n.clone(), b.clone()] };
    let index = builder.buffer("index", DType::I32, std::slice::from_ref(&index_dim));
    let x = builder.buffer("x", DType::Bf16, &table);
    let out = builder.buffer("out", DType::Bf16, &[a.clone(), b.clone()]);
    let mut e = Expr::default();
    let i = e.load(DType::I32, at(index, &[index_dim], &[axis]));
    let i = e.push(Scalar::InRange(i, n.clone()), DType::I32);
    let terms = if along_last {
        vec![(Index::Axis(0), n), (Index::Value(i), number(1))]
    } else {
        vec![(Index::Value(i), b.clone()), (Index::Axis(1), number(1))]
    };
    let x = e.load(DType::Bf16, Load { buffer: x, offset: Vec::new(), terms });
    let shape = [a, b];
    let kernel = map(&shape, e, x, into(out, &shape));
    builder.step("map", kernel);
    let mut contents = builder.contents(3);
    let bytes: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
    let len = contents[0].len();
    contents[0].copy_from_slice(&bytes[..len]);
    builder.check_on(&contents);
}

#[test]
fn gathers_and_their_faults() {
    let fine: Vec<i32> = (0..20).map(|i| i * 7 % 5).collect();
    let bad: [&[i32]; 4] = [&[0, 1, 5, 2, 0], &[0, -1, 0, 0, 0], &[i32::MIN; 5], &[4, 4, 4, 4, i32::MAX]];
    for along_last in [false, true] {
        for (a, b) in [(3, 17), (5, 4), (17, 1), (0, 3), (3, 0)] {
            gather(a, b, along_last, &fine, 5);
        }
        for indices in bad {
            gather(5, 5, along_last, indices, 5);
        }
        gather(2, 3, along_last, &fine, 0);
        gather(0, 0, along_last, &fine, 0);
    }
}
