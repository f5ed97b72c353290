//! Extraction: the cheapest program in the e-graph, where a value that is used twice is paid once.
//! Greedy over cost sets: each class keeps the set of classes that its choice needs with their
//! costs, and choices improve until none does. Ties go by number of operations and then by
//! structure, so that equal programs come out equal whatever e-graph they were found in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use egg::Id;

use crate::cost::Model;
use crate::encode::{Choice, attrs_text, structural_key};
use crate::facts::{Graph, attrs_of};
use crate::node::ENode;

/// The choice of a class and everything it needs.
#[derive(Debug, Clone)]
struct CostSet {
    total: u64,
    key: u128,
    node: usize,
    /// The cost of each class that is needed, this one included, sorted by class.
    needed: Vec<(usize, u64)>,
}

impl CostSet {
    fn rank(&self) -> (u64, usize, u128) {
        (self.total, self.needed.len(), self.key)
    }
}

/// The classes that the extracted program needs, as choices in order of class; for each its e-node,
/// and the positions of the roots.
pub(crate) struct Extracted {
    pub(crate) choices: Vec<Choice>,
    pub(crate) nodes: Vec<(Id, ENode)>,
    pub(crate) roots: Vec<usize>,
}

/// One e-node that may be chosen.
struct Candidate<'a> {
    node: &'a ENode,
    class: usize,
    args: Vec<usize>,
    cost: u64,
    text: String,
}

/// The cheapest program that computes `roots`, or nothing if a root has none.
pub(crate) fn extract(graph: &Graph, roots: &[Id], model: &Model<'_>) -> Option<Extracted> {
    let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
    ids.sort();
    let number: BTreeMap<Id, usize> = ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let mut candidates = Vec::new();
    for (class, &id) in ids.iter().enumerate() {
        for node in &graph[id].nodes {
            let Some(op) = node.op() else { continue };
            let args = node.args().iter().map(|&arg| number[&graph.find(arg)]).collect();
            let cost = model.node(graph, id, node);
            candidates.push(Candidate {
                node,
                class,
                args,
                cost,
                text: attrs_text(&attrs_of(graph, op, node)),
            });
        }
    }
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
    for (i, candidate) in candidates.iter().enumerate() {
        for &arg in &candidate.args {
            parents[arg].push(i);
        }
    }
    let best = choose(&candidates, &parents);
    let greedy: Vec<Option<usize>> = best.iter().map(|set| set.as_ref().map(|set| set.node)).collect();
    let roots: Vec<usize> = roots.iter().map(|&root| number[&graph.find(root)]).collect();
    let chosen = refine(&candidates, greedy, &roots)?;
    collect(graph, &ids, &candidates, &chosen, roots)
}

fn choose(candidates: &[Candidate<'_>], parents: &[Vec<usize>]) -> Vec<Option<CostSet>> {
    let mut best: Vec<Option<CostSet>> = vec![None; parents.len()];
    let mut queue: VecDeque<usize> =
        (0..candidates.len()).filter(|&i| candidates[i].args.is_empty()).collect();
    let mut queued: BTreeSet<usize> = queue.iter().copied().collect();
    while let Some(at) = queue.pop_front() {
        queued.remove(&at);
        let candidate = &candidates[at];
        let Some(set) = cost_set(candidate, at, &best) else { continue };
        let better = match &best[candidate.class] {
            None => true,
            Some(old) => set.rank() < old.rank(),
        };
        if better {
            best[candidate.class] = Some(set);
            for &parent in &parents[candidate.class] {
                if queued.insert(parent) {
                    queue.push_back(parent);
                }
            }
        }
    }
    best
}

/// The cost set of a candidate over the present choices of its operands; none if it needs itself.
fn cost_set(candidate: &Candidate<'_>, at: usize, best: &[Option<CostSet>]) -> Option<CostSet> {
    let args: Option<Vec<&CostSet>> = candidate.args.iter().map(|&arg| best[arg].as_ref()).collect();
    let args = args?;
    let mut needed: Vec<(usize, u64)> = vec![(candidate.class, candidate.cost)];
    for arg in &args {
        if arg.needed.binary_search_by_key(&candidate.class, |(class, _)| *class).is_ok() {
            return None;
        }
        needed = union(&needed, &arg.needed);
    }
    let total = needed.iter().map(|(_, cost)| cost).sum();
    let op = candidate.node.op()?;
    // Commutative operands by key, as when decoding.
    let mut keys: Vec<u128> = args.iter().map(|arg| arg.key).collect();
    if crate::term::commutative(op) && op != moec_ir::Op::Einsum {
        keys.sort();
    }
    let key = structural_key(op, keys.into_iter(), &candidate.text);
    Some(CostSet { total, key, node: at, needed })
}

/// The union of two sets sorted by class; where both have a class, the cheaper cost.
fn union(a: &[(usize, u64)], b: &[(usize, u64)]) -> Vec<(usize, u64)> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => {
                out.push(a[i]);
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                out.push(b[j]);
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                out.push((a[i].0, a[i].1.min(b[j].1)));
                i += 1;
                j += 1;
            }
        }
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
    out
}

