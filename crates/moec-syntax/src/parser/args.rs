//! What stands between the brackets of a call or an index.

use moec_diag::{Diagnostic, codes};

use super::{Parsed, Parser};
use crate::ast::{Arg, ArgKind, ExprKind, Index, Mono};
use crate::token::TokenKind;

impl Parser<'_> {
    pub(super) fn arg(&mut self) -> Parsed<Arg> {
        let token = self.next();
        let kind = match token.kind {
            TokenKind::Over => {
                self.bump();
                ArgKind::Over(self.over_axes()?)
            }
            TokenKind::Axis => {
                self.bump();
                ArgKind::Axis(self.axis_number()?)
            }
            TokenKind::DimName if self.peek(1).kind == TokenKind::Equals => {
                let word = self.slice(token.span).to_owned();
                let message = format!("`{word}` is a dim, not the name of an argument");
                let diagnostic = Diagnostic::error(&codes::NAME_CASE, message).label(token.span, "");
                return Err(self
                    .report(diagnostic.help("leave out what stands up to `=`: a size is given by itself")));
            }
            TokenKind::Name if self.peek(1).kind == TokenKind::Equals => {
                let name = self.bump();
                let name = self.ident(name);
                self.bump();
                ArgKind::Named { name, value: self.expr()? }
            }
            TokenKind::Name if self.peek(1).kind == TokenKind::LeftBracket && self.meant_type().is_some() => {
                ArgKind::Type(self.ty()?)
            }
            kind if kind.dtype().is_some() && self.peek(1).kind != TokenKind::LeftParen => {
                ArgKind::Type(self.ty()?)
            }
            _ => ArgKind::Value(self.expr()?),
        };
        Ok(Arg { kind, span: self.since(token.span) })
    }

    /// Behind `over`: an axis or a list of axes.
    fn over_axes(&mut self) -> Parsed<Vec<Mono>> {
        if !self.sees(TokenKind::LeftBracket) {
            return Ok(vec![self.mono("an axis")?]);
        }
        let start = self.next().span;
        match self.bracketed(|parser| parser.comma_list(|parser| parser.mono("an axis"))) {
            Some(axes) if axes.is_empty() => {
                let diagnostic =
                    Diagnostic::error(&codes::UNEXPECTED_TOKEN, "expected an axis between the brackets");
                let span = self.since(start);
                Err(self.report(diagnostic.label(span, "")))
            }
            Some(axes) => Ok(axes),
            None => Ok(Vec::new()),
        }
    }

    /// Behind `axis`: a position, from the end if negative.
    fn axis_number(&mut self) -> Parsed<i64> {
        if self.sees(TokenKind::Equals) {
            let span = self.next().span;
            let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "`axis` takes no `=`");
            return Err(
                self.report(diagnostic.label(span, "").help("write `axis 1`, or better `over` and a name"))
            );
        }
        let negative = self.accept(TokenKind::Minus).is_some();
        if !self.sees(TokenKind::Number) {
            return Err(self.unexpected("the number of an axis"));
        }
        let (value, _) = self.whole_number()?;
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        Ok(if negative { -value } else { value })
    }

    pub(super) fn indices(&mut self) -> Parsed<Vec<Index>> {
        if self.kind().is_closer() {
            return Err(self.unexpected("an index"));
        }
        self.sequence(|parser| parser.index())
    }

    fn index(&mut self) -> Parsed<Index> {
        let token = self.next();
        let after = self.peek(1).kind;
        if token.kind == TokenKind::Name && (after == TokenKind::Comma || after == TokenKind::RightBracket) {
            self.bump();
            return Ok(Index::Bound(self.ident(token)));
        }
        if !self.index_names_axis() {
            return self.positional_index();
        }
        let axis = self.mono("an axis")?;
        self.expect(TokenKind::Equals, "`=`")?;
        let start = self.expr()?;
        let tall_start = self.height;
        if self.accept(TokenKind::DotDot).is_none() {
            return Ok(Index::At { axis, value: start, span: self.since(token.span) });
        }
        let end = self.expr()?;
        self.height = self.height.max(tall_start);
        let step = if self.sees_word("by") {
            self.bump();
            Some(self.whole_number()?)
        } else {
            None
        };
        Ok(Index::Range { axis, start, end, step, span: self.since(token.span) })
    }

    /// Whether names, numbers and `*` are followed by `=`.
    fn index_names_axis(&self) -> bool {
        let is_axis =
            |kind| matches!(kind, TokenKind::DimName | TokenKind::Name | TokenKind::Number | TokenKind::Star);
        // An axis name is short; looking further would make long lists slow.
        let length = (0..16).take_while(|&ahead| is_axis(self.peek(ahead).kind)).count();
        length > 0 && self.peek(length).kind == TokenKind::Equals
    }

    fn positional_index(&mut self) -> Parsed<Index> {
        let at = self.at;
        let token = self.next();
        let value = self.expr()?;
        if self.accept(TokenKind::DotDot).is_some() {
            self.expr()?;
        }
        let span = self.since(token.span);
        if !matches!(value.kind, ExprKind::Error) {
            let diagnostic =
                Diagnostic::error(&codes::POSITIONAL_INDEX, "an index needs the name of its axis");
            let quoted = self.slice(span);
            let help = match value.kind {
                ExprKind::Number(_) if quoted.len() < 40 => {
                    format!("write `P = {quoted}` with the dim that names the axis, or use `slice`")
                }
                _ => "an index bound by `over` stands alone; `E = idx` gathers; `gather(a, idx, axis 0)` goes by position"
                    .to_owned(),
            };
            self.report_at(at, diagnostic.label(span, "by position").help(help));
        }
        Ok(Index::Error(span))
    }
}
