//! Work at a machine's limits: what a call is held against. Whoever calls looks at the clock.
//!
//! [`read`] takes every byte of a buffer from memory once; [`multiply`] adds products to sums that stay
//! in registers, with nothing to load or store.
#![expect(unsafe_code, reason = "instructions that the processor was asked for are called")]

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use moec_plan::abi::AmxPermission;

use crate::buffer::Buffer;
use crate::threads::Threads;

/// What is multiplied.
#[derive(Debug, Clone, Copy)]
pub enum Products {
    /// `f32`, by fused multiply-add.
    F32,
    /// Pairs of bf16, added to `f32`: by AMX with leave to use it, else by vectors.
    Bf16Pairs(Option<&'static dyn AmxPermission>),
}

/// Reads every byte of the buffer once, by all threads of the pool, and gives what they make together.
pub fn read(buffer: &Buffer, pool: &dyn Threads) -> u64 {
    /// Floats that a thread reads at a time.
    const CHUNK: usize = 1 << 20;
    let words = buffer.as_slice::<f32>();
    let total = AtomicU64::new(0);
    pool.run(words.len().div_ceil(CHUNK) as u64, 1, &|_, range: Range<u64>| {
        for index in range {
            let part = &words[index as usize * CHUNK..words.len().min((index as usize + 1) * CHUNK)];
            let mut lanes = [0f32; 64];
            for row in part.as_chunks::<64>().0 {
                for (lane, value) in lanes.iter_mut().zip(row) {
                    *lane += value;
                }
            }
            let sum: f32 = lanes.iter().sum();
            total.fetch_xor(u64::from(sum.to_bits()), Ordering::Relaxed);
        }
    });
    total.into_inner()
}

/// Does `rounds` rounds of products on each thread of the pool by the widest instruction there is, and
/// gives the number of floating-point operations done. None where there is no such instruction.
pub fn multiply(products: Products, rounds: u64, pool: &dyn Threads) -> Option<u64> {
    let round = widest(products)?;
    let done = AtomicU64::new(0);
    pool.run(pool.threads() as u64, 1, &|_, range: Range<u64>| {
        for _ in range {
            done.fetch_add(round(rounds), Ordering::Relaxed);
        }
    });
    Some(done.into_inner())
}

#[cfg(target_arch = "x86_64")]
fn widest(products: Products) -> Option<fn(u64) -> u64> {
    use std::arch::is_x86_feature_detected as detected;
    let wide = detected!("avx512f");
    match products {
        // SAFETY: the feature was found.
        Products::F32 if wide => Some(|rounds| unsafe { x86::f32_512(rounds) }),
        Products::F32 if detected!("avx2") && detected!("fma") => {
            // SAFETY: the features were found.
            Some(|rounds| unsafe { x86::f32_256(rounds) })
        }
        // SAFETY: the permission promises the instructions.
        Products::Bf16Pairs(Some(_)) => Some(|rounds| unsafe { x86::pairs_amx(rounds) }),
        Products::Bf16Pairs(None) if wide && detected!("avx512bf16") => {
            // SAFETY: the features were found.
            Some(|rounds| unsafe { x86::pairs_512(rounds) })
        }
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest(products: Products) -> Option<fn(u64) -> u64> {
    matches!(products, Products::F32).then_some(portable as fn(u64) -> u64)
}

/// Sums in four lanes, as the widest vectors of other machines.
#[cfg(not(target_arch = "x86_64"))]
fn portable(rounds: u64) -> u64 {
    const SUMS: usize = 12;
    let mut sums = [[0f32; 4]; SUMS];
    let [a, b] = [[black_box(0.5f32); 4], [black_box(0.25f32); 4]];
    for _ in 0..rounds {
        for lanes in &mut sums {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane = a.mul_add(b, *lane);
            }
        }
    }
    black_box(sums);
    rounds * (SUMS * 4 * 2) as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::black_box;

    /// Sums enough to hide the latency of an addition on any machine known.
    const SUMS: usize = 24;

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_512(rounds: u64) -> u64 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let [a, b] = [0.5, 0.25].map(|x| _mm512_set1_ps(black_box(x)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
        rounds * (SUMS * 16 * 2) as u64
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pairs_512(rounds: u64) -> u64 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let [a, b] = [0.5, 0.25].map(|x| {
            let wide = _mm512_set1_ps(black_box(x));
            _mm512_cvtne2ps_pbh(wide, wide)
        });
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums);
        rounds * (SUMS * 32 * 2) as u64
    }

    /// # Safety
    /// The process may use AMX.
    pub(super) unsafe fn pairs_amx(rounds: u64) -> u64 {
        /// Registers that are added to.
        const SUMS: u64 = 4;
        /// Rows, columns and pairs of a register.
        const SIDE: u64 = 16;
        #[repr(align(64))]
        struct Shapes([u8; 64]);
        let mut shapes = Shapes([0; 64]);
        shapes.0[0] = 1;
        for register in 0..8 {
            shapes.0[16 + 2 * register] = 64;
            shapes.0[48 + register] = SIDE as u8;
        }
        if rounds > 0 {
            // SAFETY: by this function's contract; no memory but the shapes is read, none written.
            unsafe {
                std::arch::asm!(
                    "ldtilecfg [{shapes}]",
                    "2:",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "dec {left}",
                    "jnz 2b",
                    "tilerelease",
                    shapes = in(reg) &raw const shapes,
                    left = inout(reg) rounds => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
        rounds * SUMS * SIDE * SIDE * SIDE * 2 * 2
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_256(rounds: u64) -> u64 {
        const SUMS: usize = 12;
        let mut sums = [_mm256_setzero_ps(); SUMS];
        let [a, b] = [0.5, 0.25].map(|x| _mm256_set1_ps(black_box(x)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
        rounds * (SUMS * 8 * 2) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Pool;

    #[test]
    fn what_is_done_is_counted() {
        for threads in [1, 2] {
            let pool = Pool::new(threads).unwrap();
            for products in [Products::F32, Products::Bf16Pairs(None)] {
                let once = multiply(products, 10, &pool);
                assert_eq!(multiply(products, 30, &pool), once.map(|flops| 3 * flops));
            }
            let mut buffer = Buffer::zeroed(5 << 20).unwrap();
            assert_eq!(read(&buffer, &pool), 0);
            buffer.as_mut_slice::<f32>()[(1 << 20) + 3] = 1.0;
            assert_eq!(read(&buffer, &pool), u64::from(1f32.to_bits()));
        }
    }
}
