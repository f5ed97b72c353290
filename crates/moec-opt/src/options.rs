//! What the caller chooses: numerics, target, limits.

use std::collections::BTreeMap;

use crate::target::Target;

/// How far the bits of a result may move. Each class contains those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numerics {
    /// Identical bits.
    Bit,
    /// Identical for finite data: `0 * y` may vanish, and so may the sign of a zero.
    Finite,
    /// Sums and products may be taken in another order.
    Reassociate,
    /// Anything that was asked for by name.
    Lossy,
}

impl Numerics {
    /// Every class, from the strictest on.
    pub const ALL: [Numerics; 4] = [Numerics::Bit, Numerics::Finite, Numerics::Reassociate, Numerics::Lossy];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Numerics::Bit => "bit",
            Numerics::Finite => "finite",
            Numerics::Reassociate => "reassociate",
            Numerics::Lossy => "lossy",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Numerics> {
        Numerics::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// Where saturation stops. Never a time: the result is the same on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most e-nodes.
    pub nodes: usize,
    /// The most rounds.
    pub iterations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 50_000, iterations: 40 }
    }
}

/// How the choices of a router are spread over its experts: for a number of experts, the share of
/// each in all choices. Uniform where nothing is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shares(BTreeMap<u64, Vec<f64>>);

impl Shares {
    /// Routers over `shares.len()` experts choose them in these proportions, which need not add up
    /// to one. Nothing changes where a share is negative or not finite, or where all are zero.
    pub fn insert(&mut self, shares: &[f64]) {
        let total: f64 = shares.iter().sum();
        if total.is_finite() && total > 0.0 && shares.iter().all(|&share| share >= 0.0) {
            self.0.insert(shares.len() as u64, shares.iter().map(|share| share / total).collect());
        }
    }

    /// The part of the experts that at least one of `tokens` tokens is expected to choose, where
    /// each chooses `slots` of them: the mean of `1 - (1 - p_e)^(tokens)` with `p_e` the chance
    /// that a token chooses expert `e`.
    pub(crate) fn touched(&self, experts: f64, tokens: f64, slots: f64) -> f64 {
        self.touched_without(&[], experts, tokens, slots)
    }

    /// The same, where the experts in `left_out` do not count.
    pub(crate) fn touched_without(&self, left_out: &[i64], experts: f64, tokens: f64, slots: f64) -> f64 {
        let chosen = |share: f64| 1.0 - (1.0 - (share * slots).min(1.0)).powf(tokens);
        match self.0.get(&(experts as u64)) {
            Some(shares) => {
                let counted = (0..).zip(shares).filter(|(expert, _)| !left_out.contains(expert));
                counted.map(|(_, &share)| chosen(share)).sum::<f64>() / experts
            }
            None => chosen(1.0 / experts.max(1.0)) * (1.0 - left_out.len() as f64 / experts.max(1.0)),
        }
    }
}

/// How to optimise.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Rules above this class are off.
    pub numerics: Numerics,
    /// The number that costs assume for every size that is known only at run time.
    pub tokens: u64,
    /// Numbers of tokens to choose a program for, ascending. If there are any, and the program has
    /// one size that is known at run time, the result may hold several programs, each for a range.
    pub table: Vec<u64>,
    /// Programs for different numbers of tokens differ by rules up to this class only: how far the
    /// bits of a token may depend on the size of its batch.
    pub batch: Numerics,
    /// Whether to report what was considered and not chosen, which takes time.
    pub alternatives: bool,
    /// The machine that costs assume.
    pub target: Target,
    /// How the choices of experts are spread.
    pub shares: Shares,
    /// Of the weights that products leave in their files, the part of what a call reads that is
    /// expected to be in memory all the same.
    pub mapped_in_memory: f64,
    /// Where saturation stops.
    pub limits: Limits,
    /// Names of rules that are off.
    pub ablate: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            numerics: Numerics::Reassociate,
            tokens: 64,
            table: Vec::new(),
            batch: Numerics::Bit,
            alternatives: false,
            target: Target::default(),
            shares: Shares::default(),
            mapped_in_memory: 0.0,
            limits: Limits::default(),
            ablate: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skewed_choices_touch_fewer_experts() {
        let uniform = Shares::default();
        assert_eq!(uniform.touched(8.0, 1.0, 2.0), 0.25);
        assert_eq!(uniform.touched(8.0, 0.0, 2.0), 0.0);
        let mut shares = Shares::default();
        shares.insert(&[5.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        // Two of eight slots for each token; the first expert cannot be chosen twice.
        let hit = |share: f64| 1.0 - (1.0 - share).powi(3);
        assert_eq!(shares.touched(8.0, 3.0, 2.0), (1.0 + 3.0 * hit(0.25)) / 8.0);
        assert!(shares.touched(8.0, 3.0, 2.0) < uniform.touched(8.0, 3.0, 2.0));
        assert_eq!(shares.touched(4.0, 3.0, 2.0), uniform.touched(4.0, 3.0, 2.0));
        for wrong in [&[1.0, f64::NAN][..], &[1.0, -1.0], &[0.0, 0.0], &[f64::INFINITY, 1.0]] {
            let mut shares = Shares::default();
            shares.insert(wrong);
            assert_eq!(shares, uniform);
        }
    }
}
