//! `moec diff`: verdicts, exit codes, and pairs that cannot be compared.

use crate::moec::{Ended, Folder, root};

/// A program over `x : f32[T, H]`.
fn model(name: &str, y: &str) -> String {
    format!(
        "model {name} {{\n    dim T, H = 4\n    input x : f32[T, H]\n    weight w : f32[H] from \"w\"\n    output y : f32[T, H] = {y}\n}}\n"
    )
}

fn diff(a: &str, b: &str, options: &[&str]) -> Ended {
    let folder = Folder::with("a.moe", a);
    folder.write("b.moe", b);
    folder.moec(&[&["diff", "a.moe", "b.moe"], options].concat())
}

#[test]
fn verdicts_have_exit_codes() {
    let twice = model("m", "x * w + x * w");
    let ended = diff(&twice, &twice, &[]).expect(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("proved: both are the same program\n", ""));
    let ended = diff(&twice, &model("other", "x * w * w"), &[]).expect(1);
    assert!(ended.out.starts_with("different: `y`[0, 0] is "), "{}", ended.out);
    assert!(ended.out.contains("at H = 1, T = 1\n"), "{}", ended.out);
    // No rule knows this law.
    let (one, other) = (model("m", "sigmoid(x) * w"), model("m", "(tanh(x / 2) + 1) / 2 * w"));
    let ended = diff(&one, &other, &[]).expect(3);
    assert!(
        ended.out.starts_with("unknown: no rules of class `reassociate` prove `y` equal"),
        "{}",
        ended.out
    );
    assert_eq!(ended.err, "");
}

#[test]
fn the_page_shows_real_output() {
    let pair = ["wrong", "right"].map(|name| format!("tests/diff/missing_epsilon/{name}.moe"));
    let paths = pair.clone().map(|path| root().join(path).display().to_string());
    let ended = Folder::new().moec(&["diff", &paths[0], &paths[1]]).expect(1);
    let page = std::fs::read_to_string(root().join("docs/diff.md")).unwrap();
    let shown = format!("$ moec diff {} {}\n{}```", pair[0], pair[1], ended.out);
    assert!(page.contains(&shown), "docs/diff.md does not show\n{shown}");
}

#[test]
fn models_of_one_file_are_named() {
    let text = model("first", "x + w") + &model("second", "w + x");
    let folder = Folder::with("a.moe", text);
    let named = |more: &[&str]| folder.moec(&[&["diff", "a.moe", "a.moe"], more].concat());
    named(&["--model-a", "first", "--model-b", "second"]).expect(0);
    let ended = named(&["--model-a", "first"]).expect(2);
    assert!(ended.err.contains("the models first, second"), "{}", ended.err);
    let ended = named(&["--model-a", "first", "--model-b", "third"]).expect(2);
    assert!(ended.err.contains("third"), "{}", ended.err);
}

#[test]
fn json_has_the_data() {
    let ended = diff(&model("a", "relu(x)"), &model("b", "x"), &["--json"]).expect(1);
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["verdict"], "different");
    assert_eq!((&report["first"], &report["second"]), (&"a".into(), &"b".into()));
    assert_eq!(report["sizes"], serde_json::json!({ "H": 1, "T": 1 }));
    assert_eq!(report["data"]["x"]["data"], serde_json::json!([-1.0]));
    assert_eq!(report["outputs"][0]["first"]["data"], serde_json::json!([0.0]));
    let proved = diff(&model("a", "x * 2"), &model("a", "x * 2"), &["--json", "--numerics", "bit"]).expect(0);
    let report: serde_json::Value = serde_json::from_str(&proved.out).unwrap();
    assert_eq!((&report["verdict"], &report["numerics"]), (&"proved".into(), &"bit".into()));
    let unknown = diff(&model("a", "log(x) * 0"), &model("a", "x * 0"), &["--json"]).expect(3);
    let report: serde_json::Value = serde_json::from_str(&unknown.out).unwrap();
    assert_eq!(report["undefined"]["outputs"][0]["first"]["data"], serde_json::json!(["NaN"]));
}

#[test]
fn what_cannot_be_compared_is_code_2() {
    let good = model("m", "x + w");
    let refused = |other: &str, words: &[&str]| {
        let ended = diff(&good, other, &[]).expect(2);
        assert_eq!(ended.out, "");
        for word in words {
            assert!(ended.err.contains(word), "no `{word}` in {}", ended.err);
        }
    };
    refused("model m {", &["error"]);
    refused(&model("m", "x + q"), &["unknown-name"]);
    refused(
        &good.replace("input x", "input z").replace("x + w", "z + w"),
        &[
            "cannot be compared",
            "only the first program has the input `x`",
            "only the second program has the input `z`",
        ],
    );
    refused(&good.replace("output y", "output z"), &["only the first program has the output `y`"]);
    refused(
        &good.replace("H = 4", "H = 5"),
        &[
            "the input `x` is f32[T, H] with H = 4 in the first program and f32[T, H] with H = 5 in the second",
            "the tensor \"w\" is f32[4] as `w` and f32[5] as `w`",
        ],
    );
    refused(&good.replace("dim T, H = 4", "dim T, H"), &["error"]);
    refused(
        &good.replace("weight w : f32[H] from \"w\"", "input w : f32[H]"),
        &["`w` is an input of one program and a weight of the other"],
    );
    let folder = Folder::with("a.moe", &good);
    let ended = folder.moec(&["diff", "a.moe", "none.moe"]).expect(2);
    assert!(ended.err.contains("cannot read none.moe"), "{}", ended.err);
    folder.moec(&["diff", "a.moe"]).expect(2);
    let ended = folder.moec(&["diff", "a.moe", "a.moe", "--numerics", "sloppy"]).expect(2);
    assert!(ended.err.contains("reassociate"), "{}", ended.err);
    let ended = folder.moec(&["diff", "a.moe", "a.moe", "--set", "Q=3"]).expect(2);
    assert!(ended.err.contains("Q"), "{}", ended.err);
    folder.moec(&["diff", "a.moe", "a.moe", "--set", "H=8"]).expect(0);
}

#[test]
fn large_and_odd_programs_end() {
    let empty = "model m {\n    dim T\n    input x : f32[T]\n    output y : f32 = 1\n}\n";
    diff(empty, &empty.replace("= 1", "= 2"), &[]).expect(1);
    // Too large for the interpreter, as a number keeps the size from being made small.
    let large = |y: &str| {
        format!(
            "model m {{\n    dim T, H = 100000\n    input x : f32[T, H]\n    output y : f32[T] = {y}\n}}\n"
        )
    };
    let ended =
        diff(&large("mean(cumsum(x, over H), over H)"), &large("sum(cumsum(x, over H), over H) / H"), &[]);
    assert!([0, 3].contains(&ended.code), "{}", ended.out);
    let chain = |first: &str| {
        let lines: String = (1..400).map(|i| format!("    let a{i} = tanh(a{})\n", i - 1)).collect();
        format!(
            "model m {{\n    dim T\n    input x : f32[T]\n    let a0 = {first}\n{lines}    output y : f32[T] = a399\n}}\n"
        )
    };
    diff(&chain("x"), &chain("x + x"), &[]).expect(1);
}
