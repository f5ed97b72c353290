//! Axes: the names that types speak and the sizes behind them.
//!
//! Names are nominal: `dim E = G*M` makes a name E whose size is `G*M`. Matching looks at names only, proofs of size
//! at sizes only; an [`Axis`] holds both so that neither has to be looked up again.

use std::fmt;

use moec_ir::{Dim, IrError};

/// Separates the name of a function's own dim from the number of the call it belongs to.
const CALL_MARK: char = '#';

/// An axis of a type. Two axes are the same if their names are; sizes of equal names are equal.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    name: Dim,
    size: Dim,
}

impl PartialEq for Axis {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Axis {
    pub(crate) fn new(name: Dim, size: Dim) -> Self {
        Self { name, size }
    }

    pub(crate) fn constant(n: u64) -> Self {
        Self { name: Dim::constant(n), size: Dim::constant(n) }
    }

    /// The name: a monomial over names of dims.
    pub(crate) fn name(&self) -> &Dim {
        &self.name
    }

    /// The size: a monomial over symbols of the IR.
    pub(crate) fn size(&self) -> &Dim {
        &self.size
    }

    pub(crate) fn times(&self, other: &Axis) -> Result<Axis, IrError> {
        Ok(Axis { name: self.name.times(&other.name)?, size: self.size.times(&other.size)? })
    }

    /// The exact quotient of names, if there is one; sizes then divide as well.
    pub(crate) fn divided_by(&self, other: &Axis) -> Option<Axis> {
        Some(Axis { name: self.name.divided_by(&other.name)?, size: self.size.divided_by(&other.size)? })
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_calls(&self.name.to_string()))
    }
}

/// The name of dim `name` of the call with number `call`.
pub(crate) fn call_symbol(name: &str, call: usize) -> String {
    format!("{name}{CALL_MARK}{call}")
}

/// A name or a sum of names as the reader knows it, without the numbers of calls.
pub(crate) fn without_calls(text: &str) -> String {
    let mut parts = text.split(CALL_MARK);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| shown + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A list of axes as types print it, without brackets.
pub(crate) fn list(axes: &[Axis]) -> String {
    axes.iter().map(Axis::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_numbers_are_not_shown() {
        let name = Dim::symbol(&call_symbol("F", 3)).times(&Dim::constant(2)).unwrap();
        assert_eq!(Axis::new(name.clone(), name).to_string(), "2*F");
    }
}
