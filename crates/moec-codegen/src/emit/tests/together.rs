//! Products that are done together: a batch, and experts that it has nothing to do with.

use moec_ir::{DType, Op};
use moec_plan::{Index, Kernel, Load, Scalar};

use super::group::{CHOICES, Choice, choose};
use super::harness::{Builder, number};
use super::product::{Layer, add_batch, routed};
use crate::element_loop::targets_by_family;
use crate::{CodeKind, Target, compile_object};

/// A grouping, then a batch of `sizes` and the experts of `layer` together; and contents.
fn together(target: &Target, layer: Layer, sizes: [u64; 4], choice: Choice) -> (Builder, Vec<Vec<u8>>) {
    let (mut builder, _) = routed(target, DType::Bf16, layer, choice);
    add_batch(&mut builder, DType::F32, DType::F16, sizes);
    builder.plan.run.swap(1, 2);
    builder.plan.run[2].together = true;
    let mut contents = builder.contents(9);
    contents[0] = choose(layer.tokens, layer.slots, layer.experts, choice);
    (builder, contents)
}

/// The same bits as one after the other, in all splits.
fn check(target: &Target, layer: Layer, sizes: [u64; 4], choice: Choice) {
    let (mut builder, contents) = together(target, layer, sizes, choice);
    builder.check_on(&contents);
    let joined = builder.run_on(&contents);
    builder.plan.run[2].together = false;
    assert!(builder.run_on(&contents) == joined, "other bits than one after the other");
}

#[test]
fn a_batch_and_experts() {
    for target in targets_by_family() {
        for choice in CHOICES {
            let layer = Layer { drops: false, tokens: 17, slots: 3, experts: 8, n: 70, k: 10 };
            check(&target, layer, [1, 101, 75, 7], choice);
            check(&target, layer, [2, 1, 17, 8], choice);
        }
    }
}

#[test]
fn either_may_have_no_items() {
    for target in targets_by_family() {
        for (tokens, rows) in [(0, 5), (5, 0), (0, 0)] {
            let layer = Layer { drops: false, tokens, slots: 2, experts: 4, n: 20, k: 9 };
            check(&target, layer, [1, rows, 33, 7], CHOICES[0]);
        }
        let layer = Layer { drops: true, tokens: 5, slots: 2, experts: 4, n: 20, k: 9 };
        check(&target, layer, [1, 5, 33, 7], |_, _, experts| experts as i32);
    }
}

/// The batch, the experts, or both add an element whose index is in range for a size of `sizes`.
#[test]
fn faults_are_of_the_first_that_can() {
    let target = Target::host(CodeKind::Jit).unwrap();
    let layer = Layer { drops: false, tokens: 5, slots: 2, experts: 4, n: 20, k: 9 };
    for sizes in [[Some(20), None], [None, Some(20)], [Some(20), Some(1)], [Some(0), None], [None, Some(0)]] {
        let (mut builder, _) = together(&target, layer, [1, 5, 33, 7], CHOICES[0]);
        let table = builder.buffer("table", DType::F32, &[number(20)]);
        for (step, size) in builder.plan.run[1..].iter_mut().zip(sizes) {
            let (Kernel::Product(product), Some(size)) = (&mut step.kernel, size) else { continue };
            let scalars = &mut product.scalars;
            let row = scalars.push(Scalar::Iota(0), DType::I32);
            let row = scalars.push(Scalar::InRange(row, number(size)), DType::I32);
            let load =
                Load { buffer: table, offset: Vec::new(), terms: vec![(Index::Value(row), number(1))] };
            let element = scalars.push(Scalar::Load(load), DType::F32);
            let sum = Scalar::Apply(Op::Add, vec![product.value, element]);
            product.value = scalars.push(sum, DType::F32);
        }
        let mut contents = builder.contents(9);
        contents[0] = choose(layer.tokens, layer.slots, layer.experts, CHOICES[0]);
        builder.check_on(&contents);
        let can = sizes.iter().position(Option::is_some).unwrap();
        let faulty = sizes.iter().flatten().any(|size| *size < 20);
        assert_eq!(builder.result_on(&contents), if faulty { can as u64 + 2 } else { 0 }, "{sizes:?}");
    }
}

#[test]
fn objects_have_one_kernel_more() {
    let target = Target::host(CodeKind::Object).unwrap();
    let layer = Layer { drops: false, tokens: 5, slots: 2, experts: 4, n: 20, k: 9 };
    let (builder, _) = together(&target, layer, [1, 5, 33, 7], CHOICES[0]);
    let (_, listings) = compile_object(&builder.plan, &target, true).unwrap();
    let of_run = listings.iter().filter(|listing| listing.name.starts_with("test.run"));
    let names: Vec<&str> = of_run.map(|listing| listing.name.as_str()).collect();
    let kernels: Vec<&str> = names.into_iter().filter(|name| !name.ends_with(".line")).collect();
    assert_eq!(kernels, ["test.run0.group", "test.run1.product", "test.run2.experts", "test.run1.together"]);
}
