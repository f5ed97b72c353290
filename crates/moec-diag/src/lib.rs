//! Spans and diagnostics as data, the registry of their codes, and their rendering.
//!
//! Every phase reports through [`Diagnostic`]. A diagnostic names a [`Code`] of the registry in [`codes`]; a `Code`
//! cannot be made outside this crate, so `moec explain` knows every slug that can ever be printed.
//! This crate knows nothing of the language, the IR or files on disk.

mod code;
pub mod codes;
mod diagnostic;
mod example;
mod render;
mod source;

pub use code::{Code, all, families, lookup, nearest};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use example::{Example, examples};
pub use render::render;
pub use source::{SourceFile, Span};
