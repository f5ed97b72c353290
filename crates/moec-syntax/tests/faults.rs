//! What the parser says about faulty texts, and that it survives any text.

use std::time::{Duration, Instant};

use moec_diag::{Diagnostic, Severity, SourceFile, all, examples, families, render};
use moec_syntax::{format, outline, parse};

/// The slugs found in a text, in order of place.
fn slugs(text: &str) -> Vec<&'static str> {
    parse(text).1.iter().map(Diagnostic::slug).collect()
}

/// A model around the expression of its output.
fn model(expr: &str) -> String {
    format!("model m {{\n    dim T, E = 4\n    input x : f32[T, E]\n    output y : f32[T, E] = {expr}\n}}\n")
}

/// Message of the only finding.
#[track_caller]
fn only(text: &str) -> Diagnostic {
    let (_, mut found) = parse(text);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    found.remove(0)
}

#[test]
fn one_fault_gives_one_error() {
    let cases = [
        ("h * u @ w2[e].T", "mixed-precedence"),
        ("a @ b / c * d", "mixed-precedence"),
        ("p where m", "missing-else"),
        ("f(p where m, 3)", "missing-else"),
        ("x\n    - a", "leading-minus"),
        ("a < b < c", "chained-comparison"),
        ("(x, y)", "unexpected-token"),
        ("x)", "unopened-bracket"),
        ("f(x", "unclosed-bracket"),
        ("a[0]", "positional-index"),
        ("a[i + 1]", "positional-index"),
        ("a[0..2]", "positional-index"),
        ("a[]", "unexpected-token"),
        ("a[e = 0]", "name-case"),
        ("a[E = ]", "unexpected-token"),
        ("x + * x", "unexpected-token"),
        ("sum(x, axis = 1)", "unexpected-token"),
        ("sum(x, over e)", "name-case"),
        ("x y", "unexpected-token"),
        ("x == not y", "unexpected-token"),
        ("- - x", "unexpected-token"),
        ("x +", "unexpected-token"),
        ("x + #", "bad-character"),
        ("x;", "bad-character"),
        ("größe", "bad-character"),
        ("2E", "bad-number"),
        ("1.5e", "bad-number"),
        ("1e999", "bad-number"),
        ("a[E = 0..4 by 0.5]", "bad-number"),
        ("\"abc", "unterminated-string"),
        ("einsum(\"{\", x)", "bad-hole"),
        ("float(x)", "misplaced-type"),
        ("f32", "unexpected-token"),
        ("zeros(f64[T])", "unexpected-token"),
        ("zeros(f32[T + 1])", "unnamed-size"),
        ("zeros(f32[.., T])", "misplaced-type"),
        ("Foo(x)", "name-case"),
        ("sum e over E along T { x }", "misplaced-along"),
        ("concat e over E { x }", "misplaced-along"),
        ("sum e { x }", "unexpected-token"),
        ("summ e over E { x }", "unexpected-token"),
        ("sum e over E { }", "unexpected-token"),
        ("sum e over E {\n x\n x }", "unexpected-token"),
        ("f\n(x)", "unexpected-token"),
        ("x.foo.T.Q", "unexpected-token"),
        ("let", "unexpected-token"),
    ];
    for (expr, slug) in cases {
        let diagnostic = only(&model(expr));
        assert_eq!(diagnostic.slug(), slug, "{expr}: {}", diagnostic.message);
        assert!(diagnostic.span().is_some(), "{expr}");
    }
}

#[test]
fn one_run_reports_many_errors() {
    let text = "model m {
    dim t, H = 2H
    input x : f32[T, H
    let a = f(x + , g[0])
    let B = sum e over E {
        let c = p where m
        c * d @ e
    }
    output y : f32[T, H] = a b
}

fn f(X: f32[T]) -> f32[T] { x ; }

stray words (

model n { dim T }
";
    let expected = [
        "name-case",
        "bad-number",
        "unclosed-bracket",
        "unexpected-token",
        "name-case",
        "missing-else",
        "mixed-precedence",
        "unexpected-token",
        "name-case",
        "bad-character",
        "unexpected-token",
        "unclosed-bracket",
    ];
    assert_eq!(slugs(text), expected);
    let (file, _) = parse(text);
    assert_eq!(file.models().map(|model| model.name.text.as_str()).collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!(file.functions().count(), 0, "calls cannot be checked against parameters that were not read");
}

#[test]
fn messages_name_both_readings() {
    assert_eq!(
        only(&model("h * u @ w[e].T")).help,
        ["`(h * u) @ w[e].T` is what Python means; `h * (u @ w[e].T)` is the other reading"]
    );
    assert_eq!(only(&model("a < b <= c")).help, ["write `a < b and b <= c`"]);
    assert_eq!(only("model m {\n    lett a = 3\n}\n").help, ["did you mean `let`?"]);
    assert_eq!(only("model m {\n    dim F = 2H\n}\n").help, ["a product is written `2*H`"]);
}

#[test]
fn the_texts_of_codes_tell_the_truth() {
    let syntax: Vec<_> =
        families().filter(|(name, _)| *name == "syntax").flat_map(|(_, codes)| codes).collect();
    for code in all() {
        for example in examples(code.text()) {
            let found = slugs(example.text);
            match example.expected {
                Some((Severity::Error, slug)) if syntax.iter().any(|code| code.slug() == slug) => {
                    assert!(
                        !found.is_empty() && found.iter().all(|found| *found == slug),
                        "{found:?}: {}",
                        example.text
                    );
                }
                _ => assert!(found.is_empty(), "{}: {found:?}", code.slug()),
            }
        }
    }
}

#[test]
fn deep_nesting_is_one_error() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("f(", ")"), ("a[E = ", "]"), ("sum e over E { ", " }"), ("-(", ")")]
    {
        let text = model(&format!("{}x{}", open.repeat(10_000), close.repeat(10_000)));
        assert_eq!(slugs(&text), ["too-deep"], "{open}");
        let text = model(&format!("{}x", open.repeat(10_000)));
        assert_eq!(slugs(&text), ["too-deep"], "{open} alone");
        let text = model(&format!("{}x{}", open.repeat(150), close.repeat(150)));
        assert_eq!(slugs(&text), [""; 0], "{open} 150 times");
    }
    for chain in ["x + ", "x @ ", "x where m else ", "x or "] {
        assert_eq!(slugs(&model(&format!("{}x", chain.repeat(100_000)))), ["too-deep"], "{chain}");
        assert_eq!(slugs(&model(&format!("{}x", chain.repeat(200)))), [""; 0], "{chain}");
    }
    assert_eq!(slugs(&model(&format!("x{}", ".T".repeat(100_000)))), ["too-deep"]);
    assert_eq!(slugs(&model(&format!("x{}", "[e]".repeat(100_000)))), ["too-deep"]);
    let size = format!("model m {{\n    dim A = {}1\n}}\n", "1 + ".repeat(100_000));
    assert_eq!(slugs(&size), ["too-deep"]);
}

