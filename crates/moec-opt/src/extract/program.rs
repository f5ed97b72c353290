//! A whole program, and better ones beside it: choices are tried in what all of it costs. Among equally
//! good programs the order of keys decides.

use std::collections::{BTreeMap, BTreeSet};

use moec_ir::Op;

use super::{Candidate, Other};
use crate::order::Key;

/// How often all choices are gone through for equally good ones: keys depend on keys, and need not come
/// to rest.
const ROUNDS: usize = 8;

/// A choice for every class, and what the roots need under these choices.
pub(super) struct Program<'a> {
    pub(super) candidates: &'a [Candidate<'a>],
    pub(super) chosen: Vec<Option<usize>>,
    /// How many needed classes and roots use each class.
    pub(super) uses: Vec<usize>,
    total: u64,
    count: usize,
}

impl<'a> Program<'a> {
    /// The program that computes `roots`; none if a class that they need has no choice.
    pub(super) fn new(
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
    pub(super) fn others(&mut self) -> Vec<Other> {
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
    /// same value; until nothing helps. Then each other combine is, with what it needs chosen anew around
    /// it: plan, weights and rows may cost less together, and none of them alone.
    pub(super) fn refine(&mut self) {
        let of_class = self.of_class();
        self.improve(&of_class, None);
        for class in 0..self.chosen.len() {
            for &other in
                of_class[class].iter().filter(|&&at| self.candidates[at].node.op() == Some(Op::Combine))
            {
                let Some(kept) = self.chosen[class].filter(|&kept| kept != other) else { continue };
                if self.uses[class] == 0 {
                    continue;
                }
                let before = (self.chosen.clone(), self.uses.clone(), self.rank());
                let complete = self.switch(kept, other) && !self.has_cycle_at(class);
                if complete {
                    self.improve(&of_class, Some(class));
                }
                if !complete || self.rank() >= before.2 {
                    (self.total, self.count) = before.2;
                    (self.chosen, self.uses) = (before.0, before.1);
                }
            }
        }
    }

    /// Among programs that cost as much, takes the one whose keys come first, operands before what uses
    /// them.
    pub(super) fn settle(&mut self) {
        let of_class = self.of_class();
        for _ in 0..ROUNDS {
            let mut keys = self.keys();
            let mut changed = false;
            for class in self.operands_first() {
                keys[class] = self.chosen[class].and_then(|at| self.key(at, &keys));
                for &other in &of_class[class] {
                    let Some(kept) = self.chosen[class].filter(|&kept| kept != other) else { continue };
                    let Some(key) = self.key(other, &keys) else { continue };
                    if self.uses[class] == 0 || keys[class].is_none_or(|known| known <= key) {
                        continue;
                    }
                    let before = self.rank();
                    let complete = self.switch(kept, other);
                    if complete && self.rank() == before && !self.has_cycle_at(class) {
                        keys[class] = Some(key);
                        changed = true;
                    } else {
                        self.switch(other, kept);
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The key of a candidate on operands with these keys.
    fn key(&self, at: usize, keys: &[Option<Key>]) -> Option<Key> {
        let candidate = &self.candidates[at];
        let args: Option<Vec<Key>> = candidate.args.iter().map(|&arg| keys[arg]).collect();
        Some(candidate.own.key(args?.into_iter()))
    }

    /// The key of every class with these choices; none where they lead in a circle.
    fn keys(&self) -> Vec<Option<Key>> {
        let mut keys = vec![None; self.chosen.len()];
        for class in self.below(0..self.chosen.len()) {
            keys[class] = self.chosen[class].and_then(|at| self.key(at, &keys));
        }
        keys
    }

    /// The classes that are needed, each after what it needs.
    fn operands_first(&self) -> Vec<usize> {
        self.below((0..self.chosen.len()).filter(|&class| self.uses[class] > 0))
    }

    /// `classes` and all that they need, operands first.
    fn below(&self, classes: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut sorted = Vec::new();
        let mut seen = vec![false; self.chosen.len()];
        let mut stack: Vec<(usize, bool)> = Vec::new();
        for class in classes {
            stack.push((class, false));
            while let Some((class, left)) = stack.pop() {
                if left {
                    sorted.push(class);
                } else if !std::mem::replace(&mut seen[class], true) {
                    stack.push((class, true));
                    let args = self.chosen[class].map_or(&[][..], |at| &self.candidates[at].args);
                    stack.extend(args.iter().map(|&arg| (arg, false)));
                }
            }
        }
        sorted
    }

    /// Makes the program cheaper until nothing helps, with the choice of class `fixed` as it is.
    fn improve(&mut self, of_class: &[Vec<usize>], fixed: Option<usize>) {
        while self.refine_each(of_class, fixed) | self.refine_shared(fixed) {}
    }

    fn refine_each(&mut self, of_class: &[Vec<usize>], fixed: Option<usize>) -> bool {
        let mut improved = false;
        for (class, alternatives) in of_class.iter().enumerate().filter(|(class, _)| Some(*class) != fixed) {
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
    fn refine_shared(&mut self, fixed: Option<usize>) -> bool {
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
                    Some(kept) if self.uses[class] > 0 && Some(class) != fixed && !uses_it(kept) => {
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