/// What `roots` need under `chosen`, sorted, and what it costs; none if that has a cycle or a gap.
fn needs(
    candidates: &[Candidate<'_>],
    chosen: &[Option<usize>],
    roots: &[usize],
) -> Option<((u64, usize), Vec<usize>)> {
    // 0: not seen, 1: open, 2: done.
    let mut state = vec![0u8; chosen.len()];
    let mut needed = Vec::new();
    let mut total = 0;
    let mut stack: Vec<usize> = roots.to_vec();
    while let Some(&class) = stack.last() {
        let candidate = &candidates[chosen[class]?];
        match state[class] {
            0 => {
                state[class] = 1;
                for &arg in &candidate.args {
                    match state[arg] {
                        0 => stack.push(arg),
                        1 => return None,
                        _ => {}
                    }
                }
            }
            1 => {
                state[class] = 2;
                needed.push(class);
                total += candidate.cost;
                stack.pop();
            }
            _ => {
                stack.pop();
            }
        }
    }
    needed.sort();
    Some(((total, needed.len()), needed))
}

/// Greedy choices were made class by class, blind to what other classes pay for. Here each choice
/// is tried against its alternatives in the whole program, until none helps.
fn refine(
    candidates: &[Candidate<'_>],
    mut chosen: Vec<Option<usize>>,
    roots: &[usize],
) -> Option<Vec<Option<usize>>> {
    let mut of_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in candidates.iter().enumerate() {
        of_class.entry(candidate.class).or_default().push(i);
    }
    let (mut cost, mut needed) = needs(candidates, &chosen, roots)?;
    let mut improved = true;
    while improved {
        improved = false;
        for class in needed.clone() {
            let kept = chosen[class];
            for &other in of_class.get(&class).into_iter().flatten().filter(|&&c| Some(c) != kept) {
                let before = chosen[class].replace(other);
                match needs(candidates, &chosen, roots) {
                    Some((better, set)) if better < cost => {
                        (cost, needed, improved) = (better, set, true);
                    }
                    _ => chosen[class] = before,
                }
            }
        }
    }
    Some(chosen)
}

fn collect(
    graph: &Graph,
    ids: &[Id],
    candidates: &[Candidate<'_>],
    chosen: &[Option<usize>],
    roots: Vec<usize>,
) -> Option<Extracted> {
    let (_, needed) = needs(candidates, chosen, &roots)?;
    let position: BTreeMap<usize, usize> = needed.iter().enumerate().map(|(i, &class)| (class, i)).collect();
    let mut out = Extracted { choices: Vec::new(), nodes: Vec::new(), roots: Vec::new() };
    for &class in &needed {
        let candidate = &candidates[chosen[class]?];
        let op = candidate.node.op()?;
        let args = candidate.args.iter().map(|arg| position[arg]).collect();
        out.choices.push(Choice { op, args, attrs: attrs_of(graph, op, candidate.node) });
        out.nodes.push((ids[class], candidate.node.clone()));
    }
    out.roots = roots.iter().map(|root| position[root]).collect();
    Some(out)
}
