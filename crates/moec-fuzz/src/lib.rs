//! Fuzzing of everything that reads what a stranger wrote: source text, IR text, weight files.
//!
//! [`Target`] names what is fuzzed; each is one function from bytes to what they reached, which panics
//! if a promise is broken. [`Campaign`] damages real programs (`corpus`, `mutate`) and runs a target on
//! them, keeps those that reach something new (`reach`), counts what they cost (`meter`), and makes a
//! failing input small (`shrink`).
//!
//! The phases are called directly, behind the gates that the facade closes between them. This crate
//! must not know rewriting, plans or code: what they get has passed the verifier.

mod campaign;
mod corpus;
mod dice;
mod folder;
mod meter;
mod mutate;
mod reach;
mod shrink;
mod target;

pub use campaign::{Campaign, Failure, FailureKind, Limit, Report, try_once};
pub use corpus::{seeds, tests_folder};
pub use reach::Reach;
pub use target::Target;
