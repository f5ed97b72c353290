//! What a run did, for people and for scripts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use moec::ir::DType;
use moec::{Artifact, Checked, Origin, Placement, Routing, Stage};
use serde::Serialize;

use super::inputs::Inputs;
use super::routing;
use super::verify::Verdict;
use super::weights::{Bound, Origins};

/// What a run did. Times in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    model: String,
    /// `x f32[T, 1024] -> y f32[T, 1024]`
    signature: String,
    sizes: BTreeMap<String, u64>,
    inputs: Sources,
    weights: Sources,
    /// Bytes of weights as they are declared.
    weight_bytes: u64,
    /// Bytes of memory that packed weights take.
    packed_bytes: u64,
    phases: Vec<(Stage, f64)>,
    /// What moec got wrong and worked around.
    faults: Vec<String>,
    /// Operations before and after optimising.
    operations: Option<(usize, usize)>,
    load_ms: f64,
    threads: usize,
    calls: usize,
    first_ms: f64,
    median_ms: Option<f64>,
    outputs: Vec<String>,
    written: Option<String>,
    /// Bytes of weights that stay mapped.
    mapped_bytes: u64,
    /// Bytes that the last call read from them.
    mapped_bytes_read: u64,
    /// Which experts stay in their files, if a budget of memory asks for it.
    placement: Option<Placement>,
    /// Where the profile went.
    profile: Option<String>,
    /// How pairs of token and expert fared, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<routing::Account>,
}

/// Names of tensors by where they came from.
#[derive(Debug, Default, Serialize)]
struct Sources {
    given: Vec<String>,
    seeded: Vec<String>,
    /// The file of packed weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    packed: Option<String>,
}

impl Report {
    pub(super) fn new(checked: &Checked, inputs: &Inputs, threads: usize) -> Report {
        let ir = &checked.ir;
        let takes: Vec<String> = ir.inputs().map(|(_, name, ty)| format!("{name} {ty}")).collect();
        let gives: Vec<String> =
            ir.outputs.iter().map(|o| format!("{} {}", o.name, ir.node(o.value).ty)).collect();
        let bytes = |ty: &moec::ir::TensorType| {
            let elements = ty.elements().and_then(|n| n.eval(ir.dims.sized())).unwrap_or(0);
            elements.saturating_mul(ty.dtype.bytes() as u64)
        };
        Report {
            model: ir.name.to_string(),
            signature: format!("{} -> {}", takes.join(", "), gives.join(", ")),
            sizes: inputs.runtime.iter().cloned().collect(),
            inputs: Sources { given: inputs.given.clone(), seeded: inputs.seeded.clone(), packed: None },
            weight_bytes: ir.weights().map(|(_, _, ty)| bytes(ty)).fold(0, u64::saturating_add),
            threads,
            ..Report::default()
        }
    }

    pub(super) fn packed(&mut self, path: Option<&Path>) {
        self.weights.packed = path.map(|path| path.display().to_string());
    }

    pub(super) fn phase(&mut self, stage: Stage, time: Duration) {
        self.phases.push((stage, millis(time)));
    }

    pub(super) fn optimised(&mut self, artifact: &Artifact) {
        self.placement = artifact.placement().cloned();
        self.faults = moec::faults(artifact.report(), artifact.validation());
        self.operations = Some((artifact.checked().ir.nodes.len(), artifact.module().nodes.len()));
    }

    pub(super) fn read(&mut self, mapped_bytes: u64) {
        self.mapped_bytes_read = mapped_bytes;
    }

    pub(super) fn load(&mut self, bound: &Bound, time: Duration) {
        self.weights(&bound.origins, time);
        self.packed_bytes = bound.loaded.bytes() as u64;
        self.mapped_bytes = bound.loaded.mapped_bytes() as u64;
    }

    pub(super) fn weights(&mut self, origins: &Origins, time: Duration) {
        self.load_ms = millis(time);
        for (name, origin) in origins {
            let list = match origin {
                Origin::Given => &mut self.weights.given,
                Origin::Seeded => &mut self.weights.seeded,
            };
            list.push(name.clone());
        }
    }

    pub(super) fn calls(&mut self, first: Duration, mut times: Vec<Duration>) {
        times.sort_unstable();
        self.calls = times.len();
        self.first_ms = millis(first);
        self.median_ms = times.get(times.len() / 2).copied().map(millis);
    }

    pub(super) fn written(&mut self, path: &Path, tensors: &[(&str, DType, &[u64], &[u8])]) {
        self.outputs =
            tensors.iter().map(|(name, dtype, shape, _)| format!("{name} {dtype} {shape:?}")).collect();
        self.written = Some(path.display().to_string());
    }

