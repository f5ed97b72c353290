//! The op table: [`Op`] and, for each, its [`OpRow`]. Reader, printer, verifier, e-graph, cost and
//! reports read the row; no other list of operations exists.

mod contract;
mod dispatch;
mod element;
mod layout;
mod reduce;
mod select;
mod source;
mod table;

pub use table::Op;

use crate::{AttrKind, Attrs, DType, Dim, DimTable, IrError, TensorType, Type};

/// How many operands an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
}

/// Everything that is true of an operation wherever it stands.
#[derive(Debug)]
pub struct OpRow {
    /// The name in text.
    pub mnemonic: &'static str,
    /// How many operands it takes.
    pub operands: Operands,
    /// Names and kinds of the attributes, sorted by name; all are required.
    pub attrs: &'static [(&'static str, AttrKind)],
    /// The type of the result, or why there is none.
    pub infer: fn(&Infer<'_>) -> Result<Type, String>,
    /// Floating-point operations for one evaluation.
    pub flops: fn(&Work<'_>) -> f64,
    /// What it computes, in one sentence.
    pub doc: &'static str,
}

/// What result inference may look at.
pub struct Infer<'a> {
    /// Types of the operands.
    pub args: &'a [&'a Type],
    /// The attributes.
    pub attrs: &'a Attrs,
    /// What is known about symbols.
    pub dims: &'a DimTable,
}

/// An operation with its types, and the sizes at which its work is counted.
pub struct Work<'a> {
    /// Types of the operands.
    pub args: &'a [&'a Type],
    /// The attributes.
    pub attrs: &'a Attrs,
    /// The type of the result.
    pub result: &'a Type,
    /// The value of a size.
    pub size: &'a dyn Fn(&Dim) -> f64,
}

impl Op {
    /// The type of the result of this operation on operands of types `args`.
    pub fn infer(self, args: &[&Type], attrs: &Attrs, dims: &DimTable) -> Result<Type, IrError> {
        let row = self.row();
        let fail = |message: String| IrError::Op { op: row.mnemonic, message };
        let fits = match row.operands {
            Operands::Exactly(n) => args.len() == n,
            Operands::AtLeast(n) => args.len() >= n,
        };
        if !fits {
            return Err(fail(format!("{} operands, but it takes {:?}", args.len(), row.operands)));
        }
        let found: Vec<_> = attrs.iter().map(|(name, value)| (name, value.kind())).collect();
        if found != row.attrs {
            return Err(fail(format!("attributes {found:?}, but it takes {:?}", row.attrs)));
        }
        for dim in attrs.iter().flat_map(|(_, value)| value.dims()) {
            dims.check_declared(dim.symbols())?;
        }
        (row.infer)(&Infer { args, attrs, dims }).map_err(fail)
    }

    /// The name in text.
    pub fn mnemonic(self) -> &'static str {
        self.row().mnemonic
    }

    /// The operation of that name.
    pub fn from_mnemonic(name: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|op| op.mnemonic() == name)
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mnemonic())
    }
}

impl Infer<'_> {
    fn tensor(&self, i: usize) -> Result<&TensorType, String> {
        self.args[i].tensor().ok_or_else(|| format!("operand {i} is {}, expected a tensor", self.args[i]))
    }

    /// The axis in attribute `name`, checked against a rank.
    fn axis(&self, name: &str, rank: usize) -> Result<usize, String> {
        let axis = self.attrs.index(name);
        if axis < rank {
            return Ok(axis);
        }
        Err(format!("{name} = {} but the operand has {rank} axes", self.attrs.int(name)))
    }

    fn expect_dtype(&self, i: usize, wanted: DType) -> Result<&TensorType, String> {
        let ty = self.tensor(i)?;
        if ty.dtype == wanted {
            return Ok(ty);
        }
        Err(format!("operand {i} is {ty}, expected element type {wanted}"))
    }

    fn expect_float(&self, i: usize) -> Result<&TensorType, String> {
        let ty = self.tensor(i)?;
        if ty.dtype.is_float() {
            return Ok(ty);
        }
        Err(format!("operand {i} is {ty}, expected a float element type"))
    }

    fn expect_same(&self, what: &str, a: &Dim, b: &Dim) -> Result<(), String> {
        if self.dims.same(a, b) {
            return Ok(());
        }
        Err(format!("{what}: {a} and {b} are not proved equal"))
    }
}

impl Work<'_> {
    /// The number of elements of a type.
    pub fn elements(&self, ty: &Type) -> f64 {
        match ty {
            Type::Tensor(ty) => ty.shape.iter().map(self.size).product(),
            Type::Route(ty) => {
                let rows = ty.scores.shape.iter().enumerate().filter(|(i, _)| *i != ty.axis);
                rows.map(|(_, d)| (self.size)(d)).product::<f64>() * (self.size)(&ty.k)
            }
            Type::Plan(ty) => (self.size)(&ty.tokens) * (self.size)(&ty.slots),
        }
    }

    /// The bytes of a value in memory. A route holds index and value; a plan row a few indices.
    pub fn bytes(&self, ty: &Type) -> f64 {
        let element = match ty {
            Type::Tensor(ty) => ty.dtype.bytes() as f64,
            Type::Route(_) | Type::Plan(_) => 8.0,
        };
        self.elements(ty) * element
    }

    fn per_result(&self, flops: f64) -> f64 {
        self.elements(self.result) * flops
    }

    fn per_operand(&self, flops: f64) -> f64 {
        self.elements(self.args[0]) * flops
    }
}

fn moved(_: &Work<'_>) -> f64 {
    0.0
}
