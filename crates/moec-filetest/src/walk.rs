//! Test files in folders.

use std::io;
use std::path::{Path, PathBuf};

/// The test files that `paths` name: a file itself, of a folder every `.moe` and `.moir` file in it and below,
/// sorted. A path that is not there is an error.
pub fn test_files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let with_path =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if std::fs::metadata(path).map_err(with_path)?.is_dir() {
            collect(path, &mut files).map_err(with_path)?;
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // Links to folders are not followed, so that the walk ends.
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "moe" || ending == "moir") {
            files.push(path);
        }
    }
    Ok(())
}
