//! Equality saturation over the IR: rules, cost, extraction.
