//! Sizes, axis names and types.

use moec_diag::{Diagnostic, Span, codes};

use super::{Failed, Parsed, Parser};
use crate::ast::{DType, Factor, Mono, Size, SizeKind, SizeOp, Type};
use crate::token::TokenKind;

impl Parser<'_> {
    /// `sterm { ( "+" | "-" ) sterm }`
    pub(super) fn size(&mut self) -> Parsed<Size> {
        let add = |kind| match kind {
            TokenKind::Plus => Some(SizeOp::Add),
            TokenKind::Minus => Some(SizeOp::Sub),
            _ => None,
        };
        self.size_chain(add, |parser| {
            let mul = |kind| match kind {
                TokenKind::Star => Some(SizeOp::Mul),
                TokenKind::Slash => Some(SizeOp::Div),
                _ => None,
            };
            parser.size_chain(mul, |parser| parser.size_atom())
        })
    }

    fn size_chain(
        &mut self,
        op_of: impl Fn(TokenKind) -> Option<SizeOp>,
        operand: impl Fn(&mut Self) -> Parsed<Size>,
    ) -> Parsed<Size> {
        let mut left = operand(self)?;
        while let Some(op) = op_of(self.kind()).filter(|_| !self.next().breaks) {
            let tall_left = self.height;
            self.bump();
            let right = operand(self)?;
            let span = left.span.to(right.span);
            self.grow(tall_left.max(self.height), span)?;
            let kind = SizeKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            left = Size { kind, span, parens: false };
        }
        Ok(left)
    }

    fn size_atom(&mut self) -> Parsed<Size> {
        let token = self.next();
        self.height = 1;
        if token.breaks {
            return Err(self.unexpected("a size"));
        }
        let kind = match token.kind {
            TokenKind::Number => {
                let number = self.number();
                match number.integer {
                    Some(value) => SizeKind::Int(value),
                    None => SizeKind::Number(number),
                }
            }
            TokenKind::DimName => {
                self.bump();
                SizeKind::Dim(self.word(token.span))
            }
            TokenKind::Name if self.sees_word("floor") && self.peek(1).kind == TokenKind::LeftParen => {
                self.bump();
                match self.bracketed(|parser| parser.size()) {
                    Some(size) => {
                        let span = self.since(token.span);
                        self.grow(self.height, span)?;
                        SizeKind::Floor(Box::new(size))
                    }
                    None => SizeKind::Error,
                }
            }
            TokenKind::Name => {
                self.bump();
                SizeKind::Param(self.word(token.span))
            }
            TokenKind::LeftParen => {
                let kind = self.bracketed(|parser| parser.size()).map_or(SizeKind::Error, |size| size.kind);
                return Ok(Size { kind, span: self.since(token.span), parens: true });
            }
            _ => return Err(self.unexpected("a size")),
        };
        Ok(Size { kind, span: self.since(token.span), parens: false })
    }

    /// `( INT | DIM ) { "*" ( INT | DIM ) }`
    pub(super) fn mono(&mut self, what: &str) -> Parsed<Mono> {
        let start = self.next().span;
        let mut factors = vec![self.factor(what)?];
        while self.accept(TokenKind::Star).is_some() {
            factors.push(self.factor("a number or a dim")?);
        }
        Ok(Mono { factors, span: self.since(start) })
    }

    fn factor(&mut self, what: &str) -> Parsed<Factor> {
        if self.sees(TokenKind::Number) {
            let (value, span) = self.whole_number()?;
            return Ok(Factor::Int(value, span));
        }
        Ok(Factor::Dim(self.dim_name(what)?))
    }

    /// `DTYPE [ "[" axes "]" ]`
    pub(super) fn ty(&mut self) -> Parsed<Type> {
        let token = self.next();
        let Some(dtype) = token.kind.dtype().filter(|_| !token.breaks) else {
            return Err(self.no_type());
        };
        self.bump();
        if dtype == DType::Float && !self.in_fn {
            let diagnostic = Diagnostic::error(
                &codes::MISPLACED_TYPE,
                "`float` stands for any float type, in a `fn` only",
            );
            self.report_at(
                self.at - 1,
                diagnostic.label(token.span, "").help("write `f32`, `bf16` or `f16`"),
            );
        }
        let (mut lead, mut axes) = (None, Vec::new());
        if self.sees(TokenKind::LeftBracket) && !self.next().newline {
            let inside = self.bracketed(|parser| parser.axes());
            (lead, axes) = inside.unwrap_or_default();
        }
        Ok(Type { dtype, dtype_span: token.span, lead, axes, span: self.since(token.span) })
    }

    fn axes(&mut self) -> Parsed<(Option<Span>, Vec<Mono>)> {
        let lead = self.accept(TokenKind::DotDot);
        if let Some(token) = lead {
            if !self.in_fn {
                let diagnostic =
                    Diagnostic::error(&codes::MISPLACED_TYPE, "`..` stands for any axes, in a `fn` only");
                self.report_at(self.at - 1, diagnostic.label(token.span, "").help("write the axes out"));
            }
            if self.accept(TokenKind::Comma).is_none() && !self.kind().is_closer() {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
        let axes = self.comma_list(|parser| {
            let axis = parser.mono("the name of an axis")?;
            if matches!(parser.kind(), TokenKind::Plus | TokenKind::Minus | TokenKind::Slash) {
                let op = parser.next().span;
                let message =
                    format!("`{}` cannot stand in a type: axes are named by products", parser.slice(op));
                let diagnostic = Diagnostic::error(&codes::UNNAMED_SIZE, message).label(op, "");
                return Err(parser.report(diagnostic.help("give the size a name: `dim R = C - Q`")));
            }
            Ok(axis)
        })?;
        Ok((lead.map(|token| token.span), axes))
    }

    /// The element type that a word of another language means.
    pub(super) fn meant_type(&self) -> Option<&'static str> {
        if !self.sees(TokenKind::Name) {
            return None;
        }
        match self.slice(self.next().span) {
            "float32" | "f64" | "float64" | "double" => Some("f32"),
            "bfloat16" => Some("bf16"),
            "float16" | "half" => Some("f16"),
            "int" | "int32" | "i64" | "int64" | "u32" => Some("i32"),
            _ => None,
        }
    }

    fn no_type(&mut self) -> Failed {
        let token = self.next();
        let Some(meant) = self.meant_type() else {
            return self.unexpected("a type (f32, bf16, f16, i32, bool)");
        };
        let message = format!("`{}` is not an element type", self.slice(token.span));
        let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, message).label(token.span, "");
        self.report(diagnostic.help(format!("write `{meant}`")))
    }
}
