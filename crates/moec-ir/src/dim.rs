//! Symbolic sizes: monomials, how derived sizes are computed, and what is known about symbols.
//! What follows from that is `prove`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{IrError, Number};

/// Values of symbols, by name.
pub type Sizes = BTreeMap<Arc<str>, u64>;

/// A size: a coefficient times a product of symbols, such as `2*F*T`. Symbols are sorted; a symbol
/// may occur more than once. The zero size has no symbols.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    coef: u64,
    symbols: Vec<Arc<str>>,
}

impl Dim {
    /// The size `n`.
    pub fn constant(n: u64) -> Dim {
        Dim { coef: n, symbols: Vec::new() }
    }

    /// The size called `name`.
    pub fn symbol(name: &str) -> Dim {
        Dim { coef: 1, symbols: vec![name.into()] }
    }

    /// The number, if no symbol is left.
    pub fn as_const(&self) -> Option<u64> {
        self.symbols.is_empty().then_some(self.coef)
    }

    /// Whether this is the constant `n`.
    pub fn is(&self, n: u64) -> bool {
        self.as_const() == Some(n)
    }

    /// The coefficient of the monomial.
    pub fn coefficient(&self) -> u64 {
        self.coef
    }

    /// The symbols of the monomial, sorted, with repetition.
    pub fn symbols(&self) -> &[Arc<str>] {
        &self.symbols
    }

    /// The product, or an error when the coefficient overflows 63 bits.
    pub fn times(&self, other: &Dim) -> Result<Dim, IrError> {
        let coef = self.coef.checked_mul(other.coef).filter(|&c| c <= i64::MAX as u64);
        let coef = coef.ok_or_else(|| IrError::Dim(format!("the size {self} * {other} overflows")))?;
        let mut symbols = [self.symbols.as_slice(), &other.symbols].concat();
        symbols.sort();
        if coef == 0 {
            symbols.clear();
        }
        Ok(Dim { coef, symbols })
    }

    /// The product of `dims`; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Result<Dim, IrError> {
        dims.into_iter().try_fold(Dim::constant(1), |acc, dim| acc.times(dim))
    }

    /// The exact quotient, if `self` is `other` times a monomial.
    pub fn divided_by(&self, other: &Dim) -> Option<Dim> {
        if other.coef == 0 || !self.coef.is_multiple_of(other.coef) {
            return None;
        }
        let mut symbols = self.symbols.clone();
        for symbol in &other.symbols {
            let at = symbols.iter().position(|s| s == symbol)?;
            symbols.remove(at);
        }
        Some(Dim { coef: self.coef / other.coef, symbols })
    }

    /// The sum, if both are multiples of one product of symbols.
    pub fn plus(&self, other: &Dim) -> Option<Dim> {
        if self.coef == 0 {
            return Some(other.clone());
        }
        if other.coef == 0 {
            return Some(self.clone());
        }
        let coef = self.coef.checked_add(other.coef).filter(|&c| c <= i64::MAX as u64)?;
        (self.symbols == other.symbols).then(|| Dim { coef, symbols: self.symbols.clone() })
    }

    /// This size with the symbols of `sizes` replaced by their values.
    pub fn substitute(&self, sizes: &Sizes) -> Result<Dim, IrError> {
        let mut out = Dim::constant(self.coef);
        for symbol in &self.symbols {
            let factor = match sizes.get(symbol) {
                Some(&value) => Dim::constant(value),
                None => Dim { coef: 1, symbols: vec![symbol.clone()] },
            };
            out = out.times(&factor)?;
        }
        Ok(out)
    }

    /// This size with symbols called as `names` says; others keep their names.
    pub fn renamed(&self, names: &BTreeMap<Arc<str>, Arc<str>>) -> Dim {
        let name = |symbol: &Arc<str>| names.get(symbol).unwrap_or(symbol).clone();
        let mut symbols: Vec<Arc<str>> = self.symbols.iter().map(name).collect();
        symbols.sort();
        Dim { coef: self.coef, symbols }
    }

    /// The number, given a value for every symbol.
    pub fn eval(&self, sizes: &Sizes) -> Result<u64, IrError> {
        let dim = self.substitute(sizes)?;
        dim.as_const().ok_or_else(|| IrError::Dim(format!("the size {dim} is not known")))
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Dim {
        Dim::constant(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.symbols.is_empty() || self.coef != 1 {
            write!(f, "{}", self.coef)?;
            if !self.symbols.is_empty() {
                f.write_str("*")?;
            }
        }
        f.write_str(&self.symbols.join("*"))
    }
}

/// How the value of a derived symbol follows from others, in exact arithmetic on numbers below 2^53.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DimExpr {
    /// A size.
    Dim(Dim),
    /// A number, such as the fraction in `floor(C * 0.5)`.
    Number(Number),
    /// Sum.
    Add(Box<DimExpr>, Box<DimExpr>),
    /// Difference.
    Sub(Box<DimExpr>, Box<DimExpr>),
    /// Product; of two sizes it is one size, never this.
    Mul(Box<DimExpr>, Box<DimExpr>),
    /// Quotient; must come out whole unless under `floor`.
    Div(Box<DimExpr>, Box<DimExpr>),
    /// The largest integer not above the operand.
    Floor(Box<DimExpr>),
}

