//! Values: tensors, routes and plans, with every size a number.

use std::borrow::Cow;

use moec_ir::{DType, Dim, PlanType, RouteType, TensorType, Type};

use crate::InterpError;

/// The interpreter makes no tensor with more elements (8 GiB).
pub const MAX_ELEMENTS: usize = 1 << 30;

/// A tensor. Whatever the element type, elements are held in f64; `bool` is 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The element type.
    pub dtype: DType,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The elements in row-major order.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor with these elements, or an error when their number is not that of `shape`.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Result<Tensor, InterpError> {
        let shape = shape.into();
        if elements(&shape)? != data.len() {
            let message = format!("{} elements for shape {shape:?}", data.len());
            return Err(InterpError::Op { op: "tensor", message });
        }
        Ok(Tensor { dtype, shape, data })
    }

    /// The type, with constant sizes.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, dims(&self.shape))
    }
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&n| Dim::constant(n as u64)).collect()
}

/// The number of elements of `shape`, if it is at most [`MAX_ELEMENTS`].
pub(crate) fn elements(shape: &[usize]) -> Result<usize, InterpError> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
    count.filter(|&n| n <= MAX_ELEMENTS).ok_or_else(|| InterpError::TooLarge { shape: shape.to_vec() })
}

/// Room for the elements of `shape`.
pub(crate) fn room(shape: &[usize]) -> Result<Vec<f64>, InterpError> {
    let mut data = Vec::new();
    match data.try_reserve_exact(elements(shape)?) {
        Ok(()) => Ok(data),
        Err(_) => Err(InterpError::TooLarge { shape: shape.to_vec() }),
    }
}

/// The result of `top_k`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The shape of the scores.
    pub scores: Vec<usize>,
    /// The axis that was chosen from.
    pub axis: usize,
    /// The chosen indices, best first; the axis has size k.
    pub index: Tensor,
    /// The chosen scores, in the same places.
    pub value: Tensor,
}

/// A routing plan; see [`PlanType`].
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The number of tokens.
    pub tokens: usize,
    /// Experts per token.
    pub slots: usize,
    /// For each plan row its pair, `token * slots + slot`.
    pub pairs: Vec<usize>,
    /// The plan rows of expert `e` are `offsets[e]..offsets[e + 1]`. Those from the last offset on
    /// belong to pairs that the plan drops.
    pub offsets: Vec<usize>,
}

impl Plan {
    /// The plan in which pair `i` has chosen expert `chosen[i]`, or is dropped.
    pub(crate) fn new(tokens: usize, slots: usize, experts: usize, chosen: &[Option<usize>]) -> Plan {
        let mut offsets = vec![0; experts + 1];
        for &expert in chosen.iter().flatten() {
            offsets[expert + 1] += 1;
        }
        for expert in 0..experts {
            offsets[expert + 1] += offsets[expert];
        }
        let mut pairs: Vec<usize> = (0..chosen.len()).collect();
        pairs.sort_by_key(|&pair| chosen[pair].unwrap_or(experts));
        Plan { tokens, slots, pairs, offsets }
    }

    /// The number of pairs that the plan keeps; their rows come first.
    pub fn kept(&self) -> usize {
        self.offsets[self.experts()]
    }

    /// For each pair its expert, or none if the plan drops it.
    pub fn expert_of_pair(&self) -> Vec<Option<usize>> {
        let mut chosen = vec![None; self.pairs.len()];
        for (&expert, &pair) in self.expert_of_row().iter().zip(&self.pairs).take(self.kept()) {
            chosen[pair] = Some(expert);
        }
        chosen
    }

    /// The number of experts.
    pub fn experts(&self) -> usize {
        self.offsets.len() - 1
    }

    /// For each plan row its expert; 0 for the rows of dropped pairs.
    pub fn expert_of_row(&self) -> Vec<usize> {
        let rows = |e: usize| self.offsets[e + 1] - self.offsets[e];
        let dropped = self.pairs.len() - self.kept();
        let kept = (0..self.experts()).flat_map(|e| std::iter::repeat_n(e, rows(e)));
        kept.chain(std::iter::repeat_n(0, dropped)).collect()
    }
}

/// The value of a node. Inputs and weights are borrowed, everything computed is owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A tensor.
    Tensor(Cow<'a, Tensor>),
    /// The result of `top_k`.
    Route(Route),
    /// The result of `plan`.
    Plan(Plan),
}

impl<'a> Value<'a> {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The tensor, if it is one; copied only when it is borrowed.
    pub fn into_tensor(self) -> Option<Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor.into_owned()),
            _ => None,
        }
    }

    /// The type, with constant sizes.
    pub fn ty(&self) -> Type {
        match self {
            Value::Tensor(tensor) => tensor.ty().into(),
            Value::Route(route) => Type::Route(RouteType {
                scores: TensorType::new(route.value.dtype, dims(&route.scores)),
                axis: route.axis,
                k: Dim::constant(route.index.shape[route.axis] as u64),
            }),
            Value::Plan(plan) => Type::Plan(PlanType {
                experts: Dim::constant(plan.experts() as u64),
                tokens: Dim::constant(plan.tokens as u64),
                slots: Dim::constant(plan.slots as u64),
            }),
        }
    }
}

impl From<Tensor> for Value<'_> {
    fn from(tensor: Tensor) -> Self {
        Value::Tensor(Cow::Owned(tensor))
    }
}
