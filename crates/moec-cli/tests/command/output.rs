//! What commands print. Snapshots: `cargo insta review`, or `cargo xtask bless`.

use crate::moec::{Folder, example, root};

const WRONG: &str = "\
/// Wrong in several ways.
model wrong {
    dim T, H = 4, E = 2
    input  x : f32[T, H]
    weight r : f32[E, H] from \"r\"

    let g = softmax(x @ r, over E)
    let h = normalize(top_k(x @ r.T, 1, over E), over E)
    let u = x + 1
    output y : f32[T, H] = x * routr
    output z : f32[T, H] = x where x > 0
}
";

#[test]
fn help() {
    let folder = Folder::new();
    insta::assert_snapshot!("help", folder.moec(&["--help"]).all());
    insta::assert_snapshot!("help_of_check", folder.moec(&["check", "--help"]).all());
    insta::assert_snapshot!("help_of_fmt", folder.moec(&["fmt", "--help"]).all());
    insta::assert_snapshot!("help_of_import", folder.moec(&["import", "--help"]).all());
    insta::assert_snapshot!("help_of_opt", folder.moec(&["opt", "--help"]).all());
    insta::assert_snapshot!("help_of_explain", folder.moec(&["explain", "--help"]).all());
    insta::assert_snapshot!("help_of_diff", folder.moec(&["diff", "--help"]).all());
    insta::assert_snapshot!("help_of_bench", folder.moec(&["bench", "--help"]).all());
    insta::assert_snapshot!("help_of_tiles", folder.moec(&["tiles", "--help"]).all());
    insta::assert_snapshot!("help_of_run", folder.moec(&["run", "--help"]).all());
    insta::assert_snapshot!("help_of_test", folder.moec(&["test", "--help"]).all());
}

#[test]
fn check() {
    let folder = Folder::with("wrong.moe", WRONG);
    insta::assert_snapshot!("check_wrong", folder.moec(&["check", "wrong.moe"]).all());
    insta::assert_snapshot!("check_json", folder.moec(&["check", "--json", "wrong.moe"]).all());
    let piped = folder.moec_reading(&["check", "-"], WRONG.as_bytes()).expect(1);
    assert!(piped.err.contains("<stdin>:7:"), "{}", piped.err);
    let colored = folder.moec(&["check", "--color", "always", "wrong.moe"]).expect(1);
    assert!(colored.err.contains("\x1b["), "colour was asked for");
    assert!(!folder.moec(&["check", "wrong.moe"]).err.contains('\x1b'), "no colour without a terminal");
}

#[test]
fn fmt() {
    let folder =
        Folder::with("a.moe", "model  m {\n  dim T // tokens\n input x:f32[T]\noutput y:f32[T]=x+1 }\n");
    let before = folder.read("a.moe");
    insta::assert_snapshot!("fmt_check", folder.moec(&["fmt", "--check", "a.moe"]).all());
    assert_eq!(folder.read("a.moe"), before);
    folder.moec(&["fmt", "a.moe"]).expect(0);
    insta::assert_snapshot!("fmt_result", folder.read("a.moe"));
    folder.moec(&["fmt", "--check", "a.moe"]).expect(0);
    assert_eq!(folder.moec_reading(&["fmt", "-"], before.as_bytes()).out, folder.read("a.moe"));
    folder.write("bad.moe", "model m {");
    folder.moec(&["fmt", "bad.moe", "a.moe"]).expect(1);
    assert_eq!(folder.read("bad.moe"), "model m {");
    assert_eq!(folder.names(), ["a.moe", "bad.moe"]);
}

#[test]
fn explain() {
    let folder = Folder::new();
    insta::assert_snapshot!("explain_code", folder.moec(&["explain", "missing-else"]).all());
    insta::assert_snapshot!("explain_near", folder.moec(&["explain", "mising-else"]).all());
    let all = folder.moec(&["explain"]).expect(0).out;
    assert!(all.lines().count() > 40 && all.contains("shape-mismatch"), "{all}");
    insta::assert_snapshot!(
        "explain_file",
        folder.moec(&["explain", &example("systems/s3_concat_project.moe")]).all()
    );
}

#[test]
fn stages() {
    let folder = Folder::new();
    let file = example("systems/s1_soft_sum.moe");
    insta::assert_snapshot!(
        "opt_ir_and_plan",
        folder.moec(&["opt", &file, "--emit", "ir,opt,plan", "--target", "x86_64"]).all()
    );
    for target in ["host", "aarch64", "x86_64"] {
        let out = folder.moec(&["opt", &file, "--emit", "clif,asm", "--target", target]).expect(0).out;
        assert!(out.contains("// ---- clif ----") && out.contains("// ---- asm ----"), "{target}");
    }
    let graph = folder.moec(&["opt", &file, "--emit", "egraph"]).expect(0).out;
    assert!(!graph.is_empty());
}

#[test]
fn test_files() {
    let folder = Folder::with(
        "a.moe",
        "model m {\n    output y : f32 = 2\n}\n\n// run:\n\n// expect values:\n//     y : f32\n//         3\n",
    );
    insta::assert_snapshot!("test_fails", folder.moec(&["test", "a.moe"]).all());
    folder.moec(&["test", "--bless", "."]).expect(0);
    insta::assert_snapshot!("test_passes", folder.moec(&["test", "."]).all());
}

/// Compilation depends on nothing but its input: two processes print the same bytes.
#[test]
fn every_example_compiles_to_the_same_bytes_twice() {
    let folder = Folder::new();
    for file in moec_filetest::test_files(&[root().join("examples")]).unwrap() {
        let file = file.display().to_string();
        let stages =
            if file.contains("granite") { "ir,egraph,opt,plan,clif,asm" } else { "ir,egraph,opt,plan" };
        let emit = || folder.moec(&["opt", &file, "--emit", stages]);
        let (one, two) = (emit(), emit());
        assert!(one.out == two.out && one.err == two.err && one.code == two.code, "{file} differs");
    }
}

/// The same, over 20 processes that run at once and compete for the machine.
#[test]
fn optimised_text_is_the_same_in_20_processes_under_load() {
    let folder = Folder::new();
    let file = example("systems/s8_hot_cold.moe");
    let emit = || folder.moec(&["opt", &file]).expect(0).out;
    let first = emit();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(|| [emit(), emit(), emit(), emit()])).collect();
        for out in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            assert_eq!(out, first);
        }
    });
}
