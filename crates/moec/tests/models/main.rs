//! Real models, as published: every folder of `tests/golden` is imported, compiled and run, and held
//! against what PyTorch computed (`tests/golden/make.py`). `MOEC_BLESS=1` rewrites the imported sources
//! beside the goldens and `docs/models.md`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod folder;
mod layer;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moec::Pool;

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
