//! What an input made the compiler do, as a set of marks: the stand-in for coverage. An input with a new
//! mark is worth damaging further.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use moec_diag::Diagnostic;
use moec_ir::Module;

/// Marks of what was reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach(BTreeSet<u64>);

impl Reach {
    pub(crate) fn mark(&mut self, what: impl Hash) {
        // Without keys: the same marks in every process.
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.0.insert(hasher.finish());
    }

    /// Marks a message by the words that do not come from the input.
    pub(crate) fn message(&mut self, stage: &str, message: &str) {
        self.mark((stage, own_words(message)));
    }

    pub(crate) fn diagnostics(&mut self, stage: &str, found: &[Diagnostic]) {
        for diagnostic in found {
            self.mark((stage, diagnostic.slug(), diagnostic.labels.len(), diagnostic.help.len()));
            self.message(diagnostic.slug(), &diagnostic.message);
        }
    }

    pub(crate) fn module(&mut self, stage: &str, module: &Module) {
        for (_, node) in module.iter() {
            let rank = node.ty.tensor().map(|ty| ty.shape.len().min(6));
            self.mark((stage, node.op.mnemonic(), rank));
            for &arg in &node.args {
                self.mark((stage, node.op.mnemonic(), module.node(arg).op.mnemonic()));
            }
        }
    }

    /// Adds the marks of `other`; true if one was new.
    pub(crate) fn absorb(&mut self, other: &Reach) -> bool {
        let before = self.0.len();
        self.0.extend(&other.0);
        self.0.len() > before
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The first words of a message that are not quoted from the input: behind the first quote only a few,
/// because an input may hold quotes.
pub(crate) fn own_words(message: &str) -> String {
    let is_own = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let words = message.split(['`', '"']).step_by(2).take(2).flat_map(str::split_whitespace);
    words.filter(is_own).take(12).collect::<Vec<_>>().join(" ")
}
