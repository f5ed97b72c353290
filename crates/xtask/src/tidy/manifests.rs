//! Who may import whom, read from the manifests.

use toml::{Table, Value};

use super::{Finding, TreeFile};

/// The import law: a phase may import `moec-diag`, `moec-ir` and the crate of its own input, never
/// a sibling phase; only `moec` sees them all. The fuzzer feeds the phases that read foreign bytes
/// one by one, behind the gates that the facade closes between them.
const LAW: &[(&str, &[&str])] = &[
    ("moec-diag", &[]),
    ("moec-ir", &["moec-diag"]),
    ("moec-syntax", &["moec-diag"]),
    ("moec-interp", &["moec-diag", "moec-ir"]),
    ("moec-lower", &["moec-diag", "moec-ir", "moec-syntax"]),
    ("moec-opt", &["moec-diag", "moec-ir"]),
    ("moec-plan", &["moec-diag", "moec-ir"]),
    ("moec-codegen", &["moec-diag", "moec-ir", "moec-plan"]),
    ("moec-runtime", &["moec-diag", "moec-ir", "moec-plan"]),
    ("moec-import", &["moec-ir", "moec-runtime", "moec-syntax"]),
    (
        "moec",
        &[
            "moec-diag",
            "moec-ir",
            "moec-syntax",
            "moec-interp",
            "moec-lower",
            "moec-opt",
            "moec-plan",
            "moec-codegen",
            "moec-runtime",
            "moec-import",
        ],
    ),
    ("moec-bench", &["moec"]),
    ("moec-filetest", &["moec", "moec-diag"]),
    ("moec-fuzz", &["moec-diag", "moec-ir", "moec-syntax", "moec-lower", "moec-runtime", "moec-import"]),
    ("moec-cli", &["moec", "moec-bench", "moec-filetest"]),
    ("xtask", &[]),
];

/// The oracle: a dev-dependency anywhere.
const ORACLE: &str = "moec-interp";

/// Each outside library and the crates it lives in; a name that ends in `*` stands for all that
/// begin so.
const ROOMS: &[(&str, &[&str])] = &[
    ("annotate-snippets", &["moec-diag"]),
    ("logos", &["moec-syntax", "moec-ir"]),
    ("egg", &["moec-opt"]),
    ("cranelift*", &["moec-codegen"]),
    ("iced-x86", &["moec-codegen"]),
    ("blake3", &["moec-runtime"]),
    ("libc", &["moec-codegen", "moec-runtime"]),
    ("memmap2", &["moec-runtime"]),
    ("safetensors", &["moec-runtime"]),
    ("clap*", &["moec-cli"]),
    ("indicatif", &["moec-cli"]),
    ("serde*", &["moec", "moec-bench", "moec-cli", "moec-filetest", "moec-import"]),
];

/// How the comment begins above lints that differ.
const RESTATED: &str = "# The workspace lints, except that";

/// What every manifest takes from the workspace.
const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];

pub(super) fn check(tree: &[TreeFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree {
        let member = file.member().filter(|_| file.path.ends_with("/Cargo.toml"));
        if member.is_none() && file.path != "Cargo.toml" {
            continue;
        }
        match file.text.parse::<Table>() {
            Err(error) => findings.push(file.finding(0, error.message())),
            Ok(manifest) => match member {
                Some(member) => check_member(file, member, &manifest, &mut findings),
                None => check_pins(file, &manifest, &mut findings),
            },
        }
    }
    findings
}

fn check_member(file: &TreeFile, member: &str, manifest: &Table, findings: &mut Vec<Finding>) {
    let inherits = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    let package = manifest.get("package");
    for key in INHERITED {
        if !inherits(package.and_then(|package| package.get(key))) {
            findings.push(file.finding(0, format!("`{key}` is not taken from the workspace")));
        }
    }
    if !inherits(manifest.get("lints")) && !file.text.contains(RESTATED) {
        let message = format!("lints are neither the workspace's nor restated below `{RESTATED}` and why");
        findings.push(file.finding(0, message));
    }
    let Some((_, imports)) = LAW.iter().find(|(name, _)| *name == member) else {
        findings
            .push(file.finding(0, "this crate has no place in the import law (xtask, tidy/manifests.rs)"));
        return;
    };
    for (table, name, value) in dependencies(manifest) {
        if !inherits(Some(value)) {
            findings.push(file.finding(0, format!("dependency `{name}` is not taken from the workspace")));
        }
        let is_ours = LAW.iter().any(|(ours, _)| *ours == name);
        let is_oracle = table == "dev-dependencies" && name == ORACLE;
        if is_ours && !is_oracle && !imports.contains(&name) {
            findings.push(file.finding(0, format!("import law: {member} may not import {name}")));
        }
        let room = ROOMS.iter().find(|(library, _)| match library.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *library,
        });
        if let Some((_, rooms)) = room.filter(|(_, rooms)| !rooms.contains(&member)) {
            findings
                .push(file.finding(0, format!("`{name}` lives in {}, not in {member}", rooms.join(", "))));
        }
    }
}

