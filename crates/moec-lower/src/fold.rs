//! Folds: the body with a fresh hidden copy of the axis, then a reduction, or the copy made visible.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, Op};
use moec_syntax::ast::{Fold, FoldOp};

use crate::axis::Axis;
use crate::element::join_hidden;
use crate::lowerer::{Binding, Check, Failed, Lowerer, NameKind};
use crate::value::{Hidden, Operand, Tensor, Value};

impl Lowerer<'_> {
    /// `sum e over E { .. }`
    pub(crate) fn fold(&mut self, fold: &Fold, span: Span) -> Check<Value> {
        let (names, errors) = (self.frame.names.len(), self.diagnostics.len());
        let mut axes: Vec<Check<Axis>> = Vec::new();
        for binder in &fold.binders {
            axes.push(self.mono(&binder.over));
        }
        let mut opened: Vec<Hidden> = Vec::new();
        let mut all_new = true;
        for (i, (binder, axis)) in fold.binders.iter().zip(&axes).enumerate() {
            let Ok(axis) = axis else {
                // The body is checked all the same; what uses the index fails quietly.
                all_new &= self.declare(&binder.name, NameKind::Index, Binding::Value(None));
                continue;
            };
            if let Some(before) = axes[..i].iter().position(|a| a.as_ref().is_ok_and(|a| a == axis)) {
                let diagnostic =
                    Diagnostic::error(&codes::DUPLICATE_AXIS, format!("two indices run over {axis}"))
                        .label(binder.over.span, "")
                        .context(fold.binders[before].over.span, "here first")
                        .help(format!(
                            "nest two folds, or give {axis} a second name with `dim` and `rename`"
                        ));
                self.report(diagnostic);
            }
            let hidden = self.open_hidden(axis.clone(), false);
            opened.push(hidden);
            all_new &= self.declare(&binder.name, NameKind::Index, Binding::Index(hidden));
        }
        let body = self.block(&fold.body);
        self.close_names(names, errors);
        let axes: Vec<Axis> = axes.into_iter().collect::<Check<_>>()?;
        let body = body?;
        if !all_new {
            return Err(Failed);
        }
        let tensor = self.fold_operand(fold.op, &body)?;
        match fold.op {
            FoldOp::Map | FoldOp::Concat => {
                let hidden = join_hidden([tensor.hidden.as_slice(), &opened].into_iter());
                let mut tensor = self.with_hidden(span, &tensor, hidden)?;
                for (hidden, axis) in opened.iter().zip(&axes).rev() {
                    if let Some(at) = tensor.hidden.iter().position(|h| h == hidden) {
                        tensor = tensor.reveal(at, axis.clone());
                    }
                }
                match &fold.along {
                    Some(along) => {
                        let along_axis = self.mono(along)?;
                        let inner = tensor.without_first(axes.len());
                        let at = self.find_axis(&inner, body.span, &along_axis, along.span)?;
                        self.grow(span, &tensor, axes.len(), at).map(Value::Tensor)
                    }
                    // The parser has reported a `concat` without `along`.
                    None if fold.op == FoldOp::Concat => Err(Failed),
                    None => Ok(Value::Tensor(tensor)),
                }
            }
            op => {
                let mut tensor = tensor;
                for hidden in opened.iter().rev() {
                    tensor = self.reduce_hidden(span, op, &tensor, *hidden)?;
                }
                Ok(Value::Tensor(tensor))
            }
        }
    }

    /// The body as a tensor of an element type that the fold takes.
    fn fold_operand(&mut self, op: FoldOp, body: &Operand) -> Check<Tensor> {
        let what = format!("`{}`", op.name());
        match op {
            FoldOp::Sum => match self.tensor(body)? {
                tensor if tensor.dtype.is_float() => Ok(tensor),
                _ => self.number_tensor(&what, body),
            },
            FoldOp::Mean => self.float_tensor(&what, body),
            FoldOp::Max | FoldOp::Min => self.number_tensor(&what, body),
            FoldOp::Any | FoldOp::All => self.tensor_of(&what, DType::Bool, body),
            FoldOp::Map | FoldOp::Concat => self.tensor(body),
        }
    }

    /// The tensor as one that depends on all of `hidden`.
    pub(crate) fn with_hidden(&mut self, span: Span, tensor: &Tensor, hidden: Vec<Hidden>) -> Check<Tensor> {
        if tensor.hidden == hidden {
            return Ok(tensor.clone());
        }
        let node = self.align(span, tensor, &hidden, &tensor.axes)?;
        Ok(Tensor::new(node, tensor.dtype, hidden, tensor.axes.clone()))
    }

    fn reduce_hidden(&mut self, span: Span, op: FoldOp, tensor: &Tensor, hidden: Hidden) -> Check<Tensor> {
        let (op, dtype) = match op {
            FoldOp::Sum if tensor.dtype.is_float() => (Op::Sum, DType::F32),
            FoldOp::Sum => (Op::Sum, tensor.dtype),
            FoldOp::Mean => (Op::Mean, DType::F32),
            FoldOp::Max => (Op::Max, tensor.dtype),
            FoldOp::Min => (Op::Min, tensor.dtype),
            FoldOp::Any => (Op::Any, tensor.dtype),
            FoldOp::All | FoldOp::Map | FoldOp::Concat => (Op::All, tensor.dtype),
        };
        // A body that lacks the index is the same for each, and is repeated only to be counted.
        let all = join_hidden([tensor.hidden.as_slice(), &[hidden]].into_iter());
        let tensor = self.with_hidden(span, tensor, all)?;
        let at = tensor.hidden.partition_point(|h| *h < hidden);
        let node = self.emit(span, op, &[tensor.node], [("axis", tensor.places[at].into())])?;
        Ok(tensor.without_hidden(at, node, dtype))
    }

    /// The first `count` axes become the major part of axis `at` of the rest.
    fn grow(&mut self, span: Span, tensor: &Tensor, count: usize, at: usize) -> Check<Tensor> {
        let rank = tensor.axes.len();
        let mut order: Vec<usize> = (count..count + at).collect();
        order.extend(0..count);
        order.extend(count + at..rank);
        let tensor = tensor.reordered(&order);
        let mut grown = tensor.axes[at].clone();
        for axis in &tensor.axes[at + 1..=at + count] {
            let product = grown.times(axis);
            grown = self.ir(span, product)?;
        }
        let mut axes = tensor.axes.clone();
        axes.splice(at..=at + count, [grown]);
        let node = self.settled(span, &tensor)?;
        let shape = self.shape(&tensor.hidden, &axes);
        let node = self.emit(span, Op::Reshape, &[node], [("shape", shape.into())])?;
        Ok(Tensor::new(node, tensor.dtype, tensor.hidden, axes))
    }
}

impl Tensor {
    /// The visible axes behind the first `count`, for finding one by name.
    fn without_first(&self, count: usize) -> Tensor {
        let mut rest = self.clone();
        rest.axes.drain(..count);
        rest
    }
}
