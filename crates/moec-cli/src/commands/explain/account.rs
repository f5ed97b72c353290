//! The account of an optimisation as data: what `moec explain FILE` prints and its page shows. Knows
//! neither form.

use std::collections::BTreeMap;

use moec::{
    Choice, EClass, Explanation, NodeReport, Numerics, Placement, PlanPlacement, Reason, RuleInfo, Validation,
};
use serde::Serialize;

/// So many operations of an e-class are kept; a page is for reading.
const MOST_OPERATIONS: usize = 24;

/// What became of a program.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    pub(super) model: String,
    /// The number of tokens that times are for.
    pub(super) tokens: u64,
    /// The target's name, and where its figures come from.
    pub(super) target: String,
    pub(super) figures: String,
    pub(super) seconds_before: f64,
    pub(super) seconds_after: f64,
    /// How far the rules that made the result may move bits.
    pub(super) numerics: &'static str,
    pub(super) validation: String,
    /// Where experts lie, if a budget of memory asks for it.
    pub(super) memory: Option<Memory>,
    /// Why the source was kept, if it was.
    pub(super) fallback: Option<String>,
    /// Rules that panicked and were left out, which is a bug.
    pub(super) panicked: Vec<&'static str>,
    pub(super) before: Vec<Operation>,
    pub(super) after: Vec<Operation>,
    /// The operations that rules made, in the order in which they were found.
    pub(super) steps: Vec<Step>,
    /// Rules that added something.
    pub(super) rules: Vec<Rule>,
    /// What was not chosen for this number of tokens, the cheapest first.
    pub(super) considered: Vec<Considered>,
    /// The program that each number of tokens would get.
    pub(super) choices: Vec<Chosen>,
    pub(super) graph: Graph,
}

/// Where the experts of a program lie.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// Bytes that weights may take.
    budget: u64,
    /// Bytes that all of them would take.
    weights: u64,
    pub(super) plans: Vec<Place>,
}

/// Where the experts of a plan lie, also as a sentence.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    #[serde(flatten)]
    plan: PlanPlacement,
    pub(super) said: String,
}

/// One operation of a program.
#[derive(Debug, Serialize)]
pub(super) struct Operation {
    /// As the IR prints it.
    pub(super) text: String,
    pub(super) seconds: f64,
    /// What it waits for; none where it costs nothing.
    pub(super) bound: Option<&'static str>,
    /// The rule that made it; none for operations of the source.
    pub(super) rule: Option<&'static str>,
    /// Its e-class and its place there, in the result.
    pub(super) place: Option<(usize, usize)>,
}

/// An operation of the result that a rule made.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Its number in the result.
    pub(super) operation: usize,
    pub(super) rule: &'static str,
}

/// A rule and what it did.
#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) numerics: &'static str,
    pub(super) doc: &'static str,
    /// How often it added something.
    pub(super) count: usize,
    /// Operations of the result that it made.
    pub(super) made: usize,
}

/// What was not chosen.
#[derive(Debug, Serialize)]
pub(super) struct Considered {
    pub(super) what: String,
    pub(super) seconds: f64,
    pub(super) why: &'static str,
}

/// The program for one number of tokens.
#[derive(Debug, Serialize)]
pub(super) struct Chosen {
    pub(super) tokens: u64,
    /// Programs are numbered in order of the tokens they serve.
    pub(super) program: usize,
    pub(super) seconds: f64,
}

/// The e-graph: its size, and the classes that the result's operations are in.
#[derive(Debug, Serialize)]
pub(super) struct Graph {
    pub(super) nodes: usize,
    pub(super) classes: usize,
    pub(super) rounds: usize,
    pub(super) limit: Option<&'static str>,
    pub(super) neighbourhood: BTreeMap<usize, Class>,
}

/// An e-class.
#[derive(Debug, Serialize)]
pub(super) struct Class {
    #[serde(rename = "type")]
    pub(super) ty: String,
    pub(super) operations: Vec<Node>,
    /// Operations that are not listed.
    pub(super) more: usize,
}

/// An e-node.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) text: String,
    /// Numbers of the classes of its operands.
    pub(super) args: Vec<usize>,
    pub(super) rule: Option<&'static str>,
    /// Whether the result has it.
    pub(super) chosen: bool,
}

impl Account {
    pub(super) fn of(explanation: &Explanation, target: &moec::Target) -> Account {
        let report = &explanation.report;
        let infos: BTreeMap<&str, RuleInfo> =
            moec::rule_infos().into_iter().map(|rule| (rule.name, rule)).collect();
        let before = operations(&explanation.before, &report.before, &[]);
        let after = operations(&explanation.after, &report.after, &explanation.egraph.program);
        let made = |name: &str| after.iter().filter(|op| op.rule == Some(name)).count();
        let rules: Vec<Rule> = (report.fired.iter())
            .filter_map(|fired| {
                let info = infos.get(fired.rule)?;
                let made = made(info.name);
                Some(Rule {
                    name: info.name,
                    numerics: info.numerics.name(),
                    doc: info.doc,
                    count: fired.count,
                    made,
                })
            })
            .collect();
        let reached = rules.iter().filter(|rule| rule.made > 0).filter_map(|rule| infos.get(rule.name));
        let numerics = reached.map(|info| info.numerics).max().unwrap_or(Numerics::Bit);
        let here = report.choices.iter().find(|choice| choice.tokens == explanation.tokens);
        let considered = here.map(considered).unwrap_or_default();
        Account {
            model: explanation.after.name.to_string(),
            tokens: explanation.tokens,
            target: target.name.clone(),
            figures: target.source.clone(),
            seconds_before: report.seconds_before(),
            seconds_after: report.seconds_after(),
            numerics: numerics.name(),
            validation: validation(&explanation.validation),
            memory: explanation.placement.as_ref().map(memory),
            fallback: report.fallback.clone(),
            panicked: report.panicked.clone(),
            steps: steps(&after, explanation),
            before,
            rules,
            considered,
            choices: explanation.choices.iter().map(chosen).collect(),
            graph: Graph {
                nodes: report.nodes,
                classes: report.classes,
                rounds: report.iterations,
                limit: report.limit,
                neighbourhood: neighbourhood(&after, &explanation.egraph.classes),
            },
            after,
        }
    }
}

