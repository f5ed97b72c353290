//! Kernels against plain loops, at edge sizes, between guard pages, in every split.

mod epilogue;
mod group;
mod harness;
mod map;
mod pack;
mod product;
mod reduce;
mod reference;
mod row;
mod scatter_add;
mod seat;
mod together;
mod whole;
