//! `docs/models.md`: one row for each golden, written from what the test saw.

use std::path::Path;

use crate::layer::Layer;

const HEAD: &str = "\
# Models

Model types that `moec import` reads, each tried on a small layer with the names and layout of published
files, against what PyTorch computes for it in f64 at 1, 29 and 257 tokens (`tests/golden/make.py`). In all
of them the same experts are chosen, and an expert computes the tokens routed to it and no others. What a
layer looks like as source is `tests/golden/NAME/source.moe`; families R1 to R16 of routers are described
in its comments.

The difference is the largest of the compiled program, of the scale of the output, on the machine where
this page was written. `MOEC_BLESS=1 cargo test -p moec --test models` writes it; the test holds
everything but the differences, which it bounds by 1e-5.
";

/// A row of the page.
pub(crate) struct Row {
    name: String,
    router: String,
    experts: String,
    rules: String,
    difference: f64,
}

impl Row {
    pub(crate) fn of(name: &str, layer: &Layer) -> Row {
        let said = |what: &str| {
            let lines = layer.source.lines().filter_map(|line| line.strip_prefix("/// "));
            let said: Vec<&str> = lines.filter(|line| line.starts_with(what)).collect();
            said.join(" ").replace('|', "\\|")
        };
        let experts = [said("Experts"), said("Shared"), said("Around")].join(" ");
        let rules: Vec<String> = layer.rules.iter().map(|rule| format!("`{rule}`")).collect();
        Row {
            name: name.to_owned(),
            router: said("Router"),
            experts: experts.trim().to_owned(),
            rules: rules.join(" "),
            difference: layer.of_code,
        }
    }

    fn text(&self) -> String {
        format!("| `{}` | {} | {} | {} |", self.name, self.router, self.experts, self.rules)
    }
}

/// Compares the page with the rows, or rewrites it. Gives what is wrong.
pub(crate) fn settle(path: &Path, rows: &[Row]) -> Option<String> {
    let head =
        format!("{HEAD}\n| model | router | experts | rewritten by | difference |\n|---|---|---|---|---|\n");
    if crate::is_blessing() {
        let rows: String =
            rows.iter().map(|row| format!("{} {:.0e} |\n", row.text(), row.difference)).collect();
        return crate::settle(path, &format!("{head}{rows}"));
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let expected: String = rows.iter().map(|row| format!("{}\n", row.text())).collect();
    let (page, table) = held.split_at(held.find("\n| `").map_or(held.len(), |at| at + 1));
    let without = |line: &str| {
        line.strip_suffix(" |").and_then(|l| l.rfind(" | ").map(|at| format!("{} |\n", &l[..at])))
    };
    let found: String = table.lines().map(|line| without(line).unwrap_or_default()).collect();
    (page != head || found != expected)
        .then(|| format!("{} is not what MOEC_BLESS=1 writes:\n{expected}", path.display()))
}
