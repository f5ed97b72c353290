//! Programs in odd shapes.

use crate::check::{check_fault, check_text};

#[test]
fn reshape_of_everything() {
    check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 6]
        %1 = reshape %0 {shape = [T, 2, 3]} : f32[T, 2, 3]
        %2 = transpose %1 {perm = [0, 2, 1]} : f32[T, 3, 2]
        %3 = reshape %2 {shape = [6*T]} : f32[6*T]
        %4 = exp %2 : f32[T, 3, 2]
        %5 = reshape %4 {shape = [T, 6]} : f32[T, 6]
        output "a" = %3
        output "b" = %5
        "#,
    );
}

#[test]
fn outputs_that_are_something_else_too() {
    check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 3]
        %1 = weight {from = "w", name = "w"} : bf16[3, 2]
        %2 = const {value = 2} : f32[T]
        %3 = literal {values = [1, 2, 3]} : i32[3]
        %4 = einsum %0, %1 {spec = "ab,bc->ac"} : f32[T, 2]
        %5 = relu %4 : f32[T, 2]
        %6 = transpose %5 {perm = [1, 0]} : f32[2, T]
        %7 = cast %1 {to = f32} : f32[3, 2]
        %8 = iota {axis = 0} : i32[T]
        output "input" = %0
        output "weight" = %1
        output "const" = %2
        output "literal" = %3
        output "product" = %4
        output "relu" = %5
        output "again" = %5
        output "turned" = %6
        output "early" = %7
        output "iota" = %8
        "#,
    );
}

#[test]
fn contractions_of_every_kind() {
    check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 6]
        %1 = input {name = "y"} : f16[3, T, 6]
        %2 = weight {from = "w", name = "w"} : bf16[3, 5, 6]
        %3 = einsum %0, %2 {spec = "ab,cdb->acd"} : f32[T, 3, 5]
        %4 = einsum %0, %2 {spec = "ab,cdb->cad"} : f32[3, T, 5]
        %5 = einsum %1, %2 {spec = "abc,adc->abd"} : f32[3, T, 5]
        %6 = einsum %1, %2 {spec = "abc,adc->dba"} : f32[5, T, 3]
        %7 = einsum %0, %1 {spec = "ab,cab->c"} : f32[3]
        %8 = einsum %0, %1 {spec = "ab,cab->a"} : f32[T]
        %9 = einsum %0, %1 {spec = "ab,cdb->adc"} : f32[T, T, 3]
        %10 = einsum %2, %0 {spec = "abc,de->be"} : f32[5, 6]
        %11 = einsum %0, %1 {spec = "ab,cad->abcd"} : f32[T, 6, 3, 6]
        %12 = einsum %2, %2 {spec = "abc,dbc->ad"} : f32[3, 3]
        %13 = einsum %3, %4 {spec = "abc,bad->cd"} : f32[5, 5]
        %14 = einsum %2, %1 {spec = "abc,adc->dab"} : f32[T, 3, 5]
        %15 = einsum %0, %0 {spec = "ab,ab->a"} : f32[T]
        %16 = einsum %0, %0 {spec = "ab,cb->ac"} : f32[T, T]
        output "a" = %3
        output "b" = %4
        output "c" = %5
        output "d" = %6
        output "e" = %7
        output "f" = %8
        output "g" = %9
        output "h" = %10
        output "i" = %11
        output "j" = %12
        output "k" = %13
        output "l" = %14
        output "m" = %15
        output "n" = %16
        "#,
    );
}

#[test]
fn a_turned_product_keeps_the_order_of_its_rows() {
    check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 4, 5]
        %1 = weight {from = "w", name = "w"} : f16[17, 4]
        %2 = einsum %0, %1 {spec = "abc,db->adc"} : f32[T, 17, 5]
        %3 = transpose %2 {perm = [2, 0, 1]} : f32[5, T, 17]
        output "y" = %3
        "#,
    );
}

