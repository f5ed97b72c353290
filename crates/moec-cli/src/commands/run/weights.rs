//! The weights of a run: loading with progress, the same weights for the interpreter, and what is said when
//! files and source disagree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use moec::diag::{Diagnostic, SourceFile, codes};
use moec::interp::Tensor;
use moec::ir::{Module, Sizes, TensorType};
use moec::{
    Artifact, Checked, Declaration, DeclarationKind, LoadError, Loaded, Origin, PackedError, PackedFile,
    Pool, WeightBytes, WeightError, WeightFiles, WeightSource, Weights, to_oracle,
};

use super::report::bytes;
use crate::arguments::WeightArgs;
use crate::failure::Failure;
use crate::memory;
use crate::terminal::Terminal;

/// Loading that takes less is not worth a progress bar.
const QUICK: Duration = Duration::from_millis(500);

/// Where weights come from, and who is told when they do not.
pub(in crate::commands) struct Provider<'a> {
    pub(in crate::commands) files: &'a WeightFiles,
    pub(in crate::commands) args: &'a WeightArgs,
    /// Packed weights, to be taken instead of packing those of the files.
    pub(in crate::commands) packed: Option<&'a PackedFile>,
    /// Whether packed weights are copied into memory rather than mapped.
    pub(in crate::commands) copied: bool,
    pub(in crate::commands) pool: &'a Arc<Pool>,
    pub(in crate::commands) source: &'a SourceFile,
    pub(in crate::commands) terminal: &'a Terminal,
}

/// Where each weight came from, by name.
pub(super) type Origins = BTreeMap<String, Origin>;

/// Loaded weights and where they came from.
pub(in crate::commands) struct Bound {
    pub(in crate::commands) loaded: Arc<Loaded>,
    pub(super) origins: Origins,
}

impl Provider<'_> {
    fn weights<'a>(&'a self, sizes: Sizes, watch: &'a mut dyn FnMut(&str, u64)) -> Weights<'a> {
        let weights = Weights::new(self.files, self.args.seed, sizes, self.pool, watch);
        if self.args.seed_missing { weights.make_missing() } else { weights }
    }

    /// Loads the weights of a compiled program.
    pub(in crate::commands) fn load(&self, artifact: &Artifact) -> Result<Bound, Failure> {
        let given = self.files.names().next().is_some();
        if self.packed.is_none() || self.copied {
            fits(artifact)?;
        }
        self.watched(artifact, |weights| match self.packed {
            Some(packed) => {
                let pool = self.copied.then_some(self.pool as &dyn moec::Threads);
                artifact.load_packed(packed, given.then_some(weights), pool)
            }
            None => Ok(artifact.load(weights, self.pool)?),
        })
        .map(|(loaded, origins)| Bound { loaded, origins })
    }

    /// Packs the weights of a compiled program into a file.
    pub(in crate::commands) fn pack(&self, artifact: &Artifact, path: &Path) -> Result<(), Failure> {
        self.watched(artifact, |weights| artifact.pack(weights, self.pool, path)).map(drop)
    }

    /// Refuses a packed file that is not sound, or not for this program, or, if there are weight files, not
    /// from them. Says which.
    pub(in crate::commands) fn verify(
        &self,
        artifact: &Artifact,
        packed: &PackedFile,
    ) -> Result<&'static str, Failure> {
        let given = self.files.names().next().is_some();
        let verify = |weights: &mut dyn WeightSource| {
            artifact.verify_packed(packed, given.then_some(weights), self.pool)
        };
        self.watched(artifact, verify)?;
        Ok(if given { ", from this source and these weights" } else { ", from this source" })
    }

    /// What `work` makes of the weights, and where they came from.
    fn watched<T>(
        &self,
        artifact: &Artifact,
        work: impl FnOnce(&mut dyn WeightSource) -> Result<T, PackedError>,
    ) -> Result<(T, Origins), Failure> {
        let progress = Progress::new(&artifact.checked().ir);
        let mut watch = |name: &str, bytes: u64| progress.advance(name, bytes);
        let sizes = artifact.checked().ir.dims.sized().clone();
        let mut weights = self.weights(sizes, &mut watch);
        let result = work(&mut weights);
        let origins = weights.origins().clone();
        progress.bar.finish_and_clear();
        match result {
            Ok(result) => Ok((result, origins)),
            Err(PackedError::Load(LoadError::Weight { name, source })) => {
                Err(self.refuse(artifact.checked(), &name, &source))
            }
            Err(error) => Err(Failure::input(error)),
        }
    }

    /// The same weights as the interpreter holds them, and where each came from.
    pub(super) fn oracle(&self, checked: &Checked) -> Result<(BTreeMap<String, Tensor>, Origins), Failure> {
        let mut nothing = |_: &str, _: u64| ();
        let sizes = checked.ir.dims.sized().clone();
        let mut weights = self.weights(sizes.clone(), &mut nothing);
        let mut tensors = BTreeMap::new();
        for (id, name, ty) in checked.ir.weights() {
            let from = checked.ir.node(id).attrs.str("from");
            let shape = ty.shape.iter().map(|dim| dim.eval(&sizes)).collect::<Result<Vec<u64>, _>>();
            let shape = shape.map_err(|error| Failure::Input(format!("weight `{name}`: {error}")))?;
            let bytes = weights.weight(name, from, ty).map_err(|error| self.refuse(checked, name, &error))?;
            tensors.insert(name.to_owned(), oracle_tensor(ty, &shape, &bytes));
        }
        Ok((tensors, weights.origins().clone()))
    }

    /// Says what is wrong with a weight, at its declaration where there is one.
    fn refuse(&self, checked: &Checked, name: &str, error: &WeightError) -> Failure {
        match declared(checked, name).and_then(|declaration| diagnose(checked, name, declaration, error)) {
            Some(diagnostic) => {
                self.terminal.diagnostics(&[diagnostic], self.source);
                Failure::Said
            }
            None => Failure::Input(format!("weight `{name}`: {error}")),
        }
    }
}

