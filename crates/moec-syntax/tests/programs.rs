//! The programs under `tests/lang/programs` and the prelude parse without a finding.

use std::fs;
use std::path::PathBuf;

use moec_diag::{SourceFile, render};
use moec_syntax::{PRELUDE, outline, parse};

/// Name and text of every program, and of the prelude.
fn programs() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs");
    let mut programs = vec![("prelude.moe".to_owned(), PRELUDE.to_owned())];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        programs.push((
            path.file_name().unwrap().to_string_lossy().into_owned(),
            fs::read_to_string(&path).unwrap(),
        ));
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
