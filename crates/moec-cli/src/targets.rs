//! Descriptions of machines as files: those that the user names, and the one that `moec calibrate`
//! measured, in the user's cache folder.

use std::env::var_os;
use std::path::{Path, PathBuf};

use moec::{Target, cpu::Cpu};

use crate::failure::Failure;
use crate::terminal::Terminal;

/// The target that `--target` names: a file if the name ends in `.toml`, else a built-in one. For
/// `host`, the measured description is taken where there is one.
pub(crate) fn resolve(name: &str, terminal: &Terminal) -> Result<Target, Failure> {
    if name.ends_with(".toml") {
        let path = Path::new(name);
        return read(path);
    }
    let built_in = Target::named(name).map_err(|error| Failure::Usage(error.to_string()))?;
    if name != "host" {
        return Ok(built_in);
    }
    match cache_file().filter(|path| path.exists()).map(|path| read(&path)) {
        None => Ok(built_in),
        Some(Ok(measured)) => Ok(measured),
        // A cache never stops a compilation.
        Some(Err(failure)) => {
            let why = match failure {
                Failure::Input(why) => why,
                other => return Err(other),
            };
            terminal.note(&format!("note: {why}; `moec calibrate` measures again"));
            Ok(built_in)
        }
    }
}

fn read(path: &Path) -> Result<Target, Failure> {
    let wrong = |why: String| Failure::Input(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    Target::read(&text).map_err(|error| wrong(error.to_string()))
}

/// Where the description of this machine is kept, if the environment names a folder: below
/// `XDG_CACHE_HOME`, or `.cache` in the home folder, as the XDG base directories say. Home folders
/// may be shared among machines, so the name of the file tells processor and cores.
pub(crate) fn cache_file() -> Option<PathBuf> {
    let absolute = |name: &str| var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    let cpu = Cpu::detect();
    let features: String = cpu.features.iter().map(|feature| format!("-{feature}")).collect();
    Some(folder.join("moec").join(format!("{}{features}-{}.toml", cpu.architecture, cpu.cores)))
}
