//! The value of every class of an e-graph, and whether all nodes of a class agree on it.

use std::collections::BTreeMap;

use egg::Id;
use moec_interp::{Tensor, Value, eval_node, generate};
use moec_ir::{Module, Op, Sizes, print};

use super::{LIMITS, all_rules, small_programs};
use crate::facts::{Facts, Graph, attrs_of};
use crate::optimize::Space;
use crate::rules::Rule;

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
    let space = Space::with_rules(module, rules, LIMITS);
    match space.encoded.graph.analysis.conflicts.first() {
        Some(conflict) => Err(conflict.clone()),
        None => check_nodes(&space, seed),
    }
}

/// Evaluates every node of a saturated e-graph without conflicts.
pub(super) fn check_nodes(space: &Space<'_>, seed: u64) -> Result<usize, String> {
    let sizes = Sizes::new();
    let inputs = generate::inputs(space.source, &sizes, seed).map_err(|e| e.to_string())?;
    let graph = &space.encoded.graph;
    let mut values: BTreeMap<Id, Value<'static>> = BTreeMap::new();
    let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
    ids.sort();
    let mut evaluated = std::collections::BTreeSet::new();
    let mut rows = Rows::default();
    loop {
        let before = evaluated.len();
        for &id in &ids {
            for (at, node) in graph[id].nodes.iter().enumerate() {
                let Some(op) = node.op().filter(|_| !evaluated.contains(&(id, at))) else { continue };
                let args: Option<Vec<&Value<'_>>> =
                    node.args().iter().map(|&arg| values.get(&graph.find(arg))).collect();
                let Some(args) = args else { continue };
                let rule = space.rule(node).unwrap_or("source");
                let value = match op {
                    Op::Input | Op::Weight => {
                        Value::from(inputs[attrs_of(graph, op, node).str("name")].clone())
                    }
                    _ => eval_node(op, &args, &attrs_of(graph, op, node), &sizes)
                        .map_err(|error| format!("{op} by {rule}: {error}"))?,
                };
                evaluated.insert((id, at));
                if let Some(found) = rows.of(graph, op, node, &value, &values) {
                    rows.known.insert(id, found);
                }
                let value = rows.without_dropped(id, value);
                if let Some(known) = values.remove(&id) {
                    values.insert(id, rows.without_dropped(id, known));
                }
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
    if let Some(id) = ids.iter().find(|id| !vanishes_as_proved(graph, **id, &values)) {
        return Err(format!("class {id} is not 0 where it is proved to be"));
    }
    match ids.iter().find(|id| is_value(graph, **id) && !values.contains_key(id)) {
        Some(id) => Err(format!("class {id} has no value")),
        None => Ok(evaluated.len()),
    }
}

/// Whether a class is 0 at every pair that the gates it is proved to vanish with have not chosen.
fn vanishes_as_proved(graph: &Graph, id: Id, values: &BTreeMap<Id, Value<'static>>) -> bool {
    let facts = crate::facts::known(graph, id).map_or(&[][..], |known| &known.vanishing);
    let tensor = |id: Id| values.get(&graph.find(id)).and_then(Value::tensor);
    let Some(value) = tensor(id) else { return true };
    facts.iter().all(|fact| {
        let Some(index) = tensor(fact.index) else { return true };
        let chosen = |token: usize, expert: usize| {
            let slots = index.shape[fact.slots];
            let at =
                |slot| if fact.slots == 1 { token * slots + slot } else { slot * index.shape[1] + token };
            (0..slots).any(|slot| index.data[at(slot)] == expert as f64)
        };
        value.data.iter().enumerate().all(|(at, x)| {
            let along = |axis: usize| {
                let inner: usize = value.shape[axis + 1..].iter().product();
                (at / inner) % value.shape[axis]
            };
            *x == 0.0 || chosen(along(fact.tokens), along(fact.experts))
        })
    })
}

/// Classes that are in the rows of a plan that drops pairs. What stands in the rows of those is not
/// compared: it is made 0 before anything else looks at it.
#[derive(Default)]
struct Rows {
    /// The axis, and how many rows count.
    known: BTreeMap<Id, (usize, usize)>,
}

impl Rows {
    /// The axis of rows of the result of a node, and how many of them count, if not all do.
    fn of(
        &self,
        graph: &Graph,
        op: Op,
        node: &crate::node::ENode,
        value: &Value<'_>,
        values: &BTreeMap<Id, Value<'static>>,
    ) -> Option<(usize, usize)> {
        value.tensor()?;
        let in_plan_rows =
            [Op::TakeRows, Op::TakeSlots, Op::TakeExperts, Op::TakePairs, Op::TakeSeats, Op::GroupedMatmul];
        let first = node.args().first().map(|&arg| &values[&graph.find(arg)]);
        if in_plan_rows.contains(&op)
            && let Some(Value::Plan(plan)) = first
            && plan.kept() < plan.pairs.len()
        {
            return Some((0, plan.kept()));
        }
        if op == Op::Combine {
            return None;
        }
        let types = |id: Id| crate::facts::known(graph, id).and_then(|known| known.ty.tensor());
        let operands: Vec<Option<&moec_ir::TensorType>> = node.args().iter().map(|&arg| types(arg)).collect();
        node.args().iter().enumerate().find_map(|(i, &arg)| {
            let (axis, kept) = *self.known.get(&graph.find(arg))?;
            let moved = moec_ir::carried_axis(
                op,
                &attrs_of(graph, op, node),
                &operands,
                &value.ty(),
                graph.analysis.sizing.table(),
                (i, axis),
            )?;
            Some((moved, kept))
        })
    }

    fn without_dropped(&self, id: Id, value: Value<'static>) -> Value<'static> {
        let Some(&(axis, kept)) = self.known.get(&id) else { return value };
        match value {
            Value::Tensor(tensor) => {
                let mut tensor = tensor.into_owned();
                let inner: usize = tensor.shape[axis + 1..].iter().product();
                let size = tensor.shape[axis];
                for (at, x) in tensor.data.iter_mut().enumerate() {
                    if (at / inner) % size >= kept {
                        *x = 0.0;
                    }
                }
                tensor.into()
            }
            other => other,
        }
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
