//! Sources and options that are wrong: each gets its exit code and a message, nothing panics.

use crate::moec::{Folder, example};
use crate::text::{floats, safetensors};

fn check(text: impl AsRef<[u8]>) -> crate::moec::Ended {
    Folder::with("a.moe", text).moec(&["check", "a.moe"])
}

#[test]
fn garbage_of_ten_megabytes() {
    // Printable noise, then bytes that are no text at all.
    let noise: Vec<u8> =
        (0..10_000_000u64).map(|i| b' ' + (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8 % 95).collect();
    check(&noise).refused(&["a.moe:1:"]);
    check(vec![0xff; 10_000_000]).refused(&["not UTF-8 text: byte 0"]);
    check("model m {\n".repeat(200_000)).refused(&[]);
}

#[test]
fn long_lines_and_many_findings_are_not_printed_whole() {
    let model = |body: &str| {
        format!("model m {{\n    dim T\n    input x : f32[T]\n    output y : f32[T] = {body}\n}}\n")
    };
    let gap = " ".repeat(500_000);
    for body in [
        "x".repeat(2_000_000),
        "x + ".repeat(300_000) + "z",
        format!("x + {gap} zz"),
        format!("x @ x{gap} * q"),
    ] {
        let ended = check(model(&body)).expect(1);
        assert!(ended.err.len() < 4_000, "{}", ended.err.len());
    }
    let lines: String = (0..20_000).map(|i| format!("    let a{i} = x + q{i}\n")).collect();
    let text = model("x").replace("    output", &format!("{lines}    output"));
    let ended = check(text).expect(1);
    assert!(ended.err.len() < 40_000, "{}", ended.err.len());
}

#[test]
fn facts_in_a_long_chain() {
    let mut text = String::from("model m {\n    dim D0\n    input x0 : f32[D0]\n");
    for i in 1..1_000 {
        text += &format!("    dim D{i}\n    fact D{} <= D{i}\n    input x{i} : f32[D{i}]\n", i - 1);
    }
    check(text + "    output y : f32[D0] = x0 + x999[D999 = 0..D0]\n}\n").refused(&["size-not-proved"]);
}

#[test]
fn line_ends_of_windows_and_byte_order_marks() {
    let text = "model m {\n    dim T, H = 2\n    input x : f32[T, H]\n    output y : f32[T, H] = x @ x\n}\n";
    let ended = check(text.replace('\n', "\r\n")).expect(1);
    assert!(!ended.err.contains('\u{240d}') && !ended.err.contains('\r'), "{}", ended.err);
    let good = text.replace("x @ x", "x");
    let folder = Folder::with("a.moe", format!("\u{feff}{}", good.replace('\n', "\r\n")));
    folder.moec(&["check", "a.moe"]).expect(0);
    folder.moec(&["fmt", "a.moe"]).expect(0);
    folder.moec(&["fmt", "--check", "a.moe"]).expect(0);
    assert!(!folder.read("a.moe").contains('\r'));
}

#[test]
fn no_model_and_several() {
    for text in ["", "// nothing\n", "\u{feff}"] {
        let folder = Folder::with("a.moe", text);
        folder.moec(&["check", "a.moe"]).expect(0);
        folder.moec(&["run", "a.moe"]).refused(&["no model"]);
        folder.moec(&["opt", "a.moe"]).refused(&["no model"]);
    }
    let one = "model a {\n    dim T\n    input x : f32[T]\n    output y : f32[T] = x\n}\n";
    let folder = Folder::with("a.moe", format!("{one}{}", one.replace("model a", "model b")));
    let ended = folder.moec(&["run", "a.moe"]).expect(2);
    assert!(ended.err.contains("a, b") && ended.err.contains("--model"), "{}", ended.err);
}

#[test]
fn deep_nesting() {
    for (open, close) in [("(", ")"), ("[", "]"), ("-(", ")"), ("silu(", ")"), ("not (", ")")] {
        let (open, close) = (open.repeat(10_000), close.repeat(10_000));
        let text = format!(
            "model m {{\n    dim T\n    input x : f32[T]\n    output y : f32[T] = {open}x{close}\n}}\n"
        );
        check(&text).refused(&[]);
        Folder::with("a.moe", text).moec(&["fmt", "a.moe"]).expect(1);
    }
    check(format!("fn f(x: f32) -> f32 {{ {} }}\n", "x + ".repeat(100_000) + "x"));
    check(format!("model m {{ dim N = {}1{} }}\n", "(".repeat(10_000), ")".repeat(10_000))).refused(&[]);
}

#[test]
fn functions_that_call_each_other() {
    check("fn f(x: f32) -> f32 { f(x) }\nmodel m {\n    input x : f32\n    output y : f32 = f(x)\n}\n")
        .refused(&[]);
    check(
        "fn f(x: f32) -> f32 { g(x) }\nfn g(x: f32) -> f32 { f(x) }\n\
         model m {\n    input x : f32\n    output y : f32 = f(x)\n}\n",
    )
    .refused(&[]);
    // Doubling at every level: 2^60 calls if they were all expanded.
    let mut text = "fn f0(x: f32) -> f32 { x + x }\n".to_owned();
    for n in 1..60 {
        text.push_str(&format!("fn f{n}(x: f32) -> f32 {{ f{0}(x) + f{0}(x) }}\n", n - 1));
    }
    text.push_str("model m {\n    input x : f32\n    output y : f32 = f59(x)\n}\n");
    check(text).refused(&[]);
}

#[test]
fn sizes_that_do_not_exist() {
    let model = |dims: &str| {
        format!(
            "model m {{\n    dim T, {dims}\n    input x : f32[T, A]\n    output y : f32[T] = sum(x, over A)\n}}\n"
        )
    };
    let folder = Folder::with("a.moe", model("A = 4000000000, B = A * A * A"));
    folder.moec(&["check", "a.moe"]).expect(1);
    folder.write("a.moe", model("A = 99999999999999999999999"));
    folder.moec(&["check", "a.moe"]).refused(&[]);
    folder.write("a.moe", model("A = 7 / 2"));
    folder.moec(&["check", "a.moe"]).refused(&[]);
    folder.write("a.moe", model("A = 3 - 5"));
    folder.moec(&["check", "a.moe"]).refused(&[]);
    // Legal, and larger than any memory.
    folder.write("a.moe", model("A = 1000000000000"));
    folder.moec(&["run", "a.moe", "--tokens", "1000000000"]).refused(&[]);
}

#[test]
fn calls_that_are_too_large_for_the_machine() {
    let text = "model m {\n    dim T, H = 1024\n    input x : f32[T, H]\n    output y : f32[T] = sum(x, over H)\n}\n";
    let ended = Folder::with("a.moe", text).moec(&["run", "a.moe", "--tokens", "3000000000"]).expect(1);
    let said = "at T = 3000000000, inputs and outputs alone take 12300.00 GB, and this machine has ";
    assert!(ended.err.contains(said), "{}", ended.err);
}

#[test]
fn weights_that_are_too_large_for_the_machine() {
    let text = "model m {\n    dim T, A = 2000000\n    input x : f32[T, A]\n    weight w : f32[A, A] from \"w\"\n    output y : f32[T, A] = x @ w.T\n}\n";
    let ended = Folder::with("a.moe", text).moec(&["run", "a.moe", "--tokens", "1"]).expect(1);
    let said = "the weights take 16000.00 GB as kernels read them, and this machine has ";
    assert!(ended.err.contains(said) && ended.err.contains("`--memory-budget`"), "{}", ended.err);
}

#[test]
fn a_fact_that_fails_at_run_time_is_shown_where_it_is_declared() {
    let text = "model m {\n    dim T, C = 4\n    fact 1 <= T <= C\n    input x : f32[T, C]\n    output y : f32[T, C] = x\n}\n";
    let folder = Folder::with("a.moe", text);
    folder.moec(&["run", "a.moe", "--tokens", "4"]).expect(0);
    let words = ["error[fact-violated]", "a.moe:3:15", "fact 1 <= T <= C", "T = 5"];
    folder.moec(&["run", "a.moe", "--tokens", "5"]).refused(&words);
}

#[test]
fn input_tensors_that_nothing_reads_are_named() {
    let text = "model m {\n    dim T\n    input x : f32[T]\n    output y : f32[T] = x\n}\n";
    let folder = Folder::with("a.moe", text);
    let tensors: Vec<_> =
        ["x", "b1", "b2", "b3", "b4", "b5"].map(|name| (name, "F32", &[1u64][..], floats([1.0]))).into();
    folder.write("i.safetensors", safetensors(&tensors));
    folder.write("o.safetensors", safetensors(&tensors[1..2]));
    let run = |file: &str, code| folder.moec(&["run", "a.moe", "--input", file]).expect(code).err;
    let said = run("i.safetensors", 0);
    let words = "warning: the input files hold b1, b2, b3, b4 and 1 more, which the program does not read: its inputs are x";
    assert!(said.contains(words), "{said}");
    let said = run("o.safetensors", 1);
    assert!(said.contains("error: the input files hold b1, and no x"), "{said}");
}

#[test]
fn names_and_counts() {
    check("model m {\n    dim T\n    input x : f32[T]\n    input x : f32[T]\n    output y : f32[T] = x\n}\n")
        .refused(&["duplicate-name"]);
    check("model m {\n    dim T\n    input x : f32[T]\n    output y : f32[T] = z\n}\n")
        .refused(&["unknown-name"]);
    check("model m {\n    dim T, E = 4\n    input x : f32[T, E]\n    output y : bool[T, E] = top_k(x, 5, over E).mask\n}\n")
        .refused(&["k-too-large"]);
    check("");
    check("\u{feff}");
}

#[test]
fn a_capacity_of_zero_must_be_meant() {
    let model = |fact: &str| {
        format!(
            "model m {{\n    dim T, E = 3, C = 0\n{fact}    input x : f32[T, E]\n\n    \
             output y : bool[T, E, C] = one_hot(i32(x), C)\n}}\n"
        )
    };
    check(model("")).refused(&["zero-capacity", "fact C == 0"]);
    Folder::with("a.moe", model("    fact C == 0\n")).moec(&["run", "a.moe", "--tokens", "3"]).expect(0);
}

#[test]
fn usage() {
    let folder =
        Folder::with("a.moe", "model m {\n    dim T\n    input x : f32[T]\n    output y : f32[T] = x\n}\n");
    let wrong: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["check"],
        &["check", "--colour", "a.moe"],
        &["opt", "a.moe", "--emit", "llvm"],
        &["opt", "a.moe", "--numerics", "sloppy"],
        &["opt", "a.moe", "--target", "z80"],
        &["opt", "a.moe", "--set", "H"],
        &["run", "a.moe", "--threads", "0"],
        &["run", "a.moe", "--threads", "-1"],
        &["run", "a.moe", "--threads", "99999"],
        &["bench", "a.moe", "--threads", "0"],
        &["bench", "a.moe", "--threads", "10000"],
        &["run", "a.moe", "--tokens", "many"],
        &["run", "a.moe", "--engine", "gpu"],
        &["run"],
    ];
    for arguments in wrong {
        let ended = folder.moec(arguments).expect(2);
        assert!(!ended.err.is_empty() && ended.out.is_empty(), "{arguments:?}");
    }
    folder.moec(&["check", "gone.moe"]).refused(&["gone.moe"]);
    folder.moec(&["check", "."]).refused(&[]);
    folder.moec(&["run", "a.moe", "--set", "H=3"]).refused(&["bad-override"]);
    folder.moec(&["test", "gone"]).refused(&["gone"]);
    folder.moec(&["explain", "no-such-code"]).refused(&["no-such-code"]);
}

