//! Decisions on real profiles, for layers of the sizes that they come from.

use super::*;
use crate::{Options, Profile};

/// Width, width of an expert, experts and slots.
type Sizes = [u64; 4];
const OLMOE: Sizes = [2048, 1024, 64, 8];
const MIXTRAL: Sizes = [4096, 14336, 8, 2];
/// For what does not depend on sizes.
const SMALL: Sizes = [16, 8, 64, 8];
/// Bytes of one of its experts.
const EXPERT: u64 = 3 * 16 * 8 * 4;

const DOMAINS: [&str; 5] = ["arxiv", "book", "c4", "github", "wikipedia"];
const LAYERS: [u64; 3] = [0, 7, 15];

fn profile(model: &str, domain: &str, layer: u64) -> Profile {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/profiles");
    let text = std::fs::read_to_string(format!("{folder}/{model}-{domain}-{layer}.json")).unwrap();
    Profile::read(&text).unwrap()
}

/// A layer of these sizes, as it is compiled.
fn layer([h, f, experts, slots]: Sizes) -> Module {
    let text = include_str!("../../../../../examples/olmoe.moe");
    let source = moec_diag::SourceFile::new("olmoe.moe", text);
    let mut options = Options { tokens: Some(1), ..Options::default() };
    for (name, value) in [("H", h), ("F", f), ("E", experts), ("K", slots)] {
        options.set.insert(name.to_owned(), value.to_string());
    }
    let checked = crate::front(&source, &options, &mut |_| ()).unwrap();
    let optimised = crate::compile::optimise(&checked.ir, &options, &mut |_| ()).unwrap();
    optimised.placed(&options).unwrap().0.remove(0).1
}

/// What is decided for a layer with room for `room` of its experts.
fn decide_for(module: &Module, room: u64, learn: &Profile, judge: &Profile, tokens: u64) -> PlanPlacement {
    let weights = |name: &str| sum(module.weights().filter(|w| w.1 == name).map(|(_, _, ty)| bytes(ty)));
    let experts = learn.plans()[0].experts;
    let expert = ["w1", "w2", "w3"].map(weights).iter().sum::<u64>() / experts;
    let budget = weights("router") + room * expert;
    let target = &Target::default();
    let evidence = Evidence { budget, learn: Some(learn), judge: Some(judge), tokens, target };
    let placement = place(module, &evidence).unwrap().unwrap();
    let mut plans = placement.unwrap().plans;
    assert_eq!((plans.len(), plans[0].room, plans[0].expert_bytes), (1, room, expert));
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
    let module = layer(OLMOE);
    for layer in LAYERS {
        let (learn, judge) = (profile("olmoe", "c4", layer), profile("olmoe", "arxiv", layer));
        for tokens in [1, 4, 32] {
            let placement = decide_for(&module, 16, &learn, &judge, tokens);
            assert!(matches!(placement.decision, Decision::Refused(_)), "{placement}");
            assert!(placement.resident.is_empty());
            let judgement = judgement(&placement);
            assert!(judgement.learnt > 0.33 && judgement.held_out < 0.28, "{placement}");
            assert!(judgement.seconds_hot > judgement.seconds_cache, "{placement}");
        }
    }
}

#[test]
fn mixtral_is_refused_whatever_it_is_learnt_and_judged_on() {
    let module = layer(MIXTRAL);
    let (mut best, mut cheaper, mut luck) = (f64::INFINITY, 0, f64::INFINITY);
    for layer in LAYERS {
        for (learn, judge) in pairs() {
            let (learn, judge) = (profile("mixtral", learn, layer), profile("mixtral", judge, layer));
            for room in [1, 2, 4] {
                let placement = decide_for(&module, room, &learn, &judge, 1);
                assert!(matches!(placement.decision, Decision::Refused(_)), "{placement}");
                let judgement = judgement(&placement);
                let ratio = judgement.seconds_hot / judgement.seconds_cache;
                best = best.min(ratio);
                luck = luck.min(judgement.luck);
                cheaper += u32::from(ratio * moec_opt::SLACK < 1.0);
            }
        }
    }
    println!("Mixtral: the best hot set takes {best:.3} of the time, {cheaper} of 180 win; luck {luck:.4}");
    // Of 70 sets of four experts one is the best: that is no proof of skill.
    assert!(luck > 0.01 && (0.9..0.98).contains(&best), "{best} {luck}");
}

