//! Saturation: every rule on every node of its operations, round by round, until nothing is new or
//! a limit is met. This is egg's simple scheduler; it is written out because rules are functions
//! over typed views, and because it logs which rule added which nodes. A rule that panics, which is
//! a bug, costs the rewrites of that rule and not the compilation.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use egg::Id;
use moec_ir::Op;

use crate::facts::Graph;
use crate::node::ENode;
use crate::options::Limits;
use crate::rules::Rule;
use crate::term::{Term, View, add, add_op, commutative};

/// What happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// Ranges of e-nodes in order of their numbers: the first node, and the rule that added it and
    /// those up to the next range.
    origins: Vec<(usize, Option<&'static str>)>,
    /// How often each rule added something.
    pub(crate) fired: BTreeMap<&'static str, usize>,
    /// Rounds.
    pub(crate) iterations: usize,
    /// The limit that ended it.
    pub(crate) limit: Option<&'static str>,
    /// Rules that panicked. They were left out from then on.
    pub(crate) panicked: Vec<&'static str>,
}

impl Log {
    /// The rule that added each node, in canonical form; the first that did.
    pub(crate) fn rules(&self, graph: &Graph) -> BTreeMap<ENode, &'static str> {
        let mut rules = BTreeMap::new();
        let mut source = Vec::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            let from = self.origins.partition_point(|(start, _)| *start <= at);
            let canonical = canonical(graph, node);
            match from.checked_sub(1).and_then(|i| self.origins[i].1) {
                Some(rule) => {
                    rules.entry(canonical).or_insert(rule);
                }
                None => source.push(canonical),
            }
        }
        for node in source {
            rules.remove(&node);
        }
        rules
    }

    fn begin(&mut self, graph: &Graph, rule: Option<&'static str>) {
        if self.origins.last().is_none_or(|(_, last)| *last != rule) {
            self.origins.push((graph.nodes().len(), rule));
        }
    }
}

/// A node with the classes of its children brought up to date.
pub(crate) fn canonical(graph: &Graph, node: &ENode) -> ENode {
    let mut node = node.clone();
    if let ENode::Op(_, children) = &mut node {
        for child in children {
            *child = graph.find(*child);
        }
    }
    node
}

/// Runs `rules` on `graph`.
pub(crate) fn saturate(graph: &mut Graph, rules: &[&'static Rule], limits: Limits) -> Log {
    saturate_until(graph, rules, limits, |_| false)
}

/// Runs `rules` on `graph` until it is `done`, which is asked between rounds.
pub(crate) fn saturate_until(
    graph: &mut Graph,
    rules: &[&'static Rule],
    limits: Limits,
    done: impl Fn(&Graph) -> bool,
) -> Log {
    let mut log = Log::default();
    log.begin(graph, None);
    loop {
        if done(graph) {
            return log;
        }
        if log.iterations == limits.iterations {
            log.limit = Some("iterations");
            return log;
        }
        log.iterations += 1;
        let mut found: Vec<(&'static Rule, Vec<(Id, Term)>)> = Vec::new();
        for rule in rules {
            if log.panicked.contains(&rule.name) {
                continue;
            }
            // A rule only looks at the e-graph, so none that ends midway leaves it broken.
            match catch_unwind(AssertUnwindSafe(|| search(graph, rule))) {
                Ok(terms) => found.push((*rule, terms)),
                Err(_) => log.panicked.push(rule.name),
            }
        }
        let mut changed = false;
        for (rule, terms) in found {
            log.begin(graph, Some(rule.name));
            for (class, term) in terms {
                if apply(graph, class, &term) {
                    *log.fired.entry(rule.name).or_default() += 1;
                    changed = true;
                }
            }
            if graph.total_size() > limits.nodes {
                log.limit = Some("nodes");
                graph.rebuild();
                return log;
            }
        }
        graph.rebuild();
        log.begin(graph, Some("ordered_operands"));
        changed |= order_operands(graph);
        if !changed || !graph.analysis.conflicts.is_empty() {
            return log;
        }
    }
}

/// What a rule wants added, and to which classes.
pub(crate) fn search(graph: &Graph, rule: &Rule) -> Vec<(Id, Term)> {
    let view = View { graph };
    let mut terms = Vec::new();
    for &root in rule.roots {
        for class in graph.classes_for_op(&Some(root)).into_iter().flatten() {
            for found in view.nodes(class, root) {
                terms.extend((rule.rewrite)(view, found).into_iter().map(|term| (class, term)));
            }
        }
    }
    terms
}

/// Adds a term and merges it with a class. Types must agree: this is checked, not trusted.
fn apply(graph: &mut Graph, class: Id, term: &Term) -> bool {
    let before = graph.nodes().len();
    let new = add(graph, term);
    let merged = graph.union(class, new);
    merged || graph.nodes().len() != before
}

/// Adds the ordered form of nodes whose operands were reordered by merges.
fn order_operands(graph: &mut Graph) -> bool {
    let mut wanted = Vec::new();
    for &op in Op::ALL.iter().filter(|op| commutative(**op)) {
        for class in graph.classes_for_op(&Some(op)).into_iter().flatten() {
            for node in graph[class].nodes.iter().filter(|node| node.op() == Some(op)) {
                let (a, b) = (graph.find(node.args()[0]), graph.find(node.args()[1]));
                if b < a {
                    wanted.push((class, op, node.clone()));
                }
            }
        }
    }
    let mut changed = false;
    for (class, op, node) in wanted {
        let before = graph.nodes().len();
        let attrs = crate::facts::attrs_of(graph, op, &node);
        let new = add_op(graph, op, node.args().to_vec(), &attrs);
        changed |= graph.union(class, new) || graph.nodes().len() != before;
    }
    graph.rebuild();
    changed
}

#[cfg(test)]
mod tests {
    use moec_ir::{Op, read};

    use super::saturate;
    use crate::encode::encode;
    use crate::options::{Limits, Numerics};
    use crate::rules::Rule;

    static PANICS: Rule = Rule {
        name: "panics",
        doc: "Ends midway.",
        numerics: Numerics::Bit,
        conditions: &[],
        roots: &[Op::Neg],
        rewrite: |v, n| vec![v.term(n.args()[3]).unwrap()],
    };

    #[test]
    fn a_rule_that_panics_is_left_out() {
        let text = r#"module negations {
    dim T
    %0 = input {name = "x"} : f32[T]
    %1 = neg %0 : f32[T]
    %2 = neg %1 : f32[T]
    output "y" = %2
}
"#;
        let module = read(text).unwrap();
        let mut encoded = encode(&module);
        let others = crate::rules::RULES.iter().flat_map(|family| family.rules);
        let rules: Vec<&'static Rule> = [&PANICS].into_iter().chain(others).collect();
        let log = saturate(&mut encoded.graph, &rules, Limits::default());
        assert_eq!(log.panicked, ["panics"]);
        assert_eq!(log.limit, None);
        let [x, .., y] = encoded.values[..] else { panic!() };
        assert_eq!(encoded.graph.find(x), encoded.graph.find(y), "the other rules did their work");
    }
}
