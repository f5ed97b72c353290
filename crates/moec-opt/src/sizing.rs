//! One spelling for every size. Sizes that are proved equal must be one value in the e-graph, or
//! equal programs would not meet; the spelling keeps a declared name where there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use moec_ir::{Attr, Attrs, Dim, DimKind, DimTable, Module, PlanType, RouteType, Sizes, TensorType, Type};

/// The least size that is looked for as a factor of a number: smaller ones are too often one by chance.
const LEAST_FACTOR: u64 = 17;

/// The symbols of a module and the spelling of each size.
#[derive(Debug, Clone)]
pub(crate) struct Sizing {
    table: DimTable,
    /// For each number that is the value of a sized symbol, the first such symbol; for others, a size of
    /// the source with this value, if it has a large factor.
    names: BTreeMap<u64, Dim>,
}

impl Sizing {
    /// The spelling of the sizes of `module`.
    pub(crate) fn new(module: &Module) -> Sizing {
        let table = &module.dims;
        let mut names = BTreeMap::new();
        for decl in table.decls() {
            let dim = Dim::symbol(&decl.name);
            if let Some(value) = table.value(&dim) {
                names.entry(value).or_insert(dim);
            }
        }
        // Whether a product of small sizes is spelled somewhere must not matter to equal programs.
        let large = |symbol: &Arc<str>| table.sized().get(symbol).is_some_and(|size| *size >= LEAST_FACTOR);
        let mut products: BTreeMap<u64, &Dim> = BTreeMap::new();
        for dim in module.nodes.iter().flat_map(|node| node.ty.dims()) {
            if let Some(value) = table.value(dim).filter(|_| dim.symbols().iter().any(large)) {
                let known = products.entry(value).or_insert(dim);
                *known = dim.min(known);
            }
        }
        for (value, dim) in products {
            names.entry(value).or_insert_with(|| dim.clone());
        }
        Sizing { table: table.clone(), names }
    }

    /// The symbols.
    pub(crate) fn table(&self) -> &DimTable {
        &self.table
    }

    /// The one spelling of `dim`. It depends on the value of `dim` only: numbers 0 and 1 stay
    /// numbers, a number with a name gets its first name, one without is taken apart into named sizes
    /// as far as that goes, run-time symbols are kept.
    pub(crate) fn dim(&self, dim: &Dim) -> Dim {
        let Ok(resolved) = self.table.resolve(dim) else { return dim.clone() };
        let coefficient = resolved.coefficient();
        if coefficient < 2 {
            return resolved;
        }
        let named = self.named(coefficient);
        let rest = resolved.divided_by(&Dim::constant(coefficient));
        named.zip(rest).and_then(|(named, rest)| named.times(&rest).ok()).unwrap_or(resolved)
    }

    /// A number by its name, or else as a product with its largest named factor: `2*F`, not 5760, so that
    /// the program can be had at other sizes.
    fn named(&self, number: u64) -> Option<Dim> {
        if let Some(name) = self.names.get(&number) {
            return Some(name.clone());
        }
        let mut factors = self.names.range(..number).rev().take_while(|(factor, _)| **factor >= LEAST_FACTOR);
        let (factor, name) = factors.find(|(factor, _)| number.is_multiple_of(**factor))?;
        let rest = number / factor;
        name.times(&self.named(rest).unwrap_or(Dim::constant(rest))).ok()
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
