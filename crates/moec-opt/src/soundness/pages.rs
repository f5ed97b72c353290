//! The pages in `ir-specs/rules`: every rule has a section with what it fires on, what that becomes
//! (`MOEC_BLESS=1` writes it), and what it must leave alone; and the examples are evaluated.
//!
//! A section begins with `## name`. Its code blocks are named `moir fires`, `moir becomes` (one
//! after each `fires`) and `moir stays`. In each the rule is tried on what defines the output, and on
//! the plan that this uses.

use std::collections::BTreeMap;

use egg::Id;
use moec_interp::{Value, generate, run};
use moec_ir::{Module, Sizes, print, read};

use super::evaluate::agree;
use super::root;
use crate::encode::{Choice, decode, encode};
use crate::facts::{Graph, attrs_of};
use crate::options::Numerics;
use crate::rules::{RULES, Rule};
use crate::term::{Term, TermKind, View};

/// A code block: its rule, its name and its text, with the place of the text in the page.
struct Block {
    rule: String,
    name: String,
    text: std::ops::Range<usize>,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut found, mut rule, mut at) = (Vec::new(), String::new(), 0);
    let mut open: Option<(String, usize)> = None;
    for line in page.split_inclusive('\n') {
        let next = at + line.len();
        if let Some((name, start)) = &open {
            if line.trim_end() == "```" {
                found.push(Block { rule: rule.clone(), name: name.clone(), text: *start..at });
                open = None;
            }
        } else if let Some(name) = line.strip_prefix("## ") {
            rule = name.trim().to_string();
        } else if let Some(name) = line.strip_prefix("```moir ") {
            open = Some((name.trim().to_string(), next));
        }
        at = next;
    }
    found
}

/// What the rule makes of the definition of the first output, or else of the first value that it
/// needs and that the rule fires on; nothing if it does not fire.
pub(super) fn rewritten(rule: &Rule, module: &Module) -> Option<Module> {
    let encoded = encode(module);
    let graph = &encoded.graph;
    let view = View { graph };
    let (mut needed, mut next) = (vec![encoded.values[module.outputs[0].value.index()]], 0);
    while let Some(&class) = needed.get(next) {
        for arg in view.all(class).flat_map(|node| node.args()) {
            if !needed.contains(arg) {
                needed.push(*arg);
            }
        }
        next += 1;
    }
    let (class, term) = needed.into_iter().find_map(|class| {
        let nodes = rule.roots.iter().flat_map(|&op| view.nodes(class, op).collect::<Vec<_>>());
        let term = nodes.into_iter().find_map(|found| (rule.rewrite)(view, found).into_iter().next());
        term.map(|term| (class, term))
    })?;
    let mut writer = Choices { graph, choices: Vec::new(), classes: BTreeMap::new() };
    let new = writer.term(&term);
    writer.classes.insert(graph.find(class), new);
    let outputs: Vec<usize> =
        module.outputs.iter().map(|output| writer.class(encoded.values[output.value.index()])).collect();
    let (module, _) = decode(module, &writer.choices, &outputs).unwrap();
    Some(module)
}

struct Choices<'a> {
    graph: &'a Graph,
    choices: Vec<Choice>,
    classes: BTreeMap<Id, usize>,
}

impl Choices<'_> {
    fn push(&mut self, choice: Choice) -> usize {
        self.choices.iter().position(|c| *c == choice).unwrap_or_else(|| {
            self.choices.push(choice);
            self.choices.len() - 1
        })
    }

    fn term(&mut self, term: &Term) -> usize {
        match &term.kind {
            TermKind::Class(id) => self.class(*id),
            TermKind::Op(op, args, attrs) => {
                let args = args.iter().map(|arg| self.term(arg)).collect();
                self.push(Choice { op: *op, args, attrs: attrs.clone() })
            }
        }
    }

    fn class(&mut self, id: Id) -> usize {
        let id = self.graph.find(id);
        if let Some(&at) = self.classes.get(&id) {
            return at;
        }
        let node = &self.graph[id].nodes[0];
        let op = node.op().unwrap();
        let args = node.args().iter().map(|&arg| self.class(arg)).collect();
        let at = self.push(Choice { op, args, attrs: attrs_of(self.graph, op, node) });
        self.classes.insert(id, at);
        at
    }
}

/// Both sides agree on random data: exactly, unless the class allows another order.
pub(super) fn evaluate(rule: &Rule, before: &Module, after: &Module) -> Result<(), String> {
    for (tokens, seed) in [(5, 1), (1, 2), (7, 3)] {
        let sizes: Sizes = [("T".into(), tokens)].into();
        let inputs = generate::inputs(before, &sizes, seed).unwrap();
        let a = run(before, &sizes, &inputs).unwrap();
        let b = run(after, &sizes, &inputs).map_err(|error| format!("{}: {error}", rule.name))?;
        for ((_, a), (_, b)) in a.into_iter().zip(b) {
            let same = match rule.numerics {
                Numerics::Bit | Numerics::Finite => a == b,
                _ => agree(&Value::from(a), &Value::from(b)),
            };
            if !same {
                return Err(format!("{}: values differ\n{}", rule.name, print(after)));
            }
        }
    }
    Ok(())
}

#[test]
fn pages_show_and_test_every_rule() {
    let bless = std::env::var_os("MOEC_BLESS").is_some();
    for family in RULES {
        let path = root().join(format!("ir-specs/rules/{}.md", family.name));
        let mut page = std::fs::read_to_string(&path).unwrap();
        let mut edits = Vec::new();
        let blocks = blocks(&page);
        for block in &blocks {
            assert!(family.rules.iter().any(|r| r.name == block.rule), "{} is no rule", block.rule);
        }
        for rule in family.rules {
            assert!(page.contains(rule.doc.trim()), "{}: the page lacks {:?}", rule.name, rule.doc.trim());
            let own: Vec<&Block> = blocks.iter().filter(|block| block.rule == rule.name).collect();
            let module = |block: &Block| {
                read(&page[block.text.clone()])
                    .unwrap_or_else(|e| panic!("{} {}: {e}", rule.name, block.name))
            };
            let count = |name: &str| own.iter().filter(|block| block.name == name).count();
            assert!(count("fires") > 0 && count("stays") > 0, "{} lacks an example", rule.name);
            for (i, block) in own.iter().enumerate().filter(|(_, block)| block.name != "becomes") {
                let result = rewritten(rule, &module(block));
                match block.name.as_str() {
                    "fires" => {
                        let after = result.unwrap_or_else(|| panic!("{} does not fire", rule.name));
                        evaluate(rule, &module(block), &after).unwrap();
                        let expected = own.get(i + 1).filter(|next| next.name == "becomes");
                        let expected = expected.unwrap_or_else(|| panic!("{}: becomes?", rule.name));
                        let text = print(&after);
                        if text != page[expected.text.clone()] {
                            assert!(bless, "{} gives\n{text}", rule.name);
                            edits.push((expected.text.clone(), text));
                        }
                    }
                    "stays" => {
                        let fired = result.map(|module| print(&module)).unwrap_or_default();
                        assert!(fired.is_empty(), "{} must not fire, but gives\n{fired}", rule.name);
                    }
                    other => panic!("{}: a block is named {other}", rule.name),
                }
            }
        }
        for (range, text) in edits.into_iter().rev() {
            page.replace_range(range, &text);
        }
        if bless {
            std::fs::write(&path, page).unwrap();
        }
    }
}
