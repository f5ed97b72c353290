//! Real models, as published: every folder of `tests/golden` is imported, compiled and run, and held
//! against what PyTorch computed (`tests/golden/make.py`). `MOEC_BLESS=1` rewrites the imported sources
//! beside the goldens and `docs/models.md`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod folder;
mod layer;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::Op;
use moec::{Folder, ImportOptions, Options, Pool};

use folder::Golden;
use layer::Layer;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn is_blessing() -> bool {
    std::env::var_os("MOEC_BLESS").is_some_and(|value| value == "1")
}

/// Compares a file of the repository with what it should hold, or rewrites it. Gives what is wrong.
fn settle(path: &Path, text: &str) -> Option<String> {
    if is_blessing() {
        std::fs::write(path, text).unwrap();
        return None;
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let differs = held.lines().zip(text.lines()).find(|(held, text)| held != text);
    let (held, text) = (held != text).then(|| differs.unwrap_or(("", "a different end")))?;
    Some(format!("{}: `{held}` should be `{text}`; MOEC_BLESS=1 rewrites it", path.display()))
}

#[test]
fn every_folder_gives_the_numbers_of_the_original() {
    let pool = Arc::new(Pool::new(2).unwrap());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("tests/golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("cases.safetensors").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 30, "{folders:?}");
    let (mut wrong, mut rows) = (Vec::new(), Vec::new());
    for path in &folders {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let golden = Golden::open(path);
        let layer = match Layer::of(&golden, &pool) {
            Ok(layer) => layer,
            Err(reason) => {
                wrong.push(format!("{name}: {reason}"));
                continue;
            }
        };
        wrong.extend(settle(&path.join("source.moe"), &layer.source));
        wrong.extend(layer.faults().into_iter().map(|fault| format!("{name}: {fault}")));
        rows.push(page::Row::of(&name, &layer));
    }
    wrong.extend(page::settle(&root().join("docs/models.md"), &rows));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// DeepSeek-V3 limits experts to groups. Where all groups are used, or there is one, the limit limits
/// nothing: experts are chosen once.
#[test]
fn groups_that_are_all_used_vanish() {
    let golden = root().join("tests/golden/deepseek_v3");
    let config = std::fs::read_to_string(golden.join("config.json")).unwrap();
    let choices = |groups: u64, used: u64| {
        let config = config
            .replace("\"n_group\": 5", &format!("\"n_group\": {groups}"))
            .replace("\"topk_group\": 2", &format!("\"topk_group\": {used}"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(golden.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let source = moec::import(folder.config(), &folder, &ImportOptions::default()).unwrap().source;
        let source = SourceFile::new("deepseek_v3.moe", source);
        let artifact = moec::compile(&source, &Options::default(), &mut |_| ()).unwrap();
        artifact.module().nodes.iter().filter(|node| node.op == Op::TopK).count()
    };
    // The best two scores of a group, the best groups, the experts.
    assert_eq!(choices(5, 2), 3);
    assert_eq!(choices(5, 5), 1);
    assert_eq!(choices(1, 1), 1);
}
