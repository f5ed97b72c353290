//! Several programs for one set of weights.

use moec_interp::generate;
use moec_ir::{Module, Sizes, read};
use moec_plan::{Kernel, Panels, Phase, Place, Plan, plan_programs};

use crate::check::close;
use crate::evaluator::evaluate;

const PANELS: Panels = Panels { columns: 4, pairs: false };

fn module(body: &str) -> Module {
    let module = read(&format!("module test {{\n    dim T\n{body}\n}}\n")).unwrap();
    module.instantiate(&Sizes::new()).unwrap()
}

/// Experts one by one and summed, with a scale that is folded into their weights.
const DENSE: &str = r#"
    %0 = input {name = "x"} : f32[T, 6]
    %1 = weight {from = "w", name = "w"} : f32[3, 5, 6]
    %2 = weight {from = "s", name = "s"} : f32[3]
    %3 = broadcast %2 {map = [0], shape = [3, 5, 6]} : f32[3, 5, 6]
    %4 = mul %1, %3 : f32[3, 5, 6]
    %5 = einsum %0, %4 {spec = "ab,cdb->acd"} : f32[T, 3, 5]
    %6 = sum %5 {axis = 1} : f32[T, 5]
    output "y" = %6"#;

/// The same, with weights in another order and a scratch buffer of its own.
const AGAIN: &str = r#"
    %0 = input {name = "x"} : f32[T, 6]
    %1 = weight {from = "s", name = "s"} : f32[3]
    %2 = weight {from = "w", name = "w"} : f32[3, 5, 6]
    %3 = broadcast %1 {map = [0], shape = [3, 5, 6]} : f32[3, 5, 6]
    %4 = mul %2, %3 : f32[3, 5, 6]
    %5 = einsum %0, %4 {spec = "ab,cdb->acd"} : f32[T, 3, 5]
    %6 = softmax %5 {axis = 1} : f32[T, 3, 5]
    %7 = sum %5 {axis = 1} : f32[T, 5]
    %8 = sum %6 {axis = 1} : f32[T, 5]
    %9 = sub %8, %8 : f32[T, 5]
    %10 = add %7, %9 : f32[T, 5]
    output "y" = %10"#;

/// Weights summed first.
const SUMMED: &str = r#"
    %0 = input {name = "x"} : f32[T, 6]
    %1 = weight {from = "w", name = "w"} : f32[3, 5, 6]
    %2 = weight {from = "s", name = "s"} : f32[3]
    %3 = einsum %2, %1 {spec = "a,abc->bc"} : f32[5, 6]
    %4 = einsum %0, %3 {spec = "ab,cb->ac"} : f32[T, 5]
    output "y" = %4"#;

fn planned() -> (Module, Plan) {
    let [dense, again, summed] = [DENSE, AGAIN, SUMMED].map(module);
    let plan = plan_programs(&dense, &[(3, &again), (7, &summed)], PANELS).unwrap();
    (dense, plan)
}

#[test]
fn the_number_of_tokens_selects_the_program() {
    let (dense, plan) = planned();
    for tokens in [0, 1, 2, 3, 6, 7, 20] {
        let sizes: Sizes = [("T".into(), tokens)].into();
        let given = generate::inputs(&dense, &sizes, 7).unwrap();
        let wanted = moec_interp::run(&dense, &sizes, &given).unwrap();
        let found = evaluate(&plan, &sizes, &given).unwrap();
        close(&found[0].1, &wanted[0].1).unwrap_or_else(|message| panic!("T = {tokens}: {message}"));
        let at = [3, 7].iter().filter(|from| tokens >= **from).count();
        assert_eq!(plan.programs().nth(at).unwrap().1, plan.active(&sizes));
    }
}

#[test]
fn what_equal_load_steps_make_is_made_once() {
    let (_, plan) = planned();
    let count =
        |phase, is: fn(&Kernel) -> bool| plan.steps(phase).iter().filter(|step| is(&step.kernel)).count();
    // The scaled stack for two programs; for the third the stack as it is, and its sum.
    assert_eq!(count(Phase::Load, |kernel| matches!(kernel, Kernel::Pack(_))), 3);
    assert_eq!(count(Phase::Run, |kernel| matches!(kernel, Kernel::Product(_))), 3);
    assert_eq!(plan.weights.len(), 2);
    let places = |place: fn(&Place) -> bool| plan.buffers.iter().filter(|b| place(&b.place)).count();
    assert_eq!(places(|place| matches!(place, Place::Output(_))), 1);
    assert_eq!(places(|place| matches!(place, Place::Weight(_))), 2);
    assert_eq!(places(|place| *place == Place::Kept), 2);
}

#[test]
fn one_open_symbol_selects() {
    let [first, second] = [DENSE, AGAIN].map(|body| {
        let text = format!("module test {{\n    dim T\n    dim U\n{body}\n}}\n");
        read(&text).unwrap().instantiate(&Sizes::new()).unwrap()
    });
    let error = plan_programs(&first, &[(3, &second)], PANELS).unwrap_err().to_string();
    assert_eq!(error, "no single symbol selects the program");
    let [first, second] = [DENSE, AGAIN].map(module);
    let error = plan_programs(&first, &[(3, &second), (3, &first)], PANELS).unwrap_err().to_string();
    assert_eq!(error, "programs are not in ascending order");
}
