//! `cargo xtask bench`: the layers of the repository, cell by cell.

mod arguments;
mod book;
mod cells;
mod contest;
mod machine;
mod page;
mod peers;
mod ready;

use std::process::ExitCode;

use arguments::{Arguments, USAGE};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["--help"] {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let outcome = Arguments::read(&words).map_err(|message| format!("{message}\n\n{USAGE}").into());
    match outcome
        .and_then(|arguments| if arguments.peers { contest::run(&arguments) } else { cells::run(&arguments) })
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