#[test]
fn olmoe_learnt_on_arxiv_is_confirmed_on_github_for_small_calls() {
    let module = layer(OLMOE);
    for layer in [7, 15] {
        let (learn, judge) = (profile("olmoe", "arxiv", layer), profile("olmoe", "github", layer));
        for tokens in [1, 4] {
            let placement = decide_for(&module, 16, &learn, &judge, tokens);
            println!("layer {layer}: {placement}");
            assert!(matches!(placement.decision, Decision::Hot(_)), "{placement}");
            assert_eq!(placement.resident.len(), 16);
            assert!(judgement(&placement).held_out > 0.55, "{placement}");
        }
        // A call of many tokens touches nearly all experts, hot or not.
        let many = decide_for(&module, 16, &learn, &judge, 256);
        assert!(matches!(many.decision, Decision::Refused(_)), "{many}");
    }
}

/// How many of the pairs of domains confirm a quarter of the experts of OLMoE.
#[test]
fn some_pairs_of_domains_confirm_olmoe() {
    let module = layer(OLMOE);
    for (tokens, range) in [(1, 1..60), (4, 1..60), (32, 0..20)] {
        let confirmed = LAYERS.into_iter().flat_map(|layer| pairs().map(move |pair| (layer, pair)));
        let confirmed = confirmed.filter(|&(layer, (learn, judge))| {
            let (learn, judge) = (profile("olmoe", learn, layer), profile("olmoe", judge, layer));
            matches!(decide_for(&module, 16, &learn, &judge, tokens).decision, Decision::Hot(_))
        });
        let confirmed = confirmed.count();
        println!("OLMoE, calls of {tokens} tokens: {confirmed} of 60 pairs are confirmed");
        assert!(range.contains(&confirmed));
    }
}

/// Storage as fast as memory leaves nothing to gain but what packing at every call takes.
#[test]
fn the_rate_of_storage_decides() {
    let (module, sizes) = (layer(OLMOE), 7);
    let (learn, judge) = (profile("olmoe", "arxiv", sizes), profile("olmoe", "github", sizes));
    let ratio = |storage_bandwidth: f64| {
        let target = Target { storage_bandwidth, ..Target::default() };
        let budget = 64 * 2048 * 4 + 16 * 3 * 2048 * 1024 * 4;
        let evidence =
            Evidence { budget, learn: Some(&learn), judge: Some(&judge), tokens: 1, target: &target };
        let placement = place(&module, &evidence).unwrap().unwrap().unwrap();
        let judgement = judgement(&placement.plans[0]).clone();
        judgement.seconds_hot / judgement.seconds_cache
    };
    let (slow, fast) = (ratio(1e8), ratio(2e10));
    assert!(slow < 1.0 && (slow - fast).abs() > 1e-3, "{slow} {fast}");
}

/// Every pair of different domains.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOMAINS.into_iter().flat_map(|a| DOMAINS.into_iter().filter(move |b| a != *b).map(move |b| (a, b)))
}

#[test]
fn a_decision_needs_both_profiles() {
    let (module, profile) = (layer(SMALL), profile("olmoe", "arxiv", 7));
    for (learn, judge) in [(None, None), (Some(&profile), None), (None, Some(&profile))] {
        let evidence = Evidence { budget: 100_000, learn, judge, tokens: 1, target: &Target::default() };
        let placement = place(&module, &evidence).unwrap().unwrap().unwrap();
        let placed = placement.apply(&module, &module).unwrap().unwrap();
        assert!(matches!(placement.plans[0].decision, Decision::Unknown { .. }));
        let products: Vec<_> = placed.nodes.iter().filter(|node| node.op == Op::PlacedMatmul).collect();
        assert_eq!(products.len(), 3);
        assert!(products.iter().all(|node| node.attrs.ints("resident").is_empty()));
    }
}

#[test]
fn budgets_that_hold_all_change_nothing_and_those_below_the_rest_are_refused() {
    let module = layer(SMALL);
    let target = &Target::default();
    let at =
        |budget| place(&module, &Evidence { budget, learn: None, judge: None, tokens: 1, target }).unwrap();
    let whole = 64 * EXPERT + 64 * 16 * 4;
    assert_eq!(at(whole), Ok(None));
    assert!(at(whole - 1).unwrap().is_some());
    assert!(at(64 * 16 * 4).unwrap().is_some());
    let error = at(64 * 16 * 4 - 1).unwrap_err();
    assert_eq!(error, "a memory budget of 4095 bytes: weights that are no experts take 4096");
}
