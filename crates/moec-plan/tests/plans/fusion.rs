//! Which operations share a kernel.

use moec_plan::{Kernel, Place};

use crate::check::{check_text, kinds};

#[test]
fn a_plain_product_takes_bias_and_activation() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = weight {from = "w", name = "w"} : f32[8, 24]
        %2 = weight {from = "b", name = "b"} : bf16[24]
        %3 = einsum %0, %1 {spec = "ab,bc->ac"} : f32[T, 24]
        %4 = cast %2 {to = f32} : f32[24]
        %5 = broadcast %4 {map = [1], shape = [T, 24]} : f32[T, 24]
        %6 = add %3, %5 : f32[T, 24]
        %7 = silu %6 : f32[T, 24]
        output "y" = %7
        "#,
    );
    assert_eq!(kinds(&plan), ["product"]);
    let out = plan.run[0].kernel.writes()[0];
    assert_eq!(plan.buffer(out).place, Place::Output(0));
}

#[test]
fn clamped_gate_and_up_with_biases_share_one_kernel() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = input {name = "below5_i"} : i32[T, 1]
        %2 = weight {from = "gate", name = "gate"} : bf16[5, 8, 16]
        %3 = weight {from = "up", name = "up"} : bf16[5, 8, 16]
        %4 = weight {from = "gb", name = "gb"} : f32[5, 16]
        %5 = plan %1 {experts = 5} : plan(5, T, 1)
        %6 = take_rows %5, %0 : f32[T, 8]
        %7 = grouped_matmul %5, %6, %2 {spec = "ab,cbd->ad"} : f32[T, 16]
        %8 = grouped_matmul %5, %6, %3 {spec = "ab,cbd->ad"} : f32[T, 16]
        %9 = take_experts %5, %4 : f32[T, 16]
        %10 = add %7, %9 : f32[T, 16]
        %11 = const {value = 0.5} : f32[T, 16]
        %12 = minimum %10, %11 : f32[T, 16]
        %13 = sigmoid %12 : f32[T, 16]
        %14 = mul %12, %13 : f32[T, 16]
        %15 = mul %14, %8 : f32[T, 16]
        output "y" = %15
        "#,
    );
    assert_eq!(kinds(&plan), ["group", "product"]);
    let Kernel::Product(product) = &plan.run[1].kernel else { panic!("{:?}", plan.run[1]) };
    assert_eq!(product.weights.len(), 2);
    let text = moec_plan::print(&plan);
    assert!(text.contains("gb[col + 16*expert]"), "{text}");
}

#[test]
fn a_product_that_two_trees_need_is_stored() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = weight {from = "w", name = "w"} : f32[8, 24]
        %2 = einsum %0, %1 {spec = "ab,bc->ac"} : f32[T, 24]
        %3 = silu %2 : f32[T, 24]
        %4 = tanh %2 : f32[T, 24]
        output "a" = %3
        output "b" = %4
        "#,
    );
    assert_eq!(kinds(&plan), ["product", "map", "map"]);
}

#[test]
fn batched_experts_keep_their_layout() {
    // sum over e of p[e] * (silu(x @ w1[e]) @ w2[e]), as lowered without dispatch.
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = input {name = "p"} : f32[T, 3]
        %2 = weight {from = "w1", name = "w1"} : f32[3, 8, 16]
        %3 = weight {from = "w2", name = "w2"} : f32[3, 16, 8]
        %4 = einsum %0, %2 {spec = "ab,cbd->cad"} : f32[3, T, 16]
        %5 = silu %4 : f32[3, T, 16]
        %6 = einsum %5, %3 {spec = "abc,acd->abd"} : f32[3, T, 8]
        %7 = broadcast %1 {map = [1, 0], shape = [3, T, 8]} : f32[3, T, 8]
        %8 = mul %7, %6 : f32[3, T, 8]
        %9 = sum %8 {axis = 0} : f32[T, 8]
        output "y" = %9
        "#,
    );
    assert_eq!(kinds(&plan), ["product", "product", "reduce"]);
}

