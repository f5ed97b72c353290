//! Element-wise functions.

use moec_diag::{Diagnostic, codes};
use moec_ir::{DType, Op};

use super::Call;
use crate::lowerer::{Check, Lowerer};
use crate::value::{Operand, Value};

impl Lowerer<'_> {
    /// A function of floats, computed in f32.
    pub(super) fn map_floats(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.f32_tensor(&format!("`{}`", call.row.name), &operand)?;
        self.map_tensor(call.span, op, &tensor)
    }

    /// A function of numbers, computed in f32 or i32.
    pub(super) fn map_numbers(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor(&format!("`{}`", call.row.name), &operand)?;
        self.map_tensor(call.span, op, &tensor)
    }

    pub(super) fn square(&mut self, call: &Call<'_>) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor("`square`", &operand)?;
        let node = self.emit(call.span, Op::Mul, &[tensor.node, tensor.node], [])?;
        Ok(Value::Tensor(tensor.with_node(node, tensor.dtype)))
    }

    pub(super) fn pair(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let (a, b) = (self.value_of(call, 0), self.value_of(call, 1));
        self.arithmetic(&format!("`{}`", call.row.name), call.span, op, &a?, &b?)
    }

    /// A function of two `i32`.
    pub(super) fn integers(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let (a, b) = (self.value_of(call, 0), self.value_of(call, 1));
        let (a, b) = (a?, b?);
        for operand in [&a, &b] {
            let Value::Tensor(tensor) = &operand.value else { continue };
            if tensor.dtype != DType::I32 {
                let message = format!("`{}` takes i32", call.row.name);
                let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, message)
                    .label(operand.span, tensor.type_text())
                    .help(format!("`i32({})`", self.text(operand.span)));
                return Err(self.report(diagnostic));
            }
        }
        self.elementwise(&format!("`{}`", call.row.name), call.span, op, DType::I32, DType::I32, &[a, b])
    }

    /// `minimum(maximum(x, low), high)`
    pub(super) fn clamp(&mut self, call: &Call<'_>) -> Check<Value> {
        let parts = [self.value_of(call, 0), self.value_of(call, 1), self.value_of(call, 2)];
        let [x, low, high] = parts;
        let (x, low, high) = (x?, low?, high?);
        let raised = self.arithmetic("`clamp`", call.span, Op::Maximum, &x, &low)?;
        let raised = Operand { value: raised, span: x.span };
        self.arithmetic("`clamp`", call.span, Op::Minimum, &raised, &high)
    }
}
