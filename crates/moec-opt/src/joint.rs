//! Two programs in one e-graph: whether rules prove that they compute the same.
//!
//! [`join`] makes one module of two, over one table of dims and with each input and weight once;
//! [`prove`] saturates it and looks whether the outputs met. That they did not says nothing: this
//! module knows no data and finds no counterexample.

mod join;
#[cfg(test)]
mod tests;

use moec_ir::verify;

pub use join::{Joint, Mismatch, join};

use crate::OptError;
use crate::encode::encode;
use crate::facts::Graph;
use crate::optimize::chosen;
use crate::options::{Limits, Options};
use crate::rules::Rule;
use crate::saturate::saturate_until;

/// E-nodes that the search for a least set of rules may make, in multiples of those of the proof.
const SEARCH: usize = 60;

/// What saturation of two programs in one e-graph showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equality {
    /// For each output whether the two met.
    pub outputs: Vec<(String, bool)>,
    /// If all met, rules that suffice for it, in the order of the rule table; empty where the two
    /// are equal as written. Otherwise the rules that added something.
    pub rules: Vec<&'static str>,
    /// Whether the proof fails without any one of `rules`.
    pub minimal: bool,
    /// E-nodes at the end.
    pub nodes: usize,
    /// Rounds of saturation.
    pub iterations: usize,
    /// The limit that ended saturation, `nodes` or `iterations`; none if it ran dry or all met.
    pub limit: Option<&'static str>,
}

impl Equality {
    /// Whether every output is proved equal.
    pub fn proved(&self) -> bool {
        self.outputs.iter().all(|(_, met)| *met)
    }
}

/// Saturates both programs until their outputs meet or `options` end it. What is proved holds
/// within the numerics class of `options`, wherever the facts of both programs hold. That rules
/// suffice is known because saturation with them alone was repeated.
pub fn prove(joint: &Joint, options: &Options) -> Result<Equality, OptError> {
    verify(&joint.module)?;
    let rules = chosen(options, options.numerics)?;
    let first = attempt(joint, &rules, options.limits);
    let fired = first.fired.clone();
    let mut equality = Equality {
        outputs: joint.names().map(str::to_owned).zip(first.met.iter().copied()).collect(),
        rules: Vec::new(),
        minimal: false,
        nodes: first.nodes,
        iterations: first.iterations,
        limit: first.limit.filter(|_| !first.proved()),
    };
    let mut used: Vec<&'static Rule> = rules.into_iter().filter(|rule| fired.contains(&rule.name)).collect();
    if equality.proved() {
        (used, equality.minimal) = least(joint, used, options.limits, SEARCH * first.nodes);
    }
    equality.rules = used.iter().map(|rule| rule.name).collect();
    Ok(equality)
}

/// One saturation.
struct Attempt {
    met: Vec<bool>,
    fired: Vec<&'static str>,
    nodes: usize,
    iterations: usize,
    limit: Option<&'static str>,
}

impl Attempt {
    fn proved(&self) -> bool {
        self.met.iter().all(|met| *met)
    }
}

/// Whether `rules` make all outputs of two programs meet.
#[cfg(test)]
pub(crate) fn met(joint: &Joint, rules: &[&'static Rule], limits: Limits) -> bool {
    attempt(joint, rules, limits).proved()
}

fn attempt(joint: &Joint, rules: &[&'static Rule], limits: Limits) -> Attempt {
    let mut encoded = encode(&joint.module);
    let pairs: Vec<_> = (joint.pairs())
        .map(|(a, b)| (encoded.values[a.value.index()], encoded.values[b.value.index()]))
        .collect();
    let met =
        |graph: &Graph| -> Vec<bool> { pairs.iter().map(|&(a, b)| graph.find(a) == graph.find(b)).collect() };
    let log = saturate_until(&mut encoded.graph, rules, limits, |graph| met(graph).iter().all(|met| *met));
    let graph = &encoded.graph;
    // An e-graph in which types disagree proves nothing.
    let sound = graph.analysis.conflicts.is_empty();
    Attempt {
        met: met(graph).into_iter().map(|met| met && sound).collect(),
        fired: log.fired.keys().copied().collect(),
        nodes: graph.total_size(),
        iterations: log.iterations,
        limit: log.limit,
    }
}

/// Rules without which the proof fails, out of `rules`, which suffice; and whether all the others
/// were found. Fewer rules prove less, so a rule that was needed once is needed from then on.
fn least(
    joint: &Joint,
    rules: Vec<&'static Rule>,
    limits: Limits,
    mut budget: usize,
) -> (Vec<&'static Rule>, bool) {
    let mut kept = rules;
    let mut step = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < kept.len() {
            let end = (at + step).min(kept.len());
            let without: Vec<&'static Rule> = [&kept[..at], &kept[end..]].concat();
            let tried = attempt(joint, &without, limits);
            if tried.proved() {
                kept = without;
            } else {
                at = end;
            }
            match budget.checked_sub(tried.nodes) {
                Some(rest) => budget = rest,
                None => return (kept, false),
            }
        }
        if step == 1 {
            return (kept, true);
        }
        step = step.div_ceil(2);
    }
}
