//! The state of one lowering: the frame that names live in, hidden axes, diagnostics, emission.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moec_diag::{Code, Diagnostic, Span, codes, nearest};
use moec_ir::{Attr, Attrs, DType, Dim, DimTable, Fact, IrError, Op, SizeSum, ValueId};
use moec_syntax::ast;

use crate::axis::Axis;
use crate::emit::Emitter;
use crate::function::Functions;
use crate::value::{Hidden, Tensor, Value};

/// What could not be checked; the reason was reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

/// The result of checking.
pub(crate) type Check<T> = Result<T, Failed>;

/// What a lower-case name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// A value; `None` if it was wrong.
    Value(Option<Value>),
    /// The running index of a fold.
    Index(Hidden),
}

/// How a lower-case name came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Param,
    Const,
    Input,
    Weight,
    Let,
    Output,
    Formal,
    Index,
}

/// A lower-case name in scope.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) kind: NameKind,
    pub(crate) binding: Binding,
    pub(crate) used: bool,
}

/// A capital name in scope.
#[derive(Debug)]
pub(crate) struct DimName {
    pub(crate) text: String,
    /// Where it is declared.
    pub(crate) span: Span,
    /// `None` if its definition was wrong.
    pub(crate) axis: Option<Axis>,
    pub(crate) used: bool,
}

/// The names of a model, or of one call of a function.
#[derive(Debug, Default)]
pub(crate) struct Frame<'a> {
    /// The text that spans of this frame point into.
    pub(crate) source: &'a str,
    pub(crate) dims: Vec<DimName>,
    pub(crate) names: Vec<Name>,
    /// Names that were used and are not declared: each is reported once.
    pub(crate) unknown: BTreeSet<String>,
    /// Names of lets and outputs that were not reached yet.
    pub(crate) later: Vec<ast::Ident>,
    /// Dims that are sums of others, expanded, for finding the name of a sum.
    pub(crate) sums: BTreeMap<Arc<str>, SizeSum>,
}

/// A call that is being replaced by its body.
#[derive(Clone, Debug)]
pub(crate) struct ActiveCall {
    pub(crate) function: String,
    /// Where the call stands, if in the user's text.
    pub(crate) span: Option<Span>,
    /// Whether the body is in the user's text.
    pub(crate) body_in_source: bool,
}

/// No more errors than this are kept for one model or function.
const MOST_ERRORS: usize = 500;

/// What was likely meant by a name; short names are near to everything.
fn near<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if text.len() < 3 { None } else { nearest(text, names) }
}

/// See the module head.
pub(crate) struct Lowerer<'a> {
    pub(crate) functions: &'a Functions<'a>,
    pub(crate) frame: Frame<'a>,
    pub(crate) emitter: Emitter,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Every hidden axis ever opened, by number.
    pub(crate) hidden: Vec<Axis>,
    /// The `const` lines of the model, for facts that speak of their elements.
    pub(crate) constants: Vec<(String, Vec<f64>)>,
    /// Sizes that a fact declares to be zero.
    pub(crate) empty_on_purpose: Vec<Axis>,
    /// Facts that are checked at run time, and where they stand.
    pub(crate) facts: Vec<(Fact, Span)>,
    /// Calls around the expression at hand, outermost first.
    pub(crate) calls: Vec<ActiveCall>,
    /// Calls replaced so far.
    pub(crate) call_count: usize,
    /// Expressions around the one at hand, over all calls.
    pub(crate) depth: usize,
    /// While a function is checked by itself: the functions it calls, and where.
    pub(crate) called: Vec<(String, Span)>,
}

impl<'a> Lowerer<'a> {
    pub(crate) fn new(functions: &'a Functions<'a>, source: &'a str, emitter: Emitter) -> Self {
        Self {
            functions,
            frame: Frame { source, ..Frame::default() },
            emitter,
            diagnostics: Vec::new(),
            hidden: Vec::new(),
            constants: Vec::new(),
            empty_on_purpose: Vec::new(),
            facts: Vec::new(),
            calls: Vec::new(),
            call_count: 0,
            depth: 0,
            called: Vec::new(),
        }
    }

    // Reports.

