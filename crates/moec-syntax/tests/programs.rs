//! The programs under `tests/lang/programs`, the prelude, and the examples of the grammar page parse as they claim.

use std::fs;
use std::path::{Path, PathBuf};

use moec_diag::{Diagnostic, Severity, SourceFile, examples, render};
use moec_syntax::{PRELUDE, outline, parse};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Name and text of every program, and of the prelude.
fn programs() -> Vec<(String, String)> {
    let mut programs = vec![("prelude.moe".to_owned(), PRELUDE.to_owned())];
    for entry in fs::read_dir(root().join("tests/lang/programs")).expect("the folder of programs") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a program");
        programs.push((path.display().to_string(), text));
    }
    programs.sort();
    assert!(programs.len() > 14);
    programs
}

#[test]
fn programs_parse() {
    for (name, text) in programs() {
        let (file, found) = parse(&text);
        let source = SourceFile::new(name.as_str(), text.as_str());
        let shown: Vec<_> = found.iter().map(|diagnostic| render(diagnostic, &source, false, 120)).collect();
        assert!(found.is_empty(), "{}", shown.join("\n"));
        assert!(!file.items.is_empty(), "{name}");
        assert!(!outline(&file).contains("<error>"), "{name}");
    }
}

#[test]
fn the_grammar_page_tells_the_truth() {
    let page = fs::read_to_string(root().join("ir-specs/grammar.md")).expect("the grammar page");
    let examples = examples(&page);
    assert!(examples.len() > 20);
    for example in examples {
        let (_, found) = parse(example.text);
        let slugs: Vec<_> = found.iter().map(Diagnostic::slug).collect();
        let expected: Vec<_> = match example.expected {
            Some((Severity::Error, slug)) => vec![slug],
            _ => Vec::new(),
        };
        assert_eq!(slugs, expected, "ir-specs/grammar.md:{}\n{}", example.line, example.text);
    }
}

/// The keywords that the page lists are the keywords of the lexer: a keyword cannot be a name.
#[test]
fn the_grammar_page_lists_the_keywords() {
    let page = fs::read_to_string(root().join("ir-specs/grammar.md")).expect("the grammar page");
    let (_, rest) = page.split_once("<!-- keywords -->").expect("the start of the list");
    let (list, _) = rest.split_once("<!-- end -->").expect("the end of the list");
    let words: Vec<_> = list.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect();
    assert!(words.len() > 20);
    for word in words {
        let (_, found) = parse(&format!("fn f({word}: f32) -> f32 {{ 1 }}\n"));
        assert_eq!(found.len(), 1, "{word}");
    }
    for word in ["sum", "map", "concat", "by", "floor", "partition", "softmax"] {
        let (_, found) = parse(&format!("fn f({word}: f32) -> f32 {{ {word} + 1 }}\n"));
        assert!(found.is_empty(), "{word}");
    }
}
