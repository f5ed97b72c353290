//! One model from its first member to a verified module.

use std::collections::BTreeMap;

use moec_diag::{Diagnostic, codes};
use moec_ir::{DimKind, Module, ValueId};
use moec_syntax::ast::{self, MemberKind};

use crate::convert::Promise;
use crate::emit::Emitter;
use crate::function::Functions;
use crate::lowerer::{Binding, Check, Lowerer, NameKind};
use crate::value::Value;
use crate::{Declaration, DeclarationKind, LoweredModel, Options};

/// What became of one model.
pub(crate) struct ModelResult {
    /// The model, unless there were errors.
    pub(crate) lowered: Option<LoweredModel>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The names of `Options::set` that the model has.
    pub(crate) applied: Vec<String>,
}

/// Checks and lowers one model.
pub(crate) fn lower_model<'a>(
    functions: &'a Functions<'a>,
    model: &'a ast::Model,
    source: &'a str,
    options: &Options,
) -> ModelResult {
    let emitter = Emitter::into_module(Module::new(&model.name.text));
    let mut lowerer = Lowerer::new(functions, source, emitter);
    let mut applied = Vec::new();
    let params = lowerer.define_params(model, &options.set, &mut applied);
    lowerer.define_dims(model, &options.set, &mut applied);
    lowerer.declare_sources(model, &params);
    lowerer.check_facts(model);
    lowerer.check_partitions(model);
    let outputs = lowerer.statements(model);
    let mut faulty = lowerer.diagnostics.iter().any(Diagnostic::is_error);
    if !faulty && functions.unread.is_nothing() {
        lowerer.check_determined();
        faulty = lowerer.diagnostics.iter().any(Diagnostic::is_error);
    }
    if !faulty && functions.unread.is_nothing() {
        lowerer.close_names(0, 0);
        lowerer.warn_of_unused_dims();
    }
    let mut diagnostics = std::mem::take(&mut lowerer.diagnostics);
    let module =
        if faulty || !functions.unread.is_nothing() { Ok(None) } else { lowerer.emitter.finish(&outputs) };
    let verified = module.and_then(|module| match module {
        Some(module) => moec_ir::verify(&module).map(|()| Some(module)),
        None => Ok(None),
    });
    let lowered = match verified {
        Ok(module) => module.map(|module| LoweredModel {
            module,
            declarations: declarations(model, source),
            facts: std::mem::take(&mut lowerer.facts),
        }),
        Err(error) => {
            let message = format!("the lowered model does not verify: {error}");
            diagnostics.push(Diagnostic::error(&codes::SIZE_NOT_PROVED, message).label(model.name.span, ""));
            None
        }
    };
    ModelResult { lowered, diagnostics, applied }
}

