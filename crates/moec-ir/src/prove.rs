//! What follows from definitions and facts about sizes: sums that are equal, sizes that are not larger than others.
//!
//! Everything said here holds for all values that [`DimTable::bind`] accepts. What cannot be shown is not proved, which
//! does not make it false.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Dim, DimExpr, DimKind, DimTable, Fact, SizeSum, Sizes};

impl DimTable {
    /// Whether `parts` are proved to add up to `total`: by value, by definitions or by a declared fact.
    pub fn adds_up(&self, parts: &[Dim], total: &Dim) -> bool {
        let Ok(parts) = parts.iter().map(|p| self.resolve(p)).collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let Ok(total) = self.resolve(total) else { return false };
        let sum = parts.iter().try_fold(Dim::constant(0), |acc, part| acc.plus(part));
        if sum.as_ref() == Some(&total) {
            return true;
        }
        let sum = parts.iter().fold(SizeSum::default(), |sum, part| sum.plus(&SizeSum::of(part), 1));
        let zero = SizeSum::default();
        let known = self.definitions();
        let Some(rest) = sum.plus(&SizeSum::of(&total), -1).expanded(&known) else { return false };
        rest == zero
            || self.equalities().any(|(left, right)| {
                let fact = left.plus(&right, -1).expanded(&known);
                fact.is_some_and(|fact| rest.plus(&fact, -1) == zero || rest.plus(&fact, 1) == zero)
            })
    }

    /// Whether `a <= b` is proved: by value, by bounds, as a multiple, by definitions, or by declared facts
    /// (transitively).
    pub fn at_most(&self, a: &Dim, b: &Dim) -> bool {
        let (Ok(a), Ok(b)) = (self.resolve(a), self.resolve(b)) else { return false };
        if a.is(0) || (a.symbols() == b.symbols() && a.coefficient() <= b.coefficient()) {
            return true;
        }
        let (a, b) = without_common_factors(&a, &b);
        let (known, least) = (self.definitions(), self.lower_bounds());
        let resolved = |e: &DimExpr| e.substitute(self.sized()).ok();
        let facts: Vec<(DimExpr, DimExpr)> = (self.facts().iter())
            .filter_map(|fact| match fact {
                Fact::Le(low, high) => Some((resolved(low)?, resolved(high)?)),
                Fact::Eq(..) => None,
            })
            .collect();
        let mut reached = vec![DimExpr::Dim(a)];
        let b = DimExpr::Dim(b);
        let mut next = 0;
        while next < reached.len() {
            let from = reached[next].clone();
            next += 1;
            if covers(&b, &from, &known, &least) {
                return true;
            }
            for (low, high) in &facts {
                if !reached.contains(high) && covers(low, &from, &known, &least) {
                    reached.push(high.clone());
                }
            }
        }
        false
    }

    /// Whether `size` elements from `start`, every `step`-th, are proved to lie in an axis of size `whole`.
    pub fn within(&self, start: &Dim, size: &Dim, step: u64, whole: &Dim) -> bool {
        if let (Some(start), Some(size)) = (self.value(start), self.value(size)) {
            let last = size.saturating_sub(1).checked_mul(step).and_then(|span| span.checked_add(start));
            let end = last.and_then(|last| last.checked_add(u64::from(size > 0)));
            return end.is_some_and(|end| self.at_most(&Dim::constant(end), whole));
        }
        // With a stride this asks for up to `step - 1` elements more than needed.
        let Ok(span) = size.times(&Dim::constant(step)) else { return false };
        let ends_at = |end: &Dim| self.adds_up(&[start.clone(), span.clone()], end);
        let sum = SizeSum::of(start).plus(&SizeSum::of(&span), 1).as_dim();
        sum.is_some_and(|end| self.at_most(&end, whole))
            || ends_at(whole)
            || self.decls().iter().any(|decl| {
                let end = Dim::symbol(&decl.name);
                ends_at(&end) && self.at_most(&end, whole)
            })
    }

