//! What is wrong is said where it is wrong: the examples of the registry, and the files of `tests/diag`, where a
//! comment `// error: [slug] text` (or `// warning: ..`) speaks of its line. The text, which may be empty, stands in
//! the message or a label. Every diagnostic of a file is expected, and everything expected is reported.

use std::path::Path;

use moec_diag::{Diagnostic, SourceFile};
use moec_lower::{Options, lower_text};

fn check(source: &str, options: &Options) -> Vec<Diagnostic> {
    let (models, diagnostics) = lower_text(source, options);
    for model in models {
        moec_ir::verify(&model.module).expect("what was lowered verifies");
        assert_eq!(
            moec_ir::read(&moec_ir::print(&model.module)).expect("what was printed reads back"),
            model.module
        );
    }
    diagnostics
}

fn shown(source: &str, diagnostics: &[Diagnostic]) -> String {
    let file = SourceFile::new("test.moe", source);
    diagnostics.iter().map(|d| moec_diag::render(d, &file, false, 120) + "\n\n").collect()
}

/// Line, severity and slug, and the text that must occur.
type Expected = (usize, String, String);

fn expectations(source: &str) -> Vec<Expected> {
    let mut all = Vec::new();
    for (at, line) in source.lines().enumerate() {
        let Some((_, comment)) = line.split_once("// ") else { continue };
        for part in comment.split(" // ") {
            for severity in ["error", "warning"] {
                let Some(rest) = part.trim().strip_prefix(&format!("{severity}: [")) else { continue };
                let (slug, text) = rest.split_once(']').expect("a slug in brackets");
                all.push((at + 1, format!("{severity}: {slug}"), text.trim().to_owned()));
            }
        }
    }
    all
}

#[test]
fn files_are_reported_as_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/diag");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut failures = String::new();
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "moe")) {
        let source = std::fs::read_to_string(path).unwrap();
        let diagnostics = check(&source, &Options::default());
        let file = SourceFile::new("", source.as_str());
        let mut open = expectations(&source);
        let mut extra = Vec::new();
        for diagnostic in &diagnostics {
            let severity = if diagnostic.is_error() { "error" } else { "warning" };
            let kind = format!("{severity}: {}", diagnostic.slug());
            let line = file.line_column(diagnostic.span().unwrap().start).0;
            let says = |text: &str| {
                diagnostic.message.contains(text) || diagnostic.labels.iter().any(|l| l.text.contains(text))
            };
            let found = open.iter().position(|(l, k, text)| *l == line && *k == kind && says(text));
            match found {
                Some(at) => drop(open.remove(at)),
                None => extra.push(diagnostic.clone()),
            }
        }
        if !open.is_empty() || !extra.is_empty() {
            let name = path.file_name().unwrap().to_string_lossy();
            let extra = shown(&source, &extra);
            failures += &format!("== {name}: not reported: {open:?}\nnot expected:\n{extra}\n");
        } else if std::env::var_os("SHOW").is_some() {
            println!("{}", shown(&source, &diagnostics));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The fenced blocks of a text: what follows the fence's `moe`, and the content.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```moe") {
            let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            all.push((kind.trim().to_owned(), body.join("\n") + "\n"));
        }
    }
    all
}

