//! The types of values.

use std::fmt;

use crate::{DType, Dim, IrError};

/// An element type and a shape, `f32[T, 4096]`. Rank 0 is a scalar, `f32`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// The type `dtype[shape]`.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> Result<Dim, IrError> {
        Dim::product(&self.shape)
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }
}

/// The result of `top_k`: for every row along `axis` of the scores, the `k` chosen positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteType {
    /// The type of the scores.
    pub scores: TensorType,
    /// The axis that is chosen from.
    pub axis: usize,
    /// How many are chosen.
    pub k: Dim,
}

/// A routing plan: the `tokens * slots` pairs (token, chosen expert) in expert order. Within an
/// expert, pairs stand in the order of their number `token * slots + slot`. A tensor "in plan rows"
/// has that many rows, one per pair in this order.
///
/// Capacity and expert subsets drop pairs from a plan. These keep a row, so that the number of rows
/// is known before the routing is: after all others, in the order of their number, and as if they
/// had chosen expert 0. `combine` leaves them out, and nothing else may tell what such a row holds
/// (see `verify`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanType {
    /// The number of experts.
    pub experts: Dim,
    /// The number of tokens.
    pub tokens: Dim,
    /// Experts per token.
    pub slots: Dim,
}

impl PlanType {
    /// The number of plan rows, `tokens * slots`.
    pub fn rows(&self) -> Result<Dim, IrError> {
        self.tokens.times(&self.slots)
    }
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// The result of `top_k`.
    Route(RouteType),
    /// The result of `plan`.
    Plan(PlanType),
}

impl Type {
    /// The tensor type, if it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(ty) => Some(ty),
            _ => None,
        }
    }

    /// The route type, if it is one.
    pub fn route(&self) -> Option<&RouteType> {
        match self {
            Type::Route(ty) => Some(ty),
            _ => None,
        }
    }

    /// The plan type, if it is one.
    pub fn plan(&self) -> Option<&PlanType> {
        match self {
            Type::Plan(ty) => Some(ty),
            _ => None,
        }
    }

    /// The sizes that occur in this type.
    pub fn dims(&self) -> Vec<&Dim> {
        match self {
            Type::Tensor(ty) => ty.shape.iter().collect(),
            Type::Route(ty) => ty.scores.shape.iter().chain([&ty.k]).collect(),
            Type::Plan(ty) => vec![&ty.experts, &ty.tokens, &ty.slots],
        }
    }
}

impl From<TensorType> for Type {
    fn from(ty: TensorType) -> Type {
        Type::Tensor(ty)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype)?;
        if !self.shape.is_empty() {
            let dims: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
            write!(f, "[{}]", dims.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(ty) => write!(f, "{ty}"),
            Type::Route(ty) => write!(f, "route({}, {}, {})", ty.scores, ty.axis, ty.k),
            Type::Plan(ty) => write!(f, "plan({}, {}, {})", ty.experts, ty.tokens, ty.slots),
        }
    }
}
