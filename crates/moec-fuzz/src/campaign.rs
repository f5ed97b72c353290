//! A run of the fuzzer: pick an input, damage it, try it, keep it if it reached something new. What is
//! tried depends on the seed and the corpus alone; only the limits look at a clock.

use std::any::Any;
use std::fs;
use std::io::{self, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus::seeds;
use crate::dice::Dice;
use crate::meter::{Stopwatch, peak_bytes};
use crate::mutate::Mutator;
use crate::reach::own_words;
use crate::shrink::shrink;
use crate::{Reach, Target};

/// An input that takes more processor time is a failure.
const SLOW: Duration = Duration::from_secs(5);

/// An input that takes longer than this is not waited for.
const HUNG: Duration = Duration::from_secs(60);

/// An input whose address space grows by more is a failure: some size was believed.
const BLOATED_BYTES: u64 = 1 << 30;

/// Inputs kept because they reached something new.
const MAX_KEPT: usize = 20_000;

/// Different failures after which there is no point in going on.
const MAX_FAILURES: usize = 20;

/// The stack of the thread that tries inputs: that of any thread, so that callers need no larger one.
const STACK_BYTES: usize = 2 << 20;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// After so many inputs.
    Executions(u64),
    /// After this time.
    Time(Duration),
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// What is fuzzed.
    pub target: Target,
    /// Determines every choice.
    pub seed: u64,
    /// When to stop.
    pub limit: Limit,
    /// A file that holds the input being tried, for those that end the process; none is written
    /// without it.
    pub running: Option<PathBuf>,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs tried.
    pub executions: u64,
    /// The processor time that this took.
    pub time: Duration,
    /// Inputs kept beyond the seeds.
    pub kept: usize,
    /// Marks reached.
    pub marks: usize,
    /// One for each place that failed.
    pub failures: Vec<Failure>,
}

/// An input that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In what way.
    pub kind: FailureKind,
    /// The message of the panic with its place, or the number that is too large.
    pub message: String,
    /// The input, as small as it could be made.
    pub input: Vec<u8>,
}

/// In what way an input failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The compiler panicked or broke a promise.
    Panic,
    /// It took more than five seconds.
    Slow,
    /// It did not end.
    Hang,
    /// It asked for a gigabyte or more.
    Memory,
}

/// The input being tried and how long it has been.
type Current = Arc<Mutex<Option<(Stopwatch, Vec<u8>)>>>;

impl Campaign {
    /// Runs it to its limit. The error is one of reading the corpus.
    pub fn run(&self) -> io::Result<Report> {
        let seeds = seeds(self.target)?;
        let current = Current::default();
        let (sender, receiver) = channel();
        let worker = {
            let (campaign, current) = (self.clone(), Arc::clone(&current));
            thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || drop(sender.send(campaign.work(seeds, &current))))?
        };
        loop {
            match receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(report) => {
                    drop(worker.join());
                    return report;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the fuzzer itself panicked"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let running = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some((_, input)) = running.filter(|(watch, _)| watch.elapsed() > HUNG) {
                        let message = format!("no end after {} s", HUNG.as_secs());
                        let failure = Failure { kind: FailureKind::Hang, message, input };
                        return Ok(Report { failures: vec![failure], ..Report::default() });
                    }
                }
            }
        }
    }

    fn work(&self, seeds: Vec<Vec<u8>>, current: &Current) -> io::Result<Report> {
        let mut running = self.running.as_ref().map(fs::File::create).transpose()?;
        let mutator = Mutator::new(self.target, &seeds);
        let mut dice = Dice::new(self.seed);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut reached = Reach::default();
        let mut report = Report::default();
        let (start, busy) = (Instant::now(), Stopwatch::start());
        let mut fresh = seeds.clone().into_iter();
        while !self.limit.is_met(report.executions, start) && report.failures.len() < MAX_FAILURES {
            let input = fresh.next().unwrap_or_else(|| {
                let pool = if kept.is_empty() || dice.once_in(3) { &seeds } else { &kept };
                let (base, other) = (dice.pick(pool), dice.pick(&seeds));
                mutator.mutate(&mut dice, base, other)
            });
            if let Some(file) = &mut running {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(&input)?;
            }
            *current.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Stopwatch::start(), input.clone()));
            let outcome = try_once(self.target, &input);
            *current.lock().unwrap_or_else(PoisonError::into_inner) = None;
            report.executions += 1;
            match outcome {
                Ok(reach) => {
                    if reached.absorb(&reach) && kept.len() < MAX_KEPT {
                        kept.push(input);
                    }
                }
                Err(failure) if report.failures.iter().any(|known| known.is_like(&failure)) => {}
                Err(failure) => report.failures.push(shrink(self.target, failure)),
            }
        }
        report.time = busy.elapsed();
        report.kept = kept.len();
        report.marks = reached.len();
        if let Some(path) = &self.running {
            fs::remove_file(path)?;
        }
        Ok(report)
    }
}

impl Failure {
    /// Whether both are most likely one fault.
    pub(crate) fn is_like(&self, other: &Failure) -> bool {
        self.kind == other.kind && own_words(&self.message) == own_words(&other.message)
    }
}

impl Limit {
    fn is_met(self, executions: u64, start: Instant) -> bool {
        match self {
            Limit::Executions(most) => executions >= most,
            Limit::Time(most) => start.elapsed() >= most,
        }
    }
}

/// Tries one input: what it reached, or how it failed.
pub fn try_once(target: Target, input: &[u8]) -> Result<Reach, Failure> {
    let fail = |kind, message: String| Err(Failure { kind, message, input: input.to_vec() });
    let memory_before = peak_bytes();
    let watch = Stopwatch::start();
    let reach = match catch_unwind(AssertUnwindSafe(|| target.run(input))) {
        Ok(reach) => reach,
        Err(payload) => return fail(FailureKind::Panic, first_line(&*payload)),
    };
    if watch.elapsed() > SLOW {
        return fail(FailureKind::Slow, format!("more than {} s", SLOW.as_secs()));
    }
    if peak_bytes() > memory_before + BLOATED_BYTES {
        return fail(FailureKind::Memory, format!("more than {} MiB at once", BLOATED_BYTES >> 20));
    }
    Ok(reach)
}

/// The head of a panic's message: what follows quotes the input.
fn first_line(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without text");
    text.lines().next().unwrap_or_default().to_owned()
}
