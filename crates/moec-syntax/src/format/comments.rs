//! The comments of a text, given out once each, by place.

use crate::ast::Comment;

pub(super) struct Comments<'a> {
    source: &'a str,
    all: &'a [Comment],
    taken: Vec<bool>,
}

impl<'a> Comments<'a> {
    pub(super) fn new(source: &'a str, all: &'a [Comment]) -> Self {
        Self { source, all, taken: vec![false; all.len()] }
    }

    /// The letters of a comment.
    pub(super) fn text(&self, comment: &Comment) -> &'a str {
        comment.span.slice(self.source)
    }

    /// Numbers of the comments that start in a range and are not taken.
    fn waiting(&self, from: u32, to: u32) -> impl Iterator<Item = usize> + '_ {
        let first = self.all.partition_point(|comment| comment.span.start < from);
        let last = self.all.partition_point(|comment| comment.span.start < to);
        (first..last).filter(|&number| !self.taken[number])
    }

    /// Whether comments that start in a range wait.
    pub(super) fn any(&self, from: u32, to: u32) -> bool {
        self.waiting(from, to).next().is_some()
    }

    /// Takes the comments that start in a range.
    pub(super) fn take(&mut self, from: u32, to: u32) -> Vec<Comment> {
        let numbers: Vec<_> = self.waiting(from, to).collect();
        numbers.iter().for_each(|&number| self.taken[number] = true);
        numbers.iter().map(|&number| self.all[number]).collect()
    }

    /// Takes the comment on the line of what ends at `end`, if only punctuation stands between them.
    pub(super) fn take_trailing(&mut self, end: u32) -> Option<Comment> {
        let number = self.waiting(end, u32::MAX).next()?;
        let between = self.source.get(end as usize..self.all[number].span.start as usize)?;
        if !between.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | ',')) {
            return None;
        }
        self.taken[number] = true;
        Some(self.all[number])
    }

    /// Whether a blank line stands in front of what starts at `start`.
    pub(super) fn blank_before(&self, start: u32) -> bool {
        let before = self.source.get(..start as usize).unwrap_or("");
        let blanks = &before[before.trim_end().len()..];
        blanks.matches('\n').count() >= 2
    }

    /// The end of the first `{` behind a place; no comment before it holds one that counts.
    pub(super) fn next_brace(&self, from: u32) -> u32 {
        let mut at = from;
        for number in self.waiting(from, u32::MAX).chain([self.all.len()]) {
            let to = self.all.get(number).map_or(self.source.len() as u32, |comment| comment.span.start);
            if let Some(brace) = self.source.get(at as usize..to as usize).and_then(|text| text.find('{')) {
                return at + brace as u32 + 1;
            }
            at = self.all.get(number).map_or(to, |comment| comment.span.end);
        }
        at
    }
}
