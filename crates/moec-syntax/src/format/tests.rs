//! Formatting keeps the tree and the comments, and does nothing the second time, however the text was laid out.

use std::fs;
use std::path::PathBuf;

use super::format;
use crate::layout::lay_out;
use crate::sink::Sink;
use crate::token::{Token, TokenKind};
use crate::{PRELUDE, outline, parse};

fn programs() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut programs: Vec<_> = paths.map(|path| fs::read_to_string(path).unwrap()).collect();
    programs.push(PRELUDE.to_owned());
    programs.push(include_str!("tests/odd.moe").to_owned());
    programs.sort();
    programs
}

/// Formats, checks what must hold for any text, and gives the result.
#[track_caller]
fn checked(text: &str) -> String {
    let (before, found) = parse(text);
    assert!(found.is_empty(), "{text}\n{found:#?}");
    let formatted = format(text).unwrap();
    let (after, found) = parse(&formatted);
    assert!(found.is_empty(), "{text}\n{formatted}\n{found:#?}");
    assert_eq!(outline(&after), outline(&before), "\n{text}\n{formatted}");
    let comments = |file: &crate::ast::File, text: &str| {
        let mut comments: Vec<_> =
            file.comments.iter().map(|comment| comment.span.slice(text).to_owned()).collect();
        comments.sort();
        comments
    };
    assert_eq!(comments(&after, &formatted), comments(&before, text), "\n{text}\n{formatted}");
    assert_eq!(format(&formatted).unwrap(), formatted, "\n{text}");
    assert!(formatted.lines().all(|line| line.trim_end() == line), "{formatted}");
    assert!(
        !formatted.contains("\n\n\n") && !formatted.contains("{\n\n") && !formatted.contains("\n\n}"),
        "{formatted}"
    );
    assert!(
        formatted.ends_with('\n') && !formatted.ends_with("\n\n") && !formatted.starts_with('\n'),
        "{formatted}"
    );
    formatted
}

/// A fixed sequence that looks random: xorshift.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What may change between two layouts of the same tokens.
struct Freedom {
    comments: bool,
    blank_lines: bool,
    /// Appended to every name.
    suffix: &'static str,
}

/// The tokens of a text laid out at random; its own comments are left out.
fn scattered(text: &str, noise: &mut Noise, freedom: &Freedom) -> String {
    let tokens = lay_out(text, &mut Sink::default()).tokens;
    let mut out = String::new();
    let mut number = 0;
    let mut comment = |noise: &mut Noise, out: &mut String, chance: usize| {
        if freedom.comments && noise.below(chance) == 0 {
            number += 1;
            *out += &format!(" // {number}");
            return true;
        }
        false
    };
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map(|before| tokens[before]);
        if token.breaks || before.is_some_and(|before| may_break(before, *token) && noise.below(4) == 0) {
            out += &" ".repeat(noise.below(2));
            comment(noise, &mut out, 6);
            out.push('\n');
            while noise.below(4) == 0 {
                if comment(noise, &mut out, 2) || freedom.blank_lines {
                    out.push('\n');
                }
            }
            out += &" ".repeat(noise.below(9));
        } else if before.is_some_and(|before| {
            is_word(before.kind) == is_word(token.kind)
                && !before.kind.is_closer()
                && token.kind.closer().is_none()
        }) {
            out += &" ".repeat(1 + noise.below(2));
        } else {
            out += &" ".repeat(noise.below(3));
        }
        let word = token.span.slice(text);
        out += word;
        let is_kept =
            ["T", "floor", "partition", "by", "sum", "mean", "max", "min", "any", "all", "map", "concat"];
        if matches!(token.kind, TokenKind::Name | TokenKind::DimName) && !is_kept.contains(&word) {
            out += freedom.suffix;
        }
    }
    out
}

fn is_word(kind: TokenKind) -> bool {
    use TokenKind::*;
    kind.is_keyword() || matches!(kind, Name | DimName | Number | Text)
}

fn may_break(before: Token, after: Token) -> bool {
    use TokenKind::*;
    let opens = matches!(before.kind, LeftParen | LeftBracket);
    (before.kind.continues_after()
        || opens
        || after.kind.continues_before()
        || matches!(after.kind, RightParen | RightBracket))
        && !(matches!(after.kind, Minus) && !opens && !before.kind.continues_after())
}

#[test]
fn any_layout_of_any_program_keeps_tree_and_comments() {
    let mut noise = Noise(0x2545_F491_4F6C_DD1D);
    for text in programs() {
        checked(&text);
        for round in 0..60 {
            let suffix = ["", "_long", "_of_considerable_length"][round % 3];
            checked(&scattered(&text, &mut noise, &Freedom { comments: true, blank_lines: true, suffix }));
        }
    }
}

#[test]
fn layout_without_comments_leaves_no_trace() {
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for text in programs() {
        for suffix in ["", "_long", "_of_considerable_length"] {
            let freedom = Freedom { comments: false, blank_lines: false, suffix };
            let first = checked(&scattered(&text, &mut noise, &freedom));
            for _ in 0..20 {
                let other = scattered(&text, &mut noise, &freedom);
                assert_eq!(checked(&other), first, "\n{other}");
            }
        }
    }
}

#[test]
fn programs_of_the_tree_are_formatted() {
    for text in programs().iter().filter(|text| !text.contains("// odd")) {
        assert_eq!(&format(text).unwrap(), text);
    }
}

#[test]
fn odd_program_is_formatted_as_shown() {
    assert_eq!(checked(include_str!("tests/odd.moe")), include_str!("tests/odd.expected.moe"));
}

#[test]
fn faulty_text_is_refused() {
    let found = format("model m {\n    let a = p where m\n}\n").unwrap_err();
    assert_eq!(found.iter().map(moec_diag::Diagnostic::slug).collect::<Vec<_>>(), ["missing-else"]);
    assert_eq!(format("").unwrap(), "");
    assert_eq!(format("\n// only\n\n\n// comments").unwrap(), "// only\n\n// comments\n");
}

#[test]
fn deep_and_long_texts_are_formatted() {
    let name = "a_rather_long_name_of_a_value";
    for (open, close) in [
        (format!("f({name}, {name}, "), ")"),
        (format!("({name} + "), ")"),
        (format!("sum e over E {{ {name} * "), " }"),
        (format!("w[E = {name}, P = "), "]"),
        ("-(".to_owned(), ")"),
        ("[".to_owned(), "]"),
        ("sum e over E { // why\n let a = b\n".to_owned(), "\n}"),
    ] {
        let text = format!("fn f() -> f32 {{ {}x{} }}\n", open.repeat(120), close.repeat(120));
        checked(&text);
    }
    let line = format!("    let a = {name} + {name} * {name} + {name} / {name} // why\n    // and so\n\n");
    let text = format!("model m {{\n{}}}\n", line.repeat(20_000));
    let start = std::time::Instant::now();
    checked(&text);
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}
