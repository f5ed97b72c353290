//! One module of two: dims matched, inputs and weights shared, both sets of outputs kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use moec_ir::{
    Attrs, Builder, Dim, DimDecl, DimKind, DimTable, IrError, Module, Op, Output, TensorType, ValueId,
};

/// Two programs as one module. Each input and weight is there once, so both read the same data.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    /// The nodes of the first program, then those that the second adds. Outputs are called `a.NAME`
    /// for the first and `b.NAME` for the second, the first's first, in one order.
    pub module: Module,
}

/// Why two programs have no common interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// An input or output that only one of them has.
    #[error("only the {} program has the {kind} `{name}`", if *.first { "first" } else { "second" })]
    Missing {
        /// `input` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Whether the first program has it.
        first: bool,
    },
    /// An input, weight or output that has two types.
    #[error("the {kind} `{name}` is {first} in the first program and {second} in the second")]
    Type {
        /// `input`, `weight` or `output`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its type in the first program, with what is known of its sizes.
        first: String,
        /// Its type in the second.
        second: String,
    },
    /// A name that stands for an input in one program and for a weight in the other.
    #[error("`{name}` is an input of one program and a weight of the other")]
    Kind {
        /// The name.
        name: String,
    },
    /// The second program does not fit the sizes of the first.
    #[error("the second program does not fit the sizes of the first: {0}")]
    Sizes(#[from] IrError),
}

impl Joint {
    /// The outputs of the first program, each with that of the second.
    pub fn pairs(&self) -> impl Iterator<Item = (&Output, &Output)> {
        let (first, second) = self.module.outputs.split_at(self.module.outputs.len() / 2);
        first.iter().zip(second)
    }

    /// The names of the outputs as both programs give them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs().map(|(a, _)| a.name.split_once('.').map_or(&*a.name, |(_, name)| name))
    }
}

/// One module of two with the same inputs and outputs, by name and type. A run-time dim is the one
/// that stands at its place in the first program, whatever its name; other sizes are equal when
/// their values are. A weight is shared when its name is: what its name in files is, is not looked
/// at. A weight of one program alone is not shared with anything. All mismatches are given.
pub fn join(a: &Module, b: &Module) -> Result<Joint, Vec<Mismatch>> {
    let mut mismatches = missing(a, b);
    let dims = Dims::matched(a, b).map_err(|error| vec![error.into()])?;
    let mut builder = Builder::new(Module { dims: dims.table, ..Module::new(&a.name) });
    for node in &a.nodes {
        builder.push(node.op, &node.args, node.attrs.clone()).map_err(|error| vec![error.into()])?;
    }
    let second = dims.names;
    let mut values: Vec<ValueId> = Vec::new();
    for (id, node) in b.iter() {
        let attrs = node.attrs.renamed(&second);
        let shared = match node.op {
            Op::Input | Op::Weight => match shared(a, builder.module(), node.op, &attrs) {
                Ok(shared) => shared,
                Err((kind, name, first)) => {
                    let second = known(&b.dims, b.node(id).tensor());
                    mismatches.push(match kind {
                        Some(kind) => Mismatch::Type { kind, name, first, second },
                        None => Mismatch::Kind { name },
                    });
                    continue;
                }
            },
            _ => None,
        };
        if !mismatches.is_empty() {
            continue;
        }
        let args: Vec<ValueId> = node.args.iter().map(|arg| values[arg.index()]).collect();
        values.push(match shared {
            Some(value) => value,
            None => builder.push(node.op, &args, attrs).map_err(|error| vec![error.into()])?,
        });
    }
    if !mismatches.is_empty() {
        return Err(mismatches);
    }
    let mut seconds = Vec::new();
    for output in &a.outputs {
        let other = b.outputs.iter().find(|other| other.name == output.name);
        let Some(value) = other.map(|other| values[other.value.index()]) else { continue };
        let (first, second) = (builder.tensor(output.value), builder.tensor(value));
        if !same(&builder.module().dims, first, second) {
            mismatches.push(Mismatch::Type {
                kind: "output",
                name: output.name.to_string(),
                first: known(&builder.module().dims, first),
                second: known(&builder.module().dims, second),
            });
        }
        seconds.push((output, value));
    }
    let mut module = builder.finish();
    let output = |side: &str, name: &str, value| Output { name: format!("{side}.{name}").into(), value };
    module.outputs = a.outputs.iter().map(|o| output("a", &o.name, o.value)).collect();
    module.outputs.extend(seconds.iter().map(|(o, value)| output("b", &o.name, *value)));
    if mismatches.is_empty() { Ok(Joint { module }) } else { Err(mismatches) }
}

