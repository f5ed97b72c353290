//! Rules for every text file: white space, leftover notes, links and paths, snapshots.

use std::path::Path;

use super::{Finding, TreeFile};

/// Files that people write, by ending. Snapshots and goldens hold what programs print.
const WRITTEN: [&str; 8] = [".rs", ".toml", ".md", ".moe", ".moir", ".yml", ".sh", ".ci/run"];

/// Notes to oneself; put together here so that this file passes.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) fn check(root: &Path, tree: &[TreeFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree {
        if WRITTEN.iter().any(|ending| file.path.ends_with(ending)) {
            check_lines(file, &mut findings);
        }
        if file.path.ends_with(".md") {
            check_links(root, file, &mut findings);
            check_paths(root, file, &mut findings);
        }
        if file.path.ends_with(".snap") {
            check_snapshot(file, tree, &mut findings);
        }
        if [".snap.new", ".pending-snap"].iter().any(|ending| file.path.ends_with(ending)) {
            findings.push(file.finding(0, "a snapshot that nobody has reviewed"));
        }
    }
    findings
}

fn check_lines(file: &TreeFile, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(file.finding(index + 1, "white space at the end of the line"));
        }
        if let Some(note) = NOTES.iter().find(|note| super::code::find_word(line, note).is_some()) {
            findings.push(file.finding(index + 1, format!("`{note}`: do it, or open an issue")));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        findings.push(file.finding(0, "a file ends with one newline"));
    }
}

/// Links to files of the repository lead somewhere.
fn check_links(root: &Path, file: &TreeFile, findings: &mut Vec<Finding>) {
    let folder = root.join(&file.path).parent().map(Path::to_path_buf).unwrap_or_default();
    for (index, line) in outside_fences(&file.text) {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap_or_default();
            let is_elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !is_elsewhere && !folder.join(target).exists() {
                findings.push(file.finding(index + 1, format!("the link `{target}` leads nowhere")));
            }
        }
    }
}

/// Where a path of the repository begins, in the text of a page.
const FOLDERS: [&str; 6] = [".ci/", "crates/", "docs/", "examples/", "ir-specs/", "tests/"];

/// Paths that a page names as code are there. One with a placeholder, in capitals or with a star, is
/// left alone.
fn check_paths(root: &Path, file: &TreeFile, findings: &mut Vec<Finding>) {
    for (index, line) in outside_fences(&file.text) {
        for code in line.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| code.starts_with(folder))
                && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c));
            if is_path && !root.join(code).exists() {
                findings.push(file.finding(index + 1, format!("`{code}` is not there")));
            }
        }
    }
}

/// The numbered lines of a page that are not in a code block.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// A snapshot's test still exists: the file it names is there and speaks of it.
fn check_snapshot(file: &TreeFile, tree: &[TreeFile], findings: &mut Vec<Finding>) {
    let source =
        file.text.lines().find_map(|line| line.strip_prefix("source: ")).map(|path| path.trim_matches('"'));
    let Some(source) = source.and_then(|path| tree.iter().find(|other| other.path == path)) else {
        findings.push(file.finding(0, "orphaned snapshot: its test file is gone"));
        return;
    };
    let stem = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".snap")).unwrap_or_default();
    let name = stem.rsplit("__").next().unwrap_or(stem);
    // The second snapshot of a test is numbered, and `@` introduces a variant.
    let name =
        name.split('@').next().unwrap_or(name).trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if !source.text.contains(name) {
        findings.push(file.finding(0, format!("orphaned snapshot: {} has no `{name}`", source.path)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, shown};
    use super::*;

    fn findings(files: &[TreeFile]) -> Vec<String> {
        shown(check(Path::new("/nowhere"), files))
    }

    #[test]
    fn lines_are_clean() {
        let text = format!("a \nb // {}: c\nd", NOTES[0]);
        assert_eq!(
            findings(&[file("a.rs", &text)]),
            [
                "a.rs:1: white space at the end of the line".to_owned(),
                format!("a.rs:2: `{}`: do it, or open an issue", NOTES[0]),
                "a.rs: a file ends with one newline".to_owned()
            ]
        );
        assert!(findings(&[file("a.snap.txt", &text), file("b.md", "mastodon\n")]).is_empty());
    }

    #[test]
    fn links_lead_somewhere() {
        let page = "[a](gone.md#x) [b](https://x.org) [c](#here)\n```\n[d](code.md)\n```\n";
        assert_eq!(findings(&[file("docs/a.md", page)]), ["docs/a.md:1: the link `gone.md` leads nowhere"]);
    }

    #[test]
    fn paths_are_there() {
        let page =
            "`crates/gone.rs` crates/a `crates/FAMILY.rs` `tests/*.moir`\n```\n`docs/x`\n```\n`cargo test`\n";
        assert_eq!(findings(&[file("docs/a.md", page)]), ["docs/a.md:1: `crates/gone.rs` is not there"]);
    }

    #[test]
    fn snapshots_have_tests() {
        let snapshot = |name: &str| {
            file(
                &format!("crates/a/tests/snapshots/{name}.snap"),
                "---\nsource: crates/a/tests/help.rs\n---\nx\n",
            )
        };
        let test = || file("crates/a/tests/help.rs", "fn short_help() {}\n");
        assert!(findings(&[test(), snapshot("help__short_help"), snapshot("help__short_help-2")]).is_empty());
        assert_eq!(
            findings(&[test(), snapshot("help__long_help")]),
            [
                "crates/a/tests/snapshots/help__long_help.snap: orphaned snapshot: crates/a/tests/help.rs has no `long_help`"
            ]
        );
        assert_eq!(
            findings(&[snapshot("help__short_help")]),
            ["crates/a/tests/snapshots/help__short_help.snap: orphaned snapshot: its test file is gone"]
        );
    }
}
