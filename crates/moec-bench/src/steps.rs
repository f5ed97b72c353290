//! Where the time of a call goes.

use serde::Serialize;

/// What a step takes, or some that are done together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// Their names in the plan.
    pub steps: Vec<String>,
    /// Median milliseconds of a call.
    pub ms: f64,
    /// Per cent of all steps.
    pub share: f64,
}

/// The steps of calls with so many tokens, for people.
pub fn step_table(tokens: u64, times: &[StepTime]) -> String {
    let mut text = format!("steps, {tokens} tokens\n{:>10} {:>7}  step\n", "ms", "share");
    for StepTime { steps, ms, share } in times {
        text += &format!("{ms:>10.4} {share:>6.1}%  {}\n", steps.join(" + "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_together_stands_in_one_line() {
        let time = |names: &[&str], ms, share| StepTime {
            steps: names.iter().map(|name| (*name).to_owned()).collect(),
            ms,
            share,
        };
        let text =
            step_table(4, &[time(&["row_v3"], 0.5, 25.0), time(&["product_v8", "product_v9"], 1.5, 75.0)]);
        assert_eq!(
            text,
            "steps, 4 tokens\n        ms   share  step\n    0.5000   25.0%  row_v3\n    1.5000   75.0%  \
             product_v8 + product_v9\n"
        );
    }
}
