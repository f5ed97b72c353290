//! What an input costs: processor time and address space, as Linux tells them. Elsewhere time is that
//! of the clock, and memory is not looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The processor time of the thread that started it. A clock would count what other programs take.
#[derive(Debug, Clone)]
pub(crate) struct Stopwatch {
    /// Where the system counts the thread's time.
    counter: Option<PathBuf>,
    before: Duration,
    start: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        let counter = fs::canonicalize("/proc/thread-self").map(|thread| thread.join("schedstat")).ok();
        let before = counter.as_deref().and_then(busy);
        Stopwatch {
            counter: counter.filter(|_| before.is_some()),
            before: before.unwrap_or_default(),
            start: Instant::now(),
        }
    }

    /// How long the thread has been busy since the start. May be asked from any thread.
    pub(crate) fn elapsed(&self) -> Duration {
        match self.counter.as_deref().and_then(busy) {
            Some(now) => now.saturating_sub(self.before),
            None => self.start.elapsed(),
        }
    }
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn busy(counter: &Path) -> Option<Duration> {
    let text = fs::read_to_string(counter).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The most address space the process ever had; 0 where the system does not say.
pub(crate) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_not_work() {
        let watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(200));
        if watch.counter.is_some() {
            assert!(watch.elapsed() < Duration::from_millis(150), "{:?}", watch.elapsed());
        }
    }
}
