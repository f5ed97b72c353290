//! The words of the language. The only user of `logos` in this crate.

use logos::Logos;
use moec_diag::Span;

use crate::ast::DType;

/// The kind of a token.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\f\u{feff}]+")]
#[rustfmt::skip]
pub(crate) enum TokenKind {
    #[token("\n")] Newline,
    #[regex(r"//[^\n]*", allow_greedy = true)] Comment,

    #[token("model")] Model,
    #[token("fn")] Fn,
    #[token("dim")] Dim,
    #[token("param")] Param,
    #[token("const")] Const,
    #[token("fact")] Fact,
    #[token("input")] Input,
    #[token("weight")] Weight,
    #[token("from")] From,
    #[token("let")] Let,
    #[token("output")] Output,
    #[token("over")] Over,
    #[token("axis")] Axis,
    #[token("along")] Along,
    #[token("where")] Where,
    #[token("else")] Else,
    #[token("and")] And,
    #[token("or")] Or,
    #[token("not")] Not,
    #[token("true")] True,
    #[token("false")] False,
    #[token("inf")] Inf,
    #[token("f32")] F32,
    #[token("bf16")] Bf16,
    #[token("f16")] F16,
    #[token("i32")] I32,
    #[token("u8")] U8,
    #[token("bool")] Bool,
    #[token("float")] Float,

    /// A name that starts with a small letter or `_`.
    #[regex(r"[a-z_][A-Za-z0-9_]*")] Name,
    /// A name that starts with a capital.
    #[regex(r"[A-Z][A-Za-z0-9_]*")] DimName,
    #[regex(r"[0-9][0-9_]*(\.[0-9][0-9_]*)?([eE][+-]?[0-9]+)?", priority = 10)] Number,
    #[regex(r"[0-9][0-9A-Za-z_]*", priority = 5)] BadNumber,
    #[regex(r#""[^"\n]*""#)] Text,
    #[regex(r#""[^"\n]*"#, allow_greedy = true)] UnterminatedText,

    #[token("+")] Plus,
    #[token("-")] Minus,
    #[token("*")] Star,
    #[token("/")] Slash,
    #[token("@")] At,
    #[token("=")] Equals,
    #[token("<")] Less,
    #[token("<=")] LessEqual,
    #[token(">")] Greater,
    #[token(">=")] GreaterEqual,
    #[token("==")] EqualEqual,
    #[token("!=")] NotEqual,
    #[token("->")] Arrow,
    #[token(".")] Dot,
    #[token("..")] DotDot,
    #[token(",")] Comma,
    #[token(":")] Colon,
    #[token("(")] LeftParen,
    #[token(")")] RightParen,
    #[token("[")] LeftBracket,
    #[token("]")] RightBracket,
    #[token("{")] LeftBrace,
    #[token("}")] RightBrace,

    /// Text that was reported and skipped: unknown characters, or brackets nested too deeply.
    Skipped,
    /// Behind the last token.
    End,
}

/// A word with its place, and how lines lie around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
    /// First on its line.
    pub(crate) newline: bool,
    /// First of a statement: a newline in front of it counts.
    pub(crate) breaks: bool,
}

impl TokenKind {
    /// The element type of this keyword.
    pub(crate) fn dtype(self) -> Option<DType> {
        Some(match self {
            TokenKind::F32 => DType::F32,
            TokenKind::Bf16 => DType::Bf16,
            TokenKind::F16 => DType::F16,
            TokenKind::I32 => DType::I32,
            TokenKind::U8 => DType::U8,
            TokenKind::Bool => DType::Bool,
            TokenKind::Float => DType::Float,
            _ => return None,
        })
    }

    /// Whether this is a word that cannot be a name.
    pub(crate) fn is_keyword(self) -> bool {
        (TokenKind::Model as u8..=TokenKind::Float as u8).contains(&(self as u8))
    }

    /// The bracket that closes this one.
    pub(crate) fn closer(self) -> Option<TokenKind> {
        match self {
            TokenKind::LeftParen => Some(TokenKind::RightParen),
            TokenKind::LeftBracket => Some(TokenKind::RightBracket),
            TokenKind::LeftBrace => Some(TokenKind::RightBrace),
            _ => None,
        }
    }

    /// Whether this closes a bracket.
    pub(crate) fn is_closer(self) -> bool {
        matches!(self, TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace)
    }

    /// Whether a statement goes on behind a newline that follows this.
    pub(crate) fn continues_after(self) -> bool {
        use TokenKind::*;
        matches!(self, Plus | Minus | Star | Slash | At | Less | LessEqual | Greater | GreaterEqual)
            || matches!(self, EqualEqual | NotEqual | And | Or | Where | Else | Equals | Comma)
    }

    /// Whether a statement goes on when a line starts with this.
    pub(crate) fn continues_before(self) -> bool {
        use TokenKind::*;
        matches!(self, Plus | Star | Slash | At | And | Or | Where | Else)
    }

    /// Whether a line that starts with this is a member of a model.
    pub(crate) fn starts_member(self) -> bool {
        use TokenKind::*;
        matches!(self, Dim | Param | Const | Fact | Input | Weight | Let | Output)
    }
}