impl DimExpr {
    /// The value as a size, or why it is none: unknown symbol, negative, not whole, too large.
    pub fn eval(&self, sizes: &Sizes) -> Result<u64, IrError> {
        let value = self.number(sizes)?;
        if value.fract() == 0.0 && (0.0..9e15).contains(&value) {
            return Ok(value as u64);
        }
        Err(IrError::Dim(format!("{self} is {value}, which is not a size")))
    }

    fn number(&self, sizes: &Sizes) -> Result<f64, IrError> {
        Ok(match self {
            DimExpr::Dim(dim) => dim.eval(sizes)? as f64,
            DimExpr::Number(n) => n.get(),
            DimExpr::Add(a, b) => a.number(sizes)? + b.number(sizes)?,
            DimExpr::Sub(a, b) => a.number(sizes)? - b.number(sizes)?,
            DimExpr::Mul(a, b) => a.number(sizes)? * b.number(sizes)?,
            DimExpr::Div(a, b) => a.number(sizes)? / b.number(sizes)?,
            DimExpr::Floor(a) => a.number(sizes)?.floor(),
        })
    }

    /// Every symbol that occurs.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        match self {
            DimExpr::Dim(dim) => dim.symbols().to_vec(),
            DimExpr::Number(_) => Vec::new(),
            DimExpr::Floor(a) => a.symbols(),
            DimExpr::Add(a, b) | DimExpr::Sub(a, b) | DimExpr::Mul(a, b) | DimExpr::Div(a, b) => {
                [a.symbols(), b.symbols()].concat()
            }
        }
    }

    /// This expression with the symbols of `sizes` replaced by their values.
    pub fn substitute(&self, sizes: &Sizes) -> Result<DimExpr, IrError> {
        let go = |e: &DimExpr| e.substitute(sizes).map(Box::new);
        Ok(match self {
            DimExpr::Dim(dim) => DimExpr::Dim(dim.substitute(sizes)?),
            DimExpr::Number(n) => DimExpr::Number(*n),
            DimExpr::Add(a, b) => DimExpr::Add(go(a)?, go(b)?),
            DimExpr::Sub(a, b) => DimExpr::Sub(go(a)?, go(b)?),
            DimExpr::Mul(a, b) => DimExpr::Mul(go(a)?, go(b)?),
            DimExpr::Div(a, b) => DimExpr::Div(go(a)?, go(b)?),
            DimExpr::Floor(a) => DimExpr::Floor(go(a)?),
        })
    }

    /// This expression with symbols called as `names` says; others keep their names.
    pub fn renamed(&self, names: &BTreeMap<Arc<str>, Arc<str>>) -> DimExpr {
        let go = |e: &DimExpr| Box::new(e.renamed(names));
        match self {
            DimExpr::Dim(dim) => DimExpr::Dim(dim.renamed(names)),
            DimExpr::Number(n) => DimExpr::Number(*n),
            DimExpr::Add(a, b) => DimExpr::Add(go(a), go(b)),
            DimExpr::Sub(a, b) => DimExpr::Sub(go(a), go(b)),
            DimExpr::Mul(a, b) => DimExpr::Mul(go(a), go(b)),
            DimExpr::Div(a, b) => DimExpr::Div(go(a), go(b)),
            DimExpr::Floor(a) => DimExpr::Floor(go(a)),
        }
    }
}

impl fmt::Display for DimExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DimExpr::Dim(dim) => write!(f, "{dim}"),
            DimExpr::Number(n) => write!(f, "{n}"),
            DimExpr::Add(a, b) => write!(f, "({a} + {b})"),
            DimExpr::Sub(a, b) => write!(f, "({a} - {b})"),
            DimExpr::Mul(a, b) => write!(f, "({a} * {b})"),
            DimExpr::Div(a, b) => write!(f, "({a} / {b})"),
            DimExpr::Floor(a) => write!(f, "floor({a})"),
        }
    }
}

/// A declared relation that holds whenever a program runs; checked when sizes are bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// `a <= b`.
    Le(DimExpr, DimExpr),
    /// `a == b`.
    Eq(DimExpr, DimExpr),
}

impl Fact {
    /// Whether the fact holds, given a value for every symbol in it.
    pub fn holds(&self, sizes: &Sizes) -> Result<bool, IrError> {
        Ok(match self {
            Fact::Le(a, b) => a.number(sizes)? <= b.number(sizes)?,
            Fact::Eq(a, b) => a.number(sizes)? == b.number(sizes)?,
        })
    }

