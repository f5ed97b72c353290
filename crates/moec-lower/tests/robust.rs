//! Bad input ends in diagnostics: never in a panic, an overflow of the stack, or a wait without end.

use std::path::Path;

use moec_diag::Diagnostic;
use moec_lower::{Options, lower_text};

fn slugs(source: &str, set: &[(&str, &str)]) -> Vec<&'static str> {
    let set = set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (_, diagnostics) = lower_text(source, &Options { set, model: None });
    diagnostics.iter().map(Diagnostic::slug).collect()
}

fn programs() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the programs").map(|e| e.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|p| std::fs::read_to_string(p).expect("a program")).collect()
}

fn model(body: &str) -> String {
    format!("model m {{\n dim T, H = 4\n input x : f32[T, H]\n output y : f32[T, H] = {body}\n}}\n")
}

#[test]
fn nesting_is_bounded() {
    // As deep as the parser lets through, then inside functions that call each other.
    let deep = format!("{}x{}", "silu(".repeat(190), ")".repeat(190));
    assert!(slugs(&model(&deep), &[]).is_empty());
    let mut source = String::from("fn g0(x: f32[.., A]) -> f32[.., A] {\n x\n}\n");
    for i in 1..60 {
        let inner = format!("{}x{}", "abs(".repeat(100), ")".repeat(100));
        source += &format!("fn g{i}(x: f32[.., A]) -> f32[.., A] {{\n g{}({inner})\n}}\n", i - 1);
    }
    assert!(
        slugs(&format!("{source}{}", model("g59(x)")), &[]).is_empty(),
        "calls do not nest the arguments"
    );
    let source = source.replace("g58(abs(", "abs(g58(");
    assert!(slugs(&format!("{source}{}", model("g59(x)")), &[]).is_empty());
    let mut source = String::from("fn g0(x: f32[.., A]) -> f32[.., A] {\n x\n}\n");
    for i in 1..60 {
        let (open, close) = ("abs(".repeat(100), ")".repeat(100));
        source += &format!("fn g{i}(x: f32[.., A]) -> f32[.., A] {{\n {open}g{}(x){close}\n}}\n", i - 1);
    }
    assert_eq!(slugs(&format!("{source}{}", model("g59(x)")), &[]), ["too-deep"]);
    for (open, close) in [
        ("(1 + ", ")"),
        ("(x where true else ", ")"),
        ("f32(", ")"),
        ("(sum e over H { x[H = 0..H] * ", " })"),
        ("swiglu(x, zeros(f32[H, H]), zeros(f32[H, H]), ", ")"),
        ("einsum(\"th,hk->tk\", x, ", ")"),
    ] {
        slugs(&model(&format!("{}x{}", open.repeat(190), close.repeat(190))), &[]);
    }
}

#[test]
fn calls_do_not_multiply_without_end() {
    let mut source = String::from("fn g0(x: f32[.., A]) -> f32[.., A] {\n x\n}\n");
    for i in 1..40 {
        source += &format!("fn g{i}(x: f32[.., A]) -> f32[.., A] {{\n g{0}(x) + g{0}(x + {i})\n}}\n", i - 1);
    }
    let found = slugs(&format!("{source}{}", model("g39(x)")), &[]);
    assert!(!found.is_empty() && found.iter().all(|s| *s == "too-deep"), "{found:?}");
}

#[test]
fn sums_of_many_dims_are_not_followed_for_ever() {
    let mut source = String::from("model m {\n dim A0 = 2, B0 = 3\n");
    for i in 1..40 {
        source += &format!(
            " dim A{i} = (A{0} + B{0}) / (A{0} + B{0}) + 1, B{i} = (A{0} + 2) * (B{0} + 3) / (B{0} + 3)\n",
            i - 1
        );
    }
    source += " input x : f32[A39]\n output y : f32[A39] = x\n}\n";
    slugs(&source, &[]);
}

#[test]
fn overrides_fit_or_are_refused() {
    let source = "model m {\n dim T, H = 4, G = 2*H\n param r = 0.5\n param on = true\n param at = \"a\"\n \
                  input x : f32[T, H]\n weight w : f32[G] from \"{at}\"\n \
                  output y : f32[T, H] = x * r * sum(w) where on else x\n}\n";
    assert!(slugs(source, &[("T", "3"), ("H", "0"), ("r", "2"), ("on", "false"), ("at", "{b}")]).is_empty());
    for (name, value) in [
        ("H", "-1"),
        ("H", "a"),
        ("H", "99999999999999999999"),
        ("G", "3"),
        ("r", "x"),
        ("on", "1"),
        ("z", "1"),
    ] {
        assert_eq!(slugs(source, &[(name, value)]), ["bad-override"], "{name}={value}");
    }
    let (models, _) = lower_text(source, &Options { model: Some("n".into()), ..Options::default() });
    assert!(models.is_empty());
}

/// Programs with a piece removed, doubled or exchanged.
#[test]
fn broken_programs_do_not_panic() {
    let mut state = 1u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let programs = programs();
    let words: Vec<&str> = "E T H F K G C x w1 p g e over axis 0 1 -1 ( ) [ ] { } = , . @ * + - / where else top_k softmax \
        sum map concat along reshape rename gather f32 bf16 i32 bool .mask .value .index .T dim fact const fn inf [E = 0]"
        .split(' ')
        .collect();
    let mut errors = 0;
    for round in 0..4000 {
        let source = &programs[round % programs.len()];
        let mut tokens: Vec<&str> = source.split_inclusive([' ', '(', ')', '[', ']', ',']).collect();
        for _ in 0..=next(3) {
            let (at, other) = (next(tokens.len()), next(tokens.len()));
            match next(4) {
                0 => drop(tokens.remove(at)),
                1 => tokens.swap(at, other),
                2 => tokens.insert(at, words[next(words.len())]),
                _ => tokens[at] = tokens[other],
            }
        }
        let broken = tokens.concat();
        let (models, diagnostics) = lower_text(&broken, &Options::default());
        errors += diagnostics.iter().filter(|d| d.is_error()).count();
        let wrong = diagnostics
            .iter()
            .any(|d| d.message.contains("does not verify") || d.message.contains(": operand"));
        assert!(!wrong, "{broken}\n{diagnostics:#?}");
        let silent =
            models.is_empty() && broken.contains("model ") && !diagnostics.iter().any(Diagnostic::is_error);
        assert!(!silent, "neither a model nor an error:\n{broken}");
    }
    assert!(errors > 1000);
}
