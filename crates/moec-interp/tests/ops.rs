//! Every operation against values computed by hand, in `tests/ops/*.cases`. A case is
//!
//! ```text
//! # mnemonic: what it shows
//! dim T                      dims, as in .moir
//! T = 2                      values of run-time dims
//! x = [1, 2]                 elements of inputs, in row-major order
//! %0 = input {..} : f32[T]   the operations
//! = [1, 2]                   elements of the last value; or
//! ! message                  part of the error
//! ```

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

use std::collections::{BTreeMap, BTreeSet};

use moec_interp::{Tensor, run};
use moec_ir::{Module, Op, Sizes, read};

const FILES: &[(&str, &str)] = &[
    ("source", include_str!("ops/source.cases")),
    ("element", include_str!("ops/element.cases")),
    ("layout", include_str!("ops/layout.cases")),
    ("reduce", include_str!("ops/reduce.cases")),
    ("select", include_str!("ops/select.cases")),
    ("contract", include_str!("ops/contract.cases")),
    ("dispatch", include_str!("ops/dispatch.cases")),
];

#[derive(Default)]
struct Case<'a> {
    title: &'a str,
    module: Vec<&'a str>,
    sizes: Sizes,
    data: Vec<(&'a str, Vec<f64>)>,
    expected: Option<Result<Vec<f64>, &'a str>>,
}

fn numbers(list: &str) -> Vec<f64> {
    let inner = list.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')).unwrap();
    inner.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            cases.push(Case { title, ..Case::default() });
            continue;
        }
        let case: &mut Case<'_> = cases.last_mut().unwrap();
        if let Some(list) = line.strip_prefix("= ") {
            case.expected = Some(Ok(numbers(list)));
        } else if let Some(message) = line.strip_prefix("! ") {
            case.expected = Some(Err(message));
        } else if line.starts_with('%') || line.starts_with("dim ") {
            case.module.push(line);
        } else {
            let (name, value) = line.split_once(" = ").unwrap();
            match value.parse() {
                Ok(size) => drop(case.sizes.insert(name.into(), size)),
                Err(_) => case.data.push((name, numbers(value))),
            }
        }
    }
    cases
}

/// The module of a case, with the last value as its output.
fn module(case: &Case<'_>) -> Module {
    let last = case.module.iter().filter(|line| line.starts_with('%')).count() - 1;
    let text = format!("module m {{\n{}\noutput \"y\" = %{last}\n}}\n", case.module.join("\n"));
    read(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", case.title))
}

fn inputs(case: &Case<'_>, module: &Module) -> BTreeMap<String, Tensor> {
    let of = |(name, data): &(&str, Vec<f64>)| {
        let found = module.inputs().chain(module.weights()).find(|(_, n, _)| n == name);
        let ty = found.unwrap().2;
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(&case.sizes).unwrap() as usize).collect();
        (name.to_string(), Tensor::new(ty.dtype, shape, data.clone()).unwrap())
    };
    case.data.iter().map(of).collect()
}

/// Equal, but for the last bits of functions that no machine computes exactly.
fn same(found: f64, wanted: f64) -> bool {
    found == wanted || (found.is_nan() && wanted.is_nan()) || (found - wanted).abs() <= 1e-14 * wanted.abs()
}

fn check(case: &Case<'_>) {
    let module = module(case);
    let result = run(&module, &case.sizes, &inputs(case, &module));
    match (result, case.expected.as_ref().expect(case.title)) {
        (Ok(outputs), Ok(wanted)) => {
            let found = &outputs[0].1.data;
            let equal = found.len() == wanted.len() && found.iter().zip(wanted).all(|(&f, &w)| same(f, w));
            assert!(equal, "{}: found {found:?}, expected {wanted:?}", case.title);
        }
        (Err(error), Err(wanted)) => {
            assert!(error.to_string().contains(wanted), "{}: {error}", case.title);
        }
        (found, wanted) => panic!("{}: found {found:?}, expected {wanted:?}", case.title),
    }
}

#[test]
fn every_operation_has_its_value() {
    let mut covered = BTreeSet::new();
    for (file, text) in FILES {
        let cases = cases(text);
        assert!(!cases.is_empty(), "{file} has no case");
        for case in cases {
            let (subject, _) = case.title.split_once(':').unwrap();
            let op = Op::from_mnemonic(subject).expect(case.title);
            assert!(module(&case).nodes.iter().any(|node| node.op == op), "{}: no {op}", case.title);
            covered.insert(op);
            check(&case);
        }
    }
    let missing: Vec<&Op> = Op::ALL.iter().filter(|op| !covered.contains(op)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