    /// Reports a diagnostic of the text at hand. Within the body of a call, which was checked by itself before, only
    /// sizes can be wrong: the call is what the reader has to look at.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) -> Failed {
        if let Some(call) = self.calls.iter().rfind(|c| c.span.is_some()) {
            if self.calls.iter().any(|c| !c.body_in_source) {
                let text: Vec<String> = diagnostic.labels.drain(..).map(|l| l.text).collect();
                let span = call.span.unwrap_or_default();
                diagnostic = diagnostic.label(span, text.first().cloned().unwrap_or_default());
            } else {
                for call in self.calls.clone() {
                    let at = call.span.unwrap_or_default();
                    diagnostic = diagnostic.context(at, format!("in this call of `{}`", call.function));
                }
            }
        }
        if self.is_full() || self.diagnostics.contains(&diagnostic) {
            return Failed;
        }
        self.diagnostics.push(diagnostic);
        if self.is_full() {
            let message = format!("stopped after {MOST_ERRORS} errors");
            let stop = Diagnostic::error(&codes::TOO_MANY_ERRORS, message);
            self.diagnostics.push(stop.help("cure the first ones: the rest may follow from them"));
        }
        Failed
    }

    /// Whether there are more errors than anyone reads, and looking for what was meant is of no use.
    fn is_full(&self) -> bool {
        self.diagnostics.iter().filter(|d| d.is_error()).count() >= MOST_ERRORS
    }

    /// Reports an error with one place.
    pub(crate) fn fail(
        &mut self,
        code: &'static Code,
        message: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Failed {
        self.report(Diagnostic::error(code, message).label(span, label))
    }

    /// Reports a warning, except within calls: functions are warned about where they are declared.
    pub(crate) fn warn(&mut self, diagnostic: Diagnostic) {
        if self.calls.is_empty() {
            self.report(diagnostic);
        }
    }

    /// Passes `result` on, reporting what the IR refused.
    pub(crate) fn ir<T>(&mut self, span: Span, result: Result<T, IrError>) -> Check<T> {
        result.map_err(|error| {
            let message = error.to_string();
            let code =
                if message.contains("overflows") { &codes::DIM_OVERFLOW } else { &codes::SIZE_NOT_PROVED };
            self.fail(code, message, span, "")
        })
    }

    /// The text of a place.
    pub(crate) fn text(&self, span: Span) -> String {
        span.slice(self.frame.source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    // Names.

    /// Declares a lower-case name and says whether it is new; a second declaration is reported and hides the first.
    pub(crate) fn declare(&mut self, name: &ast::Ident, kind: NameKind, binding: Binding) -> bool {
        let mut new = true;
        if let Some(before) = self.frame.names.iter().find(|n| n.text == name.text) {
            let index = matches!(before.binding, Binding::Index(_));
            let code = if index { &codes::SHADOWED_INDEX } else { &codes::DUPLICATE_NAME };
            let first = if index { "this index is still in use" } else { "declared here first" };
            let diagnostic = Diagnostic::error(code, format!("`{}` is already declared", name.text))
                .label(name.span, "declared again")
                .context(before.span, first)
                .help(format!("choose another name, `{}_2` for one", name.text));
            self.report(diagnostic);
            new = false;
        }
        let (text, span) = (name.text.clone(), name.span);
        self.frame.names.push(Name { text, span, kind, binding, used: false });
        new
    }

    /// What a lower-case name stands for.
    pub(crate) fn lookup(&mut self, text: &str, span: Span) -> Check<Binding> {
        if let Some(name) = self.frame.names.iter_mut().rfind(|n| n.text == text) {
            name.used = true;
            return Ok(name.binding.clone());
        }
        if !self.frame.unknown.insert(text.into())
            || self.functions.unread.may_declare(text)
            || self.is_full()
        {
            return Err(Failed);
        }
        let message = format!("`{text}` is not declared");
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_NAME, message).label(span, "no such name");
        let capital = self.frame.dims.iter().find(|dim| dim.text.eq_ignore_ascii_case(text));
        if let Some(later) = self.frame.later.iter().find(|later| later.text == text) {
            let place = if later.span.end <= span.start { "this is its own line" } else { "declared below" };
            diagnostic = diagnostic.context(later.span, place);
            diagnostic = diagnostic.note("a `let` or an output may use what stands above it");
        } else if let Some(dim) = capital {
            diagnostic = diagnostic.help(format!("did you mean the dim `{}`?", dim.text));
        } else if let Some(near) = near(text, self.frame.names.iter().map(|n| n.text.as_str())) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        } else if self.functions.is_known(text) {
            diagnostic = diagnostic.note(format!("`{text}` is an operation or a function: call it"));
        }
        Err(self.report(diagnostic))
    }

    /// The axis that a dim names.
    pub(crate) fn dim(&mut self, text: &str, span: Span) -> Check<Axis> {
        if let Some(dim) = self.frame.dims.iter_mut().find(|d| d.text == text) {
            dim.used = true;
            return dim.axis.clone().ok_or(Failed);
        }
        if !self.frame.unknown.insert(text.into())
            || self.functions.unread.may_declare(text)
            || self.is_full()
        {
            return Err(Failed);
        }
        let message = format!("the dim `{text}` is not declared");
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_DIM, message).label(span, "no such dim");
        let small = self.frame.names.iter().find(|name| name.text.eq_ignore_ascii_case(text));
        let word = ["true", "false"].into_iter().find(|word| word.eq_ignore_ascii_case(text));
        if let Some(small) = word.or(small.map(|name| name.text.as_str())) {
            let diagnostic = diagnostic.help(format!("did you mean `{small}`?"));
            return Err(self.report(diagnostic));
        }
        diagnostic = match near(text, self.frame.dims.iter().map(|d| d.text.as_str())) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None if self.calls.is_empty() && self.emitter.sizes().is_some() => {
                diagnostic.help(format!("declare it: `dim {text} = 8`, or `dim {text}` if an input has it"))
            }
            None => diagnostic.help(format!("a function knows the dims of its signature: add `{text}: dim`")),
        };
        Err(self.report(diagnostic))
    }

    /// The axis that a product of numbers and dims names.
    pub(crate) fn mono(&mut self, mono: &ast::Mono) -> Check<Axis> {
        let mut axis = Ok(Axis::constant(1));
        for factor in &mono.factors {
            let factor = match factor {
                ast::Factor::Int(n, span) if *n > i64::MAX as u64 => Err(self.fail(
                    &codes::DIM_OVERFLOW,
                    format!("the size {n} overflows"),
                    *span,
                    "2^63 or more",
                )),
                ast::Factor::Int(n, _) => Ok(Axis::constant(*n)),
                ast::Factor::Dim(name) => self.dim(&name.text, name.span),
            };
            axis = match (axis, factor) {
                (Ok(a), Ok(b)) => {
                    let product = a.times(&b);
                    self.ir(mono.span, product)
                }
                _ => Err(Failed),
            };
        }
        axis
    }

    /// The axes of a written type, all checked before one fails.
    pub(crate) fn monos(&mut self, monos: &[ast::Mono]) -> Check<Vec<Axis>> {
        let axes: Vec<Check<Axis>> = monos.iter().map(|m| self.mono(m)).collect();
        axes.into_iter().collect()
    }

    // Sizes.

    /// Whether `test` proves something; a function checked by itself takes it for granted until it is called.
    pub(crate) fn proved(&self, test: impl FnOnce(&DimTable) -> bool) -> bool {
        self.emitter.sizes().is_none_or(test)
    }

    /// The value of a size, if it is known now.
    pub(crate) fn known(&self, axis: &Axis) -> Option<u64> {
        match self.emitter.sizes() {
            Some(table) => table.value(axis.size()),
            None => axis.size().as_const(),
        }
    }

    // Hidden axes and emission.

    /// Opens a hidden axis.
    pub(crate) fn open_hidden(&mut self, axis: Axis, lead: bool) -> Hidden {
        self.hidden.push(axis);
        Hidden { lead, number: self.hidden.len() - 1 }
    }

    /// The axis that a hidden axis copies.
    pub(crate) fn hidden_axis(&self, hidden: Hidden) -> Axis {
        self.hidden[hidden.number].clone()
    }

    /// The shape of an IR value with these axes in logical order.
    pub(crate) fn shape(&self, hidden: &[Hidden], axes: &[Axis]) -> Vec<Dim> {
        let hidden = hidden.iter().map(|h| self.hidden[h.number].size().clone());
        hidden.chain(axes.iter().map(|a| a.size().clone())).collect()
    }

    /// Emits one operation.
    pub(crate) fn emit<const N: usize>(
        &mut self,
        span: Span,
        op: Op,
        args: &[ValueId],
        attrs: [(&'static str, Attr); N],
    ) -> Check<ValueId> {
        let result = self.emitter.push(op, args, Attrs::new(attrs));
        self.ir(span, result)
    }

    /// The tensor in another element type; itself if it has that one.
    pub(crate) fn cast(&mut self, span: Span, tensor: &Tensor, to: DType) -> Check<Tensor> {
        if tensor.dtype == to {
            return Ok(tensor.clone());
        }
        let node = self.emit(span, Op::Cast, &[tensor.node], [("to", to.into())])?;
        Ok(tensor.with_node(node, to))
    }

    /// The IR value of `tensor` with exactly these axes in logical order: axes it lacks repeat. Visible axes are
    /// matched by name, or by position if the lists are identical; the caller has checked that they fit.
    pub(crate) fn align(
        &mut self,
        span: Span,
        tensor: &Tensor,
        hidden: &[Hidden],
        axes: &[Axis],
    ) -> Check<ValueId> {
        let identical = tensor.axes == axes;
        let mut map = vec![0usize; tensor.places.len()];
        for (at, h) in tensor.hidden.iter().enumerate() {
            map[tensor.places[at]] = hidden.iter().position(|x| x == h).ok_or(Failed)?;
        }
        for (i, axis) in tensor.axes.iter().enumerate() {
            let to = if identical { i } else { axes.iter().position(|x| x == axis).ok_or(Failed)? };
            map[tensor.place(i)] = hidden.len() + to;
        }
        let rank = hidden.len() + axes.len();
        if map.len() < rank {
            let shape = self.shape(hidden, axes);
            return self.emit(
                span,
                Op::Broadcast,
                &[tensor.node],
                [("map", map.into()), ("shape", shape.into())],
            );
        }
        if map.is_sorted() {
            return Ok(tensor.node);
        }
        let mut perm = vec![0usize; rank];
        for (from, &to) in map.iter().enumerate() {
            perm[to] = from;
        }
        self.emit(span, Op::Transpose, &[tensor.node], [("perm", perm.into())])
    }

    /// The IR value of `tensor` with its axes in logical order.
    pub(crate) fn settled(&mut self, span: Span, tensor: &Tensor) -> Check<ValueId> {
        self.align(span, tensor, &tensor.hidden, &tensor.axes)
    }
}
