//! Matrix products.

use moec_ir::{DType, Dim, Op};
use moec_plan::{Group, Groups, Kernel, Lhs, PackedWeight, Product, RowIndex, Scalar, Store};

use super::group::{CHOICES, Choice, choose, routing};
use super::harness::{Builder, EDGES, Expr, at, number};
use super::pack::panels;
use crate::Target;
use crate::element_loop::targets_by_family;
use crate::tile::TileOperands;

/// `out[g, row, col] = sum over k of lhs[g, row, k] * w[g, k, col]`, rows of `f32`.
fn batch(target: &Target, dtype: DType, sizes: [u64; 4]) -> Builder {
    batch_of(target, DType::F32, dtype, sizes)
}

/// The same with rows of some element type.
fn batch_of(target: &Target, row: DType, dtype: DType, sizes: [u64; 4]) -> Builder {
    let mut builder = Builder::on(target);
    add_batch(&mut builder, row, dtype, sizes);
    builder
}

/// Adds the buffers of such a product, and the step.
pub(super) fn add_batch(builder: &mut Builder, row: DType, dtype: DType, [groups, rows, n, k]: [u64; 4]) {
    let (g, m) = (builder.dim("G", groups), builder.dim("M", rows));
    let interleave = TileOperands::of(row, dtype, k).interleave;
    let (n, k) = (builder.dim("N", n), builder.dim("K", k));
    let lhs = builder.buffer("lhs", row, &[g.clone(), m.clone(), k.clone()]);
    let weight = PackedWeight { interleave, ..panels(builder, dtype, &g, &n, &k) };
    let out = builder.buffer("out", DType::F32, &[g.clone(), m.clone(), n.clone()]);
    let mut e = Expr::default();
    let value = e.push(Scalar::Accumulator(0), DType::F32);
    let lhs = Lhs {
        buffer: lhs,
        offset: Vec::new(),
        group_stride: m.times(&k).unwrap(),
        row_stride: k,
        row: RowIndex::Row,
    };
    let strides = vec![n.clone(), number(1), m.times(&n).unwrap()];
    let out = Store { buffer: out, offset: Vec::new(), strides };
    let groups = Groups::Batch { count: g, rows: m };
    let kernel = Product { groups, lhs, weights: vec![weight], cold: None, scalars: e.scalars, value, out };
    builder.step("product", Kernel::Product(kernel));
}

#[test]
fn batches_at_the_edges() {
    for target in targets_by_family() {
        for rows in EDGES {
            for n in EDGES.into_iter().chain([32, 33]) {
                batch(&target, DType::F32, [1, rows, n, 5]).check();
            }
            for k in EDGES {
                batch(&target, DType::Bf16, [2, rows, 17, k]).check();
            }
        }
        for groups in [0, 1, 3] {
            batch(&target, DType::F16, [groups, 7, 33, 9]).check();
        }
    }
}

#[test]
fn pairs_at_the_edges() {
    for target in targets_by_family().into_iter().filter(|target| target.panels().pairs) {
        for rows in EDGES {
            for k in [0, 2, 4, 6, 16, 18, 64] {
                for n in [1, 17, 32, 65] {
                    batch_of(&target, DType::Bf16, DType::Bf16, [2, rows, n, k]).check();
                }
            }
        }
    }
}

#[test]
fn more_rows_and_columns_than_an_item_takes() {
    for target in targets_by_family() {
        batch(&target, DType::F32, [2, 101, 300, 3]).check();
        batch(&target, DType::F32, [1, 7, 40, 5000]).check();
    }
}

/// A row's result has the same bits alone and among others.
#[test]
fn bits_do_not_depend_on_the_number_of_rows() {
    for target in targets_by_family() {
        let widened = [DType::F32, DType::Bf16, DType::F16].map(|dtype| (DType::F32, dtype));
        let pairs = target.panels().pairs.then_some((DType::Bf16, DType::Bf16));
        for (row, dtype) in widened.into_iter().chain(pairs) {
            let (n, k) = (35, 78);
            let all = batch_of(&target, row, dtype, [1, 101, n, k]);
            let contents = all.contents(4);
            let together = all.run_on(&contents)[2].clone();
            for first in [0usize, 47, 95, 100] {
                for rows in 1..=13.min(101 - first) {
                    let part = batch_of(&target, row, dtype, [1, rows as u64, n, k]);
                    let row_bytes = row.bytes() * k as usize;
                    let lhs = contents[0][first * row_bytes..(first + rows) * row_bytes].to_vec();
                    let out = vec![0; rows * 4 * n as usize];
                    let alone = part.run_on(&[lhs, contents[1].clone(), out]);
                    assert_eq!(alone[2], together[first * 4 * n as usize..][..alone[2].len()]);
                }
            }
        }
    }
}

/// Families with FMA give the same bits. One panel of each, the columns beyond the narrower zero.
#[test]
fn bits_do_not_depend_on_the_family() {
    for k in [77, 78] {
        same_bits([29, 16, k]);
    }
}