    /// For each symbol a number that it is never below.
    fn lower_bounds(&self) -> Sizes {
        let mut least = self.sized().clone();
        // Each round carries bounds one step further; facts in a circle end.
        for _ in self.decls() {
            let before = least.clone();
            let raise = |least: &mut Sizes, symbol: &Arc<str>, bound: u64| {
                let entry = least.entry(symbol.clone()).or_insert(0);
                *entry = bound.max(*entry);
            };
            for decl in self.decls() {
                if let DimKind::Derived(expr) = &decl.kind {
                    raise(&mut least, &decl.name, self.least_of(expr, &before));
                }
            }
            for fact in self.facts() {
                let pairs = match fact {
                    Fact::Le(low, high) => vec![(low, high)],
                    Fact::Eq(left, right) => vec![(left, right), (right, left)],
                };
                for (low, high) in pairs {
                    let DimExpr::Dim(high) = high else { continue };
                    let Ok(high) = self.resolve(high) else { continue };
                    if let ([symbol], 1..) = (high.symbols(), high.coefficient()) {
                        let bound = self.least_of(low, &before).div_ceil(high.coefficient());
                        raise(&mut least, symbol, bound);
                    }
                }
            }
            if least == before {
                break;
            }
        }
        least
    }

    fn least_of(&self, expr: &DimExpr, least: &Sizes) -> u64 {
        match expr {
            DimExpr::Dim(dim) => product_of_bounds(dim.coefficient(), dim.symbols(), least),
            DimExpr::Number(n) => n.get().max(0.0) as u64,
            DimExpr::Add(a, b) => self.least_of(a, least).saturating_add(self.least_of(b, least)),
            DimExpr::Sub(a, b) => match b.eval(self.sized()) {
                Ok(b) => self.least_of(a, least).saturating_sub(b),
                Err(_) => 0,
            },
            DimExpr::Mul(a, b) => self.least_of(a, least).saturating_mul(self.least_of(b, least)),
            DimExpr::Div(a, b) => match b.eval(self.sized()) {
                Ok(b) if b > 0 => self.least_of(a, least) / b,
                _ => 0,
            },
            DimExpr::Floor(a) => self.least_of(a, least),
        }
    }

    /// Facts that say that two sums are equal.
    fn equalities(&self) -> impl Iterator<Item = (SizeSum, SizeSum)> {
        self.facts().iter().filter_map(|fact| match fact {
            Fact::Eq(left, right) => Some((self.sum(left)?, self.sum(right)?)),
            Fact::Le(..) => None,
        })
    }

    fn sum(&self, expr: &DimExpr) -> Option<SizeSum> {
        SizeSum::of_expr(&expr.substitute(self.sized()).ok()?)
    }

    /// Symbols that are sums of others, expanded.
    fn definitions(&self) -> BTreeMap<Arc<str>, SizeSum> {
        let mut known: BTreeMap<Arc<str>, SizeSum> = BTreeMap::new();
        for decl in self.decls() {
            if let DimKind::Derived(expr) = &decl.kind
                && let Some(sum) = self.sum(expr).and_then(|sum| sum.expanded(&known))
            {
                known.insert(decl.name.clone(), sum);
            }
        }
        known
    }
}

/// Both sizes without the factors that they share: what is left compares as they do, or more strictly where those are
/// zero.
fn without_common_factors(a: &Dim, b: &Dim) -> (Dim, Dim) {
    let (mut greatest, mut rest) = (a.coefficient(), b.coefficient());
    while rest != 0 {
        (greatest, rest) = (rest, greatest % rest);
    }
    let symbols = a.symbols().iter().map(|symbol| Dim::symbol(symbol));
    let mut pair = (a.clone(), b.clone());
    for factor in symbols.chain([Dim::constant(greatest)]) {
        if let (Some(x), Some(y)) = (pair.0.divided_by(&factor), pair.1.divided_by(&factor)) {
            pair = (x, y);
        }
    }
    pair
}

fn product_of_bounds(coefficient: u64, symbols: &[Arc<str>], least: &Sizes) -> u64 {
    let bounds = symbols.iter().map(|symbol| least.get(symbol).copied().unwrap_or(0));
    bounds.fold(coefficient, u64::saturating_mul)
}