#[test]
fn code_for_another_machine_is_not_run() {
    let folder =
        Folder::with("a.moe", "model m {\n    dim T\n    input x : f32[T]\n    output y : f32[T] = x\n}\n");
    let here = cfg!(target_arch = "x86_64");
    let mut foreign = vec![if here { "aarch64" } else { "x86_64" }];
    // Where the system does not tell, nothing is known.
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    for (target, feature) in [
        ("x86_64-v3", "avx2"),
        ("x86_64-v4", "avx512f"),
        ("x86_64-v4-bf16", "avx512_bf16"),
        ("x86_64-v4-amx", "amx_bf16"),
    ] {
        if here && cpu.contains("flags") && !cpu.contains(feature) {
            foreign.push(target);
        }
    }
    for target in foreign {
        let ended =
            folder.moec(&["run", "a.moe", "--tokens", "3", "--target", target, "--output", "y.safetensors"]);
        let ended = ended.expect(2);
        let message = format!("this machine cannot run code for {target}");
        assert!(ended.err.contains(&message) && ended.out.is_empty(), "{}", ended.err);
        assert!(!folder.path("y.safetensors").exists());
    }
}

#[test]
fn ir_that_is_none() {
    let folder = Folder::new();
    for text in [
        "",
        "module",
        "module m {",
        "module m {\n %0 = frob : f32\n}\n",
        "\u{0}",
        "module m {\n dim T\n dim T\n}\n",
    ] {
        folder.write("a.moir", text);
        folder.moec(&["check", "a.moir"]).refused(&["a.moir"]);
        folder.moec(&["opt", "a.moir"]).refused(&["a.moir"]);
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_fault() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_moec"))
        .args(["opt", &example("granite.moe"), "--emit", "clif"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(0));
}
