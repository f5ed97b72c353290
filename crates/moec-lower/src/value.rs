//! What expressions evaluate to while they are checked.
//!
//! A tensor has visible axes, which the source speaks of, and hidden ones: the axes of the folds around it that it
//! depends on, and in a function the axes that `..` stands for. Its logical order is hidden axes, then visible ones;
//! where each of them lies in the IR value is kept apart, so that `.T`, `transpose` and `w[e]` move nothing by
//! themselves.

use moec_diag::Span;
use moec_ir::{DType, ValueId};

use crate::axis::{self, Axis};

/// A hidden axis. Those of folds come before those of `..`, each in the order they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hidden {
    /// Whether `..` stands for it, rather than the binder of a fold.
    pub(crate) lead: bool,
    /// Its number in the order of opening, which is its place in the lowerer's table.
    pub(crate) number: usize,
}

/// A tensor: an IR value and how its axes are seen.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) node: ValueId,
    pub(crate) dtype: DType,
    /// Sorted.
    pub(crate) hidden: Vec<Hidden>,
    pub(crate) axes: Vec<Axis>,
    /// For each axis in logical order its place in the IR value.
    pub(crate) places: Vec<usize>,
    /// The route that this is a projection of, for messages.
    pub(crate) origin: Option<Box<Origin>>,
}

/// A projection of a route, as written.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// `value` or `index`.
    pub(crate) field: &'static str,
    /// The text of the scores and of the whole `top_k(..)` call.
    pub(crate) scores: String,
    pub(crate) call: String,
    /// The axis that was searched and the axis it became.
    pub(crate) from: Axis,
    pub(crate) to: Axis,
}

/// The result of `top_k`. `scores.node` is the route itself; its axes are those of the scores.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) scores: Tensor,
    /// Which visible axis was searched.
    pub(crate) axis: usize,
    pub(crate) k: Axis,
    /// The text of the scores and of the call.
    pub(crate) text: [String; 2],
}

/// A number or truth value that takes the element type of what it meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Literal {
    Number(f64),
    Bool(bool),
}

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Tensor),
    Route(Box<Route>),
    Literal(Literal),
    /// A dim as a number whose value is not known yet.
    Size(Axis),
    /// A text param, which has no use in expressions.
    Text,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

impl Tensor {
    /// The tensor of an IR value whose axes lie in logical order.
    pub(crate) fn new(node: ValueId, dtype: DType, hidden: Vec<Hidden>, axes: Vec<Axis>) -> Self {
        let places = (0..hidden.len() + axes.len()).collect();
        Self { node, dtype, hidden, axes, places, origin: None }
    }

    /// The place in the IR value of visible axis `i`.
    pub(crate) fn place(&self, i: usize) -> usize {
        self.places[self.hidden.len() + i]
    }

    /// The place in the IR value of a hidden axis, if the tensor has it.
    pub(crate) fn hidden_place(&self, hidden: Hidden) -> Option<usize> {
        Some(self.places[self.hidden.iter().position(|h| *h == hidden)?])
    }

    /// The same axes on another IR value, which has them at the same places.
    pub(crate) fn with_node(&self, node: ValueId, dtype: DType) -> Tensor {
        Tensor { node, dtype, origin: None, ..self.clone() }
    }

    /// The tensor after visible axis `i` was taken out of the IR value.
    pub(crate) fn without_axis(&self, i: usize, node: ValueId, dtype: DType) -> Tensor {
        let mut result = self.with_node(node, dtype);
        result.axes.remove(i);
        result.take_place(self.hidden.len() + i);
        result
    }

    /// The tensor after a hidden axis it has was taken out of the IR value.
    pub(crate) fn without_hidden(&self, at: usize, node: ValueId, dtype: DType) -> Tensor {
        let mut result = self.with_node(node, dtype);
        result.hidden.remove(at);
        result.take_place(at);
        result
    }

    fn take_place(&mut self, logical: usize) {
        let gone = self.places.remove(logical);
        for place in &mut self.places {
            *place -= usize::from(*place > gone);
        }
    }

    /// Visible axis `i` becomes hidden.
    pub(crate) fn hide(&self, i: usize, hidden: Hidden) -> Tensor {
        let mut result = self.clone();
        result.axes.remove(i);
        let place = result.places.remove(self.hidden.len() + i);
        let at = result.hidden.partition_point(|h| *h < hidden);
        result.hidden.insert(at, hidden);
        result.places.insert(at, place);
        result
    }

    /// Hidden axis number `at` becomes the first visible one, as `axis`.
    pub(crate) fn reveal(&self, at: usize, axis: Axis) -> Tensor {
        let mut result = self.clone();
        result.hidden.remove(at);
        let place = result.places.remove(at);
        result.places.insert(result.hidden.len(), place);
        result.axes.insert(0, axis);
        result
    }

    /// The visible axes in another order: the i-th of the result is the `order[i]`-th of this.
    pub(crate) fn reordered(&self, order: &[usize]) -> Tensor {
        let mut result = self.clone();
        result.axes = order.iter().map(|&i| self.axes[i].clone()).collect();
        for (i, &from) in order.iter().enumerate() {
            result.places[self.hidden.len() + i] = self.place(from);
        }
        result
    }

    /// The type as the source writes it.
    pub(crate) fn type_text(&self) -> String {
        type_text(self.dtype, self.hidden.iter().any(|h| h.lead), &self.axes)
    }
}

/// `f32[.., T, H]`
pub(crate) fn type_text(dtype: DType, lead: bool, axes: &[Axis]) -> String {
    match (lead, axes.is_empty()) {
        (false, true) => dtype.to_string(),
        (false, false) => format!("{dtype}[{}]", axis::list(axes)),
        (true, true) => format!("{dtype}[..]"),
        (true, false) => format!("{dtype}[.., {}]", axis::list(axes)),
    }
}

impl Value {
    /// What messages call the type of this value.
    pub(crate) fn type_text(&self) -> String {
        match self {
            Value::Tensor(tensor) => tensor.type_text(),
            Value::Route(route) => {
                format!("a route over {}, from {}", route.scores.axes[route.axis], route.scores.type_text())
            }
            Value::Literal(Literal::Number(_)) | Value::Size(_) => "a number".into(),
            Value::Literal(Literal::Bool(_)) => "a truth value".into(),
            Value::Text => "a text".into(),
        }
    }
}
