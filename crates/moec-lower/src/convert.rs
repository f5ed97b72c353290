//! Conversions that need no word in the source: exact widening, literals that take a type, types that were promised.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{Attr, DType, Op, TensorType};

use crate::axis::{self, Axis};
use crate::element::as_number;
use crate::lowerer::{Check, Failed, Lowerer};
use crate::value::{Hidden, Literal, Operand, Route, Tensor, Value, type_text};

/// A type that a value is promised to have.
pub(crate) struct Promise<'p> {
    /// `None` for `float`.
    pub(crate) dtype: Option<DType>,
    pub(crate) axes: &'p [Axis],
    /// Whether `..` stands in front of the axes.
    pub(crate) lead: bool,
    /// Where the type is written, if in the text at hand.
    pub(crate) span: Option<Span>,
}

impl Promise<'_> {
    pub(crate) fn text(&self) -> String {
        let text = type_text(self.dtype.unwrap_or(DType::F32), self.lead, self.axes);
        if self.dtype.is_none() { text.replacen("f32", "float", 1) } else { text }
    }

    fn mark(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self.span {
            Some(span) => diagnostic.context(span, format!("declared {}", self.text())),
            None => diagnostic,
        }
    }
}

impl<'a> Lowerer<'a> {
    /// A tensor filled with a literal.
    pub(crate) fn filled(
        &mut self,
        span: Span,
        literal: Literal,
        dtype: DType,
        hidden: &[Hidden],
        axes: &[Axis],
    ) -> Check<Tensor> {
        let value = match literal {
            Literal::Bool(b) if dtype == DType::Bool => f64::from(u8::from(b)),
            Literal::Number(n) if dtype.is_float() => n,
            Literal::Number(n) if dtype == DType::U8 && n.fract() == 0.0 && (0.0..=255.0).contains(&n) => n,
            Literal::Number(n)
                if dtype == DType::I32
                    && n.fract() == 0.0
                    && (i32::MIN.into()..=i32::MAX.into()).contains(&n) =>
            {
                n
            }
            _ => {
                let message = format!("`{}` is not of element type {dtype}", self.text(span));
                let mut diagnostic =
                    Diagnostic::error(&codes::ELEMENT_TYPE, message).label(span, format!("expected {dtype}"));
                if dtype == DType::I32 {
                    diagnostic =
                        diagnostic.help("to compute in floats, convert the other side with `f32(..)`");
                }
                return Err(self.report(diagnostic));
            }
        };
        let ty = TensorType::new(dtype, self.shape(hidden, axes));
        let node = self.emit(span, Op::Const, &[], [("type", Attr::Type(ty)), ("value", value.into())])?;
        Ok(Tensor::new(node, dtype, hidden.to_vec(), axes.to_vec()))
    }

    /// A size that is known only when the program runs, as a scalar: so many ones added up.
    pub(crate) fn counted(&mut self, span: Span, axis: &Axis, dtype: DType) -> Check<Tensor> {
        if !matches!(dtype, DType::F32 | DType::I32) {
            let message = format!("the dim {axis} is a number, not {dtype}");
            return Err(self.fail(&codes::ELEMENT_TYPE, message, span, format!("expected {dtype}")));
        }
        let ones = self.filled(span, Literal::Number(1.0), dtype, &[], std::slice::from_ref(axis))?;
        let node = self.emit(span, Op::Sum, &[ones.node], [("axis", 0usize.into())])?;
        Ok(Tensor::new(node, dtype, Vec::new(), Vec::new()))
    }

    /// The operand as a tensor; literals become scalars of their natural element type.
    pub(crate) fn tensor(&mut self, operand: &Operand) -> Check<Tensor> {
        match &operand.value {
            Value::Tensor(tensor) => Ok(tensor.clone()),
            Value::Literal(literal) => {
                let dtype = if matches!(literal, Literal::Bool(_)) { DType::Bool } else { DType::F32 };
                self.filled(operand.span, *literal, dtype, &[], &[])
            }
            Value::Size(axis) => self.counted(operand.span, axis, DType::F32),
            Value::Route(route) => Err(self.route_as_tensor(operand.span, route)),
            Value::Text => Err(self.text_as_value(operand.span)),
        }
    }