#[test]
fn long_chains_are_cut() {
    let mut body = String::from("%0 = const {value = 1} : f32\n%1 = input {name = \"x\"} : f32[T]\n");
    body += "%2 = broadcast %0 {map = [], shape = [T]} : f32[T]\n";
    for i in 3..3000 {
        let op = ["broadcast %{} {map = [0], shape = [T]}", "neg %{}", "add %{}, %1"][i % 3];
        body += &format!("%{i} = {} : f32[T]\n", op.replace("{}", &(i - 1).to_string()));
    }
    check_text(&(body + "output \"y\" = %2999\n"));
}

#[test]
fn grouped_products_of_every_kind() {
    check_text(
        r#"
        %0 = input {name = "x"} : f32[T, 4, 6]
        %1 = input {name = "scores"} : f32[T, 5]
        %2 = weight {from = "w", name = "w"} : bf16[5, 6, 3, 4]
        %3 = weight {from = "b", name = "b"} : bf16[5, 3]
        %4 = top_k %1 {axis = 1, k = 2, largest = true} : route(f32[T, 5], 1, 2)
        %5 = route_index %4 : i32[T, 2]
        %6 = route_value %4 : f32[T, 2]
        %7 = plan %5 {experts = 5} : plan(5, T, 2)
        %8 = take_rows %7, %0 : f32[2*T, 4, 6]
        %9 = grouped_matmul %7, %8, %2 {spec = "abc,dceb->ae"} : f32[2*T, 3]
        %10 = grouped_matmul %7, %8, %2 {spec = "abc,dceb->aec"} : f32[2*T, 3, 6]
        %11 = grouped_matmul %7, %8, %2 {spec = "abc,dcef->aef"} : f32[2*T, 3, 4]
        %12 = weight {from = "v", name = "v"} : f32[5, 4, 3, 6]
        %13 = plan_flatten %7 : plan(5, 2*T, 1)
        %14 = take_rows %13, %9 : f32[2*T, 3]
        %15 = grouped_matmul %13, %14, %2 {spec = "ab,cdbe->ade"} : f32[2*T, 6, 4]
        %16 = reshape %6 {shape = [2*T, 1]} : f32[2*T, 1]
        %17 = combine %13, %16, %15 : f32[2*T, 6, 4]
        %18 = take_experts %7, %3 : bf16[2*T, 3]
        %19 = cast %18 {to = f32} : f32[2*T, 3]
        %20 = add %9, %19 : f32[2*T, 3]
        %21 = take_slots %7, %6 : f32[2*T]
        %22 = broadcast %21 {map = [0], shape = [2*T, 3]} : f32[2*T, 3]
        %23 = mul %20, %22 : f32[2*T, 3]
        %24 = combine %7, %6, %23 : f32[T, 3]
        %25 = grouped_matmul %7, %8, %12 {spec = "abc,dbec->abe"} : f32[2*T, 4, 3]
        %26 = grouped_matmul %7, %8, %12 {spec = "abc,dbef->abe"} : f32[2*T, 4, 3]
        %27 = grouped_matmul %7, %8, %12 {spec = "abc,dbec->a"} : f32[2*T]
        output "a" = %10
        output "b" = %11
        output "c" = %17
        output "d" = %24
        output "e" = %25
        output "f" = %26
        output "g" = %27
        "#,
    );
}

#[test]
fn indices_out_of_range_are_faults() {
    let gather = |size: &str| {
        format!(
            r#"
            %0 = input {{name = "x"}} : f32[{size}, 3]
            %1 = input {{name = "below9_i"}} : i32[40]
            %2 = gather %0, %1 {{along = [-1], axis = 0}} : f32[40, 3]
            output "y" = %2
            "#
        )
    };
    check_fault(&gather("8"), 1);
    check_fault(&gather("T"), 0);
    check_fault(
        r#"
        %0 = input {name = "below9_i"} : i32[T, 1]
        %1 = plan %0 {experts = 8} : plan(8, T, 1)
        %2 = input {name = "x"} : f32[T, 3]
        %3 = take_rows %1, %2 : f32[T, 3]
        output "y" = %3
        "#,
        40,
    );
    check_fault(
        r#"
        %0 = input {name = "x"} : f32[8]
        %1 = input {name = "below9_i"} : i32[40]
        %2 = input {name = "y"} : f32[40]
        %3 = scatter_add %0, %1, %2 {axis = 0} : f32[8]
        output "y" = %3
        "#,
        1,
    );
}
