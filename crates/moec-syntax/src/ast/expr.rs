//! The nodes of expressions.

use moec_diag::Span;

use super::{Block, DType, Factor, Ident, Mono, Relation, SizeOp, Type};

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// All of it, its own parentheses included.
    pub span: Span,
    /// Whether it was written in parentheses. They mean nothing beyond the shape of the tree.
    pub parens: bool,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// `7`, `0.5`, `1e-20`
    Number(Number),
    /// `inf`
    Inf,
    /// `true`, `false`
    Bool(bool),
    /// `"th,tec->ech"`: the first argument of `einsum`.
    Text(StringLit),
    /// A value, param or bound index.
    Name(String),
    /// A dim used as a number.
    Dim(String),
    /// `[1, 0, 2]`, `[T, K*H]`
    List(Vec<Expr>),
    /// `-x`, `not x`
    Unary {
        /// Which.
        op: UnaryOp,
        /// Of what.
        operand: Box<Expr>,
    },
    /// `left op right`
    Binary {
        /// Which.
        op: BinaryOp,
        /// Where the operator stands.
        op_span: Span,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
    },
    /// `value where mask else other`
    Where {
        /// Where the mask is true.
        value: Box<Expr>,
        /// A bool tensor.
        mask: Box<Expr>,
        /// Where it is false.
        other: Box<Expr>,
    },
    /// `base[e, P = 0]`
    Index {
        /// What is indexed.
        base: Box<Expr>,
        /// At least one.
        indices: Vec<Index>,
    },
    /// `base.mask`
    Field {
        /// A route.
        base: Box<Expr>,
        /// Lower-case.
        field: Ident,
    },
    /// `base.T`
    Transpose(Box<Expr>),
    /// `f32(x)`
    Cast {
        /// To which element type; never `Float`.
        dtype: DType,
        /// What.
        operand: Box<Expr>,
    },
    /// `name(args)`
    Call {
        /// An operation or a `fn`.
        callee: Ident,
        /// In the order written.
        args: Vec<Arg>,
    },
    /// `sum e over E { .. }`
    Fold(Fold),
    /// Something that did not parse and was reported.
    Error,
}

/// A number without a sign, as written.
#[derive(Clone, Debug)]
pub struct Number {
    /// As written, underscores included.
    pub text: String,
    /// Its value, always finite in source text.
    pub value: f64,
    /// The exact value, if written without point and exponent and below 2^64.
    pub integer: Option<u64>,
}

/// A prefix operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `not`
    Not,
}

impl UnaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "not",
        }
    }
}

/// An infix operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `< <= > >= == !=`
    Compare(Relation),
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `@`
    MatMul,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Compare(relation) => relation.symbol(),
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::MatMul => "@",
        }
    }
}

impl SizeOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            SizeOp::Add => "+",
            SizeOp::Sub => "-",
            SizeOp::Mul => "*",
            SizeOp::Div => "/",
        }
    }
}

impl Relation {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            Relation::Less => "<",
            Relation::LessEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterEqual => ">=",
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
        }
    }
}

/// What stands between the brackets of `a[..]`.
#[derive(Clone, Debug)]
pub enum Index {
    /// `e`: the axis it is bound over.
    Bound(Ident),
    /// `P = 0`, `E = idx`
    At {
        /// Which axis.
        axis: Mono,
        /// A number fixes, a tensor gathers.
        value: Expr,
        /// All of it.
        span: Span,
    },
    /// `C = 0..Q by 2`
    Range {
        /// Which axis.
        axis: Mono,
        /// First.
        start: Expr,
        /// One past the last.
        end: Expr,
        /// The stride; 1 if not written.
        step: Option<(u64, Span)>,
        /// All of it.
        span: Span,
    },
    /// Something that did not parse and was reported.
    Error(Span),
}

