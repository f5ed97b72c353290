//! What the optimiser did to a program, for people and tools. Stops before planning, so that programs
//! for any machine can be explained.

use moec_diag::SourceFile;
use moec_ir::Module;
use moec_opt::{Choice, EGraph, Report};

use crate::compile::{Checked, Options, Watch, front, numbers, opt_options, optimise};
use crate::validate::Validation;
use crate::{CompileError, Placement, Stage};

/// A program before and after, and the way from one to the other.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What the front end made of the source.
    pub checked: Checked,
    /// The source's IR, with numbers for all sizes known at compile time.
    pub before: Module,
    /// The program for one number of tokens, likewise.
    pub after: Module,
    /// That number.
    pub tokens: u64,
    /// What the optimiser did for it, and what it did not choose.
    pub report: Report,
    /// What translation validation found.
    pub validation: Validation,
    /// Which experts stay in their files, if a budget of memory asks for it.
    pub placement: Option<Placement>,
    /// The program that each number of tokens would get.
    pub choices: Vec<Choice>,
    /// Everything that was found equal.
    pub egraph: EGraph,
}

/// Optimises a source and keeps the account of it: for the number of tokens in `options`, or the usual
/// one.
pub fn explain(
    source: &SourceFile,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Explanation, CompileError> {
    let checked = front(source, options, watch)?;
    let fault = |error| CompileError::internal(Stage::Optimise, error);
    let any = opt_options(&Options { tokens: None, alternatives: false, ..options.clone() });
    let tokens = options.tokens.unwrap_or(any.tokens);
    let one = Options { tokens: Some(tokens), alternatives: true, ..options.clone() };
    let optimised = optimise(&checked.ir, &one, watch)?;
    let (_, placement) = optimised.placed(&one)?;
    let choices = moec_opt::optimize(&checked.ir, &any).map_err(fault)?.report.choices;
    let egraph = moec_opt::egraph(&checked.ir, &opt_options(&one)).map_err(fault)?;
    Ok(Explanation {
        before: numbers(&checked.ir, Stage::Lower)?,
        after: numbers(&optimised.programs[optimised.usual].1, Stage::Optimise)?,
        tokens,
        report: optimised.report,
        validation: optimised.validation,
        placement,
        choices,
        egraph,
        checked,
    })
}
