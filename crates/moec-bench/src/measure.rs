//! One figure: rounds of calls, each beside the probes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BenchError, Caller, Probes, Rates, Useful};

/// How far a probe may be from the median of its kind before its round does not count.
const TOLERANCE: f64 = 0.15;

/// A round of calls takes about so many seconds.
pub const ROUND: f64 = 0.05;

/// The figures of one number of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// How many.
    pub tokens: u64,
    /// Median milliseconds of a call.
    pub ms: f64,
    /// The least of a round.
    pub least_ms: f64,
    /// The most of a round.
    pub most_ms: f64,
    /// Useful flops a second, in 1e9.
    pub gflops: f64,
    /// Bytes of touched weights a second, in 1e9.
    pub gbytes: f64,
    /// What the probe reached beside it: of bf16 pairs, where most of the flops are theirs.
    pub probe_gflops: f64,
    /// Likewise for memory.
    pub probe_gbytes: f64,
    /// The least time that these allow.
    pub limit_ms: f64,
    /// The limit in per cent of the time.
    pub of_limit: f64,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds that do not, because a probe was off.
    pub discarded: usize,
}

impl Row {
    /// The same to four digits: more are noise.
    pub fn rounded(mut self) -> Row {
        let Row {
            ms, least_ms, most_ms, gflops, gbytes, probe_gflops, probe_gbytes, limit_ms, of_limit, ..
        } = &mut self;
        for value in [ms, least_ms, most_ms, gflops, gbytes, probe_gflops, probe_gbytes, limit_ms, of_limit] {
            if *value != 0.0 && value.is_finite() {
                let digits = 10f64.powf(3.0 - value.abs().log10().floor());
                *value = (*value * digits).round() / digits;
            }
        }
        self
    }
}

/// Something that is timed in turns with others.
pub trait Contender {
    /// Seconds of a call, on average over that many; none once it has given up.
    ///
    /// # Errors
    /// If a call fails.
    fn round(&mut self, calls: usize) -> Result<Option<f64>, BenchError>;
}

impl Contender for Caller {
    fn round(&mut self, calls: usize) -> Result<Option<f64>, BenchError> {
        Caller::round(self, calls).map(Some)
    }
}

/// Rounds of turns that count, and how many do not, because a probe was off.
#[derive(Debug)]
pub struct Rounds {
    kept: Vec<Round>,
    discarded: usize,
}

/// Seconds of a call of each contender that had a turn, and the probes beside them.
#[derive(Debug, Clone)]
struct Round {
    seconds: Vec<Option<f64>>,
    rates: Rates,
}

/// A contender this much slower than the best of the others after [`SLOW_AFTER`] rounds has no further turns.
const SLOW: f64 = 2.0;
const SLOW_AFTER: usize = 3;

/// Before its turn a contender waits so long, so that the threads of the one before have gone to sleep.
const PAUSE: Duration = Duration::from_millis(10);

/// Times calls of all contenders in strict turns, in as many rounds, after one to warm up. Rounds in which a
/// probe is far from its median do not count and are made up for, at most as many again. The first
/// contender has a turn in every round; of the others, those that are far behind drop out.
///
/// # Errors
/// If a call fails.
pub fn take_turns(
    contenders: &mut [&mut dyn Contender],
    probes: &Probes,
    rounds: usize,
) -> Result<Rounds, BenchError> {
    let mut calls = Vec::new();
    for contender in contenders.iter_mut() {
        contender.round(1)?;
        let once = contender.round(1)?;
        let count = once.map(|seconds| (ROUND / seconds.max(1e-9)).clamp(1.0, 1e5) as usize);
        if let Some(count) = count.filter(|&count| count > 1) {
            contender.round(count)?;
        }
        calls.push(count);
    }
    let several = contenders.len() > 1;
    let (mut taken, mut kept) = (Vec::new(), Vec::new());
    while taken.len() < 2 * rounds && kept.len() < rounds {
        let mut seconds = Vec::new();
        for (contender, calls) in contenders.iter_mut().zip(&mut calls) {
            if several {
                std::thread::sleep(PAUSE);
            }
            let time = calls.map(|calls| contender.round(calls)).transpose()?.flatten();
            if time.is_none() {
                *calls = None;
            }
            seconds.push(time);
        }
        taken.push(Round { seconds, rates: probes.once() });
        if taken.len() == SLOW_AFTER {
            drop_slow(&taken, &mut calls);
        }
        if taken.len() >= rounds {
            kept = steady(&taken, rounds);
        }
    }
    Ok(Rounds { discarded: taken.len() - kept.len(), kept })
}

fn drop_slow(taken: &[Round], calls: &mut [Option<usize>]) {
    let middle = |at: usize| {
        let mut times: Vec<f64> = taken.iter().filter_map(|round| round.seconds[at]).collect();
        median(&mut times)
    };
    let best = (1..calls.len()).map(middle).fold(f64::INFINITY, f64::min);
    for (at, calls) in calls.iter_mut().enumerate().skip(1) {
        if middle(at) > SLOW * best {
            *calls = None;
        }
    }
}

/// Times calls of one program.
///
/// # Errors
/// If a call fails.
pub fn measure(
    caller: &mut Caller,
    tokens: u64,
    work: &Useful,
    probes: &Probes,
    rounds: usize,
) -> Result<Row, BenchError> {
    let rounds = take_turns(&mut [caller], probes, rounds)?;
    rounds.row(0, tokens, work).ok_or(BenchError::NoInput)
}

