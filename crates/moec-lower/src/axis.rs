//! Axes: the names that types speak, the sizes behind them, and sums of sizes.
//!
//! Names are nominal: `dim E = G*M` makes a name E whose size is `G*M`. Matching looks at names only, proofs of size
//! at sizes only; an [`Axis`] holds both so that neither has to be looked up again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use moec_ir::{Dim, IrError};

/// Separates the name of a function's own dim from the number of the call it belongs to.
const CALL_MARK: char = '#';

/// Sums with more terms are not followed.
const MOST_TERMS: usize = 64;

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
        f.write_str(&shown(&self.name))
    }
}

/// The name of dim `name` of the call with number `call`.
pub(crate) fn call_symbol(name: &str, call: usize) -> String {
    format!("{name}{CALL_MARK}{call}")
}

/// A name as the reader knows it, without the numbers of calls.
fn shown(name: &Dim) -> String {
    let mut text = String::new();
    for (i, part) in name.to_string().split('*').enumerate() {
        if i > 0 {
            text.push('*');
        }
        text.push_str(part.split(CALL_MARK).next().unwrap_or(part));
    }
    text
}

/// A list of axes as types print it, without brackets.
pub(crate) fn list(axes: &[Axis]) -> String {
    axes.iter().map(Axis::to_string).collect::<Vec<_>>().join(", ")
}

/// A sum of multiples of names: what `Q + R` and `C - Q` are before a name is found for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SizeSum(BTreeMap<Vec<Arc<str>>, i128>);

impl SizeSum {
    pub(crate) fn of(name: &Dim) -> Self {
        let mut sum = Self::default();
        sum.add_term(name.symbols().to_vec(), i128::from(name.coefficient()));
        sum
    }

    fn add_term(&mut self, symbols: Vec<Arc<str>>, coefficient: i128) {
        let entry = self.0.entry(symbols.clone()).or_default();
        *entry = entry.saturating_add(coefficient);
        if *entry == 0 {
            self.0.remove(&symbols);
        }
    }

    /// `self + factor * other`.
    pub(crate) fn plus(&self, other: &SizeSum, factor: i128) -> SizeSum {
        let mut sum = self.clone();
        for (symbols, coefficient) in &other.0 {
            sum.add_term(symbols.clone(), coefficient.saturating_mul(factor));
        }
        sum
    }

    /// The product, unless it has more terms than anyone would name.
    pub(crate) fn times(&self, other: &SizeSum) -> Option<SizeSum> {
        let mut product = SizeSum::default();
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                let mut symbols = [a.as_slice(), b].concat();
                symbols.sort();
                product.add_term(symbols, x.saturating_mul(*y));
            }
        }
        (product.0.len() <= MOST_TERMS).then_some(product)
    }

    /// This sum with every dim that is defined as a sum replaced by its definition.
    ///
    /// `definitions` are expanded themselves.
    pub(crate) fn expanded(&self, definitions: &BTreeMap<Arc<str>, SizeSum>) -> Option<SizeSum> {
        let mut sum = SizeSum::default();
        for (symbols, coefficient) in &self.0 {
            let mut term = SizeSum(BTreeMap::from([(Vec::new(), *coefficient)]));
            for symbol in symbols {
                term = match definitions.get(symbol) {
                    Some(definition) => term.times(definition)?,
                    None => term.times(&SizeSum::of(&Dim::symbol(symbol)))?,
                };
            }
            sum = sum.plus(&term, 1);
        }
        (sum.0.len() <= MOST_TERMS).then_some(sum)
    }

    /// The name that this sum is, if it is one product, or zero.
    pub(crate) fn as_name(&self) -> Option<Dim> {
        let mut terms = self.0.iter();
        let Some((symbols, coefficient)) = terms.next() else { return Some(Dim::constant(0)) };
        let coefficient = u64::try_from(*coefficient).ok()?;
        if terms.next().is_some() {
            return None;
        }
        let symbols: Vec<Dim> = symbols.iter().map(|s| Dim::symbol(s)).collect();
        Dim::product(symbols.iter().chain([&Dim::constant(coefficient)])).ok()
    }
}

impl fmt::Display for SizeSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Positive terms first: `C - Q`, not `-Q + C`.
        let (plus, minus): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, c)| **c > 0);
        for (i, (symbols, coefficient)) in plus.into_iter().chain(minus).enumerate() {
            let magnitude = u64::try_from(coefficient.unsigned_abs()).unwrap_or(u64::MAX);
            let symbols: Vec<Dim> = symbols.iter().map(|s| Dim::symbol(s)).collect();
            let sign = match (i, *coefficient < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            let text = match Dim::product(symbols.iter().chain([&Dim::constant(magnitude)])) {
                Ok(name) => shown(&name),
                Err(_) => magnitude.to_string(),
            };
            write!(f, "{sign}{text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_cancels_in_a_sum() {
        let name = |s: &str| SizeSum::of(&Dim::symbol(s));
        let definitions = BTreeMap::from([("R".into(), name("C").plus(&name("Q"), -1))]);
        let sum = name("Q").plus(&name("R"), 1);
        assert_eq!(sum.to_string(), "Q + R");
        assert_eq!(sum.as_name(), None);
        assert_eq!(sum.expanded(&definitions).and_then(|s| s.as_name()), Some(Dim::symbol("C")));
        assert_eq!(name("F").plus(&name("F"), 1).as_name().map(|d| d.to_string()), Some("2*F".into()));
    }

    #[test]
    fn call_numbers_are_not_shown() {
        let name = Dim::symbol(&call_symbol("F", 3)).times(&Dim::constant(2)).unwrap();
        assert_eq!(Axis::new(name.clone(), name).to_string(), "2*F");
    }
}
