//! A diagnostic is plain data: what is wrong, where, and what to do. How it looks is `render`'s business.

use crate::{Code, Span};

/// How bad it is. Only errors stop a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The program has no meaning as it stands.
    Error,
    /// The program is legal and probably not what was meant.
    Warning,
}

/// A marked place with a few words; the words may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The marked bytes.
    pub span: Span,
    /// What stands beside the mark.
    pub text: String,
    /// Whether this is where the fault lies, rather than something it relates to.
    pub primary: bool,
}

/// One finding about a source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The kind of finding, from the registry.
    pub code: &'static Code,
    /// One line, with the names and types at hand.
    pub message: String,
    /// Marked places.
    pub labels: Vec<Label>,
    /// Facts that help to understand.
    pub notes: Vec<String>,
    /// What to write instead.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error without places yet.
    pub fn error(code: &'static Code, message: impl Into<String>) -> Self {
        Self::of(Severity::Error, code, message.into())
    }

    /// A warning without places yet.
    pub fn warning(code: &'static Code, message: impl Into<String>) -> Self {
        Self::of(Severity::Warning, code, message.into())
    }

    fn of(severity: Severity, code: &'static Code, message: String) -> Self {
        Self { severity, code, message, labels: Vec::new(), notes: Vec::new(), help: Vec::new() }
    }

    /// Marks where the fault lies. `text` may be empty.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// Marks a place the fault relates to.
    pub fn context(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds advice.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// The code's slug, `shape-mismatch` for one.
    pub fn slug(&self) -> &'static str {
        self.code.slug()
    }

    /// Whether this stops a compilation.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The first primary place, else the first place of any kind.
    pub fn span(&self) -> Option<Span> {
        self.labels.iter().find(|label| label.primary).or(self.labels.first()).map(|label| label.span)
    }
}
