//! Reductions, scans and normalisations along named axes.

use moec_diag::Span;
use moec_ir::{Attr, DType, Op};

use super::Call;
use crate::lowerer::{Check, Lowerer};
use crate::value::{Literal, Tensor, Value};

impl Lowerer<'_> {
    pub(super) fn sum(&mut self, call: &Call<'_>) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.tensor(&operand)?;
        // 16-bit floats are added up in f32 by the operation itself.
        let tensor = if tensor.dtype.is_float() { tensor } else { self.number_tensor("`sum`", &operand)? };
        self.reduce(call, tensor, operand.span, Op::Sum)
    }

    pub(super) fn mean(&mut self, call: &Call<'_>) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.float_tensor("`mean`", &operand)?;
        self.reduce(call, tensor, operand.span, Op::Mean)
    }

    pub(super) fn extreme(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor(&format!("`{}`", call.row.name), &operand)?;
        self.reduce(call, tensor, operand.span, op)
    }

    pub(super) fn truth(&mut self, call: &Call<'_>, op: Op) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.tensor_of(&format!("`{}`", call.row.name), DType::Bool, &operand)?;
        self.reduce(call, tensor, operand.span, op)
    }

    /// Reduces the axes of the call, the last listed first.
    fn reduce(&mut self, call: &Call<'_>, tensor: Tensor, base: Span, op: Op) -> Check<Value> {
        let mut axes = self.call_axes(call, &tensor, base)?;
        let mut result = tensor;
        while let Some(at) = axes.pop() {
            result = self.reduce_axis(call.span, op, &result, at)?;
            for other in &mut axes {
                *other -= usize::from(*other > at);
            }
        }
        Ok(Value::Tensor(result))
    }

    fn reduce_axis(&mut self, span: Span, op: Op, tensor: &Tensor, at: usize) -> Check<Tensor> {
        let dtype = match op {
            Op::Sum | Op::Mean if tensor.dtype.is_float() => DType::F32,
            Op::Argmax => DType::I32,
            _ => tensor.dtype,
        };
        let node = self.emit(span, op, &[tensor.node], [("axis", tensor.place(at).into())])?;
        Ok(tensor.without_axis(at, node, dtype))
    }

    pub(super) fn argmax(&mut self, call: &Call<'_>) -> Check<Value> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor("`argmax`", &operand)?;
        let at = self.call_axis(call, &tensor, operand.span)?;
        Ok(Value::Tensor(self.reduce_axis(call.span, Op::Argmax, &tensor, at)?))
    }

    pub(super) fn softmax(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, at) = self.f32_along(call)?;
        let node = self.emit(call.span, Op::Softmax, &[tensor.node], [("axis", tensor.place(at).into())])?;
        Ok(Value::Tensor(tensor.with_node(node, DType::F32)))
    }

    /// The operand in f32 and the axis of the call.
    fn f32_along(&mut self, call: &Call<'_>) -> Check<(Tensor, usize)> {
        let operand = self.value_of(call, 0)?;
        let tensor = self.f32_tensor(&format!("`{}`", call.row.name), &operand)?;
        let at = self.call_axis(call, &tensor, operand.span)?;
        Ok((tensor, at))
    }

    /// `reduced`, which lacks visible axis `at` of `tensor`, repeated along it; stored as `tensor` is.
    fn repeated(&mut self, span: Span, reduced: &Tensor, tensor: &Tensor, at: usize) -> Check<Tensor> {
        let gone = tensor.place(at);
        let map: Vec<usize> = (0..reduced.places.len()).map(|p| p + usize::from(p >= gone)).collect();
        let shape = self.stored_shape(tensor);
        let node =
            self.emit(span, Op::Broadcast, &[reduced.node], [("map", map.into()), ("shape", shape.into())])?;
        Ok(tensor.with_node(node, reduced.dtype))
    }

    /// An operation on two tensors that are stored alike.
    fn both(&mut self, span: Span, op: Op, a: &Tensor, b: &Tensor) -> Check<Tensor> {
        let node = self.emit(span, op, &[a.node, b.node], [])?;
        Ok(a.with_node(node, a.dtype))
    }

    /// `x / sum(x)`
    pub(super) fn normalize(&mut self, call: &Call<'_>) -> Check<Value> {
        let (tensor, at) = self.f32_along(call)?;
        let total = self.reduce_axis(call.span, Op::Sum, &tensor, at)?;
        let total = self.repeated(call.span, &total, &tensor, at)?;
        Ok(Value::Tensor(self.both(call.span, Op::Div, &tensor, &total)?))
    }

    /// `x * rsqrt(mean(x * x) + eps)`
    pub(super) fn rms_norm(&mut self, call: &Call<'_>) -> Check<Value> {
        let eps = self.number(call, "eps", 1e-6)?;
        let (tensor, at) = self.f32_along(call)?;
        self.scaled(call.span, &tensor, at, eps).map(Value::Tensor)
    }

    /// `(x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps)`
    pub(super) fn layer_norm(&mut self, call: &Call<'_>) -> Check<Value> {
        let eps = self.number(call, "eps", 1e-5)?;
        let (tensor, at) = self.f32_along(call)?;
        let mean = self.reduce_axis(call.span, Op::Mean, &tensor, at)?;
        let mean = self.repeated(call.span, &mean, &tensor, at)?;
        let centred = self.both(call.span, Op::Sub, &tensor, &mean)?;
        self.scaled(call.span, &centred, at, eps).map(Value::Tensor)
    }

    fn scaled(&mut self, span: Span, tensor: &Tensor, at: usize, eps: f64) -> Check<Tensor> {
        let squares = self.both(span, Op::Mul, tensor, tensor)?;
        let mean = self.reduce_axis(span, Op::Mean, &squares, at)?;
        let settled = self.settled(span, &mean)?;
        let mean = Tensor::new(settled, DType::F32, mean.hidden, mean.axes);
        let eps = self.filled(span, Literal::Number(eps), DType::F32, &mean.hidden, &mean.axes)?;
        let shifted = self.both(span, Op::Add, &mean, &eps)?;
        let node = self.emit(span, Op::Rsqrt, &[shifted.node], [])?;
        let factor = shifted.with_node(node, DType::F32);
        let factor = self.align(span, &factor, &tensor.hidden, &tensor.axes)?;
        let settled = self.settled(span, tensor)?;
        let node = self.emit(span, Op::Mul, &[settled, factor], [])?;
        Ok(Tensor::new(node, DType::F32, tensor.hidden.clone(), tensor.axes.clone()))
    }

    pub(super) fn cumsum(&mut self, call: &Call<'_>) -> Check<Value> {
        let exclusive = self.flag(call, "exclusive")?;
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor("`cumsum`", &operand)?;
        let at = self.call_axis(call, &tensor, operand.span)?;
        let attrs = [("axis", tensor.place(at).into()), ("exclusive", Attr::Bool(exclusive))];
        let node = self.emit(call.span, Op::Cumsum, &[tensor.node], attrs)?;
        Ok(Value::Tensor(tensor.with_node(node, tensor.dtype)))
    }

    pub(super) fn argsort(&mut self, call: &Call<'_>) -> Check<Value> {
        let descending = self.flag(call, "descending")?;
        let operand = self.value_of(call, 0)?;
        let tensor = self.number_tensor("`argsort`", &operand)?;
        let at = self.call_axis(call, &tensor, operand.span)?;
        let attrs = [("axis", tensor.place(at).into()), ("descending", Attr::Bool(descending))];
        let node = self.emit(call.span, Op::Argsort, &[tensor.node], attrs)?;
        Ok(Value::Tensor(tensor.with_node(node, DType::I32)))
    }
}
