//! Rules for Rust files: what may stand where.

use super::code::{code_only, find_word, is_word};
use super::{Finding, TreeFile};

/// A file longer than this is split.
const MAX_LINES: usize = 1000;

/// From this length on a file is named in the notes.
const LONG_LINES: usize = 600;

/// The crates that may do unsafe things. Types of functions and traits that promise something may
/// be declared where rustc lets them.
const UNSAFE_ROOMS: [&str; 2] = ["moec-runtime", "moec-codegen"];

/// The crates that may touch files, the environment, clocks and the terminal.
const OUTER_ROOMS: [&str; 5] = ["moec-bench", "moec-cli", "moec-filetest", "moec-fuzz", "xtask"];

/// What touches the world outside the process, and where else it may: a file of weights, packed or not, is mapped
/// by the runtime, a model folder is listed by the importer, whose build script lists its rows.
const OUTSIDE: &[(&str, &[&str])] = &[
    (
        "std::fs",
        &[
            "crates/moec-runtime/src/packed/",
            "crates/moec-runtime/src/weights/",
            "crates/moec-import/src/folder.rs",
            "crates/moec-import/build.rs",
        ],
    ),
    ("std::env", &["crates/moec-runtime/src/cpu.rs", "crates/moec-import/build.rs"]),
    ("std::time", &[]),
    ("std::process", &[]),
    ("std::net", &[]),
    ("print!", &[]),
    ("println!", &["crates/moec-import/build.rs"]),
    ("eprint!", &[]),
    ("eprintln!", &[]),
];

pub(super) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let test_modules = test_modules(tree);
    for file in tree.iter().filter(|file| file.is_rust()) {
        let code = code_only(&file.text);
        check_shape(file, &mut findings);
        check_attributes(file, &code, &mut findings);
        check_unsafe(file, &code, &mut findings);
        let in_test = test_modules.iter().any(|module| file.path.starts_with(module));
        if !in_test {
            check_outside(file, &code, &mut findings);
        }
    }
    findings
}

/// Files that will have to be split before long.
pub(super) fn long_files(tree: &[TreeFile]) -> Vec<String> {
    let lines = |file: &TreeFile| file.text.lines().count();
    let long = tree.iter().filter(|file| file.is_rust() && lines(file) > LONG_LINES);
    long.map(|file| format!("{} has {} lines", file.path, lines(file))).collect()
}

fn check_shape(file: &TreeFile, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//!") {
        findings.push(file.finding(1, "a module starts with `//!`: what it owns, what it must not know"));
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        findings.push(file.finding(0, format!("{lines} lines: split it before {MAX_LINES}")));
    }
}

fn check_attributes(file: &TreeFile, code: &str, findings: &mut Vec<Finding>) {
    for (number, line) in numbered(code) {
        if line.contains("#[allow") || line.contains("#![allow") {
            findings.push(file.finding(number, "use `#[expect(lint, reason = \"...\")]`, not `allow`"));
        }
    }
}

fn check_unsafe(file: &TreeFile, code: &str, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = file.text.lines().collect();
    let in_room = file.member().is_some_and(|member| UNSAFE_ROOMS.contains(&member));
    for (number, line) in numbered(code) {
        let Some(at) = find_word(line, "unsafe") else { continue };
        let after = line.get(at + "unsafe".len()..).unwrap_or_default().trim_start();
        let acts = after.is_empty() || after.starts_with('{') || after.starts_with("impl");
        if !in_room && (acts || defines_function(after)) {
            findings.push(file.finding(number, format!("`unsafe` lives in {}", UNSAFE_ROOMS.join(" and "))));
        }
        if acts && !has_safety_comment(&lines, number) {
            findings.push(file.finding(number, "`unsafe` without a `// SAFETY:` comment above it"));
        }
    }
}

/// Whether what follows `unsafe` is a function with a name, not the type of one.
fn defines_function(after: &str) -> bool {
    find_word(after, "fn").is_some_and(|at| after[at + "fn".len()..].trim_start().starts_with(is_word))
}

/// Whether a comment on the line (from 1), or above the statement that it belongs to, gives the
/// reason.
fn has_safety_comment(lines: &[&str], number: usize) -> bool {
    let above = lines.iter().take(number).rev();
    for (distance, line) in above.enumerate() {
        if line.contains("// SAFETY:") {
            return true;
        }
        let line = line.trim();
        let ends_before = line.is_empty() || line.ends_with([';', '{', '}']);
        if distance > 0 && ends_before && !line.starts_with("//") {
            return false;
        }
    }
    false
}

fn check_outside(file: &TreeFile, code: &str, findings: &mut Vec<Finding>) {
    let is_outer = file.member().is_none_or(|member| OUTER_ROOMS.contains(&member));
    if is_outer || is_test(&file.path) {
        return;
    }
    for (number, line) in numbered(code) {
        if line.trim() == "#[cfg(test)]" {
            // Tests are the last thing in a file.
            return;
        }
        for (what, also) in OUTSIDE {
            let allowed = also.iter().any(|start| file.path.starts_with(start));
            if !allowed && names(line, what) {
                let rooms = OUTER_ROOMS.join(", ");
                findings.push(file.finding(number, format!("`{what}` belongs in {rooms} and tests")));
            }
        }
    }
}

