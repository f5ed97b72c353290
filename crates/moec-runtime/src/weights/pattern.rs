//! Names of the tensors of a stack: `"layers.{0}.experts.{1:03}.w1"`. Owns the syntax of holes;
//! looks at no file.

use std::fmt::Write;

/// A name with holes, one per axis of the stack; a hole may occur more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The index on `axis`, with zeros in front up to `width` digits.
    Hole {
        axis: usize,
        width: usize,
    },
}

/// The pattern does not fit its stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tensor name pattern \"{pattern}\": {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl StackPattern {
    /// Reads a pattern for a stack of so many axes. Every axis must have a hole: without one, a
    /// tensor would occur twice.
    pub fn parse(pattern: &str, axes: usize) -> Result<StackPattern, PatternError> {
        let fail = |reason: String| PatternError { pattern: pattern.to_owned(), reason };
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            let (hole, after) = after.split_once('}').ok_or_else(|| fail("`{` without `}`".to_owned()))?;
            let (axis, width) = hole.split_once(':').unwrap_or((hole, "0"));
            let axis: usize =
                axis.parse().map_err(|_| fail(format!("`{{{hole}}}` is no hole like `{{0}}`")))?;
            let width: usize = width.parse().ok().filter(|width| *width <= 20).ok_or_else(|| {
                fail(format!("`{{{hole}}}` has no width like `{{0:03}}`, 20 digits at most"))
            })?;
            if axis >= axes {
                return Err(fail(format!("hole `{{{hole}}}`, but the stack has {axes} axes")));
            }
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Hole { axis, width });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let filled =
            |axis: usize| pieces.iter().any(|p| matches!(p, Piece::Hole { axis: a, .. } if *a == axis));
        match (0..axes).find(|&axis| !filled(axis)) {
            Some(axis) => Err(fail(format!("no hole `{{{axis}}}` for axis {axis} of the stack"))),
            None => Ok(StackPattern { pieces }),
        }
    }

    /// How many axes the holes of a pattern speak of: one more than the highest.
    pub fn axes(pattern: &str) -> usize {
        let holes = pattern.split('{').skip(1).filter_map(|hole| hole.split(['}', ':']).next());
        holes
            .filter_map(|axis| axis.parse::<usize>().ok())
            .map(|axis| axis.saturating_add(1))
            .max()
            .unwrap_or(0)
    }

    /// The name at an index, which has one number per axis.
    pub fn name(&self, index: &[u64]) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Hole { axis, width } => {
                    let number = index.get(*axis).copied().unwrap_or(0);
                    // Writing to a string cannot fail.
                    let _ = write!(name, "{number:0width$}");
                }
            }
        }
        name
    }

    /// The names of a stack with these lengths of its axes, row-major.
    pub fn names(&self, counts: &[u64]) -> impl Iterator<Item = String> {
        let mut index = (!counts.contains(&0)).then(|| vec![0; counts.len()]);
        std::iter::from_fn(move || {
            let current = index.take()?;
            let name = self.name(&current);
            index = next_index(current, counts);
            Some(name)
        })
    }
}

/// The row-major successor of an index.
fn next_index(mut index: Vec<u64>, counts: &[u64]) -> Option<Vec<u64>> {
    for (digit, count) in index.iter_mut().zip(counts).rev() {
        *digit += 1;
        if *digit < *count {
            return Some(index);
        }
        *digit = 0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, counts: &[u64]) -> Vec<String> {
        StackPattern::parse(pattern, counts.len()).unwrap().names(counts).collect()
    }

    #[test]
    fn holes_count_row_major() {
        assert_eq!(names("gate", &[]), ["gate"]);
        assert_eq!(names("e.{0}.w", &[2]), ["e.0.w", "e.1.w"]);
        assert_eq!(names("e.{1:03}.g{0}", &[2, 2]), ["e.000.g0", "e.001.g0", "e.000.g1", "e.001.g1"]);
        assert_eq!(names("{0}/{0}", &[1]), ["0/0"]);
        assert_eq!(names("e.{0}.{1}", &[3, 0]), Vec::<String>::new());
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        let error = |pattern, axes| StackPattern::parse(pattern, axes).unwrap_err().to_string();
        assert_eq!(error("e.{0", 1), "tensor name pattern \"e.{0\": `{` without `}`");
        assert_eq!(error("e.{E}", 1), "tensor name pattern \"e.{E}\": `{E}` is no hole like `{0}`");
        assert_eq!(
            error("e.{0:x}", 1),
            "tensor name pattern \"e.{0:x}\": `{0:x}` has no width like `{0:03}`, 20 digits at most"
        );
        assert_eq!(error("e.{1}", 1), "tensor name pattern \"e.{1}\": hole `{1}`, but the stack has 1 axes");
        assert_eq!(error("e", 1), "tensor name pattern \"e\": no hole `{0}` for axis 0 of the stack");
    }
}
