//! From text to tokens whose brackets balance and whose line breaks have been judged.
//!
//! The parser relies on it: every opening bracket has its closer (one of no length where the text lacks it), no more
//! than [`MAX_BRACKETS`] are open at a time, and [`Token::breaks`] says where a statement ends.

use std::collections::BTreeMap;

use logos::Logos;
use moec_diag::{Diagnostic, Span, codes};

use crate::ast::Comment;
use crate::sink::Sink;
use crate::token::{Token, TokenKind};

/// No more brackets than this may be open at a time.
pub(crate) const MAX_BRACKETS: usize = 200;

/// A text as the parser reads it.
pub(crate) struct Layout {
    /// Ends in one `End`.
    pub(crate) tokens: Vec<Token>,
    /// Every comment, in order.
    pub(crate) comments: Vec<Comment>,
    /// The text of the `///` lines in front of a token, by its number.
    pub(crate) docs: BTreeMap<usize, String>,
}

/// Reads a text of less than 4 GiB.
pub(crate) fn lay_out(text: &str, sink: &mut Sink) -> Layout {
    let layout = Layout { tokens: Vec::new(), comments: Vec::new(), docs: BTreeMap::new() };
    let mut builder =
        Builder { text, sink, layout, open: Vec::new(), newline: true, doc: String::new(), too_deep: false };
    builder.read();
    builder.layout
}

struct Builder<'a> {
    text: &'a str,
    sink: &'a mut Sink,
    layout: Layout,
    /// The brackets that are open.
    open: Vec<Token>,
    /// Whether a newline stands in front of what comes next.
    newline: bool,
    /// Doc lines that wait for their token.
    doc: String,
    /// Whether something nested too deeply was skipped.
    too_deep: bool,
}

