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

/// The examples of a page, in order.
pub fn examples(markdown: &str) -> Vec<Example<'_>> {
    let mut examples = Vec::new();
    // The opening fence that waits for its closing one: what it expects, its line, where its text starts.
    let mut open: Option<(Option<Option<(Severity, &str)>>, usize, usize)> = None;
    let mut offset = 0;
    for (number, line) in markdown.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += line.len();
        let Some(mark) = line.trim_end().strip_prefix("```") else { continue };
        match open.take() {
            None => open = Some((expectation(mark.trim()), number + 1, offset)),
            Some((Some(expected), line, from)) => {
                examples.push(Example { expected, text: &markdown[from..start], line })
            }
            Some((None, ..)) => {}
        }
    }
    examples
}

/// What the mark of a fence promises; `None` if the block is no example.
fn expectation(mark: &str) -> Option<Option<(Severity, &str)>> {
    let rest = mark.strip_prefix("moe")?.trim_start();
    if rest.is_empty() {
        return Some(None);
    }
    let (severity, slug) = match rest.strip_prefix("error:") {
        Some(slug) => (Severity::Error, slug),
        None => (Severity::Warning, rest.strip_prefix("warning:")?),
    };
    Some(Some((severity, slug.trim())))
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
