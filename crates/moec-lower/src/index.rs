//! Brackets: bound indices, fixing, slicing and gathering, all by name of the axis.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{Attr, DType, Dim, Op, SizeSum, TensorType, ValueId};
use moec_syntax::ast::{Expr, ExprKind, Index};

use crate::axis::{self, Axis};
use crate::element::join_hidden;
use crate::lowerer::{Binding, Check, Failed, Lowerer};
use crate::value::{Hidden, Literal, Operand, Tensor, Value};

/// Where an axis of an IR value comes from.
#[derive(Clone, PartialEq)]
enum Source {
    Hidden(Hidden),
    /// A visible axis of the base, or of the index.
    Base(usize),
    Index(usize),
}

impl Lowerer<'_> {
    /// `base[i, j, ..]`, one index after the other.
    pub(crate) fn index(&mut self, base: &Operand, indices: &[Index]) -> Check<Value> {
        let mut operand = Operand { value: Value::Tensor(self.tensor(base)?), span: base.span };
        for index in indices {
            let tensor = self.tensor(&operand)?;
            let tensor = match index {
                Index::Bound(name) => self.select(&tensor, base.span, &name.text, name.span),
                Index::At { axis, value, span } => match self.index_name(value) {
                    // `a[E = e]` is `a[e]`.
                    Some(hidden) if self.mono(axis)? == self.hidden_axis(hidden) => {
                        self.lookup_index(value)?;
                        self.select_hidden(&tensor, base.span, hidden, *span)
                    }
                    _ => {
                        let at = self.mono(axis);
                        let value = self.operand(value);
                        let at = self.find_axis(&tensor, base.span, &at?, axis.span)?;
                        self.at(&tensor, at, &value?, *span)
                    }
                },
                Index::Range { axis, start, end, step, span } => {
                    let at = self.mono(axis);
                    let (start, end) = (self.size_expr(start), self.size_expr(end));
                    let at = self.find_axis(&tensor, base.span, &at?, axis.span)?;
                    let step = step.map_or(1, |(step, _)| step);
                    self.slice(&tensor, at, &start?, &end?, step, *span)
                }
                Index::Error(_) => Err(Failed),
            };
            operand.value = Value::Tensor(tensor?);
        }
        Ok(operand.value)
    }

    /// The hidden axis that an expression names, if it is a bare index.
    fn index_name(&self, value: &Expr) -> Option<Hidden> {
        let ExprKind::Name(name) = &value.kind else { return None };
        match self.frame.names.iter().rfind(|n| n.text == *name)?.binding {
            Binding::Index(hidden) => Some(hidden),
            Binding::Value(_) => None,
        }
    }

    fn lookup_index(&mut self, value: &Expr) -> Check<()> {
        if let ExprKind::Name(name) = &value.kind {
            self.lookup(name, value.span)?;
        }
        Ok(())
    }

    fn select(&mut self, tensor: &Tensor, base: Span, name: &str, span: Span) -> Check<Tensor> {
        match self.lookup(name, span)? {
            Binding::Index(hidden) => self.select_hidden(tensor, base, hidden, span),
            Binding::Value(_) => {
                let first = tensor.axes.first().map_or("E".into(), Axis::to_string);
                let diagnostic =
                    Diagnostic::error(&codes::POSITIONAL_INDEX, format!("`{name}` is not a bound index"))
                        .label(span, "which axis does it index?")
                        .help(format!("name the axis: `{}[{first} = {name}]`", self.text(base)));
                Err(self.report(diagnostic))
            }
        }
    }

    fn select_hidden(&mut self, tensor: &Tensor, base: Span, hidden: Hidden, span: Span) -> Check<Tensor> {
        let axis = self.hidden_axis(hidden);
        let found: Vec<usize> = (0..tensor.axes.len()).filter(|&i| tensor.axes[i] == axis).collect();
        let at = match found[..] {
            [at] => at,
            [] => return Err(self.no_axis_for_index(tensor, base, &axis, hidden, span)),
            _ => return Err(self.twice(&axis, tensor, base, None)),
        };
        let Some(place) = tensor.hidden_place(hidden) else { return Ok(tensor.hide(at, hidden)) };
        // The tensor depends on the index already: its diagonal.
        let index = self.iota(span, &axis)?;
        let attrs = [("along", vec![place].into()), ("axis", tensor.place(at).into())];
        let node = self.emit(span, Op::Gather, &[tensor.node, index], attrs)?;
        Ok(tensor.without_axis(at, node, tensor.dtype))
    }

    /// The `i32` numbers 0, 1, .. along one axis.
    pub(crate) fn iota(&mut self, span: Span, axis: &Axis) -> Check<ValueId> {
        let ty = TensorType::new(DType::I32, vec![axis.size().clone()]);
        self.emit(span, Op::Iota, &[], [("axis", 0usize.into()), ("type", Attr::Type(ty))])
    }

    fn no_axis_for_index(
        &mut self,
        tensor: &Tensor,
        base: Span,
        axis: &Axis,
        hidden: Hidden,
        span: Span,
    ) -> Failed {
        let (text, index) = (self.text(base), self.text(span));
        let message = format!("`{text}[{index}]` needs an axis {axis}; `{text}` is {}", tensor.type_text());
        let mut diagnostic = Diagnostic::error(&codes::NO_SUCH_AXIS, message).label(base, tensor.type_text());
        let binder = self.frame.names.iter().rfind(|n| matches!(n.binding, Binding::Index(h) if h == hidden));
        if let Some(binder) = binder {
            diagnostic = diagnostic.context(binder.span, format!("{} runs over {axis}", binder.text));
        }
        self.report(about_origin(diagnostic, tensor, &text, axis))
    }

    /// The visible axis of this name, wherever it lies.
    pub(crate) fn find_axis(&mut self, tensor: &Tensor, base: Span, axis: &Axis, at: Span) -> Check<usize> {
        let found: Vec<usize> = (0..tensor.axes.len()).filter(|&i| tensor.axes[i] == *axis).collect();
        match found[..] {
            [one] => Ok(one),
            [] => {
                let text = self.text(base);
                let message = format!("`{text}` has no axis {axis}");
                let diagnostic = Diagnostic::error(&codes::NO_SUCH_AXIS, message)
                    .label(base, tensor.type_text())
                    .context(at, format!("{axis} is asked for here"));
                let same = tensor.axes.iter().find(|a| a.size() == axis.size());
                let diagnostic = match same {
                    Some(other) => {
                        diagnostic.note(format!("its axis {other} has the size of {axis} and another name"))
                    }
                    None => diagnostic,
                };
                Err(self.report(about_origin(diagnostic, tensor, &text, axis)))
            }
            _ => Err(self.twice(axis, tensor, base, None)),
        }
    }

    /// `a[P = value]`: fixed by a number, gathered by a tensor.
    fn at(&mut self, tensor: &Tensor, at: usize, value: &Operand, span: Span) -> Check<Tensor> {
        let axis = tensor.axes[at].clone();
        match &value.value {
            Value::Literal(Literal::Number(n)) => {
                let size = self.known(&axis);
                if n.fract() != 0.0 || *n < 0.0 || size.is_some_and(|size| *n >= size as f64) {
                    let range = size.map_or(axis.to_string(), |n| n.to_string());
                    let message = format!("{n} is not an index of {axis}");
                    let label = format!("expected 0 .. {range}");
                    return Err(self.fail(&codes::BAD_SLICE, message, value.span, label));
                }
                if size.is_some() {
                    return self.fix(tensor, at, Dim::constant(*n as u64), span);
                }
                // The axis may be too short when the program runs, which a gather checks.
                let index = self.tensor_of("an index", DType::I32, value)?;
                self.gather(tensor, at, &index, value.span, true)
            }
            Value::Size(_) => {
                let message = format!("the bound of {axis} must be known when compiling");
                Err(self.fail(&codes::NOT_CONSTANT, message, value.span, "expected a number"))
            }
            _ => {
                let index = self.tensor_of("an index", DType::I32, value)?;
                self.gather(tensor, at, &index, value.span, true)
            }
        }
    }

    /// One element of an axis, which goes away.
    fn fix(&mut self, tensor: &Tensor, at: usize, start: Dim, span: Span) -> Check<Tensor> {
        let place = tensor.place(at);
        let attrs: [(&'static str, Attr); 4] = [
            ("axis", place.into()),
            ("size", Dim::constant(1).into()),
            ("start", start.into()),
            ("step", 1i64.into()),
        ];
        let node = self.emit(span, Op::Slice, &[tensor.node], attrs)?;
        let result = tensor.without_axis(at, node, tensor.dtype);
        let shape = self.stored_shape(&result);
        let node = self.emit(span, Op::Reshape, &[node], [("shape", shape.into())])?;
        Ok(result.with_node(node, tensor.dtype))
    }

    /// The shape of the IR value behind a tensor.
    pub(crate) fn stored_shape(&self, tensor: &Tensor) -> Vec<Dim> {
        let logical = self.shape(&tensor.hidden, &tensor.axes);
        let mut stored = logical.clone();
        for (size, &place) in logical.into_iter().zip(&tensor.places) {
            stored[place] = size;
        }
        stored
    }

    /// The elements from `start` up to `end` of an axis, every `step`-th.
    pub(crate) fn slice(
        &mut self,
        tensor: &Tensor,
        at: usize,
        start: &SizeSum,
        end: &SizeSum,
        step: u64,
        span: Span,
    ) -> Check<Tensor> {
        let axis = tensor.axes[at].clone();
        let (lo, hi) = (self.named_sum(start, "the start", span)?, self.named_sum(end, "the end", span)?);
        if step == 0 || step > i64::MAX as u64 {
            return Err(self.fail(&codes::BAD_SLICE, "a stride is at least 1", span, ""));
        }
        let known = (self.known(&lo), self.known(&hi), self.known(&axis));
        if let (Some(lo), Some(hi), size) = known
            && (lo > hi || size.is_some_and(|size| hi > size))
        {
            let size = size.map_or(axis.to_string(), |n| format!("{axis} = {n}"));
            let message = format!("{lo}..{hi} does not lie in {size}");
            return Err(self.fail(&codes::BAD_SLICE, message, span, "expected 0 <= start <= end <= size"));
        }
        if lo.name().is(0) && hi == axis && step == 1 {
            return Ok(tensor.clone());
        }
        let whole = self.named_sum(&end.plus(start, -1), "this slice", span)?;
        let size = self.strided(&whole, step, span)?;
        let inside = self.proved(|table| table.within(lo.size(), size.size(), step, axis.size()));
        if !inside {
            let message = format!("{hi} is not proved to be at most {axis}");
            let diagnostic = Diagnostic::error(&codes::SIZE_NOT_PROVED, message)
                .label(span, "")
                .help(format!("declare it: `fact {hi} <= {axis}`"));
            return Err(self.report(diagnostic));
        }
        let attrs: [(&'static str, Attr); 4] = [
            ("axis", tensor.place(at).into()),
            ("size", size.size().into()),
            ("start", lo.size().into()),
            ("step", (step as i64).into()),
        ];
        let node = self.emit(span, Op::Slice, &[tensor.node], attrs)?;
        let mut result = tensor.with_node(node, tensor.dtype);
        result.axes[at] = size;
        Ok(result)
    }

    /// The number of elements that a stride leaves of `whole`.
    fn strided(&mut self, whole: &Axis, step: u64, span: Span) -> Check<Axis> {
        if step == 1 {
            return Ok(whole.clone());
        }
        if let Some(size) = whole.divided_by(&Axis::constant(step)) {
            return Ok(size);
        }
        match self.known(whole) {
            Some(n) => Ok(Axis::constant(n.div_ceil(step))),
            None => {
                let message = format!("{whole} by {step} makes an axis that no dim names");
                Err(self.fail(
                    &codes::UNNAMED_SIZE,
                    message,
                    span,
                    format!("{step} does not divide {whole} by name"),
                ))
            }
        }
    }

    /// The elements of an axis at `index`. Visible axes of the index that the tensor has as well are aligned with
    /// them if `aligned`, else all are new; new ones replace the axis. Hidden axes are always aligned.
    pub(crate) fn gather(
        &mut self,
        tensor: &Tensor,
        at: usize,
        index: &Tensor,
        index_span: Span,
        aligned: bool,
    ) -> Check<Tensor> {
        let mut along = vec![-1i64; index.places.len()];
        for h in &index.hidden {
            if let (Some(place), Some(from)) = (tensor.hidden_place(*h), index.hidden_place(*h)) {
                along[from] = place as i64;
            }
        }
        let mut new: Vec<usize> = Vec::new();
        for (i, axis) in index.axes.iter().enumerate() {
            let shared: Vec<usize> =
                (0..tensor.axes.len()).filter(|&j| j != at && tensor.axes[j] == *axis).collect();
            match (aligned, &shared[..]) {
                (true, [one]) if index.axes[..i].contains(axis) => {
                    let _ = one;
                    return Err(self.twice(axis, index, index_span, None));
                }
                (true, [one]) => along[index.place(i)] = tensor.place(*one) as i64,
                (true, [_, ..]) => return Err(self.twice(axis, tensor, index_span, None)),
                _ => new.push(i),
            }
        }
        let attrs = [("along", Attr::from(along.clone())), ("axis", tensor.place(at).into())];
        let node = self.emit(index_span, Op::Gather, &[tensor.node, index.node], attrs)?;
        // Where everything lies in the result: the operand's axes, with the new ones in place of the gathered one.
        let stored = |t: &Tensor, visible: fn(usize) -> Source| -> Vec<Source> {
            let logical: Vec<Source> =
                t.hidden.iter().map(|h| Source::Hidden(*h)).chain((0..t.axes.len()).map(visible)).collect();
            let mut stored = logical.clone();
            for (source, &place) in logical.into_iter().zip(&t.places) {
                stored[place] = source;
            }
            stored
        };
        let fresh: Vec<Source> = stored(index, Source::Index)
            .into_iter()
            .zip(&along)
            .filter(|(_, a)| **a == -1)
            .map(|(s, _)| s)
            .collect();
        let mut sources = stored(tensor, Source::Base);
        sources.splice(tensor.place(at)..=tensor.place(at), fresh);
        let hidden = join_hidden([tensor.hidden.as_slice(), &index.hidden].into_iter());
        let mut logical: Vec<Source> = hidden.iter().map(|h| Source::Hidden(*h)).collect();
        let mut axes = Vec::new();
        for (j, axis) in tensor.axes.iter().enumerate() {
            if j == at {
                logical.extend(new.iter().map(|&i| Source::Index(i)));
                axes.extend(new.iter().map(|&i| index.axes[i].clone()));
            } else {
                logical.push(Source::Base(j));
                axes.push(axis.clone());
            }
        }
        let places: Option<Vec<usize>> =
            logical.iter().map(|l| sources.iter().position(|s| s == l)).collect();
        Ok(Tensor { node, dtype: tensor.dtype, hidden, axes, places: places.ok_or(Failed)?, origin: None })
    }
}

/// Explains what became of an axis that a projection of a route lacks.
fn about_origin(diagnostic: Diagnostic, tensor: &Tensor, text: &str, wanted: &Axis) -> Diagnostic {
    match &tensor.origin {
        Some(origin) if origin.from == *wanted => diagnostic
            .note(format!(
                "`{text}` is `.{}` of a route: its {} entries are in order of score, not of {wanted}",
                origin.field, origin.to
            ))
            .help(format!("use `.mask`: `{} where {}.mask else 0`", origin.scores, origin.call)),
        _ => diagnostic.note(match tensor.axes.as_slice() {
            [] => format!("`{text}` is a scalar"),
            axes => format!("its axes are {}", axis::list(axes)),
        }),
    }
}
