//! Every dependency may be shipped under terms that our own licences promise. Reads `cargo tree`;
//! needs no network.
//!
//! `deny.toml` says the same to `cargo deny`, for those who have it; a test compares the two lists.

use std::path::Path;
use std::process::Command;

use super::Finding;

/// Terms that may be met by keeping a notice.
pub(super) const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>, String> {
    // Packages for other systems are looked at where they have been downloaded.
    let tree = packages(root, &["--target", "all"]).or_else(|_| packages(root, &[]))?;
    Ok(tree.lines().filter_map(check_package).collect())
}

/// One line `name version|licence` for each package of the graph.
fn packages(root: &Path, options: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(["tree", "--workspace", "--edges", "all", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}|{l}", "--offline", "--locked"])
        .args(options)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`cargo tree` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let mut lines: Vec<&str> =
        std::str::from_utf8(&output.stdout).map_err(|e| e.to_string())?.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.join("\n"))
}

fn check_package(line: &str) -> Option<Finding> {
    let (package, licence) = line.rsplit_once('|')?;
    let name = package.split(" (").next().unwrap_or(package);
    let message = match satisfiable(licence) {
        Some(true) => return None,
        Some(false) => {
            format!("{name} is licensed `{licence}`, which is not on the list in xtask, tidy/licences.rs")
        }
        None => format!("{name} has no licence expression that can be read: `{licence}`"),
    };
    Some(Finding { path: "Cargo.lock".to_owned(), line: 0, message })
}

/// Whether allowed licences satisfy an SPDX expression; nothing if it is malformed. Old manifests
/// write `/` for OR.
fn satisfiable(expression: &str) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let value = any(&mut rest)?;
    rest.is_empty().then_some(value)
}

fn any(rest: &mut &[&str]) -> Option<bool> {
    let mut value = all(rest)?;
    while let ["OR", after @ ..] = rest {
        *rest = after;
        value |= all(rest)?;
    }
    Some(value)
}

fn all(rest: &mut &[&str]) -> Option<bool> {
    let mut value = one(rest)?;
    while let ["AND", after @ ..] = rest {
        *rest = after;
        value &= one(rest)?;
    }
    Some(value)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let value = any(rest)?;
            let [")", after @ ..] = rest else { return None };
            *rest = after;
            Some(value)
        }
        [licence, "WITH", exception, after @ ..] => {
            *rest = after;
            // An exception only gives further permission.
            Some(
                ALLOWED.contains(licence)
                    || ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()),
            )
        }
        [licence, after @ ..] if !["OR", "AND", "WITH", ")"].contains(licence) => {
            *rest = after;
            Some(ALLOWED.contains(licence))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_does() {
        let cases = [
            ("MIT", Some(true)),
            ("MIT OR GPL-3.0", Some(true)),
            ("MIT/Apache-2.0", Some(true)),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT AND MPL-2.0", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("GPL-2.0 WITH Classpath-exception-2.0", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
        ];
        for (expression, expected) in cases {
            assert_eq!(satisfiable(expression), expected, "{expression}");
        }
    }

    #[test]
    fn cargo_deny_is_told_the_same() {
        let text = std::fs::read_to_string(crate::root().join("deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let listed = table["licenses"]["allow"].as_array().unwrap();
        let listed: Vec<&str> = listed.iter().map(|licence| licence.as_str().unwrap()).collect();
        assert_eq!(listed, ALLOWED);
    }
}
