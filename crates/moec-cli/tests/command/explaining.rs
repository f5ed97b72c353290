//! `moec explain FILE`: the page holds what the text says, and nothing that needs a network.

use serde_json::Value;

use crate::moec::{Folder, example};

/// The data of the page for an example.
fn data(page: &str) -> Value {
    let from = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let to = from + page[from..].find("</script>").unwrap();
    serde_json::from_str(&page[from..to]).unwrap()
}

fn sum(operations: &Value) -> f64 {
    operations.as_array().unwrap().iter().map(|operation| operation["seconds"].as_f64().unwrap()).sum()
}

#[test]
fn the_page_shows_both_programs_and_the_way_between_them() {
    let folder = Folder::new();
    let source = example("systems/s2_top_k.moe");
    folder.moec(&["explain", &source, "--html", "why.html"]).expect(0);
    let page = folder.read("why.html");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let found = page
            .match_indices(outside)
            .filter(|(at, _)| !page[*at..].starts_with("http://www.w3.org/2000/svg"));
        assert_eq!(found.count(), 0, "the page asks for {outside}");
    }
    let data = data(&page);
    assert_eq!(data["model"], "top_k");
    assert!((sum(&data["before"]) - data["seconds_before"].as_f64().unwrap()).abs() < 1e-12);
    assert!((sum(&data["after"]) - data["seconds_after"].as_f64().unwrap()).abs() < 1e-12);
    assert!(data["seconds_after"].as_f64() < data["seconds_before"].as_f64());
    let after = data["after"].as_array().unwrap();
    let printed = folder.moec(&["opt", &source]).expect(0).out;
    for operation in after {
        assert!(printed.contains(operation["text"].as_str().unwrap()), "{operation}");
        // The program has all inputs, used or not; the e-graph has those that are used.
        if operation["text"].as_str().unwrap().contains("= input ") {
            continue;
        }
        // The operation is the chosen one of its class, made by the same rule.
        let class = &data["graph"]["neighbourhood"][operation["place"][0].to_string()];
        let chosen = &class["operations"][0];
        assert_eq!(chosen["chosen"], true, "{operation}");
        assert_eq!(chosen["rule"], operation["rule"]);
        let mnemonic = chosen["text"].as_str().unwrap().split(' ').next().unwrap();
        assert!(operation["text"].as_str().unwrap().contains(&format!("= {mnemonic}")), "{operation}");
    }
    let made = after.iter().filter(|operation| !operation["rule"].is_null()).count();
    assert_eq!(data["steps"].as_array().unwrap().len(), made);
    assert_eq!(data["numerics"], "reassociate");
    assert!(data["considered"].as_array().unwrap().iter().any(|other| {
        other["what"] == "sum instead of combine, as the source has it" && other["why"] == "costs more"
    }));
    assert!(data["choices"].as_array().unwrap().len() > 3);
}

#[test]
fn the_page_shows_which_experts_stay_in_memory() {
    let folder = Folder::new();
    let source = example("olmoe.moe");
    let profile = |name: &str| crate::moec::root().join("tests/profiles").join(name).display().to_string();
    let [learn, other, far] =
        ["olmoe-arxiv-15.json", "olmoe-github-15.json", "olmoe-c4-15.json"].map(profile);
    let explain = |budget: &str, learn: &str, judge: &str| {
        let arguments =
            ["explain", &source, "--set", "H=64", "--set", "F=64", "--tokens", "1", "--html", "why.html"];
        let placed = ["--memory-budget", budget, "--profile", learn, "--holdout", judge];
        folder.moec(&[&arguments[..], &placed].concat()).expect(0);
        data(&folder.read("why.html"))["memory"].clone()
    };
    let hot = explain("800K", &learn, &other);
    assert_eq!(hot["budget"], 800 << 10);
    let plan = &hot["plans"][0];
    let resident: Vec<u64> =
        plan["resident"].as_array().unwrap().iter().map(|expert| expert.as_u64().unwrap()).collect();
    assert_eq!((&plan["plan"], &plan["experts"]), (&"router".into(), &64.into()));
    assert_eq!(resident.len() as u64, plan["room"].as_u64().unwrap());
    // The experts that the profile says were chosen most.
    let counts: Value = serde_json::from_str(&std::fs::read_to_string(&learn).unwrap()).unwrap();
    let pairs = |expert: u64| counts["plans"][0]["pairs"][expert as usize].as_u64().unwrap();
    let least = resident.iter().map(|&expert| pairs(expert)).min().unwrap();
    assert!((0..64).filter(|expert| !resident.contains(expert)).all(|expert| pairs(expert) <= least));
    assert!(plan["said"].as_str().unwrap().contains("most used stay in memory"), "{plan}");
    let refused = explain("800K", &far, &learn);
    assert_eq!(refused["plans"][0]["resident"], Value::Array(Vec::new()));
    assert_eq!(refused["plans"][0]["decision"]["outcome"], "refused");
    assert!(explain("1G", &learn, &other).is_null());
}

#[test]
fn text_in_the_page_cannot_end_its_element() {
    let folder = Folder::with(
        "m.moe",
        "model m {\n    dim T, H = 4\n    input x : f32[T, H]\n    weight w : f32[H, H] from \"</script><b>\"\n    output y : f32[T, H] = x @ w\n}\n",
    );
    folder.moec(&["explain", "m.moe", "--html", "why.html"]).expect(0);
    assert_eq!(folder.read("why.html").matches("</script>").count(), 2, "its own two");
}

#[test]
fn a_page_that_cannot_be_written_leaves_nothing() {
    let folder = Folder::new();
    let source = example("systems/s2_top_k.moe");
    folder
        .moec(&["explain", &source, "--html", "no/such/why.html"])
        .refused(&["cannot write no/such/why.html"]);
    assert!(folder.names().is_empty());
}
