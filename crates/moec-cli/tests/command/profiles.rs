//! Profiles on the command line: written by runs, added up, read by compilations, refused.

use crate::moec::{Folder, example, root};

/// Sizes at which examples run at once, and whatever the program is otherwise.
const SMALL: [&str; 4] = ["--set", "H=24", "--set", "F=20"];

/// The only plan of a profile.
fn plan(text: &str) -> serde_json::Value {
    let profile: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(profile["moec_profile"], 1);
    assert_eq!(profile["plans"].as_array().unwrap().len(), 1);
    profile["plans"][0].clone()
}

fn pairs(plan: &serde_json::Value) -> Vec<u64> {
    plan["pairs"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

#[test]
fn runs_count_their_choices_and_counts_add_up() {
    let folder = Folder::new();
    let file = example("olmoe.moe");
    let run = |more: &[&str]| {
        folder.moec(&[&["run", &file, "--profile-out", "p.json"], &SMALL[..], more].concat()).expect(0);
        plan(&std::fs::read_to_string(folder.path("p.json")).unwrap())
    };
    let first = run(&["--tokens", "20"]);
    assert_eq!((&first["name"], &first["tokens"]), (&"router".into(), &20.into()));
    assert_eq!((&first["experts"], &first["slots"]), (&64.into(), &8.into()));
    assert_eq!(pairs(&first).iter().sum::<u64>(), 160);
    assert_eq!(run(&["--tokens", "20", "--threads", "2", "--repeat", "0"]), first, "one call is counted");
    let second = run(&["--tokens", "7", "--seed", "1"]);
    run(&["--tokens", "20"]);
    let sum = run(&["--tokens", "7", "--seed", "1", "--profile-add"]);
    assert_eq!(sum["tokens"], 27);
    let by_hand: Vec<u64> = pairs(&first).iter().zip(pairs(&second)).map(|(a, b)| a + b).collect();
    assert_eq!(pairs(&sum), by_hand);
    let read = folder.moec(&[&["opt", &file, "--profile", "p.json"], &SMALL[..]].concat()).expect(0);
    assert!(read.out.contains("grouped_matmul"), "{}", read.out);
}

#[test]
fn runs_say_what_capacities_drop() {
    let folder = Folder::new();
    let file = example("systems/s8_cold_fraction.moe");
    let run = |more: &[&str], status: i32| {
        let sizes =
            ["run", &file, "--set", "C=8", "--set", "H=12", "--set", "F=8", "--tokens", "40", "--routing"];
        folder.moec(&[&sizes, more].concat()).expect(status)
    };
    let report: serde_json::Value = serde_json::from_str(&run(&["--json"], 0).out).unwrap();
    let [plan] = &report["routing"]["plans"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(report["routing"]["not_counted"].as_array().unwrap().len(), 0);
    assert_eq!((&plan["name"], &plan["tokens"], &plan["slots"]), (&"router".into(), &80.into(), &2.into()));
    let numbers = |of: &serde_json::Value| -> Vec<f64> {
        of.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    };
    let [pairs, dropped] = [&plan["pairs"], &plan["drops"]["dropped"]].map(numbers);
    // Two groups of tokens, with 8 seats at hot experts and 4 at cold ones.
    for (expert, (pairs, dropped)) in pairs.iter().zip(&dropped).enumerate() {
        let seats = if [5, 1].contains(&expert) { 16.0 } else { 8.0 };
        assert!(pairs - dropped <= seats, "expert {expert}: {pairs}, {dropped}");
    }
    assert_eq!(plan["total"]["dropped"], dropped.iter().sum::<f64>());
    assert_eq!(plan["total"]["pairs"], 160);
    let [gate, lost] = [&plan["drops"]["gate"], &plan["drops"]["lost"]].map(numbers);
    assert!((gate.iter().sum::<f64>() - 80.0).abs() < 1e-4, "the weights of a token add up to 1");
    assert!(lost.iter().zip(&gate).all(|(lost, gate)| lost <= gate));
    let text = run(&[], 0).out;
    assert!(text.contains("routing  `router`: ") && text.contains(" of 160 pairs dropped ("), "{text}");
    let dense = run(&["--no-optimise"], 0).out;
    assert!(dense.contains("routing  not counted, may drop pairs: %"), "{dense}");
    let none = run(&["--engine", "interp"], 2).err;
    assert!(none.contains("`--routing` counts what compiled programs do"), "{none}");
}

#[test]
fn every_level_of_a_nested_mixture_is_counted() {
    let folder = Folder::new();
    folder.moec(&["run", &example("systems/s6_hierarchical.moe"), "--profile-out", "p.json"]).expect(0);
    let text = std::fs::read_to_string(folder.path("p.json")).unwrap();
    assert!(pairs(&plan(&text)).iter().all(|&n| n <= 32), "{text}");
}

#[test]
fn profiles_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let file = example("olmoe.moe");
    let refused = |profile: &str| {
        folder.moec(&[&["opt", &file, "--profile", profile], &SMALL[..]].concat()).expect(1).err
    };
    let mixtral = root().join("tests/profiles/mixtral-c4-7.json");
    let error = refused(mixtral.to_str().unwrap());
    assert!(
        error.contains(
            "plan `router`: the profile has 8 experts, 2 to a token, the program 64 experts, 8 to a token"
        ),
        "{error}"
    );
    folder
        .write("other.json", std::fs::read_to_string(&mixtral).unwrap().replace("router", "gate").as_bytes());
    let error = refused("other.json");
    assert!(error.contains("it has the plans `gate`, and the program `router`"), "{error}");
    folder.write("new.json", b"{\"moec_profile\": 7, \"plans\": []}");
    assert!(refused("new.json").contains("new.json: a profile of version 7; this moec reads version 1"));
    folder.write("cut.json", &std::fs::read(&mixtral).unwrap()[..300]);
    assert!(refused("cut.json").contains("cut.json: not a profile: EOF"));
    assert!(refused("none.json").contains("none.json: cannot read the profile"));
    folder.write("bytes.json", [0xff, 0xfe]);
    assert!(refused("bytes.json").contains("bytes.json: cannot read the profile"));
}

#[test]
fn a_profile_of_another_program_is_not_added_to() {
    let folder = Folder::new();
    let run = |experts: &str, status: i32| {
        let sizes = ["--set", experts, "--profile-out", "p.json", "--profile-add"];
        folder.moec(&[&["run", &example("olmoe.moe")], &SMALL[..], &sizes].concat()).expect(status).err
    };
    run("E=16", 0);
    let before = std::fs::read(folder.path("p.json")).unwrap();
    let error = run("E=32", 1);
    assert!(error.contains("the profile has 16 experts, 8 to a token, the program 32 experts"), "{error}");
    assert_eq!(std::fs::read(folder.path("p.json")).unwrap(), before);
    let none = folder.moec(&["run", &example("olmoe.moe"), "--profile-out", "q.json", "--engine", "interp"]);
    assert!(none.expect(2).err.contains("leave out `--engine interp`"));
}
