//! What each rule of the optimiser is good for: programs that cost more without it.
//!
//! `docs/ablation.md` names a witness for each rule: a program, and a number of tokens at which it
//! costs more when the rule is off. The test tries the witnesses. `cargo xtask ablation` tries every
//! rule on every program that it touches, prints that, and writes the page.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use moec::ir::Module;
use moec_opt::{Options, optimize, rule_infos};

/// Numbers of tokens at which costs are compared.
const TOKENS: [u64; 3] = [1, 64, 4096];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The programs of `tests/opt` and `examples/systems`, by name of the file.
fn programs() -> BTreeMap<String, Module> {
    let mut programs = BTreeMap::new();
    for folder in ["tests/opt", "examples/systems"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            if name.ends_with(".moe") {
                // A source that is wrong on purpose has no model.
                let (models, _) = moec_lower::lower_text(&text, &moec_lower::Options::default());
                programs.extend(models.into_iter().map(|model| (name.clone(), model.module)));
            } else if name.ends_with(".moir") && !name.ends_with(".opt.moir") {
                programs.insert(name, moec::ir::read(&text).unwrap());
            }
        }
    }
    programs
}

/// The estimated seconds of what becomes of a program, and the rules that added something.
fn optimised(module: &Module, tokens: u64, without: Option<&str>) -> (f64, Vec<&'static str>) {
    let ablate = without.map(str::to_owned).into_iter().collect();
    let options = Options { tokens, ablate, ..Options::default() };
    let report = optimize(module, &options).unwrap().report;
    let seconds = report.seconds_after();
    (seconds, report.fired.into_iter().map(|count| count.rule).collect())
}

/// Where a rule was off.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    program: String,
    tokens: u64,
    /// What the program costs without the rule, in parts of what it costs with it.
    ratio: f64,
}

/// More than this is not rounding.
const COSTLIER: f64 = 1.0 + 1e-9;

/// Every rule on every program that it adds something to.
fn matrix() -> BTreeMap<&'static str, Vec<Case>> {
    let programs: Vec<(String, Module)> = programs().into_iter().collect();
    let found = Mutex::new(BTreeMap::<&'static str, Vec<Case>>::new());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((program, module)) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
            for tokens in TOKENS {
                let (seconds, fired) = optimised(module, tokens, None);
                for rule in fired.into_iter().filter(|rule| *rule != "ordered_operands") {
                    let ratio = optimised(module, tokens, Some(rule)).0 / seconds;
                    let case = Case { program: program.clone(), tokens, ratio };
                    found.lock().unwrap().entry(rule).or_default().push(case);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut matrix = found.into_inner().unwrap();
    for cases in matrix.values_mut() {
        cases.sort_by(|a, b| {
            b.ratio.total_cmp(&a.ratio).then_with(|| (&a.program, a.tokens).cmp(&(&b.program, b.tokens)))
        });
    }
    matrix
}

fn page() -> PathBuf {
    root().join("docs/ablation.md")
}

const HEAD: &str =
    "| rule | class | witness | tokens | without it | costlier programs |\n|---|---|---|---:|---:|---:|\n";

/// A ratio in words.
fn costlier(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 2.0 => format!("{ratio:.1} times"),
        ratio if ratio >= 1.001 => format!("+{:.1} %", (ratio - 1.0) * 100.0),
        _ => "+ < 0.1 %".to_owned(),
    }
}

fn write_page() {
    let matrix = matrix();
    let mut table = HEAD.to_owned();
    for rule in rule_infos() {
        let cases = matrix.get(rule.name).map(Vec::as_slice).unwrap_or_default();
        for case in cases {
            println!("{:40} {:24} {:5} tokens  {:.6}", rule.name, case.program, case.tokens, case.ratio);
        }
        let mut programs: Vec<&str> =
            cases.iter().filter(|case| case.ratio > COSTLIER).map(|case| &*case.program).collect();
        programs.sort_unstable();
        programs.dedup();
        if let (Some(best), false) = (cases.first(), programs.is_empty()) {
            table += &format!(
                "| `{}` | {} | `{}` | {} | {} | {} |\n",
                rule.name,
                rule.numerics.name(),
                best.program,
                best.tokens,
                costlier(best.ratio),
                programs.len(),
            );
        } else {
            println!("{:40} makes no program cheaper", rule.name);
        }
    }
    let text = std::fs::read_to_string(page()).unwrap();
    let start = text.find("| rule |").unwrap();
    std::fs::write(page(), format!("{}{table}", &text[..start])).unwrap();
}

#[test]
fn every_rule_makes_its_witness_cheaper() {
    if std::env::var_os("MOEC_BLESS").is_some() {
        write_page();
    }
    let text = std::fs::read_to_string(page()).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: BTreeMap<&str, (&str, u64)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells[0], (cells[2], cells[3].parse().unwrap()))
        })
        .collect();
    // Rules that the page excuses, each with a reason.
    let excused: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`:").map(|(name, _)| name))
        .collect();
    let programs = programs();
    let mut idle = Vec::new();
    for rule in rule_infos() {
        let helps = |&(program, tokens): &(&str, u64)| {
            let module = programs.get(program)?;
            let with = optimised(module, tokens, None).0;
            Some(optimised(module, tokens, Some(rule.name)).0 > with * COSTLIER)
        };
        if rows.get(rule.name).and_then(helps) != Some(true) && !excused.contains(&rule.name) {
            idle.push(rule.name);
        }
    }
    assert!(idle.is_empty(), "`cargo xtask ablation` finds witnesses, or none: {idle:?}");
    let names: Vec<&str> = rule_infos().iter().map(|rule| rule.name).collect();
    let gone: Vec<_> = rows.keys().chain(&excused).filter(|name| !names.contains(name)).collect();
    assert!(gone.is_empty(), "the page has rules that are no more: {gone:?}");
}