/// Whether the line of code names the path or macro.
fn names(line: &str, what: &str) -> bool {
    match what.strip_suffix('!') {
        Some(name) => find_word(line, name).is_some_and(|at| line[at + name.len()..].starts_with('!')),
        None => find_word(line, what).is_some(),
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || ["/tests/", "/examples/", "/benches/"].iter().any(|part| path.contains(part))
}

/// How the paths of modules begin that are declared for tests only: `mod soundness;` in `src/lib.rs`
/// gives `src/soundness/` and `src/soundness.`.
fn test_modules(tree: &[TreeFile]) -> Vec<String> {
    let mut modules = Vec::new();
    for file in tree.iter().filter(|file| file.is_rust()) {
        let stem = file.path.strip_suffix(".rs").unwrap_or(&file.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let inside = if matches!(name, "lib" | "main" | "mod") { folder } else { stem };
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let ["#[cfg(test)]", declaration] = pair else { continue };
            let name = declaration.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
            modules.extend(
                name.into_iter().flat_map(|name| ["/", "."].map(|end| format!("{inside}/{name}{end}"))),
            );
        }
    }
    modules
}

fn numbered(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, shown};
    use super::*;

    fn findings(path: &str, body: &str) -> Vec<String> {
        shown(check(&[file(path, &format!("//! A head.\n{body}"))]))
    }

    #[test]
    fn unsafe_has_two_rooms_and_reasons() {
        let opt = "crates/moec-opt/src/lib.rs";
        assert_eq!(
            findings(opt, "// SAFETY: none.\nunsafe { f() }\n"),
            [format!("{opt}:3: `unsafe` lives in moec-runtime and moec-codegen")]
        );
        assert!(findings(opt, "// unsafe { }\nlet s = \"unsafe {\"; unsafe_code();\n").is_empty());
        let runtime = "crates/moec-runtime/src/lib.rs";
        let bare = [format!("{runtime}:3: `unsafe` without a `// SAFETY:` comment above it")];
        assert_eq!(findings(runtime, "f();\nunsafe { g() };\n"), bare);
        assert!(findings(runtime, "// SAFETY: so.\nunsafe impl Send for A {}\n").is_empty());
        assert_eq!(findings(runtime, "f(); // SAFETY: far\n\nunsafe { g() }\n").len(), 1);
        assert!(findings(runtime, "// SAFETY: so.\nlet x =\n    unsafe { g() };\n").is_empty());
        assert!(
            findings(opt, "type F = unsafe extern \"C\" fn(u8);\npub unsafe trait Promise {}\n").is_empty()
        );
        assert_eq!(findings(opt, "unsafe fn f() {}\n").len(), 1);
        assert!(findings(runtime, "type F = unsafe fn(u8);\npub unsafe extern \"C\" fn f() {}\n").is_empty());
    }

    #[test]
    fn the_world_is_touched_at_the_edge_only() {
        let body =
            "use std::fs;\nfn f() { println!(\"std::env\") }\n#[cfg(test)]\nmod tests { use std::time; }\n";
        let plan = "crates/moec-plan/src/a.rs";
        assert_eq!(
            findings(plan, body),
            [
                format!(
                    "{plan}:2: `std::fs` belongs in moec-bench, moec-cli, moec-filetest, moec-fuzz, xtask and tests"
                ),
                format!(
                    "{plan}:3: `println!` belongs in moec-bench, moec-cli, moec-filetest, moec-fuzz, xtask and tests"
                )
            ]
        );
        for path in
            ["crates/moec-cli/src/a.rs", "crates/moec-plan/tests/a.rs", "crates/moec-plan/src/b/tests.rs"]
        {
            assert!(findings(path, body).is_empty(), "{path}");
        }
        assert!(findings("crates/moec-runtime/src/weights/file.rs", "use std::fs::File;\n").is_empty());
        assert_eq!(findings("crates/moec-runtime/src/threads.rs", "use std::fs::File;\n").len(), 1);
    }

    #[test]
    fn a_module_for_tests_is_a_test() {
        let body = "//! A.\nuse std::fs;\n";
        let declared = |attribute: &str| {
            let parent = file("crates/moec-opt/src/lib.rs", &format!("//! A.\n{attribute}mod a;\nmod b;\n"));
            let children =
                ["a/mod.rs", "a/x.rs", "b.rs"].map(|name| file(&format!("crates/moec-opt/src/{name}"), body));
            check(&[&[parent], &children[..]].concat()).len()
        };
        assert_eq!(declared(""), 3);
        assert_eq!(declared("#[cfg(test)]\n"), 1);
    }

    #[test]
    fn modules_have_heads_and_limits() {
        let path = "crates/moec-ir/src/a.rs";
        let headless = shown(check(&[file(path, "fn f() {}\n")]));
        assert_eq!(
            headless,
            [format!("{path}:1: a module starts with `//!`: what it owns, what it must not know")]
        );
        assert_eq!(findings(path, &"\n".repeat(1000)), [format!("{path}: 1001 lines: split it before 1000")]);
        let long = file(path, &"\n".repeat(700));
        assert_eq!(long_files(&[long]), [format!("{path} has 700 lines")]);
    }

    #[test]
    fn lints_are_expected_not_allowed() {
        let path = "crates/moec-ir/src/a.rs";
        let allowed = format!("#[{}(dead_code)]\nfn f() {{}}\n", "allow");
        assert_eq!(
            findings(path, &allowed),
            [format!("{path}:2: use `#[expect(lint, reason = \"...\")]`, not `allow`")]
        );
    }
}
