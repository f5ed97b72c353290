//! The rule table. A rule is a row: its name states the law, its function says what is equal to a
//! node, and its page in `ir-specs/rules/` shows it and is its test.
//!
//! What every rule must keep:
//! - types: what is added to a class has its type (checked while saturating);
//! - values: within its numerics class, for every value that the operations are defined for;
//! - finiteness: a rule that adds an operation to a class shrinks or normalises something, so that
//!   saturation ends;
//! - no bare commutativity or associativity: operands are ordered when they are added.

mod arithmetic;
mod capacity;
mod contract;
mod dense;
mod dispatch;
mod gate;
mod latent;
mod layout;
mod linear;
mod nested;
mod permute;
mod plan;
mod pull;
mod queue;
mod rounds;
mod seating;
mod selection;
mod shared;
mod sink;

use moec_ir::Op;

use crate::options::Numerics;
use crate::term::{Found, Term, View};

/// One rule.
pub(crate) struct Rule {
    /// Snake case, unique, states the law.
    pub(crate) name: &'static str,
    /// The law in one sentence.
    pub(crate) doc: &'static str,
    /// How far bits may move.
    pub(crate) numerics: Numerics,
    /// What must hold besides the shape of the left side.
    pub(crate) conditions: &'static [&'static str],
    /// The operations that the left side begins with.
    pub(crate) roots: &'static [Op],
    /// What is equal to a node.
    pub(crate) rewrite: for<'a> fn(View<'a>, Found<'a>) -> Vec<Term>,
}

/// Declares the rows of a family. A row is: doc, name, numerics class, root operations, conditions;
/// the rewrite is the function of the same name.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident: $numerics:ident [$($op:ident),+] $(if $condition:literal)*;)*) => {
        pub(super) const RULES: &[$crate::rules::Rule] = &[$($crate::rules::Rule {
            name: stringify!($name),
            doc: concat!($($doc),+),
            numerics: $crate::options::Numerics::$numerics,
            conditions: &[$($condition),*],
            roots: &[$(moec_ir::Op::$op),+],
            rewrite: $name,
        }),*];
    };
}
use rules;

/// The one result of a rule that has at most one.
fn one(term: impl FnOnce() -> Option<Term>) -> Vec<Term> {
    term().into_iter().collect()
}

/// Rules of one kind, with the page that shows them.
pub(crate) struct Family {
    /// The name of the file in `ir-specs/rules/`, without its ending.
    pub(crate) name: &'static str,
    /// The rules, in the order in which they run.
    pub(crate) rules: &'static [Rule],
}

/// Every rule.
pub(crate) const RULES: &[Family] = &[
    Family { name: "arithmetic", rules: arithmetic::RULES },
    Family { name: "layout", rules: layout::RULES },
    Family { name: "sink", rules: sink::RULES },
    Family { name: "contract", rules: contract::RULES },
    Family { name: "linear", rules: linear::RULES },
    Family { name: "selection", rules: selection::RULES },
    Family { name: "gate", rules: gate::RULES },
    Family { name: "dispatch", rules: dispatch::RULES },
    Family { name: "nested", rules: nested::RULES },
    Family { name: "rounds", rules: rounds::RULES },
    Family { name: "capacity", rules: capacity::RULES },
    Family { name: "permute", rules: permute::RULES },
    Family { name: "pull", rules: pull::RULES },
    Family { name: "plan", rules: plan::RULES },
    Family { name: "latent", rules: latent::RULES },
    Family { name: "shared", rules: shared::RULES },
    Family { name: "dense", rules: dense::RULES },
];

/// What users may know of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its name.
    pub name: &'static str,
    /// Its family, which is the name of its page.
    pub family: &'static str,
    /// The law in one sentence.
    pub doc: &'static str,
    /// How far bits may move.
    pub numerics: Numerics,
    /// What must hold besides the shape of the left side.
    pub conditions: &'static [&'static str],
}

/// Every rule, by family.
pub fn rule_infos() -> Vec<RuleInfo> {
    let info = |family: &Family, rule: &Rule| RuleInfo {
        name: rule.name,
        family: family.name,
        doc: rule.doc,
        numerics: rule.numerics,
        conditions: rule.conditions,
    };
    RULES.iter().flat_map(|family| family.rules.iter().map(move |rule| info(family, rule))).collect()
}