impl Index {
    /// All of it.
    pub fn span(&self) -> Span {
        match self {
            Index::Bound(name) => name.span,
            Index::At { span, .. } | Index::Range { span, .. } | Index::Error(span) => *span,
        }
    }
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub struct Arg {
    /// What it is.
    pub kind: ArgKind,
    /// All of it.
    pub span: Span,
}

/// What an argument is.
#[derive(Clone, Debug)]
pub enum ArgKind {
    /// `x`
    Value(Expr),
    /// `f32[T, H]`, for `zeros`
    Type(Type),
    /// `eps = 1e-6`
    Named {
        /// Lower-case.
        name: Ident,
        /// Its value.
        value: Expr,
    },
    /// `over E`, `over [A, B]`
    Over(Vec<Mono>),
    /// `axis 1`, `axis -1`
    Axis(i64),
}

/// `sum e over E { .. }`
#[derive(Clone, Debug)]
pub struct Fold {
    /// Which.
    pub op: FoldOp,
    /// Where its word stands.
    pub op_span: Span,
    /// At least one.
    pub binders: Vec<Binder>,
    /// The axis that `concat` grows: there for `concat`, and for nothing else.
    pub along: Option<Mono>,
    /// What is folded.
    pub body: Block,
}

/// `e over E`
#[derive(Clone, Debug)]
pub struct Binder {
    /// The index.
    pub name: Ident,
    /// The axis it runs over.
    pub over: Mono,
}

/// The word in front of a binder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldOp {
    /// `sum`
    Sum,
    /// `mean`
    Mean,
    /// `max`
    Max,
    /// `min`
    Min,
    /// `any`
    Any,
    /// `all`
    All,
    /// `map`: puts the axis first.
    Map,
    /// `concat`
    Concat,
}

impl FoldOp {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            FoldOp::Sum => "sum",
            FoldOp::Mean => "mean",
            FoldOp::Max => "max",
            FoldOp::Min => "min",
            FoldOp::Any => "any",
            FoldOp::All => "all",
            FoldOp::Map => "map",
            FoldOp::Concat => "concat",
        }
    }

    /// The fold of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sum, Self::Mean, Self::Max, Self::Min, Self::Any, Self::All, Self::Map, Self::Concat]
            .into_iter()
            .find(|op| op.name() == name)
    }
}

/// A text in quotes. There are no escapes; it cannot hold `"`, `{`, `}` or a newline outside its holes.
#[derive(Clone, Debug)]
pub struct StringLit {
    /// Between the quotes, as written.
    pub text: String,
    /// The same, taken apart.
    pub parts: Vec<StringPart>,
    /// Quotes included.
    pub span: Span,
}

/// A piece of a text.
#[derive(Clone, Debug)]
pub enum StringPart {
    /// Letters that stand for themselves.
    Text(String, Span),
    /// `{E}`, `{layer}`, `{E:03}`
    Hole {
        /// A dim (one tensor per index) or a param (its value).
        name: Ident,
        /// Padded with zeros to this many digits; at most 20.
        width: Option<u32>,
        /// Braces included.
        span: Span,
    },
}

impl Expr {
    /// An expression without parentheses.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Self { kind, span, parens: false }
    }

    /// The axis name that this expression spells: a product of numbers and dims without parentheses inside.
    /// `T*K` in `reshape(x, [T*K])` is parsed as an expression and meant as an axis.
    pub fn as_mono(&self) -> Option<Mono> {
        let mut factors = Vec::new();
        self.push_factors(&mut factors)?;
        Some(Mono { factors, span: self.span })
    }

    fn push_factors(&self, factors: &mut Vec<Factor>) -> Option<()> {
        match &self.kind {
            ExprKind::Number(number) => factors.push(Factor::Int(number.integer?, self.span)),
            ExprKind::Dim(name) => factors.push(Factor::Dim(Ident { text: name.clone(), span: self.span })),
            ExprKind::Binary { op: BinaryOp::Mul, left, right, .. } => {
                left.push_factors(factors)?;
                right.push_factors(factors)?;
            }
            _ => return None,
        }
        Some(())
    }
}