#[test]
fn what_weights_decide_is_computed_when_they_are_loaded() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = weight {from = "w", name = "w"} : bf16[8, 24]
        %2 = weight {from = "s", name = "s"} : f32[24]
        %3 = cast %1 {to = f32} : f32[8, 24]
        %4 = exp %2 : f32[24]
        %5 = broadcast %4 {map = [1], shape = [8, 24]} : f32[8, 24]
        %6 = mul %3, %5 : f32[8, 24]
        %7 = einsum %0, %6 {spec = "ab,bc->ac"} : f32[T, 24]
        %8 = einsum %0, %3 {spec = "ab,bc->ac"} : f32[T, 24]
        %9 = broadcast %4 {map = [1], shape = [T, 24]} : f32[T, 24]
        %10 = add %8, %9 : f32[T, 24]
        output "a" = %7
        output "b" = %10
        "#,
    );
    assert_eq!(kinds(&plan), ["product", "product"]);
    // The cast alone is not computed: panels keep the shorter float.
    let text = moec_plan::print(&plan);
    assert!(text.contains("v3_panels: bf16"), "{text}");
}

#[test]
fn shorter_floats_are_widened_once_for_gate_and_up() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : bf16[T, 8]
        %1 = input {name = "below5_i"} : i32[T, 2]
        %2 = weight {from = "gate", name = "gate"} : bf16[5, 8, 16]
        %3 = weight {from = "up", name = "up"} : bf16[5, 8, 16]
        %4 = slice %1 {axis = 1, size = 1, start = 1, step = 1} : i32[T, 1]
        %5 = plan %4 {experts = 5} : plan(5, T, 1)
        %6 = take_rows %5, %0 : bf16[T, 8]
        %7 = grouped_matmul %5, %6, %2 {spec = "ab,cbd->ad"} : f32[T, 16]
        %8 = grouped_matmul %5, %6, %3 {spec = "ab,cbd->ad"} : f32[T, 16]
        %9 = gelu %7 : f32[T, 16]
        %10 = mul %9, %8 : f32[T, 16]
        output "y" = %10
        "#,
    );
    assert_eq!(kinds(&plan), ["group", "map", "product"]);
}

#[test]
fn pieces_of_a_concat_are_computed_in_place() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = weight {from = "w", name = "w"} : f32[8, 24]
        %2 = einsum %0, %1 {spec = "ab,bc->ac"} : f32[T, 24]
        %3 = relu %2 : f32[T, 24]
        %4 = tanh %0 : f32[T, 8]
        %5 = concat %3, %4 {axis = 1, size = 32} : f32[T, 32]
        output "y" = %5
        "#,
    );
    assert_eq!(kinds(&plan), ["product", "map"]);
}

#[test]
fn the_text_of_a_plan() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = weight {from = "w", name = "w"} : bf16[8, 20]
        %2 = einsum %0, %1 {spec = "ab,bc->ac"} : f32[T, 20]
        %3 = silu %2 : f32[T, 20]
        %4 = softmax %3 {axis = 1} : f32[T, 20]
        output "y" = %4
        "#,
    );
    let wanted = "\
plan test
dim T
panels of 16 columns

buffers
    x: f32[8*T] input 0
    w: bf16[160] weight 0
    v1_panels: bf16[256] kept
    v3: f32[20*T] run 0..1
    y: f32[20*T] output 0

load
   0 pack_v2: panels v1_panels of w[n0 + 20*n1 + 40*k0], groups [], n [20, 2] side by side, k [4]

run
   0 product_v3: product of T rows, 20 columns, 8 deep: x[8*row + k] by v1_panels
       v3[20*row + col] = silu(acc0)
   1 row_v4: softmax over [T], r < 20
       y[20*i0 + r] = softmax of v3[20*i0 + r]
";
    assert_eq!(moec_plan::print(&plan), wanted);
}

#[test]
fn a_chain_of_plans_is_grouped_once() {
    let plan = check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 8]
        %1 = input {name = "below5_i"} : i32[T, 1]
        %2 = weight {from = "w", name = "w"} : f32[2, 8, 16]
        %3 = input {name = "g"} : f32[T, 1]
        %4 = plan %1 {experts = 5} : plan(5, T, 1)
        %5 = plan_capacity %4 {capacity = 2, group = T, slots_first = true} : plan(5, T, 1)
        %6 = literal {values = [3, 1]} : i32[2]
        %7 = plan_subset %5, %6 : plan(2, T, 1)
        %8 = take_rows %7, %0 : f32[T, 8]
        %9 = grouped_matmul %7, %8, %2 {spec = "ab,cbd->ad"} : f32[T, 16]
        %10 = combine %7, %3, %9 : f32[T, 16]
        output "y" = %10
        "#,
    );
    assert_eq!(kinds(&plan), ["seat", "map", "map", "group", "product", "reduce"]);
}
