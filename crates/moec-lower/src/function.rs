//! Functions: each is checked once by itself, then every call is replaced by the body.
//!
//! `..` is a list of hidden axes: the body never sees them, so it is carried out for each of their elements.
//! The dims of a function are its own; a call gives them sizes, and no two of them become one name by that.

use std::cell::Cell;
use std::collections::BTreeMap;

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, Dim, ValueId};
use moec_syntax::ast::{self, FnParam};

use crate::axis::{Axis, call_symbol};
use crate::convert::Promise;
use crate::emit::Emitter;
use crate::lowerer::{Binding, Check, DimName, Frame, Lowerer, NameKind};
use crate::unread::Unread;
use crate::value::{Hidden, Tensor, Value};
use crate::weight::dtype;

/// A declared function.
pub(crate) struct Function<'a> {
    pub(crate) ast: &'a ast::Fn,
    pub(crate) source: &'a str,
    /// Whether it is in the user's text, rather than the prelude.
    pub(crate) in_source: bool,
    /// Whether it was checked without errors and does not call itself.
    pub(crate) sound: Cell<bool>,
}

/// The functions of a file and the prelude.
#[derive(Default)]
pub(crate) struct Functions<'a> {
    pub(crate) by_name: BTreeMap<&'a str, Function<'a>>,
    /// What syntax errors hid: what is not declared may stand there.
    pub(crate) unread: Unread,
}

impl<'a> Functions<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&Function<'a>> {
        self.by_name.get(name)
    }

    /// Whether a call of this name means something.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || crate::call::is_operation(name)
    }

    /// Checks every function by itself, and that none comes back to itself.
    pub(crate) fn check(&self) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        let mut calls: BTreeMap<&str, Vec<(String, Span)>> = BTreeMap::new();
        for (name, function) in &self.by_name {
            let mut lowerer = Lowerer::new(self, function.source, Emitter::default());
            lowerer.check_function(function);
            function.sound.set(!lowerer.diagnostics.iter().any(Diagnostic::is_error));
            calls.insert(name, lowerer.called);
            if function.in_source {
                diagnostics.append(&mut lowerer.diagnostics);
            }
        }
        for (name, function) in &self.by_name {
            if let Some((callee, span)) = call_to_itself(name, &calls) {
                let message = format!("`{name}` calls itself");
                let mut diagnostic = Diagnostic::error(&codes::RECURSIVE_FUNCTION, message)
                    .label(span, "this call comes back to the function it stands in");
                if callee != *name {
                    diagnostic = diagnostic.note(format!("by way of `{callee}`"));
                }
                diagnostics.push(diagnostic);
                function.sound.set(false);
            }
        }
        diagnostics
    }
}

/// The first call in `name` from which `name` can be reached.
fn call_to_itself(name: &str, calls: &BTreeMap<&str, Vec<(String, Span)>>) -> Option<(String, Span)> {
    let of = |name: &str| calls.get(name).map_or(&[][..], Vec::as_slice);
    of(name).iter().find_map(|(callee, span)| {
        let mut reached = vec![callee.as_str()];
        let mut next = 0;
        while let Some(&at) = reached.get(next) {
            if at == name {
                return Some((callee.clone(), *span));
            }
            for (further, _) in of(at) {
                if !reached.contains(&further.as_str()) {
                    reached.push(further);
                }
            }
            next += 1;
        }
        None
    })
}

fn add_dim<'f>(dims: &mut Vec<&'f ast::Ident>, name: &'f ast::Ident) {
    if dims.iter().all(|d| d.text != name.text) {
        dims.push(name);
    }
}

/// The dims that a signature declares, in order, and where.
pub(crate) fn signature_dims(function: &ast::Fn) -> Vec<&ast::Ident> {
    let mut dims: Vec<&ast::Ident> = Vec::new();
    let mut add = |name| add_dim(&mut dims, name);
    for param in &function.params {
        match param {
            FnParam::Dim { name } => add(name),
            FnParam::Value { ty, .. } => {
                for factor in ty.axes.iter().flat_map(|axis| &axis.factors) {
                    if let ast::Factor::Dim(name) = factor {
                        add(name);
                    }
                }
            }
        }
    }
    dims
}

