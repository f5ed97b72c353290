//! Sources in, text out: whole files or nothing.

use std::io::{Read, Write};
use std::path::Path;

use moec::Profile;
use moec::diag::SourceFile;

use crate::failure::Failure;

/// Whether the path stands for standard input and output.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a source; `-` is standard input.
pub(crate) fn read_source(path: &Path) -> Result<SourceFile, Failure> {
    let mut bytes = Vec::new();
    let name = if is_stdin(path) { "<stdin>".to_owned() } else { path.display().to_string() };
    let read = if is_stdin(path) {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::Input(format!("cannot read {name}: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Failure::Input(format!("{name} is not UTF-8 text: byte {at} begins no character")))
        }
    }
}

/// Writes a file that may be there or not: afterwards it holds the text, or is what it was.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return replace(path, text);
    }
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".moec-").suffix(".tmp");
        // Temporary files are private to their owner; a result is as readable as any new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut new = builder.tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.persist_noclobber(path).map(drop).map_err(|failure| failure.error)
    };
    write()
        .map_err(|error: std::io::Error| Failure::Input(format!("cannot write {}: {error}", path.display())))
}

/// The largest profile that is read: some hundred plans of hundreds of experts are a megabyte.
const LARGEST_PROFILE: u64 = 64 << 20;

/// Reads a profile.
pub(crate) fn read_profile(path: &Path) -> Result<Profile, Failure> {
    let fail = |what: String| Failure::Input(format!("{}: {what}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_PROFILE + 1).read_to_string(&mut text))
        .map_err(|error| fail(format!("cannot read the profile: {error}")))?;
    if text.len() as u64 > LARGEST_PROFILE {
        return Err(fail(format!("more than {LARGEST_PROFILE} bytes, which no profile has")));
    }
    Profile::read(&text).map_err(|error| fail(error.to_string()))
}

/// Writes a profile; with `add`, the counts of the file that is there and these.
pub(crate) fn write_profile(path: &Path, mut profile: Profile, add: bool) -> Result<(), Failure> {
    if add && path.exists() {
        let mut sum = read_profile(path)?;
        sum.add(&profile).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
        profile = sum;
    }
    write(path, &profile.text())
}

/// Replaces a file: afterwards it holds the old text or the new, never a part.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        // The file itself, where the path is a link to it.
        let file = std::fs::canonicalize(path)?;
        if !std::fs::metadata(&file)?.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::Builder::new().prefix(".moec-").suffix(".tmp").tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        std::fs::set_permissions(new.path(), std::fs::metadata(&file)?.permissions())?;
        new.persist(&file).map(drop).map_err(|failure| failure.error)
    };
    write()
        .map_err(|error: std::io::Error| Failure::Input(format!("cannot write {}: {error}", path.display())))
}
