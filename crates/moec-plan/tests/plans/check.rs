//! One program, planned and evaluated, against the interpreter.

use std::collections::BTreeMap;

use moec_interp::{Tensor, generate};
use moec_ir::{DType, Module, Sizes, print, read};
use moec_plan::{Panels, Plan};

use crate::evaluator::evaluate;

pub(crate) fn close(found: &Tensor, wanted: &Tensor) -> Result<(), String> {
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
pub(crate) fn check(module: &Module, given: impl Fn(&Sizes) -> BTreeMap<String, Tensor>) {
    let module = module.instantiate(&Sizes::new()).unwrap();
    for (columns, pairs, tokens) in [(16, false, 5), (4, true, 1), (4, true, 5), (8, false, 0)] {
        let sizes: Sizes = [("T".into(), tokens)].into();
        let given = given(&sizes);
        let wanted = moec_interp::run(&module, &sizes, &given).unwrap();
        let plan = moec_plan::plan(&module, Panels { columns, pairs });
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

/// A module in text, on inputs as the generator makes them from names.
#[track_caller]
pub(crate) fn check_text(body: &str) -> Plan {
    let module = read(&format!("module test {{\n    dim T\n{body}\n}}\n")).unwrap();
    check(&module, |sizes| generate::inputs(&module, sizes, 7).unwrap());
    moec_plan::plan(&module.instantiate(&Sizes::new()).unwrap(), Panels { columns: 16, pairs: false })
        .unwrap()
}

/// The kinds of the run steps.
pub(crate) fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.run.iter().map(|step| step.kernel.kind()).collect()
}

/// A module in text whose data make an index leave its range.
#[track_caller]
pub(crate) fn check_fault(body: &str, tokens: u64) {
    let module = read(&format!("module test {{\n    dim T\n{body}\n}}\n")).unwrap();
    let sizes: Sizes = [("T".into(), tokens)].into();
    let given = generate::inputs(&module, &sizes, 7).unwrap();
    assert!(moec_interp::run(&module, &sizes, &given).is_err());
    let plan = moec_plan::plan(&module, Panels { columns: 16, pairs: false }).unwrap();
    assert!(evaluate(&plan, &sizes, &given).is_err());
}
