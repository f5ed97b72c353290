//! What `docs/optimiser.md` shows is what the compiler does. A code block says in its first line what
//! it is: `moir ir`, `moir opt` and `text rules` are made from the source of the page, whose block is
//! `moe`; a block with a path stands in that file.

use std::ops::Range;
use std::path::Path;

use moec::diag::SourceFile;
use moec::{Emit, Options};

/// Code blocks: the words after the language, and the place of the text.
fn blocks(page: &str) -> Vec<(String, Range<usize>)> {
    let (mut found, mut open, mut at) = (Vec::new(), None, 0);
    for line in page.split_inclusive('\n') {
        let next = at + line.len();
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some((name, start))) => found.push((name, start..at)),
            (Some(name), None) => open = Some((name.trim().to_owned(), next)),
            (None, kept) => open = kept,
        }
        at = next;
    }
    found
}

#[test]
fn the_page_shows_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("docs/optimiser.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    let blocks = blocks(&page);
    let (_, text) = blocks.iter().find(|(name, _)| name == "moe").unwrap();
    let source = SourceFile::new("s2.moe", &page[text.clone()]);
    let (options, mut watch) = (Options::default(), |_| ());
    let texts = moec::emit(&source, &options, &[Emit::Ir, Emit::Opt], &mut watch).unwrap();
    let emitted = |form| texts.iter().find(|(f, _)| *f == form).unwrap().1.clone();
    let module = moec::front(&source, &options, &mut |_| ()).unwrap().ir;
    let report = moec_opt::optimize(&module, &moec_opt::Options::default()).unwrap().report;
    let rules: String =
        report.fired.iter().map(|rule| format!("{:4}  {}\n", rule.count, rule.rule)).collect();
    let mut edits = Vec::new();
    for (name, text) in &blocks {
        let expected = match name.as_str() {
            "moir ir" => emitted(Emit::Ir),
            "moir opt" => emitted(Emit::Opt),
            "text rules" => rules.clone(),
            other => {
                if let Some((_, file)) = other.split_once(' ') {
                    let file = std::fs::read_to_string(root.join(file)).unwrap();
                    assert!(file.contains(&page[text.clone()]), "{other} lacks\n{}", &page[text.clone()]);
                }
                continue;
            }
        };
        if page[text.clone()] != expected {
            assert!(std::env::var_os("MOEC_BLESS").is_some(), "{name} is\n{expected}");
            edits.push((text.clone(), expected));
        }
    }
    for (range, text) in edits.into_iter().rev() {
        page.replace_range(range, &text);
    }
    if std::env::var_os("MOEC_BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
}
