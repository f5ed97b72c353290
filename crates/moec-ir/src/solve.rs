//! Values of run-time symbols from the sizes of real tensors.

use crate::{Dim, DimKind, DimTable, IrError, Sizes};

impl DimTable {
    /// Finds the run-time symbols from equations `size = value`, by exact division, and from them
    /// every other symbol; checks all equations and facts. Errors name the size that does not fit.
    pub fn solve(&self, equations: &[(&Dim, u64)]) -> Result<Sizes, IrError> {
        let mut known = self.sized().clone();
        loop {
            let before = known.len();
            for (dim, value) in equations {
                let rest = dim.substitute(&known)?;
                let [symbol] = rest.symbols() else { continue };
                let whole =
                    |n: u64| IrError::Dim(format!("{value} is not a multiple of {n}, as {dim} must be"));
                if rest.coefficient() == 0 || value % rest.coefficient() != 0 {
                    return Err(whole(rest.coefficient()));
                }
                known.insert(symbol.clone(), value / rest.coefficient());
            }
            if known.len() == before {
                break;
            }
        }
        let sizes = self.bind(&known)?;
        for (dim, value) in equations {
            let found = dim.eval(&sizes)?;
            if found != *value {
                return Err(IrError::Dim(format!("an axis {dim} has {value} elements, expected {found}")));
            }
        }
        Ok(sizes)
    }

    /// Whether equations for `dims` can determine every run-time symbol; the first that they cannot.
    pub fn undetermined(&self, dims: &[&Dim]) -> Option<&str> {
        let mut known = self.sized().clone();
        loop {
            let before = known.len();
            for dim in dims {
                if let Ok([symbol]) = dim.substitute(&known).as_ref().map(Dim::symbols) {
                    known.insert(symbol.clone(), 1);
                }
            }
            if known.len() == before {
                break;
            }
        }
        let missing = |d: &&crate::DimDecl| d.kind == DimKind::Runtime && !known.contains_key(&d.name);
        self.decls().iter().find(missing).map(|d| &*d.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_follow_from_axes() {
        let mut dims = DimTable::default();
        let t = dims.declare("T", DimKind::Runtime).unwrap();
        let n = dims.declare("N", DimKind::Runtime).unwrap();
        dims.declare("H", DimKind::Sized(4)).unwrap();
        let tn = t.times(&n).unwrap().times(&Dim::constant(2)).unwrap();
        assert_eq!(dims.undetermined(&[&tn]), Some("T"));
        assert_eq!(dims.undetermined(&[&tn, &n]), None);
        let sizes = dims.solve(&[(&tn, 30), (&n, 5), (&Dim::symbol("H"), 4)]).unwrap();
        assert_eq!(sizes["T"], 3);
        assert!(dims.solve(&[(&tn, 31), (&n, 5)]).unwrap_err().to_string().contains("multiple"));
        assert!(dims.solve(&[(&t, 3), (&n, 5), (&Dim::symbol("H"), 5)]).is_err());
        assert!(dims.solve(&[(&t, 3), (&t, 4), (&n, 5)]).unwrap_err().to_string().contains("expected 3"));
        assert!(dims.solve(&[(&tn, 0), (&n, 0)]).is_err(), "0 = 0 * T leaves T open");
    }
}
