//! Which program serves which number of tokens, and what was not chosen.
//!
//! The bits of a token must not depend on the size of its batch further than the options say. So the
//! program for the usual number of tokens is chosen first, among all that are equal to the source;
//! the others are chosen among those that rules of the allowed class make of that one.

use std::collections::BTreeMap;

use moec_ir::Module;

use crate::cost::Model;
use crate::extract::Other;
use crate::optimize::{Found, Space, Variant};
use crate::options::Options;
use crate::order::{Key, keys};
use crate::report::{Alternative, Choice, Reason};

/// A program stays for the next number of tokens if it costs no more than this, times the best one:
/// what the model cannot tell apart is not worth more code, or a decision.
pub const SLACK: f64 = 1.02;

/// So many alternatives of single operations are reported for a number of tokens.
const MOST_OTHERS: usize = 6;

/// The programs for all numbers of tokens, in ascending order, the first from 0. Fills in what was
/// chosen where. An error means that a rule is wrong.
pub(crate) fn choose(
    space: &Space<'_>,
    options: &Options,
    choices: &mut Vec<Choice>,
) -> Result<Vec<Variant>, String> {
    let sizing = &space.encoded.graph.analysis.sizing;
    let model = |tokens: u64| Model::new(space.source, options, sizing, tokens);
    let base = space.cheapest(&model(options.tokens), options.alternatives)?;
    if options.table.is_empty() || !sizing.one_open_symbol() {
        let seconds = model(options.tokens).seconds(&base.module);
        let alternatives = local(space, &base, seconds);
        choices.push(Choice { tokens: options.tokens, variant: 0, seconds, alternatives });
        return Ok(vec![Variant { from: 0, module: base.module, rules: base.rules }]);
    }
    let source = base.module.clone();
    let narrow = if options.batch < options.numerics {
        Some(Space::new(&source, options, options.batch).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let mut allowed = Pool { programs: vec![base] };
    let mut table: Vec<u64> = options.table.clone();
    table.sort_unstable();
    table.dedup();
    for &tokens in &table {
        let found = match &narrow {
            None => space.cheapest(&model(tokens), false)?,
            Some(narrow) => {
                let mut found = narrow.cheapest(&model(tokens), false)?;
                allowed.programs[0].name_rules(&mut found);
                found
            }
        };
        allowed.add(found);
    }
    let mut chosen: Vec<usize> = Vec::new();
    for &tokens in &table {
        let costs = allowed.costs(&model(tokens));
        let best = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let kept = chosen.last().copied().filter(|&last| costs[last] <= best * SLACK);
        let cheapest = || (0..costs.len()).find(|&at| costs[at] <= best).unwrap_or(0);
        chosen.push(kept.unwrap_or_else(cheapest));
    }
    let mut ranges: Vec<(u64, usize)> = vec![(0, chosen[0])];
    for at in 1..chosen.len() {
        let (before, after) = (chosen[at - 1], chosen[at]);
        if before != after {
            let programs = [&allowed.programs[before].module, &allowed.programs[after].module];
            ranges.push((
                crossing(table[at - 1], table[at], |n| {
                    let [before, after] = programs.map(|program| model(n).seconds(program));
                    after < before
                }),
                after,
            ));
        }
    }
    for (at, &tokens) in table.iter().enumerate() {
        let costs = allowed.costs(&model(tokens));
        let seconds = costs[chosen[at]];
        let variant = ranges.partition_point(|(from, _)| *from <= tokens) - 1;
        let mut choice = Choice { tokens, variant, seconds, alternatives: Vec::new() };
        if options.alternatives {
            let here = &allowed.programs[chosen[at]];
            let mut others: Vec<Alternative> = (allowed.programs.iter().zip(&costs))
                .filter(|(program, _)| program.module != here.module)
                .map(|(program, &seconds)| whole(here, program, seconds, Reason::Cost))
                .collect();
            let free = space.cheapest(&model(tokens), true)?;
            if allowed.find(&free.module).is_none() {
                let cost = model(tokens).seconds(&free.module);
                let reason = if cost < seconds { Reason::Batch } else { Reason::Cost };
                others.push(whole(here, &free, cost, reason));
            } else if free.module == here.module {
                others.extend(local(space, &free, seconds));
            }
            others.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            choice.alternatives = others;
        }
        choices.push(choice);
    }
    let mut programs = allowed.programs;
    Ok(ranges
        .into_iter()
        .map(|(from, at)| {
            let Found { module, rules, .. } = &mut programs[at];
            Variant { from, module: module.clone(), rules: rules.clone() }
        })
        .collect())
}

/// Different programs, in the order in which they were found.
struct Pool {
    programs: Vec<Found>,
}

impl Pool {
    fn find(&self, module: &Module) -> Option<usize> {
        self.programs.iter().position(|program| program.module == *module)
    }

    fn add(&mut self, found: Found) {
        if self.find(&found.module).is_none() {
            self.programs.push(found);
        }
    }

    fn costs(&self, model: &Model<'_>) -> Vec<f64> {
        self.programs.iter().map(|program| model.seconds(&program.module)).collect()
    }
}

impl Found {
    /// Names in `other` the rules of operations that this program has too.
    fn name_rules(&self, other: &mut Found) {
        let own = keys(&self.module).into_iter().zip(&self.rules);
        let known: BTreeMap<Key, Option<&'static str>> = own.map(|(key, rule)| (key, *rule)).collect();
        for (key, rule) in keys(&other.module).into_iter().zip(&mut other.rules) {
            *rule = rule.or(known.get(&key).copied().flatten());
        }
    }
}

/// The first number in `low + 1 ..= high` from which on `turned` holds; it does for `high`.
fn crossing(mut low: u64, mut high: u64, turned: impl Fn(u64) -> bool) -> u64 {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if turned(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// How `other` differs from `chosen`.
fn whole(chosen: &Found, other: &Found, seconds: f64, reason: Reason) -> Alternative {
    let keys = [chosen, other].map(|found| keys(&found.module));
    // Only operations themselves: whatever uses a different one has another key too.
    let ops = |found: &Found| found.module.nodes.iter().map(|node| node.op.mnemonic()).collect::<Vec<_>>();
    let (here, there) = (ops(chosen), ops(other));
    let mut rules: Vec<&'static str> = (other.rules.iter().zip(&keys[1]))
        .filter(|(_, key)| !keys[0].contains(key))
        .filter_map(|(rule, _)| *rule)
        .filter(|rule| !chosen.rules.contains(&Some(*rule)))
        .collect();
    rules.sort_unstable();
    rules.dedup();
    Alternative { rules, with: missing(&there, &here), without: missing(&here, &there), seconds, reason }
}

/// The words that `all` has more of than `known`, each once, sorted.
fn missing(all: &[&'static str], known: &[&'static str]) -> Vec<&'static str> {
    let count = |list: &[&'static str], word: &str| list.iter().filter(|w| **w == word).count();
    let mut more: Vec<&'static str> =
        all.iter().copied().filter(|word| count(all, word) > count(known, word)).collect();
    more.sort_unstable();
    more.dedup();
    more
}

/// What single operations would have cost otherwise: for each rule, and for what the source has, the
/// cheapest that the model can tell from the choice.
fn local(space: &Space<'_>, found: &Found, seconds: f64) -> Vec<Alternative> {
    let total = |other: &Other| other.total as f64 * 1e-12;
    let mut best: BTreeMap<Option<&'static str>, &Other> = BTreeMap::new();
    for other in found.others.iter().filter(|other| total(other) > seconds * SLACK) {
        let known = best.entry(space.rule(&other.node)).or_insert(other);
        if other.total < known.total {
            *known = other;
        }
    }
    let mut others: Vec<Alternative> = (best.into_iter())
        .map(|(rule, other)| {
            let word = |op: Option<moec_ir::Op>| op.map(moec_ir::Op::mnemonic).into_iter().collect();
            Alternative {
                rules: rule.into_iter().collect(),
                with: word(other.node.op()),
                without: word(other.chosen.op()),
                seconds: total(other),
                reason: Reason::Cost,
            }
        })
        .collect();
    others.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    others.truncate(MOST_OTHERS);
    others
}
