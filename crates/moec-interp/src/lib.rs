//! Reference semantics of the IR in f64: the oracle.
