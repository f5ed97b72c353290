//! Random tensors for weights and inputs that were not given. Owns one generator; knows nothing of
//! files or plans.
//!
//! Chunk `c` of tensor `name` is drawn from a generator seeded by (seed, name, c) alone, so the
//! values depend neither on the number of threads nor on which other tensors are made. Only integer
//! steps and one rounding take part, so they are the same on every machine.

use moec_ir::DType;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::threads::Threads;

/// Elements drawn from one generator.
const CHUNK: usize = 1 << 14;

/// Fills `bytes` with elements of `dtype`; a rest shorter than an element stays as it is.
///
/// Floats have mean 0 and standard deviation `spread` (a triangular distribution, cut off at 2.45
/// deviations) and use the whole mantissa; `i32` is uniform in `0..spread`, at least `0..1`; `u8`
/// is uniform in 112..144, which is moderate as an exponent; `bool` is a fair coin. For a matrix that is multiplied by rows of `n` elements, `1 / sqrt(n)` keeps
/// activations near 1.
pub fn fill(pool: &dyn Threads, seed: u64, name: &str, dtype: DType, spread: f32, bytes: &mut [u8]) {
    pool.run_chunks(bytes, CHUNK * dtype.bytes(), &|index, chunk| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(key(seed, name, index));
        let scale = spread / TRIANGLE_DEVIATION;
        match dtype {
            DType::F32 => each(chunk, || float(&mut random, scale).to_le_bytes()),
            DType::Bf16 => each(chunk, || half::bf16::from_f32(float(&mut random, scale)).to_le_bytes()),
            DType::F16 => each(chunk, || half::f16::from_f32(float(&mut random, scale)).to_le_bytes()),
            DType::I32 => {
                let limit = (spread as u32).clamp(1, i32::MAX as u32);
                // The high half of the product: uniform but for a bias below limit / 2^32.
                each(chunk, || {
                    (((u64::from(random.next_u32()) * u64::from(limit)) >> 32) as u32).to_le_bytes()
                });
            }
            DType::U8 => each(chunk, || [112 + (random.next_u32() >> 27) as u8]),
            DType::Bool => each(chunk, || [(random.next_u32() >> 31) as u8]),
        }
    });
}

/// Standard deviation of the sum of two uniform `i32`: 2^32 / sqrt(6).
const TRIANGLE_DEVIATION: f32 = 1_753_413_056.0;

fn float(random: &mut Xoshiro256PlusPlus, scale: f32) -> f32 {
    let bits = random.next_u64();
    let sum = i64::from(bits as i32) + i64::from((bits >> 32) as i32);
    sum as f32 * scale
}

fn each<const N: usize>(chunk: &mut [u8], mut next: impl FnMut() -> [u8; N]) {
    for element in chunk.as_chunks_mut::<N>().0 {
        *element = next();
    }
}

/// FNV-1a over everything that names a chunk.
fn key(seed: u64, name: &str, chunk: u64) -> u64 {
    let parts = seed.to_le_bytes().into_iter().chain(name.bytes()).chain(chunk.to_le_bytes());
    parts.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Pool;

    fn floats(threads: usize, seed: u64, name: &str, count: usize) -> Vec<f32> {
        let mut bytes = vec![0; count * 4];
        fill(&Pool::new(threads).unwrap(), seed, name, DType::F32, 0.5, &mut bytes);
        bytes.as_chunks::<4>().0.iter().map(|&element| f32::from_le_bytes(element)).collect()
    }

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let one = floats(1, 7, "w1", 3 * CHUNK + 5);
        assert_eq!(one, floats(2, 7, "w1", 3 * CHUNK + 5));
        assert_eq!(one[..CHUNK + 1], floats(3, 7, "w1", CHUNK + 1), "a shorter tensor is a prefix");
        assert_ne!(one[..8], floats(1, 8, "w1", 8));
        assert_ne!(one[..8], floats(1, 7, "w2", 8));
        assert_ne!(one[..8], one[CHUNK..CHUNK + 8]);
    }

    #[test]
    fn floats_have_the_stated_moments_and_full_mantissas() {
        let values = floats(1, 1, "x", 200_000);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let deviation = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 0.005, "{mean}");
        assert!((deviation - 0.5).abs() < 0.005, "{deviation}");
        let odd = values.iter().filter(|v| v.to_bits() & 1 == 1).count();
        assert!((odd as f64 / n - 0.5).abs() < 0.02, "lowest mantissa bit is set in {odd} of {n}");
    }

    #[test]
    fn every_element_type_is_covered() {
        let pool = Pool::new(1).unwrap();
        let mut bytes = vec![0; 4000];
        fill(&pool, 1, "i", DType::I32, 8.0, &mut bytes);
        let seen: std::collections::BTreeSet<i32> =
            bytes.as_chunks::<4>().0.iter().map(|&element| i32::from_le_bytes(element)).collect();
        assert_eq!(seen, (0..8).collect());
        fill(&pool, 1, "b", DType::Bool, 0.0, &mut bytes);
        let set = bytes.iter().filter(|&&byte| byte == 1).count();
        assert!(bytes.iter().all(|&byte| byte <= 1) && (1800..2200).contains(&set));
        for dtype in [DType::Bf16, DType::F16] {
            fill(&pool, 1, "h", dtype, 1.0, &mut bytes);
            assert!(bytes.as_chunks::<2>().0.iter().any(|&element| element != [0, 0]));
        }
    }
}
