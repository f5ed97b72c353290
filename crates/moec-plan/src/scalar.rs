//! Scalar programs: what a kernel computes at one point of its index space.

use moec_ir::{DType, Dim, Number, Op};

use crate::BufferId;

/// The number of a scalar in its [`Scalars`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScalarId(pub u32);

/// What moves an access along its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Index {
    /// The loop index of this axis of the kernel. Kernels say what their axes are.
    Axis(usize),
    /// The value of an `i32` scalar that is in range because it is a [`Scalar::InRange`], or a load
    /// from one of the [`RoutingBuffers`](crate::RoutingBuffers) that a grouping wrote.
    Value(ScalarId),
}

/// An element of a buffer: `buffer[sum of offset + sum of index * stride]`, in elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Load {
    /// The buffer.
    pub buffer: BufferId,
    /// Summands of the constant part.
    pub offset: Vec<Dim>,
    /// What moves the access, and how far. No axis occurs twice; strides are not zero.
    pub terms: Vec<(Index, Dim)>,
}

/// Where a kernel writes, as in [`Load`], by axes only. Kernels say which axes have strides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    /// The buffer.
    pub buffer: BufferId,
    /// Summands of the constant part.
    pub offset: Vec<Dim>,
    /// One stride for each axis of the kernel, possibly zero for an axis of size one.
    pub strides: Vec<Dim>,
}

/// One scalar operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// An element of a buffer, in the buffer's element type.
    Load(Load),
    /// The loop index of an axis, as `i32`.
    Iota(usize),
    /// A size, as `i32`.
    Size(Dim),
    /// A number of an element type.
    Const(DType, Number),
    /// An element-wise operation of the op table (`select` and the comparisons included).
    Apply(Op, Vec<ScalarId>),
    /// Conversion to an element type.
    Cast(DType, ScalarId),
    /// An `i32` that must lie in `0..size`: otherwise the fault word is set and the value is 0. It
    /// counts even if nothing uses it. A kernel with an `InRange` of size zero does nothing, but sets the fault word if it has points.
    InRange(ScalarId, Dim),
    /// The `f32` accumulator of weight number `n` of a [`Product`](crate::Product), in its epilogue.
    Accumulator(usize),
}

/// A scalar program: scalars in order, each after its operands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scalars {
    /// The scalars.
    pub list: Vec<Scalar>,
    /// The element type of each.
    pub types: Vec<DType>,
}

impl Scalars {
    /// Adds a scalar of type `dtype`, or finds the same one.
    pub fn push(&mut self, scalar: Scalar, dtype: DType) -> ScalarId {
        let at = self.list.iter().position(|s| *s == scalar).unwrap_or_else(|| {
            self.list.push(scalar);
            self.types.push(dtype);
            self.list.len() - 1
        });
        ScalarId(at as u32)
    }

    /// The scalar `id`.
    pub fn get(&self, id: ScalarId) -> &Scalar {
        &self.list[id.0 as usize]
    }

    /// The element type of `id`.
    pub fn dtype(&self, id: ScalarId) -> DType {
        self.types[id.0 as usize]
    }

    /// Whether `id` is exactly a number of its own element type, not one that is yet to be rounded to it.
    pub fn is_exact(&self, id: ScalarId) -> bool {
        match self.get(id) {
            // To the type that is there already nothing is rounded.
            Scalar::Cast(to, x) => self.dtype(*x) != *to || self.is_exact(*x),
            scalar => matches!(scalar, Scalar::Load(_) | Scalar::Const(..)),
        }
    }

    /// The part of the program that `id` needs, in order, and what `id` is called there. For kernels
    /// whose scalars do not all make sense over the same axes.
    pub fn needed_by(&self, id: ScalarId) -> (Scalars, ScalarId) {
        let mut needed = vec![false; self.list.len()];
        needed[id.0 as usize] = true;
        for at in (0..self.list.len()).rev() {
            if needed[at] {
                for operand in self.list[at].operands() {
                    needed[operand.0 as usize] = true;
                }
            }
        }
        let mut part = Scalars::default();
        let mut names = vec![ScalarId(0); self.list.len()];
        for at in (0..self.list.len()).filter(|at| needed[*at]) {
            let scalar = self.list[at].renamed(|id| names[id.0 as usize]);
            names[at] = part.push(scalar, self.types[at]);
        }
        (part, names[id.0 as usize])
    }
}

impl Scalar {
    /// The operands, indices of a load included.
    pub fn operands(&self) -> Vec<ScalarId> {
        match self {
            Scalar::Load(load) => {
                let value = |(index, _): &(Index, Dim)| match index {
                    Index::Value(id) => Some(*id),
                    Index::Axis(_) => None,
                };
                load.terms.iter().filter_map(value).collect()
            }
            Scalar::Apply(_, args) => args.clone(),
            Scalar::Cast(_, arg) | Scalar::InRange(arg, _) => vec![*arg],
            Scalar::Iota(_) | Scalar::Size(_) | Scalar::Const(..) | Scalar::Accumulator(_) => Vec::new(),
        }
    }

    /// The same scalar with its operands called otherwise.
    pub fn renamed(&self, name: impl Fn(ScalarId) -> ScalarId) -> Scalar {
        match self {
            Scalar::Load(load) => {
                let index = |index: &Index| match index {
                    Index::Value(id) => Index::Value(name(*id)),
                    Index::Axis(axis) => Index::Axis(*axis),
                };
                let terms = load.terms.iter().map(|(i, stride)| (index(i), stride.clone())).collect();
                Scalar::Load(Load { buffer: load.buffer, offset: load.offset.clone(), terms })
            }
            Scalar::Apply(op, args) => Scalar::Apply(*op, args.iter().map(|arg| name(*arg)).collect()),
            Scalar::Cast(to, arg) => Scalar::Cast(*to, name(*arg)),
            Scalar::InRange(arg, size) => Scalar::InRange(name(*arg), size.clone()),
            Scalar::Iota(_) | Scalar::Size(_) | Scalar::Const(..) | Scalar::Accumulator(_) => self.clone(),
        }
    }
}
