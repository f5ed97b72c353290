//! The moec command.

fn main() {}