fn memory(placement: &Placement) -> Memory {
    let plans = placement.plans.iter();
    let plans = plans.map(|plan| Place { plan: plan.clone(), said: plan.to_string() }).collect();
    Memory { budget: placement.budget, weights: placement.weights, plans }
}

fn operations(
    module: &moec::ir::Module,
    reports: &[NodeReport],
    places: &[Option<(usize, usize)>],
) -> Vec<Operation> {
    let printed = moec::ir::print(module);
    let lines = printed.lines().map(str::trim_start).filter(|line| line.starts_with('%'));
    let places = places.iter().copied().chain(std::iter::repeat(None));
    (lines.zip(reports).zip(places))
        .map(|((line, report), place)| Operation {
            text: line.to_owned(),
            seconds: report.seconds,
            bound: report.bound.map(moec::Bound::name),
            rule: report.rule,
            place,
        })
        .collect()
}

/// In the order in which the e-graph took the operations in.
fn steps(after: &[Operation], explanation: &Explanation) -> Vec<Step> {
    let classes: BTreeMap<usize, &EClass> =
        explanation.egraph.classes.iter().map(|class| (class.id, class)).collect();
    let added = |(class, at): (usize, usize)| Some(classes.get(&class)?.nodes.get(at)?.added);
    let mut found: Vec<(Option<usize>, Step)> = (after.iter().enumerate())
        .filter_map(|(operation, op)| Some((op.place.and_then(added), Step { operation, rule: op.rule? })))
        .collect();
    found.sort_by_key(|(added, step)| (*added, step.operation));
    found.into_iter().map(|(_, step)| step).collect()
}

fn considered(choice: &Choice) -> Vec<Considered> {
    let list = |words: &[&str]| words.join(", ");
    (choice.alternatives.iter())
        .map(|other| {
            let what = match (list(&other.with), list(&other.without)) {
                (with, without) if with == without && with.is_empty() => "another order".to_owned(),
                (with, without) if with == without => format!("another {with}"),
                (with, without) if without.is_empty() => format!("also {with}"),
                (with, without) if with.is_empty() => format!("no {without}"),
                (with, without) => format!("{with} instead of {without}"),
            };
            let by = if other.rules.is_empty() {
                ", as the source has it".to_owned()
            } else {
                format!(", by {}", list(&other.rules))
            };
            let why = match other.reason {
                Reason::Cost if other.seconds > choice.seconds => "costs more",
                Reason::Cost => "costs as much",
                Reason::Batch => "bits would depend on the size of the batch",
            };
            Considered { what: format!("{what}{by}"), seconds: other.seconds, why }
        })
        .collect()
}

fn chosen(choice: &Choice) -> Chosen {
    Chosen { tokens: choice.tokens, program: choice.variant, seconds: choice.seconds }
}

/// The classes of the result's operations and of all operands that these classes name.
fn neighbourhood(after: &[Operation], classes: &[EClass]) -> BTreeMap<usize, Class> {
    let taken: BTreeMap<usize, usize> = after.iter().filter_map(|op| op.place).collect();
    let of_operands = classes
        .iter()
        .filter(|class| taken.contains_key(&class.id))
        .flat_map(|class| class.nodes.iter().flat_map(|node| node.args.iter().copied()));
    let mut wanted: Vec<usize> = of_operands.chain(taken.keys().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    classes
        .iter()
        .filter(|class| wanted.binary_search(&class.id).is_ok())
        .map(|class| {
            let chosen = taken.get(&class.id).copied();
            let nodes = class.nodes.iter().enumerate();
            // The chosen one first, whatever the class holds.
            let (mut listed, rest): (Vec<_>, Vec<_>) = nodes.partition(|(at, _)| Some(*at) == chosen);
            listed.extend(rest);
            let more = listed.len().saturating_sub(MOST_OPERATIONS);
            let operations = (listed.into_iter().take(MOST_OPERATIONS))
                .map(|(at, node)| Node {
                    text: [&[node.op.to_owned()], node.attrs.as_slice()].concat().join(" "),
                    args: node.args.clone(),
                    rule: node.rule,
                    chosen: Some(at) == chosen,
                })
                .collect();
            (class.id, Class { ty: class.ty.clone(), operations, more })
        })
        .collect()
}

fn validation(validation: &Validation) -> String {
    match validation {
        Validation::Agreed { seeds, difference } => {
            format!("agrees with the source on {seeds} random inputs at small sizes, within {difference:.1e}")
        }
        Validation::Unchecked { reason } => format!("not done: {reason}"),
        Validation::Differed { difference, output } => {
            format!(
                "`{output}` differed by {difference:.1e}; the source was compiled instead. This is a bug in moec"
            )
        }
        Validation::Unchanged => "not needed, nothing was changed".to_owned(),
    }
}