/// Every dependency with the name of its table, those for one target included.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&str, &str, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = std::iter::once(manifest).chain(targets.filter_map(|(_, target)| target.as_table()));
    tables.flat_map(|table| {
        ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().flat_map(|kind| {
            let entries = table.get(kind).and_then(Value::as_table).into_iter().flatten();
            entries.map(move |(name, value)| (kind, name.as_str(), value))
        })
    })
}

/// Outside libraries are pinned: results and messages of ours are tested byte for byte.
fn check_pins(file: &TreeFile, manifest: &Table, findings: &mut Vec<Finding>) {
    let shared = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for (name, value) in shared.and_then(Value::as_table).into_iter().flatten() {
        let version = value.as_str().or_else(|| value.get("version").and_then(Value::as_str));
        if version.is_some_and(|version| !version.starts_with('=')) {
            findings.push(file.finding(0, format!("dependency `{name}` is not pinned with `=`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, shown};
    use super::*;

    const HEAD: &str = "[package]\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n";

    fn findings(member: &str, dependencies: &str) -> Vec<String> {
        let manifest = file(&format!("crates/{member}/Cargo.toml"), &format!("{HEAD}{dependencies}"));
        let prefix = format!("{}: ", manifest.path);
        shown(check(&[manifest])).into_iter().map(|line| line.replace(&prefix, "")).collect()
    }

    #[test]
    fn phases_do_not_import_siblings() {
        assert_eq!(
            findings("moec-opt", "[dependencies]\nmoec-ir.workspace = true\nmoec-plan.workspace = true\n"),
            ["import law: moec-opt may not import moec-plan"]
        );
        assert!(findings("moec-opt", "[dev-dependencies]\nmoec-interp.workspace = true\n").is_empty());
        assert_eq!(
            findings("moec-opt", "[dependencies]\nmoec-interp.workspace = true\n"),
            ["import law: moec-opt may not import moec-interp"]
        );
        assert_eq!(
            findings("moec-new", ""),
            ["this crate has no place in the import law (xtask, tidy/manifests.rs)"]
        );
    }

    #[test]
    fn libraries_stay_in_their_rooms() {
        assert_eq!(
            findings("moec-plan", "[target.'cfg(unix)'.dependencies]\ncranelift-jit.workspace = true\n"),
            ["`cranelift-jit` lives in moec-codegen, not in moec-plan"]
        );
        assert_eq!(
            findings("moec-opt", "[dependencies]\nserde_json.workspace = true\n"),
            ["`serde_json` lives in moec, moec-bench, moec-cli, moec-filetest, moec-import, not in moec-opt"]
        );
        assert!(findings("moec-opt", "[dependencies]\negg.workspace = true\n").is_empty());
    }

    #[test]
    fn versions_and_lints_come_from_the_workspace() {
        assert_eq!(
            findings("moec-opt", "[dependencies]\negg = \"0.11\"\n"),
            ["dependency `egg` is not taken from the workspace"]
        );
        let bare = file("crates/xtask/Cargo.toml", "[package]\n");
        assert_eq!(check(&[bare]).len(), INHERITED.len() + 1);
        let root = file(
            "Cargo.toml",
            "[workspace.dependencies]\na = \"1\"\nb = \"=1.2.3\"\nc = { version = \"2\" }\n",
        );
        assert_eq!(
            shown(check(&[root])),
            [
                "Cargo.toml: dependency `a` is not pinned with `=`",
                "Cargo.toml: dependency `c` is not pinned with `=`"
            ]
        );
    }
}
