//! `moec opt`: the stages of a compilation as text.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use moec::Emit;

use crate::arguments::{ModelArgs, OptimiseArgs, options};
use crate::failure::Failure;
use crate::files::read_source;
use crate::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stages, in order: ir (as lowered), egraph (after saturation), opt (the cheapest program),
plan (kernels and buffers), clif (Cranelift's IR), asm (machine code).

Examples:
  moec opt model.moe
  moec opt model.moe --emit ir,opt,plan --tokens 1
  moec opt model.moe --tokens all          a program for each range of tokens, where they differ
  moec opt model.moe --emit asm --target aarch64")]
pub(crate) struct Args {
    /// The source, `.moe` or `.moir`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What to print, one or more stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', default_value = "opt",
          value_parser = PossibleValuesParser::new(Emit::ALL.map(Emit::name)))]
    emit: Vec<String>,

    /// The number of tokens that the program is chosen for; `all` for the program of each range
    #[arg(long, value_name = "N|all", default_value = "64", value_parser = tokens)]
    tokens: Tokens,

    #[command(flatten)]
    optimise: OptimiseArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// A number of tokens, or every range of them.
#[derive(Debug, Clone, Copy)]
struct Tokens(Option<u64>);

fn tokens(text: &str) -> Result<Tokens, String> {
    if text == "all" {
        return Ok(Tokens(None));
    }
    text.parse().map(|n| Tokens(Some(n))).map_err(|_| "expected a number of tokens, or `all`".to_owned())
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<(), Failure> {
    let source = read_source(&args.file)?;
    let mut options = options(&args.model, Some(&args.optimise), terminal)?;
    options.tokens = args.tokens.0;
    let forms: Vec<Emit> = args.emit.iter().filter_map(|name| Emit::from_name(name)).collect();
    let texts = moec::emit(&source, &options, &forms, &mut |_| ())
        .map_err(|error| Failure::compile(error, &source, terminal))?;
    let several = texts.len() > 1;
    for (form, text) in texts {
        if several {
            terminal.out(&format!("// ---- {} ----\n", form.name()))?;
        }
        terminal.out(&text)?;
    }
    Ok(())
}
