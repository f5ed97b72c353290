//! `moec explain`: the long text of a diagnostic code, or what the optimiser did to a source.

mod account;
mod page;
mod text;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use moec::diag::{Code, all, families, lookup, nearest};

use crate::arguments::{ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::{read_source, write};
use crate::terminal::Terminal;

use account::Account;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moec explain                             every code, with its title
  moec explain shape-mismatch              what it means, an example, the cure
  moec explain model.moe                   the program before and after, its cost, and why
  moec explain model.moe --html why.html   the same as a page, with the e-graph around each operation")]
pub(crate) struct Args {
    /// A code such as `shape-mismatch`, or a source (`.moe`, `.moir`)
    #[arg(value_name = "CODE|FILE")]
    subject: Option<String>,

    /// The number of tokens that the cost model assumes
    #[arg(long, value_name = "N", default_value_t = 64)]
    tokens: u64,

    /// Writes a page of HTML instead, which needs no network to be read
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,

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
    let explanation = moec::explain(&source, &options, &mut |_| ())
        .map_err(|error| Failure::compile(error, &source, terminal))?;
    terminal.faults(&moec::faults(&explanation.report, &explanation.validation));
    let account = Account::of(&explanation, &options.target);
    match &args.html {
        Some(path) => {
            let page = page::page(&account).map_err(Failure::input)?;
            write(path, &page)
        }
        None => terminal.out(&text::text(&account)),
    }
}
