//! Calls of functions: what the arguments say about the dims of the signature.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, ValueId};
use moec_syntax::ast::{self, Arg, ArgKind, Factor, FnParam, Mono};

use crate::axis::{self, Axis};
use crate::convert::Promise;
use crate::element::join_hidden;
use crate::function::Function;
use crate::lowerer::{Check, Failed, Lowerer};
use crate::value::{Hidden, Operand, Tensor, Value};
use crate::weight::dtype;

/// Calls inside each other.
const MOST_NESTED_CALLS: usize = 64;
/// Calls in one model, all replaced by bodies.
const MOST_CALLS: usize = 10_000;

/// What is known of a signature's dims: the name, the axis at the caller, and where that came from.
#[derive(Default)]
struct Solution {
    dims: Vec<(String, Axis, Span)>,
    lead: Option<(Vec<Axis>, Span)>,
}

impl Solution {
    fn get(&self, name: &str) -> Option<&(String, Axis, Span)> {
        self.dims.iter().find(|(dim, ..)| dim == name)
    }

    /// The caller's axis for a product of dims that are all known.
    fn axis(&self, mono: &Mono) -> Option<Axis> {
        mono.factors.iter().try_fold(Axis::constant(1), |axis, factor| match factor {
            Factor::Int(n, _) => axis.times(&Axis::constant(*n)).ok(),
            Factor::Dim(name) => axis.times(&self.get(&name.text)?.1).ok(),
        })
    }
}

