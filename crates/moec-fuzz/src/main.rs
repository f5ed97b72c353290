//! `cargo xtask fuzz`: long runs, one target after the other. New failures go to `tests/fuzz/failures/`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use moec_fuzz::{Campaign, Failure, Limit, Target, seeds, tests_folder, try_once};

const USAGE: &str = "\
usage: cargo xtask fuzz [--minutes N] [--target T] [--seed S]
       cargo xtask fuzz --try FILE --target T
       cargo xtask fuzz --seeds FOLDER --target T

  --minutes N     for how long, all targets together (1)
  --target T      source, ir_text, safetensors or model_folder (all of them)
  --seed S        other choices (1)
  --try FILE      this input alone
  --seeds FOLDER  writes the inputs to start from, for other fuzzers
";

struct Arguments {
    minutes: f64,
    targets: Vec<Target>,
    seed: u64,
    input: Option<PathBuf>,
    seeds: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["--help"] {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(arguments) = arguments(&words) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match &arguments {
        Arguments { input: Some(path), targets, .. } => try_file(path, targets),
        Arguments { seeds: Some(folder), targets, .. } => write_seeds(folder, targets),
        _ => campaigns(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(words: &[String]) -> Option<Arguments> {
    let mut arguments =
        Arguments { minutes: 1.0, targets: Target::ALL.to_vec(), seed: 1, input: None, seeds: None };
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--minutes" => arguments.minutes = value.parse().ok().filter(|n| (0.0..1e6).contains(n))?,
            "--target" => arguments.targets = vec![Target::from_name(value)?],
            "--seed" => arguments.seed = value.parse().ok()?,
            "--try" => arguments.input = Some(value.into()),
            "--seeds" => arguments.seeds = Some(value.into()),
            _ => return None,
        }
    }
    Some(arguments)
}

/// Whether nothing failed.
fn campaigns(arguments: &Arguments) -> std::io::Result<bool> {
    let failures = tests_folder().join("failures");
    fs::create_dir_all(&failures)?;
    // Panics are reported with their input, when the campaign has ended.
    std::panic::set_hook(Box::new(|_| ()));
    let mut sound = true;
    let time = Duration::from_secs_f64(arguments.minutes * 60.0 / arguments.targets.len() as f64);
    for &target in &arguments.targets {
        let running = failures.join(format!("{}-running", target.name()));
        println!(
            "{}: {:.0} s; an input that ends the process is in {}",
            target.name(),
            time.as_secs_f64(),
            running.display()
        );
        let campaign =
            Campaign { target, seed: arguments.seed, limit: Limit::Time(time), running: Some(running) };
        let report = campaign.run()?;
        let speed = report.executions as f64 / report.time.as_secs_f64().max(1e-9);
        println!(
            "{}: {} executions in {:.0} s of processor time, {speed:.0} a second, {} marks reached, {} inputs kept, {} failures",
            target.name(),
            report.executions,
            report.time.as_secs_f64(),
            report.marks,
            report.kept,
            report.failures.len()
        );
        for failure in &report.failures {
            let path = save(&failures, target, failure)?;
            println!("  {:?}: {}\n    {}", failure.kind, failure.message, path.display());
        }
        sound &= report.failures.is_empty();
    }
    Ok(sound)
}

fn save(folder: &Path, target: Target, failure: &Failure) -> std::io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    failure.input.hash(&mut hasher);
    let path = folder.join(format!("{}-{:016x}", target.name(), hasher.finish()));
    fs::write(&path, &failure.input)?;
    Ok(path)
}

fn write_seeds(folder: &Path, targets: &[Target]) -> std::io::Result<bool> {
    fs::create_dir_all(folder)?;
    for target in targets {
        for (number, seed) in seeds(*target)?.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(true)
}

/// Whether the input passes.
fn try_file(path: &Path, targets: &[Target]) -> std::io::Result<bool> {
    let input = fs::read(path)?;
    let mut sound = true;
    for &target in targets {
        match try_once(target, &input) {
            Ok(_) => println!("{}: passes", target.name()),
            Err(failure) => {
                println!("{}: {:?}: {}", target.name(), failure.kind, failure.message);
                sound = false;
            }
        }
    }
    Ok(sound)
}
