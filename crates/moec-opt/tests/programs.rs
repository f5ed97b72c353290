//! Whole programs of `tests/opt`: the optimised text is as expected (`MOEC_BLESS=1` rewrites it), the
//! optimised program computes the same, and equal programs come out equal.

#![expect(clippy::unwrap_used, reason = "a test without its files fails")]

use std::path::{Path, PathBuf};

use moec_interp::{generate, run};
use moec_ir::{Module, Op, Sizes, print, read};
use moec_opt::{Numerics, Optimized, Options, Target, optimize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/opt")
}

fn source(name: &str) -> Module {
    let path = folder().join(format!("{name}.moir"));
    read(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn optimized(name: &str) -> Optimized {
    let optimized = optimize(&source(name), &Options::default()).unwrap();
    assert_eq!(optimized.report.fallback, None, "{name}");
    assert_eq!(optimized.report.limit, None, "{name} saturates");
    optimized
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files
        .filter_map(|f| f.strip_suffix(".moir").filter(|n| !n.ends_with(".opt")).map(String::from))
        .collect();
    names.sort();
    names
}

/// The largest difference between the outputs of two programs, relative to the largest element.
fn difference(a: &Module, b: &Module, tokens: u64, seed: u64) -> f64 {
    let sizes: Sizes = [("T".into(), tokens)].into();
    let inputs = generate::inputs(a, &sizes, seed).unwrap();
    let (a, b) = (run(a, &sizes, &inputs).unwrap(), run(b, &sizes, &inputs).unwrap());
    let mut worst: f64 = 0.0;
    for ((name, a), (other, b)) in a.iter().zip(&b) {
        assert_eq!((name, &a.shape), (other, &b.shape));
        let scale = a.data.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
        let apart = a.data.iter().zip(&b.data).map(|(x, y)| (x - y).abs() / scale);
        worst = apart.fold(worst, |worst, x| if x.is_nan() { f64::NAN } else { worst.max(x) });
    }
    worst
}

#[test]
fn optimised_text_is_as_expected() {
    let bless = std::env::var_os("MOEC_BLESS").is_some();
    for name in names() {
        let found = print(&optimized(&name).module);
        let path = folder().join(format!("{name}.opt.moir"));
        if bless {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{name}: expected\n{expected}\nfound\n{found}");
    }
}

#[test]
fn optimised_programs_compute_the_same() {
    for name in names() {
        let before = source(&name);
        // Costs at few, some and many tokens choose other programs.
        for (at, tokens) in [(64, 0), (1, 1), (64, 5), (100_000, 6)] {
            let options = Options { tokens: at, ..Options::default() };
            let after = optimize(&before, &options).unwrap().module;
            let difference = difference(&before, &after, tokens, 7 + tokens);
            assert!(difference < 1e-12, "{name} with {tokens} tokens: {difference:e}");
        }
    }
}

/// With kernels that are slow to start, few tokens get other programs than many.
#[test]
fn programs_for_all_numbers_of_tokens_compute_the_same() {
    let mut several = 0;
    for name in names() {
        let before = source(&name);
        for batch in [Numerics::Bit, Numerics::Finite, Numerics::Reassociate] {
            let target = Target { step: 5e-5, ..Target::default() };
            let table = vec![1, 16, 256, 4096];
            let options = Options { batch, table, target, ..Options::default() };
            let found = optimize(&before, &options).unwrap();
            assert_eq!(found.report.fallback, None, "{name}");
            let from: Vec<u64> = found.variants.iter().map(|variant| variant.from).collect();
            assert!(from[0] == 0 && from.is_sorted_by(|a, b| a < b), "{name}: {from:?}");
            several += usize::from(from.len() > 1);
            for variant in &found.variants {
                let difference = difference(&before, &variant.module, 5, 3);
                assert!(difference < 1e-12, "{name} from {}: {difference:e}", variant.from);
                assert_eq!(variant.rules.len(), variant.module.nodes.len());
            }
            for choice in &found.report.choices {
                let at = from.iter().filter(|from| **from <= choice.tokens).count() - 1;
                assert_eq!(choice.variant, at, "{name} at {} tokens", choice.tokens);
            }
        }
    }
    assert!(several > 0);
}

/// At the figures of the built-in target, few tokens get another program than many where the options
/// allow it: what tells them apart, and from which number of tokens on.
#[test]
fn the_number_of_tokens_decides() {
    for (name, op, wanted) in [
        // The expert that all choose is a dense branch beside the others for few tokens.
        ("chosen_by_all", Op::Einsum, vec![2, 1]),
        // And the other way round: for one token it is fewer kernels to have it among them.
        ("shared_expert", Op::Einsum, vec![1, 4, 1]),
        // A mixture that tokens share: mixing outputs, or matrices.
        ("task_gate", Op::Mul, vec![1, 0]),
        // The bias added up as a product is not worth a kernel for one token.
        ("s1_sum", Op::Einsum, vec![2, 3]),
    ] {
        let table = vec![1, 4, 16, 64, 256, 1024, 4096];
        let options = Options { batch: Numerics::Reassociate, table, ..Options::default() };
        let found = optimize(&source(name), &options).unwrap();
        let counts: Vec<usize> = found.variants.iter().map(|variant| count(&variant.module, op)).collect();
        assert_eq!(counts, wanted, "{name}");
    }
}

/// The first combine that extraction comes upon is not the best one here: with a rule less it is not there,
/// and that must not be cheaper.
#[test]
fn a_rule_that_offers_another_combine_costs_nothing() {
    let seconds = |ablate: Vec<String>| {
        let options = Options { tokens: 1, ablate, ..Options::default() };
        optimize(&source("nllb"), &options).unwrap().report.seconds_after()
    };
    let all = seconds(Vec::new());
    for rule in ["sum_of_vanishing_is_combine", "selection_by_softmax", "gather_at_route_is_value"] {
        let fewer = seconds(vec![rule.to_string()]);
        assert!(all <= fewer * (1.0 + 1e-9), "{rule}: {all:e} {fewer:e}");
    }
}

#[test]
fn optimised_programs_stay_as_they_are() {
    for name in names() {
        let once = optimized(&name).module;
        let again = optimize(&once, &Options::default()).unwrap().module;
        assert_eq!(print(&once), print(&again), "{name}");
    }
}

/// Texts of optimised programs without the name of the module.
fn body(name: &str) -> String {
    print(&optimized(name).module).split_once('\n').map(|(_, body)| body.to_string()).unwrap()
}

#[test]
fn equal_programs_come_out_equal() {
    assert_eq!(body("s1_sum"), body("s1_stacked"));
    for form in ["s2b", "s2_einsum", "s2_mask_number", "s2_one_hot", "s2_shares_twice", "s2_tokens_first"] {
        assert_eq!(body("s2"), body(form), "{form}");
    }
    assert_eq!(body("s2_plain"), body("s2b_plain"));
    assert_eq!(body("s5"), body("s5_by_score"));
    // GShard with as many seats as tokens drops nothing.
    assert_eq!(body("s2"), body("s7_all"));
    assert_eq!(body("granite"), body("granite_fused"));
}

/// `s2` at the sizes of the forms of `s8`, with numbers for sizes, for `tokens` tokens.
fn plain_top_k(tokens: &str) -> Module {
    let mut text = std::fs::read_to_string(folder().join("s2.moir")).unwrap();
    for (from, to) in [
        ("H = 40", "H = 160"),
        ("F = 56", "F = 192"),
        ("E = 16", "E = 8"),
        ("K = 3", "K = 2"),
        ("bf16", "f32"),
        ("from = \"router\"", "from = \"gate.weight\""),
        ("from = \"w1\"", "from = \"experts.{0}.w1.weight\""),
        ("from = \"w2\"", "from = \"experts.{0}.w2.weight\""),
        ("from = \"w3\"", "from = \"experts.{0}.w3.weight\""),
        ("[T", &format!("[{tokens}")),
        (" T,", &format!(" {tokens},")),
    ] {
        text = text.replace(from, to);
    }
    read(&text).unwrap().instantiate(&Sizes::new()).unwrap()
}

/// `D` devices with `T` tokens each, and seats for all of them, are one layer of `D * T` tokens: what is
/// counted for each device matters only where seats are fewer.
#[test]
fn the_pipeline_of_hot_and_cold_experts_is_plain_top_k() {
    for (name, tokens) in [("s8_all", "T"), ("s8_two", "2*T")] {
        let [plain, pipeline] = [plain_top_k(tokens), source(name).instantiate(&Sizes::new()).unwrap()];
        let body = |module: &Module| {
            let text = print(&optimize(module, &Options::default()).unwrap().module);
            text.split_once('\n').map(|(_, body)| body.to_string()).unwrap()
        };
        assert_eq!(body(&plain), body(&pipeline), "{name}");
        let joint = moec_opt::join(&plain, &pipeline).unwrap();
        assert!(moec_opt::prove(&joint, &Options::default()).unwrap().proved(), "{name}");
    }
}

#[test]
fn hot_and_cold_experts_at_full_capacity_are_one_layer() {
    for name in ["s8_all", "s8_two"] {
        let module = optimized(name).module;
        for (op, wanted) in [(Op::GroupedMatmul, 3), (Op::Combine, 1), (Op::Plan, 1)] {
            assert_eq!(count(&module, op), wanted, "{name}: {op}");
        }
        for op in
            [Op::Gather, Op::Concat, Op::Pad, Op::Transpose, Op::Reshape, Op::PlanCapacity, Op::PlanSubset]
        {
            assert_eq!(count(&module, op), 0, "{name}: {op}");
        }
    }
}

#[test]
fn cold_experts_with_fewer_seats_are_a_plan_of_their_own() {
    for name in ["s8_cold", "s8_cold2"] {
        let optimized = optimized(name);
        let module = &optimized.module;
        for (op, wanted) in [
            (Op::GroupedMatmul, 6),
            (Op::Combine, 2),
            (Op::PlanSubset, 2),
            (Op::PlanCapacity, 2),
            (Op::Concat, 0),
            (Op::Pad, 0),
            (Op::Transpose, 0),
            (Op::Cumsum, 0),
        ] {
            assert_eq!(count(module, op), wanted, "{name}: {op}");
        }
        // Each expert is computed once: weights are split between the parts, and only they.
        for gather in module.nodes.iter().filter(|node| node.op == Op::Gather) {
            assert_eq!(module.node(gather.args[0]).op, Op::Weight, "{name}");
        }
        for rule in ["combine_of_concat", "combine_of_padded_seats", "seats_of_dispatched_rows"] {
            assert!(optimized.report.fired.iter().any(|fired| fired.rule == rule), "{name}: {rule}");
        }
    }
}

#[test]
fn rounds_of_choices_with_a_capacity_are_one_plan() {
    for name in ["top2_einsum", "deepspeed"] {
        let optimized = optimized(name);
        assert_eq!(count(&optimized.module, Op::GroupedMatmul), 2, "{name}");
        for op in [Op::TakeSeats, Op::TakePairs] {
            assert_eq!(count(&optimized.module, op), 0, "{name}: {op}");
        }
        // What experts compute is rows of a plan with seats, and only these are added up.
        let plan = |node: &moec_ir::Node| optimized.module.node(node.args[0]).op;
        let rows = optimized.module.nodes.iter().filter(|n| matches!(n.op, Op::GroupedMatmul | Op::Combine));
        assert!(rows.clone().all(|node| plan(node) == Op::PlanCapacity), "{name}");
        let report = &optimized.report;
        for rule in ["contraction_over_seats_is_combine", "rows_without_weight_are_any"] {
            assert!(report.fired.iter().any(|fired| fired.rule == rule), "{name}: {rule}");
        }
    }
}

fn count(module: &Module, op: Op) -> usize {
    module.nodes.iter().filter(|node| node.op == op).count()
}

#[test]
fn dispatch_is_found() {
    for (name, grouped) in [
        ("s2", 3),
        ("s2_plain", 3),
        ("s2b", 3),
        ("s2b_plain", 3),
        ("granite", 3),
        ("granite_fused", 3),
        ("deepseek_v2", 3),
        ("deepseek_v3", 3),
        ("gpt_oss", 3),
        ("s5", 3),
        ("s6", 3),
        ("s6_three", 2),
        ("dbrx", 3),
        ("llama4", 3),
    ] {
        let optimized = optimized(name);
        assert_eq!(count(&optimized.module, Op::GroupedMatmul), grouped, "{name}");
        assert_eq!(count(&optimized.module, Op::Combine), 1, "{name}");
        assert_eq!(count(&optimized.module, Op::TakePairs), 0, "{name}");
        assert!(optimized.report.seconds_after() < optimized.report.seconds_before(), "{name}");
    }
}

#[test]
fn rules_above_the_class_are_off() {
    let options = Options { numerics: Numerics::Bit, ..Options::default() };
    let optimized = optimize(&source("s2"), &options).unwrap();
    assert_eq!(count(&optimized.module, Op::Combine), 0);
    // Without the first the second still sees that what is added up is 0 outside the choice.
    let sparse = ["sum_of_gated_is_combine", "sum_of_vanishing_is_combine"];
    for (off, combines) in [(1, 1), (2, 0)] {
        let ablate = sparse[..off].iter().map(|&rule| rule.to_owned()).collect();
        let optimized = optimize(&source("s2"), &Options { ablate, ..Options::default() }).unwrap();
        assert_eq!(count(&optimized.module, Op::Combine), combines);
    }
}

/// A score on the input of experts dispatches if they map zero to zero, which a bias does not.
#[test]
fn scores_on_inputs_dispatch_unless_experts_have_a_bias() {
    let text = std::fs::read_to_string(folder().join("llama4.moir")).unwrap();
    let (head, _) = text.split_once("    %17 = ").unwrap();
    let tail = |hidden: &str, biased: &str| {
        format!(
            r#"{head}    %17 = weight {{from = "b1", name = "b1"}} : f32[E, F]
    %18 = broadcast %17 {{map = [0, 2], shape = [E, T, F]}} : f32[E, T, F]
    %19 = add {biased}, %18 : f32[E, T, F]
    %20 = mul {hidden} : f32[E, T, F]
    %21 = einsum %20, %4 {{spec = "abc,acd->abd"}} : f32[E, T, H]
    %22 = sum %21 {{axis = 0}} : f32[T, H]
    output "y" = %22
}}
"#
        )
    };
    for (hidden, biased, combines) in [
        ("%15, %16", "%15", 1),
        // One factor with a bias and one without are 0 together.
        ("%16, %19", "%15", 1),
        ("%15, %19", "%16", 1),
        ("%19, %19", "%16", 0),
    ] {
        let module = read(&tail(hidden, biased)).unwrap_or_else(|error| panic!("{error}"));
        let found = optimize(&module, &Options::default()).unwrap();
        assert_eq!(count(&found.module, Op::Combine), combines, "{hidden}, {biased}");
        let by_rule = |node: &moec_opt::NodeReport| node.rule == Some("sum_of_vanishing_is_combine");
        assert_eq!(found.report.after.iter().any(by_rule), combines > 0);
        let difference = difference(&module, &found.module, 5, 2);
        assert!(difference < 1e-12, "{difference:e}");
    }
}

#[test]
fn extracted_operations_name_their_rules() {
    let optimized = optimized("s2");
    let named = optimized.module.nodes.iter().zip(&optimized.report.after);
    for (node, report) in named {
        match node.op {
            Op::Combine => assert_eq!(report.rule, Some("sum_of_gated_is_combine")),
            Op::GroupedMatmul => assert_eq!(report.rule, Some("pairs_of_contraction")),
            Op::TopK => assert_eq!(report.rule, Some("selection_by_softmax")),
            Op::Input | Op::Weight => assert_eq!(report.rule, None),
            _ => {}
        }
    }
}

/// For each founding system, the rules that its optimised program could not be without.
#[test]
fn reports_name_the_rules_of_each_founding_system() {
    const SPARSE: &[&str] = &["sum_of_gated_is_combine", "pairs_of_contraction", "pairs_of_element_wise"];
    const RENORMALISED: &[&str] = &["selection_by_softmax", "normalised_shares_are_softmax"];
    const LINEAR: &[&str] = &["gate_moves_into_contraction", "sum_of_gated_bias"];
    const FLAT: &[&str] = &["plan_of_flattened_index", "rows_of_flattened_plan", "slots_of_repeated_rows"];
    const ONE_HOT: &[&str] = &["count_at_own_choice_is_seat", "contraction_over_seats_is_combine"];
    const FEWER: &[&str] = &["combine_of_concat", "combine_of_padded_seats", "gather_of_contraction"];
    let table: &[(&str, &[&str], &[&str])] = &[
        ("s1_sum", LINEAR, &["sum_of_outer_product_is_contraction"]),
        ("s1_stacked", LINEAR, &["sum_of_outer_product_is_contraction"]),
        ("s2", SPARSE, RENORMALISED),
        ("s2_mask_number", SPARSE, RENORMALISED),
        ("s2_einsum", &["contraction_with_gate_is_combine"], RENORMALISED),
        ("s2b", FLAT, &["weighted_sum_of_flattened_combine"]),
        ("s3", &["contraction_over_merged_axes", "product_of_weights_first"], &[]),
        ("s5", SPARSE, &["pairs_of_reduction"]),
        ("s6", SPARSE, &["nested_sparse_sums_are_one"]),
        ("s6_dense", &["gate_moves_into_contraction"], &["gates_multiply_first"]),
        ("s6_three", SPARSE, &["nested_sparse_sums_are_one"]),
        ("s7", ONE_HOT, &["seats_of_dispatched_rows"]),
        ("s7_all", ONE_HOT, &["seats_of_dispatched_rows"]),
        ("s8_all", ONE_HOT, &["seats_of_dispatched_rows", "merged_axes_of_rows"]),
        ("s8_two", ONE_HOT, &["seats_of_dispatched_rows", "merged_axes_of_rows"]),
        ("s8_cold", ONE_HOT, FEWER),
        ("s8_cold2", ONE_HOT, FEWER),
    ];
    for (name, shared, own) in table {
        let report = optimized(name).report;
        for wanted in shared.iter().chain(*own) {
            assert!(report.after.iter().any(|node| node.rule == Some(wanted)), "{name}: {wanted}");
        }
    }
}

#[test]
fn limits_end_saturation_with_a_valid_program() {
    for (nodes, iterations) in [(1, 40), (90, 40), (50_000, 1), (50_000, 3), (50_000, 0)] {
        let options = Options { limits: moec_opt::Limits { nodes, iterations }, ..Options::default() };
        let source = source("s2b");
        let optimized = optimize(&source, &options).unwrap();
        assert!(optimized.report.limit.is_some());
        assert!(difference(&source, &optimized.module, 4, 3) < 1e-12);
    }
}

#[test]
fn random_programs_compute_the_same() {
    let options = generate::Options { moe: true, ..generate::Options::default() };
    for seed in 0..150 {
        let before = generate::module(seed, &options);
        let after = optimize(&before, &Options::default()).unwrap();
        assert_eq!(after.report.fallback, None, "seed {seed}\n{}", print(&before));
        let difference = difference(&before, &after.module, 5, seed);
        assert!(
            difference < 1e-9,
            "seed {seed}: {difference:e}\n{}\n{}",
            print(&before),
            print(&after.module)
        );
    }
}

#[test]
fn unknown_rules_are_refused() {
    let options = Options { ablate: vec!["no_such_rule".into()], ..Options::default() };
    let error = optimize(&source("s2"), &options).unwrap_err();
    assert_eq!(error, moec_opt::OptError::UnknownRule("no_such_rule".into()));
}

#[test]
fn the_egraph_prints_its_classes_and_rules() {
    let text = moec_opt::egraph(&source("s2"), &Options::default()).unwrap().to_string();
    assert!(text.contains("; sum_of_gated_is_combine"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("output y = c")), "{text}");
}
