//! How run-time symbols follow from the shapes of inputs: each is an axis of its own, or the only
//! unknown factor of one.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Dim, DimDecl, DimKind, DimTable, IrError, Sizes};

/// The only symbol of `axis` that `known` lacks, if it occurs once.
fn unknown(axis: &Dim, known: impl Fn(&Arc<str>) -> bool) -> Option<&Arc<str>> {
    let mut open = axis.symbols().iter().filter(|s| !known(s));
    let symbol = open.next()?;
    open.next().is_none().then_some(symbol)
}

impl DimTable {
    /// The symbols whose value follows from the sizes of `axes`, sized and derived ones included.
    pub fn determined_by<D: Borrow<Dim>>(&self, axes: &[D]) -> BTreeSet<Arc<str>> {
        let mut known: BTreeSet<Arc<str>> = self.sized().keys().cloned().collect();
        loop {
            let before = known.len();
            for axis in axes {
                if let Some(symbol) = unknown(axis.borrow(), |s| known.contains(s)) {
                    known.insert(symbol.clone());
                }
            }
            for decl in self.decls() {
                if let DimKind::Derived(expr) = &decl.kind
                    && expr.symbols().iter().all(|s| known.contains(s))
                {
                    known.insert(decl.name.clone());
                }
            }
            if known.len() == before {
                return known;
            }
        }
    }

    /// The first run-time symbol whose value does not follow from the sizes of `axes`.
    pub fn undetermined<D: Borrow<Dim>>(&self, axes: &[D]) -> Option<&str> {
        let known = self.determined_by(axes);
        let open = |decl: &&DimDecl| decl.kind == DimKind::Runtime && !known.contains(&decl.name);
        self.decls().iter().find(open).map(|decl| &*decl.name)
    }

    /// Values for every symbol, from the sizes that `axes` of the inputs have: run-time symbols are
    /// found by exact division, derived ones computed, facts and all axes checked.
    pub fn solve<D: Borrow<Dim>>(&self, axes: &[(D, u64)]) -> Result<Sizes, IrError> {
        let mut known = self.sized().clone();
        loop {
            let before = known.len();
            for (axis, size) in axes {
                let axis = axis.borrow();
                let Some(symbol) = unknown(axis, |s| known.contains_key(s)).cloned() else { continue };
                let symbol_dim = Dim::symbol(&symbol);
                let Some(rest) = axis.divided_by(&symbol_dim) else { continue };
                let rest = rest.eval(&known)?;
                if rest == 0 {
                    continue;
                }
                if !size.is_multiple_of(rest) {
                    return Err(IrError::Dim(format!(
                        "the axis {axis} has {size} elements, which is no multiple of {rest}"
                    )));
                }
                known.insert(symbol, size / rest);
            }
            for decl in self.decls() {
                if let DimKind::Derived(expr) = &decl.kind
                    && !known.contains_key(&decl.name)
                    && expr.symbols().iter().all(|s| known.contains_key(s))
                {
                    known.insert(decl.name.clone(), expr.eval(&known)?);
                }
            }
            if known.len() == before {
                break;
            }
        }
        let sizes = self.bind(&known)?;
        for (axis, size) in axes {
            let axis = axis.borrow();
            let expected = axis.eval(&sizes)?;
            if expected != *size {
                return Err(IrError::Dim(format!("an axis {axis} has {size} elements, expected {expected}")));
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_symbols_follow_from_axes() {
        let mut table = DimTable::default();
        for (name, kind) in [("H", DimKind::Sized(4)), ("N", DimKind::Runtime), ("T", DimKind::Runtime)] {
            table.declare(name, kind).unwrap();
        }
        let n = Dim::symbol("N");
        let twice = n.times(&Dim::constant(2)).unwrap();
        let both = n.times(&Dim::symbol("T")).unwrap();
        assert_eq!(table.undetermined(&[&both]), Some("N"));
        assert_eq!(table.undetermined(&[&both, &twice]), None);
        assert_eq!(table.determined_by(std::slice::from_ref(&both)).len(), 1, "H alone");
        assert_eq!(table.determined_by(&[both.clone(), twice.clone()]).len(), 3);
        let sizes = table.solve(&[(both, 15), (twice.clone(), 6)]).unwrap();
        assert_eq!((sizes["N"], sizes["T"], sizes["H"]), (3, 5, 4));
        assert!(table.solve(&[(twice, 7)]).is_err());
    }
}
