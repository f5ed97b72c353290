//! Plans, evaluated as their types say, against the interpreter; and what programs become.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod check;
mod evaluator;
mod fusion;
mod layer;
mod programs;
mod random;
mod refused;
