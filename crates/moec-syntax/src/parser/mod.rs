//! A hand-written parser that goes on after an error.
//!
//! A function that fails has reported why and returns [`Failed`]; whoever owns the statement or the bracket it
//! happened in skips to its end and goes on. Brackets balance (see `layout`), so skipping never runs away.
//! Recursion is bounded by the number of open brackets and by [`MAX_HEIGHT`].

mod args;
mod exprs;
mod items;
mod numbers;
mod sizes;
mod strings;

use moec_diag::{Diagnostic, Span, codes};

use crate::ast::{File, Ident, MAX_HEIGHT};
use crate::layout::{Layout, lay_out};
use crate::sink::Sink;
use crate::token::{Token, TokenKind};

/// A larger text is not read.
const MAX_BYTES: usize = 64 << 20;

/// Reads a source text: what could be understood of it, and everything that is wrong with its form.
///
/// The tree is complete where there are no errors; with errors, parts that did not parse are missing or are `Error`
/// nodes. Takes time linear in the length of the text.
pub fn parse(text: &str) -> (File, Vec<Diagnostic>) {
    let mut sink = Sink::default();
    if text.len() > MAX_BYTES {
        let message = format!("the source text has {} bytes; the most is {MAX_BYTES}", text.len());
        return (File::default(), vec![Diagnostic::error(&codes::FILE_TOO_LARGE, message)]);
    }
    let layout = lay_out(text, &mut sink);
    let mut parser = Parser { text, layout, sink, at: 0, height: 0, in_fn: false, reported_at: None };
    let items = parser.items();
    (File { items, comments: parser.layout.comments }, parser.sink.finish())
}

/// The fault has been reported.
struct Failed;

type Parsed<T> = Result<T, Failed>;

struct Parser<'a> {
    text: &'a str,
    layout: Layout,
    sink: Sink,
    /// Number of the next token.
    at: usize,
    /// Height of the expression that was read last.
    height: u32,
    /// Whether `float` and `..` may stand in types.
    in_fn: bool,
    /// Number of the token that was reported last: one report each.
    reported_at: Option<usize>,
}

