//! Whole programs of `tests/opt`: the optimised text is as expected (`MOEC_BLESS=1` rewrites it), the
//! optimised program computes the same, and equal programs come out equal.

use std::path::{Path, PathBuf};

use moec_ir::{Module, Op, print, read};
use moec_opt::{Options, optimize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/opt")
}

fn source(name: &str) -> Module {
    let path = folder().join(format!("{name}.moir"));
    read(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files
        .filter_map(|f| f.strip_suffix(".moir").filter(|n| !n.ends_with(".opt")).map(String::from))
        .collect();
    names.sort();
    names
}

#[test]
fn optimised_text_is_as_expected() {
    let bless = std::env::var_os("MOEC_BLESS").is_some();
    for name in names() {
        let start = std::time::Instant::now();
        let optimized = optimize(&source(&name), &Options::default()).unwrap();
        let r = &optimized.report;
        eprintln!(
            "{name}: {:?} nodes {} classes {} iters {} limit {:?} fallback {:?} {:.1}us -> {:.1}us",
            start.elapsed(),
            r.nodes,
            r.classes,
            r.iterations,
            r.limit,
            r.fallback,
            r.seconds_before() * 1e6,
            r.seconds_after() * 1e6
        );
        let found = print(&optimized.module);
        let path = folder().join(format!("{name}.opt.moir"));
        if bless {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "{name}: expected\n{expected}\nfound\n{found}");
    }
    let _ = Op::ALL;
}
