//! `moec explain`: the long text of a diagnostic code, or what the optimiser did to a source.

use std::fmt::Write;
use std::path::Path;

use moec::diag::{Code, all, families, lookup, nearest};
use moec::{Artifact, Validation};

use crate::arguments::{ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moec explain                             every code, with its title
  moec explain shape-mismatch              what it means, an example, the cure
  moec explain model.moe                   the rules that fired, and the cost before and after")]
pub(crate) struct Args {
    /// A code such as `shape-mismatch`, or a source (`.moe`, `.moir`)
    #[arg(value_name = "CODE|FILE")]
    subject: Option<String>,

    /// The number of tokens that the cost model assumes
    #[arg(long, value_name = "N", default_value_t = 64)]
    tokens: u64,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    match args.subject.as_deref() {
        None => terminal.out(&list()),
        Some(subject) => match lookup(subject) {
            Some(code) => terminal.out(&format!("{}: {}\n\n{}", code.slug(), code.title(), code.text())),
            None if is_source(subject) => file(Path::new(subject), args, terminal),
            None => Err(unknown(subject)),
        },
    }
}

fn is_source(subject: &str) -> bool {
    subject == "-"
        || [".moe", ".moir"].iter().any(|ending| subject.ends_with(ending))
        || Path::new(subject).exists()
}

fn unknown(subject: &str) -> Failure {
    let near = nearest(subject, all().map(Code::slug));
    let help =
        near.map_or("`moec explain` lists all codes".to_owned(), |near| format!("did you mean `{near}`?"));
    Failure::Input(format!("there is no diagnostic code `{subject}`: {help}"))
}

fn list() -> String {
    let width = all().map(|code| code.slug().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (family, codes) in families() {
        let _ = writeln!(text, "{family}:");
        for code in codes {
            let _ = writeln!(text, "    {:width$}  {}", code.slug(), code.title());
        }
    }
    text
}

fn file(path: &Path, args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let source = read_source(path)?;
    let mut options = options(&args.model, Some(&args.optimise), terminal)?;
    options.tokens = Some(args.tokens);
    let artifact = moec::compile(&source, &options, &mut |_| ())
        .map_err(|error| Failure::compile(error, &source, terminal))?;
    terminal.out(&account(&artifact, args.tokens))
}

/// What the optimiser did, for people.
fn account(artifact: &Artifact, tokens: u64) -> String {
    let report = artifact.report();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {} operations became {}; estimated {} became {} a call, at {tokens} tokens",
        artifact.module().name,
        artifact.checked().ir.nodes.len(),
        artifact.module().nodes.len(),
        time(report.seconds_before()),
        time(report.seconds_after()),
    );
    let end = match report.limit {
        None => "until nothing new was found".to_owned(),
        Some(limit) => format!("until the limit of {limit}"),
    };
    let target = artifact.target();
    let _ = writeln!(text, "costs assume the target `{}`: {}", target.name, target.source);
    let (nodes, classes, rounds) = (report.nodes, report.classes, report.iterations);
    let _ = writeln!(text, "e-graph: {nodes} nodes in {classes} classes after {rounds} rounds, {end}");
    if let Some(reason) = &report.fallback {
        let _ = writeln!(text, "the source was kept as it is: {reason}");
    }
    let _ = writeln!(text, "validation: {}", validation(artifact.validation()));
    if !report.fired.is_empty() {
        text.push_str("\nrules that added something, and how often:\n");
        for count in &report.fired {
            let _ = writeln!(text, "    {:6}  {}", count.count, count.rule);
        }
    }
    text.push_str("\nthe program, with the estimated time of each operation and the rule that made it:\n");
    operations(&mut text, artifact);
    text
}

/// The optimised program, one operation a line; sources and operations on weights alone cost nothing.
fn operations(text: &mut String, artifact: &Artifact) {
    let printed = moec::ir::print(artifact.module());
    let lines = printed.lines().filter(|line| line.trim_start().starts_with('%'));
    for (line, node) in lines.zip(&artifact.report().after) {
        let cost = if node.seconds == 0.0 { String::new() } else { time(node.seconds) };
        let _ = writeln!(text, "    {cost:>9}  {}", line.trim_start());
        if let Some(rule) = node.rule {
            let _ = writeln!(text, "    {:9}      by {rule}", "");
        }
    }
}

fn validation(validation: &Validation) -> String {
    match validation {
        Validation::Agreed { seeds, difference } => {
            format!("agrees with the source on {seeds} random inputs at small sizes, within {difference:.1e}")
        }
        Validation::Unchecked { reason } => format!("not done: {reason}"),
        Validation::Differed { difference, output } => {
            format!(
                "`{output}` differed by {difference:.1e}; the source was compiled instead. This is a bug in moec"
            )
        }
        Validation::Unchanged => "not needed, nothing was changed".to_owned(),
    }
}

/// A time in the unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
