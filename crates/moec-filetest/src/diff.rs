//! Line differences, for the eye.

/// The lines of both texts: those that only `expected` has behind `-`, those that only `found` has behind
/// `+`, and two common ones around each change.
pub fn line_diff(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let lines = script(&a, &b);
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        lines[from..(at + CONTEXT + 1).min(lines.len())].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut text = String::new();
    let mut skipped = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(at) {
            if std::mem::take(&mut skipped) && !text.is_empty() {
                text.push_str("    ..\n");
            }
            text.push_str(format!("  {mark} {line}").trim_end());
            text.push('\n');
        } else {
            skipped = true;
        }
    }
    text
}

const CONTEXT: usize = 2;

/// Texts whose differing middles have more pairs of lines than this are shown one after the other.
const MAX_PAIRS: usize = 1 << 22;

/// Every line of either text with its mark, by a longest common subsequence.
fn script<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<(char, &'a str)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (&a[head..], &b[head..]);
    let tail = a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a_mid, b_mid) = (&a_rest[..a_rest.len() - tail], &b_rest[..b_rest.len() - tail]);
    let mut lines: Vec<(char, &str)> = a[..head].iter().map(|line| (' ', *line)).collect();
    lines.extend(middle(a_mid, b_mid));
    lines.extend(a_rest[a_mid.len()..].iter().map(|line| (' ', *line)));
    lines
}

fn middle<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = b.len() + 1;
    // Length of the longest common subsequence of the rests from (i, j) on.
    let mut common = vec![0u32; if a.len() * b.len() > MAX_PAIRS { 0 } else { (a.len() + 1) * width }];
    if !common.is_empty() {
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                common[i * width + j] = if a[i] == b[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
    }
    let length = |i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] && !common.is_empty() {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || length(i + 1, j) >= length(i, j + 1)) {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_marked_with_their_surroundings() {
        let a = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let b = "1\n2\n3\n4\nfive\n6\n7\n9\n10\n";
        assert_eq!(line_diff(a, a), "");
        assert_eq!(line_diff("", "x\n"), "  + x\n");
        let expected = "    3\n    4\n  - 5\n  + five\n    6\n    7\n  - 8\n    9\n  + 10\n";
        assert_eq!(line_diff(a, b), expected);
        assert_eq!(
            line_diff("a\n1\n2\n3\n4\n5\n6\nb\n", "x\n1\n2\n3\n4\n5\n6\ny\n").matches("..").count(),
            1
        );
    }
}
