//! How diagnostics look on a terminal.

use std::time::{Duration, Instant};

use moec_diag::{Diagnostic, SourceFile, Span, codes, render};

#[test]
fn labels_notes_and_help() {
    let text = "model m {\n    output y : f32[T, O] = gate * out\n}\n";
    let diagnostic = Diagnostic::error(&codes::SHAPE_MISMATCH, "`*` cannot combine these shapes")
        .label(Span::new(37, 41), "f32[T, E]")
        .label(Span::new(44, 47), "f32[T, O]")
        .note("`gate` has E and lacks O; `out` has O and lacks E: that would be an outer product")
        .help("index both: `sum e over E { gate[e] * (x @ w[e]) }`");
    let expected = "\
error[shape-mismatch]: `*` cannot combine these shapes
 --> m.moe:2:28
  |
2 |     output y : f32[T, O] = gate * out
  |                            ^^^^   ^^^ f32[T, O]
  |                            |
  |                            f32[T, E]
  |
  = note: `gate` has E and lacks O; `out` has O and lacks E: that would be an outer product
  = help: index both: `sum e over E { gate[e] * (x @ w[e]) }`";
    let file = SourceFile::new("m.moe", text);
    assert_eq!(render(&diagnostic, &file, false, 100), expected);
    assert!(render(&diagnostic, &file, true, 100).contains("\u{1b}["));
}

#[test]
fn warnings_and_related_places() {
    let text = "let a = x\nlet b = 2\nlet a = y\n";
    let diagnostic = Diagnostic::warning(&codes::DUPLICATE_NAME, "`a` is declared twice")
        .label(Span::new(24, 25), "again here")
        .context(Span::new(4, 5), "first here");
    let expected = "\
warning[duplicate-name]: `a` is declared twice
 --> m.moe:3:5
  |
1 | let a = x
  |     - first here
2 | let b = 2
3 | let a = y
  |     ^ again here";
    assert_eq!(render(&diagnostic, &SourceFile::new("m.moe", text), false, 100), expected);
}

#[test]
fn no_place_and_impossible_places() {
    let file = SourceFile::new("m.moe", "é\t\u{1b}[31m\r\nlast");
    let bare = Diagnostic::error(&codes::WEIGHT_FILE, "a.safetensors is not there");
    assert_eq!(render(&bare, &file, false, 100), "error[weight-file]: a.safetensors is not there");
    for (start, end) in [(0, 0), (1, 1), (0, 1), (1, 99), (99, 100), (9, 3), (8, 8), (9, 9)] {
        let diagnostic = bare.clone().label(Span { start, end }, "here");
        let shown = render(&diagnostic, &file, true, 20);
        assert!(shown.contains("here") && !shown.contains("\u{1b}[31m\r"), "{start}..{end}: {shown}");
    }
}

#[test]
fn long_texts_are_rendered_from_the_lines_that_matter() {
    let text = "x + y\n".repeat(2_000_000);
    let file = SourceFile::new("m.moe", text);
    let diagnostic =
        Diagnostic::error(&codes::UNKNOWN_NAME, "`y`").label(Span::new(6_000_004, 6_000_005), "here");
    let start = Instant::now();
    for _ in 0..20 {
        assert!(render(&diagnostic, &file, false, 100).contains("1000001 | x + y"));
    }
    assert!(start.elapsed() < Duration::from_secs(4));
}