/// Errs where the loaded weights are more than this machine has memory for.
fn fits(artifact: &Artifact) -> Result<(), Failure> {
    let Some(needed) = artifact.loaded_bytes() else { return Ok(()) };
    match memory::short_of(needed) {
        Some(left) => Err(Failure::Input(format!(
            "the weights take {} as kernels read them, and this machine has {} of memory left; with \
             `--memory-budget` experts stay in their files",
            bytes(needed),
            bytes(left)
        ))),
        None => Ok(()),
    }
}

/// Where the source declares an input or weight; IR text declares nothing.
pub(super) fn declared<'a>(checked: &'a Checked, name: &str) -> Option<&'a Declaration> {
    checked.model.as_ref()?.declarations.get(name)
}

fn oracle_tensor(ty: &TensorType, shape: &[u64], bytes: &WeightBytes<'_>) -> Tensor {
    match bytes {
        WeightBytes::Whole(bytes) => to_oracle(ty.dtype, shape, bytes),
        WeightBytes::Made(memory) => to_oracle(ty.dtype, shape, memory.as_slice()),
        WeightBytes::Parts(parts) => {
            let mut whole = to_oracle(ty.dtype, shape, &[]);
            whole.data = parts.iter().flat_map(|part| to_oracle(ty.dtype, shape, part).data).collect();
            whole
        }
    }
}

