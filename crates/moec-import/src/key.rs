//! How a row asks a configuration for something. Owns the small language of keys; reads no
//! configuration.
//!
//! ```text
//! hidden_size                                  the value of that key
//! num_experts | num_local_experts              the first of these that is there
//! ffn_config.moe_top_k                         a key in an object
//! norm_topk_prob ? false                       a value for configurations that lack the key
//! moe_intermediate_size * n_shared_experts     a product of whole numbers
//! topk_method == greedy                        a condition; without `==`: true, or a number but 0
//! ```

use serde::Deserialize;

use crate::json::Value;

/// A key with synonyms and a value for where none is there; or several, multiplied.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Key {
    /// The factors, one or more.
    pub(crate) terms: Vec<Term>,
}

/// One factor of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// Synonyms, in order; each a path through objects.
    pub(crate) paths: Vec<String>,
    /// What a configuration without any of them means.
    pub(crate) default: Option<Value>,
}

/// Whether a configuration has something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Condition {
    /// What is looked at.
    pub(crate) key: Key,
    /// The value it must have; without one, true or a number other than 0.
    pub(crate) is: Option<Value>,
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Key, String> {
        text.split(" * ").map(term).collect::<Result<_, _>>().map(|terms| Key { terms })
    }
}

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Condition, String> {
        let (key, is) = match text.split_once("==") {
            Some((key, is)) => (key.trim().to_owned(), Some(literal(is.trim()))),
            None => (text, None),
        };
        Ok(Condition { key: key.try_into()?, is })
    }
}

impl Key {
    /// The synonyms as messages name them.
    pub(crate) fn names(&self) -> String {
        let names = self.terms.iter().map(|term| match term.paths.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("`{}` or `{last}`", others.join("`, `")),
            paths => format!("`{}`", paths.concat()),
        });
        names.collect::<Vec<_>>().join(", times ")
    }
}

fn term(text: &str) -> Result<Term, String> {
    let (paths, default) = match text.split_once('?') {
        Some((paths, default)) => (paths, Some(literal(default.trim()))),
        None => (text, None),
    };
    let paths: Vec<String> = paths.split('|').map(|path| path.trim().to_owned()).collect();
    let is_path = |path: &String| {
        !path.is_empty() && path.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    };
    match paths.iter().all(is_path) {
        true => Ok(Term { paths, default }),
        false => Err(format!("`{text}` is no key like `num_experts | num_local_experts ? 8`")),
    }
}

/// `null`, a bool or a number as in JSON; any other word is a string.
fn literal(text: &str) -> Value {
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if text.parse::<f64>().is_ok() => Value::Number(text.to_owned()),
        _ => Value::String(text.to_owned()),
    }
}
