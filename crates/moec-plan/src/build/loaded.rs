//! What programs of one plan share: values that follow from weights alone, under a name that says how
//! they are computed, so that what one program has made at load serves the next.

use moec_ir::{Attrs, Module, Op};

use super::Held;
use crate::Phase;

/// The name of such a value. Equal computations have equal names.
pub(super) type LoadName = usize;

/// How a value is computed.
#[derive(Debug, PartialEq)]
struct Recipe {
    op: Op,
    args: Vec<LoadName>,
    attrs: Attrs,
}

/// Values that earlier programs know how to compute, and those that they have made.
#[derive(Default)]
pub(super) struct Loaded {
    values: Vec<(Recipe, Option<Held>)>,
}

impl Loaded {
    /// The names of the values of `module` that are computed at load.
    pub(super) fn names(&mut self, module: &Module, phase: &[Phase]) -> Vec<Option<LoadName>> {
        let mut names: Vec<Option<LoadName>> = Vec::new();
        for (node, phase) in module.nodes.iter().zip(phase) {
            let args: Option<Vec<LoadName>> = node.args.iter().map(|arg| names[arg.index()]).collect();
            let args = args.filter(|_| *phase == Phase::Load);
            names.push(args.map(|args| self.name(Recipe { op: node.op, args, attrs: node.attrs.clone() })));
        }
        names
    }

    fn name(&mut self, recipe: Recipe) -> LoadName {
        self.values.iter().position(|(known, _)| *known == recipe).unwrap_or_else(|| {
            self.values.push((recipe, None));
            self.values.len() - 1
        })
    }

    /// The value, if an earlier program has made it.
    pub(super) fn held(&self, name: LoadName) -> Option<Held> {
        self.values[name].1.clone()
    }

    /// Keeps what a program has made.
    pub(super) fn keep(&mut self, names: &[Option<LoadName>], held: &[Held]) {
        for (name, held) in names.iter().zip(held) {
            if let (Some(name), Held::View(_) | Held::Route { .. }) = (name, held) {
                self.values[*name].1.get_or_insert_with(|| held.clone());
            }
        }
    }
}
