//! Which programs treat rows independently.

use moec_ir::{Module, Rowwise, read, rowwise};

fn module(body: &str) -> Module {
    let text = format!("module m {{\n{body}\n}}\n");
    read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[track_caller]
fn accepted(body: &str) -> Rowwise {
    rowwise(&module(body), "T").expect(body)
}

/// Each of these, as the result of a program over `x: f32[T, 4]`, mixes rows.
#[track_caller]
fn refused(nodes: &str) {
    let count = nodes.lines().filter(|l| l.trim_start().starts_with('%')).count();
    let body = format!("dim T\n%0 = input {{name = \"x\"}} : f32[T, 4]\n{nodes}\noutput \"y\" = %{count}");
    assert_eq!(rowwise(&module(&body), "T"), None, "{nodes}");
}

const SPARSE: &str = r#"
    dim T
    dim H = 16
    %0 = input {name = "x"} : f32[T, H]
    %1 = weight {from = "r", name = "router"} : f32[4, H]
    %2 = weight {from = "w", name = "w"} : f32[4, 8, H]
    %3 = weight {from = "b", name = "b"} : f32[4, 8]
    %4 = einsum %0, %1 {spec = "ab,cb->ac"} : f32[T, 4]
    %5 = softmax %4 {axis = 1} : f32[T, 4]
    %6 = top_k %5 {axis = 1, k = 2, largest = true} : route(f32[T, 4], 1, 2)
    %7 = route_index %6 : i32[T, 2]
    %8 = route_value %6 : f32[T, 2]
    %9 = plan %7 {experts = 4} : plan(4, T, 2)
    %10 = take_rows %9, %0 : f32[2*T, H]
    %11 = grouped_matmul %9, %10, %2 {spec = "ab,cdb->ad"} : f32[2*T, 8]
    %12 = take_experts %9, %3 : f32[2*T, 8]
    %13 = add %11, %12 : f32[2*T, 8]
    %14 = const {value = 7} : f32[2*T, 8]
    %15 = minimum %13, %14 : f32[2*T, 8]
    %16 = combine %9, %8, %15 : f32[T, 8]
    output "y" = %16
"#;

#[test]
fn sparse_dispatch_is_row_by_row() {
    let axes = accepted(SPARSE);
    assert_eq!(axes.inputs.into_iter().collect::<Vec<_>>(), [("x".into(), 0)]);
    assert_eq!(axes.outputs.into_iter().collect::<Vec<_>>(), [("y".into(), 0)]);
}

#[test]
fn plan_rows_alone_are_no_output() {
    assert_eq!(rowwise(&module(&SPARSE.replace("\"y\" = %16", "\"y\" = %13")), "T"), None);
    // Plan rows read as tokens in order.
    let wrong = SPARSE.replace(
        "output \"y\" = %16",
        "%17 = reshape %13 {shape = [T, 2, 8]} : f32[T, 2, 8]\noutput \"y\" = %17",
    );
    assert_eq!(rowwise(&module(&wrong), "T"), None);
}

/// Pairs as rows: indices flattened, `x` repeated, results weighted, reshaped and summed.
#[test]
fn flattened_pairs_are_row_by_row() {
    accepted(
        r#"
        dim T
        %0 = input {name = "x"} : f32[T, 16]
        %1 = input {name = "scores"} : f32[T, 4]
        %2 = weight {from = "w", name = "w"} : f32[4, 8, 16]
        %3 = top_k %1 {axis = 1, k = 2, largest = true} : route(f32[T, 4], 1, 2)
        %4 = route_index %3 : i32[T, 2]
        %5 = reshape %4 {shape = [2*T]} : i32[2*T]
        %6 = broadcast %0 {map = [0, 2], shape = [T, 2, 16]} : f32[T, 2, 16]
        %7 = reshape %6 {shape = [2*T, 16]} : f32[2*T, 16]
        %8 = einsum %7, %2 {spec = "ab,cdb->cad"} : f32[4, 2*T, 8]
        %9 = one_hot %5 {size = 4} : bool[2*T, 4]
        %10 = cast %9 {to = f32} : f32[2*T, 4]
        %11 = einsum %10, %8 {spec = "ab,bac->ac"} : f32[2*T, 8]
        %12 = route_value %3 : f32[T, 2]
        %13 = reshape %12 {shape = [2*T]} : f32[2*T]
        %14 = einsum %13, %11 {spec = "a,ab->ab"} : f32[2*T, 8]
        %15 = reshape %14 {shape = [T, 2, 8]} : f32[T, 2, 8]
        %16 = sum %15 {axis = 1} : f32[T, 8]
        %17 = transpose %16 {perm = [1, 0]} : f32[8, T]
        output "y" = %16
        output "z" = %17
        "#,
    );
    accepted(
        r#"
        dim T
        %0 = input {name = "x"} : f32[T, 16]
        %1 = input {name = "i"} : i32[T, 2]
        %2 = input {name = "g"} : f32[T, 2]
        %3 = weight {from = "w", name = "w"} : f32[4, 8, 16]
        %4 = plan %1 {experts = 4} : plan(4, T, 2)
        %5 = plan_flatten %4 : plan(4, 2*T, 1)
        %6 = broadcast %0 {map = [0, 2], shape = [T, 2, 16]} : f32[T, 2, 16]
        %7 = reshape %6 {shape = [2*T, 16]} : f32[2*T, 16]
        %8 = take_rows %5, %7 : f32[2*T, 16]
        %9 = grouped_matmul %5, %8, %3 {spec = "ab,cdb->ad"} : f32[2*T, 8]
        %10 = combine %4, %2, %9 : f32[T, 8]
        output "y" = %10
        "#,
    );
}

#[test]
fn subsets_are_row_by_row_and_capacities_are_not() {
    let program = |plan: &str| {
        format!(
            r#"
        dim T
        %0 = input {{name = "i"}} : i32[T, 2]
        %1 = input {{name = "x"}} : f32[T, 4]
        %2 = input {{name = "w"}} : f32[T, 2]
        %3 = plan %0 {{experts = 4}} : plan(4, T, 2)
        %4 = literal {{values = [2, 0]}} : i32[2]
        %5 = {plan}
        %6 = take_rows %5, %1 : f32[2*T, 4]
        %7 = combine %5, %2, %6 : f32[T, 4]
        output "y" = %7
        "#
        )
    };
    accepted(&program("plan_subset %3, %4 : plan(2, T, 2)"));
    let capacity = "plan_capacity %3 {capacity = 1, group = T, slots_first = true} : plan(4, T, 2)";
    assert_eq!(rowwise(&module(&program(capacity)), "T"), None);
}

#[test]
fn lookups_by_row_are_row_by_row() {
    let axes = accepted(
        r#"
        dim T
        %0 = input {name = "token"} : i32[T]
        %1 = weight {from = "t", name = "table"} : i32[100, 2]
        %2 = gather %1, %0 {along = [-1], axis = 0} : i32[T, 2]
        %3 = input {name = "scores"} : f32[4, T]
        %4 = gather %3, %2 {along = [1, -1], axis = 0} : f32[2, T]
        %5 = weight {from = "b", name = "bias"} : f32[2]
        %6 = neg %5 : f32[2]
        output "y" = %4
        output "b" = %6
        "#,
    );
    assert_eq!(axes.inputs.into_iter().collect::<Vec<_>>(), [("scores".into(), 1), ("token".into(), 0)]);
    assert_eq!(axes.outputs.into_iter().collect::<Vec<_>>(), [("y".into(), 1)]);
}

#[test]
fn mixing_rows_is_refused() {
    refused("%1 = sum %0 {axis = 0} : f32[4]");
    refused("%1 = softmax %0 {axis = 0} : f32[T, 4]");
    refused("%1 = cumsum %0 {axis = 0, exclusive = false} : f32[T, 4]");
    refused("%1 = argsort %0 {axis = 0, descending = false} : i32[T, 4]");
    refused("%1 = reshape %0 {shape = [4, T]} : f32[4, T]");
    refused("%1 = slice %0 {axis = 0, size = T, start = 0, step = 1} : f32[T, 4]");
    refused("%1 = concat %0, %0 {axis = 0, size = 2*T} : f32[2*T, 4]");
    refused("%1 = einsum %0, %0 {spec = \"ab,ac->bc\"} : f32[4, 4]");
    refused("%1 = einsum %0, %0 {spec = \"ab,cb->ac\"} : f32[T, T]");
    refused("%1 = transpose %0 {perm = [1, 0]} : f32[4, T]\n%2 = reshape %1 {shape = [4*T]} : f32[4*T]");
    refused("%1 = iota {axis = 0} : i32[T]");
    refused(
        "%1 = argsort %0 {axis = 1, descending = false} : i32[T, 4]\n\
         %2 = slice %1 {axis = 1, size = 1, start = 0, step = 1} : i32[T, 1]\n\
         %3 = reshape %2 {shape = [T]} : i32[T]\n\
         %4 = gather %0, %3 {along = [-1], axis = 0} : f32[T, 4]",
    );
}

#[test]
fn sizes_computed_from_rows_are_refused() {
    let capacity = "dim T\ndim C := (T * 2)\n%0 = input {name = \"x\"} : f32[T]\n";
    let with = |rest: &str| rowwise(&module(&format!("{capacity}{rest}")), "T");
    assert!(with("output \"y\" = %0").is_some());
    assert_eq!(with("%1 = const {value = 0} : f32[C]\noutput \"y\" = %1"), None);
    assert_eq!(with("fact 1 <= T\noutput \"y\" = %0"), None);
    assert!(rowwise(&module(SPARSE), "S").is_some(), "nothing depends on S");
}
