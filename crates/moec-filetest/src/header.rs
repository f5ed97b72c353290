//! What a test file says before it begins, and in its `run:` lines: TOML in comments.

use std::collections::BTreeMap;

use moec::ir::Sizes;
use moec::{Numerics, Options};
use serde::Deserialize;

/// What holds for all of a test file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// The model that is transformed and run, where there are several.
    pub model: Option<String>,
    /// Values for params and sized dims.
    pub set: BTreeMap<String, toml::Value>,
    /// The numerics class, `reassociate` if not given.
    pub numerics: Option<String>,
    /// The number of tokens that one program is chosen for.
    pub tokens: Option<u64>,
    /// How far compiled code may be off, relative to the output's scale; 1e-5 if not given.
    pub tolerance: Option<f64>,
    /// Further runs, as in `run:` lines.
    pub run: Vec<String>,
}

impl Header {
    /// The options that the facade is called with.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let mut options = Options { model: self.model.clone(), ..Options::default() };
        for (name, value) in &self.set {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            options.set.insert(name.clone(), text);
        }
        if let Some(name) = &self.numerics {
            options.numerics =
                Numerics::from_name(name).ok_or_else(|| format!("no numerics class `{name}`"))?;
        }
        options.tokens = self.tokens;
        Ok(options)
    }
}

/// A `run:` line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// The line as written.
    pub(crate) text: String,
    /// Values of the run-time dims.
    pub(crate) sizes: Sizes,
    /// The seed of inputs and weights.
    pub(crate) seed: u64,
    /// What the refusal to run must contain, if it is to be refused.
    pub(crate) fails: Option<String>,
}

impl Run {
    /// Reads what follows `run:`.
    pub(crate) fn read(text: &str) -> Result<Run, String> {
        let wrong = |why: String| format!("`run: {text}`: {why}");
        let table: toml::Table = format!("run = {{ {text} }}")
            .parse()
            .map_err(|e: toml::de::Error| wrong(e.message().to_owned()))?;
        let fields = table.get("run").and_then(toml::Value::as_table).into_iter().flatten();
        let mut run = Run { text: text.to_owned(), sizes: Sizes::new(), seed: 0, fails: None };
        for (name, value) in fields {
            let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
            match (name.as_str(), number, value.as_str()) {
                ("seed", Some(seed), _) => run.seed = seed,
                ("fails", _, Some(message)) => run.fails = Some(message.to_owned()),
                (dim, Some(size), _) if dim.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    run.sizes.insert(dim.into(), size);
                }
                _ => return Err(wrong(format!("`{name} = {value}` is neither a dim, nor seed, nor fails"))),
            }
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lines_are_toml() {
        let run = Run::read("T = 5, seed = 3, fails = \"out of range\"").unwrap();
        assert_eq!((run.sizes["T"], run.seed, run.fails.as_deref()), (5, 3, Some("out of range")));
        assert_eq!(Run::read("").unwrap().seed, 0);
        for wrong in ["T", "T = -1", "threads = 2", "T = \"five\"", "T = 1 }, x = { y = 2"] {
            assert!(Run::read(wrong).is_err(), "{wrong}");
        }
    }
}
