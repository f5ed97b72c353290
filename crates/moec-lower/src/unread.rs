//! What a text with syntax errors may hold that was not read: names declared there are not called unknown elsewhere.

use std::collections::BTreeSet;

use moec_diag::{Diagnostic, Span, codes};
use moec_syntax::ast;

/// What may stand in the parts of a text that the parser did not understand.
#[derive(Debug, Default)]
pub(crate) enum Unread {
    /// All was read.
    #[default]
    Nothing,
    /// These words.
    Words(BTreeSet<String>),
    /// Anything: braces do not match, so that it is not known where things end.
    Anything,
}

impl Unread {
    /// What was not read of `file`, where the parser reported `diagnostics`.
    pub(crate) fn of(file: &ast::File, source: &str, diagnostics: &[Diagnostic]) -> Unread {
        let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|d| d.is_error()).collect();
        if errors.is_empty() {
            return Unread::Nothing;
        }
        let stumbles: Option<Vec<Span>> = errors.iter().map(|d| d.span()).collect();
        let Some(stumbles) = stumbles else { return Unread::Anything };
        let unbalanced = |d: &&Diagnostic| {
            let brackets = [&codes::UNCLOSED_BRACKET, &codes::UNOPENED_BRACKET];
            let brace = d.span().is_some_and(|at| at.slice(source).starts_with(['{', '}']));
            brace && brackets.iter().any(|code| code.slug() == d.slug())
                || [&codes::TOO_DEEP, &codes::TOO_MANY_ERRORS].iter().any(|code| code.slug() == d.slug())
        };
        if errors.iter().any(unbalanced) {
            return Unread::Anything;
        }
        // Members and functions without a stumble were understood, and comments declare nothing.
        let mut read: Vec<Span> = file.comments.iter().map(|comment| comment.span).collect();
        for item in &file.items {
            match item {
                ast::Item::Model(model) => read.extend(model.members.iter().map(|member| member.span)),
                ast::Item::Fn(function) => read.push(function.span),
            }
        }
        read.retain(|span| !stumbles.iter().any(|at| at.start >= span.start && at.start < span.end));
        read.sort();
        let mut words = BTreeSet::new();
        let mut at = 0;
        for span in read.iter().copied().chain([Span::at(source.len() as u32)]) {
            if span.start > at {
                let text = Span::new(at, span.start).slice(source);
                let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                words.extend(parts.filter(|word| !word.is_empty()).map(str::to_owned));
            }
            at = at.max(span.end);
        }
        Unread::Words(words)
    }

    /// Whether the whole text was read.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Unread::Nothing)
    }

    /// Whether `name` may be declared in what was not read.
    pub(crate) fn may_declare(&self, name: &str) -> bool {
        match self {
            Unread::Nothing => false,
            Unread::Words(words) => words.contains(name),
            Unread::Anything => true,
        }
    }
}
