//! Profiles: what is read back, added up and refused.

use super::*;

fn router(tokens: u64, pairs: &[u64]) -> PlanProfile {
    let slots = pairs.iter().sum::<u64>() / tokens;
    PlanProfile { name: "router".into(), experts: pairs.len() as u64, slots, tokens, pairs: pairs.to_vec() }
}

#[test]
fn a_profile_reads_back() {
    let mut profile = Profile::new(vec![router(4, &[4, 2, 2, 0])]).unwrap();
    profile.source = "a \"quoted\" place".to_owned();
    assert_eq!(Profile::read(&profile.text()), Ok(profile.clone()));
    assert_eq!(profile.plan("router").unwrap().chances(), [1.0, 0.5, 0.5, 0.0]);
    assert!(profile.plan("gate").is_none());
}

#[test]
fn counts_add_up_over_runs() {
    let mut sum = Profile::new(vec![router(4, &[4, 2, 2, 0])]).unwrap();
    let mut other = Profile::new(vec![router(1, &[0, 0, 1, 1])]).unwrap();
    sum.add(&other).unwrap();
    assert_eq!(sum.plans(), [router(5, &[4, 2, 3, 1])]);
    other.plans[0].name = "inner".to_owned();
    sum.add(&other).unwrap();
    assert_eq!(sum.plans().len(), 2);
    let message = sum.add(&Profile::new(vec![router(1, &[0, 0, 1])]).unwrap()).unwrap_err().to_string();
    assert_eq!(
        message,
        "plan `router`: the profile has 4 experts, 2 to a token, the program 3 experts, 1 to a token"
    );
}

/// The message for a profile with one plan whose fields are these.
fn refused(fields: &str) -> String {
    let text = format!("{{\"moec_profile\": 1, \"plans\": [{{\"name\": \"r\", {fields}}}]}}");
    Profile::read(&text).expect_err(fields).to_string()
}

#[test]
fn wrong_counts_are_named() {
    let sizes = "\"experts\": 2, \"slots\": 1, \"tokens\": 4";
    let of = |pairs: &str| refused(&format!("{sizes}, \"pairs\": {pairs}"));
    assert_eq!(of("[1, 2, 1]"), "plan `r`: counts for 3 experts, and it says that there are 2");
    assert_eq!(of("[1, 2]"), "plan `r`: 3 pairs, and 4 tokens of 1 experts each are 4");
    assert_eq!(of("[5, 0]"), "plan `r`: expert 0 was chosen 5 times by 4 tokens");
    assert!(of("[5, -1]").contains("invalid value: integer `-1`, expected u64"), "{}", of("[5, -1]"));
    assert!(of("[5, 1.5]").contains("floating point `1.5`, expected u64"), "{}", of("[5, 1.5]"));
    assert!(of("[NaN, 4]").contains("expected value at line 1"), "{}", of("[NaN, 4]"));
    assert!(of("[1e400, 4]").contains("number out of range"), "{}", of("[1e400, 4]"));
    assert!(of("[18446744073709551616, 4]").contains("expected u64"));
    assert!(of("[18446744073709551615, 5]").contains("chosen 18446744073709551615 times"));
    let few = refused("\"experts\": 2, \"slots\": 3, \"tokens\": 1, \"pairs\": [1, 1]");
    assert_eq!(few, "plan `r`: 3 experts to a token, and there are 2");
    let none = refused("\"experts\": 2, \"slots\": 1, \"tokens\": 0, \"pairs\": [0, 0]");
    assert_eq!(none, "plan `r`: no tokens were seen");
    let huge = refused("\"experts\": 2, \"slots\": 2, \"tokens\": 18446744073709551615, \"pairs\": [1, 1]");
    assert_eq!(huge, "plan `r`: 18446744073709551615 tokens of 2 experts each, more than 2^53 pairs");
}

#[test]
fn other_files_and_versions_are_refused() {
    let error = |text: &str| Profile::read(text).unwrap_err().to_string();
    assert_eq!(
        error("{\"moec_profile\": 2, \"layers\": {}}"),
        "a profile of version 2; this moec reads version 1"
    );
    assert_eq!(error("{\"plans\": []}"), "not a profile: it has no field `moec_profile`");
    assert!(error("").starts_with("not a profile: EOF"));
    assert!(error("[1, 2]").starts_with("not a profile: "));
    assert!(error("{\"moec_profile\": 1, \"plans\": [], \"more\": 1}").contains("unknown field `more`"));
    assert!(error(&format!("{{\"deep\": {}", "[".repeat(100_000))).starts_with("not a profile: "));
    let plan = "{\"name\": \"r\", \"experts\": 1, \"slots\": 1, \"tokens\": 1, \"pairs\": [1]}";
    let twice = format!("{{\"moec_profile\": 1, \"plans\": [{plan}, {plan}]}}");
    assert_eq!(error(&twice), "plan `r`: it is there twice");
    let many = vec![plan; MOST_PLANS + 1].join(", ");
    let many = error(&format!("{{\"moec_profile\": 1, \"plans\": [{many}]}}"));
    assert_eq!(many, "not a profile: 4097 plans, more than 4096");
}
