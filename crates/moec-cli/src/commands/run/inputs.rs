//! The inputs of a run: from files where they are there, else random; and the sizes that follow.

use moec::diag::{Diagnostic, SourceFile, codes};
use moec::ir::{Dim, DimKind, IrError, Module, Sizes, TensorType};
use moec::{Checked, HostTensor, Pool, WeightFiles, random_input};

use super::report::bytes;
use super::weights::declared;
use crate::failure::Failure;
use crate::memory;
use crate::terminal::Terminal;

/// So many tensors of a file that nothing reads are named.
const NAMED: usize = 4;

/// The value of a run-time dim that nothing tells.
const TOKENS: u64 = 32;

/// Inputs in the order of the program, and every size.
#[derive(Debug)]
pub(in crate::commands) struct Inputs {
    pub(in crate::commands) tensors: Vec<HostTensor>,
    pub(in crate::commands) sizes: Sizes,
    /// The run-time dims, in order of declaration.
    pub(super) runtime: Vec<(String, u64)>,
    /// Names of inputs from files.
    pub(super) given: Vec<String>,
    /// Names of random inputs.
    pub(super) seeded: Vec<String>,
}

impl Inputs {
    /// Finds every input of a program.
    pub(in crate::commands) fn gather(
        checked: &Checked,
        source: &SourceFile,
        files: &WeightFiles,
        tokens: Option<u64>,
        seed: u64,
        pool: &Pool,
        terminal: &Terminal,
    ) -> Result<Inputs, Failure> {
        let ir = &checked.ir;
        let mut equations: Vec<(&Dim, u64)> = Vec::new();
        for (_, name, ty) in ir.inputs().filter(|(_, name, _)| files.contains(name)) {
            let tensor = files.get(name).map_err(Failure::input)?;
            if tensor.dtype != ty.dtype || tensor.shape.len() != ty.rank() {
                let found = format!("{} {:?}", tensor.dtype, tensor.shape);
                let diagnostic = mismatch(checked, name, ty, &found, &tensor.file.display().to_string());
                terminal.diagnostics(&[diagnostic], source);
                return Err(Failure::Said);
            }
            equations.extend(ty.shape.iter().zip(tensor.shape.iter().copied()));
        }
        let mut determining: Vec<Dim> = equations.iter().map(|(dim, _)| (*dim).clone()).collect();
        let mut open: Vec<Dim> = Vec::new();
        while let Some(name) = ir.dims.undetermined(&determining.iter().collect::<Vec<_>>()) {
            open.push(Dim::symbol(name));
            determining.push(Dim::symbol(name));
        }
        equations.extend(open.iter().map(|dim| (dim, tokens.unwrap_or(TOKENS))));
        let sizes = ir.dims.solve(&equations).map_err(|error| {
            let Some(diagnostic) = broken_fact(checked, &error) else {
                return Failure::Input(format!("sizes: {error}"));
            };
            terminal.diagnostics(&[diagnostic], source);
            Failure::Said
        })?;
        let runtime = ir.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime);
        let runtime: Vec<(String, u64)> =
            runtime.map(|decl| (decl.name.to_string(), sizes[&decl.name])).collect();
        if let Some(tokens) =
            tokens.filter(|tokens| open.is_empty() && runtime.iter().all(|(_, n)| n != tokens))
        {
            let known: Vec<String> = runtime.iter().map(|(name, n)| format!("{name} = {n}")).collect();
            let message = match known.as_slice() {
                [] => format!("--tokens {tokens}: the program has no run-time dim"),
                known => format!("--tokens {tokens} contradicts the input files: {}", known.join(", ")),
            };
            return Err(Failure::Usage(message));
        }

