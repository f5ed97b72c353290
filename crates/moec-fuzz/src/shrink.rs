//! Makes a failing input small: parts are left out as long as it still fails in the same way.

use std::time::{Duration, Instant};

use crate::{Failure, Target, try_once};

/// Small enough is what can be reached in this time.
const MAX_TIME: Duration = Duration::from_secs(20);

/// A smaller input that fails with the same message.
pub(crate) fn shrink(target: Target, failure: Failure) -> Failure {
    let start = Instant::now();
    let mut best = failure;
    let mut part = best.input.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < best.input.len() {
            if start.elapsed() > MAX_TIME {
                return best;
            }
            let mut smaller = best.input.clone();
            smaller.drain(at..(at + part).min(smaller.len()));
            match try_once(target, &smaller) {
                Err(found) if found.is_like(&best) => best = found,
                _ => at += part,
            }
        }
        part /= 2;
    }
    best
}
