//! The plan of a dispatched layer: which kernels it becomes.

use moec_interp::generate;
use moec_ir::{Sizes, read};
use moec_plan::{Groups, Kernel, Panels, Plan, ProductRows, RowIndex, plan_programs};

use crate::check::{check, kinds};

const PANELS: Panels = Panels { columns: 16, pairs: false };

const LAYER: &str = r#"module layer {
    dim T
    %0 = input {name = "x"} : f32[T, 16]
    %1 = weight {from = "router", name = "router"} : bf16[4, 16]
    %2 = weight {from = "w1", name = "w1"} : bf16[4, 24, 16]
    %3 = weight {from = "w3", name = "w3"} : bf16[4, 24, 16]
    %4 = weight {from = "w2", name = "w2"} : bf16[4, 16, 24]
    %5 = einsum %0, %1 {spec = "ab,cb->ac"} : f32[T, 4]
    %6 = softmax %5 {axis = 1} : f32[T, 4]
    %7 = top_k %6 {axis = 1, k = 2, largest = true} : route(f32[T, 4], 1, 2)
    %8 = route_index %7 : i32[T, 2]
    %9 = route_value %7 : f32[T, 2]
    %10 = sum %9 {axis = 1} : f32[T]
    %11 = broadcast %10 {map = [0], shape = [T, 2]} : f32[T, 2]
    %12 = div %9, %11 : f32[T, 2]
    %13 = plan %8 {experts = 4} : plan(4, T, 2)
    %14 = take_rows %13, %0 : f32[2*T, 16]
    %15 = grouped_matmul %13, %14, %2 {spec = "ab,cdb->ad"} : f32[2*T, 24]
    %16 = grouped_matmul %13, %14, %3 {spec = "ab,cdb->ad"} : f32[2*T, 24]
    %17 = silu %15 : f32[2*T, 24]
    %18 = mul %17, %16 : f32[2*T, 24]
    %19 = grouped_matmul %13, %18, %4 {spec = "ab,cdb->ad"} : f32[2*T, 16]
    %20 = combine %13, %12, %19 : f32[T, 16]
    output "y" = %20
}
"#;

#[test]
fn a_dispatched_layer_is_nine_steps() {
    let module = read(LAYER).unwrap();
    let plan = moec_plan::plan(&module, PANELS).unwrap();
    assert_eq!(
        kinds(&plan),
        ["product", "row", "row", "reduce", "group", "product", "map", "product", "reduce"]
    );
    let Kernel::Product(gate_up) = &plan.run[5].kernel else { panic!() };
    assert_eq!((gate_up.weights.len(), gate_up.lhs.row), (2, RowIndex::Token));
    assert!(plan.load.iter().all(|step| step.kernel.kind() == "pack"));
    let sizes: Sizes = [("T".into(), 5)].into();
    assert_eq!(plan.product_rows(&sizes), Ok(ProductRows { plain: 5, routed: 5 * 2 * 3 }));
    check(&module, |sizes| generate::inputs(&module, sizes, 1).unwrap());
}

/// The layer with shared experts, whose result is that of all, or an output of its own.
fn with_shared(added: bool) -> moec_ir::Module {
    let (last, outputs) = if added {
        ("%29 = add %20, %28 : f32[T, 16]", "output \"y\" = %29")
    } else {
        ("", "output \"y\" = %20\n    output \"shared\" = %28")
    };
    let shared = format!(
        r#"%21 = weight {{from = "s1", name = "s1"}} : bf16[32, 16]
    %22 = weight {{from = "s3", name = "s3"}} : bf16[32, 16]
    %23 = weight {{from = "s2", name = "s2"}} : bf16[16, 32]
    %24 = einsum %0, %21 {{spec = "ab,cb->ac"}} : f32[T, 32]
    %25 = einsum %0, %22 {{spec = "ab,cb->ac"}} : f32[T, 32]
    %26 = silu %24 : f32[T, 32]
    %27 = mul %26, %25 : f32[T, 32]
    %28 = einsum %27, %23 {{spec = "ab,cb->ac"}} : f32[T, 16]
    {last}
    {outputs}"#
    );
    read(&LAYER.replace("output \"y\" = %20", &shared)).unwrap()
}

/// Of each pair of steps that are done together, how many columns the products have: those of all tokens,
/// and those of experts.
fn together(plan: &Plan) -> Vec<[u64; 2]> {
    let pairs = plan.run.windows(2).filter(|steps| steps[1].together);
    let columns = |steps: &[moec_plan::Step]| match [&steps[0].kernel, &steps[1].kernel] {
        [Kernel::Product(batch), Kernel::Product(routed)] => {
            assert!(
                matches!(batch.groups, Groups::Batch { .. }) && matches!(routed.groups, Groups::Routed(_))
            );
            [batch, routed].map(|product| product.weights.iter().filter_map(|w| w.n.as_const()).sum())
        }
        other => panic!("{other:?}"),
    };
    pairs.map(columns).collect()
}

#[test]
fn shared_experts_are_computed_beside_the_others() {
    let module = with_shared(true);
    let plan = moec_plan::plan(&module, PANELS).unwrap();
    // The last product of the shared experts adds what the others gave; that of the router is needed first.
    assert_eq!(together(&plan), [[2 * 32, 2 * 24]]);
    let text = moec_plan::print(&plan);
    assert!(text.contains("   7 product_v18, together with 6: product of"), "{text}");
    check(&module, |sizes| generate::inputs(&module, sizes, 2).unwrap());
}

#[test]
fn all_products_of_experts_that_share_nothing_are_side_by_side() {
    let module = with_shared(false);
    let plan = moec_plan::plan(&module, PANELS).unwrap();
    assert_eq!(together(&plan), [[2 * 32, 2 * 24], [16, 16]]);
    check(&module, |sizes| generate::inputs(&module, sizes, 3).unwrap());
    let plan = plan_programs(&module, &[(4, &with_shared(false))], PANELS).unwrap();
    assert_eq!(together(&plan).len(), 4);
}
