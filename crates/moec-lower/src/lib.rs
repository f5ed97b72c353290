//! From syntax tree to IR: names, shapes, user-facing errors.
