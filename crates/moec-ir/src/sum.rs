//! Sums of sizes: what `Q + R` and `C - Q` are, in a form in which equal sums are equal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Dim, DimExpr};

/// Sums with more terms are not followed.
const MOST_TERMS: usize = 64;

/// A sum of multiples, also negative ones, of products of symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeSum(BTreeMap<Vec<Arc<str>>, i128>);

impl SizeSum {
    /// The sum that is one size.
    pub fn of(dim: &Dim) -> Self {
        let mut sum = Self::default();
        sum.add_term(dim.symbols().to_vec(), i128::from(dim.coefficient()));
        sum
    }

    /// The sum that an expression is; `None` with quotients, fractions or more terms than anyone would name.
    pub fn of_expr(expr: &DimExpr) -> Option<Self> {
        match expr {
            DimExpr::Dim(dim) => Some(Self::of(dim)),
            DimExpr::Number(n) if n.get().fract() == 0.0 && n.get().abs() < 9e15 => {
                let mut sum = Self::default();
                sum.add_term(Vec::new(), n.get() as i128);
                Some(sum)
            }
            DimExpr::Add(a, b) => Some(Self::of_expr(a)?.plus(&Self::of_expr(b)?, 1)),
            DimExpr::Sub(a, b) => Some(Self::of_expr(a)?.plus(&Self::of_expr(b)?, -1)),
            DimExpr::Mul(a, b) => Self::of_expr(a)?.times(&Self::of_expr(b)?),
            DimExpr::Number(_) | DimExpr::Div(..) | DimExpr::Floor(_) => None,
        }
    }

    fn add_term(&mut self, symbols: Vec<Arc<str>>, coefficient: i128) {
        let entry = self.0.entry(symbols.clone()).or_default();
        *entry = entry.saturating_add(coefficient);
        if *entry == 0 {
            self.0.remove(&symbols);
        }
    }

    /// The terms: sorted symbols with repetition, and their coefficient, which is not zero.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&[Arc<str>], i128)> {
        self.0.iter().map(|(symbols, &coefficient)| (symbols.as_slice(), coefficient))
    }

    /// `self + factor * other`.
    #[must_use]
    pub fn plus(&self, other: &SizeSum, factor: i128) -> SizeSum {
        let mut sum = self.clone();
        for (symbols, coefficient) in &other.0 {
            sum.add_term(symbols.clone(), coefficient.saturating_mul(factor));
        }
        sum
    }

    /// The product, unless it has more terms than anyone would name.
    pub fn times(&self, other: &SizeSum) -> Option<SizeSum> {
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

    /// This sum with every symbol that is defined as a sum replaced by its definition.
    ///
    /// `definitions` are expanded themselves.
    pub fn expanded(&self, definitions: &BTreeMap<Arc<str>, SizeSum>) -> Option<SizeSum> {
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

    /// The size that this sum is, if it is one product, or zero.
    pub fn as_dim(&self) -> Option<Dim> {
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
        if self.0.is_empty() {
            return f.write_str("0");
        }
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
                Ok(dim) => dim.to_string(),
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
        assert_eq!(sum.as_dim(), None);
        assert_eq!(sum.expanded(&definitions).and_then(|s| s.as_dim()), Some(Dim::symbol("C")));
        assert_eq!(name("F").plus(&name("F"), 1).as_dim().map(|d| d.to_string()), Some("2*F".into()));
        assert_eq!(name("F").plus(&name("F"), -1).to_string(), "0");
    }
}
