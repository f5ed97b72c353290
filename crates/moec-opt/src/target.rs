//! Descriptions of machines: the instruction set to generate code for and the constants of the cost
//! model, one TOML file each. Those in `targets/` are built in; `moec calibrate` writes one for the
//! machine that it runs on.

use std::fmt;

use toml::{Table, Value};

/// A machine, as the cost model sees it. Rates are those of all [`threads`](Self::threads) together.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The name in options and reports.
    pub name: String,
    /// The instruction set, by the name that the code generator knows; `host` is this machine's.
    pub isa: String,
    /// Where the figures come from, for reports.
    pub source: String,
    /// Threads that work is spread over.
    pub threads: f64,
    /// Floating-point operations a second in matrix tiles.
    pub matrix_flops: f64,
    /// Floating-point operations a second in loops over elements, as the op table counts them.
    pub element_flops: f64,
    /// Bytes a second from memory.
    pub memory_bandwidth: f64,
    /// Bytes a second from the last cache.
    pub cache_bandwidth: f64,
    /// Bytes of the last cache.
    pub cache_bytes: f64,
    /// Bytes a second from the storage that weights stay in which do not fit in memory.
    pub storage_bandwidth: f64,
    /// Seconds to start a kernel on the calling thread.
    pub step: f64,
    /// Seconds to spread a kernel over all threads and wait for them.
    pub fork: f64,
}

/// The version of the form that is read and written.
const VERSION: i64 = 1;

const BUILT_IN: [(&str, &str); 7] = [
    ("host", include_str!("../targets/host.toml")),
    ("x86_64", include_str!("../targets/x86_64.toml")),
    ("x86_64-v3", include_str!("../targets/x86_64-v3.toml")),
    ("x86_64-v4", include_str!("../targets/x86_64-v4.toml")),
    ("x86_64-v4-bf16", include_str!("../targets/x86_64-v4-bf16.toml")),
    ("x86_64-v4-amx", include_str!("../targets/x86_64-v4-amx.toml")),
    ("aarch64", include_str!("../targets/aarch64.toml")),
];

const TEXTS: [&str; 3] = ["name", "isa", "source"];

/// Why there is no such target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No built-in description has this name.
    #[error("there is no target `{name}`; built in are {}", Target::names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The text is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// A key that is missing, unknown, or has a value of the wrong kind.
    #[error("`{key}` {found}, expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
}

impl Target {
    /// The names of the built-in descriptions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in description of that name.
    pub fn named(name: &str) -> Result<Target, TargetError> {
        let row = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = row.ok_or_else(|| TargetError::Unknown { name: name.to_owned() })?;
        Target::read(text)
    }

    /// Reads a description.
    pub fn read(text: &str) -> Result<Target, TargetError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| TargetError::Syntax(error.to_string().trim_end().to_owned()))?;
        let version = value(&table, "version", "1")?;
        if version.as_integer() != Some(VERSION) {
            return Err(wrong("version", version, "1, the only version of descriptions so far"));
        }
        let mut target = Target::empty();
        for key in TEXTS {
            let value = value(&table, key, "a text")?;
            let text = value.as_str().filter(|text| !text.is_empty() && !text.contains(['\n', '"', '\\']));
            let text = text.ok_or_else(|| wrong(key, value, "one line of text without quotes"))?;
            *target.text(key) = text.to_owned();
        }
        for (key, constant) in target.constants() {
            let value = value(&table, key, "a number")?;
            let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
            let number = number.filter(|n| n.is_finite() && *n > 0.0);
            *constant = number.ok_or_else(|| wrong(key, value, "a number above zero"))?;
        }
        let known = |key: &str| {
            key == "version"
                || TEXTS.contains(&key)
                || target.clone().constants().iter().any(|(k, _)| *k == key)
        };
        match table.iter().find(|(key, _)| !known(key)) {
            Some((key, value)) => Err(wrong(key, value, "no such key")),
            None => Ok(target),
        }
    }

    fn empty() -> Target {
        Target {
            name: String::new(),
            isa: String::new(),
            source: String::new(),
            threads: 0.0,
            matrix_flops: 0.0,
            element_flops: 0.0,
            memory_bandwidth: 0.0,
            cache_bandwidth: 0.0,
            cache_bytes: 0.0,
            storage_bandwidth: 0.0,
            step: 0.0,
            fork: 0.0,
        }
    }

    fn text(&mut self, key: &str) -> &mut String {
        match key {
            "name" => &mut self.name,
            "isa" => &mut self.isa,
            _ => &mut self.source,
        }
    }

    /// The constants with their keys, in the order in which they are written.
    fn constants(&mut self) -> [(&'static str, &mut f64); 9] {
        [
            ("threads", &mut self.threads),
            ("matrix_flops", &mut self.matrix_flops),
            ("element_flops", &mut self.element_flops),
            ("memory_bandwidth", &mut self.memory_bandwidth),
            ("cache_bandwidth", &mut self.cache_bandwidth),
            ("cache_bytes", &mut self.cache_bytes),
            ("storage_bandwidth", &mut self.storage_bandwidth),
            ("step", &mut self.step),
            ("fork", &mut self.fork),
        ]
    }
}