        fits(ir, &sizes, &runtime)?;
        let mut inputs =
            Inputs { tensors: Vec::new(), sizes, runtime, given: Vec::new(), seeded: Vec::new() };
        for (_, name, ty) in ir.inputs() {
            let shape = ty.shape.iter().map(|dim| dim.eval(&inputs.sizes)).collect::<Result<Vec<u64>, _>>();
            let shape = shape.map_err(|error| Failure::Input(format!("input `{name}`: {error}")))?;
            let memory = |error: &dyn std::fmt::Display| Failure::Input(format!("input `{name}`: {error}"));
            let tensor = if files.contains(name) {
                inputs.given.push(name.to_owned());
                let tensor = files.get_typed(name, ty.dtype, &shape).map_err(Failure::input)?;
                HostTensor::copied(ty.dtype, &shape, tensor.bytes)
            } else {
                inputs.seeded.push(name.to_owned());
                let random =
                    random_input(pool, seed, name, ty.dtype, &shape).map_err(|error| memory(&error))?;
                HostTensor::copied(ty.dtype, &shape, random.as_slice())
            };
            inputs.tensors.push(tensor.map_err(|error| memory(&error))?);
        }
        let mut extra = files.names().filter(|name| ir.inputs().all(|(_, input, _)| input != *name));
        let named: Vec<&str> = extra.by_ref().take(NAMED).collect();
        if !named.is_empty() {
            let wanted: Vec<&str> = ir.inputs().map(|(_, name, _)| name).collect();
            let more = match extra.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let found = format!("the input files hold {}{more}", named.join(", "));
            if inputs.given.is_empty() {
                return Err(Failure::Input(format!("{found}, and no {}", wanted.join(", "))));
            }
            let inputs = wanted.join(", ");
            terminal.warning(&format!("{found}, which the program does not read: its inputs are {inputs}"));
        }
        Ok(inputs)
    }

    /// Whether every element of every input is a finite number.
    pub(super) fn are_finite(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.to_oracle().data.iter().all(|value| value.is_finite()))
    }
}

/// The message that belongs to the declaration of a fact; none for what is no fact of the source.
fn broken_fact(checked: &Checked, error: &IrError) -> Option<Diagnostic> {
    let IrError::Fact { fact, sizes } = error else { return None };
    let (_, span) = checked.model.as_ref()?.facts.iter().find(|(known, _)| known == fact.as_ref())?;
    let message = "a declared fact does not hold for the sizes of this call";
    Some(Diagnostic::error(&codes::FACT_VIOLATED, message).label(*span, format!("here {sizes}")))
}

/// Errs where inputs and outputs alone are more than this machine has memory for.
fn fits(ir: &Module, sizes: &Sizes, runtime: &[(String, u64)]) -> Result<(), Failure> {
    let outputs = ir.outputs.iter().filter_map(|output| ir.node(output.value).ty.tensor());
    let needed = ir.inputs().map(|(_, _, ty)| ty).chain(outputs).fold(0u64, |sum, ty| {
        let elements = ty.elements().and_then(|elements| elements.eval(sizes)).unwrap_or(u64::MAX);
        sum.saturating_add(elements.saturating_mul(ty.dtype.bytes() as u64))
    });
    match memory::short_of(needed) {
        Some(left) => {
            let sizes: Vec<String> = runtime.iter().map(|(name, size)| format!("{name} = {size}")).collect();
            let at = if sizes.is_empty() { String::new() } else { format!("at {}, ", sizes.join(", ")) };
            Err(Failure::Input(format!(
                "{at}inputs and outputs alone take {}, and this machine has {} of memory left",
                bytes(needed),
                bytes(left)
            )))
        }
        None => Ok(()),
    }
}

fn mismatch(checked: &Checked, name: &str, ty: &TensorType, found: &str, file: &str) -> Diagnostic {
    let code = if found.starts_with(ty.dtype.name()) { &codes::WEIGHT_SHAPE } else { &codes::WEIGHT_TYPE };
    let diagnostic =
        Diagnostic::error(code, format!("input `{name}` is declared {ty} and stored as {found}"));
    match declared(checked, name) {
        Some(declaration) => diagnostic.label(declaration.type_span, format!("{file}: {found}")),
        None => diagnostic.note(format!("in {file}")),
    }
}