impl Lowerer<'_> {
    /// Checks a function by itself: its dims are any dims, `..` is one axis, `float` the narrowest float.
    fn check_function(&mut self, function: &Function<'_>) {
        for name in signature_dims(function.ast) {
            let symbol = Dim::symbol(&name.text);
            let axis = Some(Axis::new(symbol.clone(), symbol));
            self.frame.dims.push(DimName { text: name.text.clone(), span: name.span, axis, used: true });
        }
        let lead_symbol = Dim::symbol("..");
        let lead = self.open_hidden(Axis::new(lead_symbol.clone(), lead_symbol), true);
        for param in &function.ast.params {
            let FnParam::Value { name, ty } = param else { continue };
            let value = self.monos(&ty.axes).ok().map(|axes| {
                let hidden = if ty.lead.is_some() { vec![lead] } else { Vec::new() };
                let dtype = dtype(ty.dtype).unwrap_or(DType::Bf16);
                Value::Tensor(Tensor::new(ValueId(0), dtype, hidden, axes))
            });
            self.declare(name, NameKind::Formal, Binding::Value(value));
        }
        let result = self.monos(&function.ast.result.axes);
        let body = self.block(&function.ast.body);
        if let (Ok(axes), Ok(body)) = (result, body) {
            let ty = &function.ast.result;
            let promise =
                Promise { dtype: dtype(ty.dtype), axes: &axes, lead: ty.lead.is_some(), span: Some(ty.span) };
            if let Ok(tensor) = self.keep_promise(&body, &promise)
                && ty.lead.is_none()
                && tensor.hidden.contains(&lead)
            {
                let message = format!("the result depends on `..`, and {} lacks it", promise.text());
                let diagnostic = Diagnostic::error(&codes::TYPE_MISMATCH, message)
                    .label(body.span, tensor.type_text())
                    .context(ty.span, format!("declared {}", promise.text()));
                self.report(diagnostic);
            }
        }
    }

    /// Evaluates the body of a function in a frame of its own.
    pub(crate) fn body(
        &mut self,
        function: &Function<'_>,
        values: Vec<(&ast::Ident, Value)>,
        dims: &[(String, Axis)],
        lead: &[Hidden],
        span: Span,
    ) -> Check<Tensor> {
        self.call_count += 1;
        let number = self.call_count;
        // The frame borrows the text for as long as the lowerer lives; the table of functions does as well.
        let functions = self.functions;
        let source = functions.get(&function.ast.name.text).map_or("", |f| f.source);
        let mut frame = Frame { source, ..Frame::default() };
        for name in signature_dims(function.ast) {
            let axis = dims
                .iter()
                .find(|(dim, _)| *dim == name.text)
                .map(|(dim, axis)| Axis::new(Dim::symbol(&call_symbol(dim, number)), axis.size().clone()));
            frame.dims.push(DimName { text: name.text.clone(), span: name.span, axis, used: true });
        }
        let outer = std::mem::replace(&mut self.frame, frame);
        let in_source = self.calls.iter().all(|c| c.body_in_source);
        self.calls.push(crate::lowerer::ActiveCall {
            function: function.ast.name.text.clone(),
            span: in_source.then_some(span),
            body_in_source: function.in_source,
        });
        let result = self.body_in_frame(function, values, lead);
        self.calls.pop();
        self.frame = outer;
        result
    }

    fn body_in_frame(
        &mut self,
        function: &Function<'_>,
        values: Vec<(&ast::Ident, Value)>,
        lead: &[Hidden],
    ) -> Check<Tensor> {
        for param in &function.ast.params {
            let FnParam::Value { name, ty } = param else { continue };
            let axes = self.monos(&ty.axes)?;
            let value = values.iter().find(|(n, _)| n.text == name.text).map(|(_, value)| match value {
                // The argument's axes under the names they have in here.
                Value::Tensor(tensor) => Value::Tensor(Tensor { axes, ..tensor.clone() }),
                other => other.clone(),
            });
            self.declare(name, NameKind::Formal, Binding::Value(value));
        }
        let ty = &function.ast.result;
        let axes = self.monos(&ty.axes)?;
        let body = self.block(&function.ast.body)?;
        let promise =
            Promise { dtype: dtype(ty.dtype), axes: &axes, lead: ty.lead.is_some(), span: Some(ty.span) };
        let tensor = self.keep_promise(&body, &promise)?;
        if ty.lead.is_none() {
            return Ok(tensor);
        }
        let hidden = crate::element::join_hidden([tensor.hidden.as_slice(), lead].into_iter());
        self.with_hidden(body.span, &tensor, hidden)
    }
}
