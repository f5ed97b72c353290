//! The `moec` command: arguments, files, the terminal, exit codes. Everything else is the facade's.
//!
//! Exit codes: 0 done; 1 the input was wrong; 2 usage; 3 unknown (`diff`); 101 our bug.

mod arguments;
mod commands;
mod failure;
mod files;
mod memory;
mod targets;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use arguments::Cli;
use terminal::Terminal;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("moec: this is a bug in moec: {panic}\n{}", failure::ASK_FOR_REPORT);
    }));
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.color);
    match commands::run(&cli.command, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&terminal),
    }
}
