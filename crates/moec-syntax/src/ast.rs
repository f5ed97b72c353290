//! The syntax tree of a `.moe` file: what was written, with the place of every node, before names mean anything.
//!
//! A name that starts with a capital is a dim, one that starts lower-case a value; the parser has told them apart.
//! Brackets of any depth are bounded: no tree is higher than [`MAX_HEIGHT`], so plain recursion over it is safe.
//! The nodes of expressions are in `ast/expr.rs`. Nothing here knows types, sizes or operations.

mod expr;

pub use expr::*;

use moec_diag::Span;

/// No expression has more levels than this.
pub const MAX_HEIGHT: u32 = 256;

/// A whole source text.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Models and functions in the order written.
    pub items: Vec<Item>,
    /// Every comment, `///` included, in order of place. Meaning has none; the formatter keeps them.
    pub comments: Vec<Comment>,
}

impl File {
    /// The models, in the order written.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.items.iter().filter_map(|item| match item {
            Item::Model(model) => Some(model),
            Item::Fn(_) => None,
        })
    }

    /// The functions, in the order written.
    pub fn functions(&self) -> impl Iterator<Item = &Fn> {
        self.items.iter().filter_map(|item| match item {
            Item::Fn(function) => Some(function),
            Item::Model(_) => None,
        })
    }
}

/// A `//` or `///` comment; its text is that of the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comment {
    /// From the first slash to the end of the line, without trailing blanks.
    pub span: Span,
}

/// A name as written: a dim if it starts with a capital, else a value, function, parameter or index.
#[derive(Clone, Debug)]
pub struct Ident {
    /// The letters.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A model or a function.
#[derive(Clone, Debug)]
pub enum Item {
    /// `model name { .. }`
    Model(Model),
    /// `fn name(..) -> type { .. }`
    Fn(Fn),
}

/// `model name { members }`
#[derive(Clone, Debug)]
pub struct Model {
    /// The text of the `///` lines in front of it.
    pub doc: Option<String>,
    /// Its name.
    pub name: Ident,
    /// What it declares, in order.
    pub members: Vec<Member>,
    /// From `model` to `}`.
    pub span: Span,
}

/// One line of a model.
#[derive(Clone, Debug)]
pub struct Member {
    /// The text of the `///` lines in front of it.
    pub doc: Option<String>,
    /// What it declares.
    pub kind: MemberKind,
    /// From its keyword to its last token.
    pub span: Span,
}

/// What a line of a model declares.
#[derive(Clone, Debug)]
pub enum MemberKind {
    /// `dim T, H = 512, Q <= C`
    Dims(Vec<DimDef>),
    /// `param name = value`
    Param(Param),
    /// `const name : type = [..]`
    Const(Const),
    /// `fact ..`
    Fact(Fact),
    /// `input a, b : type`
    Input(Input),
    /// `weight a, b : type from "..", ".."`
    Weight(Weight),
    /// `let name = expr`
    Let(Let),
    /// `output name : type = expr`
    Output(Output),
}

/// One name of a `dim` line.
#[derive(Clone, Debug)]
pub struct DimDef {
    /// The dim.
    pub name: Ident,
    /// What is said about its size.
    pub size: DimSize,
    /// Name and size.
    pub span: Span,
}

/// What a `dim` line says about a size.
#[derive(Clone, Debug)]
pub enum DimSize {
    /// `dim T`: known when the program runs.
    RunTime,
    /// `dim H = 512`, `dim E = G * M`
    Equal(Size),
    /// `dim Q <= C`: known when the program runs, and never more than this.
    AtMost(Size),
}

/// `param name = value`
#[derive(Clone, Debug)]
pub struct Param {
    /// The param.
    pub name: Ident,
    /// Its default.
    pub value: ParamValue,
}

/// The default of a param.
#[derive(Clone, Debug)]
pub enum ParamValue {
    /// A number, perhaps negative; `inf` is written `Number` with value infinity.
    Number {
        /// The sign is part of `number.value` and of `span`, not of `number.text`.
        number: Number,
        /// Sign and digits.
        span: Span,
    },
    /// `true` or `false`.
    Bool(bool, Span),
    /// A text, perhaps with holes that name other params.
    Text(StringLit),
}

/// `const name : type = list`
#[derive(Clone, Debug)]
pub struct Const {
    /// The constant.
    pub name: Ident,
    /// Its type.
    pub ty: Type,
    /// A (nested) list of numbers, negated numbers and bools.
    pub value: Expr,
}

/// `fact ..`
#[derive(Clone, Debug)]
pub enum Fact {
    /// `fact Q <= C <= S`: `first`, then each relation to the size before it. At least one relation.
    Chain {
        /// The leftmost size.
        first: Size,
        /// Relation and right-hand size, left to right.
        rest: Vec<(Relation, Size)>,
    },
    /// `fact partition(hot, cold, E)`: the constants together hold each of `0 .. E` once.
    Partition {
        /// The constants, at least one.
        parts: Vec<Ident>,
        /// The dim that is partitioned.
        whole: Ident,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `==`; in facts
    Equal,
    /// `!=`
    NotEqual,
}

/// `input a, b : type`
#[derive(Clone, Debug)]
pub struct Input {
    /// At least one name.
    pub names: Vec<Ident>,
    /// The type of each of them.
    pub ty: Type,
}

/// `weight a, b : type from "..", ".."`
#[derive(Clone, Debug)]
pub struct Weight {
    /// At least one name.
    pub names: Vec<Ident>,
    /// The type of each of them, as stored.
    pub ty: Type,
    /// One pattern per name: the parser has checked that the numbers agree.
    pub from: Vec<StringLit>,
}

/// `let name : type = expr`
#[derive(Clone, Debug)]
pub struct Let {
    /// The new name.
    pub name: Ident,
    /// The type it is claimed to have.
    pub ty: Option<Type>,
    /// Its value.
    pub value: Expr,
    /// From `let` to the end of the value.
    pub span: Span,
}

/// `output name : type = expr`
#[derive(Clone, Debug)]
pub struct Output {
    /// The output.
    pub name: Ident,
    /// Its type.
    pub ty: Type,
    /// Its value.
    pub value: Expr,
}

/// `fn name(params) -> type { body }`
#[derive(Clone, Debug)]
pub struct Fn {
    /// The text of the `///` lines in front of it.
    pub doc: Option<String>,
    /// Its name.
    pub name: Ident,
    /// What it takes.
    pub params: Vec<FnParam>,
    /// What it gives.
    pub result: Type,
    /// What it does.
    pub body: Block,
    /// From `fn` to `}`.
    pub span: Span,
}

/// One parameter of a function.
#[derive(Clone, Debug)]
pub enum FnParam {
    /// `x: f32[.., H]`
    Value {
        /// Lower-case.
        name: Ident,
        /// Its type; capital names in it are the function's own dims.
        ty: Type,
    },
    /// `K: dim`
    Dim {
        /// A dim.
        name: Ident,
    },
}

/// `{ lets, then one expression }`
#[derive(Clone, Debug)]
pub struct Block {
    /// Names for parts.
    pub lets: Vec<Let>,
    /// The value.
    pub result: Box<Expr>,
    /// From `{` to `}`.
    pub span: Span,
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// `f32`
    F32,
    /// `bf16`
    Bf16,
    /// `f16`
    F16,
    /// `i32`
    I32,
    /// `u8`
    U8,
    /// `bool`
    Bool,
    /// `float`: any float element type; in the signature of a `fn` only.
    Float,
}

impl DType {
    /// The keyword.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
            DType::Float => "float",
        }
    }
}

