//! The page that is made of the cells: a part for each machine, with a plot.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use moec_bench::{LAYERS, Row, Types};

use crate::arguments::Routing;
use crate::book::{Book, Cell, Key, documents};
use crate::peers::{python, run, scripts};

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --peers` -->";
const END: &str = "<!-- end of figures -->";

/// Makes the page and the plots of the cells that there are; `venv` is where the engines are.
pub(crate) fn publish(book: &Book, venv: &Path) -> Result<(), Box<dyn Error>> {
    write(book)?;
    let python = python(venv)?;
    for (machine, slug) in book.machines() {
        let mut command = Command::new(&python);
        command.arg(scripts().join("plot.py")).arg(Book::path());
        run(command.arg(machine).arg(documents().join(plot(slug))))?;
    }
    Ok(())
}

/// The file of a machine's plot.
fn plot(slug: &str) -> String {
    format!("benchmarks-{slug}.svg")
}

/// Writes the figures into the page.
fn write(book: &Book) -> Result<(), Box<dyn Error>> {
    let path = documents().join("benchmarks.md");
    let page = fs::read_to_string(&path)?;
    let begin = page.find(BEGIN).ok_or("the page has no mark to begin at")? + BEGIN.len();
    let end = page.find(END).ok_or("the page has no mark to end at")?;
    fs::write(&path, format!("{}\n\n{}\n{}", &page[..begin], figures(book), &page[end..]))?;
    Ok(())
}

/// A part for each machine.
fn figures(book: &Book) -> String {
    let parts = book.machines().map(|(machine, slug)| {
        let cells: Vec<&Cell> = book.cells().filter(|cell| cell.key.machine == machine).collect();
        let shown = format!("![per cent of the limit against tokens, {machine}]({})", plot(slug));
        let parts = [format!("### {machine}"), summary(&cells), shown, tables(&cells), absent(&cells)];
        let parts = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("\n\n") + "\n"
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// A table for each layer, type and routing.
fn tables(cells: &[&Cell]) -> String {
    let mut text = String::new();
    for layer in LAYERS {
        for types in Types::ALL {
            for routing in Routing::ALL {
                let cells = cells.iter().filter(|cell| {
                    let Key { layer: l, types: t, routing: r, .. } = &cell.key;
                    (l.as_str(), t.as_str(), r.as_str()) == (layer.name, types.name(), routing.name())
                });
                let rows: String = cells.map(|cell| line(cell)).collect();
                if !rows.is_empty() {
                    let _ = writeln!(
                        text,
                        "#### {} {}, {} routing\n\n| threads | tokens | moec ms | GFLOP/s | GB/s | of the limit | \
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
    text
}

/// Ratios of times, over groups of cells.
fn summary(cells: &[&Cell]) -> String {
    let mut groups: BTreeMap<(usize, String), Vec<f64>> = BTreeMap::new();
    for cell in cells {
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
        let _ =
            writeln!(text, "| {} | {} | {mean:.2} | {least:.2} | {below} |", name.trim_start(), ratios.len());
    }
    text
}

/// Every reason once, with the cells it holds for.
fn absent(cells: &[&Cell]) -> String {
    let mut reasons: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for cell in cells {
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
    let mut text = "#### Not in the tables\n\n".to_owned();
    for ((name, why), cells) in reasons {
        let _ = writeln!(text, "- {name}: {why} ({})", cells.join(", "));
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::cell;

    #[test]
    fn the_page_tells_ratios_and_reasons() {
        let mut book = Book::default();
        for (tokens, theirs) in [(1, 8.0), (32, 1.0)] {
            book.insert(cell("one", tokens, theirs)).unwrap();
        }
        let text = figures(&book);
        for line in [
            "| all cells | 2 | 1.41 | 0.50 | 1 |",
            "| 1 | 1 | 2.00 (1.00 to 3.00) | 1 | 2.0 | 50 % | fast | 8.00 | 50 % | 4.00 | slow 9.00 |",
            "- none: it has no words (olmoe f32 1, olmoe f32 32)",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }

    #[test]
    fn each_machine_has_a_part_of_its_own() {
        let mut book = Book::default();
        for (machine, tokens, theirs) in [("two cores", 32, 8.0), ("two cores", 1, 8.0), ("One", 1, 1.0)] {
            book.insert(cell(machine, tokens, theirs)).unwrap();
        }
        let text = figures(&book);
        let told = |line: &&str| {
            ["#", "!", "- ", "| all", "| 1 | 1 |", "| 1 | 32 |"].iter().any(|start| line.starts_with(start))
        };
        let lines: Vec<&str> = text.lines().filter(told).collect();
        assert_eq!(
            lines,
            [
                "### One",
                "| all cells | 1 | 0.50 | 0.50 | 1 |",
                "![per cent of the limit against tokens, One](benchmarks-one.svg)",
                "#### olmoe f32, uniform routing",
                "| 1 | 1 | 2.00 (1.00 to 3.00) | 1 | 2.0 | 50 % | fast | 1.00 | 50 % | 0.50 | slow 9.00 |",
                "#### Not in the tables",
                "- none: it has no words (olmoe f32 1)",
                "### two cores",
                "| all cells | 2 | 4.00 | 4.00 | 0 |",
                "![per cent of the limit against tokens, two cores](benchmarks-two-cores.svg)",
                "#### olmoe f32, uniform routing",
                "| 1 | 1 | 2.00 (1.00 to 3.00) | 1 | 2.0 | 50 % | fast | 8.00 | 50 % | 4.00 | slow 9.00 |",
                "| 1 | 32 | 2.00 (1.00 to 3.00) | 1 | 2.0 | 50 % | fast | 8.00 | 50 % | 4.00 | slow 9.00 |",
                "#### Not in the tables",
                "- none: it has no words (olmoe f32 1, olmoe f32 32)",
            ],
            "{text}"
        );
    }
}