/// Inputs and outputs that only one program has.
fn missing(a: &Module, b: &Module) -> Vec<Mismatch> {
    let inputs = |module: &Module| -> Vec<String> { module.inputs().map(|i| i.1.to_owned()).collect() };
    let outputs = |module: &Module| -> Vec<String> {
        module.outputs.iter().map(|output| output.name.to_string()).collect()
    };
    // An input of one that is a weight of the other is another mismatch.
    let weight = |module: &Module, name: &str| module.weights().any(|w| w.1 == name);
    let mut found = Vec::new();
    for (first, one, other) in [(true, a, b), (false, b, a)] {
        for name in inputs(one) {
            if !inputs(other).contains(&name) && !weight(other, &name) {
                found.push(Mismatch::Missing { kind: "input", name, first });
            }
        }
        for name in outputs(one) {
            if !outputs(other).contains(&name) {
                found.push(Mismatch::Missing { kind: "output", name, first });
            }
        }
    }
    found
}

/// The input or weight of the first program that one of the second is, if there is one. An error
/// has the kind of a type mismatch (none for one in kind), the name, and the first's type.
fn shared(
    a: &Module,
    joint: &Module,
    op: Op,
    attrs: &Attrs,
) -> Result<Option<ValueId>, (Option<&'static str>, String, String)> {
    let name = attrs.str("name");
    let sources = a.iter().filter(|(_, node)| matches!(node.op, Op::Input | Op::Weight));
    let Some((id, node)) = sources.into_iter().find(|(_, node)| node.attrs.str("name") == name) else {
        return Ok(None);
    };
    let kind = (node.op == op).then(|| op.mnemonic());
    if kind.is_some() && same(&joint.dims, node.tensor(), attrs.tensor_type("type")) {
        return Ok(Some(id));
    }
    Err((kind, name.to_owned(), known(&a.dims, node.tensor())))
}

fn same(dims: &DimTable, a: &TensorType, b: &TensorType) -> bool {
    a.dtype == b.dtype && dims.same_shape(&a.shape, &b.shape)
}

/// A type, and the values of its symbols as far as they are known: `f32[T, H] with H = 8`.
fn known(dims: &DimTable, ty: &TensorType) -> String {
    let mut symbols: Vec<&Arc<str>> = ty.shape.iter().flat_map(|dim| dim.symbols()).collect();
    symbols.sort();
    symbols.dedup();
    let value = |name: &&Arc<str>| dims.sized().get(*name).map(|value| format!("{name} = {value}"));
    let values: Vec<String> = symbols.iter().filter_map(value).collect();
    if values.is_empty() { ty.to_string() } else { format!("{ty} with {}", values.join(", ")) }
}

/// One table for both programs, and what the symbols of the second are called in it.
struct Dims {
    table: DimTable,
    names: BTreeMap<Arc<str>, Arc<str>>,
}

impl Dims {
    fn matched(a: &Module, b: &Module) -> Result<Dims, IrError> {
        let mut dims = Dims { table: a.dims.clone(), names: BTreeMap::new() };
        dims.match_runtime(a, b)?;
        for decl in b.dims.decls() {
            if dims.names.contains_key(&decl.name) {
                continue;
            }
            let kind = match &decl.kind {
                DimKind::Derived(expr) => DimKind::Derived(expr.renamed(&dims.names)),
                other => other.clone(),
            };
            let declared = |name: &str| dims.table.decls().iter().find(|decl| &*decl.name == name);
            let name = match declared(&decl.name) {
                Some(found) if found.kind == kind => found.name.clone(),
                // The same name for another size: it gets one of its own.
                Some(_) => {
                    let fresh = (2..).map(|n| format!("{}_{n}", decl.name));
                    let name = fresh.into_iter().find(|name| {
                        declared(name).is_none() && !b.dims.decls().iter().any(|decl| &*decl.name == name)
                    });
                    let name = name.unwrap_or_else(|| unreachable!("there is no end of numbers"));
                    dims.table.declare(&name, kind)?;
                    name.into()
                }
                None => {
                    dims.table.declare(&decl.name, kind)?;
                    decl.name.clone()
                }
            };
            dims.names.insert(decl.name.clone(), name);
        }
        for fact in b.dims.facts() {
            dims.table.assume(fact.renamed(&dims.names))?;
        }
        Ok(dims)
    }

    /// Run-time dims are the same when they are the same axis of an input.
    fn match_runtime(&mut self, a: &Module, b: &Module) -> Result<(), IrError> {
        let runtime = |decl: &&DimDecl| decl.kind == DimKind::Runtime;
        let own = |module: &Module, dim: &Dim| -> Option<Arc<str>> {
            let mut decls = module.dims.decls().iter().filter(runtime);
            decls.find(|decl| *dim == Dim::symbol(&decl.name)).map(|decl| decl.name.clone())
        };
        for (_, name, ty) in b.inputs() {
            let Some((_, _, first)) = a.inputs().find(|(_, other, _)| *other == name) else { continue };
            for (dim, first) in ty.shape.iter().zip(&first.shape) {
                if let (Some(second), Some(first)) = (own(b, dim), own(a, first)) {
                    let known = self.names.entry(second.clone()).or_insert(first.clone());
                    if *known != first {
                        let message = format!("{second} would be both {known} and {first}");
                        return Err(IrError::Dim(message));
                    }
                }
            }
        }
        Ok(())
    }
}