/// `f32[.., T, 2*F]`, or `f32` alone for a scalar.
#[derive(Clone, Debug)]
pub struct Type {
    /// The element type.
    pub dtype: DType,
    /// Where the element type stands.
    pub dtype_span: Span,
    /// The `..` for leading axes carried through; in the signature of a `fn` only.
    pub lead: Option<Span>,
    /// The axes in order.
    pub axes: Vec<Mono>,
    /// All of it.
    pub span: Span,
}

/// A product of numbers and dims: what names an axis. `2*F`, `T*K`, `1`.
#[derive(Clone, Debug)]
pub struct Mono {
    /// At least one, in the order written.
    pub factors: Vec<Factor>,
    /// All of it.
    pub span: Span,
}

/// A factor of a [`Mono`].
#[derive(Clone, Debug)]
pub enum Factor {
    /// A number.
    Int(u64, Span),
    /// A dim.
    Dim(Ident),
}

/// A size in a `dim` line or a fact.
#[derive(Clone, Debug)]
pub struct Size {
    /// What it is.
    pub kind: SizeKind,
    /// All of it, its parentheses included.
    pub span: Span,
    /// Whether it was written in parentheses.
    pub parens: bool,
}

/// What a size is.
#[derive(Clone, Debug)]
pub enum SizeKind {
    /// `512`
    Int(u64),
    /// `C`
    Dim(String),
    /// A param: `r` in `floor(C * r)`.
    Param(String),
    /// A number with a fraction: `0.5` in `floor(C * 0.5)`.
    Number(Number),
    /// `floor(size)`
    Floor(Box<Size>),
    /// `left op right`
    Binary {
        /// `+ - * /`
        op: SizeOp,
        /// Left operand.
        left: Box<Size>,
        /// Right operand.
        right: Box<Size>,
    },
    /// Something that did not parse and was reported.
    Error,
}

/// An operator between sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`, which must come out even outside `floor`.
    Div,
}