/// Whether `small <= large` without looking at facts between sizes: their difference has no negative term that lower
/// bounds of the others do not make up for.
fn covers(large: &DimExpr, small: &DimExpr, known: &BTreeMap<Arc<str>, SizeSum>, least: &Sizes) -> bool {
    if large == small {
        return true;
    }
    let (Some(large), Some(small)) = (SizeSum::of_expr(large), SizeSum::of_expr(small)) else { return false };
    let plain = large.plus(&small, -1);
    let expanded = plain.expanded(known);
    [Some(plain), expanded].into_iter().flatten().any(|difference| {
        let mut total = 0i128;
        for (symbols, coefficient) in difference.terms() {
            if coefficient < 0 && !symbols.is_empty() {
                return false;
            }
            let term = product_of_bounds(1, symbols, least);
            total = total.saturating_add(coefficient.saturating_mul(term.into()));
        }
        total >= 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Dim {
        let factors = text.split('*').map(|f| f.parse().map_or_else(|_| Dim::symbol(f), Dim::constant));
        Dim::product(&factors.collect::<Vec<_>>()).unwrap()
    }

    fn e(text: &str) -> DimExpr {
        match text.split_once(" - ") {
            Some((a, b)) => DimExpr::Sub(Box::new(e(a)), Box::new(e(b))),
            None => match text.split_once(" + ") {
                Some((a, b)) => DimExpr::Add(Box::new(e(a)), Box::new(e(b))),
                None => DimExpr::Dim(d(text)),
            },
        }
    }

    fn table(derived: &[(&str, &str)], facts: &[Fact]) -> DimTable {
        let mut table = DimTable::default();
        table.declare("H", DimKind::Sized(8)).unwrap();
        for name in ["T", "Q", "C"] {
            table.declare(name, DimKind::Runtime).unwrap();
        }
        for (name, expr) in derived {
            table.declare(name, DimKind::Derived(e(expr))).unwrap();
        }
        for fact in facts {
            table.assume(fact.clone()).unwrap();
        }
        table
    }

    #[test]
    fn sums_of_any_number_of_parts() {
        let table = table(&[("R", "C - Q"), ("S", "T + T + C")], &[Fact::Eq(e("Q + T"), e("3*C"))]);
        for (parts, total) in [
            (vec!["Q", "R"], "C"),
            (vec!["R", "Q"], "C"),
            (vec!["T", "Q", "R", "T"], "S"),
            (vec!["T", "2*Q", "2*R", "T"], "S"),
            (vec!["T", "Q"], "3*C"),
            (vec!["H", "4", "H"], "20"),
        ] {
            let sum: Vec<Dim> = parts.iter().map(|p| d(p)).collect();
            assert_eq!(table.adds_up(&sum, &d(total)), !(parts.len() == 4 && parts[1] == "2*Q"), "{parts:?}");
        }
        assert!(!table.adds_up(&[d("Q"), d("T")], &d("C")));
    }

    #[test]
    fn bounds_by_numbers_multiples_definitions_and_facts() {
        let facts = [
            Fact::Le(e("3"), e("T")),
            Fact::Le(e("5"), e("2*Q")),
            Fact::Le(e("T + 1"), e("C")),
            Fact::Le(e("C"), e("64")),
        ];
        let table = table(&[("R", "C - Q"), ("S", "T + Q")], &facts);
        for (a, b) in [
            ("3", "T"),
            ("2", "T"),
            ("3", "Q"),
            ("4", "C"),
            ("6", "S"),
            ("24", "H*T"),
            ("T", "S"),
            ("R", "C"),
            ("T", "2*T"),
            ("C", "64"),
            ("C", "100"),
            ("T", "64"),
            ("2*T", "2*C"),
            ("4*T*Q", "4*C*Q"),
        ] {
            assert!(table.at_most(&d(a), &d(b)), "{a} <= {b}");
        }
        for (a, b) in [("4", "T"), ("4", "Q"), ("5", "C"), ("7", "S"), ("C", "63"), ("C", "T"), ("T", "Q")] {
            assert!(!table.at_most(&d(a), &d(b)), "{a} <= {b}");
        }
    }

    #[test]
    fn ranges() {
        let facts = [Fact::Le(e("3"), e("T")), Fact::Le(e("C"), e("T"))];
        let table = table(&[("R", "C - Q")], &facts);
        assert!(table.within(&d("1"), &d("2"), 1, &d("T")));
        assert!(!table.within(&d("2"), &d("2"), 1, &d("T")));
        assert!(table.within(&d("0"), &d("2"), 2, &d("T")));
        assert!(!table.within(&d("1"), &d("2"), 2, &d("T")));
        assert!(table.within(&d("Q"), &d("R"), 1, &d("T")), "up to C, and C <= T");
        assert!(table.within(&d("0"), &d("T"), 2, &d("2*T")));
        assert!(!table.within(&d("Q"), &d("C"), 1, &d("T")));
        assert!(table.within(&d("3"), &d("0"), 1, &d("T")));
        assert!(!table.within(&d("4"), &d("0"), 1, &d("T")));
    }

    #[test]
    fn facts_in_a_circle_end() {
        let table =
            table(&[], &[Fact::Le(e("T"), e("Q")), Fact::Le(e("Q"), e("T")), Fact::Eq(e("T"), e("Q"))]);
        assert!(table.at_most(&d("T"), &d("Q")) && !table.at_most(&d("T"), &d("C")));
        assert!(!table.at_most(&d("1"), &d("T")));
    }
}
