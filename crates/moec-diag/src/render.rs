//! How a diagnostic looks on a terminal. The only user of `annotate-snippets`.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{Diagnostic, Severity, SourceFile, Span};

/// Messages quote the text, which may be long: no more than this of one is shown.
const MOST_CHARACTERS: usize = 600;

/// A line longer than this shows the first of its labels only, and no more of that than fits.
const LONG_LINE: usize = 2_000;

/// `text` with its middle left out, if it is long.
fn shortened(text: &str) -> Cow<'_, str> {
    let count = text.chars().count();
    if count <= MOST_CHARACTERS {
        return Cow::Borrowed(text);
    }
    let head: String = text.chars().take(MOST_CHARACTERS / 2).collect();
    let tail: String = text.chars().skip(count - MOST_CHARACTERS / 2).collect();
    Cow::Owned(format!("{head}..{tail}"))
}

/// The text of one diagnostic: head line, marked source lines, notes, help. Ends without a newline.
/// `width` is the number of columns to keep to where source lines must be cut.
pub fn render(diagnostic: &Diagnostic, file: &SourceFile, color: bool, width: usize) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = shortened(&diagnostic.message);
    let mut group = Group::with_title(level.primary_title(message).id(diagnostic.slug()));
    if let Some(window) = window(diagnostic, &file.text) {
        // Line ends of Windows become blanks, which take the same room and are not seen.
        let lines = file.text[window.clone()].replace('\r', " ");
        let long = lines.lines().any(|line| line.len() > LONG_LINE);
        let shown = diagnostic.labels.iter().take(if long { 1 } else { usize::MAX });
        let annotations = shown.map(|label| {
            let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let mut span = label.span;
            if long {
                span.end = span.end.min(span.start.saturating_add(width as u32 / 2));
            }
            let place = clamp(span, &file.text);
            kind.span(place.start - window.start..place.end - window.start).label(shortened(&label.text))
        });
        let line = file.text[..window.start].matches('\n').count() + 1;
        let snippet = Snippet::source(lines).line_start(line).path(file.name.as_str());
        group = group.element(snippet.annotations(annotations));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(shortened(note)));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(shortened(help)));
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