    pub(crate) fn text_as_value(&mut self, span: Span) -> Failed {
        let message = format!("`{}` is a text, not a tensor or number", self.text(span));
        self.fail(&codes::ELEMENT_TYPE, message, span, "texts only name tensors in files")
    }

    pub(crate) fn route_as_tensor(&mut self, span: Span, route: &Route) -> Failed {
        let [scores, call] = &route.text;
        let help = if span.slice(self.frame.source).contains("top_k") {
            format!("`{scores} where {call}.mask else 0`")
        } else {
            format!("`{scores} where {}.mask else 0`", self.text(span))
        };
        let diagnostic = Diagnostic::error(&codes::ROUTE_AS_TENSOR, "`top_k` gives a route, not a tensor")
            .label(span, "take `.mask`, `.index` or `.value`")
            .help(help);
        self.report(diagnostic)
    }

    /// The operand as a tensor of float element type.
    pub(crate) fn float_tensor(&mut self, what: &str, operand: &Operand) -> Check<Tensor> {
        let tensor = self.tensor(operand)?;
        if tensor.dtype.is_float() {
            return Ok(tensor);
        }
        let text = self.text(operand.span);
        let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, format!("{what} takes floats"))
            .label(operand.span, tensor.type_text())
            .help(format!("`f32({text})`"));
        Err(self.report(diagnostic))
    }

    /// The operand as an `f32` tensor, widened from 16 bits.
    pub(crate) fn f32_tensor(&mut self, what: &str, operand: &Operand) -> Check<Tensor> {
        let tensor = self.float_tensor(what, operand)?;
        self.cast(operand.span, &tensor, DType::F32)
    }

    /// The operand as an `f32` or `i32` tensor.
    pub(crate) fn number_tensor(&mut self, what: &str, operand: &Operand) -> Check<Tensor> {
        let tensor = self.tensor(operand)?;
        if tensor.dtype == DType::I32 {
            return Ok(tensor);
        }
        if tensor.dtype.is_float() {
            return self.cast(operand.span, &tensor, DType::F32);
        }
        let text = self.text(operand.span);
        let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, format!("{what} takes numbers"))
            .label(operand.span, tensor.type_text())
            .help(as_number(&text, &Value::Tensor(tensor)));
        Err(self.report(diagnostic))
    }

    /// The operand as a tensor of element type `dtype`, not converted.
    pub(crate) fn tensor_of(&mut self, what: &str, dtype: DType, operand: &Operand) -> Check<Tensor> {
        if let Value::Literal(literal) = operand.value {
            return self.filled(operand.span, literal, dtype, &[], &[]);
        }
        if let (Value::Size(axis), DType::I32) = (&operand.value, dtype) {
            return self.counted(operand.span, &axis.clone(), dtype);
        }
        let tensor = self.tensor(operand)?;
        if tensor.dtype == dtype {
            return Ok(tensor);
        }
        let mut diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, format!("{what} takes {dtype}"))
            .label(operand.span, tensor.type_text());
        if dtype == DType::I32 {
            diagnostic = diagnostic.help(format!("`i32({})`", self.text(operand.span)));
        } else if dtype == DType::Bool {
            diagnostic = diagnostic.help(format!("compare: `{} != 0`", self.text(operand.span)));
        }
        Err(self.report(diagnostic))
    }

    /// The operand in the type it is promised to have. Floats widen, literals fill, nothing else changes.
    pub(crate) fn keep_promise(&mut self, operand: &Operand, promise: &Promise<'_>) -> Check<Tensor> {
        let span = operand.span;
        if let Value::Literal(literal) = operand.value {
            return self.filled(span, literal, promise.dtype.unwrap_or(DType::F32), &[], promise.axes);
        }
        if let (Value::Size(axis), []) = (&operand.value, promise.axes) {
            return self.counted(span, &axis.clone(), promise.dtype.unwrap_or(DType::F32));
        }
        let tensor = self.tensor(operand)?;
        if tensor.axes != promise.axes {
            return Err(self.broken_axes(&tensor, span, promise));
        }
        match promise.dtype {
            None if tensor.dtype.is_float() => Ok(tensor),
            Some(dtype) if dtype == tensor.dtype => Ok(tensor),
            Some(DType::F32) if tensor.dtype.is_float() => self.cast(span, &tensor, DType::F32),
            wanted => Err(self.broken_dtype(&tensor, span, wanted, promise)),
        }
    }

    fn broken_axes(&mut self, tensor: &Tensor, span: Span, promise: &Promise<'_>) -> Failed {
        let (found, wanted) = (&tensor.axes, promise.axes);
        let text = self.text(span);
        let pair = found.iter().zip(wanted).find(|(f, w)| f != w);
        if found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(f, w)| f.size() == w.size())
            && let Some((f, w)) = pair
        {
            let message = format!("{f} and {w} are one size{} but two names", self.size_note(f));
            let diagnostic = Diagnostic::error(&codes::SAME_SIZE_OTHER_NAME, message)
                .label(span, tensor.type_text())
                .help(format!("`rename({text}, [{}])`", axis::list(wanted)));
            return self.report(promise.mark(diagnostic));
        }
        let message = format!("this is {}, declared {}", tensor.type_text(), promise.text());
        let diagnostic = Diagnostic::error(&codes::TYPE_MISMATCH, message).label(span, tensor.type_text());
        let mut diagnostic = promise.mark(diagnostic);
        let order: Option<Vec<usize>> = wanted.iter().map(|w| found.iter().position(|f| f == w)).collect();
        match order {
            Some(order) if order.len() == found.len() && is_permutation(&order) => {
                diagnostic = diagnostic.help(format!("`transpose({text}, {order:?})`"));
            }
            _ if found.len() < wanted.len() && found.iter().all(|f| wanted.contains(f)) => {
                diagnostic =
                    diagnostic.help(format!("to repeat it, `expand({text}, [{}])`", axis::list(wanted)));
            }
            _ => diagnostic = self.note_equal_sizes(diagnostic, pair),
        }
        self.report(diagnostic)
    }

    fn broken_dtype(
        &mut self,
        tensor: &Tensor,
        span: Span,
        wanted: Option<DType>,
        promise: &Promise<'_>,
    ) -> Failed {
        let name = wanted.map_or("float", DType::name);
        let mut label = tensor.type_text();
        if wanted.is_some_and(DType::is_float) && tensor.dtype == DType::F32 {
            label.push_str(": arithmetic is done in f32");
        }
        let message = format!("{} does not become {name} by itself", tensor.dtype);
        let cast = wanted.unwrap_or(DType::F32);
        let mut diagnostic =
            promise.mark(Diagnostic::error(&codes::ELEMENT_TYPE, message).label(span, label));
        if cast != DType::Bool {
            let text = self.text(span);
            let why = if cast.is_float() && tensor.dtype.is_float() {
                "round here, on purpose: "
            } else {
                "convert here, on purpose: "
            };
            diagnostic = diagnostic.help(format!("{why}`{cast}({text})`"));
        }
        self.report(diagnostic)
    }

    /// ` (160)`, if the size is known.
    pub(crate) fn size_note(&self, axis: &Axis) -> String {
        self.known(axis).map_or(String::new(), |n| format!(" ({n})"))
    }

    /// Says that two axes have one size by chance, if they do: a check by size would have passed.
    pub(crate) fn note_equal_sizes(
        &self,
        diagnostic: Diagnostic,
        pair: Option<(&Axis, &Axis)>,
    ) -> Diagnostic {
        match pair.and_then(|(a, b)| Some((a, b, self.known(a)?, self.known(b)?))) {
            Some((a, b, x, y)) if x == y && a != b => diagnostic
                .note(format!("{a} and {b} are both {x} here, so a check by size would have passed")),
            _ => diagnostic,
        }
    }
}

pub(crate) fn is_permutation(order: &[usize]) -> bool {
    (0..order.len()).all(|i| order.contains(&i))
}
