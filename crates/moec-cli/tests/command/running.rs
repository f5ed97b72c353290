//! `moec run` on programs that are right: reports, files in and out, engines that agree.

use crate::moec::{Folder, example, without_times};
use crate::text::{floats, safetensors};

const SMALL: [&str; 8] = ["--set", "H=24", "--set", "F=20", "--set", "E=6", "--set", "K=2"];

#[test]
fn an_example_runs_and_is_compared_unasked() {
    let ended = Folder::new().moec(&["run", &example("systems/s1_soft_sum.moe"), "--threads", "2"]).expect(0);
    assert!(ended.out.contains("differs from the interpreter by"), "{}", ended.out);
    insta::assert_snapshot!("run_report", without_times(&ended.out));
}

#[test]
fn the_report_as_json() {
    let ended = Folder::new()
        .moec(
            &[&["run", &example("granite.moe"), "--json", "--tokens", "5", "--threads", "1"], &SMALL[..]]
                .concat(),
        )
        .expect(0);
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["model"], "granite");
    assert_eq!(report["sizes"]["T"], 5);
    assert_eq!(report["threads"], 1);
    assert_eq!(report["weights"]["seeded"].as_array().unwrap().len(), 3);
    assert_eq!(report["verify"]["outcome"], "compared");
    assert!(report["verify"]["difference"].as_f64().unwrap() < 1e-5);
    let stages: Vec<&str> =
        report["phases"].as_array().unwrap().iter().map(|phase| phase[0].as_str().unwrap()).collect();
    assert_eq!(stages, ["lower", "optimise", "validate", "plan", "generate"]);
}

#[test]
fn both_engines_threads_and_numerics_give_the_same_numbers() {
    let folder = Folder::new();
    let file = example("granite.moe");
    let run = |name: &str, more: &[&str]| {
        let arguments = [&["run", &file, "--tokens", "9", "--output", name], more, &SMALL[..]].concat();
        folder.moec(&arguments).expect(0);
        std::fs::read(folder.path(name)).unwrap()
    };
    let one = run("one", &["--threads", "1"]);
    assert_eq!(one, run("two", &["--threads", "2"]), "the same bits on two threads");
    assert_ne!(one, run("other", &["--seed", "1"]));
    let close = |other: &[u8]| {
        let floats = |file: &[u8]| -> Vec<f32> {
            let start = file.len() - 9 * 24 * 4;
            file[start..].as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        };
        floats(&one).iter().zip(floats(other)).all(|(a, b)| (a - b).abs() < 1e-5)
    };
    assert!(close(&run("slow", &["--engine", "interp"])));
    assert!(close(&run("strict", &["--numerics", "bit"])));
    assert!(close(&run("plain", &["--no-optimise"])));
}

#[test]
fn numbers_from_files_are_used() {
    let text = "model m {\n    dim T, H = 2\n    input  x : f32[T, H]\n    weight w : f32[H] from \"w\"\n\n    output y : f32[T] = x @ w\n}\n";
    let folder = Folder::with("a.moe", text);
    folder.write(
        "x.safetensors",
        safetensors(&[("x", "F32", &[3, 2], floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]),
    );
    folder.write("w.safetensors", safetensors(&[("w", "F32", &[2], floats([10.0, 1.0]))]));
    let ended = folder.moec(&[
        "run",
        "a.moe",
        "--input",
        "x.safetensors",
        "--weights",
        "w.safetensors",
        "--output",
        "y.safetensors",
    ]);
    let ended = ended.expect(0);
    assert!(ended.out.contains("w from files") && ended.out.contains("x from files"), "{}", ended.out);
    let written = std::fs::read(folder.path("y.safetensors")).unwrap();
    assert!(written.ends_with(&floats([12.0, 34.0, 56.0])));
}

#[test]
fn no_tokens_and_one() {
    let folder = Folder::new();
    for tokens in ["0", "1"] {
        let arguments = ["run", &example("olmoe.moe"), "--tokens", tokens, "--output", "y"];
        folder.moec(&[&arguments[..], &SMALL[..]].concat()).expect(0);
    }
}

#[test]
fn a_model_is_chosen_by_name() {
    let text = "model a {\n    output y : f32 = 1\n}\n\nmodel b {\n    output z : f32 = 2\n}\n";
    let folder = Folder::with("a.moe", text);
    folder.moec(&["run", "a.moe"]).expect(2);
    folder.moec(&["run", "a.moe", "--model", "c"]);
    let ended = folder.moec(&["run", "a.moe", "--model", "b"]).expect(0);
    assert!(ended.out.contains("z f32"), "{}", ended.out);
}
