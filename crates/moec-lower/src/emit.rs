//! Emission: one node for equal operations, none for what no output needs, only dims that are used.
//!
//! Functions are checked by themselves with nothing to emit into; every emission then gives the same dummy value.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use moec_ir::{Attrs, Builder, Dim, DimKind, DimTable, Fact, IrError, Module, Op, ValueId};

/// Bytes of the widest element type, for the check that byte counts are below 2^63.
const WIDEST: u64 = 4;

/// Where operations go.
#[derive(Default)]
pub(crate) struct Emitter {
    builder: Option<Builder>,
    /// Looked up only, never iterated.
    seen: HashMap<(Op, Vec<ValueId>, Attrs), ValueId>,
}

impl Emitter {
    pub(crate) fn into_module(module: Module) -> Self {
        Self { builder: Some(Builder::new(module)), seen: HashMap::new() }
    }

    /// What is known about sizes; nothing while a function is checked by itself.
    pub(crate) fn sizes(&self) -> Option<&DimTable> {
        self.builder.as_ref().map(|b| &b.module().dims)
    }

    /// What was emitted so far.
    pub(crate) fn module(&self) -> Option<&Module> {
        self.builder.as_ref().map(Builder::module)
    }

    pub(crate) fn declare_dim(&mut self, name: &str, kind: DimKind) -> Result<(), IrError> {
        match &mut self.builder {
            Some(builder) => builder.dims_mut().declare(name, kind).map(drop),
            None => Ok(()),
        }
    }

    pub(crate) fn assume(&mut self, fact: Fact) -> Result<(), IrError> {
        match &mut self.builder {
            Some(builder) => builder.dims_mut().assume(fact),
            None => Ok(()),
        }
    }

    pub(crate) fn push(&mut self, op: Op, args: &[ValueId], attrs: Attrs) -> Result<ValueId, IrError> {
        let Some(builder) = &mut self.builder else { return Ok(ValueId(0)) };
        let key = (op, args.to_vec(), attrs);
        if let Some(known) = self.seen.get(&key) {
            return Ok(*known);
        }
        let value = builder.push(op, args, key.2.clone())?;
        if let Some(ty) = builder.ty(value).tensor() {
            builder.module().dims.resolve(&ty.elements()?)?.times(&Dim::constant(WIDEST))?;
        }
        self.seen.insert(key, value);
        Ok(value)
    }

    /// The module: inputs, weights, and the operations that outputs need, in the order of emission.
    pub(crate) fn finish(self, outputs: &[(String, ValueId)]) -> Result<Option<Module>, IrError> {
        let Some(builder) = self.builder else { return Ok(None) };
        let whole = builder.finish();
        let mut needed = vec![false; whole.nodes.len()];
        for (_, value) in outputs {
            needed[value.index()] = true;
        }
        for (at, node) in whole.nodes.iter().enumerate().rev() {
            needed[at] |= matches!(node.op, Op::Input | Op::Weight);
            if needed[at] {
                for arg in &node.args {
                    needed[arg.index()] = true;
                }
            }
        }
        let dims = used_dims(&whole, &needed)?;
        let mut builder = Builder::new(Module { dims, ..Module::new(&whole.name) });
        let mut renumbered = vec![ValueId(0); whole.nodes.len()];
        for (id, node) in whole.iter().filter(|(id, _)| needed[id.index()]) {
            let args: Vec<ValueId> = node.args.iter().map(|a| renumbered[a.index()]).collect();
            renumbered[id.index()] = builder.push(node.op, &args, node.attrs.clone())?;
        }
        for (name, value) in outputs {
            builder.output(name, renumbered[value.index()])?;
        }
        Ok(Some(builder.finish()))
    }
}

/// The dims that the needed nodes, the facts, and definitions of such dims speak of, and the facts.
fn used_dims(module: &Module, needed: &[bool]) -> Result<DimTable, IrError> {
    let mut used: BTreeSet<Arc<str>> = BTreeSet::new();
    for (id, node) in module.iter() {
        if needed[id.index()] {
            let attrs = node.attrs.iter().flat_map(|(_, value)| value.dims());
            used.extend(node.ty.dims().into_iter().chain(attrs).flat_map(|d| d.symbols().to_vec()));
        }
    }
    for fact in module.dims.facts() {
        used.extend(fact.sides().iter().flat_map(|side| side.symbols()));
    }
    for decl in module.dims.decls().iter().rev() {
        if let DimKind::Derived(expr) = &decl.kind
            && used.contains(&decl.name)
        {
            used.extend(expr.symbols());
        }
    }
    let mut dims = DimTable::default();
    for decl in module.dims.decls().iter().filter(|d| used.contains(&d.name)) {
        dims.declare(&decl.name, decl.kind.clone())?;
    }
    for fact in module.dims.facts() {
        dims.assume(fact.clone())?;
    }
    Ok(dims)
}
