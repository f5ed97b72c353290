//! Extraction: the cheapest program in the e-graph, where a value that is used twice is paid once.
//! Greedy over cost sets: each class keeps the set of classes that its choice needs with their
//! costs, and choices improve until none does. Ties go by number of operations and then by
//! structure, so that equal programs come out equal whatever e-graph they were found in.

use std::collections::{BTreeMap, BTreeSet};

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
    text: String,
}

/// The cheapest program that computes `roots`, or nothing if a root has none; with what each single
/// choice would have cost otherwise, if `others` is set.
pub(crate) fn extract(graph: &Graph, roots: &[Id], model: &Model<'_>, others: bool) -> Option<Extracted> {
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
    let mut program = Program::new(&candidates, greedy, &roots)?;
    program.refine();
    let others = if others { program.others() } else { Vec::new() };
    Some(Extracted { others, ..collect(graph, &ids, &program, roots)? })
}

/// The greedy choices. Candidates are tried in order of what they cost at least, so that a class is
/// mostly settled before what uses it is looked at.
fn choose(candidates: &[Candidate<'_>], parents: &[Vec<usize>]) -> Vec<Option<CostSet>> {
    let mut best: Vec<Option<CostSet>> = vec![None; parents.len()];
    // The dearest operand and the operation itself; none while an operand has no choice.
    let at_least = |candidate: &Candidate<'_>, best: &[Option<CostSet>]| {
        let totals = candidate.args.iter().map(|&arg| best[arg].as_ref().map(|set| set.total));
        totals.collect::<Option<Vec<u64>>>().map(|t| t.into_iter().max().unwrap_or(0) + candidate.cost)
    };
    let mut queue: BTreeSet<(u64, usize)> = (candidates.iter().enumerate())
        .filter(|(_, candidate)| candidate.args.is_empty())
        .map(|(at, candidate)| (candidate.cost, at))
        .collect();
    while let Some((bound, at)) = queue.pop_first() {
        let class = candidates[at].class;
        if best[class].as_ref().is_some_and(|old| old.total < bound) {
            continue;
        }
        let Some(set) = cost_set(&candidates[at], at, &best) else { continue };
        if best[class].as_ref().is_none_or(|old| set.rank() < old.rank()) {
            best[class] = Some(set);
            for &parent in &parents[class] {
                queue.extend(at_least(&candidates[parent], &best).map(|bound| (bound, parent)));
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

/// A choice for every class, and what the roots need under these choices.
struct Program<'a> {
    candidates: &'a [Candidate<'a>],
    chosen: Vec<Option<usize>>,
    /// How many needed classes and roots use each class.
    uses: Vec<usize>,
    total: u64,
    count: usize,
}

impl<'a> Program<'a> {
    /// The program that computes `roots`; none if a class that they need has no choice.
    fn new(
        candidates: &'a [Candidate<'a>],
        chosen: Vec<Option<usize>>,
        roots: &[usize],
    ) -> Option<Program<'a>> {
        let uses = vec![0; chosen.len()];
        let mut program = Program { candidates, chosen, uses, total: 0, count: 0 };
        program.acquire(roots).then_some(program)
    }

    fn rank(&self) -> (u64, usize) {
        (self.total, self.count)
    }

    /// One more use of each of `classes`, and of what they need if they were not needed so far.
    /// False if a class has no choice.
    fn acquire(&mut self, classes: &[usize]) -> bool {
        let mut complete = true;
        let mut stack = classes.to_vec();
        while let Some(class) = stack.pop() {
            self.uses[class] += 1;
            if self.uses[class] > 1 {
                continue;
            }
            self.count += 1;
            match self.chosen[class] {
                Some(at) => {
                    self.total += self.candidates[at].cost;
                    stack.extend(&self.candidates[at].args);
                }
                None => complete = false,
            }
        }
        complete
    }

    /// Undoes [`Self::acquire`].
    fn release(&mut self, classes: &[usize]) {
        let mut stack = classes.to_vec();
        while let Some(class) = stack.pop() {
            self.uses[class] -= 1;
            if self.uses[class] > 0 {
                continue;
            }
            self.count -= 1;
            if let Some(at) = self.chosen[class] {
                self.total -= self.candidates[at].cost;
                stack.extend(&self.candidates[at].args);
            }
        }
    }

    /// Makes `to` the choice of its class, which is needed. False if what it needs is incomplete.
    fn switch(&mut self, from: usize, to: usize) -> bool {
        let class = self.candidates[to].class;
        // First the new operands, so that what both choices need stays.
        let complete = self.acquire(&self.candidates[to].args);
        self.chosen[class] = Some(to);
        self.total = self.total + self.candidates[to].cost - self.candidates[from].cost;
        self.release(&self.candidates[from].args);
        complete
    }

    /// Whether what `class` needs includes itself.
    fn has_cycle_at(&self, class: usize) -> bool {
        let mut seen = BTreeSet::new();
        let args = |at: usize| self.chosen[at].map_or(&[][..], |node| &self.candidates[node].args);
        let mut stack = args(class).to_vec();
        while let Some(next) = stack.pop() {
            if next == class {
                return true;
            }
            if seen.insert(next) {
                stack.extend(args(next));
            }
        }
        false
    }

    /// The candidates of each class.
    fn of_class(&self) -> Vec<Vec<usize>> {
        let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); self.chosen.len()];
        for (at, candidate) in self.candidates.iter().enumerate() {
            of_class[candidate.class].push(at);
        }
        of_class
    }

    /// Every alternative to a choice that is needed, and what the program costs with it.
    fn others(&mut self) -> Vec<Other> {
        let mut others = Vec::new();
        for (class, alternatives) in self.of_class().iter().enumerate() {
            let Some(kept) = self.chosen[class].filter(|_| self.uses[class] > 0) else { continue };
            for &other in alternatives.iter().filter(|&&other| other != kept) {
                let complete = self.switch(kept, other);
                if complete && !self.has_cycle_at(class) {
                    let [node, chosen] = [other, kept].map(|at| self.candidates[at].node.clone());
                    others.push(Other { node, chosen, total: self.total });
                }
                self.switch(other, kept);
            }
        }
        others
    }

    /// Greedy choices were made class by class, blind to what other classes pay for. Here each is
    /// tried against its alternatives in the whole program, alone and with others that could use the
    /// same value; until nothing helps.
    fn refine(&mut self) {
        let of_class = self.of_class();
        while self.refine_each(&of_class) | self.refine_shared() {}
    }

    fn refine_each(&mut self, of_class: &[Vec<usize>]) -> bool {
        let mut improved = false;
        for (class, alternatives) in of_class.iter().enumerate() {
            for &other in alternatives {
                let Some(kept) = self.chosen[class].filter(|&kept| kept != other) else { continue };
                if self.uses[class] == 0 {
                    continue;
                }
                let before = self.rank();
                let complete = self.switch(kept, other);
                if complete && self.rank() < before && !self.has_cycle_at(class) {
                    improved = true;
                } else {
                    self.switch(other, kept);
                }
            }
        }
        improved
    }

    /// A value that is dear for one user may pay for several: two slices of one product, or the
    /// indices and the mask of one route. Tries, for each class, all needed classes that could use
    /// it at once.
    fn refine_shared(&mut self) -> bool {
        let mut users: Vec<BTreeMap<usize, usize>> = vec![BTreeMap::new(); self.chosen.len()];
        for (at, candidate) in self.candidates.iter().enumerate() {
            for &arg in &candidate.args {
                users[arg].entry(candidate.class).or_insert(at);
            }
        }
        let mut improved = false;
        for (shared, users) in users.iter().enumerate().filter(|(_, users)| users.len() > 1) {
            let before = self.rank();
            let mut switched = Vec::new();
            let mut complete = true;
            for (&class, &other) in users {
                let uses_it = |kept: usize| self.candidates[kept].args.contains(&shared);
                match self.chosen[class] {
                    Some(kept) if self.uses[class] > 0 && !uses_it(kept) => {
                        complete &= self.switch(kept, other);
                        switched.push((class, other, kept));
                    }
                    _ => {}
                }
            }
            let cycle = |program: &Self| switched.iter().any(|&(class, ..)| program.has_cycle_at(class));
            if complete && self.rank() < before && !cycle(self) {
                improved = true;
                continue;
            }
            for (_, other, kept) in switched.into_iter().rev() {
                self.switch(other, kept);
            }
        }
        improved
    }
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
