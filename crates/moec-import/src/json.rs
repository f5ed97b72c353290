//! JSON as model folders have it. Owns what no library gives at once: keys that occur twice are
//! refused, `NaN` and `Infinity` are read (Python writes them) and refused only where a number is
//! asked for, depth and number of values are bounded, and faults have a place.

use std::fmt;

/// Arrays and objects within each other; a configuration has four or five.
const MAX_DEPTH: usize = 64;

/// A value. Numbers are kept as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number as written; also `NaN`, `Infinity` and `-Infinity`.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, in the order of the file; no key occurs twice.
    Object(Vec<(String, Value)>),
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(crate) struct JsonError {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// What was found and expected.
    pub(crate) message: String,
}

impl Value {
    /// The value of a key, where this is an object that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let Value::Object(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

impl fmt::Display for Value {
    /// As messages quote it: short, whatever is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(text) => f.write_str(&text.chars().take(SHOWN).collect::<String>()),
            Value::String(text) if text.chars().count() > SHOWN => {
                write!(f, "{:?}...", text.chars().take(SHOWN).collect::<String>())
            }
            Value::String(text) => write!(f, "{text:?}"),
            Value::Array(values) => write!(f, "a list of {}", values.len()),
            Value::Object(entries) => write!(f, "an object of {} keys", entries.len()),
        }
    }
}

/// Reads a text of at most so many values.
pub(crate) fn parse(text: &str, max_values: usize) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0, left: max_values, max_values };
    let value = reader.value(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(value),
        Some(found) => Err(reader.fault(format!("expected the end, found {found:?}"))),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    left: usize,
    max_values: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let is_there = self.rest().starts_with(token);
        self.at += if is_there { token.len() } else { 0 };
        is_there
    }

    fn fault(&self, message: String) -> JsonError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        JsonError {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message,
        }
    }

    fn expected(&self, what: &str) -> JsonError {
        let found = self.peek().map_or("the end".to_owned(), |found| format!("{found:?}"));
        self.fault(format!("expected {what}, found {found}"))
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.fault(format!("more than {MAX_DEPTH} lists and objects within each other")));
        }
        let max_values = self.max_values;
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| self.fault(format!("more than {max_values} values; no model has so many")))?;
        self.space();
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"') => self.string().map(Value::String),
            _ if self.eat("null") => Ok(Value::Null),
            _ if self.eat("true") => Ok(Value::Bool(true)),
            _ if self.eat("false") => Ok(Value::Bool(false)),
            _ => self.number().map(Value::Number),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.eat("{");
        let mut entries: Vec<(String, Value)> = Vec::new();
        self.space();
        if self.eat("}") {
            return Ok(Value::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some('"') {
                return Err(self.expected("a key in quotes"));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(":") {
                return Err(self.expected("`:`"));
            }
            entries.push((key, self.value(depth + 1)?));
            self.space();
            if self.eat("}") {
                break;
            }
            if !self.eat(",") {
                return Err(self.expected("`,` or `}`"));
            }
        }
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => {
                let key = pair.first().copied().unwrap_or_default();
                let key: String = key.chars().take(80).collect();
                Err(self.fault(format!("the key \"{key}\" occurs twice in the object that ends here")))
            }
            None => Ok(Value::Object(entries)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.eat("[");
        let mut values = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.space();
            if self.eat("]") {
                return Ok(Value::Array(values));
            }
            if !self.eat(",") {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<String, JsonError> {
        for name in ["NaN", "Infinity", "-Infinity"] {
            if self.eat(name) {
                return Ok(name.to_owned());
            }
        }
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        let starts = text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
        if !starts || text.parse::<f64>().is_err() {
            return Err(self.expected("a value"));
        }
        self.at += end;
        Ok(text.to_owned())
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(['"', '\\', '\n', '\r']).unwrap_or(rest.len());
            string.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some('\\') => string.push(self.escape()?),
                _ => return Err(self.expected("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let code = self.rest().chars().nth(1);
        let plain = match code {
            Some(c @ ('"' | '\\' | '/')) => Some(c),
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            _ => None,
        };
        if let Some(c) = plain {
            self.at += 2;
            return Ok(c);
        }
        let unit = |reader: &Reader<'_>| {
            let digits = reader.rest().strip_prefix("\\u")?.get(..4)?;
            u32::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let Some(first) = unit(self) else { return Err(self.expected("an escape such as `\\n`")) };
        self.at += 6;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        // The first half of a pair; a half alone stands for no character.
        let second = if first < 0xDC00 { unit(self) } else { None };
        match second.filter(|second| (0xDC00..0xE000).contains(second)) {
            Some(second) => {
                self.at += 6;
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            None => Ok(char::REPLACEMENT_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(text, 100).unwrap_err().to_string()
    }

    #[test]
    fn values_come_out_as_written() {
        let text = r#" {"a": [1, -2.5e-3, NaN, -Infinity], "b": {"c": null, "d": [true, false]}, "\u0065\ud83d\ude00": "x\ny\/"} "#;
        let value = parse(text, 100).unwrap();
        let number = |text: &str| Value::Number(text.to_owned());
        let list = ["1", "-2.5e-3", "NaN", "-Infinity"].map(number).to_vec();
        assert_eq!(value.get("a"), Some(&Value::Array(list)));
        assert_eq!(value.get("b").unwrap().get("c"), Some(&Value::Null));
        assert_eq!(value.get("e😀"), Some(&Value::String("x\ny/".to_owned())));
        assert_eq!(parse("{}", 1).unwrap(), Value::Object(vec![]));
    }

    #[test]
    fn faults_have_a_place() {
        assert_eq!(
            fault("{\n  \"a\": 1,\n  \"a\": 2\n}"),
            "line 4, column 2: the key \"a\" occurs twice in the object that ends here"
        );
        assert_eq!(fault("{\"a\": }"), "line 1, column 7: expected a value, found '}'");
        assert_eq!(fault("{\"a\" 1}"), "line 1, column 6: expected `:`, found '1'");
        assert_eq!(fault("[1, 2"), "line 1, column 6: expected `,` or `]`, found the end");
        assert_eq!(fault("[1] 2"), "line 1, column 5: expected the end, found '2'");
        assert_eq!(fault("{a: 1}"), "line 1, column 2: expected a key in quotes, found 'a'");
        assert_eq!(fault("\"a"), "line 1, column 3: expected the end of a string, found the end");
        assert_eq!(fault(r#""\q""#), "line 1, column 2: expected an escape such as `\\n`, found '\\\\'");
        assert_eq!(fault(""), "line 1, column 1: expected a value, found the end");
        assert!(fault("[1e999e]").contains("expected a value"));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = "[".repeat(100_000);
        assert!(fault(&deep).contains("within each other"), "{}", fault(&deep));
        let wide = format!("[{}0]", "0,".repeat(1000));
        assert!(fault(&wide).contains("more than 100 values"), "{}", fault(&wide));
    }
}
