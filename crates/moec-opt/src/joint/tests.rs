//! What is proved equal, with which rules, and which interfaces do not fit.

use moec_ir::{Module, read};

use super::{Joint, Mismatch, join, prove};
use crate::{Numerics, Options};

fn source(name: &str) -> Module {
    let path = format!("{}/../../tests/opt/{name}.moir", env!("CARGO_MANIFEST_DIR"));
    read(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn joint(a: &str, b: &str) -> Joint {
    join(&source(a), &source(b)).unwrap()
}

#[test]
fn forms_of_one_program_meet() {
    for (a, b) in [("s2", "s2b"), ("s2", "s2_einsum"), ("s1_sum", "s1_stacked"), ("granite", "granite_fused")]
    {
        let equality = prove(&joint(a, b), &Options::default()).unwrap();
        assert!(equality.proved() && equality.minimal, "{a}, {b}: {equality:?}");
        assert!(!equality.rules.is_empty());
        // Without any one of its rules the proof fails.
        for rule in &equality.rules {
            let options = Options { ablate: vec![rule.to_string()], ..Options::default() };
            let rules = &equality.rules;
            let others: Vec<String> = crate::rule_infos()
                .iter()
                .filter(|info| !rules.contains(&info.name))
                .map(|info| info.name.to_owned())
                .collect();
            let ablate = [others, options.ablate.clone()].concat();
            let options = Options { ablate, ..options };
            assert!(!prove(&joint(a, b), &options).unwrap().proved(), "{a}, {b} without {rule}");
        }
    }
}

#[test]
fn a_program_meets_itself_without_rules() {
    let equality = prove(&joint("s2", "s2"), &Options::default()).unwrap();
    assert!(equality.proved() && equality.minimal && equality.rules.is_empty());
}

#[test]
fn different_programs_do_not_meet() {
    let equality = prove(&joint("s2", "s2_plain"), &Options::default()).unwrap();
    assert!(!equality.proved());
    assert_eq!((equality.limit, equality.outputs.len()), (None, 1));
}

#[test]
fn the_class_decides() {
    let options = Options { numerics: Numerics::Bit, ..Options::default() };
    assert!(!prove(&joint("s2", "s2b"), &options).unwrap().proved());
}

#[test]
fn names_of_dims_do_not_matter() {
    let text = "module m {
    dim N
    dim D = 4
    %0 = input {name = \"x\"} : f32[N, D]
    %1 = weight {from = \"w\", name = \"w\"} : f32[D, 6]
    %2 = einsum %0, %1 {spec = \"ab,bc->ac\"} : f32[N, 6]
    output \"y\" = %2
}
";
    let a = read(text).unwrap();
    let b = text.replace('N', "T").replace('6', "F").replace("dim T", "dim T\n    dim F = 6");
    let b = read(&b.replace('D', "N")).unwrap();
    let joint = join(&a, &b).unwrap();
    assert_eq!(joint.names().collect::<Vec<_>>(), ["y"]);
    assert!(prove(&joint, &Options::default()).unwrap().proved(), "{}", moec_ir::print(&joint.module));
}

#[test]
fn interfaces_must_agree() {
    let module = |text: &str| read(&format!("module m {{\n    dim T\n    dim H = 4\n{text}}}\n")).unwrap();
    let a = module(
        "    %0 = input {name = \"x\"} : f32[T, H]
    %1 = weight {from = \"w\", name = \"w\"} : f32[H]
    %2 = neg %0 : f32[T, H]
    output \"y\" = %2
",
    );
    let said = |text: &str| -> Vec<String> {
        join(&a, &module(text)).unwrap_err().iter().map(Mismatch::to_string).collect()
    };
    let others = said(
        "    %0 = input {name = \"z\"} : f32[T, H]
    %1 = neg %0 : f32[T, H]
    output \"out\" = %1
",
    );
    assert_eq!(
        others,
        [
            "only the first program has the input `x`",
            "only the first program has the output `y`",
            "only the second program has the input `z`",
            "only the second program has the output `out`",
        ]
    );
    let types = said(
        "    dim D = 8
    %0 = input {name = \"x\"} : i32[T, H]
    %1 = weight {from = \"w\", name = \"w\"} : f32[D]
    %2 = neg %0 : i32[T, H]
    output \"y\" = %2
",
    );
    assert_eq!(
        types,
        [
            "the input `x` is f32[T, H] with H = 4 in the first program and i32[T, H] with H = 4 in the second",
            "the weight `w` is f32[H] with H = 4 in the first program and f32[D] with D = 8 in the second",
        ]
    );
    let kinds = said(
        "    %0 = weight {from = \"x\", name = \"x\"} : f32[H]
    output \"y\" = %0
",
    );
    assert_eq!(kinds, ["`x` is an input of one program and a weight of the other"]);
    let outputs = said(
        "    %0 = input {name = \"x\"} : f32[T, H]
    %1 = transpose %0 {perm = [1, 0]} : f32[H, T]
    output \"y\" = %1
",
    );
    assert_eq!(
        outputs,
        [
            "the output `y` is f32[T, H] with H = 4 in the first program and f32[H, T] with H = 4 in the second"
        ]
    );
}