impl Lowerer<'_> {
    /// The lets and outputs, in order; gives the outputs that are right.
    fn statements(&mut self, model: &ast::Model) -> Vec<(String, ValueId)> {
        let mut outputs = Vec::new();
        let mut any = false;
        let names = model.members.iter().filter_map(|member| match &member.kind {
            MemberKind::Let(statement) => Some(statement.name.clone()),
            MemberKind::Output(output) => Some(output.name.clone()),
            _ => None,
        });
        self.frame.later = names.collect();
        for member in &model.members {
            match &member.kind {
                MemberKind::Let(statement) => self.let_statement(statement),
                MemberKind::Output(output) => {
                    any = true;
                    let value = self.output(output);
                    if let Ok((_, node)) = &value {
                        outputs.push((output.name.text.clone(), *node));
                    }
                    let value = value.ok().map(|(value, _)| value);
                    self.declare(&output.name, NameKind::Output, Binding::Value(value));
                }
                _ => {}
            }
        }
        if !any && self.functions.unread.is_nothing() {
            let message = format!("the model `{}` has no output", model.name.text);
            let diagnostic = Diagnostic::error(&codes::NO_OUTPUT, message)
                .label(model.name.span, "computes nothing")
                .help("end it with `output y : f32[T, H] = ..`");
            self.report(diagnostic);
        }
        outputs
    }

    fn output(&mut self, output: &ast::Output) -> Check<(Value, ValueId)> {
        let ty = self.written_type(&output.ty);
        let operand = self.operand(&output.value);
        let ((dtype, axes), operand) = (ty?, operand?);
        let promise = Promise { dtype: Some(dtype), axes: &axes, lead: false, span: Some(output.ty.span) };
        let tensor = self.keep_promise(&operand, &promise)?;
        let node = self.settled(operand.span, &tensor)?;
        Ok((Value::Tensor(tensor), node))
    }

    /// Every run-time dim that is used must follow from the shapes of the inputs.
    fn check_determined(&mut self) {
        let Some(module) = self.emitter.module() else { return };
        let shapes = module.inputs().flat_map(|(_, _, ty)| ty.shape.clone()).collect::<Vec<_>>();
        let solved = module.dims.determined_by(&shapes);
        let open: Vec<String> = (module.dims.decls().iter())
            .filter(|d| d.kind == DimKind::Runtime && !solved.contains(&d.name))
            .map(|d| d.name.to_string())
            .collect();
        for name in open {
            let Some(dim) = self.frame.dims.iter().find(|d| d.text == name && d.used) else { continue };
            let span = dim.span;
            let message = format!("nothing says how large {name} is");
            let diagnostic = Diagnostic::error(&codes::UNDETERMINED_DIM, message)
                .label(span, "no input has it as an axis")
                .help(format!("give it a size: `dim {name} = 8`, or `--set {name}=8`"));
            self.report(diagnostic);
        }
    }

    fn warn_of_unused_dims(&mut self) {
        for at in 0..self.frame.dims.len() {
            let dim = &self.frame.dims[at];
            if !dim.used {
                let message = format!("the dim {} is declared and never used", dim.text);
                let diagnostic =
                    Diagnostic::warning(&codes::UNUSED_DECLARATION, message).label(dim.span, "never used");
                self.warn(diagnostic);
            }
        }
    }
}

fn declarations(model: &ast::Model, source: &str) -> BTreeMap<String, Declaration> {
    let mut all = BTreeMap::new();
    let text = |ty: &ast::Type| ty.span.slice(source).to_owned();
    for member in &model.members {
        match &member.kind {
            MemberKind::Input(input) => {
                for name in &input.names {
                    let kind = DeclarationKind::Input;
                    let declaration = Declaration {
                        kind,
                        span: name.span,
                        type_span: input.ty.span,
                        type_text: text(&input.ty),
                    };
                    all.insert(name.text.clone(), declaration);
                }
            }
            MemberKind::Weight(weight) => {
                for (name, from) in weight.names.iter().zip(&weight.from) {
                    let kind =
                        DeclarationKind::Weight { pattern_span: from.span, pattern: from.text.clone() };
                    let declaration = Declaration {
                        kind,
                        span: name.span,
                        type_span: weight.ty.span,
                        type_text: text(&weight.ty),
                    };
                    all.insert(name.text.clone(), declaration);
                }
            }
            MemberKind::Output(output) => {
                let kind = DeclarationKind::Output;
                let declaration = Declaration {
                    kind,
                    span: output.name.span,
                    type_span: output.ty.span,
                    type_text: text(&output.ty),
                };
                all.insert(output.name.text.clone(), declaration);
            }
            MemberKind::Dims(dims) => {
                for def in dims {
                    let declaration = Declaration {
                        kind: DeclarationKind::Dim,
                        span: def.name.span,
                        type_span: def.span,
                        type_text: def.span.slice(source).to_owned(),
                    };
                    all.insert(def.name.text.clone(), declaration);
                }
            }
            _ => {}
        }
    }
    all
}
