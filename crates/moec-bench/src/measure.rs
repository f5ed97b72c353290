//! One figure: rounds of calls, each beside the probes.

use serde::Serialize;

use crate::{BenchError, Caller, Probes, Rates, Useful};

/// How far a probe may be from the median of its kind before its round does not count.
const TOLERANCE: f64 = 0.15;

/// A round of calls takes about so many seconds.
pub const ROUND: f64 = 0.05;

/// The figures of one number of tokens.
#[derive(Debug, Clone, Serialize)]
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

/// Times calls in as many rounds, after one to warm up. Rounds in which a probe is far from its median do not
/// count and are made up for, at most as many again.
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
    let calls = caller.calls_in(ROUND)?;
    caller.round(calls)?;
    let mut taken: Vec<(f64, Rates)> = Vec::new();
    let mut kept = Vec::new();
    while taken.len() < 2 * rounds && kept.len() < rounds {
        taken.push((caller.round(calls)?, probes.once()));
        if taken.len() >= rounds {
            kept = steady(&taken, rounds);
        }
    }
    Ok(row(tokens, work, &kept, taken.len() - kept.len()))
}

/// The rounds whose probes are near the median; never fewer than half of those asked for, the nearest.
fn steady(taken: &[(f64, Rates)], rounds: usize) -> Vec<(f64, Rates)> {
    let usual = usual(taken);
    let mut kept = taken.to_vec();
    kept.sort_by(|(_, a), (_, b)| a.distance(&usual).total_cmp(&b.distance(&usual)));
    let near = kept.partition_point(|(_, rates)| rates.distance(&usual) <= TOLERANCE);
    kept.truncate(near.max(rounds.div_ceil(2)));
    kept
}

fn usual(taken: &[(f64, Rates)]) -> Rates {
    let of = |rate: &dyn Fn(&Rates) -> Option<f64>| {
        let mut values: Vec<f64> = taken.iter().filter_map(|(_, rates)| rate(rates)).collect();
        (!values.is_empty()).then(|| median(&mut values))
    };
    Rates {
        bytes: of(&|rates| Some(rates.bytes)).unwrap_or(f64::NAN),
        flops: of(&|rates| Some(rates.flops)).unwrap_or(f64::NAN),
        bf16_flops: of(&|rates| rates.bf16_flops),
    }
}

/// The figures of rounds that count.
fn row(tokens: u64, work: &Useful, kept: &[(f64, Rates)], discarded: usize) -> Row {
    let rates = usual(kept);
    let mut times: Vec<f64> = kept.iter().map(|(seconds, _)| *seconds).collect();
    let seconds = median(&mut times);
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
        rounds: kept.len(),
        discarded,
    }
}

/// The middle of the values, which are sorted afterwards; NaN of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rows as a table, with `title` above.
pub fn table(title: &str, rows: &[Row]) -> String {
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
        let rates = |bytes| Rates { bytes, flops: 4.0, bf16_flops: None };
        let taken = [(1.0, rates(10.0)), (5.0, rates(5.0)), (1.2, rates(10.5)), (1.1, rates(9.9))];
        let kept = steady(&taken, 4);
        assert_eq!(kept.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>(), [1.0, 1.1, 1.2]);
        assert_eq!(steady(&[(1.0, rates(1.0)), (2.0, rates(2.0)), (3.0, rates(9.0))], 4).len(), 2);
        let work = Useful { flops: 2.0, bf16_flops: 0.0, bytes: 10.0 };
        let row = row(1, &work, &kept, 1);
        assert_eq!((row.ms, row.least_ms, row.most_ms), (1100.0, 1000.0, 1200.0));
        assert_eq!((row.limit_ms, row.rounds, row.discarded), (1000.0, 3, 1));
    }
}
