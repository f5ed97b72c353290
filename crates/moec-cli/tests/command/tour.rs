//! `docs/tour.md`, command by command: blocks marked `console` are run in a folder, blocks marked
//! `diff OLD NEW` make a file of another.

use crate::moec::{Folder, root};

/// The blocks of a page: what is marked, and the text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, from)) = rest.split_once("\n```") {
        let (mark, body) = from.split_once('\n').unwrap();
        let (text, after) = body.split_once("\n```\n").unwrap();
        blocks.push((mark, text));
        rest = after;
    }
    blocks
}

/// Whether lines are those of a pattern: `[..]` stands for any part of a line, `[...]` for any lines.
fn matches(pattern: &[&str], lines: &[&str]) -> bool {
    match (pattern, lines) {
        ([], lines) => lines.is_empty(),
        (["[...]", rest @ ..], lines) => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..])),
        ([first, pattern @ ..], [line, lines @ ..]) => like(first, line) && matches(pattern, lines),
        (_, []) => false,
    }
}

fn like(pattern: &str, line: &str) -> bool {
    match pattern.split_once("[..]") {
        None => pattern == line,
        Some((head, tail)) => {
            let Some(line) = line.strip_prefix(head) else { return false };
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.into_iter().any(|at| like(tail, &line[at..]))
        }
    }
}

#[test]
fn every_command_prints_what_the_page_shows() {
    let page = std::fs::read_to_string(root().join("docs/tour.md")).unwrap();
    let folder = Folder::new();
    let golden = root().join("tests/golden/qwen2_moe");
    std::fs::create_dir(folder.path("qwen2_moe")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden.join(name), folder.path("qwen2_moe").join(name)).unwrap();
    }
    let mut commands = 0;
    for (mark, text) in blocks(&page) {
        match mark.split(' ').collect::<Vec<_>>()[..] {
            ["console"] => {
                let (command, shown) = text.split_once('\n').unwrap_or((text, ""));
                let words: Vec<&str> = command.strip_prefix("$ ").unwrap().split(' ').collect();
                let found = match words[..] {
                    ["cat", name] => folder.read(name),
                    ["moec", ref arguments @ ..] => folder.moec(arguments).all_streams(),
                    _ => panic!("the page runs `{command}`"),
                };
                let [shown, found] = [shown, &found].map(|text| text.lines().collect::<Vec<_>>());
                assert!(matches(&shown, &found), "`{command}` prints\n{}", found.join("\n"));
                commands += 1;
            }
            ["diff", old, new] => {
                let (removed, added) = text.split_once('\n').unwrap();
                let [removed, added] =
                    [(removed, '-'), (added, '+')].map(|(line, sign)| line.strip_prefix(sign).unwrap());
                let before = folder.read(old);
                assert_eq!(before.matches(removed).count(), 1, "{removed}");
                folder.write(new, before.replace(removed, added));
            }
            _ => panic!("a block of `{mark}`"),
        }
    }
    assert!(commands >= 8, "{commands}");
}

#[test]
fn patterns_match_what_they_say() {
    assert!(like("a [..] c", "a b c") && !like("a [..] c", "a b d"));
    assert!(matches(&["a", "[...]", "z"], &["a", "b", "c", "z"]));
    assert!(matches(&["a", "[...]"], &["a"]));
    assert!(!matches(&["a", "z"], &["a", "b", "z"]) && !matches(&["a"], &["a", "b"]));
}