impl Lowerer<'_> {
    /// Checks the arguments of a call and replaces it by the body.
    pub(crate) fn apply(
        &mut self,
        function: &Function<'_>,
        callee: &ast::Ident,
        args: &[Arg],
        span: Span,
    ) -> Check<Value> {
        self.called.push((callee.text.clone(), callee.span));
        let params = &function.ast.params;
        let mut operands: Vec<Check<Option<Operand>>> = Vec::new();
        let mut solution = Solution::default();
        let mut faulty = false;
        for (arg, param) in args.iter().zip(params) {
            let ArgKind::Value(expr) = &arg.kind else {
                self.wrong_call(function, arg.span, "expected a value");
                faulty = true;
                continue;
            };
            match param {
                FnParam::Value { .. } => operands.push(self.operand(expr).map(Some)),
                FnParam::Dim { name } => match self.axis_expr(expr) {
                    Ok(axis) => {
                        solution.dims.push((name.text.clone(), axis, arg.span));
                        operands.push(Ok(None));
                    }
                    Err(Failed) => faulty = true,
                },
            }
        }
        if args.len() != params.len() {
            let what = format!("{} arguments, expected {}", args.len(), params.len());
            return Err(self.wrong_call(function, span, &what));
        }
        let operands: Vec<Option<Operand>> = operands.into_iter().collect::<Check<_>>()?;
        if faulty || !function.sound.get() {
            return Err(Failed);
        }
        let pairs: Vec<(&ast::Ident, &ast::Type, Operand)> = params
            .iter()
            .zip(operands)
            .filter_map(|(param, operand)| match (param, operand) {
                (FnParam::Value { name, ty }, Some(operand)) => Some((name, ty, operand)),
                _ => None,
            })
            .collect();
        self.solve(function, &pairs, &mut solution)?;
        if function.in_source {
            self.warn_of_shadowed_dims(&callee.text, &solution);
        }
        self.replace(function, &pairs, &solution, span)
    }

    /// The dims of a function are its own; a reader who knows the caller's may take one for the other.
    fn warn_of_shadowed_dims(&mut self, function: &str, solution: &Solution) {
        for (name, axis, from) in &solution.dims {
            let outer = self
                .frame
                .dims
                .iter()
                .find(|d| d.text == *name)
                .and_then(|d| Some((d.axis.clone()?, d.span)));
            let Some((outer, span)) = outer else { continue };
            if !self.proved(|table| table.same(outer.size(), axis.size())) {
                let message = format!("the {name} of `{function}` is {axis} here, not the {name} outside");
                let diagnostic = Diagnostic::warning(&codes::SHADOWED_DIM, message)
                    .label(*from, format!("{name} inside is {axis}"))
                    .context(span, format!("another {name}"));
                self.warn(diagnostic);
            }
        }
    }

    fn wrong_call(&mut self, function: &Function<'_>, span: Span, what: &str) -> Failed {
        let name = &function.ast.name.text;
        let formals: Vec<String> = (function.ast.params.iter())
            .map(|param| match param {
                FnParam::Value { name, ty } => {
                    format!("{}: {}", name.text, ty.span.slice(function.source))
                }
                FnParam::Dim { name } => format!("{}: dim", name.text),
            })
            .collect();
        let diagnostic = Diagnostic::error(
            &codes::WRONG_ARGUMENTS,
            format!("`{name}` is called with the wrong arguments"),
        )
        .label(span, what)
        .note(format!("its form is `{name}({})`", formals.join(", ")));
        self.report(diagnostic)
    }

    /// Finds the dims of the signature, first from axes that are one dim, then from products with one unknown.
    fn solve(
        &mut self,
        function: &Function<'_>,
        pairs: &[(&ast::Ident, &ast::Type, Operand)],
        solution: &mut Solution,
    ) -> Check<()> {
        let mut axes: Vec<(&Mono, Axis, usize)> = Vec::new();
        for (at, (name, ty, operand)) in pairs.iter().enumerate() {
            let tensor = match &operand.value {
                Value::Tensor(tensor) => tensor,
                Value::Literal(_) | Value::Size(_) if ty.axes.is_empty() => continue,
                Value::Route(route) => return Err(self.route_as_tensor(operand.span, route)),
                Value::Text => return Err(self.text_as_value(operand.span)),
                _ => return Err(self.wrong_rank(function, name, ty, operand)),
            };
            let (found, wanted) = (tensor.axes.len(), ty.axes.len());
            if found < wanted || (found > wanted && ty.lead.is_none()) {
                return Err(self.wrong_rank(function, name, ty, operand));
            }
            let (lead, rest) = tensor.axes.split_at(found - wanted);
            if ty.lead.is_some() {
                match &solution.lead {
                    Some((known, from)) if known != lead => {
                        let message =
                            format!("`..` is [{}] and [{}] in one call", axis::list(known), axis::list(lead));
                        let diagnostic = Diagnostic::error(&codes::SHAPE_MISMATCH, message)
                            .label(operand.span, tensor.type_text())
                            .context(*from, format!("`..` is [{}] here", axis::list(known)));
                        return Err(self.report(diagnostic));
                    }
                    Some(_) => {}
                    None => solution.lead = Some((lead.to_vec(), operand.span)),
                }
            }
            axes.extend(ty.axes.iter().zip(rest.iter().cloned()).map(|(mono, axis)| (mono, axis, at)));
        }
        for (mono, axis, at) in &axes {
            if let [Factor::Dim(name)] = &mono.factors[..]
                && solution.get(&name.text).is_none()
            {
                solution.dims.push((name.text.clone(), axis.clone(), pairs[*at].2.span));
            }
        }
        for (mono, axis, at) in &axes {
            let open: Vec<&ast::Ident> = (mono.factors.iter())
                .filter_map(|f| match f {
                    Factor::Dim(name) if solution.get(&name.text).is_none() => Some(name),
                    _ => None,
                })
                .collect();
            if let [name] = open[..] {
                let known = Mono {
                    factors: (mono.factors.iter())
                        .filter(|f| !matches!(f, Factor::Dim(n) if n.text == name.text))
                        .cloned()
                        .collect(),
                    span: mono.span,
                };
                if let Some(value) = solution.axis(&known).and_then(|known| axis.divided_by(&known)) {
                    solution.dims.push((name.text.clone(), value, pairs[*at].2.span));
                }
            }
            if solution.axis(mono).as_ref() != Some(axis) {
                return Err(self.wrong_axis(function, &pairs[*at], mono, axis, solution));
            }
        }
        let unsolved = (function.ast.params.iter()).find_map(|p| match p {
            FnParam::Value { name, ty } => {
                ty.axes.iter().find(|m| solution.axis(m).is_none()).map(|m| (name, m))
            }
            FnParam::Dim { .. } => None,
        });
        if let Some((name, mono)) = unsolved {
            let text = mono.span.slice(function.source);
            let message = format!("nothing in this call says how large {text} of `{}` is", name.text);
            let at = pairs.iter().find(|(n, ..)| n.text == name.text).map_or(mono.span, |(.., o)| o.span);
            return Err(self.fail(&codes::TYPE_MISMATCH, message, at, "expected a tensor"));
        }
        Ok(())
    }

    fn wrong_rank(
        &mut self,
        function: &Function<'_>,
        name: &ast::Ident,
        ty: &ast::Type,
        operand: &Operand,
    ) -> Failed {
        let wanted = ty.span.slice(function.source);
        let message = format!("`{}` of `{}` is {wanted}", name.text, function.ast.name.text);
        let found = operand.value.type_text();
        self.fail(&codes::RANK_MISMATCH, message, operand.span, format!("{found}, expected {wanted}"))
    }

    fn wrong_axis(
        &mut self,
        function: &Function<'_>,
        (name, ty, operand): &(&ast::Ident, &ast::Type, Operand),
        mono: &Mono,
        found: &Axis,
        solution: &Solution,
    ) -> Failed {
        let wanted = mono.span.slice(function.source);
        let expected = solution.axis(mono);
        let same = expected.as_ref().filter(|e| e.size() == found.size());
        let (code, message) = match same {
            Some(e) => (
                &codes::SAME_SIZE_OTHER_NAME,
                format!("{found} and {e} are one size{} but two names", self.size_note(found)),
            ),
            None => (
                &codes::SHAPE_MISMATCH,
                format!(
                    "`{}` of `{}` is {}",
                    name.text,
                    function.ast.name.text,
                    ty.span.slice(function.source)
                ),
            ),
        };
        let expectation = match &expected {
            Some(e) if e.to_string() != wanted => format!("{wanted} is {e} in this call"),
            Some(e) => format!("expected {e}"),
            None => format!("{found} is no multiple that gives {wanted}"),
        };
        let mut diagnostic = Diagnostic::error(code, message)
            .label(operand.span, format!("{}, with {found} where {expectation}", operand.value.type_text()));
        if let [Factor::Dim(dim)] = &mono.factors[..]
            && let Some((dim, axis, from)) = solution.get(&dim.text)
            && *from != operand.span
        {
            diagnostic = diagnostic.context(*from, format!("says that {dim} is {axis}"));
        }
        diagnostic = self
            .note_equal_sizes(diagnostic, expected.as_ref().map(|e| (e, found)).filter(|_| same.is_none()));
        if let (Value::Tensor(tensor), [_, _]) = (&operand.value, &ty.axes[..])
            && let (Some(a), Some(b)) = (solution.axis(&ty.axes[0]), solution.axis(&ty.axes[1]))
            && tensor.axes == [b.clone(), a.clone()]
        {
            diagnostic = diagnostic.help(format!("`{}.T` is [{a}, {b}]", self.text(operand.span)));
        } else if let (Value::Tensor(tensor), Some(e), Some(_)) = (&operand.value, &expected, same) {
            let axes: Vec<Axis> =
                tensor.axes.iter().map(|a| if a == found { e.clone() } else { a.clone() }).collect();
            diagnostic =
                diagnostic.help(format!("`rename({}, [{}])`", self.text(operand.span), axis::list(&axes)));
        }
        self.report(diagnostic)
    }

    fn replace(
        &mut self,
        function: &Function<'_>,
        pairs: &[(&ast::Ident, &ast::Type, Operand)],
        solution: &Solution,
        span: Span,
    ) -> Check<Value> {
        let lead_axes = solution.lead.as_ref().map_or(&[][..], |(axes, _)| axes);
        let lead: Vec<Hidden> = lead_axes.iter().map(|axis| self.open_hidden(axis.clone(), true)).collect();
        let mut values = Vec::new();
        for (name, ty, operand) in pairs {
            let value = match &operand.value {
                Value::Tensor(tensor) => Value::Tensor(self.argument(function, tensor, ty, &lead, operand)?),
                other => {
                    // A number is checked against the element type here and stays a number inside.
                    let promise = Promise { dtype: dtype(ty.dtype), axes: &[], lead: false, span: None };
                    self.keep_promise(operand, &promise)?;
                    other.clone()
                }
            };
            values.push((*name, value));
        }
        let result: Option<Vec<Axis>> = function.ast.result.axes.iter().map(|m| solution.axis(m)).collect();
        let result = result.ok_or(Failed)?;
        let mut tensor = if self.emitter.sizes().is_none() {
            let hidden = values.iter().filter_map(|(_, v)| match v {
                Value::Tensor(t) => Some(t.hidden.as_slice()),
                _ => None,
            });
            let ty = &function.ast.result;
            let mut hidden = join_hidden(hidden);
            if ty.lead.is_none() {
                hidden.retain(|h| !lead.contains(h));
            } else {
                hidden = join_hidden([hidden.as_slice(), &lead].into_iter());
            }
            Tensor::new(ValueId(0), dtype(ty.dtype).unwrap_or(DType::F32), hidden, result)
        } else {
            if self.calls.len() >= MOST_NESTED_CALLS || self.call_count >= MOST_CALLS {
                let message = "calls are nested too deeply, or there are too many of them";
                return Err(self.fail(&codes::TOO_DEEP, message, span, ""));
            }
            let dims: Vec<(String, Axis)> =
                solution.dims.iter().map(|(name, axis, _)| (name.clone(), axis.clone())).collect();
            let inner = self.body(function, values, &dims, &lead, span)?;
            Tensor { axes: result, ..inner }
        };
        for (hidden, axis) in lead.iter().zip(lead_axes).rev() {
            if let Some(at) = tensor.hidden.iter().position(|h| h == hidden) {
                tensor = tensor.reveal(at, axis.clone());
            }
        }
        tensor.origin = None;
        Ok(Value::Tensor(tensor))
    }

    /// An argument with its leading axes hidden, in the element type of the signature.
    fn argument(
        &mut self,
        function: &Function<'_>,
        tensor: &Tensor,
        ty: &ast::Type,
        lead: &[Hidden],
        operand: &Operand,
    ) -> Check<Tensor> {
        let mut tensor = tensor.clone();
        if ty.lead.is_some() {
            for hidden in lead {
                tensor = tensor.hide(0, *hidden);
            }
        }
        let axes = tensor.axes.clone();
        let span = function.in_source.then_some(ty.span);
        let promise = Promise { dtype: dtype(ty.dtype), axes: &axes, lead: ty.lead.is_some(), span };
        let operand = Operand { value: Value::Tensor(tensor), span: operand.span };
        self.keep_promise(&operand, &promise)
    }
}
