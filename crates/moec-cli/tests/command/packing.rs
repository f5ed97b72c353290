//! Packed weights: packing, running from a packed file, verifying it, and what is refused.

use crate::moec::Folder;
use crate::text::{floats, safetensors};

const MODEL: &str = "\
model m {
    dim T, H = 4, E = 2
    input  x : f32[T, H]
    weight v : f32[E, H, H] from \"experts.{E}.v\"

    output y : f32[T, H] = sum e over E { x @ v[e].T }
}
";

fn folder() -> Folder {
    let folder = Folder::with("m.moe", MODEL);
    let expert = |start: f32| floats(std::array::from_fn::<f32, 16, _>(|at| start + at as f32));
    let weights = |start| {
        [("experts.0.v", "F32", &[4u64, 4][..], expert(start)), ("experts.1.v", "F32", &[4, 4], expert(1.0))]
    };
    folder.write("w.safetensors", safetensors(&weights(0.0)));
    folder.write("other.safetensors", safetensors(&weights(9.0)));
    folder
}

#[test]
fn a_packed_file_serves_runs_and_benches() {
    let folder = folder();
    let pack = ["pack", "m.moe", "--weights", "w.safetensors", "-o", "m.moepack"];
    let said = folder.moec(&pack).expect(0).out;
    assert!(said.starts_with("m.moepack: 0.00") && said.contains("for `m`"), "{said}");
    let run = |more: &[&str]| {
        let output = ["run", "m.moe", "--tokens", "3", "--output", "y.safetensors"];
        let out = folder.moec(&[&output[..], more].concat()).expect(0).out;
        (out, std::fs::read(folder.path("y.safetensors")).unwrap())
    };
    let (_, packed_now) = run(&["--weights", "w.safetensors"]);
    let (said, from_file) = run(&["--packed", "m.moepack"]);
    assert_eq!(packed_now, from_file);
    assert!(said.contains("packed in m.moepack") && said.contains("verify   not done"), "{said}");
    let (said, _) = run(&["--packed", "m.moepack", "--weights", "w.safetensors"]);
    assert!(said.contains("differs from the interpreter by"), "{said}");
    let bench = ["bench", "m.moe", "--packed", "m.moepack", "--tokens", "1", "--rounds", "1"];
    folder.moec(&bench).expect(0);
    let said = folder.moec(&["pack", "--verify", "m.moepack"]).expect(0).out;
    assert!(said.starts_with("m.moepack: sound") && said.ends_with("for `m`\n"), "{said}");
    let verify = ["pack", "m.moe", "--weights", "w.safetensors", "--verify", "m.moepack"];
    let said = folder.moec(&verify).expect(0).out;
    assert!(said.ends_with("for `m`, from this source and these weights\n"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let folder = folder();
    folder.moec(&["pack", "m.moe", "--weights", "w.safetensors", "-o", "m.moepack"]).expect(0);
    let run = |more: &[&str]| {
        folder.moec(&[&["run", "m.moe", "--output", "y.safetensors", "--packed"], more].concat())
    };
    run(&["m.moepack", "--weights", "other.safetensors"])
        .refused(&["m.moepack", "other weights than those given"]);
    run(&["m.moepack", "--target", "x86_64"]).refused(&["m.moepack does not fit", "packed for `"]);
    run(&["m.moepack", "--set", "H=8"]).refused(&["another source or other options of `m`"]);
    run(&["w.safetensors"]).refused(&["w.safetensors: not a file of packed weights"]);
    run(&["gone"]).refused(&["cannot read gone"]);
    run(&["."]).refused(&["not a regular file"]);

    let whole = std::fs::read(folder.path("m.moepack")).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 4;
    folder.write("m.moepack", &damaged);
    run(&["m.moepack"]).refused(&["m.moepack: the header is damaged"]);
    let mut damaged = whole.clone();
    damaged[8] = 9;
    folder.write("m.moepack", &damaged);
    run(&["m.moepack"]).refused(&["it has version 9 of the format, and this moec reads version 1"]);
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    folder.write("m.moepack", &damaged);
    folder.moec(&["pack", "--verify", "m.moepack"]).refused(&["m.moepack: section 1 of 1 is damaged"]);
    folder.write("m.moepack", &whole[..whole.len() - 1]);
    run(&["m.moepack"]).refused(&["m.moepack: truncated"]);
    assert_eq!(folder.names(), ["m.moe", "m.moepack", "other.safetensors", "w.safetensors"]);
}

#[test]
fn threads_and_memory_that_cannot_be_had() {
    let folder = folder();
    for threads in ["0", "10000"] {
        let ended = folder.moec(&["pack", "m.moe", "-o", "m.moepack", "--threads", threads]);
        assert_eq!(ended.code, 2);
        assert!(ended.err.contains("give a number from 1 to"), "{}", ended.err);
    }
    // 2^47 bytes: as many as no process of these machines can address.
    let large = ["pack", "m.moe", "-o", "m.moepack", "--set", "H=4194304"];
    let ended = folder.moec(&large);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("cannot allocate"), "{}", ended.err);
    assert_eq!(folder.names(), ["m.moe", "other.safetensors", "w.safetensors"]);
}
