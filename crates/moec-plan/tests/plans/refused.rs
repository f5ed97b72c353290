//! Plans that break a guarantee are refused.

use moec_ir::{DType, Dim, Sizes, read};
use moec_plan::{BufferId, Kernel, Map, Panels, Place, Plan, PlanError, Scalar, Step, verify};

fn good() -> Plan {
    let text = r#"module test {
        dim T
        %0 = input {name = "x"} : f32[T, 8]
        %1 = input {name = "i"} : i32[4]
        %2 = weight {from = "w", name = "w"} : f32[8, 24]
        %3 = einsum %0, %2 {spec = "ab,bc->ac"} : f32[T, 24]
        %4 = softmax %3 {axis = 1} : f32[T, 24]
        %5 = gather %4, %1 {along = [-1], axis = 0} : f32[4, 24]
        output "y" = %5
    }"#;
    moec_plan::plan(
        &read(text).unwrap().instantiate(&Sizes::new()).unwrap(),
        Panels { columns: 16, pairs: false },
    )
    .unwrap()
}

/// A grouping, and two products that are done together: of all rows of `v1`, and of those of experts.
fn good_together() -> Plan {
    let text = r#"module test {
        dim T
        %0 = input {name = "x"} : f32[T, 8]
        %1 = exp %0 : f32[T, 8]
        %2 = input {name = "i"} : i32[T, 1]
        %3 = weight {from = "w", name = "w"} : f32[8, 24]
        %4 = weight {from = "e", name = "e"} : f32[5, 8, 16]
        %5 = plan %2 {experts = 5} : plan(5, T, 1)
        %6 = take_rows %5, %0 : f32[T, 8]
        %7 = grouped_matmul %5, %6, %4 {spec = "ab,cbd->ad"} : f32[T, 16]
        %8 = softmax %7 {axis = 1} : f32[T, 16]
        %9 = einsum %1, %3 {spec = "ab,bc->ac"} : f32[T, 24]
        output "a" = %8
        output "b" = %9
    }"#;
    moec_plan::plan(&read(text).unwrap(), Panels { columns: 16, pairs: false }).unwrap()
}

#[track_caller]
fn refused(message: &str, change: impl FnOnce(&mut Plan)) {
    refused_of(good(), message, change);
}

#[track_caller]
fn refused_of(mut plan: Plan, message: &str, change: impl FnOnce(&mut Plan)) {
    assert_eq!(verify(&plan), Ok(()));
    change(&mut plan);
    match verify(&plan) {
        Err(PlanError::Broken(found)) => assert!(found.contains(message), "{found}"),
        other => panic!("{other:?}"),
    }
}

/// The copy loop that is the last step.
fn last_map(plan: &mut Plan) -> &mut Map {
    match plan.run.last_mut() {
        Some(Step { kernel: Kernel::Map(map), .. }) => map,
        other => panic!("{other:?}"),
    }
}

fn find(plan: &Plan, name: &str) -> BufferId {
    BufferId(plan.buffers.iter().position(|buffer| buffer.name == name).unwrap() as u32)
}

#[test]
fn what_happens_in_the_wrong_order() {
    refused("v3 is read before it is written", |plan| plan.run.swap(0, 1));
    refused("v2_panels is read before", |plan| plan.load.clear());
    refused("output y is not written", |plan| drop(plan.run.pop()));
    refused("two steps are called", |plan| plan.run[0].name = plan.run[1].name.clone());
}

#[test]
fn memory_that_is_not_there() {
    refused("does not live here", |plan| {
        let at = find(plan, "v3").0 as usize;
        if let Place::Scratch { last, .. } = &mut plan.buffers[at].place {
            *last = 0;
        }
    });
    refused("x is written", |plan| {
        let x = find(plan, "x");
        last_map(plan).out.buffer = x;
    });
}

#[test]
fn scalars_that_do_not_fit() {
    refused("not known to be in range", |plan| {
        let map = last_map(plan);
        let at = map.scalars.list.iter().position(|s| matches!(s, Scalar::InRange(..))).unwrap();
        map.scalars.list[at] = Scalar::Iota(0);
    });
    refused("declared i32", |plan| last_map(plan).scalars.types.fill(DType::I32));
    refused("there is no axis 1", |plan| {
        let map = last_map(plan);
        map.shape.truncate(1);
    });
    refused("1 strides in a store", |plan| last_map(plan).out.strides.truncate(1));
    refused("a stride is zero", |plan| {
        let map = last_map(plan);
        for scalar in &mut map.scalars.list {
            if let Scalar::Load(load) = scalar {
                load.terms[0].1 = Dim::constant(0);
            }
        }
    });
}

#[test]
fn panels_that_no_tile_reads() {
    let product = |plan: &mut Plan| match &mut plan.run[0].kernel {
        Kernel::Product(product) => product.clone(),
        other => panic!("{other:?}"),
    };
    refused("f32 where [Bf16] is expected", |plan| {
        let mut product = product(plan);
        product.weights[0].interleave = 2;
        plan.run[0].kernel = Kernel::Product(product);
    });
    refused("pairs in sums of 7", |plan| {
        let mut product = product(plan);
        (product.weights[0].interleave, product.weights[0].k) = (2, Dim::constant(7));
        let panels = product.weights[0].buffer;
        plan.buffers[panels.0 as usize].dtype = DType::Bf16;
        plan.run[0].kernel = Kernel::Product(product);
        // The packing says the same, or it would be refused first.
        plan.load.clear();
        plan.buffers[panels.0 as usize].place = Place::Literal([].into());
    });
    refused("weights of two layouts", |plan| {
        let mut product = product(plan);
        let second = moec_plan::PackedWeight { interleave: 2, ..product.weights[0].clone() };
        product.weights.push(second);
        plan.run[0].kernel = Kernel::Product(product);
    });
}

#[test]
fn steps_that_cannot_be_done_together() {
    let good = good_together();
    let product = good.run.iter().position(|step| step.together).unwrap();
    let refused = |message: &str, change: &dyn Fn(&mut Plan)| refused_of(good.clone(), message, change);
    refused("is together with no step", &|plan| plan.run[0].together = true);
    refused("only products of the run", &|plan| plan.run[product - 1].together = true);
    refused("only products of the run", &|plan| plan.run[product + 1].together = true);
    refused("only products of the run", &|plan| plan.load[1].together = true);
    refused("cannot be done together with product_v9", &|plan| {
        let b = find(plan, "b");
        if let Kernel::Product(product) = &mut plan.run[product].kernel {
            product.out.buffer = b;
        }
    });
    refused("v1 does not live here", &|plan| {
        let at = find(plan, "v1").0 as usize;
        if let Place::Scratch { last, .. } = &mut plan.buffers[at].place {
            *last = product - 1;
        }
    });
    refused("v7 does not live here", &|plan| {
        let at = find(plan, "v7").0 as usize;
        if let Place::Scratch { first, .. } = &mut plan.buffers[at].place {
            *first = product;
        }
    });
}
