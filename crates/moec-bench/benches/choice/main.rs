//! Whether the program that the cost model prefers is the faster one.
//!
//! `cargo bench -p moec-bench --bench choice -- [--target FILE.toml] [--threads N] [--rounds N] [--only PROGRAM]
//! [--write docs/cost-model.md]`
//!
//! For each program of `cases` and each number of tokens it gathers forms of the program that the optimiser
//! would extract: for other numbers of tokens, and of the first ones with fewer rewrites too. The one that is cheapest
//! by the model runs against the next best, in alternating rounds; medians are compared (`duel`). `--target` takes what
//! `moec calibrate --output FILE.toml` measured. `--write` puts the tables between the marks in the document.
//! Nothing else should run meanwhile.

mod cases;
mod duel;

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use moec::{Pool, Target};

use cases::Case;
use duel::Side;

const BEGIN: &str = "<!-- choices: written by the benchmark `choice` -->";
const END: &str = "<!-- end of choices -->";

/// What the command line asks for.
struct Wanted {
    target: Target,
    pool: Arc<Pool>,
    rounds: usize,
    /// The name of the only program to look at.
    only: Option<String>,
    write: Option<String>,
}

fn wanted() -> Result<Wanted, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (mut target, mut threads, mut rounds) = (Target::default(), cores, 9);
    let (mut only, mut write) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" => {}
            "--target" => target = Target::read(&std::fs::read_to_string(value()?)?)?,
            "--threads" => threads = value()?.parse()?,
            "--rounds" => rounds = value()?.parse::<usize>()?.max(1),
            "--only" => only = Some(value()?),
            "--write" => write = Some(value()?),
            other => return Err(format!("{other} is no option").into()),
        }
    }
    if only.is_some() && write.is_some() {
        return Err("--write is for the whole table, and --only for a part of it".into());
    }
    Ok(Wanted { target, pool: Arc::new(Pool::new(threads)?), rounds, only, write })
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = wanted()?;
    let mut text = format!("Target: {}.\n\n", wanted.target.source);
    text += &table(cases::layers(), "program", &wanted)?;
    text += "Extracted for different numbers of tokens:\n\n";
    text += &table(cases::crossings(), "program (borders)", &wanted)?;
    if let Some(path) = wanted.write {
        let document = std::fs::read_to_string(&path)?;
        let begin = document.find(BEGIN).ok_or("the document has no mark to begin at")? + BEGIN.len();
        let end = document.find(END).ok_or("the document has no mark to end at")?;
        std::fs::write(&path, format!("{}\n\n{text}{}", &document[..begin], &document[end..]))?;
    }
    Ok(())
}

/// A row for each pair of forms, and how many preferred ones were the faster.
fn table(cases: Vec<Case>, head: &str, wanted: &Wanted) -> Result<String, Box<dyn Error>> {
    let mut table = format!(
        "| {head} | tokens | preferred | model us | measured us | against | model us | measured us | \
         the preferred is |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    print!("{table}");
    let (mut pairs, mut right) = (0, 0);
    for case in cases.iter().filter(|case| wanted.only.as_ref().is_none_or(|only| only == case.name)) {
        let mut name = case.name.to_owned();
        if case.by_tokens {
            let borders = case.borders(&wanted.target)?;
            let borders: Vec<String> = borders.iter().map(u64::to_string).collect();
            let _ = write!(name, " ({})", borders.join(", "));
        }
        for &tokens in case.tokens {
            let Some(duel) = case.duel(tokens, &wanted.target, &wanted.pool, wanted.rounds)? else {
                continue;
            };
            let ratio = duel.other.measured / duel.preferred.measured;
            pairs += 1;
            right += usize::from(ratio >= 1.0);
            let verdict = match ratio {
                r if r >= 1.0 => format!("{r:.2} times as fast"),
                r => format!("**a miss: {:.2} times as slow**", 1.0 / r),
            };
            let us = |seconds: f64| format!("{:.1}", seconds * 1e6);
            let side = |side: &Side| format!("{} | {} | {}", side.words, us(side.model), us(side.measured));
            let sides = [&duel.preferred, &duel.other].map(side);
            let row = format!("| {name} | {tokens} | {} | {} | {verdict} |\n", sides[0], sides[1]);
            print!("{row}");
            table += &row;
        }
    }
    let _ = writeln!(table, "\n{right} of {pairs} choices were the faster program.\n");
    println!("{right} of {pairs}");
    Ok(table)
}
