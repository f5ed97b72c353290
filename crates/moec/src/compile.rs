//! From a source to an artifact.

use std::collections::BTreeMap;
use std::sync::Arc;

use moec_codegen::{CodeKind, Compiled};
use moec_diag::{Diagnostic, SourceFile, codes};
use moec_ir::{Module, Sizes};
use moec_lower::LoweredModel;
use moec_opt::{Numerics, Target};

use crate::artifact::Artifact;
use crate::profile::{Profile, Record};
use crate::table::{Counting, Programs, TABLE, counting, serve};
use crate::validate::{Validation, validate};
use crate::{CompileError, Stage};

/// What the caller chooses.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model to compile; may be left out when the source has one.
    pub model: Option<String>,
    /// Values for params and sized dims, by name, as on the command line: `layer` to `3`.
    pub set: BTreeMap<String, String>,
    /// How far rewrites may move the bits of a result.
    pub numerics: Numerics,
    /// The number of tokens that one program is chosen for; if none, each range of them may get its
    /// own, and sessions pick by the number they are called with.
    pub tokens: Option<u64>,
    /// Programs for different numbers of tokens differ by rewrites up to this class only: how far
    /// the bits of a token may depend on the size of its batch.
    pub batch: Numerics,
    /// The machine to compile for, and what costs assume of it. The default is the same on every
    /// machine: measured figures are used only where the caller gives them.
    pub target: Target,
    /// How often experts are chosen, which costs depend on. None: all equally often.
    pub profile: Option<Profile>,
    /// Profiles from other text than `profile`, by which its hot experts are judged.
    pub holdout: Option<Profile>,
    /// Bytes of memory that weights may take. Where all do not fit, experts stay in their files, all
    /// or all but the hot ones. None: all weights are loaded.
    pub memory_budget: Option<u64>,
    /// The number of tokens of the calls that a hot set is judged for. None: that of `tokens`, or one.
    pub call_tokens: Option<u64>,
    /// What the program counts when it runs.
    pub record: Record,
    /// Whether to report what was considered and not chosen, which takes time.
    pub alternatives: bool,
    /// Whether to optimise at all.
    pub optimise: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            model: None,
            set: BTreeMap::new(),
            numerics: Numerics::Reassociate,
            tokens: None,
            batch: Numerics::Bit,
            target: Target::default(),
            profile: None,
            holdout: None,
            memory_budget: None,
            call_tokens: None,
            record: Record::Nothing,
            alternatives: false,
            optimise: true,
        }
    }
}

/// A program that passed the front end.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The IR with its sized dims as symbols.
    pub ir: Module,
    /// Where things are declared, if the program came from `.moe`.
    pub model: Option<LoweredModel>,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Called when a stage has ended.
pub type Watch<'a> = &'a mut dyn FnMut(Stage);

/// Checks all of a `.moe` source and returns its models and warnings. An error carries every
/// diagnostic.
pub fn check(
    source: &SourceFile,
    options: &Options,
) -> Result<(Vec<LoweredModel>, Vec<Diagnostic>), CompileError> {
    let lowering = moec_lower::Options { set: options.set.clone(), model: options.model.clone() };
    let (models, diagnostics) = moec_lower::lower_text(&source.text, &lowering);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(CompileError::Source(diagnostics));
    }
    Ok((models, diagnostics))
}

/// The front end: a `.moe` source, or IR text if the name ends in `.moir`.
pub fn front(source: &SourceFile, options: &Options, watch: Watch<'_>) -> Result<Checked, CompileError> {
    if source.name.ends_with(".moir") {
        let ir = moec_ir::read(&source.text).map_err(CompileError::Ir)?;
        watch(Stage::Lower);
        return Ok(Checked { ir, model: None, warnings: Vec::new() });
    }
    let (mut models, warnings) = check(source, options)?;
    watch(Stage::Lower);
    match (models.pop(), models.is_empty()) {
        (Some(model), true) => Ok(Checked { ir: model.module.clone(), model: Some(model), warnings }),
        (None, _) => {
            Err(CompileError::Source(vec![Diagnostic::error(&codes::NO_OUTPUT, "the source has no model")]))
        }
        (Some(last), false) => {
            let names: Vec<&str> = models.iter().chain([&last]).map(|model| &*model.module.name).collect();
            let message =
                format!("the source has the models {}: choose one with `--model NAME`", names.join(", "));
            Err(CompileError::Options(message))
        }
    }
}

/// Compiles a source for this machine. `watch` is called at the end of each stage.
pub fn compile(source: &SourceFile, options: &Options, watch: Watch<'_>) -> Result<Artifact, CompileError> {
    let checked = front(source, options, watch)?;
    build(checked, options, watch)
}

/// The optimised forms of a program and what was done to reach them, after translation validation.
pub(crate) struct Optimised {
    /// The smallest number of tokens that each serves, and the program; the first from 0.
    pub(crate) programs: Programs,
    /// The one for the usual number of tokens.
    pub(crate) usual: usize,
    pub(crate) report: moec_opt::Report,
    pub(crate) validation: Validation,
}