/// The built-in description of this machine, which is the same on every machine.
impl Default for Target {
    fn default() -> Target {
        Target::named("host").expect("built-in descriptions are read by a test")
    }
}

/// The text that [`Target::read`] reads.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version = {VERSION}")?;
        let mut target = self.clone();
        for key in TEXTS {
            writeln!(f, "{key} = \"{}\"", target.text(key))?;
        }
        target.constants().iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value:e}"))
    }
}

fn value<'a>(table: &'a Table, key: &str, expected: &str) -> Result<&'a Value, TargetError> {
    table.get(key).ok_or_else(|| TargetError::Value {
        key: key.to_owned(),
        found: "is missing".to_owned(),
        expected: expected.to_owned(),
    })
}

fn wrong(key: &str, found: &Value, expected: &str) -> TargetError {
    let found = format!("is {found}");
    TargetError::Value { key: key.to_owned(), found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_descriptions_read_and_print() {
        for name in Target::names() {
            let target = Target::named(name).unwrap();
            assert_eq!(target.name, name);
            assert_eq!(Target::read(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn bad_descriptions_say_what_is_wrong() {
        let good = Target::default().to_string();
        let refused = |text: &str| Target::read(text).unwrap_err().to_string();
        for (line, other, message) in [
            ("step = ", "step = 0.0", "`step` is 0.0, expected a number above zero"),
            ("fork = ", "fork = -1", "`fork` is -1, expected a number above zero"),
            ("threads = ", "threads = nan", "`threads` is nan, expected a number above zero"),
            ("cache_bytes = ", "cache_bytes = inf", "`cache_bytes` is inf, expected a number above zero"),
            (
                "matrix_flops = ",
                "matrix_flops = \"fast\"",
                "`matrix_flops` is \"fast\", expected a number above zero",
            ),
            (
                "version = ",
                "version = 2",
                "`version` is 2, expected 1, the only version of descriptions so far",
            ),
            ("version = ", "", "`version` is missing, expected 1"),
            ("isa = ", "", "`isa` is missing, expected a text"),
            ("name = ", "name = 3", "`name` is 3, expected one line of text without quotes"),
            ("step = ", "step = 1e-6\nsteps = 2", "`steps` is 2, expected no such key"),
        ] {
            let text: String =
                good.lines().map(|l| if l.starts_with(line) { other } else { l }.to_owned() + "\n").collect();
            assert_eq!(refused(&text), message);
        }
        assert!(refused("step 3").contains("TOML parse error at line 1"), "{}", refused("step 3"));
        let unknown = Target::named("z80").unwrap_err().to_string();
        assert_eq!(
            unknown,
            "there is no target `z80`; built in are host, x86_64, x86_64-v3, x86_64-v4, x86_64-v4-bf16, x86_64-v4-amx, aarch64"
        );
    }
}
