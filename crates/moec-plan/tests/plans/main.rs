//! Plans, evaluated as their types say, against the interpreter; and what programs become.

mod cases;
mod check;
mod evaluator;
mod fusion;
mod layer;
mod random;
