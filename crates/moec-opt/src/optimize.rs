//! The whole way of a module: encode, saturate, extract, decode, verify; the source where anything
//! on the way goes wrong.

use egg::Id;
use moec_ir::{Module, Op, Type, verify};

use crate::OptError;
use crate::cost::Model;
use crate::encode::{Choice, Encoded, decode, encode};
use crate::extract::extract;
use crate::facts::Graph;
use crate::options::Options;
use crate::report::{NodeReport, Report, RuleCount};
use crate::rules::{RULES, Rule};
use crate::saturate::{Log, canonical, saturate};

/// An optimised module.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimized {
    /// The program, over the dims of the source. All inputs of the source are kept.
    pub module: Module,
    /// What was done.
    pub report: Report,
}

/// The rules that `options` leave on.
pub(crate) fn chosen(options: &Options) -> Result<Vec<&'static Rule>, OptError> {
    let all = || RULES.iter().flat_map(|family| family.rules);
    if let Some(unknown) = options.ablate.iter().find(|name| all().all(|rule| rule.name != name.as_str())) {
        return Err(OptError::UnknownRule(unknown.clone()));
    }
    let on = |rule: &&Rule| {
        rule.numerics <= options.numerics && !options.ablate.iter().any(|name| name == rule.name)
    };
    Ok(all().filter(on).collect())
}

/// Saturates `module`.
pub(crate) fn saturated(module: &Module, options: &Options) -> Result<(Encoded, Log), OptError> {
    verify(module)?;
    let rules = chosen(options)?;
    let mut encoded = encode(module);
    let log = saturate(&mut encoded.graph, &rules, options.limits);
    Ok((encoded, log))
}

/// The cheapest program that `options` allow and that is equal to `module`.
pub fn optimize(module: &Module, options: &Options) -> Result<Optimized, OptError> {
    let (encoded, log) = saturated(module, options)?;
    let graph = &encoded.graph;
    let model = Model { target: options.target, tokens: options.tokens, sizing: &graph.analysis.sizing };
    let mut report = Report {
        fired: log.fired.iter().map(|(&rule, &count)| RuleCount { rule, count }).collect(),
        nodes: graph.total_size(),
        classes: graph.number_of_classes(),
        iterations: log.iterations,
        limit: log.limit,
        before: costs(module, &model),
        ..Report::default()
    };
    let result = match graph.analysis.conflicts.first() {
        Some(conflict) => Err(conflict.clone()),
        None => cheapest(module, &encoded, &log, &model),
    };
    let (module, rules) = match result {
        Ok(found) => found,
        Err(why) => {
            report.fallback = Some(why);
            let sources = sources_first(module)?;
            let rules = vec![None; sources.nodes.len()];
            (sources, rules)
        }
    };
    report.after = costs(&module, &model);
    for (node, rule) in report.after.iter_mut().zip(rules) {
        node.rule = rule;
    }
    Ok(Optimized { module, report })
}

type Found = (Module, Vec<Option<&'static str>>);

fn cheapest(module: &Module, encoded: &Encoded, log: &Log, model: &Model<'_>) -> Result<Found, String> {
    let graph: &Graph = &encoded.graph;
    let roots: Vec<Id> = module.outputs.iter().map(|o| encoded.values[o.value.index()]).collect();
    let extracted = extract(graph, &roots, model).ok_or("an output has no program")?;
    let (result, from) =
        decode(module, &extracted.choices, &extracted.roots).map_err(|error| error.to_string())?;
    verify(&result).map_err(|error| error.to_string())?;
    let rules = log.rules(graph);
    let named = from.iter().map(|at| {
        let (_, node) = &extracted.nodes[(*at)?];
        rules.get(&canonical(graph, node)).copied()
    });
    Ok((result, named.collect()))
}

/// The source itself in canonical order.
fn sources_first(module: &Module) -> Result<Module, OptError> {
    let choices: Vec<Choice> = (module.nodes.iter())
        .map(|node| Choice {
            op: node.op,
            args: node.args.iter().map(|arg| arg.index()).collect(),
            attrs: node.attrs.clone(),
        })
        .collect();
    let outputs: Vec<usize> = module.outputs.iter().map(|o| o.value.index()).collect();
    Ok(decode(module, &choices, &outputs)?.0)
}

/// The cost of every node.
fn costs(module: &Module, model: &Model<'_>) -> Vec<NodeReport> {
    let mut fixed: Vec<bool> = Vec::new();
    let mut out = Vec::new();
    for node in &module.nodes {
        fixed.push(node.op != Op::Input && node.args.iter().all(|arg| fixed[arg.index()]));
        let types: Vec<&Type> = node.args.iter().map(|&arg| &module.node(arg).ty).collect();
        let free = fixed.last() == Some(&true) || node.op == Op::Input;
        let picoseconds = if free { 0 } else { model.op(node.op, &types, &node.attrs, &node.ty) };
        out.push(NodeReport { rule: None, seconds: picoseconds as f64 * 1e-12 });
    }
    out
}

/// The saturated e-graph of `module` as text, class by class.
pub fn egraph_text(module: &Module, options: &Options) -> Result<String, OptError> {
    let (encoded, log) = saturated(module, options)?;
    let roots = module.outputs.iter().map(|o| (&*o.name, encoded.values[o.value.index()]));
    Ok(crate::dump::text(&encoded.graph, &log, roots))
}
