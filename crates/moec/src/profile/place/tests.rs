//! Decisions on real profiles. The layers are small; their experts and routing are not.

use super::*;
use crate::{Options, Profile};

/// Bytes of one expert of the layers below, in f32.
const EXPERT: u64 = 3 * 16 * 8 * 4;

const DOMAINS: [&str; 5] = ["arxiv", "book", "c4", "github", "wikipedia"];
const LAYERS: [u64; 3] = [0, 7, 15];

fn profile(model: &str, domain: &str, layer: u64) -> Profile {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/profiles");
    let text = std::fs::read_to_string(format!("{folder}/{model}-{domain}-{layer}.json")).unwrap();
    Profile::read(&text).unwrap()
}

/// A layer with this many experts, as it is compiled.
fn layer(experts: u64, slots: u64) -> Module {
    let text = include_str!("../../../../../examples/olmoe.moe");
    let source = moec_diag::SourceFile::new("olmoe.moe", text);
    let mut options = Options { tokens: Some(1), ..Options::default() };
    for (name, value) in [("H", 16), ("F", 8), ("E", experts), ("K", slots)] {
        options.set.insert(name.to_owned(), value.to_string());
    }
    let checked = crate::front(&source, &options, &mut |_| ()).unwrap();
    let optimised = crate::compile::optimise(&checked.ir, &options, &mut |_| ()).unwrap();
    optimised.placed(&options).unwrap().0.remove(0).1
}

/// What is decided for a layer with room for `room` of its experts.
fn decide_for(module: &Module, room: u64, learn: &Profile, judge: &Profile, tokens: u64) -> PlanPlacement {
    let PlanProfile { experts, .. } = learn.plans()[0];
    let router = experts * 16 * 4;
    let budget = router + room * EXPERT;
    let evidence = Evidence { budget, learn: Some(learn), judge: Some(judge), tokens };
    let (_, placement) = place(module.clone(), &evidence).unwrap().unwrap();
    let mut plans = placement.unwrap().plans;
    assert_eq!((plans.len(), plans[0].room, plans[0].expert_bytes), (1, room, EXPERT));
    plans.remove(0)
}

fn judgement(placement: &PlanPlacement) -> &Judgement {
    match &placement.decision {
        Decision::Hot(judgement) | Decision::Refused(judgement) => judgement,
        Decision::Unknown { missing } => panic!("{missing}"),
    }
}

#[test]
fn olmoe_learnt_on_c4_is_refused_on_arxiv() {
    let module = layer(64, 8);
    for layer in LAYERS {
        let (learn, judge) = (profile("olmoe", "c4", layer), profile("olmoe", "arxiv", layer));
        for tokens in [1, 4, 32] {
            let placement = decide_for(&module, 16, &learn, &judge, tokens);
            assert!(matches!(placement.decision, Decision::Refused(_)), "{placement}");
            assert!(placement.resident.is_empty());
            let judgement = judgement(&placement);
            assert!(judgement.learnt > 0.33 && judgement.held_out < 0.28, "{placement}");
        }
    }
}

#[test]
fn mixtral_is_refused_whatever_it_is_learnt_and_judged_on() {
    let module = layer(8, 2);
    let mut best = f64::INFINITY;
    for layer in LAYERS {
        for (learn, judge) in pairs() {
            let (learn, judge) = (profile("mixtral", learn, layer), profile("mixtral", judge, layer));
            for room in [1, 2, 4] {
                let placement = decide_for(&module, room, &learn, &judge, 1);
                assert!(matches!(placement.decision, Decision::Refused(_)), "{placement}");
                let judgement = judgement(&placement);
                best = best.min(judgement.bytes_hot / judgement.bytes_cache);
            }
        }
    }
    // What chance looks like: the reason for the margin.
    assert!((0.85..0.88).contains(&best), "{best}");
}

#[test]
fn olmoe_learnt_on_arxiv_is_confirmed_on_github_for_small_calls() {
    let module = layer(64, 8);
    for layer in [7, 15] {
        let (learn, judge) = (profile("olmoe", "arxiv", layer), profile("olmoe", "github", layer));
        for tokens in [1, 4] {
            let placement = decide_for(&module, 16, &learn, &judge, tokens);
            assert!(matches!(placement.decision, Decision::Hot(_)), "{placement}");
            assert_eq!(placement.resident.len(), 16);
            assert!(judgement(&placement).held_out > 0.55, "{placement}");
        }
        // A call of many tokens touches nearly all experts, hot or not.
        let many = decide_for(&module, 16, &learn, &judge, 256);
        assert!(matches!(many.decision, Decision::Refused(_)), "{many}");
    }
}

/// Every pair of different domains.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOMAINS.into_iter().flat_map(|a| DOMAINS.into_iter().filter(move |b| a != *b).map(move |b| (a, b)))
}

#[test]
fn a_decision_needs_both_profiles() {
    let (module, profile) = (layer(64, 8), profile("olmoe", "arxiv", 7));
    for (learn, judge) in [(None, None), (Some(&profile), None), (None, Some(&profile))] {
        let evidence = Evidence { budget: 100_000, learn, judge, tokens: 1 };
        let (placed, placement) = place(module.clone(), &evidence).unwrap().unwrap();
        let placement = placement.unwrap();
        assert!(matches!(placement.plans[0].decision, Decision::Unknown { .. }));
        let products: Vec<_> = placed.nodes.iter().filter(|node| node.op == Op::PlacedMatmul).collect();
        assert_eq!(products.len(), 3);
        assert!(products.iter().all(|node| node.attrs.ints("resident").is_empty()));
    }
}

#[test]
fn budgets_that_hold_all_change_nothing_and_those_below_the_rest_are_refused() {
    let module = layer(64, 8);
    let at =
        |budget| place(module.clone(), &Evidence { budget, learn: None, judge: None, tokens: 1 }).unwrap();
    let whole = 64 * EXPERT + 64 * 16 * 4;
    assert_eq!(at(whole), Ok((module.clone(), None)));
    assert!(at(whole - 1).unwrap().1.is_some());
    assert!(at(64 * 16 * 4).unwrap().1.is_some());
    let error = at(64 * 16 * 4 - 1).unwrap_err();
    assert_eq!(error, "a memory budget of 4095 bytes: weights that are no experts take 4096");
}
