//! The rules of the house that the compiler does not check. Each is a function from the tree to
//! findings.
//!
//! - `manifests`: the import law, one room per library, inherited lints and versions
//! - `sources`: module heads, where `unsafe`, files, clocks and printing may be, allowed
//!   attributes, length
//! - `texts`: white space, leftover notes, links and paths that lead nowhere,
//!   orphaned snapshots
//! - `licences`: what the dependencies ask of those who ship us
//!
//! The test at the end runs them all on this repository, so `cargo test` fails where a rule is
//! broken.

mod code;
mod licences;
mod manifests;
mod sources;
mod texts;

use std::fmt;
use std::path::Path;

/// A file of the repository.
#[derive(Clone)]
struct TreeFile {
    /// From the root, with forward slashes.
    path: String,
    text: String,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 where the whole file is meant.
    line: usize,
    message: String,
}

/// What the checks say about a tree.
pub(crate) struct Report {
    /// Broken rules; none in a healthy tree.
    pub(crate) findings: Vec<Finding>,
    /// Worth knowing, not wrong.
    pub(crate) notes: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

impl TreeFile {
    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The crate that the file belongs to.
    fn member(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }
}

/// Runs every check on the repository at `root`. An error means that it could not be read.
pub(crate) fn check(root: &Path) -> Result<Report, String> {
    let tree = read_tree(root)?;
    let mut findings = Vec::new();
    findings.extend(manifests::check(&tree));
    findings.extend(sources::check(&tree));
    findings.extend(texts::check(root, &tree));
    findings.extend(licences::check(root)?);
    Ok(Report { findings, notes: sources::long_files(&tree) })
}

/// Every text file but what is built or belongs to git.
fn read_tree(root: &Path) -> Result<Vec<TreeFile>, String> {
    let mut tree = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = |error| format!("cannot read {}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let inside = path.strip_prefix(root).unwrap_or(&path);
                tree.push(TreeFile { path: inside.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    tree.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let report = check(&crate::root()).unwrap();
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
    }

    /// A tree of one file, for the tests of the checks.
    pub(super) fn file(path: &str, text: &str) -> TreeFile {
        TreeFile { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn shown(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }
}
