//! Texts in quotes and their holes.

use moec_diag::{Diagnostic, Span, codes};

use super::{Failed, Parsed, Parser};
use crate::ast::{Ident, StringLit, StringPart};
use crate::token::TokenKind;

/// A hole may ask for at most this many digits.
const MAX_WIDTH: u32 = 20;

impl Parser<'_> {
    /// The text that comes next.
    pub(super) fn text(&mut self) -> Parsed<StringLit> {
        let token = self.expect(TokenKind::Text, "a text in quotes")?;
        let first = token.span.start + 1;
        let text = self.slice(Span::new(first, token.span.end - 1)).to_owned();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let place = |from: usize, to: usize| Span::new(first + from as u32, first + to as u32);
            let length = match rest.find(['{', '}']).unwrap_or(rest.len()) {
                0 => {
                    let length = rest.find('}').map_or(rest.len(), |end| end + 1);
                    match hole(&rest[..length], place(at, at + length)) {
                        Some(part) => parts.push(part),
                        None => {
                            self.bad_hole(place(at, at + length));
                        }
                    }
                    length
                }
                length => {
                    parts.push(StringPart::Text(rest[..length].to_owned(), place(at, at + length)));
                    length
                }
            };
            at += length;
        }
        Ok(StringLit { text, parts, span: token.span })
    }

    fn bad_hole(&mut self, span: Span) -> Failed {
        let diagnostic = Diagnostic::error(&codes::BAD_HOLE, "a hole that cannot be read").label(span, "");
        self.report_at(
            self.at - 1,
            diagnostic.help("a hole is `{E}`, `{layer}`, or `{E:03}` for three digits"),
        )
    }
}

/// `{name}` or `{name:0width}`, braces included.
fn hole(text: &str, span: Span) -> Option<StringPart> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let (name, width) = match inside.split_once(':') {
        Some((name, format)) => {
            let width: u32 = format.strip_prefix('0')?.parse().ok()?;
            (name, Some(width).filter(|width| (1..=MAX_WIDTH).contains(width))?)
        }
        None => (inside, 0),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let name_span = Span::new(span.start + 1, span.start + 1 + name.len() as u32);
    is_name.then(|| StringPart::Hole {
        name: Ident { text: name.to_owned(), span: name_span },
        width: (width > 0).then_some(width),
        span,
    })
}
