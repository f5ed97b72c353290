//! Where fuzzing starts: the programs of the repository, weight files as they should be, and every
//! input that once failed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use moec_ir::DType;
use moec_runtime::packed::stray_file;
use moec_runtime::weights::{NamedTensor, write_safetensors};

use crate::{Target, folder};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder of saved inputs: `regressions/TARGET/` is kept, `failures/` is new.
pub fn tests_folder() -> PathBuf {
    root().join("tests/fuzz")
}

/// The inputs to start from, in a fixed order.
pub fn seeds(target: Target) -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = regressions(target)?;
    match target {
        Target::Source => {
            seeds.extend(files(&root(), &["examples", "tests"], "moe")?);
            seeds.push(moec_syntax::PRELUDE.as_bytes().to_vec());
            for page in files(&root(), &["ir-specs"], "md")? {
                let page = String::from_utf8_lossy(&page);
                seeds.extend(moec_diag::examples(&page).iter().map(|example| example.text.into()));
            }
            for code in moec_diag::all() {
                seeds.extend(moec_diag::examples(code.text()).iter().map(|example| example.text.into()));
            }
        }
        Target::IrText => seeds.extend(files(&root(), &["examples", "tests"], "moir")?),
        Target::Safetensors => seeds.extend(weight_files()?),
        Target::Packed => {
            let some: [&[u8]; 3] = [&[1; 64], &[], &[2; 5000]];
            seeds.extend([&[][..], &some[..1], &some].map(stray_file));
        }
        Target::ModelFolder => seeds.extend(model_folders()?),
    }
    Ok(seeds)
}

/// The inputs that once failed.
fn regressions(target: Target) -> io::Result<Vec<Vec<u8>>> {
    let folder = tests_folder().join("regressions").join(target.name());
    if folder.is_dir() { files(&folder, &["."], "") } else { Ok(Vec::new()) }
}

/// The contents of all files below `folders` of `root` whose names end in `.ending`, by path. With an
/// empty ending, of all files.
fn files(root: &Path, folders: &[&str], ending: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "failures") {
                open.push(path);
            } else if ending.is_empty() || path.extension().is_some_and(|found| found == ending) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// The golden cases of model types, without the elements of their weights.
fn model_folders() -> io::Result<Vec<Vec<u8>>> {
    let folders = fs::read_dir(root().join("tests/golden"))?;
    let mut paths =
        folders.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.join("config.json").is_file());
    paths.sort();
    let mut seeds = Vec::new();
    for path in paths {
        let config = fs::read_to_string(path.join("config.json"))?;
        let weights = moec_import::open_weights(&[path]).map_err(io::Error::other)?;
        seeds.extend(folder::text(&config, &weights).map(String::into_bytes));
    }
    Ok(seeds)
}

/// Small weight files: none, every type, a stack, odd names and shapes.
fn weight_files() -> io::Result<Vec<Vec<u8>>> {
    let experts: Vec<String> = (0..4).map(|e| format!("model.layers.0.experts.{e}.w1.weight")).collect();
    let stack: Vec<NamedTensor<'_>> =
        experts.iter().map(|name| (name.as_str(), DType::Bf16, &[2u64, 3][..], &[1u8; 12][..])).collect();
    let all: [NamedTensor<'_>; 5] = [
        ("a", DType::F32, &[1, 2], &[0; 8]),
        ("b", DType::Bf16, &[3], &[1; 6]),
        ("c", DType::F16, &[], &[2; 2]),
        ("d", DType::I32, &[2, 1, 1], &[3; 8]),
        ("e", DType::Bool, &[3], &[0, 1, 0]),
    ];
    let odd: [NamedTensor<'_>; 3] = [
        ("", DType::F32, &[0, 5], &[]),
        ("quote \" {0}", DType::Bool, &[1], &[1]),
        ("ö.7", DType::Bool, &[], &[1]),
    ];
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let mut seeds = Vec::new();
    for tensors in [&[], &stack[..], &all, &odd] {
        write_safetensors(&path, tensors).map_err(io::Error::other)?;
        seeds.push(fs::read(&path)?);
    }
    Ok(seeds)
}
