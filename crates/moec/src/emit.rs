//! Stages as text.

use moec_codegen::{CodeKind, Listing};
use moec_diag::SourceFile;
use moec_ir::Module;

use crate::compile::{Options, Watch, front, numbers, opt_options, optimise, plan, target};
use crate::{CompileError, Emit, Stage};

/// The forms of a program that were asked for, in the order of compilation. IR is printed with numbers
/// for all sizes known at compile time. Machine code may be for a machine other than this one.
pub fn emit(
    source: &SourceFile,
    options: &Options,
    forms: &[Emit],
    watch: Watch<'_>,
) -> Result<Vec<(Emit, String)>, CompileError> {
    let mut forms = forms.to_vec();
    forms.sort_unstable();
    forms.dedup();
    let checked = front(source, options, watch)?;
    let mut texts = Vec::new();
    let last = forms.last().copied();
    for form in forms.iter().copied().filter(|&form| form < Emit::Opt) {
        let text = match form {
            Emit::Egraph => moec_opt::egraph(&checked.ir, &opt_options(options))
                .map_err(|error| CompileError::internal(Stage::Optimise, error))?
                .to_string(),
            _ => moec_ir::print(&numbers(&checked.ir, Stage::Lower)?),
        };
        texts.push((form, text));
    }
    if last < Some(Emit::Opt) {
        return Ok(texts);
    }
    let optimised = optimise(&checked.ir, options, watch)?;
    let faults = crate::faults(&optimised.report, &optimised.validation);
    let faults: String = faults.iter().map(|fault| format!("; a bug in moec: {fault}\n")).collect();
    let (programs, _) = optimised.placed(options)?;
    if forms.contains(&Emit::Opt) {
        let text = |(from, module): &(u64, Module)| match programs.len() {
            1 => moec_ir::print(module),
            _ => format!("; from {from} tokens\n{}", moec_ir::print(module)),
        };
        texts.push((Emit::Opt, faults + &programs.iter().map(text).collect::<Vec<_>>().join("\n")));
    }
    if last < Some(Emit::Plan) {
        return Ok(texts);
    }
    let target = target(options, CodeKind::Object)?;
    let plan = plan(&programs, &target)?;
    watch(Stage::Plan);
    if forms.contains(&Emit::Plan) {
        texts.push((Emit::Plan, moec_plan::print(&plan)));
    }
    if last < Some(Emit::Clif) {
        return Ok(texts);
    }
    let (_, listings) = moec_codegen::compile_object(&plan, &target, true)
        .map_err(|error| CompileError::internal(Stage::Generate, error))?;
    watch(Stage::Generate);
    for form in [Emit::Clif, Emit::Asm].into_iter().filter(|form| forms.contains(form)) {
        let text = |l: &Listing| if form == Emit::Clif { l.clif.clone() } else { l.assembly.clone() };
        let functions: Vec<String> =
            listings.iter().map(|l| format!("; {}\n{}", l.name, text(l).trim_end())).collect();
        texts.push((form, functions.join("\n\n") + "\n"));
    }
    Ok(texts)
}
