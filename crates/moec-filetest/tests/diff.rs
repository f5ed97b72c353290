//! The pairs of `tests/diff`: each file of a folder against its `right.moe`. A mistake is told apart by
//! a counterexample; another way to write the same is proved or unknown, as the table in `docs/diff.md`
//! says (`MOEC_BLESS=1` rewrites the table).
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use moec::diag::SourceFile;
use moec::interp::Tensor;
use moec::ir::{Module, Sizes};
use moec::{Counterexample, DiffOptions, Options, Verdict, diff, front};
use moec_filetest::test_files;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn program(path: &Path) -> Module {
    lowered(path, std::fs::read_to_string(path).unwrap())
}

fn lowered(path: &Path, text: String) -> Module {
    let name = path.display().to_string();
    let source = SourceFile::new(name.clone(), text);
    front(&source, &Options::default(), &mut |_| ()).unwrap_or_else(|e| panic!("{name}: {e:?}")).ir
}

/// What the header says: `different` or `same`.
fn announced(text: &str, path: &Path) -> String {
    let header: String = text.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let header: toml::Table = header.parse().unwrap();
    let verdict = header["diff"].as_str().unwrap().to_owned();
    assert!(["different", "same"].contains(&verdict.as_str()), "{}", path.display());
    verdict
}

/// The example as the two programs run it on their own, under the interpreter.
fn holds(example: &Counterexample, programs: [&Module; 2], name: &str) {
    let pair = &example.outputs[example.output];
    let outputs = [&pair.first, &pair.second];
    for (program, expected) in programs.into_iter().zip(outputs) {
        // Weights that the two call by different names are known by the first's.
        let Some(data) = named(program, &example.data) else { continue };
        let sizes: Sizes = example.sizes.clone();
        let program = program.instantiate(&sizes).unwrap();
        let found = moec::interp::run(&program, &Sizes::new(), &data).unwrap();
        let (_, found) = found.iter().find(|(output, _)| *output == pair.name).unwrap();
        assert_eq!(found, expected, "{name}");
    }
    assert!(
        example.data.values().map(|tensor| tensor.data.len()).sum::<usize>() < 200,
        "{name} is not small"
    );
}

fn named(program: &Module, data: &BTreeMap<String, Tensor>) -> Option<BTreeMap<String, Tensor>> {
    let names = program.inputs().chain(program.weights()).map(|source| source.1.to_owned());
    names.map(|name| Some((name.clone(), data.get(&name)?.clone()))).collect()
}

#[test]
fn mistakes_are_told_apart_and_other_forms_are_not() {
    let folder = root().join("tests/diff");
    let mut table = String::from("| program | | verdict |\n|---|---|---|\n");
    let mut mistakes = 0;
    for path in test_files(std::slice::from_ref(&folder)).unwrap() {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        if name.ends_with("right.moe") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let doc = text.lines().find_map(|line| line.strip_prefix("/// ")).unwrap();
        let (this, right) = (program(&path), program(&path.with_file_name("right.moe")));
        let found = diff(&this, &right, &DiffOptions::default()).unwrap();
        let verdict = match (&found.verdict, announced(&text, &path).as_str()) {
            (Verdict::Different(example), "different") => {
                if name != "gate_and_up_swapped/wrong_in_the_file.moe" {
                    holds(example, [&this, &right], &name);
                }
                mistakes += 1;
                "different"
            }
            (Verdict::Proved { .. }, "same") => "proved",
            (Verdict::Unknown(_), "same") => "unknown",
            (verdict, announced) => panic!("{name}: expected {announced}, found {verdict:?}"),
        };
        writeln!(table, "| [{name}](../tests/diff/{name}) | {doc} | {verdict} |").unwrap();
    }
    assert!(mistakes >= 12);

    let page = root().join("docs/diff.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (head, rest) = text.split_once("<!-- table -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    let expected = format!("{head}<!-- table -->\n{table}<!-- end -->{tail}");
    if std::env::var_os("MOEC_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&page, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(&page).unwrap() == expected,
        "the table of docs/diff.md is not true any more (MOEC_BLESS=1 writes it); it is\n{table}"
    );
}

#[test]
fn files_are_in_the_one_style() {
    for path in test_files(&[root().join("tests/diff")]).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(moec::format(&text).unwrap(), text, "{}", path.display());
    }
}

/// A mistake in the source of an imported model.
#[derive(serde::Deserialize)]
struct Mistake {
    model: String,
    what: String,
    edits: Vec<[String; 2]>,
}

#[test]
fn imported_models_are_told_from_their_neighbours() {
    let text = std::fs::read_to_string(root().join("tests/diff/imported.toml")).unwrap();
    let mut tables: BTreeMap<String, Vec<Mistake>> = toml::from_str(&text).unwrap();
    for Mistake { model, what, edits } in tables.remove("mistake").unwrap() {
        let path = root().join("tests/golden").join(&model).join("source.moe");
        let right = std::fs::read_to_string(&path).unwrap();
        let wrong = edits.iter().fold(right.clone(), |text, [from, to]| {
            assert!(text.contains(from.as_str()), "{model}: `{from}` does not stand in {}", path.display());
            text.replace(from.as_str(), to)
        });
        let (right, wrong) = (lowered(&path, right), lowered(&path, wrong));
        let found = diff(&wrong, &right, &DiffOptions::default()).unwrap();
        let Verdict::Different(example) = found.verdict else {
            panic!("{model}: {what}: {:?}", found.verdict)
        };
        holds(&example, [&wrong, &right], &format!("{model}: {what}"));
        let same = diff(&right, &right, &DiffOptions::default()).unwrap().verdict;
        assert!(matches!(same, Verdict::Proved { .. }), "{model}: {same:?}");
    }
}