/// The rounds whose probes are near the median; never fewer than half of those asked for, the nearest.
fn steady(taken: &[Round], rounds: usize) -> Vec<Round> {
    let usual = usual(taken);
    let mut kept = taken.to_vec();
    kept.sort_by(|a, b| a.rates.distance(&usual).total_cmp(&b.rates.distance(&usual)));
    let near = kept.partition_point(|round| round.rates.distance(&usual) <= TOLERANCE);
    kept.truncate(near.max(rounds.div_ceil(2)));
    kept
}

fn usual(taken: &[Round]) -> Rates {
    Rates::median(&taken.iter().map(|round| round.rates).collect::<Vec<_>>())
}

impl Rounds {
    /// The figures of one contender; none if it had no turn that counts.
    pub fn row(&self, contender: usize, tokens: u64, work: &Useful) -> Option<Row> {
        let mut times: Vec<f64> = self.kept.iter().filter_map(|round| round.seconds[contender]).collect();
        let row = row(tokens, work, usual(&self.kept), &mut times, self.discarded);
        (!times.is_empty()).then_some(row)
    }
}

/// The figures of rounds that count.
fn row(tokens: u64, work: &Useful, rates: Rates, times: &mut [f64], discarded: usize) -> Row {
    let seconds = median(times);
    let limit = rates.limit(work);
    let bound_by_pairs = work.bf16_flops > work.flops;
    let flops = if bound_by_pairs { rates.bf16_flops.unwrap_or(rates.flops) } else { rates.flops };
    Row {
        tokens,
        ms: seconds * 1e3,
        least_ms: times.first().copied().unwrap_or(f64::NAN) * 1e3,
        most_ms: times.last().copied().unwrap_or(f64::NAN) * 1e3,
        gflops: (work.flops + work.bf16_flops) / seconds / 1e9,
        gbytes: work.bytes / seconds / 1e9,
        probe_gflops: flops / 1e9,
        probe_gbytes: rates.bytes / 1e9,
        limit_ms: limit * 1e3,
        of_limit: 100.0 * limit / seconds,
        rounds: times.len(),
        discarded,
    }
}

/// The middle of the values, which are sorted afterwards; NaN of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rows as a table, with `title` above.
pub fn table<'r>(title: &str, rows: impl IntoIterator<Item = &'r Row>) -> String {
    let mut text = format!(
        "{title}\n{:>8} {:>10} {:>9} {:>8} {:>14} {:>13} {:>10} {:>9} {:>7}\n",
        "tokens", "ms", "GFLOP/s", "GB/s", "probe GFLOP/s", "probe GB/s", "limit ms", "of limit", "rounds"
    );
    for row in rows {
        text += &format!(
            "{:>8} {:>10.4} {:>9.1} {:>8.1} {:>14.1} {:>13.1} {:>10.4} {:>8.0}% {:>7}\n",
            row.tokens,
            row.ms,
            row.gflops,
            row.gbytes,
            row.probe_gflops,
            row.probe_gbytes,
            row.limit_ms,
            row.of_limit,
            format!("{}/{}", row.rounds, row.rounds + row.discarded),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_in_which_the_machine_was_disturbed_do_not_count() {
        let round = |seconds, bytes| Round {
            seconds: vec![Some(seconds)],
            rates: Rates { bytes, flops: 4.0, bf16_flops: None },
        };
        let taken = [round(1.0, 10.0), round(5.0, 5.0), round(1.2, 10.5), round(1.1, 9.9)];
        let kept = steady(&taken, 4);
        assert_eq!(kept.iter().map(|round| round.seconds[0]).collect::<Vec<_>>(), [1.0, 1.1, 1.2].map(Some));
        assert_eq!(steady(&[round(1.0, 1.0), round(2.0, 2.0), round(3.0, 9.0)], 4).len(), 2);
        let work = Useful { flops: 2.0, bf16_flops: 0.0, bytes: 10.0 };
        let row = Rounds { kept, discarded: 1 }.row(0, 1, &work).unwrap();
        assert_eq!((row.ms, row.least_ms, row.most_ms), (1100.0, 1000.0, 1200.0));
        assert_eq!((row.limit_ms, row.rounds, row.discarded), (1000.0, 3, 1));
    }

    #[test]
    fn four_digits_are_kept() {
        let rates = Rates { bytes: 3.0, flops: 7.0, bf16_flops: None };
        let work = Useful { flops: 1.0, bf16_flops: 0.0, bytes: 1.0 };
        let row = row(1, &work, rates, &mut [0.000_123_456], 0).rounded();
        assert_eq!((row.ms, row.limit_ms, row.of_limit), (0.1235, 333.3, 270_000.0));
    }

    #[test]
    fn who_is_far_behind_the_best_of_the_others_drops_out() {
        let rates = Rates { bytes: 1.0, flops: 1.0, bf16_flops: None };
        let seconds = [9.0, 1.0, 1.9, 2.1].map(Some).to_vec();
        let mut calls = [Some(1); 4];
        drop_slow(&[Round { seconds, rates }], &mut calls);
        assert_eq!(calls, [Some(1), Some(1), Some(1), None]);
    }
}
