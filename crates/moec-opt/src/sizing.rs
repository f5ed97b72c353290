//! One spelling for every size. Sizes that are proved equal must be one value in the e-graph, or
//! equal programs would not meet; the spelling keeps a declared name where there is one.

use std::collections::BTreeMap;

use moec_ir::{Attr, Attrs, Dim, DimKind, DimTable, PlanType, RouteType, Sizes, TensorType, Type};

/// The symbols of a module and the spelling of each size.
#[derive(Debug, Clone)]
pub(crate) struct Sizing {
    table: DimTable,
    /// For each number of a sized symbol, the first such symbol.
    names: BTreeMap<u64, Dim>,
}

impl Sizing {
    /// The spelling of sizes over `table`.
    pub(crate) fn new(table: &DimTable) -> Sizing {
        let mut names = BTreeMap::new();
        for decl in table.decls() {
            let dim = Dim::symbol(&decl.name);
            if let Some(value) = table.value(&dim) {
                names.entry(value).or_insert(dim);
            }
        }
        Sizing { table: table.clone(), names }
    }

    /// The symbols.
    pub(crate) fn table(&self) -> &DimTable {
        &self.table
    }

    /// The one spelling of `dim`. It depends on the value of `dim` only: numbers 0 and 1 stay
    /// numbers, a number with a name gets its first name, run-time symbols are kept.
    pub(crate) fn dim(&self, dim: &Dim) -> Dim {
        let Ok(resolved) = self.table.resolve(dim) else { return dim.clone() };
        let coefficient = resolved.coefficient();
        if coefficient < 2 {
            return resolved;
        }
        let Some(name) = self.names.get(&coefficient) else { return resolved };
        let named = resolved.divided_by(&Dim::constant(coefficient)).and_then(|rest| name.times(&rest).ok());
        named.unwrap_or(resolved)
    }

    /// A shape in the one spelling.
    pub(crate) fn shape(&self, shape: &[Dim]) -> Vec<Dim> {
        shape.iter().map(|dim| self.dim(dim)).collect()
    }

    /// A tensor type in the one spelling.
    pub(crate) fn tensor(&self, ty: &TensorType) -> TensorType {
        TensorType { dtype: ty.dtype, shape: self.shape(&ty.shape) }
    }

    /// A type in the one spelling.
    pub(crate) fn ty(&self, ty: &Type) -> Type {
        match ty {
            Type::Tensor(ty) => Type::Tensor(self.tensor(ty)),
            Type::Route(ty) => {
                Type::Route(RouteType { scores: self.tensor(&ty.scores), axis: ty.axis, k: self.dim(&ty.k) })
            }
            Type::Plan(ty) => Type::Plan(PlanType {
                experts: self.dim(&ty.experts),
                tokens: self.dim(&ty.tokens),
                slots: self.dim(&ty.slots),
            }),
        }
    }

    /// Attributes in the one spelling.
    pub(crate) fn attrs(&self, attrs: &Attrs) -> Attrs {
        let spell = |value: &Attr| -> Result<Attr, std::convert::Infallible> {
            value.map_dims(|dim| Ok(self.dim(dim)))
        };
        Attrs::new(attrs.iter().map(|(name, value)| match spell(value) {
            Ok(value) => (name, value),
        }))
    }

    /// The product of some sizes, if it does not overflow.
    pub(crate) fn product(&self, dims: &[Dim]) -> Option<Dim> {
        Dim::product(dims).ok().map(|dim| self.dim(&dim))
    }

    /// The values of all symbols when every run-time symbol is `tokens`. Where that contradicts a
    /// fact, derived symbols are `tokens` too.
    pub(crate) fn assumed(&self, tokens: u64) -> Sizes {
        let decls = self.table.decls().iter();
        let open = decls.clone().filter(|decl| decl.kind == DimKind::Runtime);
        let runtime: Sizes = open.map(|decl| (decl.name.clone(), tokens)).collect();
        self.table.bind(&runtime).unwrap_or_else(|_| decls.map(|decl| (decl.name.clone(), tokens)).collect())
    }

    /// The number that `dim` stands for with symbols of these values.
    pub(crate) fn estimate(&self, dim: &Dim, sizes: &Sizes) -> f64 {
        self.table.resolve(dim).and_then(|dim| dim.eval(sizes)).map_or(f64::MAX.sqrt(), |value| value as f64)
    }

    /// Whether the number of tokens is one symbol, known when the program runs.
    pub(crate) fn one_open_symbol(&self) -> bool {
        self.table.decls().iter().filter(|decl| decl.kind == DimKind::Runtime).count() == 1
    }
}
