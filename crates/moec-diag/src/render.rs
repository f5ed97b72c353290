//! How a diagnostic looks on a terminal. The only user of `annotate-snippets`.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{Diagnostic, Severity, SourceFile, Span};

/// The text of one diagnostic: head line, marked source lines, notes, help. Ends without a newline.
/// `width` is the number of columns to keep to where source lines must be cut.
pub fn render(diagnostic: &Diagnostic, file: &SourceFile, color: bool, width: usize) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.slug()));
    if let Some(window) = window(diagnostic, &file.text) {
        let annotations = diagnostic.labels.iter().map(|label| {
            let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let place = clamp(label.span, &file.text);
            kind.span(place.start - window.start..place.end - window.start).label(label.text.as_str())
        });
        let line = file.text[..window.start].matches('\n').count() + 1;
        let snippet = Snippet::source(&file.text[window.clone()]).line_start(line).path(file.name.as_str());
        group = group.element(snippet.annotations(annotations));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.term_width(width).render(&[group])
}

/// The lines that hold all labels: the library reads every line it is given, and a text may be long.
fn window(diagnostic: &Diagnostic, text: &str) -> Option<Range<usize>> {
    let places = || diagnostic.labels.iter().map(|label| clamp(label.span, text));
    let first = places().map(|place| place.start).min()?;
    let last = places().map(|place| place.end).max()?;
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
    Some(start..end)
}

/// The span cut to the text and moved outwards to character borders, which the library insists on.
fn clamp(span: Span, text: &str) -> Range<usize> {
    let mut start = (span.start as usize).min(text.len());
    let mut end = (span.end as usize).clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
