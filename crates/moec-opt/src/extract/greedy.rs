//! The first choices: class by class, each with the set of classes that it needs and their costs, so that
//! a value that is used twice is paid once. Choices improve until none does. What other classes need
//! is not looked at here; see `program`.

use std::collections::BTreeSet;

use super::Candidate;
use crate::order::Key;

/// The choice of a class and everything it needs.
#[derive(Debug, Clone)]
pub(super) struct CostSet {
    total: u64,
    pub(super) key: Key,
    /// The candidate.
    pub(super) node: usize,
    /// The cost of each class that is needed, this one included, sorted by class.
    needed: Vec<(usize, u64)>,
}

impl CostSet {
    fn rank(&self) -> (u64, usize, Key) {
        (self.total, self.needed.len(), self.key)
    }
}

/// The greedy choices. Candidates are tried in order of what they cost at least, so that a class is
/// mostly settled before what uses it is looked at.
pub(super) fn choose(candidates: &[Candidate<'_>], parents: &[Vec<usize>]) -> Vec<Option<CostSet>> {
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
    let key = candidate.own.key(args.iter().map(|arg| arg.key));
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
