//! Model folders as Hugging Face publishes them, read into `.moe` source: the mixture of experts of one
//! layer, in the words of a person who knows the model, bound to the folder's own tensor names.
//!
//! What is known of models is data: a row in `models/` for each model type, in the words of `row`, with
//! layouts and key names that rows share beside it. `folder` decides which files are read, `config`
//! answers questions of the configuration, `recognise` finds the row and the layer, `draft` finds and
//! measures tensors, `compose` writes. Nothing here knows what source text means, looks at an element
//! of a weight, or reads a file that is not the folder's.

mod compose;
mod config;
mod draft;
mod error;
mod folder;
mod json;
mod key;
mod mxfp4;
mod recognise;
mod row;
mod spec;
mod table;
mod tensors;

pub use error::ImportError;
pub use folder::{Folder, open_weights};
pub use recognise::{ImportOptions, Imported, import};
pub use tensors::Tensors;

/// The model types that there are rows for, sorted.
pub fn model_types() -> Vec<&'static str> {
    table::Table::get().map(table::Table::types).unwrap_or_default()
}
