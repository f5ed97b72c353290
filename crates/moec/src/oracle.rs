//! Tensors of the machine as the interpreter holds them.

use moec_interp::Tensor;
use moec_ir::DType;

/// A tensor in the machine's bytes as the interpreter holds it.
pub fn to_oracle(dtype: DType, shape: &[u64], bytes: &[u8]) -> Tensor {
    let data = match dtype {
        DType::F32 => {
            let read = |b: &[u8; 4]| f64::from(f32::from_ne_bytes(*b));
            bytes.as_chunks::<4>().0.iter().map(read).collect()
        }
        DType::I32 => {
            let read = |b: &[u8; 4]| f64::from(i32::from_ne_bytes(*b));
            bytes.as_chunks::<4>().0.iter().map(read).collect()
        }
        DType::Bf16 => {
            let read = |b: &[u8; 2]| f64::from(half::bf16::from_ne_bytes(*b));
            bytes.as_chunks::<2>().0.iter().map(read).collect()
        }
        DType::F16 => {
            let read = |b: &[u8; 2]| f64::from(half::f16::from_ne_bytes(*b));
            bytes.as_chunks::<2>().0.iter().map(read).collect()
        }
        DType::U8 | DType::Bool => bytes.iter().map(|&b| f64::from(b)).collect(),
    };
    Tensor { dtype, shape: shape.iter().map(|&n| n as usize).collect(), data }
}
