//! Programs for different numbers of tokens: which serves which, and what all of them must have in common.
//!
//! Weights lie where they lie for every number of tokens, and what is counted is one list of outputs. A
//! program that would need other weights in memory than the one that placement was decided for, or would count
//! something else than the usual one, is not used; that one serves in its place.

use moec_ir::{Module, Type};

use crate::compile::{Optimised, Options, numbers, opt_options};
use crate::profile::{Evidence, Placement, Record, Tallies, place, record};
use crate::{CompileError, Stage};

/// Programs, each with the smallest number of tokens that it serves, ascending; the first from 0.
pub(crate) type Programs = Vec<(u64, Module)>;

/// Numbers of tokens that programs are chosen for, unless the caller names one.
pub(crate) const TABLE: [u64; 7] = [1, 4, 16, 64, 256, 1024, 4096];

/// The number of the program that serves so many tokens.
fn serving(programs: &[(u64, Module)], tokens: u64) -> usize {
    programs.partition_point(|(from, _)| *from <= tokens).saturating_sub(1)
}

/// Puts into the report which program serves which number of tokens; the number of the one that serves the
/// usual.
pub(crate) fn serve(programs: &[(u64, Module)], options: &Options, report: &mut moec_opt::Report) -> usize {
    for choice in &mut report.choices {
        choice.variant = serving(programs, choice.tokens);
    }
    serving(programs, opt_options(options).tokens)
}

/// The programs in a form that not all have; number `model`, which has it, serves in the place of those that
/// have not.
fn alike(programs: &[(u64, Module)], formed: Vec<Option<Module>>, model: usize) -> Programs {
    let standard = formed.get(model).cloned().flatten();
    let mut served: Programs = Vec::new();
    for ((from, _), module) in programs.iter().zip(formed) {
        let new = |module: &Module| served.last().is_none_or(|(_, last)| last != module);
        if let Some(module) = module.or_else(|| standard.clone()).filter(new) {
            served.push((*from, module));
        }
    }
    served
}

impl Optimised {
    /// The programs with numbers for all sizes that are known now, placed in the memory that there is.
    pub(crate) fn placed(&self, options: &Options) -> Result<(Programs, Option<Placement>), CompileError> {
        let programs = self.programs.iter();
        let programs = programs.map(|(from, module)| Ok((*from, numbers(module, Stage::Optimise)?)));
        let programs = programs.collect::<Result<Programs, CompileError>>()?;
        let Some(budget) = options.memory_budget else { return Ok((programs, None)) };
        let internal = |error| CompileError::internal(Stage::Optimise, error);
        let (learn, judge) = (options.profile.as_ref(), options.holdout.as_ref());
        let (tokens, target) = (options.call_tokens.or(options.tokens).unwrap_or(1), &options.target);
        let evidence = Evidence { budget, learn, judge, tokens, target };
        let first = serving(&programs, tokens);
        if let Some(judge) = judge {
            judge.fits(&programs[first].1)?;
        }
        // The program for these calls decides, unless its weights cannot stay in files, and another's can.
        let mut refused = None;
        for decisive in std::iter::once(first).chain((0..programs.len()).filter(|at| *at != first)) {
            let module = &programs[decisive].1;
            match place(module, &evidence).map_err(internal)? {
                Ok(None) => return Ok((programs, None)),
                Ok(Some(placement)) => {
                    let placed = programs.iter().map(|(_, other)| placement.apply(other, module));
                    let placed = placed.collect::<Result<_, _>>().map_err(internal)?;
                    return Ok((alike(&programs, placed, decisive), Some(placement)));
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Err(CompileError::Options(refused.unwrap_or_default()))
    }
}

/// Programs that count the same.
pub(crate) struct Counting {
    /// As they are without what counts.
    pub(crate) programs: Programs,
    /// With it.
    pub(crate) counting: Programs,
    pub(crate) tallies: Tallies,
}

/// The programs that count the same as the usual one.
pub(crate) fn counting(programs: Programs, usual: usize, what: Record) -> Result<Counting, CompileError> {
    let counted = programs.iter().map(|(_, module)| record(module.clone(), what));
    let counted = counted.collect::<Result<Vec<(Module, Tallies)>, _>>();
    let counted = counted.map_err(|error| CompileError::internal(Stage::Optimise, error))?;
    let (model, tallies) = &counted[usual];
    let same: Vec<bool> = (counted.iter())
        .map(|(module, own)| own == tallies && interface(module) == interface(model))
        .collect();
    let of = |module: &Module, same: &bool| same.then(|| module.clone());
    let with = counted.iter().zip(&same).map(|((module, _), same)| of(module, same)).collect();
    let without = programs.iter().zip(&same).map(|((_, module), same)| of(module, same)).collect();
    Ok(Counting {
        counting: alike(&programs, with, usual),
        programs: alike(&programs, without, usual),
        tallies: tallies.clone(),
    })
}

/// Names and types of the outputs.
fn interface(module: &Module) -> Vec<(&str, &Type)> {
    module.outputs.iter().map(|output| (&*output.name, &module.node(output.value).ty)).collect()
}
