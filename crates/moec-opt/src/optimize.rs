//! The whole way of a module: encode, saturate, extract, decode, verify; the source where anything
//! on the way goes wrong. Which program serves which number of tokens is decided in `choose`.

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::{Module, verify};

use crate::OptError;
use crate::choose::choose;
use crate::cost::Model;
use crate::encode::{Choice, Encoded, decode, encode};
use crate::extract::{Other, extract};
use crate::node::ENode;
use crate::options::{Limits, Numerics, Options};
use crate::report::{NodeReport, Report, RuleCount};
use crate::rules::{RULES, Rule};
use crate::saturate::{Log, canonical, saturate};
use crate::sizing::Sizing;

/// An optimised module.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimized {
    /// The program for the number of tokens in the options, over the dims of the source. All inputs
    /// of the source are kept.
    pub module: Module,
    /// A program for every number of tokens: ranges in ascending order, the first from 0.
    pub variants: Vec<Variant>,
    /// What was done.
    pub report: Report,
}

/// A program for a range of numbers of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The smallest number of tokens that it serves. The range ends where the next one begins.
    pub from: u64,
    /// The program.
    pub module: Module,
    /// The rule that made each node; none for operations of the source.
    pub rules: Vec<Option<&'static str>>,
}

/// The rules up to class `numerics` that `options` leave on.
pub(crate) fn chosen(options: &Options, numerics: Numerics) -> Result<Vec<&'static Rule>, OptError> {
    let all = || RULES.iter().flat_map(|family| family.rules);
    if let Some(unknown) = options.ablate.iter().find(|name| all().all(|rule| rule.name != name.as_str())) {
        return Err(OptError::UnknownRule(unknown.clone()));
    }
    let on = |rule: &&Rule| rule.numerics <= numerics && !options.ablate.iter().any(|name| name == rule.name);
    Ok(all().filter(on).collect())
}

/// All programs that were found equal to a module.
pub(crate) struct Space<'m> {
    pub(crate) source: &'m Module,
    pub(crate) encoded: Encoded,
    log: Log,
    /// The rule that made each e-node.
    rules: BTreeMap<ENode, &'static str>,
}

/// One of them: the module, where its nodes come from, and what else was possible.
pub(crate) struct Found {
    pub(crate) module: Module,
    pub(crate) rules: Vec<Option<&'static str>>,
    /// The e-node of each node, and its class.
    pub(crate) nodes: Vec<Option<(Id, ENode)>>,
    pub(crate) others: Vec<Other>,
}

impl<'m> Space<'m> {
    /// What rules up to class `numerics` make of `source`.
    pub(crate) fn new(source: &'m Module, options: &Options, numerics: Numerics) -> Result<Self, OptError> {
        verify(source)?;
        Ok(Space::with_rules(source, &chosen(options, numerics)?, options.limits))
    }

    /// What `rules` make of `source`, which is valid.
    pub(crate) fn with_rules(source: &'m Module, rules: &[&'static Rule], limits: Limits) -> Self {
        let mut encoded = encode(source);
        let log = saturate(&mut encoded.graph, rules, limits);
        let rules = log.rules(&encoded.graph);
        Space { source, encoded, log, rules }
    }

    /// The cheapest program. An error means that a rule is wrong.
    pub(crate) fn cheapest(&self, model: &Model<'_>, others: bool) -> Result<Found, String> {
        let (source, graph) = (self.source, &self.encoded.graph);
        if let Some(conflict) = graph.analysis.conflicts.first() {
            return Err(conflict.clone());
        }
        let roots: Vec<Id> = source.outputs.iter().map(|o| self.encoded.values[o.value.index()]).collect();
        let extracted = extract(graph, source, &roots, model, others).ok_or("an output has no program")?;
        let (module, from) =
            decode(source, &extracted.choices, &extracted.roots).map_err(|error| error.to_string())?;
        verify(&module).map_err(|error| error.to_string())?;
        let nodes: Vec<Option<(Id, ENode)>> =
            from.iter().map(|at| extracted.nodes.get((*at)?).cloned()).collect();
        let rules = nodes.iter().map(|node| self.rule(&node.as_ref()?.1)).collect();
        Ok(Found { module, rules, nodes, others: extracted.others })
    }

    /// The rule that made an e-node; none if it is of the source.
    pub(crate) fn rule(&self, node: &ENode) -> Option<&'static str> {
        self.rules.get(&canonical(&self.encoded.graph, node)).copied()
    }
}

