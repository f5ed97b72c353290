//! Extraction: the cheapest program in the e-graph, where a value that is used twice is paid once. First
//! choices are made class by class (`greedy`), then the whole program is made cheaper (`program`). Ties
//! go by number of operations and then by key, so that equal programs come out equal whatever e-graph
//! they were found in.

mod greedy;
mod program;

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::Module;

use self::greedy::{CostSet, choose};
use self::program::Program;
use crate::cost::Model;
use crate::encode::Choice;
use crate::facts::{Graph, attrs_of, known};
use crate::node::ENode;
use crate::order::{Interface, Key, Own};

/// The classes that the extracted program needs, as choices in order of class; for each its e-node,
/// and the positions of the roots.
pub(crate) struct Extracted {
    pub(crate) choices: Vec<Choice>,
    pub(crate) nodes: Vec<(Id, ENode)>,
    pub(crate) roots: Vec<usize>,
    /// What was not chosen, if that was asked for.
    pub(crate) others: Vec<Other>,
}

/// An e-node that was not chosen.
pub(crate) struct Other {
    pub(crate) node: ENode,
    /// The one that was chosen in its class.
    pub(crate) chosen: ENode,
    /// The cost of the program with it, in picoseconds.
    pub(crate) total: u64,
}

/// One e-node that may be chosen.
struct Candidate<'a> {
    node: &'a ENode,
    class: usize,
    args: Vec<usize>,
    cost: u64,
    own: Own,
}

/// The cheapest program that computes `roots`, or nothing if a root has none; with what each single
/// choice would have cost otherwise, if `others` is set.
pub(crate) fn extract(
    graph: &Graph,
    source: &Module,
    roots: &[Id],
    model: &Model<'_>,
    others: bool,
) -> Option<Extracted> {
    let mut space = Classes::new(graph, source, model);
    let best = choose(&space.candidates, &space.parents());
    let greedy = space.in_order_of_keys(&best);
    let number: BTreeMap<Id, usize> = space.ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let roots: Vec<usize> = roots.iter().map(|&root| number[&graph.find(root)]).collect();
    let mut program = Program::new(&space.candidates, greedy, &roots)?;
    program.refine();
    program.settle();
    let others = if others { program.others() } else { Vec::new() };
    Some(Extracted { others, ..collect(graph, &space.ids, &program, roots)? })
}

/// The classes of an e-graph by number, and all that may be chosen in them.
struct Classes<'a> {
    ids: Vec<Id>,
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Classes<'a> {
    fn new(graph: &'a Graph, source: &Module, model: &Model<'_>) -> Classes<'a> {
        let interface = Interface::new(source);
        let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
        ids.sort();
        let number: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        let fixed = |id: Id| known(graph, id).is_some_and(|known| known.fixed);
        let mut candidates = Vec::new();
        for (class, &id) in ids.iter().enumerate() {
            for node in &graph[id].nodes {
                let Some(op) = node.op() else { continue };
                let args = node.args().iter().map(|&arg| number[&graph.find(arg)]).collect();
                let args_fixed: Vec<bool> = node.args().iter().map(|&arg| fixed(arg)).collect();
                let own = interface.own(op, &attrs_of(graph, op, node), &args_fixed, fixed(id));
                candidates.push(Candidate { node, class, args, cost: model.node(graph, id, node), own });
            }
        }
        candidates.sort_by_key(|candidate| candidate.own.first());
        Classes { ids, candidates }
    }

    /// The candidates that use each class.
    fn parents(&self) -> Vec<Vec<usize>> {
        let mut parents: Vec<Vec<usize>> = vec![Vec::new(); self.ids.len()];
        for (i, candidate) in self.candidates.iter().enumerate() {
            for &arg in &candidate.args {
                parents[arg].push(i);
            }
        }
        parents
    }

    /// Numbers classes and candidates anew, in order of the keys that they have with the choices `best`,
    /// and gives these choices.
    fn in_order_of_keys(&mut self, best: &[Option<CostSet>]) -> Vec<Option<usize>> {
        let key = |candidate: &Candidate<'_>| {
            let args: Option<Vec<Key>> =
                candidate.args.iter().map(|&arg| Some(best[arg].as_ref()?.key)).collect();
            args.map(|args| candidate.own.key(args.into_iter()))
        };
        let mut classes: Vec<usize> = (0..self.ids.len()).collect();
        classes.sort_by_key(|&class| best[class].as_ref().map(|set| set.key));
        let place = places(&classes);
        self.ids = classes.iter().map(|&class| self.ids[class]).collect();
        let keys: Vec<Option<Key>> = self.candidates.iter().map(key).collect();
        let mut order: Vec<usize> = (0..self.candidates.len()).collect();
        order.sort_by_key(|&at| (place[self.candidates[at].class], keys[at]));
        let places_of_nodes = places(&order);
        let mut candidates: Vec<Option<Candidate<'a>>> = self.candidates.drain(..).map(Some).collect();
        self.candidates = order.iter().filter_map(|&at| candidates[at].take()).collect();
        for candidate in &mut self.candidates {
            candidate.class = place[candidate.class];
            for arg in &mut candidate.args {
                *arg = place[*arg];
            }
        }
        classes.iter().map(|&class| best[class].as_ref().map(|set| places_of_nodes[set.node])).collect()
    }
}

/// Where each number stands in `order`.
fn places(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        places[at] = place;
    }
    places
}

fn collect(graph: &Graph, ids: &[Id], program: &Program<'_>, roots: Vec<usize>) -> Option<Extracted> {
    let needed: Vec<usize> = (0..ids.len()).filter(|&class| program.uses[class] > 0).collect();
    let position: BTreeMap<usize, usize> = needed.iter().enumerate().map(|(i, &class)| (class, i)).collect();
    let mut out = Extracted { choices: Vec::new(), nodes: Vec::new(), roots: Vec::new(), others: Vec::new() };
    for &class in &needed {
        let candidate = &program.candidates[program.chosen[class]?];
        let op = candidate.node.op()?;
        let args = candidate.args.iter().map(|arg| position[arg]).collect();
        out.choices.push(Choice { op, args, attrs: attrs_of(graph, op, candidate.node) });
        out.nodes.push((ids[class], candidate.node.clone()));
    }
    out.roots = roots.iter().map(|root| position[root]).collect();
    Some(out)
}