    pub(super) fn profiled(&mut self, path: &Path) {
        self.profile = Some(path.display().to_string());
    }

    pub(super) fn routing(&mut self, routing: Option<Routing>) {
        self.routing = routing.map(routing::Account::of);
    }

    /// The report as text, or as one JSON object.
    pub(super) fn show(&self, verdict: &Verdict, json: bool) -> String {
        if json {
            #[derive(Serialize)]
            struct Whole<'a> {
                #[serde(flatten)]
                report: &'a Report,
                verify: &'a Verdict,
            }
            // Strings and numbers only, which always have a form in JSON.
            let whole = Whole { report: self, verify: verdict };
            return serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n";
        }
        let mut text = String::new();
        let mut line = |head: &str, rest: String| {
            let _ = writeln!(text, "{head:8} {rest}");
        };
        line("model", format!("{}: {}", self.model, self.signature));
        if !self.sizes.is_empty() {
            let sizes: Vec<String> =
                self.sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect();
            line("sizes", sizes.join(", "));
        }
        if !self.phases.is_empty() {
            let total: f64 = self.phases.iter().map(|(_, time)| time).sum();
            let phases: Vec<String> =
                self.phases.iter().map(|(stage, time)| format!("{} {time:.1}", stage.name())).collect();
            line("compile", format!("{total:.1} ms: {}", phases.join(", ")));
        }
        if let Some((before, after)) = self.operations {
            line("program", format!("{before} operations became {after}"));
        }
        if self.weight_bytes > 0 {
            line("weights", format!("{}; {}", bytes(self.weight_bytes), self.weights.show()));
            let packed = if self.packed_bytes > 0 {
                format!(", packed in {}", bytes(self.packed_bytes))
            } else {
                String::new()
            };
            line("load", format!("{:.1} ms{packed}", self.load_ms));
        }
        if !self.inputs.given.is_empty() || !self.inputs.seeded.is_empty() {
            line("inputs", self.inputs.show());
        }
        let threads =
            if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        match self.median_ms {
            Some(median) => line(
                "run",
                format!(
                    "{median:.3} ms a call (median of {}; the first {:.3} ms), {threads}",
                    self.calls, self.first_ms
                ),
            ),
            None => line("run", format!("{:.3} ms, one call, {threads}", self.first_ms)),
        }
        if let Some(placement) = &self.placement {
            let (read, all) = (bytes(self.mapped_bytes_read), bytes(self.mapped_bytes));
            line("memory", format!("a call reads {read} of {all} of weights that are mapped"));
            placement.plans.iter().for_each(|plan| line("", plan.to_string()));
        }
        for (at, said) in self.routing.iter().flat_map(routing::Account::lines).enumerate() {
            line(if at == 0 { "routing" } else { "" }, said);
        }
        line("verify", verdict_text(verdict));
        if let Some(path) = &self.written {
            line("output", format!("{} in {path}", self.outputs.join(", ")));
        }
        if let Some(path) = &self.profile {
            line("profile", format!("how often experts were chosen, in {path}"));
        }
        text
    }
}

impl Sources {
    fn show(&self) -> String {
        let mut parts = Vec::new();
        if !self.given.is_empty() {
            parts.push(format!("{} from files", self.given.join(", ")));
        }
        if let Some(path) = &self.packed {
            parts.push(format!("packed in {path}"));
        }
        if !self.seeded.is_empty() {
            parts.push(format!("{} seeded random", self.seeded.join(", ")));
        }
        parts.join("; ")
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Skipped { reason } => format!("not done: {reason}"),
        Verdict::Compared { difference, rows, ties, .. } => {
            let extent = match rows {
                Some((some, all)) => format!("on {some} of {all} rows"),
                None => "on everything".to_owned(),
            };
            let rows: Vec<String> = ties.iter().map(u64::to_string).collect();
            let left_out = match rows.as_slice() {
                [] => String::new(),
                rows => {
                    format!("; left out, because two scores are too close to tell: row {}", rows.join(", "))
                }
            };
            format!(
                "differs from the interpreter by {difference:.1e} of the output's scale, {extent}{left_out}"
            )
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A number of bytes in the unit that suits it.
pub(super) fn bytes(count: u64) -> String {
    match count as f64 {
        n if n < 1e3 => format!("{count} B"),
        n if n < 1e6 => format!("{:.1} kB", n / 1e3),
        n if n < 1e9 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.2} GB", n / 1e9),
    }
}
