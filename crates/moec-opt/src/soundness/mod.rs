//! Nets under the rules: every page's examples, every class of saturated e-graphs evaluated node by
//! node, and planted wrong rules of which none may slip through.

mod evaluate;
mod laws;
mod nets;
mod pages;
mod planted;

use std::path::PathBuf;

use moec_ir::{Module, Sizes, read};

use crate::options::{Limits, Numerics};
use crate::rules::{RULES, Rule};

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn all_rules() -> Vec<&'static Rule> {
    RULES.iter().flat_map(|family| family.rules).collect()
}

/// The programs of `tests/opt`, each with small numbers for all sizes, which differ where the
/// program's differ.
fn small_programs() -> Vec<(String, Module)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("tests/opt")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    // S2 with the scores on the inputs of the experts.
    files.push(root().join("crates/moec-opt/src/soundness/scores_inside.moir"));
    let sizes: &[(&str, u64)] = &[
        ("T", 4),
        ("H", 6),
        ("F", 5),
        ("Fs", 9),
        ("O", 8),
        ("K", 3),
        ("Kg", 2),
        ("P", 2),
        ("G", 4),
        ("M", 3),
        ("C", 2),
    ];
    let mut programs = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name.ends_with(".opt.moir") || !name.ends_with(".moir") {
            continue;
        }
        let module = read(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut sizes: Sizes = sizes.iter().map(|&(name, size)| (name.into(), size)).collect();
        let grouped = module.dims.decls().iter().any(|decl| &*decl.name == "M");
        sizes.insert("E".into(), if grouped { 12 } else { 7 });
        programs.push((name, module.instantiate(&sizes).unwrap()));
    }
    programs
}

const LIMITS: Limits = Limits { nodes: 20_000, iterations: 40 };

#[test]
fn rules_are_named_once_and_say_what_they_do() {
    let mut names: Vec<&str> = all_rules().iter().map(|rule| rule.name).collect();
    for rule in all_rules() {
        assert!(rule.doc.trim().ends_with('.'), "{}: the doc line is a sentence", rule.name);
        assert!(rule.numerics < Numerics::Lossy || rule.conditions.iter().any(|c| c.contains("asked")));
    }
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
