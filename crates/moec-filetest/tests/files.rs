//! Every test file of the tree, and the examples at small sizes. `MOEC_BLESS=1` rewrites expected blocks.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use moec_filetest::{Case, Header, Outcome, run, test_files};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn bless() -> bool {
    std::env::var_os("MOEC_BLESS").is_some_and(|value| value == "1")
}

/// Fails with everything that is wrong in any of the files.
fn all_pass(outcomes: impl Iterator<Item = (PathBuf, Outcome)>) {
    let mut count = 0;
    let mut failures = Vec::new();
    for (path, outcome) in outcomes {
        count += 1;
        let path = path.display();
        failures.extend(outcome.failures.iter().map(|failure| format!("{path}: {failure}")));
    }
    assert!(count > 0, "there are no test files");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn outcome(path: PathBuf) -> (PathBuf, Outcome) {
    let case = Case::read(&path).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(&case, bless()).unwrap_or_else(|error| panic!("{error}"));
    (path, outcome)
}

#[test]
fn run_files() {
    all_pass(test_files(&[root().join("tests/run")]).unwrap().into_iter().map(outcome));
}

#[test]
fn check_files() {
    all_pass(test_files(&[root().join("tests/check")]).unwrap().into_iter().map(outcome));
}

#[test]
fn examples_and_programs_at_small_sizes() {
    let text = std::fs::read_to_string(root().join("tests/examples.toml")).unwrap();
    let headers: BTreeMap<String, Header> = toml::from_str(&text).unwrap();
    let folders = [root().join("examples"), root().join("tests/lang/programs")];
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    let files: Vec<PathBuf> = test_files(&folders).unwrap();
    let names: Vec<String> = files.iter().map(|file| relative(file)).collect();
    assert_eq!(headers.keys().cloned().collect::<Vec<_>>(), names, "tests/examples.toml names every file");
    all_pass(files.into_iter().zip(headers.into_values()).map(|(path, header)| {
        let case =
            Case::read(&path).and_then(|case| case.with_header(header)).unwrap_or_else(|e| panic!("{e}"));
        let outcome = run(&case, false).unwrap_or_else(|error| panic!("{error}"));
        (path, outcome)
    }));
}

#[test]
fn files_are_in_the_one_style() {
    let folders = ["examples", "tests/run"].map(|folder| root().join(folder));
    for path in test_files(&folders).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "moe") {
            assert_eq!(moec::format(&text).unwrap(), text, "{}", path.display());
        }
    }
}

/// Programs that are not what they say, and what is said of them.
#[test]
fn what_is_wrong_is_reported() {
    let double = "model m {\n    dim T\n    input x : f32[T]\n\n    output y : f32[T] = x * 2\n}\n";
    let cases = [
        ("model m {\n", "found, not announced"),
        (&format!("{double}// run: T = 3\n// error: [unknown-name]\n"), "announced, not found"),
        (&format!("{double}// run: T = 3, fails = \"out of range\"\n"), "was to be refused"),
        (&format!("{double}// run: N = 3\n"), "T has no value"),
        (&format!("{double}// run: T = three\n"), "`run: T = three`"),
        (&format!("{double}// expect optt:\n"), "no stage `optt`"),
        (&format!("{double}// expect opt:\n"), "`expect opt` differs"),
        (&format!("//! numerics = \"sloppy\"\n{double}"), "no numerics class `sloppy`"),
        (&format!("//! colour = 3\n{double}"), "header: "),
        ("model m {\n    output y : f32 = 1 // error: [x\n}\n", "needs `]`"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.moe");
    for (text, words) in cases {
        std::fs::write(&path, text).unwrap();
        let said = match Case::read(&path).and_then(|case| run(&case, false)) {
            Ok(outcome) => outcome.failures.join("\n"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(words), "{text}\n{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
