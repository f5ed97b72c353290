//! What was measured against other engines, as a file of one line a cell, and the page that is made of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arguments::{Arguments, Routing};
use moec_bench::{LAYERS, Row, Types};

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --peers` -->";
const END: &str = "<!-- end of figures -->";

/// Which figure it is. Cells are kept in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) layer: String,
    #[serde(rename = "type")]
    pub(crate) types: String,
    pub(crate) routing: String,
    pub(crate) threads: usize,
    pub(crate) tokens: u64,
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
    of_limit: f64,
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
    fn best(&self) -> Option<(&str, &Standing)> {
        let best = self.theirs.iter().min_by(|a, b| a.1.ms.total_cmp(&b.1.ms));
        best.map(|(name, row)| (name.as_str(), row))
    }
}

/// All cells.
#[derive(Debug, Default)]
pub(crate) struct Book {
    cells: BTreeMap<Key, Cell>,
}

impl Book {
    /// Where the cells are kept.
    pub(crate) fn path() -> PathBuf {
        documents().join("benchmarks.jsonl")
    }

    /// Reads what there is.
    pub(crate) fn open() -> Result<Book, Box<dyn Error>> {
        let mut book = Book::default();
        if Book::path().exists() {
            for line in fs::read_to_string(Book::path())?.lines() {
                let cell: Cell = serde_json::from_str(line)?;
                book.cells.insert(cell.key.clone(), cell);
            }
        }
        Ok(book)
    }

    /// Whether the cell is there.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.cells.contains_key(key)
    }

    /// Adds a cell, or replaces it, and writes the file.
    pub(crate) fn add(&mut self, cell: Cell) -> Result<(), Box<dyn Error>> {
        self.cells.insert(cell.key.clone(), cell);
        let lines: Vec<String> = self.cells.values().map(serde_json::to_string).collect::<Result<_, _>>()?;
        fs::write(Book::path(), lines.join("\n") + "\n")?;
        Ok(())
    }

    /// Writes the figures into the page.
    pub(crate) fn write_page(&self) -> Result<(), Box<dyn Error>> {
        let path = documents().join("benchmarks.md");
        let page = fs::read_to_string(&path)?;
        let begin = page.find(BEGIN).ok_or("the page has no mark to begin at")? + BEGIN.len();
        let end = page.find(END).ok_or("the page has no mark to end at")?;
        fs::write(&path, format!("{}\n\n{}\n{}", &page[..begin], self.figures(), &page[end..]))?;
        Ok(())
    }

    /// The summary, a table for each layer and type, and who was left out.
    fn figures(&self) -> String {
        let mut text = self.summary();
        for layer in LAYERS {
            for types in Types::ALL {
                for routing in Routing::ALL {
                    let cells = self.cells.values().filter(|cell| {
                        let Key { layer: l, types: t, routing: r, .. } = &cell.key;
                        (l.as_str(), t.as_str(), r.as_str()) == (layer.name, types.name(), routing.name())
                    });
                    let rows: String = cells.map(line).collect();
                    if !rows.is_empty() {
                        let _ = writeln!(
                            text,
                            "### {} {}, {} routing\n\n| threads | tokens | moec ms | GFLOP/s | GB/s | of the limit | \
                             best peer | ms | of the limit | ratio | other peers, ms |\n\
                             |---|---|---|---|---|---|---|---|---|---|---|\n{rows}",
                            layer.name,
                            types.name(),
                            routing.name()
                        );
                    }
                }
            }
        }
        text + &self.absent()
    }

    fn summary(&self) -> String {
        let mut groups: BTreeMap<(usize, String), Vec<f64>> = BTreeMap::new();
        for cell in self.cells.values() {
            if let Some((_, best)) = cell.best() {
                let ratio = best.ms / cell.ours.ms;
                groups.entry((0, "all cells".to_owned())).or_default().push(ratio);
                groups.entry((1, cell.key.types.clone())).or_default().push(ratio);
                let tokens = format!("{:>4} tokens", cell.key.tokens);
                groups.entry((2, tokens)).or_default().push(ratio);
            }
        }
        let mut text = "| best peer's time over moec's | cells | geometric mean | least | cells below 1 |\n\
                        |---|---|---|---|---|\n"
            .to_owned();
        for ((_, name), ratios) in groups {
            let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let below = ratios.iter().filter(|ratio| **ratio < 1.0).count();
            let _ = writeln!(
                text,
                "| {} | {} | {mean:.2} | {least:.2} | {below} |",
                name.trim_start(),
                ratios.len()
            );
        }
        text + "\n![per cent of the limit against tokens](benchmarks.svg)\n\n"
    }

    /// Every reason once, with the cells it holds for.
    fn absent(&self) -> String {
        let mut reasons: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for cell in self.cells.values() {
            for (name, why) in &cell.refused {
                let Key { layer, types, tokens, .. } = &cell.key;
                let cells = reasons.entry((name, why)).or_default();
                let label = format!("{layer} {types} {tokens}");
                if !cells.contains(&label) {
                    cells.push(label);
                }
            }
        }
        if reasons.is_empty() {
            return String::new();
        }
        let mut text = "### Not in the tables\n\n".to_owned();
        for ((name, why), cells) in reasons {
            let _ = writeln!(text, "- {name}: {why} ({})", cells.join(", "));
        }
        text
    }
}

/// A row of a table.
fn line(cell: &Cell) -> String {
    let Key { threads, tokens, .. } = cell.key;
    let Row { ms, least_ms, most_ms, gflops, gbytes, of_limit, .. } = cell.ours;
    let mut text = format!(
        "| {threads} | {tokens} | {} ({} to {}) | {gflops:.0} | {gbytes:.1} | {of_limit:.0} % |",
        short(ms),
        short(least_ms),
        short(most_ms)
    );
    match cell.best() {
        Some((name, best)) => {
            let others = cell.theirs.iter().filter(|(other, _)| *other != name);
            let others: Vec<String> = others.map(|(name, row)| format!("{name} {}", short(row.ms))).collect();
            let _ = writeln!(
                text,
                " {name} | {} | {:.0} % | {:.2} | {} |",
                short(best.ms),
                best.of_limit,
                best.ms / ms,
                others.join(", ")
            );
        }
        None => text += " none | | | | |\n",
    }
    text
}

/// Three digits.
fn short(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.4}"),
    }
}

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Makes the page and the plot of the cells that there are.
pub(crate) fn publish(arguments: &Arguments, book: &Book) -> Result<(), Box<dyn Error>> {
    book.write_page()?;
    let python = crate::peers::python(&arguments.venv)?;
    let plot = documents().join("benchmarks.svg");
    crate::peers::run(
        std::process::Command::new(python)
            .arg(crate::peers::scripts().join("plot.py"))
            .arg(Book::path())
            .arg(plot),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_ratios_and_reasons() {
        let row = |ms| {
            let text = format!(
                r#"{{"tokens":1,"ms":{ms},"least_ms":1,"most_ms":3,"gflops":1,"gbytes":2,"probe_gflops":3,
                "probe_gbytes":4,"limit_ms":1,"of_limit":50,"rounds":7,"discarded":1}}"#
            );
            serde_json::from_str::<Row>(&text).unwrap()
        };
        let mut book = Book::default();
        for (tokens, theirs) in [(1, 8.0), (32, 1.0)] {
            let [layer, types, routing] = ["olmoe", "f32", "uniform"].map(str::to_owned);
            let key = Key { layer, types, routing, threads: 1, tokens };
            let theirs =
                [("slow", 9.0), ("fast", theirs)].map(|(name, ms)| (name.to_owned(), row(ms).into()));
            let refused = [("none".to_owned(), "it has no words".to_owned())].into();
            let cell = Cell { key: key.clone(), ours: row(2.0), theirs: theirs.into(), refused };
            let text = serde_json::to_string(&cell).unwrap();
            let again: Cell = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
            book.cells.insert(key, again);
        }
        let text = book.figures();
        for line in [
            "| all cells | 2 | 1.41 | 0.50 | 1 |",
            "| 1 | 1 | 2.00 (1.00 to 3.00) | 1 | 2.0 | 50 % | fast | 8.00 | 50 % | 4.00 | slow 9.00 |",
            "- none: it has no words (olmoe f32 1, olmoe f32 32)",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
