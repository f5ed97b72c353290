//! `moec import`, and runs on the folder that was imported.

use crate::moec::{Folder, root};

fn golden(name: &str) -> String {
    root().join("tests/golden").join(name).display().to_string()
}

#[test]
fn source_of_a_folder() {
    let folder = Folder::new();
    insta::assert_snapshot!(
        "import_deepseek_v3",
        folder.moec(&["import", &golden("deepseek_v3")]).expect(0).out
    );
    let gpt_oss = folder.moec(&["import", &golden("gpt_oss"), "-o", "gpt_oss.moe"]).expect(0);
    assert_eq!((gpt_oss.out.as_str(), gpt_oss.err.as_str()), ("", ""));
    insta::assert_snapshot!("import_gpt_oss", folder.read("gpt_oss.moe"));
    folder.moec(&["fmt", "--check", "gpt_oss.moe"]).expect(0);
    folder.moec(&["check", "gpt_oss.moe"]).expect(0);
}

#[test]
fn a_folder_stands_for_its_weights() {
    let folder = Folder::new();
    // Three shards and an index.
    let mixtral = golden("mixtral");
    folder.moec(&["import", &mixtral, "-o", "mixtral.moe"]).expect(0);
    let ran = folder.moec(&["run", "mixtral.moe", "--weights", &mixtral, "--tokens", "5"]).expect(0);
    assert!(ran.out.contains("router, w1, w2, w3 from files"), "{}", ran.out);
    assert!(ran.out.contains("differs from the interpreter by"), "{}", ran.out);
    // The configuration is not asked for there, and a layer that is not in the files is missing.
    folder.moec(&["run", "mixtral.moe", "--weights", &mixtral, "--set", "layer=9"]).refused(&[
        "weight-missing",
        "model.layers.9.block_sparse_moe.gate.weight",
        "mixtral.moe:10",
    ]);
}

#[test]
fn known_types_are_listed() {
    let folder = Folder::new();
    let listed = folder.moec(&["import", "--list"]).expect(0).out;
    let mut sorted: Vec<&str> = listed.lines().collect();
    assert!(sorted.contains(&"mixtral") && sorted.contains(&"gpt_oss"), "{listed}");
    sorted.sort_unstable();
    assert_eq!(sorted, listed.lines().collect::<Vec<_>>());
    folder.moec(&["import"]).expect(2);
    folder.moec(&["import", "--list", "."]).expect(2);
    folder.moec(&["import", ".", "--layer", "first"]).expect(2);
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    let folder = Folder::new();
    let mixtral = golden("mixtral");
    folder.moec(&["import", "gone", "-o", "a.moe"]).refused(&["gone/config.json"]);
    folder.moec(&["import", ".", "-o", "a.moe"]).refused(&["./config.json"]);
    folder
        .moec(&["import", &mixtral, "--layer", "0", "-o", "a.moe"])
        .refused(&["layer 0", "those that are: 1"]);
    folder.moec(&["import", &mixtral, "--as", "olmoe", "-o", "a.moe"]).refused(&["OLMoE", "gate.weight"]);
    folder.moec(&["import", &mixtral, "--as", "quux"]).refused(&["no model type \"quux\"", "mixtral"]);
    folder.moec(&["import", &mixtral, "-o", "no/such/folder/a.moe"]).refused(&["no/such/folder/a.moe"]);
    std::fs::create_dir(folder.path("a.moe")).unwrap();
    folder.moec(&["import", &mixtral, "-o", "a.moe"]).refused(&["a.moe", "not a regular file"]);
    assert_eq!(folder.names(), ["a.moe"]);
    assert_eq!(std::fs::read_dir(folder.path("a.moe")).unwrap().count(), 0);
}

#[test]
fn a_type_without_a_row_is_read_with_a_warning() {
    let folder = Folder::new();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/golden/olmoe").join(file), folder.path(file)).unwrap();
    }
    folder.write("config.json", folder.read("config.json").replace("\"olmoe\"", "\"olmoe_next\""));
    let read = folder.moec(&["import", "."]).expect(0);
    assert!(read.err.starts_with("warning: the model type \"olmoe_next\" is not known"), "{}", read.err);
    assert!(read.out.contains("a model of unknown type, read as"), "{}", read.out);
    let told = folder.moec(&["import", ".", "--as", "olmoe"]).expect(0);
    assert_eq!(told.err, "");
}
