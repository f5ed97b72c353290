//! Every program of `tests/lang/programs` checks without errors, lowers, verifies, and reads back from its text.

use std::path::Path;

use moec_diag::{Diagnostic, SourceFile};
use moec_lower::{Options, lower_text};

fn program(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shown(source: &str, diagnostics: &[Diagnostic]) -> String {
    let file = SourceFile::new("test.moe", source);
    let texts: Vec<String> = diagnostics.iter().map(|d| moec_diag::render(d, &file, false, 120)).collect();
    texts.join("\n\n")
}

#[test]
fn programs_lower_and_read_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".moe"))
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    for name in names {
        let source = program(&name);
        let (models, diagnostics) = lower_text(&source, &Options::default());
        assert!(!diagnostics.iter().any(Diagnostic::is_error), "{name}\n{}", shown(&source, &diagnostics));
        assert!(!models.is_empty(), "{name} has no model");
        for model in models {
            moec_ir::verify(&model.module).unwrap();
            let text = moec_ir::print(&model.module);
            assert_eq!(moec_ir::read(&text).unwrap(), model.module, "{name}\n{text}");
            if std::env::var_os("SHOW").is_some() {
                println!("{text}");
            }
        }
    }
}
