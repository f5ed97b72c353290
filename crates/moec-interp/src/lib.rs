//! Reference semantics of the IR: the oracle that everything else is held against. Simple, slow,
//! f64. It knows nothing of rewriting, kernels or machines.
//!
//! What the op table leaves open is fixed here:
//!
//! - **Floats.** An `f32` value is a real number held in f64 and never rounded on the way. Only a
//!   `cast` rounds: to `bf16` and `f16`, and to `f32` from `i32`, to nearest even, overflow to
//!   infinity, NaN kept. Constants and literals of 16-bit types are rounded to their type.
//! - **Casts.** To `i32` and `u8` towards zero, saturating, NaN to 0. To `bool` true unless zero, so NaN is
//!   true. From `f32` to `f32` nothing happens.
//! - **Integers.** `i32` arithmetic, sums included, wraps at 32 bits. `floor_div` rounds down and is 0
//!   for a divisor of 0; `mod` is what is missing, so that `x = floor_div(x, y) * y + mod(x, y)` always.
//! - **NaN.** `maximum`, `minimum`, `max`, `min` and `relu` yield NaN if any operand is. `argmax` agrees
//!   with `max`: the first NaN if there is one. In `top_k` and `argsort` NaN comes last, whether
//!   ascending or descending. Comparisons are IEEE's.
//! - **Ties.** `top_k`, `argsort` and `argmax` prefer the lower index; -0 equals +0. `maximum` puts
//!   -0 below +0.
//! - **Empty axes.** `sum` 0, `mean` NaN, `max` -inf (`i32`: the least), `min` +inf (the greatest), `any`
//!   false, `all` true. `argmax` is an error.
//! - **Softmax** of a row whose largest element is infinite is NaN where `inf - inf` occurs, as in
//!   PyTorch: a row of -inf is all NaN.
//! - **Indices.** `gather`, `scatter_add`, `densify`, `plan` and `plan_subset` refuse an index out of
//!   range, whether or not an element would be moved; `one_hot` yields false for it. `densify` along its
//!   axis and `plan_subset` also refuse an index that occurs twice.
//! - **Order.** Sums start at 0 and add in index order, contracted letters in order of first use.
//!   `combine` starts from the first term and adds in ascending expert order, then 0 for each pair
//!   that the plan drops; with no slots it is 0.
//!
//! Start with [`run`]; [`eval_node`] is one operation alone; [`generate`] makes random programs.

mod contract;
mod dispatch;
mod element;
mod error;
mod eval;
mod layout;
mod number;
mod reduce;
mod run;
mod select;
mod source;
mod value;
mod walk;

pub mod generate;

pub use error::InterpError;
pub use eval::eval_node;
pub use number::round_to;
pub use run::{run, run_all};
pub use value::{MAX_ELEMENTS, Plan, Route, Tensor, Value};
