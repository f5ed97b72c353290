//! The search for data on which two programs differ: many recipes at many sizes, in an order that
//! depends on the seed alone.

use moec_interp::generate::Rng;
use moec_ir::Sizes;
use moec_opt::{Joint, Numerics};

use super::minimise::{VISIBLE, minimise};
use super::probe::{Recipe, Recipes};
use super::sizes::Space;
use super::trial::{Apart, Data, Trial};
use super::{Counterexample, DiffOptions, Unknown, Verdict};
use crate::shrink::work;

/// Inputs tried at small sizes, and again with other numbers of experts, groups and the like.
const PROBES: usize = 240;

/// Sizes tried.
const SETTINGS: usize = 32;

/// Floating-point operations of these runs together.
const WORK: f64 = 1e8;

/// Seeds tried on programs that are proved equal.
const PLAIN: u64 = 2;

/// The programs and what may be tried on them.
pub(super) struct Search<'a> {
    pub(super) joint: &'a Joint,
    pub(super) space: Space<'a>,
    pub(super) recipes: Recipes,
    options: &'a DiffOptions,
}

impl<'a> Search<'a> {
    pub(super) fn new(joint: &'a Joint, options: &'a DiffOptions) -> Search<'a> {
        let (space, recipes) = (Space::new(joint), Recipes::new(&joint.module));
        Search { joint, space, recipes, options }
    }

    pub(super) fn trial(&self, sizes: &Sizes) -> Option<Trial<'a>> {
        let module = self.space.at(sizes)?;
        Some(Trial { joint: self.joint, module, sizes: sizes.clone() })
    }

    /// A difference on plain random data.
    pub(super) fn plain(&self) -> Option<Counterexample> {
        let trial = self.trial(&self.space.start()?)?;
        (0..PLAIN).find_map(|seed| {
            let mut random = Rng::new(self.options.seed.wrapping_add(seed));
            let data = self.recipes.recipe(0, &mut random).data(&trial.module, &mut random)?;
            let apart = trial.believed(&data)?;
            trial.example(&data, apart)
        })
    }

    /// Tries data until one shows a difference.
    pub(super) fn run(&self, open: Vec<String>, limit: Option<&'static str>) -> Verdict {
        let mut unknown = Unknown { open, limit, probes: 0, undefined: None };
        let Some(start) = self.space.start() else { return Verdict::Unknown(unknown) };
        let mut random = Rng::new(self.options.seed);
        for edges in [false, true] {
            let mut settings = vec![start.clone()];
            for _ in 0..SETTINGS {
                let sizes = self.space.random(&start, edges, &mut random);
                if !settings.contains(&sizes) {
                    settings.push(sizes);
                }
            }
            let trials: Vec<Trial<'_>> = settings.iter().filter_map(|sizes| self.trial(sizes)).collect();
            let found = self.tried(&trials, &mut random, &mut unknown);
            if let Some(found) = found {
                return Verdict::Different(Box::new(found));
            }
        }
        match unknown.undefined {
            Some(example) if self.options.numerics == Numerics::Bit => Verdict::Different(example),
            _ => Verdict::Unknown(unknown),
        }
    }

    /// The first difference at these sizes that is easy to see, or the largest.
    fn tried(&self, trials: &[Trial<'a>], random: &mut Rng, unknown: &mut Unknown) -> Option<Counterexample> {
        let mut left = WORK;
        let mut largest: Option<(&Trial<'a>, Recipe, Data, Apart)> = None;
        for probe in (0..PROBES).take_while(|_| !trials.is_empty()) {
            let trial = &trials[probe % trials.len()];
            // Each recipe meets all sizes: the two counts have no common factor for long.
            let recipe = self.recipes.recipe(probe + probe / trials.len(), random);
            left -= work(&trial.module, &Sizes::new());
            if left < 0.0 {
                break;
            }
            unknown.probes += 1;
            let Some(data) = recipe.data(&trial.module, random) else { continue };
            if let Some(apart) = trial.believed(&data) {
                if largest.as_ref().is_none_or(|(.., most)| most.relative < apart.relative) {
                    largest = Some((trial, recipe, data, apart));
                }
                if apart.relative >= VISIBLE {
                    break;
                }
            } else if unknown.undefined.is_none()
                && let Some(apart) = trial.undefined(&data)
            {
                let example = minimise(self, trial, &recipe, data, apart, Trial::undefined);
                unknown.undefined = example.map(Box::new);
            }
        }
        let (trial, recipe, data, apart) = largest?;
        minimise(self, trial, &recipe, data, apart, Trial::believed)
    }
}

/// Which differences count.
pub(super) type Judge<'a> = fn(&Trial<'a>, &Data) -> Option<Apart>;
