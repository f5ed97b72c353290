//! Plans, evaluated as their types say, against the interpreter.

mod evaluator;

use std::collections::BTreeMap;

use evaluator::evaluate;
use moec_interp::{Tensor, generate};
use moec_ir::{DType, Module, Sizes, print, read};

fn close(found: &Tensor, wanted: &Tensor) -> Result<(), String> {
    if (found.dtype, &found.shape) != (wanted.dtype, &wanted.shape) {
        return Err(format!("{} and {}", found.ty(), wanted.ty()));
    }
    let finite = wanted.data.iter().filter(|v| v.is_finite());
    let scale = finite.fold(1e-30_f64, |scale, v| scale.max(v.abs()));
    for (at, (a, b)) in found.data.iter().zip(&wanted.data).enumerate() {
        let near = (a - b).abs() <= if found.dtype == DType::F32 { 1e-9 * scale } else { 0.0 };
        if !(near || a == b || (a.is_nan() && b.is_nan())) {
            return Err(format!("element {at} is {a}, expected {b}"));
        }
    }
    Ok(())
}

/// Plans for two panel widths and several token counts.
#[track_caller]
fn check(module: &Module, given: impl Fn(&Sizes) -> BTreeMap<String, Tensor>) {
    let module = module.instantiate(&Sizes::new()).unwrap();
    for (columns, tokens) in [(16, 5), (4, 1), (8, 0)] {
        let sizes: Sizes = [("T".into(), tokens)].into();
        let given = given(&sizes);
        let Ok(wanted) = moec_interp::run(&module, &sizes, &given) else { continue };
        let plan = moec_plan::plan(&module, columns);
        let plan = plan.unwrap_or_else(|error| panic!("{error}\n{}", print(&module)));
        let found =
            evaluate(&plan, &sizes, &given).unwrap_or_else(|_| panic!("a fault in\n{}", print(&module)));
        for ((name, found), (_, wanted)) in found.iter().zip(&wanted) {
            if let Err(message) = close(found, wanted) {
                panic!("{name} for T = {tokens}: {message}\n{}", print(&module));
            }
        }
    }
}

#[test]
fn random_programs_give_the_interpreters_results() {
    for seed in 0..300 {
        let options = generate::Options { discontinuous: seed % 2 == 0, ..Default::default() };
        let module = generate::module(seed, &options);
        check(&module, |sizes| generate::inputs(&module, sizes, seed).unwrap());
    }
}

/// A module in text, on inputs as the generator makes them from names.
#[track_caller]
fn check_text(body: &str) {
    let module = read(&format!("module test {{\n    dim T\n{body}\n}}\n")).unwrap();
    check(&module, |sizes| generate::inputs(&module, sizes, 7).unwrap());
}

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
