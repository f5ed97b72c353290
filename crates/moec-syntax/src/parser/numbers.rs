//! Numbers.

use moec_diag::{Diagnostic, Span, codes};

use super::{Parsed, Parser};
use crate::ast::Number;
use crate::token::TokenKind;

impl Parser<'_> {
    /// The number that comes next; one that is too large is reported and counts as 0.
    pub(super) fn number(&mut self) -> Number {
        let token = self.bump();
        let text = self.word(token.span);
        let digits = text.replace('_', "");
        let value: f64 = digits.parse().unwrap_or(0.0);
        if value.is_finite() {
            return Number { integer: digits.parse().ok(), value, text };
        }
        let diagnostic = Diagnostic::error(&codes::BAD_NUMBER, "the number is too large");
        self.report_at(self.at - 1, diagnostic.label(token.span, "").help("infinity is written `inf`"));
        Number { integer: None, value: 0.0, text }
    }

    /// A number without a fraction and below 2^64.
    pub(super) fn whole_number(&mut self) -> Parsed<(u64, Span)> {
        if !self.sees(TokenKind::Number) {
            return Err(self.unexpected("a whole number"));
        }
        let at = self.at;
        let span = self.next().span;
        let number = self.number();
        match number.integer {
            Some(value) => Ok((value, span)),
            None => {
                let diagnostic = Diagnostic::error(&codes::BAD_NUMBER, "expected a whole number below 2^64");
                Err(self.report_at(at, diagnostic.label(span, "")))
            }
        }
    }
}
