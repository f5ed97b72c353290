//! Operations that move elements, and those that make tensors of a given shape.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{Attr, Dim, Op, SizeSum};
use moec_syntax::ast::{Arg, ArgKind, ExprKind, UnaryOp};

use super::Call;
use crate::axis::{self, Axis};
use crate::lowerer::{Check, Failed, Lowerer};
use crate::value::{Literal, Operand, Tensor, Value};

impl Lowerer<'_> {
    /// The tensor of argument 0.
    fn base(&mut self, call: &Call<'_>) -> Check<(Tensor, Span)> {
        let operand = self.value_of(call, 0)?;
        Ok((self.tensor(&operand)?, operand.span))
    }

    /// The tensor of argument 0 and the axes listed in argument 1, both checked.
    fn base_and_axes(&mut self, call: &Call<'_>) -> Check<(Tensor, Span, Vec<Axis>)> {
        let base = self.base(call);
        let list = self.list(call, 1)?;
        let axes = self.axis_list(list);
        let (tensor, span) = base?;
        Ok((tensor, span, axes?))
    }

    pub(super) fn transpose(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base) = self.base(call)?;
        let list = self.list(call, 1)?;
        let rank = tensor.axes.len();
        let mut order: Vec<usize> = Vec::new();
        for item in list {
            let at = match &item.kind {
                ExprKind::Number(n) => n.integer.map(i128::from),
                ExprKind::Unary { op: UnaryOp::Neg, operand } => match &operand.kind {
                    ExprKind::Number(n) => n.integer.map(|n| rank as i128 - i128::from(n)),
                    _ => None,
                },
                ExprKind::Error => return Err(Failed),
                _ => None,
            };
            let at =
                at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < rank && !order.contains(at));
            let Some(at) = at else {
                let message = format!("`{}` is not one more position of {rank}", self.text(item.span));
                let diagnostic = Diagnostic::error(&codes::BAD_PERMUTATION, message)
                    .label(item.span, "each position from 0 occurs once")
                    .context(base, tensor.type_text());
                return Err(self.report(diagnostic));
            };
            order.push(at);
        }
        if order.len() != rank {
            let message = format!("{} positions for {rank} axes", order.len());
            let diagnostic = Diagnostic::error(&codes::BAD_PERMUTATION, message)
                .label(call.values[1].span, "each position from 0 occurs once")
                .context(base, tensor.type_text());
            return Err(self.report(diagnostic));
        }
        Ok(Value::Tensor(tensor.reordered(&order)))
    }

    pub(super) fn reshape(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base, axes) = self.base_and_axes(call)?;
        let span = call.span;
        let count = |axes: &[Axis]| axes.iter().try_fold(Axis::constant(1), |n, axis| n.times(axis));
        let (before, after) = (count(&tensor.axes), count(&axes));
        let (before, after) = (self.ir(span, before)?, self.ir(span, after)?);
        if !self.proved(|table| table.same(before.size(), after.size())) {
            let known = |axis: &Axis| self.known(axis).map_or(String::new(), |n| format!(" = {n}"));
            let message = format!("{before}{} elements are not {after}{}", known(&before), known(&after));
            let diagnostic = Diagnostic::error(&codes::SIZE_NOT_PROVED, message)
                .label(base, tensor.type_text())
                .label(call.values[1].span, "not proved to hold as many elements");
            return Err(self.report(diagnostic));
        }
        if tensor.axes == axes {
            return Ok(Value::Tensor(tensor));
        }
        self.reshaped(span, &tensor, axes)
    }

    fn reshaped(&mut self, span: Span, tensor: &Tensor, axes: Vec<Axis>) -> Check<Value> {
        let node = self.settled(span, tensor)?;
        let shape = self.shape(&tensor.hidden, &axes);
        let node = self.emit(span, Op::Reshape, &[node], [("shape", shape.into())])?;
        Ok(Value::Tensor(Tensor::new(node, tensor.dtype, tensor.hidden.clone(), axes)))
    }

    /// New names for the same sizes: nothing is done unless the sizes are written differently.
    pub(super) fn rename(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base, axes) = self.base_and_axes(call)?;
        if axes.len() != tensor.axes.len() {
            let message = format!("{} names for {} axes", axes.len(), tensor.axes.len());
            let diagnostic = Diagnostic::error(&codes::RANK_MISMATCH, message)
                .label(call.values[1].span, "")
                .context(base, tensor.type_text());
            return Err(self.report(diagnostic));
        }
        for (old, new) in tensor.axes.iter().zip(&axes) {
            if !self.proved(|table| table.same(old.size(), new.size())) {
                let size = |axis: &Axis| self.known(axis).map_or(String::new(), |n| format!(" = {n}"));
                let message = format!("{old}{} is not proved to be {new}{}", size(old), size(new));
                let diagnostic = Diagnostic::error(&codes::SIZE_NOT_PROVED, message)
                    .label(call.values[1].span, format!("{new} for {old}"))
                    .context(base, tensor.type_text());
                return Err(self.report(diagnostic));
            }
        }
        if tensor.axes.iter().zip(&axes).any(|(old, new)| old.size() != new.size()) {
            return self.reshaped(call.span, &tensor, axes);
        }
        Ok(Value::Tensor(Tensor { axes, origin: None, ..tensor }))
    }

    pub(super) fn expand(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base, axes) = self.base_and_axes(call)?;
        if tensor.axes != axes {
            for (i, axis) in tensor.axes.iter().enumerate() {
                match axes.iter().filter(|a| *a == axis).count() {
                    1 if !tensor.axes[..i].contains(axis) => {}
                    0 => {
                        let message = format!("`expand` keeps every axis, and the list lacks {axis}");
                        let diagnostic = Diagnostic::error(&codes::SHAPE_MISMATCH, message)
                            .label(base, tensor.type_text())
                            .label(call.values[1].span, format!("[{}]", axis::list(&axes)));
                        return Err(self.report(diagnostic));
                    }
                    _ => return Err(self.twice(axis, &tensor, base, None)),
                }
            }
        }
        let node = self.align(call.span, &tensor, &tensor.hidden, &axes)?;
        Ok(Value::Tensor(Tensor::new(node, tensor.dtype, tensor.hidden, axes)))
    }

    /// `slice(x, [starts], [ends])`, one of each for every axis.
    pub(super) fn slice_all(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base) = self.base(call)?;
        let lists = [self.list(call, 1)?, self.list(call, 2)?];
        for (i, list) in lists.iter().enumerate() {
            if list.len() != tensor.axes.len() {
                let message = format!("{} bounds for {} axes", list.len(), tensor.axes.len());
                let diagnostic = Diagnostic::error(&codes::RANK_MISMATCH, message)
                    .label(call.values[i + 1].span, "one for each axis")
                    .context(base, tensor.type_text());
                return Err(self.report(diagnostic));
            }
        }
        let mut result = tensor;
        for (at, (start, end)) in lists[0].iter().zip(lists[1]).enumerate() {
            let span = end.span;
            let (start, end) = (self.size_expr(start), self.size_expr(end));
            result = self.slice(&result, at, &start?, &end?, 1, span)?;
        }
        Ok(Value::Tensor(result))
    }

    /// `pad(x, over C, before = 0, after = R, value = 0)`
    pub(super) fn pad(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, base) = self.base(call)?;
        let at = self.call_axis(call, &tensor, base)?;
        let value = self.number(call, "value", 0.0)?;
        let bound = |this: &mut Self, name: &str| match call.named.iter().find(|(n, _)| n.text == name) {
            Some((_, expr)) => this.size_expr(expr),
            None => Ok(SizeSum::of(&Dim::constant(0))),
        };
        let (before, after) = (bound(self, "before")?, bound(self, "after")?);
        let whole = SizeSum::of(tensor.axes[at].name()).plus(&before, 1).plus(&after, 1);
        let size = self.named_sum(&whole, "this `pad`", call.span)?;
        let before = self.named_sum(&before, "`before`", call.span)?;
        let after = self.named_sum(&after, "`after`", call.span)?;
        let node = self.emitter.push(
            Op::Pad,
            &[tensor.node],
            moec_ir::Attrs::new([
                ("after", Attr::from(after.size())),
                ("axis", tensor.place(at).into()),
                ("before", before.size().into()),
                ("size", size.size().into()),
                ("value", value.into()),
            ]),
        );
        let node = self.ir(call.span, node)?;
        let mut result = tensor.with_node(node, tensor.dtype);
        result.axes[at] = size;
        Ok(Value::Tensor(result))
    }

    /// `concat(a, b, axis 0)`
    pub(super) fn concat(&mut self, call: &Call<'_>) -> Check<Value> {
        let mut operands: Vec<Check<Operand>> = Vec::new();
        for i in 0..call.values.len() {
            operands.push(self.value_of(call, i));
        }
        let operands: Vec<Operand> = operands.into_iter().collect::<Check<_>>()?;
        let mut tensors: Vec<Tensor> = Vec::new();
        for operand in &operands {
            tensors.push(self.tensor(operand)?);
        }
        let at = self.call_axis(call, &tensors[0], operands[0].span)?;
        let (first, first_span) = (tensors[0].clone(), operands[0].span);
        let mut sum = SizeSum::default();
        for (tensor, operand) in tensors.iter().zip(&operands) {
            let mut aligned = tensor.axes.clone();
            if let (Some(own), true) = (aligned.get_mut(at), tensor.axes.len() == first.axes.len()) {
                sum = sum.plus(&SizeSum::of(own.name()), 1);
                *own = first.axes[at].clone();
            }
            if aligned != first.axes || tensor.dtype != first.dtype {
                let same_shape = aligned == first.axes;
                let (code, message) = if same_shape {
                    (&codes::ELEMENT_TYPE, "`concat` joins tensors of one element type".to_owned())
                } else {
                    (&codes::SHAPE_MISMATCH, format!("`concat` joins tensors that differ in axis {at} only"))
                };
                let diagnostic = Diagnostic::error(code, message)
                    .label(first_span, first.type_text())
                    .label(operand.span, tensor.type_text());
                return Err(self.report(diagnostic));
            }
        }
        let size = self.named_sum(&sum, "this `concat`", call.span)?;
        let hidden = crate::element::join_hidden(tensors.iter().map(|t| t.hidden.as_slice()));
        let mut args = Vec::new();
        for (tensor, operand) in tensors.iter().zip(&operands) {
            let axes = tensor.axes.clone();
            args.push(self.align(operand.span, tensor, &hidden, &axes)?);
        }
        let attrs = [("axis", (hidden.len() + at).into()), ("size", size.size().into())];
        let node = self.emit(call.span, Op::Concat, &args, attrs)?;
        let mut axes = first.axes;
        axes[at] = size;
        Ok(Value::Tensor(Tensor::new(node, first.dtype, hidden, axes)))
    }

    /// `gather(x, index, axis 0)`: aligns nothing, as numpy's `take`.
    pub(super) fn gather_call(&mut self, call: &Call<'_>) -> Check<Value> {
        let base = self.base(call);
        let index = self.value_of(call, 1);
        let ((tensor, base), index) = (base?, index?);
        let at = self.call_axis(call, &tensor, base)?;
        let index_tensor = self.tensor_of("an index", moec_ir::DType::I32, &index)?;
        self.gather(&tensor, at, &index_tensor, index.span, false).map(Value::Tensor)
    }

    /// `zeros(f32[T, H])`
    pub(super) fn zeros(&mut self, call: &Call<'_>) -> Check<Value> {
        let [Arg { kind: ArgKind::Type(ty), span }] = call.values[..] else {
            return Err(self.wrong(call.row, call.span, "expected a type"));
        };
        let (dtype, axes) = self.written_type(ty)?;
        let zero = match dtype {
            moec_ir::DType::Bool => Literal::Bool(false),
            _ => Literal::Number(0.0),
        };
        self.filled(*span, zero, dtype, &[], &axes).map(Value::Tensor)
    }
}
