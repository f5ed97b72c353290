//! Functions of real numbers in CLIF, for one lane and for four with the same bits per element.
//!
//! Largest errors measured in `tests.rs` over two million arguments, with FMA and without:
//!
//! | function | bound (ulp) | seen | file |
//! |---|---|---|---|
//! | `exp` | 2 | 0.99 | `exp.rs` |
//! | `exp2` | 2, exact for integers | 0.99 | `exp.rs` |
//! | `log` | 2 | 0.94 | `log.rs` |
//! | `tanh` | 2 | 1.28 | `tanh.rs` |
//! | `erf` | 2 | 1.11 | `erf.rs` |
//! | `sqrt` | 0.5 | 0.5 | an instruction |
//! | `rsqrt` | 1.5 | 1.47 | `activation.rs` |
//! | `sigmoid` | 2.5 | 2.30 | `activation.rs` |
//! | `softplus` | 3 | 1.95 | `activation.rs` |
//! | `silu` | 3 for x >= -87 | 2.93 | `activation.rs` |
//! | `gelu`, `gelu_tanh` | 4 * 2^-24 of the argument | 2.45 | `activation.rs` |
//!
//! One `impl LaneEmitter` block per file. All follow IEEE: NaN gives NaN, infinities give the
//! limit, subnormal arguments and results are right. They know numbers, not tensors.

mod activation;
mod erf;
mod exp;
mod half;
mod log;
mod tanh;

/// `ln 2` with so few bits that its product with any exponent is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// What is missing from `LN2_HIGH` to `ln 2`.
const LN2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests;
