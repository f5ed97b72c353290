//! Whether two programs compute the same function: proved by rules, refuted by data, or unknown.
//!
//! The steps in order: `weights` finds which weights of the two are the same tensors of a file; the
//! optimiser puts both programs into one e-graph and looks whether the outputs meet; if not, `probe`
//! makes data at sizes from `sizes`, `trial` runs both programs under the interpreter and decides
//! which differences to believe, and `minimise` makes the first of them small. No machine code is
//! made, and what the kernels do is not looked at.

mod minimise;
mod probe;
mod search;
mod sizes;
#[cfg(test)]
mod tests;
mod trial;
mod weights;

use std::collections::BTreeMap;

use moec_interp::Tensor;
use moec_ir::{Module, Sizes};
use moec_opt::{Joint, Mismatch, Numerics, OptError, join, prove};

use search::Search;
use weights::Bound;

/// What the caller chooses.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// How far bits may move between programs that count as equal. What is proved holds in this class.
    pub numerics: Numerics,
    /// The seed of random data.
    pub seed: u64,
}

impl Default for DiffOptions {
    fn default() -> DiffOptions {
        DiffOptions { numerics: Numerics::Reassociate, seed: 0 }
    }
}

/// What is known of two programs.
#[derive(Debug, Clone)]
pub struct Diff {
    /// Whether they are the same.
    pub verdict: Verdict,
    /// What was assumed, and what only one of them reads.
    pub notes: Vec<String>,
}

/// Whether two programs compute the same function.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Rules of the class show that they do, at the declared sizes.
    Proved {
        /// Rules that suffice, in the order of the rule table; none where both are the same text.
        rules: Vec<&'static str>,
        /// Whether the proof fails without any one of them.
        minimal: bool,
    },
    /// They do not, and this shows it.
    Different(Box<Counterexample>),
    /// Neither a proof nor a counterexample was found.
    Unknown(Unknown),
}

/// Data for which two programs differ.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The value of every dim that was chosen for it. Sized dims may have smaller values than declared, in
    /// the declared order.
    pub sizes: Sizes,
    /// Inputs and weights, by name.
    pub data: BTreeMap<String, Tensor>,
    /// The outputs of both programs.
    pub outputs: Vec<OutputPair>,
    /// The first output that differs, as a position in `outputs`.
    pub output: usize,
    /// Where in it the first difference is.
    pub index: Vec<usize>,
}

/// An output of both programs.
#[derive(Debug, Clone)]
pub struct OutputPair {
    /// Its name.
    pub name: String,
    /// In the first program.
    pub first: Tensor,
    /// In the second program.
    pub second: Tensor,
}

/// What was tried in vain.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// The outputs that did not meet in the e-graph.
    pub open: Vec<String>,
    /// The limit that ended saturation, if one did.
    pub limit: Option<&'static str>,
    /// How many inputs were tried; none if the interpreter would take too long at every size.
    pub probes: usize,
    /// Data for which one program has a number where the other has none (NaN or infinity). That is a
    /// difference in class `bit` only: the others promise nothing for data that is not finite.
    pub undefined: Option<Box<Counterexample>>,
}

/// Why two programs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// They do not have the same inputs, weights and outputs; a line each.
    #[error("the programs have different interfaces: {}", .0.join("; "))]
    Interface(Vec<String>),
    /// A bug in moec.
    #[error("bug in moec: {0}")]
    Internal(String),
}

/// Compares two programs. Both are over symbols; the names of dims do not matter.
pub fn diff(a: &Module, b: &Module, options: &DiffOptions) -> Result<Diff, DiffError> {
    let Bound { a, b, notes } = match weights::bind(a, b) {
        Err(DiffError::Interface(lines)) => return Err(DiffError::Interface(also(lines, a, b))),
        bound => bound?,
    };
    let joint = join(&a, &b)
        .map_err(|found| DiffError::Interface(found.iter().map(ToString::to_string).collect()))?;
    let optimiser = moec_opt::Options { numerics: options.numerics, ..Default::default() };
    let equality =
        prove(&joint, &optimiser).map_err(|error: OptError| DiffError::Internal(error.to_string()))?;
    let search = Search::new(&joint, options);
    let verdict = if equality.proved() {
        if let Some(example) = search.plain() {
            let output = &example.outputs[example.output].name;
            let message = format!("`{output}` is proved equal and differs on random data: a rule is wrong");
            return Err(DiffError::Internal(message));
        }
        Verdict::Proved { rules: equality.rules, minimal: equality.minimal }
    } else {
        let open = equality.outputs.iter().filter(|(_, met)| !met).map(|(name, _)| name.clone()).collect();
        search.run(open, equality.limit)
    };
    Ok(Diff { verdict, notes })
}

/// What does not fit about weights, after what does not fit about inputs and outputs.
fn also(lines: Vec<String>, a: &Module, b: &Module) -> Vec<String> {
    let found = join(a, b).err().unwrap_or_default();
    let others = found.iter().filter(|found| !matches!(found, Mismatch::Type { kind: "weight", .. }));
    others.map(ToString::to_string).chain(lines).collect()
}

/// The outputs of a joint program, paired.
fn paired(joint: &Joint, outputs: Vec<(String, Tensor)>) -> Vec<OutputPair> {
    let mut firsts: Vec<Tensor> = outputs.into_iter().map(|(_, tensor)| tensor).collect();
    let seconds = firsts.split_off(firsts.len() / 2);
    let pairs = firsts.into_iter().zip(seconds);
    joint
        .names()
        .zip(pairs)
        .map(|(name, (first, second))| OutputPair { name: name.to_owned(), first, second })
        .collect()
}