fn same_bits([rows, n, k]: [u64; 3]) {
    let beside = TileOperands::of(DType::F32, DType::Bf16, k).interleave as usize;
    let mut results = Vec::new();
    for target in targets_by_family().into_iter().filter(Target::fma) {
        let product = batch(&target, DType::Bf16, [1, rows, n, k]);
        let mut contents = batch(&target, DType::Bf16, [1, rows, 16, k]).contents(5);
        let narrow: Vec<u8> = (0..16 * k * 2).map(|i| (i % 61) as u8).collect();
        let wide = narrow.chunks(32 * beside).flat_map(|row| {
            let mut row = row.to_vec();
            row.resize(2 * beside * target.panels().columns as usize, 0);
            row
        });
        contents[1] = wide.collect();
        contents[0] = (0..rows * k).flat_map(|i| ((i as f32).sin()).to_le_bytes()).collect();
        results.push(product.run_on(&contents)[2].clone());
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

/// The sizes of a routed layer.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    /// Whether pairs may be dropped.
    pub(super) drops: bool,
    pub(super) tokens: u64,
    pub(super) slots: u64,
    pub(super) experts: u64,
    pub(super) n: u64,
    pub(super) k: u64,
}

/// `out[row, col] = silu(acc_0) * acc_1 * weight[pair] + bias[expert, col]`, rows gathered by token.
pub(super) fn routed(target: &Target, dtype: DType, layer: Layer, choice: Choice) -> (Builder, Vec<Vec<u8>>) {
    let mut builder = Builder::on(target);
    let (t, s, experts) = (builder.dim("T", layer.tokens), number(layer.slots), number(layer.experts));
    let (n, k) = (number(layer.n), number(layer.k));
    let pairs = [t.clone(), s.clone()];
    let index = builder.buffer("index", DType::I32, &pairs);
    let routing = routing(&mut builder, &experts, &t, &s, layer.drops);
    let group = Group {
        experts: experts.clone(),
        tokens: t.clone(),
        slots: s.clone(),
        index: at(index, &pairs, &[0, 1]),
        out: routing.clone(),
    };
    builder.step("group", Kernel::Group(group));
    let lhs = builder.buffer("lhs", DType::F32, &[t.clone(), k.clone()]);
    let interleave = TileOperands::of(DType::F32, dtype, layer.k).interleave;
    let weights = (0..2)
        .map(|_| PackedWeight { interleave, ..panels(&mut builder, dtype, &experts, &n, &k) })
        .collect();
    let gates = builder.buffer("gates", DType::F32, &pairs);
    let bias_shape: [Dim; 2] = [experts, n.clone()];
    let bias = builder.buffer("bias", DType::Bf16, &bias_shape);
    let out = builder.buffer("out", DType::F32, &[routing.total.clone(), n.clone()]);
    let mut e = Expr::default();
    let [gate, up] = [0, 1].map(|i| e.push(Scalar::Accumulator(i), DType::F32));
    let gate = e.apply(Op::Silu, &[gate]);
    let product = e.apply(Op::Mul, &[gate, up]);
    let gates = e.load(DType::F32, at(gates, std::slice::from_ref(&routing.total), &[4]));
    let product = e.apply(Op::Mul, &[product, gates]);
    let bias = e.load(DType::Bf16, at(bias, &bias_shape, &[2, 1]));
    let bias = e.cast(DType::F32, bias);
    let value = e.apply(Op::Add, &[product, bias]);
    let lhs =
        Lhs { buffer: lhs, offset: Vec::new(), group_stride: number(0), row_stride: k, row: RowIndex::Token };
    let out = Store { buffer: out, offset: Vec::new(), strides: vec![n, number(1), number(0)] };
    let kernel =
        Product { groups: Groups::Routed(routing), lhs, weights, cold: None, scalars: e.scalars, value, out };
    builder.step("experts", Kernel::Product(kernel));
    let mut contents = builder.contents(6);
    contents[0] = choose(layer.tokens, layer.slots, layer.experts, choice);
    (builder, contents)
}

#[test]
fn experts_empty_full_and_mixed() {
    for target in targets_by_family() {
        for choice in CHOICES {
            for (tokens, slots, experts) in [(0, 2, 4), (1, 1, 1), (1, 2, 8), (5, 2, 4), (17, 3, 8)] {
                for n in [1, 4, 16, 17, 35] {
                    let layer = Layer { drops: false, tokens, slots, experts, n, k: 9 };
                    let (builder, contents) = routed(&target, DType::F32, layer, choice);
                    builder.check_on(&contents);
                }
            }
            let layer = Layer { drops: false, tokens: 7, slots: 2, experts: 5, n: 20, k: 16 };
            let (builder, contents) = routed(&target, DType::Bf16, layer, choice);
            builder.check_on(&contents);
        }
    }
}

#[test]
fn rows_of_dropped_pairs_are_not_written() {
    let choices: [Choice; 3] = [
        |token, slot, experts| ((token * 5 + slot * 3) % (experts + 1)) as i32,
        |_, _, experts| experts as i32,
        |token, _, experts| if token % 3 == 0 { experts as i32 } else { 1 },
    ];
    for target in targets_by_family() {
        for choice in choices {
            let layer = Layer { drops: true, tokens: 13, slots: 2, experts: 4, n: 20, k: 9 };
            let (builder, contents) = routed(&target, DType::F32, layer, choice);
            builder.check_on(&contents);
        }
    }
}

#[test]
fn all_tokens_on_one_expert() {
    for target in targets_by_family() {
        let layer = Layer { drops: false, tokens: 64, slots: 1, experts: 6, n: 33, k: 12 };
        let (builder, contents) = routed(&target, DType::F32, layer, |_, _, _| 4);
        builder.check_on(&contents);
    }
}

/// A plan with a grouping and a product, for a target that may be another machine.
pub(super) fn example(target: &Target) -> (Builder, Vec<Vec<u8>>) {
    routed(
        target,
        DType::Bf16,
        Layer { drops: false, tokens: 3, slots: 2, experts: 4, n: 20, k: 8 },
        CHOICES[0],
    )
}
