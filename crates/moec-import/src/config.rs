//! A configuration, asked by key. Owns where a key is looked for, per-layer lists, and every message
//! about a value that is absent or of the wrong type; does not know what the values are for.

use crate::error::ImportError;
use crate::json::{self, Value};
use crate::key::{Condition, Key, Term};

/// No size of a model comes near; larger ones are no `i32`, which positions and counts are.
const MAX_COUNT: u64 = (1 << 31) - 1;

/// Values of a `config.json`: some hundreds are usual.
const MAX_VALUES: usize = 200_000;

/// Objects that hold the configuration of the language model in those of models that also see or hear.
const NESTED: [&str; 5] = ["text_config", "llm_config", "language_config", "thinker_config", "decoder"];

/// A configuration read for one layer.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where keys are looked for, first to last.
    scopes: Vec<Value>,
    /// What lists by layer are indexed with.
    pub(crate) layer: u64,
}

impl Config {
    /// Reads the text of a `config.json`.
    pub(crate) fn read(text: &str) -> Result<Config, ImportError> {
        let top = json::parse(text, MAX_VALUES)
            .map_err(|error| ImportError::Config(format!("config.json, {error}")))?;
        if !matches!(top, Value::Object(_)) {
            return Err(ImportError::Config(format!("config.json holds {top}, not an object")));
        }
        // The innermost first: `thinker_config.text_config` says more than `thinker_config`.
        let mut scopes = vec![top];
        while let Some(inner) = NESTED
            .iter()
            .find_map(|name| scopes.last().and_then(|scope| scope.get(name)))
            .filter(|inner| matches!(inner, Value::Object(_)))
        {
            let inner = inner.clone();
            scopes.push(inner);
        }
        scopes.reverse();
        Ok(Config { scopes, layer: 0 })
    }

    /// The model types it names, the innermost first.
    pub(crate) fn model_types(&self) -> Vec<&str> {
        let types = self.scopes.iter().filter_map(|scope| match scope.get("model_type") {
            Some(Value::String(text)) => Some(text.as_str()),
            _ => None,
        });
        types.collect()
    }

    /// How the weights are quantised, if they are.
    pub(crate) fn quantisation(&self) -> Option<&Value> {
        self.scopes.iter().find_map(|scope| scope.get("quantization_config")?.get("quant_method"))
    }

    /// The value of a factor and the path it was found at. `null` is absence, and keeps a default from
    /// being meant.
    fn find<'a>(&'a self, term: &'a Term) -> Option<(&'a str, &'a Value)> {
        let at = |scope: &'a Value, path: &str| path.split('.').try_fold(scope, |value, key| value.get(key));
        let mut is_null = false;
        for scope in &self.scopes {
            for path in &term.paths {
                match at(scope, path) {
                    Some(Value::Null) => is_null = true,
                    Some(value) => return Some((path, value)),
                    None => {}
                }
            }
        }
        let default = term.default.as_ref().filter(|_| !is_null);
        default.map(|value| (term.paths.first().map_or("", String::as_str), value))
    }

    /// The same for this layer, where the value is a list with an element for each.
    fn value<'a>(&'a self, term: &'a Term) -> Result<Option<(&'a str, &'a Value)>, ImportError> {
        match self.find(term) {
            Some((path, Value::Array(values))) => match values.get(self.layer as usize) {
                Some(value) => Ok(Some((path, value))),
                None => Err(ImportError::Config(format!(
                    "`{path}` is a list of {} and has no element for layer {}",
                    values.len(),
                    self.layer
                ))),
            },
            found => Ok(found),
        }
    }

    fn only<'a>(&'a self, key: &'a Key) -> Result<Option<(&'a str, &'a Value)>, ImportError> {
        match key.terms.as_slice() {
            [term] => self.value(term),
            _ => Ok(None),
        }
    }

    /// What is said where nothing has the key.
    pub(crate) fn lacks(key: &Key) -> ImportError {
        ImportError::Config(format!("config.json has no {}", key.names()))
    }

    /// A size.
    pub(crate) fn count(&self, key: &Key) -> Result<u64, ImportError> {
        self.count_if(key)?.ok_or_else(|| Self::lacks(key))
    }

    /// A size, where there is one.
    pub(crate) fn count_if(&self, key: &Key) -> Result<Option<u64>, ImportError> {
        let mut product = 1u64;
        for term in &key.terms {
            let Some((path, value)) = self.value(term)? else { return Ok(None) };
            let count = match value {
                Value::Number(text) => text.parse::<u64>().ok(),
                _ => None,
            };
            product = count
                .and_then(|count| product.checked_mul(count))
                .filter(|product| *product <= MAX_COUNT)
                .ok_or_else(|| {
                    ImportError::Config(format!("`{path}` is {value}; expected a whole number below 2^31"))
                })?;
        }
        Ok(Some(product))
    }

    /// A number, where there is one.
    pub(crate) fn number(&self, key: &Key) -> Result<Option<f64>, ImportError> {
        let Some((path, value)) = self.only(key)? else { return Ok(None) };
        let number = match value {
            Value::Number(text) => text.parse::<f64>().ok().filter(|number| number.is_finite()),
            _ => None,
        };
        let wrong = || ImportError::Config(format!("`{path}` is {value}; expected a finite number"));
        number.ok_or_else(wrong).map(Some)
    }

    /// A word, where there is one.
    pub(crate) fn word(&self, key: &Key) -> Result<Option<String>, ImportError> {
        match self.only(key)? {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((path, value)) => {
                Err(ImportError::Config(format!("`{path}` is {value}; expected a string")))
            }
        }
    }

    /// Whether a condition holds.
    pub(crate) fn holds(&self, condition: &Condition) -> Result<bool, ImportError> {
        let Some((path, value)) = self.only(&condition.key)? else { return Ok(false) };
        match (&condition.is, value) {
            (Some(is), value) => Ok(same(is, value)),
            (None, Value::Bool(value)) => Ok(*value),
            (None, Value::Number(text)) => Ok(text.parse::<f64>().is_ok_and(|number| number != 0.0)),
            (None, _) => Err(ImportError::Config(format!("`{path}` is {value}; expected true or false"))),
        }
    }

    /// Errs where the value is there and none of these.
    pub(crate) fn require(&self, key: &Key, allowed: &[Value]) -> Result<(), ImportError> {
        match self.only(key)? {
            Some((path, value)) if !allowed.iter().any(|allowed| same(allowed, value)) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                let allowed = allowed.join(" or ");
                Err(ImportError::Config(format!("`{path}` is {value}; supported is {allowed}")))
            }
            _ => Ok(()),
        }
    }
}

/// Equal, numbers by value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.parse::<f64>().ok() == b.parse::<f64>().ok(),
        _ => a == b,
    }
}
