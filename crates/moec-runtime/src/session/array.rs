//! Tensors that belong to the caller.

use moec_ir::DType;

use crate::buffer::{Element, bytes_of, bytes_of_mut};

/// A tensor that is read: contiguous, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: &'a [u64],
    /// The elements, in the machine's byte order.
    pub bytes: &'a [u8],
}

/// A tensor that is written: contiguous, row-major.
#[derive(Debug)]
pub struct ArrayMut<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: &'a [u64],
    /// The elements, in the machine's byte order.
    pub bytes: &'a mut [u8],
}

/// A Rust type whose slices are tensors of one element type.
pub trait Scalar: Element {
    /// That element type.
    const DTYPE: DType;
}

impl Scalar for f32 {
    const DTYPE: DType = DType::F32;
}
impl Scalar for i32 {
    const DTYPE: DType = DType::I32;
}
impl Scalar for u8 {
    const DTYPE: DType = DType::U8;
}
impl Scalar for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}
impl Scalar for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl<'a> Array<'a> {
    /// The tensor of `shape` with these elements.
    pub fn new<T: Scalar>(shape: &'a [u64], elements: &'a [T]) -> Array<'a> {
        Array { dtype: T::DTYPE, shape, bytes: bytes_of(elements) }
    }
}

impl<'a> ArrayMut<'a> {
    /// The tensor of `shape` with these elements.
    pub fn new<T: Scalar>(shape: &'a [u64], elements: &'a mut [T]) -> ArrayMut<'a> {
        ArrayMut { dtype: T::DTYPE, shape, bytes: bytes_of_mut(elements) }
    }
}
