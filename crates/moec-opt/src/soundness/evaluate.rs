//! The value of every class of an e-graph, and whether all nodes of a class agree on it.

use std::collections::BTreeMap;

use egg::Id;
use moec_interp::{Tensor, Value, eval_node, generate};
use moec_ir::{Module, Op, Sizes, print};

use super::{LIMITS, all_rules, small_programs};
use crate::encode::encode;
use crate::facts::{Facts, Graph, attrs_of};
use crate::rules::Rule;
use crate::saturate::saturate;

/// How far numbers may be apart, relative to the largest element of their tensor.
const TOLERANCE: f64 = 1e-9;

/// Whether two values agree; NaN agrees with NaN.
pub(super) fn agree(a: &Value<'_>, b: &Value<'_>) -> bool {
    let close = |a: &Tensor, b: &Tensor| {
        let finite = a.data.iter().filter(|x| x.is_finite());
        let scale = finite.fold(1e-30f64, |scale, x| scale.max(x.abs()));
        let same =
            |x: &f64, y: &f64| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= TOLERANCE * scale;
        a.shape == b.shape && a.dtype == b.dtype && a.data.iter().zip(&b.data).all(|(x, y)| same(x, y))
    };
    match (a, b) {
        (Value::Tensor(a), Value::Tensor(b)) => close(a, b),
        (Value::Route(a), Value::Route(b)) => {
            a.axis == b.axis && a.index == b.index && close(&a.value, &b.value)
        }
        (a, b) => a == b,
    }
}

/// Saturates `module`, whose sizes are all numbers, and evaluates every node of every class once
/// there are values for its operands. What does not agree comes back in words.
pub(super) fn check(module: &Module, rules: &[&'static Rule], seed: u64) -> Result<usize, String> {
    let sizes = Sizes::new();
    let inputs = generate::inputs(module, &sizes, seed).map_err(|e| e.to_string())?;
    let mut encoded = encode(module);
    let log = saturate(&mut encoded.graph, rules, LIMITS);
    let graph = &encoded.graph;
    if let Some(conflict) = graph.analysis.conflicts.first() {
        return Err(conflict.clone());
    }
    let names = log.rules(graph);
    let mut values: BTreeMap<Id, Value<'static>> = BTreeMap::new();
    let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
    ids.sort();
    let mut evaluated = std::collections::BTreeSet::new();
    loop {
        let before = evaluated.len();
        for &id in &ids {
            for (at, node) in graph[id].nodes.iter().enumerate() {
                let Some(op) = node.op().filter(|_| !evaluated.contains(&(id, at))) else { continue };
                let args: Option<Vec<&Value<'_>>> =
                    node.args().iter().map(|&arg| values.get(&graph.find(arg))).collect();
                let Some(args) = args else { continue };
                let rule = names.get(&crate::saturate::canonical(graph, node)).copied().unwrap_or("source");
                let value = match op {
                    Op::Input | Op::Weight => {
                        Value::from(inputs[attrs_of(graph, op, node).str("name")].clone())
                    }
                    _ => eval_node(op, &args, &attrs_of(graph, op, node), &sizes)
                        .map_err(|error| format!("{op} by {rule}: {error}"))?,
                };
                evaluated.insert((id, at));
                match values.get(&id) {
                    None => {
                        values.insert(id, value);
                    }
                    Some(known) if agree(known, &value) => {}
                    Some(_) => return Err(format!("{op} by {rule} differs from its class")),
                }
            }
        }
        if evaluated.len() == before {
            break;
        }
    }
    match ids.iter().find(|id| is_value(graph, **id) && !values.contains_key(id)) {
        Some(id) => Err(format!("class {id} has no value")),
        None => Ok(evaluated.len()),
    }
}

fn is_value(graph: &egg::EGraph<crate::node::ENode, Facts>, id: Id) -> bool {
    let graph: &Graph = graph;
    crate::facts::known(graph, id).is_some()
}

#[test]
fn every_node_of_every_class_agrees() {
    for (name, module) in small_programs() {
        match check(&module, &all_rules(), 1) {
            Ok(nodes) => assert!(nodes >= module.nodes.len(), "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn every_node_agrees_in_random_programs() {
    let options = generate::Options { steps: 14, ..generate::Options::default() };
    for seed in 0..60 {
        let sizes = [("T".into(), 3)].into();
        let module = generate::module(1000 + seed, &options).instantiate(&sizes).unwrap();
        if let Err(error) = check(&module, &all_rules(), seed) {
            panic!("seed {seed}: {error}\n{}", print(&module));
        }
    }
}
