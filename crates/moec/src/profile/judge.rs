//! Whether a hot set that was learnt on one text is worth its memory on another. It is held against
//! memory of the same size that nobody has filled on purpose: the page cache of the system, which is
//! what weights that all stay in their files get.
//!
//! Two things must hold, on the held-out profile:
//!
//! - a call costs less, by more than the cost model can tell apart;
//! - it is not luck: a set of as many experts drawn blindly would do as well in one case of
//!   [`LUCK`] at most.

use std::fmt;

use moec_opt::SLACK;
use serde::Serialize;

use super::PlanProfile;

/// The usual bar for calling a difference real.
const LUCK: f64 = 0.01;

/// The figures of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Tokens of a call.
    pub tokens: u64,
    /// The part of all choices that fall on the hot set, in the profile that it was learnt from.
    pub learnt: f64,
    /// The same in the profile that it is judged by.
    pub held_out: f64,
    /// The part of the experts that the hot set is: what it would cover without skill.
    pub share: f64,
    /// Experts that a call is expected to read from files with the hot set.
    pub cold: f64,
    /// Experts that a call is expected to read from files with a cache of the same size.
    pub uncached: f64,
    /// The part of the experts that a call needs which such a cache misses.
    pub missed: f64,
    /// How likely a set of this size, drawn blindly, leaves as few experts to read.
    pub luck: f64,
    /// Seconds of a call with the hot set, by the cost model.
    pub seconds_hot: f64,
    /// Seconds of a call with all experts in files and a cache of the same size.
    pub seconds_cache: f64,
}

impl Judgement {
    /// The figures of the hot set `hot` but for the seconds, which depend on the program.
    pub(super) fn of(hot: &[u64], learn: &PlanProfile, judge: &PlanProfile, tokens: u64) -> Judgement {
        let covered = |profile: &PlanProfile| {
            let pairs: u64 = hot.iter().map(|&expert| profile.pairs[expert as usize]).sum();
            pairs as f64 / profile.pairs.iter().sum::<u64>().max(1) as f64
        };
        let needed: Vec<f64> =
            judge.chances().into_iter().map(|p| 1.0 - (1.0 - p).powf(tokens as f64)).collect();
        let all: f64 = needed.iter().sum();
        let of_hot: f64 = hot.iter().map(|&expert| needed[expert as usize]).sum();
        let uncached = cache_misses(&needed, hot.len());
        Judgement {
            tokens,
            learnt: covered(learn),
            held_out: covered(judge),
            share: hot.len() as f64 / judge.experts.max(1) as f64,
            cold: (all - of_hot).max(0.0),
            uncached,
            missed: if all > 0.0 { uncached / all } else { 0.0 },
            luck: luck(&needed, hot.len(), of_hot),
            seconds_hot: 0.0,
            seconds_cache: 0.0,
        }
    }

    /// Whether the hot set is kept.
    pub(super) fn confirms(&self) -> bool {
        self.seconds_hot * SLACK < self.seconds_cache && self.luck < LUCK
    }
}

/// How many experts of a call are expected to be missing from a cache with room for `room` of them,
/// where expert `e` is needed with chance `needed[e]`, each call for itself: with an expert thrown
/// out at random, or with the one that was not used for longest (Che, Tung and Wang, Hierarchical Web
/// caching systems, 2002: it stays for a time t that fills the cache), whichever is less.
fn cache_misses(needed: &[f64], room: usize) -> f64 {
    let blind = needed.iter().sum::<f64>() * (1.0 - room as f64 / needed.len().max(1) as f64);
    let held = |t: f64| needed.iter().map(|p| 1.0 - (1.0 - p).powf(t)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1e9);
    if held(high) <= room as f64 {
        return 0.0;
    }
    for _ in 0..128 {
        let middle = (low + high) / 2.0;
        if held(middle) < room as f64 { low = middle } else { high = middle }
    }
    let least_recent = needed.iter().map(|p| p * (1.0 - p).powf(low)).sum::<f64>();
    blind.min(least_recent)
}

/// How likely a set of `size` experts, drawn blindly, is needed at least as much as `of_set`. The sum
/// of so many drawn is taken for normal, whose tail is no more than half of `exp(-z^2 / 2)`; and no
/// set is rarer than one among all of its size.
fn luck(needed: &[f64], size: usize, of_set: f64) -> f64 {
    let (all, drawn) = (needed.len() as f64, size as f64);
    let mean = needed.iter().sum::<f64>() / all.max(1.0);
    let spread = needed.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / all.max(1.0);
    let deviation = (drawn * spread * (all - drawn) / (all - 1.0).max(1.0)).sqrt();
    let above = of_set - drawn * mean;
    if above <= 0.0 || deviation <= 0.0 {
        return 1.0;
    }
    let tail = 0.5 * (-0.5 * (above / deviation).powi(2)).exp();
    let sets: f64 = (0..size).map(|i| (all - i as f64) / (i as f64 + 1.0)).product();
    tail.max(1.0 / sets)
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [learnt, held_out, share] = [self.learnt, self.held_out, self.share].map(|part| part * 100.0);
        let [hot, cache] = [self.seconds_hot, self.seconds_cache].map(|seconds| seconds * 1e6);
        write!(
            f,
            "they take {learnt:.1} % of the choices where they were learnt and {held_out:.1} % where they are \
             judged, {share:.1} % without skill; a call of {} tokens reads {:.2} experts and takes {hot:.0} us, \
             with a cache of the same size {:.2} and {cache:.0} us; a set drawn blindly does as well in {:.1} % \
             of cases, and the limit is {:.0} %",
            self.tokens,
            self.cold,
            self.uncached,
            self.luck * 100.0,
            LUCK * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{cache_misses, luck};

    #[test]
    fn a_cache_keeps_what_is_needed_often() {
        // Balanced experts: each is as likely to be there as any other.
        let balanced = [0.25; 8];
        assert!((cache_misses(&balanced, 2) - 1.5).abs() < 1e-6, "{}", cache_misses(&balanced, 2));
        // One that is always needed stays, and the others share what is left.
        let skewed = [1.0, 0.1, 0.1, 0.1, 0.1];
        let misses = cache_misses(&skewed, 2);
        assert!((0.29..0.31).contains(&misses), "{misses}");
        // Calls that need everything come back to what was thrown out.
        assert!((cache_misses(&[1.0; 8], 2) - 6.0).abs() < 1e-6);
        assert_eq!(cache_misses(&[0.5, 0.0, 0.0], 1), 0.0);
    }

    #[test]
    fn few_experts_cannot_show_skill() {
        let needed = [0.9, 0.8, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1];
        // The best of 28 pairs.
        assert!((luck(&needed, 2, 1.7) - 1.0 / 28.0).abs() < 0.01, "{}", luck(&needed, 2, 1.7));
        let many: Vec<f64> = (0..64).map(|e| if e < 16 { 0.4 } else { 0.03 }).collect();
        assert!(luck(&many, 16, 6.4) < 1e-9);
        assert!(luck(&many, 16, 1.6) > 0.4);
        assert_eq!(luck(&many, 16, 0.5), 1.0);
    }
}
