//! The nets that hold wrong rules, the rules that they are tried on, and the table of which net
//! caught which, kept in `docs/soundness.md`.

use moec_interp::{Value, generate, run};
use moec_ir::{Module, Sizes};

use super::evaluate::{agree, check, check_nodes};
use super::pages::{evaluate, rewritten};
use super::planted::{PLANTED, example};
use super::{all_rules, root, small_programs};
use crate::cost::Model;
use crate::joint::{join, met};
use crate::optimize::Space;
use crate::options::{Limits, Numerics, Options};
use crate::rules::Rule;

const NETS: [&str; 5] = ["examples", "types", "every node", "roots", "validation"];

/// Wrong rules make e-graphs grow without end; what they break shows early.
const LIMITS: Limits = Limits { nodes: 1_000, iterations: 6 };

fn with(rule: &'static Rule) -> Vec<&'static Rule> {
    all_rules().into_iter().chain([rule]).collect()
}

/// Which nets catch a rule beside `programs`, of which those in `different` compute different
/// things.
fn caught(rule: &'static Rule, programs: &[Module], different: &[(Module, Module)]) -> [bool; 5] {
    let rules = with(rule);
    let tokens: Sizes = [("T".into(), 4)].into();
    let own = example(rule.name);
    let after = rewritten(rule, &own).unwrap_or_else(|| panic!("{} does not fire", rule.name));
    let by_example = evaluate(rule, &own, &after).is_err();
    let (mut by_types, mut by_every_node, mut by_validation) = (false, false, false);
    for module in [own.instantiate(&tokens).unwrap()].iter().chain(programs) {
        let space = Space::with_rules(module, &rules, LIMITS);
        if !space.encoded.graph.analysis.conflicts.is_empty() {
            by_types = true;
            continue;
        }
        by_every_node = by_every_node || check_nodes(&space, 1).is_err();
        by_validation = by_validation || !is_valid(&space);
    }
    let by_roots = different.iter().any(|(a, b)| met(&join(a, b).unwrap(), &rules, LIMITS));
    [by_example, by_types, by_every_node, by_roots, by_validation]
}

/// Whether the cheapest program computes what the source does, on random data.
fn is_valid(space: &Space<'_>) -> bool {
    let options = Options::default();
    let model = Model::new(space.source, &options, &space.encoded.graph.analysis.sizing, options.tokens);
    let Ok(found) = space.cheapest(&model, false) else { return false };
    (0..2).all(|seed| {
        let inputs = generate::inputs(space.source, &Sizes::new(), seed).unwrap();
        let before = run(space.source, &Sizes::new(), &inputs).unwrap();
        let Ok(after) = run(&found.module, &Sizes::new(), &inputs) else { return false };
        before.into_iter().zip(after).all(|((_, a), (_, b))| agree(&Value::from(a), &Value::from(b)))
    })
}

/// The table, and the rules that no net caught.
fn table() -> (String, Vec<&'static str>) {
    let all = small_programs();
    let by_name = |name: &str| {
        let (_, module) = all.iter().find(|(n, _)| *n == format!("{name}.moir")).unwrap();
        module.clone()
    };
    let different = [("s2", "s2_plain"), ("s2_plain", "two_rounds"), ("s2_plain", "scores_inside")];
    let different = different.map(|(a, b)| (by_name(a), by_name(b)));
    let programs = ["s2", "s5", "gpt_oss", "deepseek_v3", "granite_fused"].map(by_name);
    let mut text = "| planted rule | how it is wrong |".to_owned();
    for net in NETS {
        text += &format!(" {net} |");
    }
    text += "\n|---|---|";
    text += &"---|".repeat(NETS.len());
    text += "\n";
    let mut free = Vec::new();
    for rule in PLANTED {
        let caught = caught(rule, &programs, &different);
        if !caught.contains(&true) {
            free.push(rule.name);
        }
        text += &format!("| `{}` | {} |", rule.name, rule.doc.trim());
        for caught in caught {
            text += if caught { " caught |" } else { " |" };
        }
        text += "\n";
    }
    (text, free)
}

#[test]
fn every_planted_rule_is_caught() {
    assert!(PLANTED.len() >= 15);
    let (table, free) = table();
    println!("{table}");
    assert!(free.is_empty(), "no net caught {free:?}");
    let path = root().join("docs/soundness.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find("| planted rule |").unwrap();
    let end = start + page[start..].find("\n\n").map_or(page.len() - start, |at| at + 1);
    if page[start..end] != table {
        assert!(std::env::var_os("MOEC_BLESS").is_some(), "docs/soundness.md has another table");
        std::fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
    }
}

#[test]
fn the_nets_hold_no_rule_that_is_right() {
    let tokens: Sizes = [("T".into(), 4)].into();
    for rule in PLANTED {
        let module = example(rule.name).instantiate(&tokens).unwrap();
        assert!(check(&module, &all_rules(), 1).is_ok(), "{}", rule.name);
    }
    assert!(all_rules().iter().all(|rule| rule.numerics < Numerics::Lossy));
}
