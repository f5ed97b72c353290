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
    %6 = plan_subset %5 {experts = [5, 1]} : plan(2, D*T, 2)
    %7 = take_rows %6, %1 : f32[2*D*T, 4]
    %8 = grouped_matmul %6, %7, %2 {spec = "ab,cbd->ad"} : f32[2*D*T, 5]
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
    let rest = r#"    %9 = silu %8 : f32[2*D*T, 5]
    %10 = reshape %9 {shape = [2*D*T, 5, 1]} : f32[2*D*T, 5, 1]
    %11 = transpose %10 {perm = [2, 1, 0]} : f32[1, 5, 2*D*T]
    %12 = sum %11 {axis = 1} : f32[1, 2*D*T]
    %13 = transpose %12 {perm = [1, 0]} : f32[2*D*T, 1]
    %14 = combine %6, %3, %13 : f32[D*T, 1]
    output "y" = %14
"#;
    assert_eq!(checked(rest).as_deref(), Ok(format!("{HEAD}{rest}}}\n").as_str()));
}

#[test]
fn rows_of_dropped_pairs_reach_no_output() {
    refused("output \"y\" = %8", "output y has rows of dropped pairs");
    refused("%9 = sum %8 {axis = 0} : f32[5]\noutput \"y\" = %9", "sum of rows");
    refused("output \"y\" = %7", "output y has rows of dropped pairs");
    refused("%9 = combine %4, %3, %8 : f32[D*T, 5]\noutput \"y\" = %9", "another plan drops");
    refused("%9 = cast %8 {to = i32} : i32[2*D*T, 5]", "cast of rows");
    refused(
        "%9 = take_rows %5, %1 : f32[2*D*T, 4]\n%10 = concat %8, %8 {axis = 0, size = 8*T} : f32[8*T, 5]\noutput \"y\" = %9",
        "concat of rows",
    );
    refused("%9 = reshape %8 {shape = [10*D*T]} : f32[10*D*T]", "reshape of rows");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let plan = |rest: &str, message: &str| refused(rest, message);
    plan(
        "%9 = plan_capacity %4 {capacity = C, group = 3*T, slots_first = true} : plan(6, D*T, 2)",
        "groups of 3*T",
    );
    plan("%9 = plan_subset %4 {experts = [6]} : plan(1, D*T, 2)", "expert 6 is not");
    plan("%9 = plan_subset %4 {experts = [-1]} : plan(1, D*T, 2)", "expert -1 is not");
    plan("%9 = plan_subset %4 {experts = []} : plan(0, D*T, 2)", "at least one");
    plan("%9 = plan_subset %4 {experts = [3, 2, 3]} : plan(3, D*T, 2)", "none twice");
}
