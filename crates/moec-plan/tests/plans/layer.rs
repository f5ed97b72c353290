//! The plan of a dispatched layer: which kernels it becomes.

use moec_interp::generate;
use moec_ir::{Sizes, read};
use moec_plan::{Kernel, Panels, ProductRows, RowIndex};

use crate::check::{check, kinds};

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
    let plan = moec_plan::plan(&module, Panels { columns: 16, pairs: false }).unwrap();
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
