//! Descriptions of machines: by name, from files, from the cache, and what is wrong with them.

use crate::moec::{Folder, example};

/// What `explain` says of the machine that costs assume.
fn assumed(folder: &Folder, more: &[&str]) -> String {
    let file = example("granite.moe");
    let out = folder.moec(&[&["explain", &file], more].concat()).expect(0).out;
    out.lines().find(|line| line.starts_with("costs assume")).unwrap().to_owned()
}

#[test]
fn a_name_or_a_file_describes_the_machine() {
    let folder = Folder::new();
    let host = "costs assume the target `host`: rounded figures of two cores with AVX-512; `moec calibrate` \
                measures this machine";
    assert_eq!(assumed(&folder, &[]), host);
    let text = folder.moec(&["calibrate", "--show"]).expect(0).out;
    assert!(text.starts_with("# built in; `moec calibrate` has not measured this machine\n"), "{text}");
    let mine = text.replace("name = \"host\"", "name = \"mine\"");
    folder.write("mine.toml", &mine);
    assert!(assumed(&folder, &["--target", "mine.toml"]).starts_with("costs assume the target `mine`"));
    // The instruction set is that of the description.
    folder.write("arm.toml", mine.replace("isa = \"host\"", "isa = \"aarch64\""));
    let file = example("granite.moe");
    let asm = folder.moec(&["opt", &file, "--emit", "asm", "--target", "arm.toml"]).expect(0).out;
    assert!(asm.contains("stp fp, lr"), "{}", &asm[..asm.len().min(500)]);
}

#[test]
fn bad_descriptions_are_refused() {
    let folder = Folder::new();
    let file = example("granite.moe");
    let good = folder.moec(&["calibrate", "--show"]).expect(0).out;
    let line = |key: &str| good.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    for (text, message) in [
        (good.replace(&line("step = "), "step = 0"), "`step` is 0, expected a number above zero"),
        (good.replace(&line("fork = "), "fork = nan"), "`fork` is nan, expected a number above zero"),
        (good.replace(&line("version = "), "version = 9"), "`version` is 9, expected 1"),
        ("not toml".to_owned(), "TOML parse error"),
    ] {
        folder.write("bad.toml", text);
        let ended = folder.moec(&["opt", &file, "--target", "bad.toml"]).expect(1);
        assert!(ended.err.contains("bad.toml: ") && ended.err.contains(message), "{}", ended.err);
    }
    let ended = folder.moec(&["opt", &file, "--target", "missing.toml"]).expect(1);
    assert!(ended.err.contains("missing.toml: cannot be read"), "{}", ended.err);
    let ended = folder.moec(&["opt", &file, "--target", "z80"]).expect(2);
    assert!(ended.err.contains("there is no target `z80`; built in are host, x86_64"), "{}", ended.err);
    folder.write("z80.toml", good.replace("isa = \"host\"", "isa = \"z80\""));
    let ended = folder.moec(&["opt", &file, "--emit", "asm", "--target", "z80.toml"]).expect(2);
    assert!(ended.err.contains("target `host`: unknown target `z80`"), "{}", ended.err);
}

#[test]
fn storage_that_cannot_be_measured_is_refused_at_once() {
    let folder = Folder::with("small.safetensors", [0; 100]);
    std::fs::create_dir(folder.path("empty")).unwrap();
    folder.moec(&["calibrate", "--storage", "none"]).refused(&["cannot read none: "]);
    folder.moec(&["calibrate", "--storage", "empty"]).refused(&["there is no file in the folder empty"]);
    for path in [".", "small.safetensors"] {
        let words = "small.safetensors has 100 bytes; measuring needs 33554432, in one file";
        folder.moec(&["calibrate", "--storage", path]).refused(&[words]);
    }
    assert!(
        folder.moec(&["calibrate", "--show", "--storage", "."]).expect(2).err.contains("cannot be used with")
    );
    assert!(!folder.path("cache").exists());
}

/// A file of the build folder, which seldom lies in memory, is read as weights in files would be; the figure stays
/// until storage is measured again.
#[test]
fn measured_storage_is_kept() {
    let large = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(large.path(), vec![7; 48 << 20]).unwrap();
    let folder = Folder::new();
    let path = large.path().display().to_string();
    let ended = folder.moec(&["calibrate", "--threads", "1", "--storage", &path]);
    if ended.code != 0 {
        // A build folder in memory after all.
        return ended.refused(&["stay in memory"]);
    }
    let figure =
        |text: &str| text.lines().find(|line| line.starts_with("storage_bandwidth")).unwrap().to_owned();
    assert_ne!(figure(&ended.out), "storage_bandwidth = 2e9");
    let again = folder.moec(&["calibrate", "--threads", "1", "--output", "-"]).expect(0).out;
    assert_eq!(figure(&again), figure(&ended.out));
}

/// What is measured differs from run to run; that it is kept and used does not.
#[test]
fn a_measured_description_is_kept_and_used() {
    let folder = Folder::new();
    let out = folder.moec(&["calibrate", "--threads", "1"]).expect(0).out;
    assert!(out.contains("matrix_flops = ") && out.contains("written to "), "{out}");
    assert!(assumed(&folder, &[]).contains("measured by `moec calibrate` with 1 threads"));
    assert!(!assumed(&folder, &["--target", "x86_64-v3"]).contains("measured"));
    let shown = folder.moec(&["calibrate", "--show"]).expect(0).out;
    assert!(shown.lines().skip(1).eq(out.lines().take_while(|line| !line.is_empty())), "{shown}{out}");
    // A cache that cannot be read is said and not used.
    let path = shown.lines().next().unwrap().trim_start_matches("# ").to_owned();
    std::fs::write(&path, "version = 0").unwrap();
    let ended = folder.moec(&["explain", &example("granite.moe")]).expect(0);
    assert!(ended.err.contains("`version` is 0"), "{}", ended.err);
    assert!(ended.out.contains("rounded figures"), "{}", ended.out);
}