pub(crate) fn opt_options(options: &Options) -> moec_opt::Options {
    let defaults = moec_opt::Options::default();
    moec_opt::Options {
        numerics: options.numerics,
        tokens: options.tokens.unwrap_or(defaults.tokens),
        table: if options.tokens.is_none() { TABLE.to_vec() } else { Vec::new() },
        batch: options.batch,
        alternatives: options.alternatives,
        target: options.target.clone(),
        shares: options.profile.as_ref().map(Profile::shares).unwrap_or_default(),
        ..defaults
    }
}

pub(crate) fn optimise(ir: &Module, options: &Options, watch: Watch<'_>) -> Result<Optimised, CompileError> {
    if !options.optimise {
        let costs = moec_opt::price(ir, &opt_options(options))
            .map_err(|error| CompileError::internal(Stage::Optimise, error))?;
        let report = moec_opt::Report { before: costs.clone(), after: costs, ..Default::default() };
        let programs = vec![(0, ir.clone())];
        return Ok(Optimised { programs, usual: 0, report, validation: Validation::Unchanged });
    }
    let candidate = moec_opt::optimize(ir, &opt_options(options))
        .map_err(|error| CompileError::internal(Stage::Optimise, error))?;
    watch(Stage::Optimise);
    let optimised = validated(ir, candidate, options)?;
    watch(Stage::Validate);
    Ok(optimised)
}

/// What is compiled of a candidate: those of its programs that compute the same as `ir`.
fn validated(
    ir: &Module,
    candidate: moec_opt::Optimized,
    options: &Options,
) -> Result<Optimised, CompileError> {
    let mut report = candidate.report;
    let (programs, validation) = accept(ir, candidate.variants);
    let usual = serve(&programs, options, &mut report);
    if let Some(profile) = &options.profile {
        profile.fits(&programs[usual].1)?;
    }
    Ok(Optimised { programs, usual, report, validation })
}

/// The variants that compute the same as `ir`, or `ir` if none does, and what validation found; of a
/// variant that differed, if one did.
fn accept(ir: &Module, variants: Vec<moec_opt::Variant>) -> (Vec<(u64, Module)>, Validation) {
    let mut programs: Vec<(u64, Module)> = Vec::new();
    let (mut validation, mut rejected) = (None, None);
    for variant in variants {
        match validate(ir, &variant.module) {
            outcome @ Validation::Differed { .. } => rejected = Some(outcome),
            outcome => {
                validation.get_or_insert(outcome);
                programs.push((variant.from, variant.module));
            }
        }
    }
    match programs.first_mut() {
        // The first that passed serves in the place of those before it.
        Some((from, _)) => *from = 0,
        None => programs.push((0, ir.clone())),
    }
    (programs, rejected.or(validation).unwrap_or(Validation::Unchanged))
}

/// The program with numbers for all sizes that are known now.
pub(crate) fn numbers(module: &Module, stage: Stage) -> Result<Module, CompileError> {
    module.instantiate(&Sizes::new()).map_err(|error| CompileError::internal(stage, error))
}

fn build(checked: Checked, options: &Options, watch: Watch<'_>) -> Result<Artifact, CompileError> {
    let target = target(options, CodeKind::Jit)?;
    if !target.runs_here() {
        let message = format!("this machine cannot run code for {}", target.name());
        return Err(CompileError::Options(message));
    }
    let optimised = optimise(&checked.ir, options, watch)?;
    generate(checked, optimised, &target, options, watch)
}

