//! Project chores, run as `cargo xtask NAME`. Knows the layout of the repository and nothing of the
//! compiler.
//!
//! `tidy` holds the rules of the house that neither rustc nor clippy can: see `tidy/mod.rs`. It
//! also runs as a test of this crate.

mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask NAME

  ci [--skip STEP]...   everything that must pass before a change is merged, step by step:
                        fmt, clippy, tidy, test, doc
  tidy                  layering, library rooms, unsafe, licences and other rules of the house
  bless                 run all tests and write their new output over the expected one
  nets                  try wrong rules on the nets that hold the optimiser, and print which caught
                        which; writes docs/soundness.md
  ablation              print what gets costlier without each rule of the optimiser; writes
                        docs/ablation.md
  bench [OPTION]...     time layers beside the limits of this machine: see `bench --help`
  fuzz [OPTION]...      throw damaged programs and weight files at the compiler: see `fuzz --help`
  fuzz-coverage TARGET [OPTION]...
                        the same with libFuzzer, which looks at coverage and takes the options;
                        needs a C++ compiler
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ci", options @ ..] => ci(options),
        ["tidy"] => run_tidy(),
        ["bless"] => bless(),
        ["nets"] => report(&["-p", "moec-opt", "--lib", "soundness::nets"]),
        ["ablation"] => report(&["-p", "moec", "--test", "ablation"]),
        ["bench", options @ ..] => {
            cargo(&[&["run", "--quiet", "--release", "--package", "moec-bench", "--"], options].concat(), &[])
        }
        ["fuzz-coverage", target, options @ ..] => fuzz_coverage(target, options),
        ["fuzz", options @ ..] => {
            cargo(&[&["run", "--quiet", "--package", "moec-fuzz", "--"], options].concat(), &[])
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

fn ci(options: &[&str]) -> Result<(), String> {
    type Step = (&'static str, fn() -> Result<(), String>);
    let steps: [Step; 5] = [
        ("fmt", || cargo(&["fmt", "--all", "--check"], &[])),
        ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])),
        ("tidy", run_tidy),
        ("test", || cargo(&["test", "--workspace"], &[])),
        ("doc", || cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])),
    ];
    let mut skipped = Vec::new();
    for pair in options.chunks(2) {
        match pair {
            ["--skip", step] if steps.iter().any(|(name, _)| name == step) => skipped.push(*step),
            _ => return Err(format!("`{}` is not --skip and a step\n\n{USAGE}", pair.join(" "))),
        }
    }
    for (name, run) in steps {
        if skipped.contains(&name) {
            continue;
        }
        println!("== {name}");
        run().map_err(|message| format!("{name}: {message}"))?;
    }
    Ok(())
}

fn bless() -> Result<(), String> {
    cargo(&["test", "--workspace", "--no-fail-fast"], &[("MOEC_BLESS", "1"), ("INSTA_UPDATE", "always")])?;
    println!("expected output rewritten where it differed: review it with `git diff`");
    Ok(())
}

/// Runs the tests that `selection` names, which print a report and write it into its page.
fn report(selection: &[&str]) -> Result<(), String> {
    cargo(&[&["test", "--quiet"], selection, &["--", "--nocapture"]].concat(), &[("MOEC_BLESS", "1")])
}

fn run_tidy() -> Result<(), String> {
    let report = tidy::check(&root())?;
    for note in &report.notes {
        println!("note: {note}");
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    Err(format!("{} findings\n{}", findings.len(), findings.join("\n")))
}

/// What libFuzzer needs in the code; no nightly compiler is asked for.
const INSTRUMENTED: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The limits of `moec_fuzz::Campaign`, said to libFuzzer.
const LIMITS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=65536"];

fn fuzz_coverage(target: &str, options: &[&str]) -> Result<(), String> {
    let folder = root().join("tests/fuzz");
    let corpus = folder.join("coverage/corpus").join(target).display().to_string();
    cargo(&["run", "--quiet", "--package", "moec-fuzz", "--", "--seeds", &corpus, "--target", target], &[])?;
    let manifest = folder.join("coverage/Cargo.toml").display().to_string();
    // With a target triple, build scripts are not instrumented.
    let host = host()?;
    let mut arguments = vec!["run", "--release", "--manifest-path", &manifest, "--target", &host];
    arguments.extend(["--target-dir", "target/fuzz-coverage", "--bin", target, "--", &corpus]);
    let artifacts = format!("-artifact_prefix={}/{target}-", folder.join("failures").display());
    std::fs::create_dir_all(folder.join("failures")).map_err(|error| error.to_string())?;
    arguments.push(&artifacts);
    cargo(&[&arguments[..], &LIMITS, options].concat(), &[("RUSTFLAGS", INSTRUMENTED)])
}

/// The triple of this machine.
fn host() -> Result<String, String> {
    let output =
        Command::new("rustc").arg("-vV").output().map_err(|error| format!("cannot start rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say its host".to_owned())
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", arguments.join(" "))) }
}
