//! Profiles: how often the experts of each routing plan were chosen, as a file that a run writes and
//! a compilation reads. Owns the format, version 1, which `docs/profiles.md` describes, and every
//! check of it.
//!
//! A profile says nothing of speed or of machines, and never changes what a program computes.

mod drops;
mod judge;
mod names;
mod place;
mod record;

use std::collections::{BTreeMap, BTreeSet};

use moec_ir::Module;
use moec_opt::Shares;
use serde::{Deserialize, Serialize};

pub use drops::{Drops, PlanRouting, Routing};
pub use judge::Judgement;
pub use names::plan_names;
pub use place::{Decision, Placement, PlanPlacement};
pub(crate) use place::{Evidence, place};
pub use record::{Record, Tallies, Tally};
pub(crate) use record::{of_call, record};

/// The version of the format that is written, and the only one that is read.
const VERSION: u64 = 1;

/// More routing plans than any program has.
const MOST_PLANS: usize = 1 << 12;

/// More experts than any plan has.
const MOST_EXPERTS: usize = 1 << 20;

/// Counts above this are not exact in `f64`, which costs are computed in.
const MOST_PAIRS: u64 = 1 << 53;

/// How often experts were chosen, plan by plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    moec_profile: u64,
    /// Where the counts come from, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Under which licence the counts may be used, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    plans: Vec<PlanProfile>,
}

/// How often the experts of one routing plan were chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanProfile {
    /// The plan's name: that of the weight nearest to the choice, with a number where several plans
    /// would have the same (see [`plan_names`]).
    pub name: String,
    /// Number of experts.
    pub experts: u64,
    /// Experts that each token chooses.
    pub slots: u64,
    /// Tokens seen, at least one.
    pub tokens: u64,
    /// For each expert, the tokens that chose it; `tokens * slots` in all.
    pub pairs: Vec<u64>,
}

/// A profile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The text is not that of a profile.
    #[error("not a profile: {0}")]
    Malformed(String),
    /// Another version of the format.
    #[error("a profile of version {found}; this moec reads version {VERSION}")]
    Version {
        /// The version.
        found: u64,
    },
    /// Counts that contradict themselves.
    #[error("plan `{plan}`: {what}")]
    Counts {
        /// The plan's name.
        plan: String,
        /// What is wrong.
        what: String,
    },
    /// A profile of another program.
    #[error("it has the plans {found}, and the program {expected}")]
    Unknown {
        /// The plans of the profile.
        found: String,
        /// The plans of the program.
        expected: String,
    },
    /// A profile of other sizes.
    #[error("plan `{plan}`: the profile has {found}, the program {expected}")]
    Mismatch {
        /// The plan's name.
        plan: String,
        /// What the profile says.
        found: String,
        /// What the program says.
        expected: String,
    },
}

/// The head of a profile, which tells a file of another version from a broken one.
#[derive(Deserialize)]
struct Head {
    moec_profile: Option<u64>,
}

impl Profile {
    /// The profile with these counts.
    pub fn new(plans: Vec<PlanProfile>) -> Result<Profile, ProfileError> {
        let profile = Profile { moec_profile: VERSION, source: String::new(), licence: String::new(), plans };
        profile.check()?;
        Ok(profile)
    }

