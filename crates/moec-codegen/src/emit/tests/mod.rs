//! Kernels against plain loops, at edge sizes, between guard pages, in every split.

mod harness;
mod map;
mod reference;
