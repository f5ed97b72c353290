//! The table of laws in `ir-specs/rules/README.md`: every rule stands in exactly one line, beside its
//! page, and a line without rules names a test of who does the work instead.

use std::collections::BTreeMap;

use super::root;
use crate::rules::RULES;

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_rule_stands_in_one_line_of_the_laws() {
    let page = std::fs::read_to_string(root().join("ir-specs/rules/README.md")).unwrap();
    let (_, table) = page.split_once("| law |").unwrap();
    let family_of: BTreeMap<&str, &str> =
        (RULES.iter()).flat_map(|family| family.rules.iter().map(|rule| (rule.name, family.name))).collect();
    let mut lines_of: BTreeMap<&str, usize> = family_of.keys().map(|&name| (name, 0)).collect();
    for line in table.lines().skip(2).filter(|line| line.starts_with('|')) {
        let (_, who) = line[1..].split_once(" | ").unwrap_or_else(|| panic!("{line}"));
        let mut rules = 0;
        for name in quoted(who) {
            if let Some(lines) = lines_of.get_mut(name) {
                *lines += 1;
                rules += 1;
                let page = format!("({}.md)", family_of[name]);
                assert!(who.contains(&page), "{name} is on the page {page}, which its line lacks");
            }
        }
        let tests = quoted(who);
        let is_test = |pair: &[&str]| {
            let text = std::fs::read_to_string(root().join(pair[1])).unwrap_or_default();
            text.contains(&format!("fn {}()", pair[0]))
        };
        assert!(rules > 0 || tests.windows(2).any(is_test), "neither a rule nor a test: {line}");
    }
    let wrong: Vec<_> = lines_of.iter().filter(|(_, lines)| **lines != 1).collect();
    assert!(wrong.is_empty(), "every rule stands in one line, and these in so many: {wrong:?}");
}
