//! From syntax tree to IR: names, types by named dims, every message about them, and lowering, in one walk.
//!
//! [`lower`] checks all functions and models of a file and gives a module for each model without errors. What an
//! expression is gets decided in one place per construct: `expr` hands it to `element` (rule 3 of the language),
//! `contract` (`@`, `einsum`), `index` (brackets), `fold`, `call` (operations, a table) or `apply` (functions, which
//! are inlined). Names and sizes of axes are `axis` and `size`; what a model declares is `define`, `param`, `weight`.
//! Nothing here knows rewriting, kernels or files.

mod apply;
mod axis;
mod call;
mod contract;
mod convert;
mod define;
mod element;
mod emit;
mod expr;
mod fold;
mod function;
mod index;
mod lowerer;
mod model;
mod param;
mod size;
mod unread;
mod value;
mod weight;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use moec_diag::{Diagnostic, Span, codes, nearest};
use moec_ir::{Fact, Module};
use moec_syntax::ast;

use function::{Function, Functions};
use unread::Unread;

/// What a caller may choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set name=value`: other values for params and sizes for dims, as text.
    pub set: BTreeMap<String, String>,
    /// Only the model of this name; all if there is none.
    pub model: Option<String>,
}

/// A model that checks.
#[derive(Clone, Debug)]
pub struct LoweredModel {
    /// The program, verified. Its name is that of the model.
    pub module: Module,
    /// Inputs, weights, outputs and dims by name, for messages that come up later.
    pub declarations: BTreeMap<String, Declaration>,
    /// Where each fact that is checked at run time is declared, in order.
    pub facts: Vec<(Fact, Span)>,
}

/// Where something is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// What is declared.
    pub kind: DeclarationKind,
    /// The name.
    pub span: Span,
    /// The type; for a dim its name and size.
    pub type_span: Span,
    /// The text of `type_span`.
    pub type_text: String,
}

/// What a declaration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclarationKind {
    /// `input`
    Input,
    /// `weight`
    Weight {
        /// The text after `from`, quotes included.
        pattern_span: Span,
        /// The text as written, with its holes.
        pattern: String,
    },
    /// `output`
    Output,
    /// `dim`
    Dim,
}

/// Parses and checks a text and lowers its models. A model with errors gives no [`LoweredModel`]; diagnostics, those of
/// the parser included, come in the order of their places. Where the parser stumbled, only what does not follow from
/// that is reported besides.
pub fn lower_text(source: &str, options: &Options) -> (Vec<LoweredModel>, Vec<Diagnostic>) {
    let (file, mut diagnostics) = moec_syntax::parse(source);
    let stumbled: Vec<Span> =
        diagnostics.iter().filter(|d| d.is_error()).filter_map(Diagnostic::span).collect();
    let unread = Unread::of(&file, source, &diagnostics);
    let (models, found) = lower_file(&file, source, options, unread);
    let on_one_line = |a: Span, b: Span| {
        !Span::new(a.start.min(b.start), a.start.max(b.start)).slice(source).contains('\n')
    };
    let follows = |d: &Diagnostic| d.span().is_some_and(|at| stumbled.iter().any(|s| on_one_line(*s, at)));
    diagnostics.extend(found.into_iter().filter(|d| !follows(d)));
    diagnostics.sort_by_key(|d| d.span());
    (models, diagnostics)
}

/// Checks a file that was parsed without errors from `source`, and lowers its models; as [`lower_text`] otherwise.
pub fn lower(file: &ast::File, source: &str, options: &Options) -> (Vec<LoweredModel>, Vec<Diagnostic>) {
    lower_file(file, source, options, Unread::Nothing)
}

fn lower_file(
    file: &ast::File,
    source: &str,
    options: &Options,
    unread: Unread,
) -> (Vec<LoweredModel>, Vec<Diagnostic>) {
    let (prelude, _) = moec_syntax::parse(moec_syntax::PRELUDE);
    let mut diagnostics = Vec::new();
    let mut functions = Functions { unread, ..Functions::default() };
    for function in prelude.functions() {
        let name = function.name.text.as_str();
        let entry = Function {
            ast: function,
            source: moec_syntax::PRELUDE,
            in_source: false,
            sound: Cell::new(true),
        };
        functions.by_name.insert(name, entry);
    }
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for item in &file.items {
        let name = match item {
            ast::Item::Model(model) => &model.name,
            ast::Item::Fn(function) => &function.name,
        };
        if let Some(before) = names.insert(&name.text, name.span) {
            let diagnostic =
                Diagnostic::error(&codes::DUPLICATE_NAME, format!("`{}` is already declared", name.text))
                    .label(name.span, "declared again")
                    .context(before, "declared here first");
            diagnostics.push(diagnostic);
        } else if let ast::Item::Fn(function) = item {
            if call::is_operation(&name.text) {
                let message = format!("`{}` is an operation", name.text);
                let diagnostic = Diagnostic::error(&codes::DUPLICATE_NAME, message)
                    .label(name.span, "functions need names of their own");
                diagnostics.push(diagnostic);
            }
            let entry = Function { ast: function, source, in_source: true, sound: Cell::new(true) };
            functions.by_name.insert(&name.text, entry);
        }
    }
    diagnostics.extend(functions.check());
    let mut models = Vec::new();
    let mut applied: BTreeSet<String> = BTreeSet::new();
    let chosen = |model: &&ast::Model| options.model.as_ref().is_none_or(|name| *name == model.name.text);
    for model in file.models().filter(chosen) {
        let result = model::lower_model(&functions, model, source, options);
        models.extend(result.lowered);
        diagnostics.extend(result.diagnostics);
        applied.extend(result.applied);
    }
    diagnostics.extend(unknown_options(file, options, &applied));
    diagnostics.sort_by_key(|d| d.span());
    (models, diagnostics)
}

/// Overrides that nothing was set by, and a model that does not exist.
fn unknown_options(file: &ast::File, options: &Options, applied: &BTreeSet<String>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if let Some(name) = &options.model
        && file.models().all(|m| m.name.text != *name)
    {
        let names: Vec<&str> = file.models().map(|m| m.name.text.as_str()).collect();
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_NAME, format!("there is no model `{name}`"))
            .note(format!("the file has {}", names.join(", ")));
        if let Some(near) = nearest(name, names.iter().copied()) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        diagnostics.push(diagnostic);
        return diagnostics;
    }
    for (name, value) in options.set.iter().filter(|(name, _)| !applied.contains(*name)) {
        let message = format!("`--set {name}={value}`: no model has a param or dim `{name}`");
        diagnostics.push(Diagnostic::error(&codes::BAD_OVERRIDE, message));
    }
    diagnostics
}