#[test]
fn examples_of_the_registry_are_true() {
    let mut failures = String::new();
    for code in moec_diag::all() {
        for (kind, source) in blocks(code.text()) {
            let diagnostics = check(&source, &Options::default());
            let right = match kind.split_once(": ") {
                Some(("error", slug)) => diagnostics.iter().any(|d| d.is_error() && d.slug() == slug),
                Some(("warning", slug)) => {
                    diagnostics.iter().any(|d| d.slug() == slug)
                        && !diagnostics.iter().any(Diagnostic::is_error)
                }
                _ => !diagnostics.iter().any(Diagnostic::is_error),
            };
            let errors: Vec<&str> =
                diagnostics.iter().filter(|d| d.is_error()).map(Diagnostic::slug).collect();
            let only = errors.windows(2).all(|pair| pair[0] == pair[1]);
            if !right || !only {
                let shown = shown(&source, &diagnostics);
                failures += &format!("== {}, block `{kind}`:\n{source}\n{shown}\n", code.slug());
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Wrong expressions, and the one that the help puts in their place, which must check.
#[test]
fn helps_compile() {
    let model = |body: &str| {
        format!(
            "model m {{\n dim T, S, H = 4, F = 4, E = 3, K = 2, G = 2, M = 6, J = F\n dim GM = G * M\n \
             fact K <= T\n input x, x2 : f32[T, H]\n input a : f32[T, 1]\n input b : f32[S, H]\n input n : i32[T]\n \
             input m : bool[T, H]\n input q : f32[T, G*M]\n input o : f32[T, GM]\n input c : f32[F, F]\n \
             input v : f32[F]\n weight w : bf16[F, H] from \"w\"\n weight w3 : bf16[E, F, H] from \"w3\"\n \
             weight r : f32[E, H] from \"r\"\n let _y = {body}\n output y : f32[T, H] = x\n}}\n"
        )
    };
    let cases = [
        ("x @ w3", "x @ transpose(w3, [0, 2, 1])", "x @ transpose(w3, [0, 2, 1])"),
        ("x @ w", "x @ w.T", "x @ w.T"),
        ("a + x", "a[1 = 0]", "a[1 = 0] + x"),
        ("x * b", "einsum(\"th,sh->ths\", x, b)", "einsum(\"th,sh->ths\", x, b)"),
        ("x + b", "expand(x, [T, H, S])", "expand(x, [T, H, S]) + b"),
        ("q + o", "rename(q, [T, GM])", "rename(q, [T, GM]) + o"),
        ("q @ o.T", "q @ rename(o.T, [G*M, T])", "q @ rename(o.T, [G*M, T])"),
        (
            "normalize(top_k(x, 2, over H), over H)",
            "x where top_k(x, 2, over H).mask else 0",
            "x where top_k(x, 2, over H).mask else 0",
        ),
        (
            "sum e over H { top_k(x, 2, over H).value[e] }",
            "x where top_k(x, 2, over H).mask else 0",
            "x where top_k(x, 2, over H).mask else 0",
        ),
        ("c + v", "rename(c, [I, F])", "rename(c, [J, F]) + v"),
        ("x + n", "f32(n)", "x + f32(n)"),
        ("n / n", "f32(n) / f32(n)", "f32(n) / f32(n)"),
        ("m + 1", "i32(m)", "i32(m) + 1"),
        ("x[n]", "x[T = n]", "x[T = n]"),
        ("softmax(x)", "softmax(x, over H)", "softmax(x, over H)"),
        ("top_k(x, K).mask", "top_k(x, K, over H)", "top_k(x, K, over H).mask"),
        ("softmax(abs(x))", "softmax(abs(x), over H)", "softmax(abs(x), over H)"),
        ("max(x, 0)", "maximum(x, 0)", "maximum(x, 0)"),
        ("relu6(x)", "clamp(x, 0, 6)", "clamp(x, 0, 6)"),
        (
            "softmax(x @ r.T, over E) * (x @ w.T)",
            "sum e over E { (softmax(x @ r.T, over E))[e] * (x @ w3[e].T) }",
            "sum e over E { (softmax(x @ r.T, over E))[e] * (x @ w3[e].T) }",
        ),
        ("w3.T", "transpose(w3, [0, 2, 1])", "transpose(w3, [0, 2, 1])"),
        ("swiglu(x, w, w, w)", "w.T", "swiglu(x, w, w, w.T)"),
        ("exp(n)", "f32(n)", "exp(f32(n))"),
        ("one_hot(x, H)", "i32(x)", "one_hot(i32(x), H)"),
    ];
    for (wrong, help, right) in cases {
        let source = model(wrong);
        let found = check(&source, &Options::default());
        let errors: Vec<&Diagnostic> = found.iter().filter(|d| d.is_error()).collect();
        assert_eq!(errors.len(), 1, "{}", shown(&source, &found));
        assert!(errors[0].help.iter().any(|h| h.contains(help)), "{help}\n{}", shown(&source, &found));
        let source = model(right);
        let found = check(&source, &Options::default());
        assert!(!found.iter().any(Diagnostic::is_error), "{}", shown(&source, &found));
    }
}
