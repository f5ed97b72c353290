//! The command from outside: what it prints, its exit codes, and what it leaves on disk.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod bad_input;
mod bad_weights;
mod benching;
mod diff;
mod explaining;
mod import;
mod moec;
mod output;
mod packing;
mod profiles;
mod running;
mod targets;
mod text;
mod tiles;
mod tour;
