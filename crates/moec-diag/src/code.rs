//! What a diagnostic code is, and how to find one by its slug.

use std::fmt;

use crate::codes::FAMILIES;

/// A kind of finding: its slug, its one-line title, and the long text that `moec explain` prints.
///
/// Made only by the `codes!` lists of this crate, so that every code is in the registry.
#[derive(PartialEq, Eq)]
pub struct Code {
    slug: &'static str,
    title: &'static str,
    text: &'static str,
}

impl Code {
    pub(crate) const fn new(slug: &'static str, title: &'static str, text: &'static str) -> Self {
        Self { slug, title, text }
    }

    /// The name printed in brackets: lower-case words joined by hyphens.
    pub fn slug(&self) -> &'static str {
        self.slug
    }

    /// One line, without a full stop.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Markdown: what it means, a wrong example, the cure. A block marked `moe error: SLUG` gives that error.
    pub fn text(&self) -> &'static str {
        self.text
    }
}

impl fmt::Debug for Code {
    /// The slug alone: the long text says nothing new about a diagnostic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({})", self.slug)
    }
}

/// The families of codes: `syntax`, `names`, `dims`, .. with their codes.
pub fn families() -> impl Iterator<Item = (&'static str, &'static [&'static Code])> {
    FAMILIES.iter().copied()
}

/// Every code, family by family.
pub fn all() -> impl Iterator<Item = &'static Code> {
    families().flat_map(|(_, family)| family.iter().copied())
}

/// The code with exactly this slug.
pub fn lookup(slug: &str) -> Option<&'static Code> {
    all().find(|code| code.slug == slug)
}

/// The word of `candidates` that a reader who typed `word` most likely meant, if one is near enough: at most a third
/// of its letters differ. The first of equals wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let distance = edit_distance(word, candidate);
        if distance <= allowed && distance > 0 && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_well_formed() {
        let mut slugs: Vec<_> = all().map(Code::slug).collect();
        let count = slugs.len();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), count);
        for code in all() {
            assert!(code.slug.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", code.slug);
            assert!(!code.title.ends_with('.') && !code.title.contains('\n'), "{}", code.slug);
            assert!(code.text.len() > 60 && code.text.ends_with('\n'), "{} has no long text", code.slug);
        }
    }

    #[test]
    fn near_misses_are_found() {
        assert_eq!(nearest("shape-missmatch", all().map(Code::slug)), Some("shape-mismatch"));
        assert_eq!(nearest("routre", ["router", "route"]), Some("router"));
        assert_eq!(nearest("x", ["router"]), None);
        assert_eq!(lookup("shape-mismatch").map(Code::slug), Some("shape-mismatch"));
        assert_eq!(lookup("nonsense"), None);
    }
}
