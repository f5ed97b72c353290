//! `docs/models.md`: one row for each golden, written from what the test saw.

use std::collections::BTreeSet;
use std::path::Path;

use crate::layer::Layer;

const HEAD: &str = "\
# Models

Model types that `moec import` reads. Each is tried on a small layer with the names and the layout of
published files, against what PyTorch computes for it in f64 at 1, 29 and 257 tokens
(`tests/golden/make.py`), and the same experts must be chosen. What a layer looks like as source is
`tests/golden/NAME/source.moe`. Where a name says more than a model type, it is another form of it.

- *Rows* are the rows of matrix products with routed weights for each token: matrices of an
  expert times experts for a token. No expert computes a token that is not routed to it.
- *Rewritten by*: the rules that made an operation of the program compiled, besides those of every row:
  COMMON.
- *Difference* is the largest between the compiled program and PyTorch, of the scale of the output, on
  the machine where this page was written. The limit of the test is 1e-5.

`MOEC_BLESS=1 cargo test -p moec --test models` writes this page, and the test holds all of it but the
last column.
";

const TABLE: &str = "\
| model | family | router | experts | rows | rewritten by | difference |
|---|---|---|---|---|---|---|
";

/// A row of the page.
pub(crate) struct Row {
    name: String,
    family: String,
    router: String,
    experts: String,
    rows: String,
    rules: BTreeSet<&'static str>,
    difference: f64,
}

impl Row {
    pub(crate) fn of(name: &str, layer: &Layer) -> Row {
        let docs = layer.source.lines().filter_map(|line| line.strip_prefix("/// "));
        let text = docs.collect::<Vec<_>>().join("\n").replace("\n  ", " ").replace('|', "\\|");
        let said = |what: &str| {
            let said = text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
            said.trim_end_matches('.').to_owned()
        };
        let router = said("Router (");
        let (family, router) = router.split_once("): ").unwrap_or(("", &router));
        let mut experts = vec![said("Experts: ")];
        for (what, word) in [("Around the experts: ", "around them: "), ("Shared expert: ", "shared: ")] {
            let said = said(what);
            experts.extend((!said.is_empty()).then(|| format!("{word}{said}")));
        }
        Row {
            name: name.to_owned(),
            family: family.to_owned(),
            router: router.to_owned(),
            experts: experts.join("; "),
            rows: layer.rows_per_token().map(|rows| rows.to_string()).unwrap_or_default(),
            rules: layer.rules.clone(),
            difference: layer.of_code,
        }
    }

    /// All but the difference.
    fn text(&self, common: &BTreeSet<&str>) -> String {
        let Row { name, family, router, experts, rows, .. } = self;
        let rules: Vec<String> = self.rules.difference(common).map(|rule| format!("`{rule}`")).collect();
        format!("| `{name}` | {family} | {router} | {experts} | {rows} | {} |", rules.join(" "))
    }
}

/// Compares the page with the rows, or rewrites it. Gives what is wrong.
pub(crate) fn settle(path: &Path, rows: &[Row]) -> Option<String> {
    let all = rows.iter().map(|row| row.rules.clone()).reduce(|a, b| &a & &b).unwrap_or_default();
    let common: Vec<String> = all.iter().map(|rule| format!("`{rule}`")).collect();
    let head = HEAD.replace("COMMON", &common.join(",\n  "));
    let table: Vec<String> = rows.iter().map(|row| row.text(&all)).collect();
    if crate::is_blessing() {
        let table = table.iter().zip(rows).map(|(text, row)| format!("{text} {:.0e} |\n", row.difference));
        return crate::settle(path, &format!("{head}\n{TABLE}{}", table.collect::<String>()));
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let mut expected = format!("{head}\n{TABLE}").lines().map(str::to_owned).collect::<Vec<_>>();
    expected.extend(table);
    let is_row = |line: &str| line.starts_with("| `");
    let without =
        |line: &str| line.trim_end_matches(" |").rfind('|').map_or("", |at| &line[..=at]).to_owned();
    let found = held.lines().map(|line| if is_row(line) { without(line) } else { line.to_owned() });
    let found: Vec<String> = found.collect();
    let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    (found != expected).then(|| format!("{}: MOEC_BLESS=1 rewrites it; {differs:?}", path.display()))
}