impl Parser<'_> {
    /// The token that comes `ahead` after the next one; `End` for ever at the end.
    fn peek(&self, ahead: usize) -> Token {
        let last = self.layout.tokens.len() - 1;
        let at = if self.sink.is_full() { last } else { (self.at + ahead).min(last) };
        self.layout.tokens[at]
    }

    fn next(&self) -> Token {
        self.peek(0)
    }

    fn kind(&self) -> TokenKind {
        self.next().kind
    }

    /// Whether the next token is this and belongs to the same statement.
    fn sees(&self, kind: TokenKind) -> bool {
        let next = self.next();
        next.kind == kind && !next.breaks
    }

    /// Whether the next token is this name (a word that is no keyword) in the same statement.
    fn sees_word(&self, word: &str) -> bool {
        self.sees(TokenKind::Name) && self.slice(self.next().span) == word
    }

    fn bump(&mut self) -> Token {
        let token = self.next();
        self.at = (self.at + 1).min(self.layout.tokens.len() - 1);
        token
    }

    /// Takes the next token if it is this and belongs to the same statement.
    fn accept(&mut self, kind: TokenKind) -> Option<Token> {
        self.sees(kind).then(|| self.bump())
    }

    /// Takes a token of this kind, or reports that it was expected.
    fn expect(&mut self, kind: TokenKind, what: &str) -> Parsed<Token> {
        match self.accept(kind) {
            Some(token) => Ok(token),
            None => Err(self.unexpected(what)),
        }
    }

    /// End of the token that was read last.
    fn last_end(&self) -> u32 {
        self.at.checked_sub(1).map_or(0, |last| self.layout.tokens[last].span.end)
    }

    /// From the start of something to the end of the token that was read last.
    fn since(&self, start: Span) -> Span {
        Span::new(start.start, self.last_end().max(start.start))
    }

    fn slice(&self, span: Span) -> &str {
        span.slice(self.text)
    }

    fn word(&self, span: Span) -> String {
        self.slice(span).to_owned()
    }

    fn ident(&self, token: Token) -> Ident {
        Ident { text: self.word(token.span), span: token.span }
    }

    /// A name of a value.
    fn value_name(&mut self, what: &str) -> Parsed<Ident> {
        if let Some(token) = self.accept(TokenKind::Name) {
            return Ok(self.ident(token));
        }
        if self.sees(TokenKind::DimName) {
            let token = self.bump();
            let word = self.word(token.span);
            let diagnostic = Diagnostic::error(
                &codes::NAME_CASE,
                format!("`{word}` starts with a capital: a dim, not {what}"),
            );
            self.report(
                diagnostic.label(token.span, "").help(format!("write `{}`", word.to_ascii_lowercase())),
            );
            return Ok(self.ident(token));
        }
        Err(self.unexpected(what))
    }

    /// A name of a dim.
    fn dim_name(&mut self, what: &str) -> Parsed<Ident> {
        if let Some(token) = self.accept(TokenKind::DimName) {
            return Ok(self.ident(token));
        }
        if self.sees(TokenKind::Name) {
            let token = self.bump();
            let word = self.word(token.span);
            let capital = word.trim_start_matches('_');
            let capital =
                capital[..capital.len().min(1)].to_ascii_uppercase() + capital.get(1..).unwrap_or("");
            let diagnostic = Diagnostic::error(
                &codes::NAME_CASE,
                format!("`{word}` starts with a small letter; a dim has a capital"),
            );
            self.report(diagnostic.label(token.span, "").help(format!("write `{capital}`")));
            return Ok(self.ident(token));
        }
        Err(self.unexpected(what))
    }

    /// Reports, once per token.
    fn report(&mut self, diagnostic: Diagnostic) -> Failed {
        self.report_at(self.at, diagnostic)
    }

    fn report_at(&mut self, at: usize, diagnostic: Diagnostic) -> Failed {
        if self.reported_at != Some(at) {
            self.reported_at = Some(at);
            self.sink.report(diagnostic);
        }
        Failed
    }

    /// Reports the next token where `what` was expected.
    fn unexpected(&mut self, what: &str) -> Failed {
        let next = self.next();
        // What was skipped was reported when it was skipped; a bracket of no length when it was found missing.
        let behind_skipped = !next.breaks && self.follows(TokenKind::Skipped);
        let silent = next.kind == TokenKind::Skipped
            || behind_skipped
            || (next.kind.is_closer() && next.span.start == next.span.end);
        if silent || self.sink.is_full() {
            return Failed;
        }
        if next.breaks && next.kind == TokenKind::Minus {
            return self.leading_minus();
        }
        let found = self.describe(next);
        // Something missing at the end of a line is marked there, not on the line after.
        let (span, found) = if next.breaks && next.kind != TokenKind::End {
            (Span::at(self.last_end()), "the end of the line".to_owned())
        } else if next.newline && next.kind.is_closer() {
            (Span::at(self.last_end()), found)
        } else {
            (next.span, found)
        };
        let diagnostic =
            Diagnostic::error(&codes::UNEXPECTED_TOKEN, format!("expected {what}, found {found}"));
        let diagnostic = diagnostic.label(span, format!("expected {what}"));
        let diagnostic = match next.kind {
            _ if next.breaks => diagnostic,
            TokenKind::LeftParen | TokenKind::LeftBracket if next.newline => diagnostic
                .help(format!("a {found} that calls or indexes stands on the line of what it follows")),
            TokenKind::EqualEqual if what.contains("`=`") => diagnostic.help("`=` defines, `==` compares"),
            TokenKind::Equals => diagnostic.help("to compare, write `==`"),
            TokenKind::Over | TokenKind::Axis if what.starts_with("`,`") => {
                diagnostic.help(format!("put a comma before {found}"))
            }
            TokenKind::Where if what == "an expression" => {
                diagnostic.help("its form is `x where mask else 0`")
            }
            TokenKind::Dim if self.peek(1).kind == TokenKind::Equals => {
                diagnostic.help("axes are given as `over E` or as `axis 1`")
            }
            TokenKind::Star if what == "an expression" && self.follows(TokenKind::Star) => {
                diagnostic.help("a power is a product, or `square(x)`")
            }
            TokenKind::Dot if what == "an expression" => {
                diagnostic.help("a number starts with a digit: `0.5`")
            }
            TokenKind::Colon | TokenKind::DotDot if what == "an expression" => {
                diagnostic.help("axes have names, and those not named stay whole: `x[H = 0]`, `x[H = 0..2]`")
            }
            TokenKind::Name if what.starts_with("`over`") && self.slice(next.span) == "in" => {
                diagnostic.help("an index runs `over` an axis: `sum e over E { .. }`")
            }
            TokenKind::Name if self.slice(next.span) == "if" => {
                diagnostic.help("a choice is written `x where mask else 0`")
            }
            kind if kind.is_keyword() && (what == "an expression" || what.contains("name")) => {
                diagnostic.note(format!("{found} is a keyword and cannot be a name"))
            }
            _ => diagnostic,
        };
        self.report(diagnostic)
    }

    /// Whether the token that was read last is this.
    fn follows(&self, kind: TokenKind) -> bool {
        self.at.checked_sub(1).is_some_and(|last| self.layout.tokens[last].kind == kind)
    }

    fn leading_minus(&mut self) -> Failed {
        let diagnostic = Diagnostic::error(&codes::LEADING_MINUS, "a line may not start with `-`");
        let diagnostic =
            diagnostic.label(self.next().span, "the line before, less this; or a value of its own?");
        self.report(diagnostic.help("leave `-` at the end of the line before, or write `(-x)`"))
    }

    fn describe(&self, token: Token) -> String {
        match token.kind {
            TokenKind::End => "the end of the file".to_owned(),
            TokenKind::Text => "a text".to_owned(),
            _ => {
                let word = self.slice(token.span);
                match word.char_indices().nth(40) {
                    Some((cut, _)) => format!("`{}..`", &word[..cut]),
                    None => format!("`{word}`"),
                }
            }
        }
    }

    /// Skips to the closer of the innermost open bracket and takes it. Called with that bracket open.
    fn skip_past_closer(&mut self) {
        let mut depth = 0usize;
        loop {
            let token = self.next();
            if token.kind == TokenKind::End {
                return;
            }
            self.bump();
            if token.kind.closer().is_some() {
                depth += 1;
            } else if token.kind.is_closer() {
                if depth == 0 {
                    return;
                }
                depth -= 1;
            }
        }
    }

    /// Skips from a statement that started with token `from` to the next one of the block, or to its end.
    fn skip_statement(&mut self, from: usize) {
        loop {
            let token = self.next();
            if token.kind == TokenKind::End || token.kind.is_closer() || (self.at > from && token.breaks) {
                return;
            }
            self.bump();
            if token.kind.closer().is_some() {
                self.skip_past_closer();
            }
        }
    }

    /// Reads what stands between two brackets. After a fault it goes on behind the closing one and gives `None`.
    /// The next token is the opening bracket.
    fn bracketed<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Option<T> {
        let opener = self.bump();
        let inside = read(self).and_then(|inside| match opener.kind.closer() {
            Some(closer) if self.kind() == closer => Ok(inside),
            Some(TokenKind::RightParen) => Err(self.unexpected("`)`")),
            Some(TokenKind::RightBracket) => Err(self.unexpected("`]`")),
            _ => Err(self.unexpected("a new line or `}`")),
        });
        if inside.is_ok() {
            self.bump();
        } else {
            self.skip_past_closer();
            self.height = 1;
        }
        inside.ok()
    }

    /// Reads things with commas between, and perhaps one behind, up to a closing bracket that is left in place.
    fn comma_list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut list = Vec::new();
        while !self.kind().is_closer() {
            list.push(read(self)?);
            if self.accept(TokenKind::Comma).is_none() && !self.kind().is_closer() {
                return Err(self.unexpected("`,` or the closing bracket"));
            }
        }
        Ok(list)
    }

    /// Notes that a node stands on parts of this height.
    fn grow(&mut self, tallest_part: u32, span: Span) -> Parsed<()> {
        self.height = tallest_part + 1;
        if self.height <= MAX_HEIGHT {
            return Ok(());
        }
        let diagnostic =
            Diagnostic::error(&codes::TOO_DEEP, format!("an expression of more than {MAX_HEIGHT} levels"));
        let last = Span::new(self.last_end().saturating_sub(1).max(span.start), self.last_end());
        Err(self.report(diagnostic.label(last, "").help("give parts of it names with `let`")))
    }
}
