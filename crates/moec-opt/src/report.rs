//! What the optimiser did, as data.

/// A rule and how often it added something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule.
    pub rule: &'static str,
    /// How often.
    pub count: usize,
}

/// What an operation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Arithmetic.
    Flops,
    /// Bytes from memory.
    Memory,
    /// Bytes from files that weights stay in.
    Storage,
    /// Bytes from the last cache.
    Cache,
    /// Its own start: it is too small for anything else to matter.
    Launch,
}

impl Bound {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Flops => "flops",
            Bound::Memory => "memory",
            Bound::Storage => "storage",
            Bound::Cache => "cache",
            Bound::Launch => "launch",
        }
    }
}

/// One operation of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// The rule that made it; none for operations of the source.
    pub rule: Option<&'static str>,
    /// Its cost in seconds, by the cost model. Operations on weights alone cost nothing.
    pub seconds: f64,
    /// The resource that decides its cost; none where it costs nothing.
    pub bound: Option<Bound>,
}

/// The program that was chosen for one number of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The number of tokens.
    pub tokens: u64,
    /// Which of the variants, by number.
    pub variant: usize,
    /// What it costs here.
    pub seconds: f64,
    /// What was considered and not chosen here, the cheapest first, if the options ask for it.
    pub alternatives: Vec<Alternative>,
}

/// A program, or one operation of it, that was not chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// The rules that make what the chosen program lacks; none where the source has it so.
    pub rules: Vec<&'static str>,
    /// The operations that it would have.
    pub with: Vec<&'static str>,
    /// The operations of the chosen program that it would not have.
    pub without: Vec<&'static str>,
    /// What the whole program would cost.
    pub seconds: f64,
    /// Why it was not chosen.
    pub reason: Reason,
}

/// Why a program was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It costs more, or as much.
    Cost,
    /// It is cheaper, but bits of a token would depend on the size of its batch further than the
    /// class that the options allow.
    Batch,
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
    /// Rules that panicked and were left out, which is a bug.
    pub panicked: Vec<&'static str>,
    /// For each node of the source, in order, without a rule.
    pub before: Vec<NodeReport>,
    /// For each node of the result at the number of tokens of the options, in order.
    pub after: Vec<NodeReport>,
    /// For each number of tokens that was looked at, what was chosen and what was not.
    pub choices: Vec<Choice>,
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
