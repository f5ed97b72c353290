//! `error:` and `warning:` directives against the diagnostics that a file gives.

use moec_diag::{Diagnostic, Severity, SourceFile};

/// A finding that the file announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The line it speaks of, from 1.
    line: usize,
    severity: Severity,
    slug: String,
    /// What the message must contain.
    text: String,
}

const MARKS: [(&str, Severity); 2] = [("// error: [", Severity::Error), ("// warning: [", Severity::Warning)];

/// Every directive of the file.
pub(crate) fn announced(program: &str) -> Result<Vec<Announced>, String> {
    let mut found = Vec::new();
    // Those alone on their line wait for the line they speak of.
    let mut waiting: Vec<Announced> = Vec::new();
    for (number, line) in (1..).zip(program.lines()) {
        let mut here = directives(line, number)?;
        let alone = line.trim_start().starts_with("//");
        if alone && !here.is_empty() {
            waiting.append(&mut here);
        } else if !alone {
            waiting.iter_mut().for_each(|directive| directive.line = number);
            found.append(&mut waiting);
        }
        found.append(&mut here);
    }
    found.append(&mut waiting);
    Ok(found)
}

fn directives(line: &str, number: usize) -> Result<Vec<Announced>, String> {
    let starts = MARKS.iter().flat_map(|(mark, severity)| {
        line.match_indices(mark).map(|(at, _)| (at, at + mark.len(), *severity))
    });
    let mut starts: Vec<(usize, usize, Severity)> = starts.collect();
    starts.sort_by_key(|start| start.0);
    let ends = starts.iter().skip(1).map(|next| next.0).chain([line.len()]);
    let read = |(&(_, start, severity), end): (&(usize, usize, Severity), usize)| {
        let (slug, text) = line[start..end]
            .split_once(']')
            .ok_or_else(|| format!("line {number}: a directive needs `]` after its slug"))?;
        Ok(Announced { line: number, severity, slug: slug.to_owned(), text: text.trim().to_owned() })
    };
    starts.iter().zip(ends).map(read).collect()
}

impl Announced {
    fn matches(&self, diagnostic: &Diagnostic, file: &SourceFile) -> bool {
        let line = diagnostic.span().map_or(self.line, |span| file.line_column(span.start).0);
        line == self.line
            && diagnostic.severity == self.severity
            && diagnostic.slug() == self.slug
            && said(diagnostic).any(|text| text.contains(&self.text))
    }

    fn show(&self, file: &SourceFile) -> String {
        let text = if self.text.is_empty() { String::new() } else { format!(" {}", self.text) };
        format!("{}:{}: {}: [{}]{text}", file.name, self.line, kind(self.severity), self.slug)
    }
}

/// Everything that a diagnostic says.
fn said(diagnostic: &Diagnostic) -> impl Iterator<Item = &str> {
    let labels = diagnostic.labels.iter().map(|label| label.text.as_str());
    let more = diagnostic.notes.iter().chain(&diagnostic.help).map(String::as_str);
    std::iter::once(diagnostic.message.as_str()).chain(labels).chain(more)
}

fn kind(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn show(diagnostic: &Diagnostic, file: &SourceFile) -> String {
    let (line, column) = diagnostic.span().map_or((1, 1), |span| file.line_column(span.start));
    let (kind, slug) = (kind(diagnostic.severity), diagnostic.slug());
    format!("{}:{line}:{column}: {kind}: [{slug}] {}", file.name, diagnostic.message)
}

/// What was announced and not found, and what was found and not announced.
pub(crate) fn compare(announced: &[Announced], diagnostics: &[Diagnostic], file: &SourceFile) -> Vec<String> {
    let mut open: Vec<&Diagnostic> = diagnostics.iter().collect();
    let mut failures = Vec::new();
    for directive in announced {
        match open.iter().position(|diagnostic| directive.matches(diagnostic, file)) {
            Some(at) => drop(open.remove(at)),
            None => failures.push(format!("announced, not found: {}", directive.show(file))),
        }
    }
    failures.extend(
        open.into_iter().map(|diagnostic| format!("found, not announced: {}", show(diagnostic, file))),
    );
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use moec_diag::{Span, codes};

    #[test]
    fn directives_speak_of_their_line_or_the_next() {
        let text = "a // error: [x] one // warning: [y] two\n// error: [z]\n// why\nb\n";
        let found = announced(text).unwrap();
        let shown: Vec<_> = found.iter().map(|d| (d.line, d.slug.as_str(), d.text.as_str())).collect();
        assert_eq!(shown, [(1, "x", "one"), (1, "y", "two"), (4, "z", "")]);
        assert!(announced("// error: [x\n").is_err());
    }

    #[test]
    fn differences_are_reported_both_ways() {
        let file = SourceFile::new("a.moe", "aa\nbb\n");
        let found = [Diagnostic::error(&codes::SHAPE_MISMATCH, "no product").label(Span::new(3, 4), "b")];
        let good = announced("aa\nbb // error: [shape-mismatch] product\n").unwrap();
        assert!(compare(&good, &found, &file).is_empty());
        let bad = announced("aa // error: [shape-mismatch]\nbb\n").unwrap();
        assert_eq!(
            compare(&bad, &found, &file),
            [
                "announced, not found: a.moe:1: error: [shape-mismatch]",
                "found, not announced: a.moe:2:1: error: [shape-mismatch] no product"
            ]
        );
    }
}
