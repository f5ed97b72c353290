//! The `.moe` language: lexer, parser, syntax tree, formatter.
//!
//! [`parse`] gives a tree and what is wrong with the text, always both; [`format()`] gives the one style.
//! This crate knows the form of programs only: names, types and operations are the lowering's business.

pub mod ast;
mod format;
mod layout;
mod outline;
mod parser;
mod sink;
mod token;

pub use format::format;
pub use outline::{outline, outline_expr};
pub use parser::parse;

/// The functions every program may use, themselves `.moe`: `swiglu`.
pub const PRELUDE: &str = include_str!("prelude.moe");
