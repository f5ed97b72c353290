//! Inputs that say which experts are chosen.

use moec::buffer::{Buffer, BufferError};
use moec::ir::DType;
use moec::{HostTensor, Pool};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::{Layer, Types};

/// Tokens for a layer with [`LayerWeights`](crate::LayerWeights), whose first E elements are scores such that
/// experts are chosen in proportion to `shares`, one after the other without return: the logarithm of the
/// share plus Gumbel noise (Vieira 2014; Kool et al. 2019, arXiv:1903.06059). No two scores of a token
/// are the same, nor are their bf16.
///
/// # Errors
/// If memory for them cannot be had.
pub fn routed(
    layer: &Layer,
    types: Types,
    shares: &[f64],
    tokens: u64,
    seed: u64,
    pool: &Pool,
) -> Result<HostTensor, BufferError> {
    let shape = [tokens, layer.h];
    let mut memory = moec::random_input(pool, seed, "x", types.input(), &shape)?;
    let mut random = SplitMix64::seed_from_u64(seed);
    for token in 0..tokens {
        let mut scores: Vec<(f64, usize)> =
            shares.iter().map(|share| share.max(1e-9).ln()).zip(0..).collect();
        for (score, _) in &mut scores {
            // Between 0 and 1, neither of them.
            let uniform = (random.next_u64() >> 11) as f64 + 0.5;
            *score -= (-(uniform / (1u64 << 53) as f64).ln()).ln();
        }
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut above = f32::INFINITY;
        for (score, expert) in scores {
            let mut rounded = upper(score as f32);
            while rounded >= above {
                rounded = below(above);
            }
            above = rounded;
            put(&mut memory, types.input(), (token * layer.h) as usize + expert, rounded);
        }
    }
    HostTensor::copied(types.input(), &shape, memory.as_slice())
}

/// The value cut to bf16.
fn upper(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & 0xffff_0000)
}

/// The next lower bf16.
fn below(value: f32) -> f32 {
    let bits = value.to_bits() & 0xffff_0000;
    match bits {
        // Zeros; the least subnormal bf16 below them.
        0 | 0x8000_0000 => f32::from_bits(0x8001_0000),
        bits if value > 0.0 => f32::from_bits(bits - 0x1_0000),
        bits => f32::from_bits(bits + 0x1_0000),
    }
}

fn put(memory: &mut Buffer, dtype: DType, at: usize, value: f32) {
    match dtype {
        DType::F32 => memory.as_mut_slice::<f32>()[at] = value,
        _ => memory.as_mut_slice::<u16>()[at] = (value.to_bits() >> 16) as u16,
    }
}

/// The experts that some token of such an input chooses, as a part of all.
pub fn touched(layer: &Layer, input: &HostTensor) -> f64 {
    let mut chosen = vec![layer.k == 0; layer.e as usize];
    for row in input.to_oracle().data.chunks(layer.h.max(1) as usize) {
        let mut order: Vec<usize> = (0..chosen.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order.iter().take(layer.k as usize).for_each(|&expert| chosen[expert] = true);
    }
    chosen.iter().filter(|chosen| **chosen).count() as f64 / chosen.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: Layer = Layer { k: 1, e: 4, h: 8, ..crate::LAYERS[1] };

    #[test]
    fn choices_follow_the_shares() {
        let pool = Pool::new(1).unwrap();
        let shares = [0.5, 0.25, 0.2, 0.05];
        for types in Types::ALL {
            let input = routed(&LAYER, types, &shares, 4000, 7, &pool).unwrap().to_oracle();
            let mut counts = [0.0; 4];
            for row in input.data.chunks(8) {
                let scores = &row[..4];
                let best = (0..4).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
                counts[best] += 1.0 / 4000.0;
                assert!((0..4).all(|a| (0..a).all(|b| scores[a] != scores[b])), "{scores:?}");
            }
            let close = counts.iter().zip(&shares).all(|(a, b): (&f64, _)| (a - b).abs() < 0.03);
            assert!(close, "{counts:?}");
        }
    }

    #[test]
    fn only_what_is_chosen_is_touched() {
        let pool = Pool::new(1).unwrap();
        let one = routed(&LAYER, Types::F32, &[1.0; 4], 1, 1, &pool).unwrap();
        assert_eq!(touched(&LAYER, &one), 0.25);
        let many = routed(&LAYER, Types::F32, &[1.0; 4], 200, 1, &pool).unwrap();
        assert_eq!(touched(&LAYER, &many), 1.0);
        let narrow = routed(&LAYER, Types::F32, &[1.0, 0.0, 0.0, 0.0], 200, 1, &pool).unwrap();
        assert_eq!(touched(&LAYER, &narrow), 0.25);
    }

    #[test]
    fn the_next_lower_bf16_is_lower() {
        for value in [3.0, 1.0, 0.0, -0.0, -1.0, -100.5] {
            let next = below(value);
            assert!(next < value && upper(next) == next, "{value} {next}");
        }
    }
}
