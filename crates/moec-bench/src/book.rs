//! What was measured against other engines, as a file of one line a cell. `page` makes what people read of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use moec_bench::Row;
use serde::{Deserialize, Serialize};

use crate::machine;

/// Which figure it is. Cells are kept in this order, so those of several machines stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) layer: String,
    #[serde(rename = "type")]
    pub(crate) types: String,
    pub(crate) routing: String,
    pub(crate) threads: usize,
    pub(crate) tokens: u64,
    /// What the machine is called.
    pub(crate) machine: String,
}

/// One cell, with everybody who was timed there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cell {
    #[serde(flatten)]
    pub(crate) key: Key,
    /// moec's figures.
    pub(crate) ours: Row,
    /// Those of others, by name.
    pub(crate) theirs: BTreeMap<String, Standing>,
    /// Who cannot compute the cell, and why.
    pub(crate) refused: BTreeMap<String, String>,
}

/// What is kept of another's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) ms: f64,
    least_ms: f64,
    most_ms: f64,
    pub(crate) of_limit: f64,
    rounds: usize,
}

impl From<Row> for Standing {
    fn from(row: Row) -> Standing {
        let Row { ms, least_ms, most_ms, of_limit, rounds, .. } = row.rounded();
        Standing { ms, least_ms, most_ms, of_limit, rounds }
    }
}

impl Cell {
    /// The fastest of the others.
    pub(crate) fn best(&self) -> Option<(&str, &Standing)> {
        let best = self.theirs.iter().min_by(|a, b| a.1.ms.total_cmp(&b.1.ms));
        best.map(|(name, row)| (name.as_str(), row))
    }
}

/// All cells.
#[derive(Debug, Default)]
pub(crate) struct Book {
    cells: BTreeMap<Key, Cell>,
    /// Names of the machines by what files call them.
    machines: BTreeMap<String, String>,
}

impl Book {
    /// Where the cells are kept.
    pub(crate) fn path() -> PathBuf {
        documents().join("benchmarks.jsonl")
    }

    /// Reads what there is.
    pub(crate) fn open() -> Result<Book, Box<dyn Error>> {
        if !Book::path().exists() {
            return Ok(Book::default());
        }
        let read = Book::read(&fs::read_to_string(Book::path())?);
        Ok(read.map_err(|error| format!("docs/benchmarks.jsonl: {error}"))?)
    }

    fn read(text: &str) -> Result<Book, String> {
        let mut book = Book::default();
        for (at, line) in text.lines().enumerate() {
            let cell = serde_json::from_str(line).map_err(|error| error.to_string());
            cell.and_then(|cell| book.insert(cell)).map_err(|error| format!("cell {}: {error}", at + 1))?;
        }
        Ok(book)
    }

    /// Whether the cell is there, of that machine.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.cells.contains_key(key)
    }

    /// Cells in their order.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.values()
    }

    /// The machines, each with what files call it.
    pub(crate) fn machines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.machines.iter().map(|(slug, name)| (name.as_str(), slug.as_str()))
    }

    /// Whether cells of a machine can be added, or why not. Returns what files call it.
    pub(crate) fn admits(&self, name: &str) -> Result<String, String> {
        machine::check(name)?;
        let slug = machine::slug(name);
        match self.machines.get(&slug) {
            Some(other) if other != name => Err(format!("files of {name:?} would be those of {other:?}")),
            _ => Ok(slug),
        }
    }

    /// Adds a cell, or replaces it.
    pub(crate) fn insert(&mut self, cell: Cell) -> Result<(), String> {
        let slug = self.admits(&cell.key.machine)?;
        self.machines.insert(slug, cell.key.machine.clone());
        self.cells.insert(cell.key.clone(), cell);
        Ok(())
    }

    /// Adds a cell, or replaces it, and writes the file.
    pub(crate) fn add(&mut self, cell: Cell) -> Result<(), Box<dyn Error>> {
        self.insert(cell)?;
        fs::write(Book::path(), self.lines()?)?;
        Ok(())
    }

    fn lines(&self) -> serde_json::Result<String> {
        self.cells().map(|cell| Ok(serde_json::to_string(cell)? + "\n")).collect()
    }
}

/// The folder of the pages.
pub(crate) fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cell of OLMoE in f32 on one thread, and another that takes that long there.
    pub(crate) fn cell(machine: &str, tokens: u64, theirs: f64) -> Cell {
        let row = |ms| {
            let text = format!(
                r#"{{"tokens":1,"ms":{ms},"least_ms":1,"most_ms":3,"gflops":1,"gbytes":2,"probe_gflops":3,
                "probe_gbytes":4,"limit_ms":1,"of_limit":50,"rounds":7,"discarded":1}}"#
            );
            serde_json::from_str::<Row>(&text).unwrap()
        };
        let [layer, types, routing, machine] = ["olmoe", "f32", "uniform", machine].map(str::to_owned);
        let key = Key { layer, types, routing, threads: 1, tokens, machine };
        let theirs = [("slow", 9.0), ("fast", theirs)].map(|(name, ms)| (name.to_owned(), row(ms).into()));
        let refused = [("none".to_owned(), "it has no words".to_owned())].into();
        Cell { key, ours: row(2.0), theirs: theirs.into(), refused }
    }

    #[test]
    fn cells_of_machines_stand_beside_each_other() {
        let mut book = Book::default();
        for (machine, tokens) in [("two", 4), ("two", 1), ("one", 4), ("one", 1), ("two", 4)] {
            book.insert(cell(machine, tokens, 8.0)).unwrap();
        }
        let keys = |book: &Book| {
            let keys = book.cells().map(|cell| (cell.key.tokens, cell.key.machine.clone()));
            keys.collect::<Vec<_>>()
        };
        let sorted = [(1, "one"), (1, "two"), (4, "one"), (4, "two")];
        assert_eq!(keys(&book), sorted.map(|(tokens, machine)| (tokens, machine.to_owned())));
        let text = book.lines().unwrap();
        let again = Book::read(&text).unwrap();
        assert_eq!(keys(&again), keys(&book));
        assert_eq!(again.lines().unwrap(), text);
    }

    #[test]
    fn a_cell_says_which_machine_it_is_of() {
        let mut book = Book::default();
        for tokens in [1, 4] {
            book.insert(cell("one", tokens, 8.0)).unwrap();
        }
        let text = book.lines().unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        let without = second.replace(r#""machine":"one","#, "");
        let error = Book::read(&format!("{first}\n{without}")).unwrap_err();
        assert!(error.starts_with("cell 2: missing field `machine`"), "{error}");
        let error = Book::read(&text.replace(r#""one""#, r#""""#)).unwrap_err();
        assert_eq!(error, r#"cell 1: "" is no name of a machine"#);
        let error = Book::read(&format!("{first}\n{}", second.replace("one", "ONE"))).unwrap_err();
        assert_eq!(error, r#"cell 2: files of "ONE" would be those of "one""#);
    }
}