    /// Reads the text of a profile and checks all of it.
    pub fn read(text: &str) -> Result<Profile, ProfileError> {
        let malformed = |error: serde_json::Error| ProfileError::Malformed(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        match head.moec_profile {
            Some(VERSION) => {}
            Some(found) => return Err(ProfileError::Version { found }),
            None => return Err(ProfileError::Malformed("it has no field `moec_profile`".to_owned())),
        }
        let profile: Profile = serde_json::from_str(text).map_err(malformed)?;
        profile.check()?;
        Ok(profile)
    }

    /// The text of the profile: one line a plan, so that files can be compared.
    pub fn text(&self) -> String {
        // Strings and numbers only, which always have a form in JSON.
        let json = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let mut head = format!("{{\n  \"moec_profile\": {VERSION},\n");
        for (name, value) in [("source", &self.source), ("licence", &self.licence)] {
            if !value.is_empty() {
                head += &format!("  \"{name}\": {},\n", json(value));
            }
        }
        let plans: Vec<String> = self
            .plans
            .iter()
            .map(|plan| format!("    {}", serde_json::to_string(plan).unwrap_or_default()))
            .collect();
        format!("{head}  \"plans\": [\n{}\n  ]\n}}\n", plans.join(",\n"))
    }

    /// The plans, in the order of the file.
    pub fn plans(&self) -> &[PlanProfile] {
        &self.plans
    }

    /// The counts of the plan `name`.
    pub fn plan(&self, name: &str) -> Option<&PlanProfile> {
        self.plans.iter().find(|plan| plan.name == name)
    }

    /// Adds what `other` saw. Plans that only one of them has are kept as they are.
    pub fn add(&mut self, other: &Profile) -> Result<(), ProfileError> {
        for plan in &other.plans {
            let Some(known) = self.plans.iter_mut().find(|known| known.name == plan.name) else {
                self.plans.push(plan.clone());
                continue;
            };
            known.expect(plan.experts, plan.slots)?;
            // No sum overflows: each is at most twice 2^53.
            known.tokens += plan.tokens;
            known.pairs.iter_mut().zip(&plan.pairs).for_each(|(sum, pairs)| *sum += pairs);
        }
        self.check()
    }

    /// Errs unless the profile speaks of a plan of the optimised program, and of none with other
    /// sizes.
    pub(crate) fn fits(&self, module: &Module) -> Result<(), ProfileError> {
        let plans = plan_names(module);
        let mut known = plans.is_empty();
        for (id, name) in &plans {
            let (Some(counts), Some(plan)) = (self.plan(name), module.node(*id).ty.plan()) else { continue };
            let size = |dim: &moec_ir::Dim| module.dims.value(dim).unwrap_or(0);
            counts.expect(size(&plan.experts), size(&plan.slots))?;
            known = true;
        }
        if known {
            return Ok(());
        }
        let quoted =
            |names: Vec<&String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(ProfileError::Unknown {
            found: quoted(self.plans.iter().map(|plan| &plan.name).collect()),
            expected: quoted(plans.iter().map(|(_, name)| name).collect()),
        })
    }

    /// As the cost model reads it, which knows plans by their number of experts: the counts of plans
    /// with as many are added up.
    pub(crate) fn shares(&self) -> Shares {
        let mut sums: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for plan in &self.plans {
            let sum = sums.entry(plan.experts).or_insert_with(|| vec![0.0; plan.pairs.len()]);
            sum.iter_mut().zip(&plan.pairs).for_each(|(sum, &pairs)| *sum += pairs as f64);
        }
        let mut shares = Shares::default();
        sums.values().for_each(|sum| shares.insert(sum));
        shares
    }

    fn check(&self) -> Result<(), ProfileError> {
        if self.plans.len() > MOST_PLANS {
            let what = format!("{} plans, more than {MOST_PLANS}", self.plans.len());
            return Err(ProfileError::Malformed(what));
        }
        let mut names = BTreeSet::new();
        for plan in &self.plans {
            let wrong = |what: String| Err(ProfileError::Counts { plan: plan.name.clone(), what });
            if !names.insert(&plan.name) {
                return wrong("it is there twice".to_owned());
            }
            if let Err(what) = plan.check() {
                return wrong(what);
            }
        }
        Ok(())
    }
}

impl PlanProfile {
    /// The part of the tokens that chose each expert.
    pub fn chances(&self) -> Vec<f64> {
        self.pairs.iter().map(|&pairs| pairs as f64 / self.tokens as f64).collect()
    }

    /// Errs unless the plan has these sizes.
    pub fn expect(&self, experts: u64, slots: u64) -> Result<(), ProfileError> {
        if (self.experts, self.slots) == (experts, slots) {
            return Ok(());
        }
        let sizes = |experts, slots| format!("{experts} experts, {slots} to a token");
        Err(ProfileError::Mismatch {
            plan: self.name.clone(),
            found: sizes(self.experts, self.slots),
            expected: sizes(experts, slots),
        })
    }

    fn check(&self) -> Result<(), String> {
        let PlanProfile { experts, slots, tokens, pairs, .. } = self;
        if pairs.len() > MOST_EXPERTS || pairs.len() as u64 != *experts {
            return Err(format!("counts for {} experts, and it says that there are {experts}", pairs.len()));
        }
        if *tokens == 0 {
            return Err("no tokens were seen".to_owned());
        }
        if slots > experts {
            return Err(format!("{slots} experts to a token, and there are {experts}"));
        }
        let wanted = tokens.checked_mul(*slots).filter(|&n| n <= MOST_PAIRS && *tokens <= MOST_PAIRS);
        let Some(wanted) = wanted else {
            return Err(format!("{tokens} tokens of {slots} experts each, more than 2^53 pairs"));
        };
        // A token chooses an expert once.
        if let Some(expert) = pairs.iter().position(|n| n > tokens) {
            return Err(format!("expert {expert} was chosen {} times by {tokens} tokens", pairs[expert]));
        }
        let sum = pairs.iter().fold(0u64, |sum, &n| sum.saturating_add(n));
        if sum != wanted {
            return Err(format!("{sum} pairs, and {tokens} tokens of {slots} experts each are {wanted}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
