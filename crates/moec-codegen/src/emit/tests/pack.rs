//! Packing of weights.

use moec_ir::{DType, Dim, DimExpr, Number};
use moec_plan::{BufferId, Index, Kernel, Load, Pack, PackedWeight};

use super::harness::{Builder, EDGES, at, number};
use crate::Target;
use crate::element_loop::targets_by_family;

/// A buffer for panels of `groups` matrices of `k` rows and `n` columns, element by element.
pub(super) fn panels(builder: &mut Builder, dtype: DType, groups: &Dim, n: &Dim, k: &Dim) -> PackedWeight {
    // ceil(n / columns) = floor((n + columns - 1) / columns)
    let columns = builder.plan.panels.columns;
    let literal = |x: f64| Box::new(DimExpr::Number(Number::new(x)));
    let up = DimExpr::Add(Box::new(DimExpr::Dim(n.clone())), literal((columns - 1) as f64));
    let count = DimExpr::Floor(Box::new(DimExpr::Div(Box::new(up), literal(columns as f64))));
    let rest = Dim::product([groups, k, &number(columns)]).unwrap();
    let elements = DimExpr::Mul(Box::new(count), Box::new(DimExpr::Dim(rest)));
    let buffer = builder.sized_buffer("panels", dtype, elements);
    PackedWeight { buffer, groups: groups.clone(), n: n.clone(), k: k.clone(), interleave: 1 }
}

/// How a source of shape `[g, n, k]` lies in memory.
type Layout = fn(BufferId, &[Dim]) -> Load;

const LAYOUTS: [Layout; 3] = [
    |x, s| at(x, &[s[0].clone(), s[1].clone(), s[2].clone()], &[0, 1, 2]),
    |x, s| at(x, &[s[0].clone(), s[2].clone(), s[1].clone()], &[0, 2, 1]),
    |x, s| at(x, &[s[2].clone(), s[1].clone(), s[0].clone()], &[2, 1, 0]),
];

#[test]
fn layouts() {
    for target in targets_by_family() {
        for layout in LAYOUTS {
            layouts_on(&target, layout);
        }
    }
}

fn layouts_on(target: &Target, layout: Layout) {
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for n in EDGES.into_iter().chain([32, 35]) {
            for k in [0, 1, 5, 64, 131] {
                let mut builder = Builder::on(target);
                let (n, k) = (builder.dim("N", n), builder.dim("K", k));
                let g = number(2);
                let shape = [g.clone(), n.clone(), k.clone()];
                let x = builder.buffer("x", dtype, &shape);
                let out = panels(&mut builder, dtype, &g, &n, &k);
                let source = layout(x, &shape);
                let kernel = Pack { groups: vec![g], n: vec![n], k: vec![k], source, parts: None, out };
                builder.step("pack", Kernel::Pack(kernel));
                builder.check();
            }
        }
    }
}

/// Pairs of neighbours along `k`, as the planner describes them: an axis of two behind the columns.
#[test]
fn side_by_side() {
    for layout in LAYOUTS {
        for (n, half) in [(1, 1), (5, 3), (32, 64), (35, 70)] {
            let mut builder = Builder::new();
            let (n, k) = (builder.dim("N", n), number(2 * half));
            let g = number(2);
            let shape = [g.clone(), n.clone(), k.clone()];
            let x = builder.buffer("x", DType::Bf16, &shape);
            let out = PackedWeight { interleave: 2, ..panels(&mut builder, DType::Bf16, &g, &n, &k) };
            let mut source = layout(x, &shape);
            let stride = source.terms.iter().find(|(index, _)| *index == Index::Axis(2)).unwrap().1.clone();
            source.terms.retain(|(index, _)| *index != Index::Axis(2));
            source.terms.push((Index::Axis(3), stride.times(&number(2)).unwrap()));
            source.terms.push((Index::Axis(2), stride));
            let kernel = Pack {
                groups: vec![g],
                n: vec![n, number(2)],
                k: vec![number(half)],
                source,
                parts: None,
                out,
            };
            builder.step("pack", Kernel::Pack(kernel));
            builder.check();
        }
    }
}

#[test]
fn merged_axes() {
    for (a, b, c, d) in [(3, 5, 2, 3), (1, 17, 3, 1), (4, 4, 1, 70)] {
        let mut builder = Builder::new();
        let dims: Vec<Dim> =
            [("G", 2), ("A", a), ("B", b), ("C", c), ("D", d)].map(|(name, n)| builder.dim(name, n)).to_vec();
        let (n, k) = (dims[1].times(&dims[2]).unwrap(), dims[3].times(&dims[4]).unwrap());
        let memory = [2, 1, 3, 0, 4].map(|i: usize| dims[i].clone());
        let x = builder.buffer("x", DType::F32, &memory);
        let out = panels(&mut builder, DType::F32, &dims[0], &n, &k);
        let source = at(x, &memory, &[2, 1, 3, 0, 4]);
        let kernel = Pack {
            groups: dims[..1].to_vec(),
            n: dims[1..3].to_vec(),
            k: dims[3..].to_vec(),
            source,
            parts: None,
            out,
        };
        builder.step("pack", Kernel::Pack(kernel));
        builder.check();
    }
}
