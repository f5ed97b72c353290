//! Generated programs are valid, run, and cover the op table; and what is proved row-wise is.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

use std::collections::{BTreeMap, BTreeSet};

use moec_interp::generate::{self, MAX_TOKENS, MOST, Options};
use moec_interp::{Tensor, Value, eval_node, round_to, run};
use moec_ir::{DType, Module, Op, Sizes, print, read, rowwise, verify};

fn tokens(n: u64) -> Sizes {
    [("T".into(), n)].into()
}

fn check(seed: u64, options: &Options, covered: &mut BTreeSet<Op>) {
    let module = generate::module(seed, options);
    let shown = || format!("seed {seed}\n{}", print(&module));
    verify(&module).unwrap_or_else(|e| panic!("{e}, {}", shown()));
    assert_eq!(read(&print(&module)).unwrap(), module, "{}", shown());
    assert_eq!(generate::module(seed, options), module, "the same seed makes the same program");
    for n in [0, 1, 17, MAX_TOKENS] {
        let inputs = generate::inputs(&module, &tokens(n), seed).unwrap();
        let outputs =
            run(&module, &tokens(n), &inputs).unwrap_or_else(|e| panic!("{e}, T = {n}, {}", shown()));
        for (name, tensor) in &outputs {
            let most = if tensor.dtype == DType::I32 { 1e6 } else { MOST };
            let sane = |x: &f64| x.abs() <= most;
            assert!(tensor.data.iter().all(sane), "{name} = {:?}, T = {n}, {}", tensor.data, shown());
        }
    }
    covered.extend(module.nodes.iter().map(|node| node.op));
}

#[test]
fn programs_run_and_cover_the_table() {
    let mut covered = BTreeSet::new();
    for seed in 0..300 {
        let options = Options { discontinuous: seed % 3 == 0, moe: seed % 2 == 0, ..Options::default() };
        check(seed, &options, &mut covered);
    }
    let missing: Vec<&Op> = Op::ALL.iter().filter(|op| !covered.contains(op)).collect();
    assert!(missing.is_empty(), "no program has {missing:?}");
}

/// Row `row` of a tensor whose `axis` holds `rows` of them in blocks.
fn row(tensor: &Tensor, axis: usize, rows: usize, row: usize) -> Tensor {
    let block = tensor.shape[axis] / rows;
    let inner = block * tensor.shape[axis + 1..].iter().product::<usize>();
    let outer: usize = tensor.shape[..axis].iter().product();
    let part = |o: usize| &tensor.data[(o * rows + row) * inner..][..inner];
    let mut shape = tensor.shape.clone();
    shape[axis] = block;
    Tensor::new(tensor.dtype, shape, (0..outer).flat_map(part).copied().collect()).unwrap()
}

/// Runs one row alone, if the program is row-wise; whether it is, with an output that has rows.
fn check_row(seed: u64, module: &Module) -> bool {
    let Some(axes) = rowwise(module, "T") else { return false };
    let inputs = generate::inputs(module, &tokens(5), seed).unwrap();
    let whole = run(module, &tokens(5), &inputs).unwrap();
    let mut one = inputs.clone();
    for (name, axis) in &axes.inputs {
        one.insert(name.to_string(), row(&inputs[&**name], *axis, 5, 3));
    }
    for ((name, alone), (_, all)) in run(module, &tokens(1), &one).unwrap().into_iter().zip(&whole) {
        let expected = match axes.outputs.get(name.as_str()) {
            Some(&axis) => row(all, axis, 5, 3),
            None => all.clone(),
        };
        assert_eq!(alone, expected, "seed {seed}, {name} of\n{}", print(module));
    }
    !axes.outputs.is_empty()
}

#[test]
fn rows_of_rowwise_programs_run_alone() {
    let options = Options { steps: 4, ..Options::default() };
    let found = (0..300).filter(|&seed| check_row(seed, &generate::module(seed, &options))).count();
    assert!(found >= 50, "only {found} programs were row-wise");
}

/// Every output with each value in between rounded to its element type, as a machine would.
fn run_rounded(module: &Module, sizes: &Sizes, inputs: &BTreeMap<String, Tensor>) -> Vec<Tensor> {
    let sizes = module.dims.bind(sizes).unwrap();
    let mut values: Vec<Value<'_>> = Vec::new();
    for node in &module.nodes {
        let args: Vec<&Value<'_>> = node.args.iter().map(|arg| &values[arg.index()]).collect();
        let mut value = match node.op {
            Op::Input | Op::Weight => inputs[node.attrs.str("name")].clone().into(),
            op => eval_node(op, &args, &node.attrs, &sizes).unwrap(),
        };
        if let Value::Tensor(tensor) = &mut value {
            let tensor = tensor.to_mut();
            tensor.data.iter_mut().for_each(|x| *x = round_to(tensor.dtype, *x));
        }
        values.push(value);
    }
    module.outputs.iter().map(|output| values[output.value.index()].tensor().unwrap().clone()).collect()
}

#[test]
fn rounding_to_f32_changes_little() {
    for seed in 0..300 {
        let module = generate::module(seed, &Options::default());
        let inputs = generate::inputs(&module, &tokens(17), seed).unwrap();
        let exact = run(&module, &tokens(17), &inputs).unwrap();
        for ((name, exact), rounded) in exact.iter().zip(run_rounded(&module, &tokens(17), &inputs)) {
            let scale = exact.data.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            let limit = if exact.dtype.is_float() { 1e-5 * scale } else { 0.0 };
            let close = |(x, y): (&f64, &f64)| (x - y).abs() <= limit;
            let all_close = exact.data.iter().zip(&rounded.data).all(close);
            assert!(all_close, "seed {seed}, {name} of\n{}", print(&module));
        }
    }
}
