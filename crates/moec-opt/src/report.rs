//! What the optimiser did, as data.

/// A rule and how often it added something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule.
    pub rule: &'static str,
    /// How often.
    pub count: usize,
}

/// One operation of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// The rule that made it; none for operations of the source.
    pub rule: Option<&'static str>,
    /// Its cost in seconds, by the cost model. Operations on weights alone cost nothing.
    pub seconds: f64,
}

/// What the optimiser did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The rules that added something, by name.
    pub fired: Vec<RuleCount>,
    /// E-nodes at the end.
    pub nodes: usize,
    /// E-classes at the end.
    pub classes: usize,
    /// Rounds of saturation.
    pub iterations: usize,
    /// The limit that ended saturation, `nodes` or `iterations`; none if it ran dry.
    pub limit: Option<&'static str>,
    /// For each node of the source, in order, without a rule.
    pub before: Vec<NodeReport>,
    /// For each node of the result, in order.
    pub after: Vec<NodeReport>,
    /// Why the source was returned as it was, if it was.
    pub fallback: Option<String>,
}

impl Report {
    /// Seconds of the source, by the cost model.
    pub fn seconds_before(&self) -> f64 {
        self.before.iter().map(|node| node.seconds).sum()
    }

    /// Seconds of the result, by the cost model.
    pub fn seconds_after(&self) -> f64 {
        self.after.iter().map(|node| node.seconds).sum()
    }
}
