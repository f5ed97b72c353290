//! Tensors of the machine that own their memory, for callers who have none.

use moec_interp::Tensor;
use moec_ir::DType;
use moec_runtime::buffer::{Buffer, BufferError};
use moec_runtime::session::{Array, ArrayMut};

use crate::to_oracle;

/// A tensor in memory of its own: contiguous, row-major, in the machine's bytes.
#[derive(Debug)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<u64>,
    memory: Buffer,
}

impl HostTensor {
    /// A tensor of zeros. A size that overflows, or that memory cannot hold, is an error.
    pub fn zeros(dtype: DType, shape: &[u64]) -> Result<HostTensor, BufferError> {
        let memory = Buffer::zeroed_shape(shape, dtype.bytes())?;
        Ok(HostTensor { dtype, shape: shape.to_vec(), memory })
    }

    /// A tensor whose elements are a copy of `bytes`, as far as both reach.
    pub fn copied(dtype: DType, shape: &[u64], bytes: &[u8]) -> Result<HostTensor, BufferError> {
        let mut tensor = HostTensor::zeros(dtype, shape)?;
        tensor.bytes_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(tensor)
    }

    /// What the interpreter holds, rounded to the element type.
    pub fn from_oracle(tensor: &Tensor) -> Result<HostTensor, BufferError> {
        let shape: Vec<u64> = tensor.shape.iter().map(|&n| n as u64).collect();
        let mut host = HostTensor::zeros(tensor.dtype, &shape)?;
        let elements = host.memory.as_mut_slice::<u8>().chunks_exact_mut(tensor.dtype.bytes());
        for (to, &value) in elements.zip(&tensor.data) {
            // Rounded by the oracle first: `half` looks at the upper bits of an f64 only.
            let value = moec_interp::round_to(tensor.dtype, value);
            match tensor.dtype {
                DType::F32 => to.copy_from_slice(&(value as f32).to_ne_bytes()),
                DType::I32 => to.copy_from_slice(&(value as i32).to_ne_bytes()),
                DType::Bf16 => to.copy_from_slice(&half::bf16::from_f64(value).to_ne_bytes()),
                DType::F16 => to.copy_from_slice(&half::f16::from_f64(value).to_ne_bytes()),
                DType::U8 => to.fill(value as u8),
                DType::Bool => to.fill(u8::from(value != 0.0)),
            }
        }
        Ok(host)
    }

    /// As the interpreter holds it.
    pub fn to_oracle(&self) -> Tensor {
        to_oracle(self.dtype, &self.shape, self.bytes())
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The elements.
    pub fn bytes(&self) -> &[u8] {
        self.memory.as_slice()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut_slice()
    }

    /// As an input of a session.
    pub fn array(&self) -> Array<'_> {
        Array { dtype: self.dtype, shape: &self.shape, bytes: self.bytes() }
    }

    /// As an output of a session.
    pub fn array_mut(&mut self) -> ArrayMut<'_> {
        ArrayMut { dtype: self.dtype, shape: &self.shape, bytes: self.memory.as_mut_slice() }
    }

    /// The slices at `places` along `axis`, one after another. Each place is a block of `block`
    /// consecutive elements of the axis. Places past the end are left out.
    ///
    /// # Panics
    /// If the tensor has no such axis.
    pub fn select(&self, axis: usize, block: u64, places: &[u64]) -> Result<HostTensor, BufferError> {
        let size = self.shape[axis];
        let places: Vec<u64> =
            places.iter().copied().filter(|p| p.checked_add(1).is_some_and(|n| n * block <= size)).collect();
        let mut shape = self.shape.clone();
        shape[axis] = block * places.len() as u64;
        let mut selected = HostTensor::zeros(self.dtype, &shape)?;
        let inner = self.shape[axis + 1..].iter().product::<u64>() as usize * self.dtype.bytes();
        let (row, step) = (size as usize * inner, block as usize * inner);
        if row == 0 || step == 0 {
            return Ok(selected);
        }
        let sources = self.bytes().chunks_exact(row).flat_map(|row| {
            let part = |place: &u64| &row[*place as usize * step..][..step];
            places.iter().map(part).collect::<Vec<_>>()
        });
        let bytes = selected.memory.as_mut_slice::<u8>();
        for (to, from) in bytes.chunks_exact_mut(step).zip(sources) {
            to.copy_from_slice(from);
        }
        Ok(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive_the_way_to_the_oracle_and_back() {
        for dtype in DType::ALL {
            let data = match dtype {
                DType::Bool => vec![1.0, 0.0, 1.0],
                DType::U8 => vec![1.0, 0.0, 255.0],
                _ => vec![1.0, -2.0, 5.0],
            };
            let tensor = Tensor { dtype, shape: vec![3], data };
            assert_eq!(HostTensor::from_oracle(&tensor).unwrap().to_oracle(), tensor);
        }
        let odd = Tensor { dtype: DType::Bf16, shape: vec![], data: vec![1.0 + 2f64.powi(-8) + 1e-9] };
        assert_eq!(HostTensor::from_oracle(&odd).unwrap().to_oracle().data, [1.0 + 2f64.powi(-7)]);
    }

    #[test]
    fn blocks_of_an_axis_are_selected() {
        let data: Vec<f64> = (0..12).map(f64::from).collect();
        let tensor = Tensor { dtype: DType::F32, shape: vec![2, 6], data };
        let host = HostTensor::from_oracle(&tensor).unwrap();
        let some = host.select(1, 2, &[2, 0, 3]).unwrap();
        assert_eq!(some.shape(), [2, 4]);
        assert_eq!(some.to_oracle().data, [4.0, 5.0, 0.0, 1.0, 10.0, 11.0, 6.0, 7.0]);
        assert_eq!(host.select(0, 1, &[1]).unwrap().to_oracle().data, tensor.data[6..]);
        assert_eq!(host.select(0, 1, &[]).unwrap().shape(), [0, 6]);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert!(HostTensor::zeros(DType::F32, &[u64::MAX, 2]).is_err());
        assert!(HostTensor::zeros(DType::F32, &[u64::MAX, 2, 0]).is_ok());
    }
}