    /// This fact with symbols called as `names` says; others keep their names.
    pub fn renamed(&self, names: &BTreeMap<Arc<str>, Arc<str>>) -> Fact {
        match self {
            Fact::Le(a, b) => Fact::Le(a.renamed(names), b.renamed(names)),
            Fact::Eq(a, b) => Fact::Eq(a.renamed(names), b.renamed(names)),
        }
    }

    /// Both sides.
    pub fn sides(&self) -> [&DimExpr; 2] {
        match self {
            Fact::Le(a, b) | Fact::Eq(a, b) => [a, b],
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Le(a, b) => write!(f, "{a} <= {b}"),
            Fact::Eq(a, b) => write!(f, "{a} == {b}"),
        }
    }
}

/// Where the value of a symbol comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DimKind {
    /// Known when the program runs: an axis of an input.
    Runtime,
    /// Known now.
    Sized(u64),
    /// Computed when the program runs, from symbols declared before.
    Derived(DimExpr),
}

/// A declared symbol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimDecl {
    /// Its name, as in the source.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub kind: DimKind,
}

/// What is known about the symbols of a module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DimTable {
    decls: Vec<DimDecl>,
    facts: Vec<Fact>,
    sized: Sizes,
}

impl DimTable {
    /// Declares a symbol. The name must be new, and a derived symbol may only use declared ones.
    pub fn declare(&mut self, name: &str, kind: DimKind) -> Result<Dim, IrError> {
        if self.decls.iter().any(|d| &*d.name == name) {
            return Err(IrError::Dim(format!("the dim {name} is declared twice")));
        }
        match &kind {
            DimKind::Sized(value) if *value > i64::MAX as u64 => {
                return Err(IrError::Dim(format!("the size {value} of {name} overflows")));
            }
            DimKind::Sized(value) => {
                self.sized.insert(name.into(), *value);
            }
            DimKind::Derived(expr) => self.check_declared(&expr.symbols())?,
            DimKind::Runtime => {}
        }
        self.decls.push(DimDecl { name: name.into(), kind });
        Ok(Dim::symbol(name))
    }

    /// Adds a fact over declared symbols.
    pub fn assume(&mut self, fact: Fact) -> Result<(), IrError> {
        for side in fact.sides() {
            self.check_declared(&side.symbols())?;
        }
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
        Ok(())
    }

    /// The symbols in order of declaration.
    pub fn decls(&self) -> &[DimDecl] {
        &self.decls
    }

    /// The facts in order of declaration.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The symbols whose value is known now.
    pub fn sized(&self) -> &Sizes {
        &self.sized
    }

    /// Errors when a symbol is not declared.
    pub fn check_declared(&self, symbols: &[Arc<str>]) -> Result<(), IrError> {
        match symbols.iter().find(|s| !self.decls.iter().any(|d| d.name == **s)) {
            Some(symbol) => Err(IrError::Dim(format!("the dim {symbol} is not declared"))),
            None => Ok(()),
        }
    }

    /// `dim` with every sized symbol replaced by its value.
    pub fn resolve(&self, dim: &Dim) -> Result<Dim, IrError> {
        dim.substitute(&self.sized)
    }

    /// The value of `dim`, if it is known now.
    pub fn value(&self, dim: &Dim) -> Option<u64> {
        self.resolve(dim).ok()?.as_const()
    }

    /// Whether the two sizes are proved equal.
    pub fn same(&self, a: &Dim, b: &Dim) -> bool {
        a == b || matches!((self.resolve(a), self.resolve(b)), (Ok(a), Ok(b)) if a == b)
    }

    /// Whether two shapes are proved equal, axis by axis.
    pub fn same_shape(&self, a: &[Dim], b: &[Dim]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b))
    }

    /// Values for every symbol, from values for the run-time ones: derived symbols are computed and
    /// facts are checked.
    pub fn bind(&self, runtime: &Sizes) -> Result<Sizes, IrError> {
        let mut sizes = self.sized.clone();
        for decl in &self.decls {
            let value = match &decl.kind {
                DimKind::Sized(value) => *value,
                DimKind::Derived(expr) => expr.eval(&sizes)?,
                DimKind::Runtime => *runtime
                    .get(&decl.name)
                    .ok_or_else(|| IrError::Dim(format!("the dim {} has no value", decl.name)))?,
            };
            sizes.insert(decl.name.clone(), value);
        }
        for fact in &self.facts {
            if !fact.holds(&sizes)? {
                let values: Vec<String> = (fact.sides().iter().flat_map(|s| s.symbols()))
                    .map(|s| format!("{s} = {}", sizes[&s]))
                    .collect();
                return Err(IrError::Fact { fact: Box::new(fact.clone()), sizes: values.join(", ") });
            }
        }
        Ok(sizes)
    }
}