/// Plans the programs and makes code of them.
fn generate(
    checked: Checked,
    optimised: Optimised,
    target: &moec_codegen::Target,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Artifact, CompileError> {
    let (programs, placement) = optimised.placed(options)?;
    let Optimised { mut report, validation, .. } = optimised;
    let usual = serve(&programs, options, &mut report);
    let Counting { programs, counting, tallies } = counting(programs, usual, options.record)?;
    let usual = serve(&programs, options, &mut report);
    let plan = plan(&counting, target)?;
    watch(Stage::Plan);
    let program =
        Compiled::jit(plan, target, false).map_err(|error| CompileError::internal(Stage::Generate, error))?;
    watch(Stage::Generate);
    let (target, program) = (options.target.clone(), Arc::new(program));
    Ok(Artifact { checked, programs, usual, target, report, validation, tallies, placement, program })
}

pub(crate) fn plan(
    programs: &[(u64, Module)],
    target: &moec_codegen::Target,
) -> Result<moec_plan::Plan, CompileError> {
    let others: Vec<(u64, &Module)> = programs.iter().skip(1).map(|(from, module)| (*from, module)).collect();
    moec_plan::plan_programs(&programs[0].1, &others, target.panels())
        .map_err(|error| CompileError::internal(Stage::Plan, error))
}

/// What code is generated for. An instruction set without a back end is an error of the options.
pub(crate) fn target(options: &Options, kind: CodeKind) -> Result<moec_codegen::Target, CompileError> {
    moec_codegen::Target::named(&options.target.isa, kind)
        .map_err(|error| CompileError::Options(format!("target `{}`: {error}", options.target.name)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moec_diag::SourceFile;
    use moec_ir::{Module, Op, Sizes};
    use moec_runtime::threads::Pool;

    use super::*;
    use crate::{HostTensor, Session, WeightFiles, Weights};

    fn module(op: &str) -> moec_ir::Module {
        let text = format!(
            "module one {{\n    dim T\n    %0 = input {{name = \"x\"}} : f32[T]\n    %1 = {op} %0 : f32[T]\n    output \"y\" = %1\n}}\n"
        );
        moec_ir::read(&text).unwrap()
    }

    #[test]
    fn a_result_that_computes_something_else_is_not_used() {
        let source = module("relu");
        let variant = |from, op| moec_opt::Variant { from, module: module(op), rules: vec![None; 2] };
        let (programs, validation) = accept(&source, vec![variant(0, "silu")]);
        assert!(matches!(validation, Validation::Differed { .. }), "{validation:?}");
        assert_eq!(programs, [(0, source.clone())]);
        // Another variant that passed serves instead.
        let (programs, validation) = accept(&source, vec![variant(0, "silu"), variant(10, "relu")]);
        assert!(matches!(validation, Validation::Differed { .. }), "{validation:?}");
        assert_eq!(programs, [(0, source)]);
    }

    /// The optimised form of a layer, with `change` made to it, as if rules had been wrong.
    fn planted(ir: &Module, options: &Options, change: impl Fn(Op) -> Op) -> moec_opt::Optimized {
        let mut candidate = moec_opt::optimize(ir, &opt_options(options)).unwrap();
        for variant in &mut candidate.variants {
            variant.module.nodes.iter_mut().for_each(|node| node.op = change(node.op));
            moec_ir::verify(&variant.module).unwrap();
        }
        candidate
    }

    #[test]
    fn a_program_that_fails_validation_is_replaced_and_reported() {
        let text = include_str!("../../../examples/systems/s2_top_k.moe");
        let set = [("H", "12"), ("F", "8")].map(|(name, size)| (name.to_owned(), size.to_owned()));
        let options = Options { set: set.into(), ..Options::default() };
        let checked = front(&SourceFile::new("s2.moe", text), &options, &mut |_| ()).unwrap();
        let ir = checked.ir.clone();

        let right = validated(&ir, planted(&ir, &options, |op| op), &options).unwrap();
        assert!(matches!(right.validation, Validation::Agreed { .. }), "{:?}", right.validation);
        assert_eq!(crate::faults(&right.report, &right.validation), [""; 0]);

        // It types, and computes something else.
        let wrong = planted(&ir, &options, |op| if op == Op::Silu { Op::Relu } else { op });
        let fallen = validated(&ir, wrong, &options).unwrap();
        assert!(matches!(fallen.validation, Validation::Differed { .. }), "{:?}", fallen.validation);
        assert_eq!(fallen.programs, [(0, ir.clone())]);
        let said = crate::faults(&fallen.report, &fallen.validation);
        assert!(
            said[0].starts_with("`y` of the optimised program differed from the source's by"),
            "{said:?}"
        );

        // What is compiled instead runs, and is right.
        let target = target(&options, CodeKind::Jit).unwrap();
        let artifact = generate(checked, fallen, &target, &options, &mut |_| ()).unwrap();
        let pool = Arc::new(Pool::new(1).unwrap());
        let (none, mut ignored) = (WeightFiles::default(), |_: &str, _: u64| ());
        let mut weights = Weights::new(&none, 0, ir.dims.sized().clone(), &pool, &mut ignored);
        let mut session = Session::new(artifact.load(&mut weights, &pool).unwrap(), Arc::clone(&pool));
        let x = moec_runtime::session::random_input(&pool, 1, "x", moec_ir::DType::F32, &[5, 12]).unwrap();
        let x = HostTensor::copied(moec_ir::DType::F32, &[5, 12], x.as_slice()).unwrap();
        let mut y = HostTensor::zeros(moec_ir::DType::F32, &[5, 12]).unwrap();
        session.run(&[x.array()], &mut [y.array_mut()]).unwrap();
        let mut data: BTreeMap<String, _> = [("x".to_owned(), x.to_oracle())].into();
        for (id, name, ty) in ir.weights() {
            let shape: Vec<u64> = ty.shape.iter().map(|dim| dim.eval(ir.dims.sized()).unwrap()).collect();
            let from = ir.node(id).attrs.str("from");
            let bytes = moec_runtime::session::WeightSource::weight(&mut weights, name, from, ty).unwrap();
            let moec_runtime::session::WeightBytes::Made(memory) = bytes else { panic!("{name} is seeded") };
            data.insert(name.to_owned(), crate::to_oracle(ty.dtype, &shape, memory.as_slice()));
        }
        let expected = moec_interp::run(&ir, &Sizes::from([("T".into(), 5)]), &data).unwrap();
        assert!(crate::difference(&expected[0].1.data, &y.to_oracle().data) < 1e-5);
    }
}
