//! Rust source without its comments and literals, so that the checks look at code only. A lexer of
//! the least kind: it knows where comments, strings and characters end.

/// The text with everything inside comments, strings and characters blanked; lines stay where they
/// are.
pub(super) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or_default();
        let end = match c {
            '/' if next == '/' => find(&chars, at, |rest| rest.starts_with(&['\n'])),
            '/' if next == '*' => block_comment_end(&chars, at),
            '"' => string_end(&chars, at + 1),
            'r' | 'b' | 'c' if !code.ends_with(is_word) => raw_string_end(&chars, at).unwrap_or(at),
            '\'' if next == '\\' => find(&chars, at + 3, |rest| rest.starts_with(&['\''])) + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        if end == at {
            code.push(c);
            at += 1;
        } else {
            let end = end.min(chars.len());
            code.extend(chars.iter().take(end).skip(at).map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Whether the character may be part of a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where in `code` the word occurs as a whole.
pub(super) fn find_word(code: &str, word: &str) -> Option<usize> {
    code.match_indices(word).map(|(at, _)| at).find(|&at| {
        let before = code.get(..at).is_some_and(|text| text.ends_with(is_word));
        let after = code.get(at + word.len()..).is_some_and(|text| text.starts_with(is_word));
        !before && !after
    })
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| chars.get(at..).is_some_and(&is_end)).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while let Some(pair) = chars.get(at..at + 2) {
        match pair {
            ['/', '*'] => (depth, at) = (depth + 1, at + 2),
            ['*', '/'] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while let Some(&c) = chars.get(at) {
        match c {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The end of `r"..."`, `br#"..."#`, `b"..."` and the like, where one starts here.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let rest = chars.get(start..)?;
    let prefix = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = rest.get(..prefix)?.contains(&'r');
    let hashes = rest.iter().skip(prefix).take_while(|&&c| c == '#').count();
    let open = start + prefix + hashes;
    if chars.get(open) != Some(&'"') || prefix > 2 || (hashes > 0 && !raw) {
        return None;
    }
    if !raw {
        return Some(string_end(chars, open + 1));
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    Some(find(chars, open + 1, |rest| rest.starts_with(&close)) + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let cases = [
            ("a // unsafe\nb", "a \nb"),
            ("a /* x /* y */ z */ b", "a b"),
            ("f(\"un\\\"safe\", 1)", "f( , 1)"),
            ("r#\"a \" b\"# + c", " + c"),
            ("b\"x\\\"\" br\"y\" z", " z"),
            ("'\"' '\\'' 'a 'b' &'static str", " 'a &'static str"),
            ("var\"x\"", "var "),
            ("\"a\nb\"", " \n "),
        ];
        for (text, expected) in cases {
            let code = code_only(text);
            assert_eq!(code.chars().count(), text.chars().count(), "{text}");
            let mut squeezed: Vec<char> = code.chars().collect();
            squeezed.dedup_by(|a, b| *a == ' ' && *b == ' ');
            assert_eq!(squeezed.iter().collect::<String>(), expected, "{text}");
        }
    }

    #[test]
    fn words_are_found_whole() {
        assert_eq!(find_word("unsafe_code unsafe {", "unsafe"), Some(12));
        assert_eq!(find_word("not_unsafe", "unsafe"), None);
    }
}