impl Builder<'_> {
    fn read(&mut self) {
        let mut lexer = TokenKind::lexer(self.text).spanned().peekable();
        // Depth below a bracket that is one too many, and where that bracket stands.
        let mut skipping: Option<(usize, Span)> = None;
        while let Some((result, range)) = lexer.next() {
            if self.sink.is_full() {
                break;
            }
            let mut span = Span::new(range.start as u32, range.end as u32);
            if let Some((depth, whole)) = &mut skipping {
                *whole = whole.to(span);
                match result {
                    Ok(kind) if kind.closer().is_some() => *depth += 1,
                    Ok(kind) if kind.is_closer() => *depth -= 1,
                    _ => {}
                }
                if *depth == 0 {
                    let whole = *whole;
                    skipping = None;
                    self.push(TokenKind::Skipped, whole);
                }
                continue;
            }
            let Ok(kind) = result else {
                while let Some((_, more)) =
                    lexer.next_if(|(next, range)| next.is_err() && range.start == span.end as usize)
                {
                    span.end = more.end as u32;
                }
                self.bad_characters(span);
                continue;
            };
            match kind {
                TokenKind::Newline => self.newline = true,
                TokenKind::Comment => self.comment(span),
                _ if kind.closer().is_some() => {
                    if self.open.len() < MAX_BRACKETS {
                        self.push(kind, span);
                        self.open.extend(self.layout.tokens.last());
                    } else {
                        let message = format!("more than {MAX_BRACKETS} brackets are open here");
                        let diagnostic = Diagnostic::error(&codes::TOO_DEEP, message).label(span, "");
                        self.sink.report(diagnostic.help("give parts of it names with `let`"));
                        self.too_deep = true;
                        skipping = Some((1, span));
                    }
                }
                _ if kind.is_closer() => self.close(kind, span),
                TokenKind::UnterminatedText => {
                    let diagnostic =
                        Diagnostic::error(&codes::UNTERMINATED_STRING, "a text in quotes has no end");
                    self.sink.report(diagnostic.label(span, "expected `\"` on this line"));
                    self.push(TokenKind::Skipped, span);
                }
                TokenKind::BadNumber => {
                    self.bad_number(span);
                    self.push(TokenKind::Number, span);
                }
                TokenKind::Name | TokenKind::DimName if self.touches_number(span) => {
                    let number = self.layout.tokens.last().map_or(span, |token| token.span);
                    self.bad_number(number.to(span));
                }
                _ => self.push(kind, span),
            }
        }
        let end = Span::at(self.text.len() as u32);
        if let Some((_, whole)) = skipping {
            self.push(TokenKind::Skipped, whole);
        }
        self.close_down_to(0, !self.too_deep);
        self.newline = true;
        self.push(TokenKind::End, end);
    }

    /// Adds a token; a keyword that starts a line closes what must have been closed before it.
    fn push(&mut self, kind: TokenKind, span: Span) {
        if self.newline && self.layout.tokens.last().is_none_or(|last| last.kind != TokenKind::Colon) {
            if matches!(kind, TokenKind::Model | TokenKind::Fn) {
                self.close_down_to(0, true);
            } else if kind == TokenKind::Let {
                let inner = self.open.iter().rposition(|token| token.kind == TokenKind::LeftBrace);
                self.close_down_to(inner.map_or(0, |brace| brace + 1), true);
            } else if kind.starts_member() {
                self.close_down_to(1, true);
            }
        }
        let in_lines = self.open.last().is_none_or(|token| token.kind == TokenKind::LeftBrace);
        let continued = self.layout.tokens.last().is_some_and(|last| last.kind.continues_after());
        let starts = kind.starts_member() || matches!(kind, TokenKind::Model | TokenKind::Fn);
        let breaks = self.newline && in_lines && (starts || !continued && !kind.continues_before());
        if !self.doc.is_empty() {
            let doc = std::mem::take(&mut self.doc);
            self.layout.docs.insert(self.layout.tokens.len(), doc);
        }
        self.layout.tokens.push(Token { kind, span, newline: self.newline, breaks });
        self.newline = false;
    }

    /// Handles a closing bracket: what was opened inside its pair and not closed is reported and closed.
    fn close(&mut self, kind: TokenKind, span: Span) {
        // A `)` or `]` does not reach across a `{`.
        let partner = self
            .open
            .iter()
            .enumerate()
            .rev()
            .take_while(|(_, token)| kind == TokenKind::RightBrace || token.kind != TokenKind::LeftBrace)
            .find(|(_, token)| token.kind.closer() == Some(kind))
            .map(|(depth, _)| depth);
        match partner {
            Some(depth) => {
                self.close_down_to(depth + 1, true);
                self.push(kind, span);
                self.open.pop();
            }
            None => {
                let message = format!("`{}` closes nothing", span.slice(self.text));
                self.sink.report(Diagnostic::error(&codes::UNOPENED_BRACKET, message).label(span, ""));
            }
        }
    }

    /// Closes the innermost brackets until `depth` are open.
    fn close_down_to(&mut self, depth: usize, report: bool) {
        while self.open.len() > depth {
            let Some(opener) = self.open.pop() else { return };
            let Some(closer) = opener.kind.closer() else { return };
            let end = self.layout.tokens.last().map_or(0, |token| token.span.end);
            if report {
                let message = format!("`{}` is never closed", opener.span.slice(self.text));
                let diagnostic = Diagnostic::error(&codes::UNCLOSED_BRACKET, message).label(opener.span, "");
                let partner = if opener.kind == TokenKind::LeftParen { "`)`" } else { "`]`" };
                let diagnostic = match opener.kind {
                    TokenKind::LeftBrace => diagnostic,
                    _ => diagnostic.context(Span::at(end), format!("expected {partner} here at the latest")),
                };
                self.sink.report(diagnostic);
            }
            self.layout.tokens.push(Token {
                kind: closer,
                span: Span::at(end),
                newline: false,
                breaks: false,
            });
        }
    }

    fn comment(&mut self, mut span: Span) {
        let text = span.slice(self.text).trim_end();
        span.end = span.start + text.len() as u32;
        self.layout.comments.push(Comment { span });
        if let Some(doc) = text.strip_prefix("///").filter(|rest| !rest.starts_with('/') && self.newline) {
            if !self.doc.is_empty() {
                self.doc.push('\n');
            }
            self.doc.push_str(doc.strip_prefix(' ').unwrap_or(doc));
        }
    }

    fn bad_characters(&mut self, span: Span) {
        let text = span.slice(self.text);
        let shown: String = text.chars().take(12).flat_map(char::escape_default).collect();
        let shown =
            if text.chars().all(|c| !c.is_control()) && text.chars().count() <= 12 { text } else { &shown };
        let diagnostic =
            Diagnostic::error(&codes::BAD_CHARACTER, format!("`{shown}` is not used here")).label(span, "");
        let diagnostic = match text.chars().next() {
            Some(';') => diagnostic.help("a statement ends with its line"),
            Some('&') => diagnostic.help("write `and`"),
            Some('|') => diagnostic.help("write `or`"),
            Some('!' | '~') => diagnostic.help("write `not`"),
            Some('#') => diagnostic.help("comments start with `//`"),
            Some('\'' | '`') => diagnostic.help("texts stand between `\"` and `\"`"),
            Some('^') => diagnostic.help("write `square(x)`, or a product"),
            Some(c) if c.is_alphabetic() => {
                diagnostic.help("names are made of ASCII letters, digits and `_`")
            }
            _ => diagnostic,
        };
        self.sink.report(diagnostic);
        if text.starts_with(';') {
            self.newline = true;
        } else {
            self.push(TokenKind::Skipped, span);
        }
    }

    fn bad_number(&mut self, span: Span) {
        let text = span.slice(self.text);
        let message = format!("`{}` is not a number", text.chars().take(40).collect::<String>());
        let diagnostic = Diagnostic::error(&codes::BAD_NUMBER, message).label(span, "");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() && !c.is_ascii_digit());
        let diagnostic = match text.strip_prefix(digits) {
            Some(name) if name.starts_with(|c: char| c.is_ascii_uppercase()) && !digits.is_empty() => {
                diagnostic.help(format!("a product is written `{digits}*{name}`"))
            }
            _ => diagnostic,
        };
        self.sink.report(diagnostic);
    }

    fn touches_number(&self, span: Span) -> bool {
        self.layout
            .tokens
            .last()
            .is_some_and(|last| last.kind == TokenKind::Number && last.span.end == span.start)
    }
}
