//! Text and types of plans that drop pairs, and what may be computed from the rows of those.

use moec_ir::{print, read};

const HEAD: &str = r#"module m {
    dim T
    dim D = 2
    dim C = 3
    %0 = input {name = "index"} : i32[D*T, 2]
    %1 = input {name = "x"} : f32[D*T, 4]
    %2 = weight {from = "w", name = "w"} : f32[2, 4, 5]
    %3 = input {name = "g"} : f32[D*T, 2]
    %4 = plan %0 {experts = 6} : plan(6, D*T, 2)
    %5 = plan_capacity %4 {capacity = C, group = T, slots_first = true} : plan(6, D*T, 2)
    %6 = literal {values = [5, 1]} : i32[2]
    %7 = plan_subset %5, %6 : plan(2, D*T, 2)
    %8 = take_rows %7, %1 : f32[2*D*T, 4]
    %9 = grouped_matmul %7, %8, %2 {spec = "ab,cbd->ad"} : f32[2*D*T, 5]
"#;

fn checked(rest: &str) -> Result<String, String> {
    let module = read(&format!("{HEAD}{rest}}}\n")).map_err(|e| e.to_string())?;
    Ok(print(&module))
}

fn refused(rest: &str, message: &str) {
    let error = checked(rest).expect_err(rest);
    assert!(error.contains(message), "{error}");
}

#[test]
fn dropped_pairs_are_left_out_by_combine() {
    let rest = r#"    %10 = silu %9 : f32[2*D*T, 5]
    %11 = reshape %10 {shape = [2*D*T, 5, 1]} : f32[2*D*T, 5, 1]
    %12 = transpose %11 {perm = [2, 1, 0]} : f32[1, 5, 2*D*T]
    %13 = sum %12 {axis = 1} : f32[1, 2*D*T]
    %14 = transpose %13 {perm = [1, 0]} : f32[2*D*T, 1]
    %15 = combine %7, %3, %14 : f32[D*T, 1]
    output "y" = %15
"#;
    assert_eq!(checked(rest).as_deref(), Ok(format!("{HEAD}{rest}}}\n").as_str()));
}

#[test]
fn rows_of_dropped_pairs_reach_no_output() {
    refused("output \"y\" = %9", "output y has rows of dropped pairs");
    refused("%10 = sum %9 {axis = 0} : f32[5]\noutput \"y\" = %10", "sum of rows");
    refused("output \"y\" = %8", "output y has rows of dropped pairs");
    refused("%10 = combine %4, %3, %9 : f32[D*T, 5]\noutput \"y\" = %10", "another plan drops");
    refused("%10 = cast %9 {to = i32} : i32[2*D*T, 5]", "cast of rows");
    refused(
        "%10 = take_rows %5, %1 : f32[2*D*T, 4]\n%11 = concat %9, %9 {axis = 0, size = 8*T} : f32[8*T, 5]\noutput \"y\" = %10",
        "concat of rows",
    );
    refused("%10 = reshape %9 {shape = [10*D*T]} : f32[10*D*T]", "reshape of rows");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let plan = |rest: &str, message: &str| refused(rest, message);
    plan(
        "%10 = plan_capacity %4 {capacity = C, group = 3*T, slots_first = true} : plan(6, D*T, 2)",
        "groups of 3*T",
    );
    let list = |ty: &str| {
        format!("%10 = input {{name = \"list\"}} : {ty}\n%11 = plan_subset %4, %10 : plan(6, D*T, 2)")
    };
    plan(&list("i32[7]"), "7 experts are not proved to be some of 6");
    plan(&list("i32[T]"), "T experts are not proved to be some of 6");
    plan(&list("i32[0]"), "0 experts are not proved to be some of 6");
    plan(&list("i32[2, 3]"), "expected one axis");
    plan(&list("f32[6]"), "i32");
}
