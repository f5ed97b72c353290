//! Examples in Markdown pages, so that tests can hold pages and the texts of codes to what they say.

use crate::Severity;

/// A fenced block marked `moe`, `moe error: SLUG` or `moe warning: SLUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// The finding it promises; a block marked `moe` alone promises none.
    pub expected: Option<(Severity, &'a str)>,
    /// What stands between the fences.
    pub text: &'a str,
    /// The line of the opening fence, from 1.
    pub line: usize,
}

/// What the mark of a fence says about its block.
#[derive(Clone, Copy)]
enum Mark<'a> {
    /// Some other text.
    Other,
    /// Legal, or with this finding.
    Moe(Option<(Severity, &'a str)>),
}

impl<'a> Mark<'a> {
    fn read(mark: &'a str) -> Self {
        let Some(rest) = mark.strip_prefix("moe").map(str::trim_start) else { return Mark::Other };
        if let Some(slug) = rest.strip_prefix("error:") {
            Mark::Moe(Some((Severity::Error, slug.trim())))
        } else if let Some(slug) = rest.strip_prefix("warning:") {
            Mark::Moe(Some((Severity::Warning, slug.trim())))
        } else if rest.is_empty() {
            Mark::Moe(None)
        } else {
            Mark::Other
        }
    }
}

/// The examples of a page, in order.
pub fn examples(markdown: &str) -> Vec<Example<'_>> {
    let mut examples = Vec::new();
    // The opening fence that waits for its closing one: its mark, its line, where its text starts.
    let mut open: Option<(Mark<'_>, usize, usize)> = None;
    let mut offset = 0;
    for (number, line) in markdown.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += line.len();
        let Some(mark) = line.trim_end().strip_prefix("```") else { continue };
        match open.take() {
            None => open = Some((Mark::read(mark.trim()), number + 1, offset)),
            Some((Mark::Moe(expected), line, from)) => {
                examples.push(Example { expected, text: &markdown[from..start], line });
            }
            Some((Mark::Other, ..)) => {}
        }
    }
    examples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_what_they_promise() {
        let page = "a\n```\nx\n```\n```moe\nb\n```\n```moe error: too-deep\nc\n```\n```moex\n```\n";
        let found = examples(page);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Example { expected: None, text: "b\n", line: 5 });
        assert_eq!(found[1], Example { expected: Some((Severity::Error, "too-deep")), text: "c\n", line: 8 });
    }
}