/// The cheapest program that `options` allow and that is equal to `module`; with a table of numbers
/// of tokens, a program for each range of them.
pub fn optimize(module: &Module, options: &Options) -> Result<Optimized, OptError> {
    within(&Space::new(module, options, options.numerics)?, options)
}

/// The cheapest program of a space.
fn within(space: &Space<'_>, options: &Options) -> Result<Optimized, OptError> {
    let module = space.source;
    let (graph, log) = (&space.encoded.graph, &space.log);
    let sizing = &graph.analysis.sizing;
    let model = Model::new(module, options, sizing, options.tokens);
    let mut report = Report {
        fired: log.fired.iter().map(|(&rule, &count)| RuleCount { rule, count }).collect(),
        nodes: graph.total_size(),
        classes: graph.number_of_classes(),
        iterations: log.iterations,
        limit: log.limit,
        panicked: log.panicked.clone(),
        before: model.nodes(module),
        ..Report::default()
    };
    let variants = match choose(space, options, &mut report.choices) {
        Ok(variants) => variants,
        Err(why) => {
            report.fallback = Some(why);
            let module = sources_first(module)?;
            let rules = vec![None; module.nodes.len()];
            vec![Variant { from: 0, module, rules }]
        }
    };
    let at = variants.partition_point(|variant| variant.from <= options.tokens).saturating_sub(1);
    let Variant { module, rules, .. } = &variants[at];
    let module = module.clone();
    report.after = model.nodes(&module);
    for (node, rule) in report.after.iter_mut().zip(rules) {
        node.rule = *rule;
    }
    Ok(Optimized { module, variants, report })
}

/// The cost of every node of `module` as it is.
pub fn price(module: &Module, options: &Options) -> Result<Vec<NodeReport>, OptError> {
    verify(module)?;
    let sizing = Sizing::new(module);
    Ok(Model::new(module, options, &sizing, options.tokens).nodes(module))
}

/// The module itself in canonical order.
pub(crate) fn sources_first(module: &Module) -> Result<Module, OptError> {
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

#[cfg(test)]
mod tests {
    use moec_ir::{Op, read};

    use super::*;
    use crate::term::Term;

    const SOURCE: &str = r#"module negations {
    dim T
    dim H = 4
    %0 = input {name = "x"} : f32[T, H]
    %1 = neg %0 : f32[T, H]
    %2 = neg %1 : f32[T, H]
    %3 = silu %2 : f32[T, H]
    output "y" = %3
}
"#;

    /// What is made of the source with one rule more.
    fn with(rule: &'static Rule) -> Optimized {
        let module = read(SOURCE).unwrap();
        let options = Options::default();
        let mut rules = chosen(&options, options.numerics).unwrap();
        rules.push(rule);
        within(&Space::with_rules(&module, &rules, options.limits), &options).unwrap()
    }

    const fn planted(
        name: &'static str,
        rewrite: for<'a> fn(crate::term::View<'a>, crate::term::Found<'a>) -> Vec<Term>,
    ) -> Rule {
        Rule { name, doc: "Wrong.", numerics: Numerics::Bit, conditions: &[], roots: &[Op::Silu], rewrite }
    }

    #[test]
    fn a_rule_that_panics_costs_no_more_than_itself() {
        static PANICS: Rule = planted("panics", |v, n| vec![v.term(n.args()[3]).unwrap()]);
        let found = with(&PANICS);
        assert_eq!(found.report.panicked, ["panics"]);
        assert_eq!(found.report.fallback, None);
        assert_eq!(found.module.nodes.len(), 2, "the other rules did their work");
    }

    #[test]
    fn classes_with_two_types_fall_back_to_the_source() {
        // A rule that forgets an axis.
        static ILL_TYPED: Rule = planted("ill_typed", |v, n| {
            v.constant(moec_ir::DType::F32, &v.shape(n.arg(0))[1..], 1.0).into_iter().collect()
        });
        let found = with(&ILL_TYPED);
        let why = found.report.fallback.unwrap();
        assert!(why.contains("f32[H]"), "{why}");
        assert_eq!(found.module, read(SOURCE).unwrap());
        assert_eq!(found.variants.len(), 1);
        assert!(found.report.after.iter().all(|node| node.rule.is_none()));
    }
}