/// The message that belongs to the declaration of a weight; none for faults of whole files.
fn diagnose(
    checked: &Checked,
    name: &str,
    declaration: &Declaration,
    error: &WeightError,
) -> Option<Diagnostic> {
    let DeclarationKind::Weight { pattern_span, pattern } = &declaration.kind else { return None };
    let names = axes_text(&declaration.type_text);
    match error {
        WeightError::Missing(missing) => {
            let message = match &missing.stack {
                Some((_, found, all)) => format!("\"{pattern}\" matched {found} of {all} tensors"),
                None => format!("no file holds \"{}\"", missing.name),
            };
            let mut diagnostic = Diagnostic::error(&codes::WEIGHT_MISSING, message)
                .label(*pattern_span, format!("no \"{}\"", missing.name));
            let files: Vec<String> = missing.files.iter().map(|file| file.display().to_string()).collect();
            diagnostic = diagnostic.note(format!("looked in {}", files.join(", ")));
            if !missing.siblings.is_empty() {
                diagnostic =
                    diagnostic.note(format!("not on the command line: {}", missing.siblings.join(", ")));
            }
            // Where others of its stack are there, those would be the nearest names.
            if missing.stack.as_ref().is_none_or(|(_, found, _)| *found == 0) {
                diagnostic = match missing.near.as_slice() {
                    [] => diagnostic.help("`--seed-missing` makes up the weights that no file has"),
                    near => diagnostic.help(format!("there is \"{}\"", near.join("\", \""))),
                };
            }
            Some(diagnostic)
        }
        WeightError::Shape { name: tensor, file, expected, found } => {
            let (_, from) = checked_weight(checked, name)?;
            let part = if *tensor == from { "" } else { "a tensor of " };
            let order = named(checked, name, found);
            let stored = order.clone().unwrap_or_else(|| format!("{found:?}"));
            let message = format!("{part}`{name}` is declared {names} and stored as {stored}");
            let mut diagnostic = Diagnostic::error(&codes::WEIGHT_SHAPE, message)
                .label(declaration.type_span, format!("file: {found:?}; declared: {expected:?}"))
                .note(format!("tensor \"{tensor}\" in {}", file.display()));
            if let Some(order) = order {
                let element = declaration.type_text.trim_end_matches(names.as_str());
                let help = format!("declare {element}{order}, and add or drop a `.T` where `{name}` is used");
                diagnostic = diagnostic.help(help);
            }
            Some(diagnostic)
        }
        WeightError::Type { name: tensor, file, expected, found } => {
            let message = format!("`{name}` is declared {expected} and stored as {found}");
            let note = format!("tensor \"{tensor}\" in {}", file.display());
            let help = format!("declare {found}{}", if names == declaration.type_text { "" } else { &names });
            let diagnostic = Diagnostic::error(&codes::WEIGHT_TYPE, message)
                .label(declaration.type_span, format!("file: {found}"));
            Some(diagnostic.note(note).help(help))
        }
        WeightError::UnsupportedType { found, .. } => {
            let label = format!("file: {found}");
            let diagnostic = Diagnostic::error(&codes::WEIGHT_TYPE, error.to_string());
            Some(diagnostic.label(declaration.type_span, label))
        }
        _ => None,
    }
}

/// The type of a weight, and its name in files.
fn checked_weight<'a>(checked: &'a Checked, name: &str) -> Option<(&'a TensorType, &'a str)> {
    let (id, _, ty) = checked.ir.weights().find(|(_, weight, _)| *weight == name)?;
    Some((ty, checked.ir.node(id).attrs.str("from")))
}

/// The axes of a written type, `[E, F, H]`; all of it where there are none.
fn axes_text(written: &str) -> String {
    written.find('[').map_or(written, |at| &written[at..]).to_owned()
}

/// Sizes of a file in names of the declared axes, where each size is that of one of them.
fn named(checked: &Checked, name: &str, found: &[u64]) -> Option<String> {
    let (ty, _) = checked_weight(checked, name)?;
    let sizes = checked.ir.dims.sized();
    let mut axes: Vec<(String, u64)> =
        ty.shape.iter().filter_map(|dim| Some((dim.to_string(), dim.eval(sizes).ok()?))).collect();
    let mut names = Vec::new();
    for size in found {
        let at = axes.iter().position(|(_, n)| n == size)?;
        names.push(axes.remove(at).0);
    }
    Some(format!("[{}]", names.join(", ")))
}

/// A bar on standard error, once loading turns out to take long.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn new(ir: &Module) -> Progress {
        let sizes = ir.dims.sized();
        let bytes = |ty: &TensorType| {
            ty.elements().and_then(|n| n.eval(sizes)).map_or(0, |n| n.saturating_mul(ty.dtype.bytes() as u64))
        };
        let total = ir.weights().map(|(_, _, ty)| bytes(ty)).fold(0, u64::saturating_add);
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes} of weights, {msg}")
        {
            bar.set_style(style);
        }
        Progress { bar, started: Instant::now() }
    }

    fn advance(&self, name: &str, bytes: u64) {
        if self.bar.is_hidden() && self.started.elapsed() > QUICK {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_message(name.to_owned());
        self.bar.inc(bytes);
    }
}
