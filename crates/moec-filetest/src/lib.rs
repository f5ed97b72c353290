//! The test-file runner behind `moec test` and our own `tests/`.
//!
//! A test file is a program, `.moe` or `.moir`, that says in its comments what is to be true of it. Without
//! any, it must check without errors or warnings.
//!
//! ```text
//! //! set = { H = 8 }                              header: TOML, in lines that start with `//!`
//! //! numerics = "finite"
//! /// A model.
//! model m {
//!     ..
//!     output y : f32[T, H] = g * out // error: [shape-mismatch] outer product
//! }
//! // run: T = 5, seed = 3                          runs it: interpreter, optimised, compiled
//! // expect opt:                                   what a stage prints; `--bless` rewrites it
//! //     module m {
//! ```
//!
//! - **Header** ([`Header`]): `model` (which one, if there are several), `set` (values for params and sized dims),
//!   `numerics`, `tokens`, `tolerance`, `run` (a list of further `run:` lines).
//! - **`// error: [slug] text`** and **`// warning: [slug] text`** stand on the line they speak of, or alone on the
//!   line before it. The message must contain `text`. A file gives exactly the findings it announces.
//! - **`// run: T = 5, seed = 3`** gives the run-time dims values and random data. The source under the
//!   interpreter, the optimised program under the interpreter and the compiled program must agree, within
//!   1e-9 and within `tolerance` (1e-5 unless the header says otherwise) of the output's scale; one and two
//!   threads must give the same bits, and so must a row alone and in its batch where rows are independent.
//!   With `fails = "text"` both must refuse to run instead.
//! - **`// expect NAME:`** blocks come last. `NAME` is a stage (`ir`, `opt`, `plan`, `clif`, `asm`, `egraph`), `values`
//!   (the outputs of every run, to six digits) or `report` (the findings as they are shown). To make one,
//!   write the line and bless.
//!
//! This crate uses the facade only: it tests what users get.

mod block;
mod case;
mod diff;
mod execute;
mod finding;
mod header;
mod outcome;
mod row;
mod walk;

pub use case::{Case, CaseError};
pub use diff::line_diff;
pub use header::Header;
pub use outcome::{Outcome, run};
pub use walk::test_files;