#[test]
fn large_garbage_is_read_in_linear_time() {
    let seeds = [
        "(",
        ")",
        "{",
        "let ",
        "x ",
        "$",
        "\"",
        "a[",
        "\n",
        "model m {\n",
        "f(x,\n",
        "1.",
        "- ",
        "sum e over E { ",
        "//\n",
        "/// d\n",
        "let a = b\n",
        "é",
        "where ",
        "dim T\n",
        "[1, ",
        "fn f(",
        "}",
        "a = 1, ",
        "2*",
        "..",
        "{E}\"",
    ];
    for seed in seeds {
        let text = seed.repeat((10 << 20) / seed.len());
        let start = Instant::now();
        let (_, found) = parse(&text);
        assert!(found.len() <= 101, "{seed:?}: {}", found.len());
        assert!(start.elapsed() < Duration::from_secs(20), "{seed:?} took {:?}", start.elapsed());
    }
    assert_eq!(slugs(&" ".repeat((64 << 20) + 1)), ["file-too-large"]);
}

/// A fixed sequence that looks random: xorshift.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn any_sequence_of_words_is_survived() {
    let words = [
        "model",
        "fn",
        "dim",
        "let",
        "output",
        "input",
        "weight",
        "from",
        "fact",
        "const",
        "param",
        "over",
        "axis",
        "along",
        "where",
        "else",
        "and",
        "not",
        "true",
        "inf",
        "f32",
        "float",
        "x",
        "sum",
        "concat",
        "T",
        "E",
        "2",
        "0.5",
        "\"a{E}\"",
        "\"",
        "+",
        "-",
        "*",
        "/",
        "@",
        "=",
        "<=",
        "==",
        "->",
        ".",
        "..",
        ",",
        ":",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\n",
        "//c\n",
        "///d\n",
        ";",
        "é",
        "by",
        "partition",
    ];
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for _ in 0..20_000 {
        let count = noise.below(40);
        let mut text = if noise.below(2) == 0 { model("").replace("}\n", "") } else { String::new() };
        for _ in 0..count {
            text += words[noise.below(words.len())];
            if noise.below(4) > 0 {
                text.push(' ');
            }
        }
        survives(&text);
    }
}

/// Programs with pieces cut out, doubled, moved and overwritten.
#[test]
fn damaged_programs_are_survived() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs");
    let paths = std::fs::read_dir(folder)
        .expect("the folder of programs")
        .map(|entry| entry.expect("an entry").path());
    let mut programs: Vec<_> = paths.map(|path| std::fs::read_to_string(path).expect("a program")).collect();
    programs.sort();
    let mut noise = Noise(0x2545_F491_4F6C_DD1D);
    for round in 0..3_000 {
        let mut bytes = programs[round % programs.len()].clone().into_bytes();
        for _ in 0..=noise.below(6) {
            let from = noise.below(bytes.len());
            let to = (from + noise.below(30)).min(bytes.len());
            let piece = bytes[from..to].to_vec();
            match noise.below(4) {
                0 => drop(bytes.drain(from..to)),
                1 => drop(bytes.splice(from..from, piece)),
                2 => {
                    let at = noise.below(bytes.len());
                    drop(bytes.splice(at..at, piece));
                }
                _ => bytes[from] = b"(){}[]\"\n-+=:,.@ xE0/"[noise.below(20)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        survives(&String::from_utf8_lossy(&bytes));
    }
}

/// What holds for the parse of any text, and for its formatting if it is faultless.
#[track_caller]
fn survives(text: &str) {
    let (file, found) = parse(text);
    for label in found.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(label.span.start <= label.span.end && label.span.end as usize <= text.len(), "{text}");
    }
    if found.is_empty() {
        // Whatever is wrong is said: an error node never comes alone.
        assert!(!outline(&file).contains("<error>"), "{text}");
        let formatted = format(text).expect("a faultless text is formatted");
        assert_eq!(outline(&parse(&formatted).0), outline(&file), "{text}\n{formatted}");
        assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "{text}");
    } else {
        assert!(format(text).is_err(), "{text}");
        let source = SourceFile::new("m.moe", text);
        assert!(!render(&found[0], &source, false, 120).is_empty());
    }
}
