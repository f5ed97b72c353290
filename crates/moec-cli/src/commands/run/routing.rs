//! How pairs of token and expert fared in a call, for people and for scripts.

use moec::{PlanRouting, Routing};
use serde::Serialize;

/// The experts that are named in the text; all are in the JSON.
const NAMED: usize = 4;

/// What capacities dropped, plan by plan, and in all.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    plans: Vec<Plan>,
    /// Where pairs may be dropped that are not counted, and why.
    not_counted: Vec<String>,
}

/// What became of the pairs of a plan.
#[derive(Debug, Serialize)]
struct Plan {
    #[serde(flatten)]
    routing: PlanRouting,
    /// Of all experts; none where the plan has no capacity.
    total: Option<Total>,
}

/// Sums over experts.
#[derive(Debug, Serialize)]
struct Total {
    pairs: u64,
    dropped: u64,
    gate: f64,
    lost: f64,
    /// The part of the gate mass that was lost; 0 without any mass.
    lost_share: f64,
}

impl Account {
    pub(super) fn of(routing: Routing) -> Account {
        let plans = routing.plans.into_iter().map(|routing| {
            let total = routing.drops.as_ref().map(|drops| {
                let (gate, lost): (f64, f64) = (drops.gate.iter().sum(), drops.lost.iter().sum());
                let (pairs, dropped) = (routing.pairs.iter().sum(), drops.dropped.iter().sum());
                Total { pairs, dropped, gate, lost, lost_share: if gate == 0.0 { 0.0 } else { lost / gate } }
            });
            Plan { routing, total }
        });
        Account { plans: plans.collect(), not_counted: routing.not_counted }
    }

    /// The lines of the text.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.plans.iter().map(Plan::line).collect();
        lines.extend(self.not_counted.iter().map(|why| format!("not counted, may drop pairs: {why}")));
        if lines.is_empty() {
            lines.push("nothing to count: the compiled program has no routing plan".to_owned());
        }
        lines
    }
}

impl Plan {
    fn line(&self) -> String {
        let PlanRouting { name, pairs, drops, .. } = &self.routing;
        let (Some(drops), Some(total)) = (drops, &self.total) else {
            return format!("`{name}`: {} pairs, no capacity drops any", pairs.iter().sum::<u64>());
        };
        let mut line = format!(
            "`{name}`: {} of {} pairs dropped ({:.1} %), {:.3} of {:.3} gate mass lost ({:.1} %)",
            total.dropped,
            total.pairs,
            percent(total.dropped as f64, total.pairs as f64),
            total.lost,
            total.gate,
            total.lost_share * 100.0,
        );
        let mut order: Vec<usize> = (0..pairs.len()).filter(|&expert| drops.dropped[expert] > 0).collect();
        order.sort_by_key(|&expert| (std::cmp::Reverse(drops.dropped[expert]), expert));
        if !order.is_empty() {
            let said = order.iter().take(NAMED);
            let said: Vec<String> = said
                .map(|&expert| format!("expert {expert} {} of {}", drops.dropped[expert], pairs[expert]))
                .collect();
            line += &format!("; most by {}", said.join(", "));
        }
        line
    }
}

fn percent(part: f64, all: f64) -> f64 {
    if all == 0.0 { 0.0 } else { 100.0 * part / all }
}
