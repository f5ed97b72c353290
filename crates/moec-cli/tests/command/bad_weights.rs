//! Files of weights and inputs that are wrong, and outputs that cannot be written.

use crate::moec::Folder;
use crate::text::{Entry, floats, safetensors, with_header};

const MODEL: &str = "\
model m {
    dim T, H = 2, O = 3, E = 2
    input  x : f32[T, H]
    weight w : f32[O, H]    from \"w\"
    weight v : f32[E, O, H] from \"experts.{E}.v\"

    output y : f32[T, O] = x @ w.T + sum e over E { x @ v[e].T }
}
";

fn folder() -> Folder {
    Folder::with("a.moe", MODEL)
}

fn w() -> Entry<'static> {
    ("w", "F32", &[3, 2], floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
}

fn v(name: &'static str) -> Entry<'static> {
    (name, "F32", &[3, 2], floats([0.0; 6]))
}

#[test]
fn files_that_are_no_safetensors() {
    let folder = folder();
    let good = safetensors(&[w()]);
    let overlap = "{\"w\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]},\
                   \"z\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[12,36]}}";
    let long = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("garbage", b"these are not the weights that you are looking for".to_vec()),
        ("truncated", good[..good.len() - 5].to_vec()),
        ("header cut", good[..20].to_vec()),
        ("header longer than the file", long),
        ("overlapping", with_header(overlap, &[0; 36])),
        ("past the end", with_header(&overlap[..61].replace("24", "99"), &[0; 24])),
        ("no JSON", with_header("{\"w\": 7", &[0; 24])),
    ];
    for (what, bytes) in cases {
        folder.write("w.safetensors", bytes);
        for option in ["--weights", "--input"] {
            let ended = folder.moec(&["run", "a.moe", option, "w.safetensors", "--output", "y.safetensors"]);
            assert_eq!(ended.code, 1, "{what}: {}", ended.err);
            assert!(ended.err.contains("w.safetensors"), "{what}: {}", ended.err);
        }
    }
    folder.moec(&["run", "a.moe", "--weights", "gone.safetensors"]).refused(&["gone.safetensors"]);
    // A folder is read as a model's.
    folder.moec(&["run", "a.moe", "--weights", "."]).refused(&["./w.safetensors: not a safetensors file"]);
    folder.moec(&["run", "a.moe", "--input", "."]).refused(&["not a regular file"]);
    assert_eq!(folder.names(), ["a.moe", "w.safetensors"], "nothing is left behind");
}

#[test]
fn weights_that_are_not_as_declared() {
    let folder = folder();
    let run = |entries: &[Entry<'_>]| {
        folder.write("w.safetensors", safetensors(entries));
        folder.moec(&["run", "a.moe", "--weights", "w.safetensors", "--seed-missing"])
    };
    insta::assert_snapshot!("weight_shape", run(&[("w", "F32", &[2, 3], floats([0.0; 6]))]).all());
    insta::assert_snapshot!("weight_type", run(&[("w", "BF16", &[3, 2], vec![0; 12])]).all());
    insta::assert_snapshot!("weight_missing", run(&[w(), v("experts.0.v")]).all());
    run(&[("w", "F64", &[3, 2], vec![0; 48])]).refused(&["weight-type", "F64"]);
    run(&[v("experts.0.v"), ("experts.1.v", "F32", &[2, 3], floats([0.0; 6]))]).refused(&["weight-shape"]);
    folder.write("again.safetensors", safetensors(&[w()]));
    folder
        .moec(&["run", "a.moe", "--weights", "w.safetensors", "again.safetensors", "again.safetensors"])
        .refused(&["again.safetensors"]);
}

#[test]
fn weights_that_no_file_has_are_made_up_when_asked_for() {
    let folder = folder();
    folder.write("w.safetensors", safetensors(&[v("experts.0.v"), v("experts.1.v"), v("encoder.w")]));
    let run = |more: &[&str]| folder.moec(&[&["run", "a.moe", "--weights", "w.safetensors"], more].concat());
    run(&[]).refused(&["weight-missing", "no file holds \"w\"", "encoder.w"]);
    let ended = run(&["--seed-missing"]).expect(0);
    assert!(ended.out.contains("w seeded random"), "{}", ended.out);
    folder.moec(&["run", "a.moe", "--seed-missing"]).expect(2);
    folder.write("w.safetensors", safetensors(&[w()]));
    run(&[]).refused(&["matched 0 of 2 tensors"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let folder = folder();
    let run = |entries: &[Entry<'_>], more: &[&str]| {
        folder.write("x.safetensors", safetensors(entries));
        folder.moec(&[&["run", "a.moe", "--input", "x.safetensors"], more].concat())
    };
    insta::assert_snapshot!("input_type", run(&[("x", "BF16", &[5, 2], vec![0; 20])], &[]).all());
    run(&[("x", "F32", &[5, 3], floats([0.0; 15]))], &[]).refused(&["3", "2"]);
    run(&[("x", "F32", &[10], floats([0.0; 10]))], &[]).refused(&["weight-shape"]);
    run(&[("z", "F32", &[5, 2], floats([0.0; 10]))], &[]).refused(&["z", "x"]);
    run(&[("x", "F32", &[5, 2], floats([0.0; 10]))], &["--tokens", "7"]).expect(2);
    run(&[("x", "F32", &[5, 2], floats([0.0; 10]))], &["--tokens", "5"]).expect(0);
    run(&[("x", "F32", &[0, 2], Vec::new())], &[]).expect(0);
}

#[test]
fn inputs_that_are_not_finite() {
    let folder = folder();
    let values = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
    folder.write("x.safetensors", safetensors(&[("x", "F32", &[2, 2], floats(values))]));
    let ended = folder.moec(&["run", "a.moe", "--input", "x.safetensors"]).expect(0);
    assert!(ended.out.contains("NaN"), "{}", ended.out);
}

#[test]
fn weights_that_are_not_finite_are_not_compared() {
    let folder = folder();
    let values = [1.0, f32::NAN, 0.0, 0.0, f32::INFINITY, 0.0];
    folder.write(
        "w.safetensors",
        safetensors(&[("w", "F32", &[3, 2], floats(values)), v("experts.0.v"), v("experts.1.v")]),
    );
    let ended = folder.moec(&["run", "a.moe", "--weights", "w.safetensors"]).expect(0);
    assert!(ended.out.contains("`w` holds NaN"), "{}", ended.out);
}

/// Replacing what is no file would take a device away from the whole machine.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_never_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let folder = folder();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    symlink("socket", folder.path("to_socket")).unwrap();
    folder.write("old.safetensors", "old");
    symlink("old.safetensors", folder.path("to_file")).unwrap();
    for path in ["socket", "to_socket"] {
        folder.moec(&["run", "a.moe", "--output", path]).refused(&["cannot write"]);
    }
    assert!(folder.path("socket").symlink_metadata().unwrap().file_type().is_socket());
    folder.moec(&["run", "a.moe", "--output", "to_file"]).expect(0);
    assert!(folder.path("to_file").symlink_metadata().unwrap().is_symlink());
    assert!(std::fs::metadata(folder.path("old.safetensors")).unwrap().len() > 3);
    assert_eq!(folder.names(), ["a.moe", "old.safetensors", "socket", "to_file", "to_socket"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = folder();
    for path in ["gone/y.safetensors", ".", "a.moe/y.safetensors"] {
        folder.moec(&["run", "a.moe", "--output", path]).refused(&["cannot write"]);
    }
    assert_eq!(folder.names(), ["a.moe"]);
    assert_eq!(folder.read("a.moe"), MODEL);
}
