//! Whole programs: what is computed, what is refused, what is borrowed.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

use std::collections::BTreeMap;

use moec_interp::{InterpError, Tensor, Value, run, run_all};
use moec_ir::{DType, IrError, Module, Sizes, read};

fn program() -> Module {
    let text = r#"module m {
        dim T
        dim H = 2
        dim Q := floor((T * 0.5))
        fact Q <= T
        %0 = input {name = "x"} : f32[T, H]
        %1 = weight {from = "unused", name = "unused"} : f32[H]
        %2 = neg %1 : f32[H]
        %3 = slice %0 {axis = 0, size = Q, start = 0, step = 1} : f32[Q, H]
        %4 = add %3, %3 : f32[Q, H]
        output "half" = %4
        output "all" = %0
        output "again" = %4
    }"#;
    read(text).unwrap()
}

fn sizes(tokens: u64) -> Sizes {
    [("T".into(), tokens)].into()
}

fn x(shape: [usize; 2], data: &[f64]) -> BTreeMap<String, Tensor> {
    [("x".to_string(), Tensor::new(DType::F32, shape, data.to_vec()).unwrap())].into()
}

#[test]
fn only_what_outputs_need_is_computed() {
    let outputs = run(&program(), &sizes(3), &x([3, 2], &[1., 2., 3., 4., 5., 6.])).unwrap();
    let shown: Vec<_> = outputs.iter().map(|(name, t)| (name.as_str(), &t.shape, &t.data)).collect();
    let half = ("half", &vec![1, 2], &vec![2., 4.]);
    assert_eq!(shown[0], half);
    assert_eq!(shown[1], ("all", &vec![3, 2], &vec![1., 2., 3., 4., 5., 6.]));
    assert_eq!(shown[2].2, half.2);
    let error = run_all(&program(), &sizes(3), &x([3, 2], &[0.; 6])).unwrap_err();
    assert_eq!(error, InterpError::Missing { name: "unused".into(), expected: "f32[2]".into() });
}

#[test]
fn no_tokens_are_fine() {
    let outputs = run(&program(), &sizes(0), &x([0, 2], &[])).unwrap();
    assert_eq!(outputs[0].1.shape, [0, 2]);
}

#[test]
fn inputs_are_borrowed() {
    let mut inputs = x([1, 2], &[1., 2.]);
    inputs.insert("unused".into(), Tensor::new(DType::F32, [2], vec![0., 0.]).unwrap());
    let values = run_all(&program(), &sizes(1), &inputs).unwrap();
    assert_eq!(values.len(), 5);
    let Value::Tensor(tensor) = &values[0] else { panic!("%0 is a tensor") };
    assert!(std::ptr::eq(tensor.as_ref(), &inputs["x"]));
}

#[test]
fn wrong_inputs_are_refused() {
    let refused = |inputs, message: &str| {
        let error = run(&program(), &sizes(3), &inputs).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    };
    refused(BTreeMap::new(), "`x` is missing: expected f32[3, 2]");
    refused(x([2, 2], &[0.; 4]), "`x` is f32[2, 2], expected f32[3, 2]");
    let mut wrong = x([3, 2], &[0.; 6]);
    wrong.get_mut("x").unwrap().dtype = DType::Bf16;
    refused(wrong, "`x` is bf16[3, 2], expected f32[3, 2]");
    let mut short = x([3, 2], &[0.; 6]);
    short.get_mut("x").unwrap().data.pop();
    refused(short, "`x` is f32[3, 2] with 5 elements, expected f32[3, 2]");
    let error = run(&program(), &Sizes::new(), &BTreeMap::new()).unwrap_err();
    assert_eq!(error, InterpError::Ir(IrError::Dim("the dim T has no value".into())));
    assert!(Tensor::new(DType::F32, [2], vec![1.0]).is_err());
}

#[test]
fn sizes_that_overflow_are_refused() {
    let error = run(&program(), &sizes(u64::MAX), &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, InterpError::Ir(_) | InterpError::Missing { .. }), "{error:?}");
}
