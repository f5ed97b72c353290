//! Where the lexer and the parser leave what they find, up to a limit.

use moec_diag::{Diagnostic, codes};

/// No more errors than this are kept for one text.
const MAX_ERRORS: usize = 100;

/// Findings of one text.
#[derive(Default)]
pub(crate) struct Sink {
    found: Vec<Diagnostic>,
}

impl Sink {
    /// Keeps a finding, unless the limit is reached.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.found.push(diagnostic);
        }
    }

    /// Whether the limit is reached and reading further is of no use.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_ERRORS
    }

    /// The findings in order of place.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| diagnostic.span());
        if self.is_full() {
            let message = format!("stopped after {MAX_ERRORS} errors");
            self.found.push(
                Diagnostic::error(&codes::TOO_MANY_ERRORS, message)
                    .help("cure the first ones: the rest may follow from them"),
            );
        }
        self.found
    }
}
