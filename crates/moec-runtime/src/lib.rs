//! What a compiled program needs to run: memory, weights, threads and what the processor offers.
//!
//! This crate knows element types and the plan, but neither source text, nor rewriting, nor how
//! code is made. It is one of two crates that contain `unsafe`, and the only one that maps files.
//! Start with [`threads::Pool`], [`buffer::Buffer`] and [`weights::WeightFiles`].

pub mod buffer;
pub mod cpu;
pub mod packed;
pub mod probe;
pub mod seeded;
pub mod session;
pub mod threads;
pub mod weights;
