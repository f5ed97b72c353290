//! Routes, one-hot vectors and counting.

use moec_diag::{Diagnostic, codes};
use moec_ir::{Attr, DType, Op};

use super::Call;
use crate::axis::Axis;
use crate::lowerer::{Check, Lowerer};
use crate::value::{Route, Tensor, Value};

impl Lowerer<'_> {
    /// `top_k(s, K, over E)`
    pub(super) fn top_k(&mut self, call: &Call<'_>) -> Check<Value> {
        let smallest = self.flag(call, "smallest");
        let operand = self.value_of(call, 0);
        let k_expr = self.value(call, 1)?;
        let k = self.axis_expr(k_expr);
        let (smallest, operand, k) = (smallest?, operand?, k?);
        let scores = self.number_tensor("`top_k`", &operand)?;
        let at = self.call_axis(call, &scores, operand.span)?;
        let axis = scores.axes[at].clone();
        match (self.known(&k), self.known(&axis)) {
            (Some(k_value), Some(size)) if k_value > size => {
                let message = format!("`top_k` asks for {k_value} of {size} entries");
                let diagnostic = Diagnostic::error(&codes::K_TOO_LARGE, message)
                    .label(k_expr.span, format!("{k} = {k_value}"))
                    .context(operand.span, format!("{}, and {axis} = {size}", scores.type_text()));
                return Err(self.report(diagnostic));
            }
            (Some(0), _) if !self.empty_on_purpose.contains(&k) => {
                let message = "`top_k` with no entries chooses nothing";
                return Err(self.fail(&codes::ZERO_CAPACITY, message, k_expr.span, format!("{k} = 0")));
            }
            _ if self.proved(|table| table.at_most(k.size(), axis.size())) => {}
            _ => {
                let diagnostic = Diagnostic::error(
                    &codes::SIZE_NOT_PROVED,
                    format!("{k} is not proved to be at most {axis}"),
                )
                .label(k_expr.span, "")
                .help(format!("declare it: `fact {k} <= {axis}`"));
                return Err(self.report(diagnostic));
            }
        }
        let attrs =
            [("axis", scores.place(at).into()), ("k", k.size().into()), ("largest", Attr::Bool(!smallest))];
        let node = self.emit(call.span, Op::TopK, &[scores.node], attrs)?;
        let text = [self.text(operand.span), self.text(call.span)];
        let scores = scores.with_node(node, scores.dtype);
        Ok(Value::Route(Box::new(Route { scores, axis: at, k, text })))
    }

    /// `one_hot(i, E)`: a new last axis.
    pub(super) fn one_hot(&mut self, call: &Call<'_>) -> Check<Value> {
        let operand = self.value_of(call, 0);
        let size_expr = self.value(call, 1)?;
        let size = self.axis_expr(size_expr);
        let (operand, size) = (operand?, size?);
        let tensor = self.tensor_of("`one_hot`", DType::I32, &operand)?;
        if self.known(&size) == Some(0) && !self.empty_on_purpose.contains(&size) {
            let diagnostic =
                Diagnostic::error(&codes::ZERO_CAPACITY, "an axis without entries drops everything")
                    .label(size_expr.span, format!("{size} is 0"))
                    .help(format!("if this is meant, say `fact {size} == 0`"));
            return Err(self.report(diagnostic));
        }
        let node = self.emit(call.span, Op::OneHot, &[tensor.node], [("size", size.size().into())])?;
        let mut result = tensor.with_node(node, DType::Bool);
        result.places.push(tensor.places.len());
        result.axes.push(size);
        Ok(Value::Tensor(result))
    }

    /// `iota(E)`: the numbers 0, 1, .. of an axis.
    pub(super) fn count_up(&mut self, call: &Call<'_>) -> Check<Value> {
        let expr = self.value(call, 0)?;
        let axis: Axis = self.axis_expr(expr)?;
        let node = self.iota(call.span, &axis)?;
        Ok(Value::Tensor(Tensor::new(node, DType::I32, Vec::new(), vec![axis])))
    }
}
