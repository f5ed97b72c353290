//! The canonical form of a program: what is left of it when names are given by place and each weight is
//! stored as it is first read. Two programs that differ in nothing else have one canonical form, so
//! it says whether two ways to write a model end as the same program. It is not for running: files
//! know weights by their names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use moec_ir::{
    Attr, Attrs, Builder, Dim, DimKind, DimTable, EinsumSpec, IrError, Module, Op, Sizes, ValueId,
};

use crate::OptError;
use crate::optimize::sources_first;
use crate::order::{reading_order, symbols};
use crate::term::inverse;

/// The canonical form of `module`. Sizes known at compile time are numbers; run-time symbols are `d0`,
/// `d1`, ... in the order in which inputs have them, inputs `x0`, ..., outputs `y0`, ... in the order of the
/// module, weights `w0`, ... in the order of their first use. The axes of a weight lie in the order in
/// which a contraction first reads them: experts, columns, then what is summed over.
pub fn canonical(module: &Module) -> Result<Module, OptError> {
    let module = sources_first(&module.instantiate(&Sizes::new())?)?;
    let stored = restored(&module, &layouts(&module))?;
    Ok(named_by_place(&sources_first(&stored)?)?)
}

/// For each weight and each contraction of weights, the order in which its axes are first read.
fn layouts(module: &Module) -> Vec<Option<Vec<usize>>> {
    // How the axes of each value are first read by what uses it.
    let mut read: Vec<Option<Vec<usize>>> = vec![None; module.nodes.len()];
    let fixed = fixed(module);
    let mut free = vec![None; module.nodes.len()];
    for (at, node) in module.nodes.iter().enumerate().rev() {
        let own = read[at].take().filter(|_| fixed[at]);
        let users = |place: usize| node.args.get(place).map(|arg| arg.index());
        match node.op {
            Op::Weight => free[at] = own,
            Op::Einsum | Op::GroupedMatmul | Op::PlacedMatmul => {
                let Ok(mut spec) = EinsumSpec::parse(node.attrs.str("spec")) else { continue };
                if let (Op::Einsum, Some(own)) = (node.op, own) {
                    spec.out = own.iter().map(|&axis| spec.out[axis]).collect();
                    free[at] = Some(own);
                }
                let first = node.args.len() - 2;
                let sides = [(first, &spec.lhs, &spec.rhs), (first + 1, &spec.rhs, &spec.lhs)];
                for (place, letters, other) in sides {
                    if let Some(arg) = users(place).filter(|&arg| fixed[arg]) {
                        read[arg] = Some(reading_order(letters, other, &spec.out));
                    }
                }
            }
            Op::Transpose => {
                if let Some(arg) = users(0) {
                    let rank = node.attrs.ints("perm").len();
                    let own = own.unwrap_or_else(|| (0..rank).collect());
                    let perm: Vec<usize> = axes(&node.attrs, "perm");
                    read[arg] = Some(own.iter().map(|&axis| perm[axis]).collect());
                }
            }
            Op::Reshape => {
                if let (Some(arg), Some(own)) = (users(0), own) {
                    let to = node.attrs.dims("shape");
                    let pieces = pieces(&module.nodes[arg].tensor().shape, to);
                    read[arg] = pieces.and_then(|pieces| moved(&pieces, &own, false));
                }
            }
            op if keeps_axes(op) => {
                for arg in node.args.iter().map(|arg| arg.index()) {
                    read[arg] = own.clone();
                }
            }
            Op::Gather if by_list(&node.attrs) => {
                if let Some(arg) = users(0) {
                    read[arg] = own;
                }
            }
            _ => {}
        }
    }
    free
}

/// Which values follow from weights alone.
fn fixed(module: &Module) -> Vec<bool> {
    let mut fixed: Vec<bool> = Vec::new();
    for node in &module.nodes {
        fixed.push(node.op != Op::Input && node.args.iter().all(|arg| fixed[arg.index()]));
    }
    fixed
}

/// Whether the result has the axes of every operand, each for itself.
fn keeps_axes(op: Op) -> bool {
    op == Op::Slice || crate::term::element_wise(op)
}

fn by_list(attrs: &Attrs) -> bool {
    attrs.ints("along") == [-1]
}

fn axes(attrs: &Attrs, name: &str) -> Vec<usize> {
    attrs.ints(name).iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect()
}

/// The least groups of neighbouring axes that a reshape makes of one another.
fn pieces(from: &[Dim], to: &[Dim]) -> Option<Vec<[Range<usize>; 2]>> {
    let mut pieces = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < to.len() {
        let ends = (i + 1..=from.len()).flat_map(|a| (j + 1..=to.len()).map(move |b| (a, b)));
        let same = |&(a, b): &(usize, usize)| match (Dim::product(&from[i..a]), Dim::product(&to[j..b])) {
            (Ok(x), Ok(y)) => x == y,
            _ => false,
        };
        let (a, b) = ends.filter(same).min_by_key(|(a, b)| a + b)?;
        pieces.push([i..a, j..b]);
        (i, j) = (a, b);
    }
    (i == from.len() && j == to.len()).then_some(pieces)
}

/// The order of axes on the other side of a reshape, if `order`, of those before it (or after it), keeps
/// its groups together.
fn moved(pieces: &[[Range<usize>; 2]], order: &[usize], forward: bool) -> Option<Vec<usize>> {
    let mut rest = order;
    let mut other = Vec::new();
    while let Some(first) = rest.first() {
        let [before, after] = pieces
            .iter()
            .find(|[before, after]| if forward { before.contains(first) } else { after.contains(first) })?;
        let (own, there) = if forward { (before, after) } else { (after, before) };
        let (group, left) = rest.split_at_checked(own.len())?;
        if !group.iter().copied().eq(own.clone()) {
            return None;
        }
        other.extend(there.clone());
        rest = left;
    }
    Some(other)
}

/// `module` with weights and contractions of weights in other layouts, and what reads them changed to
/// read the same. Where an operation cannot, a transpose is put before it.
fn restored(module: &Module, layouts: &[Option<Vec<usize>>]) -> Result<Module, IrError> {
    let mut writer = Restored {
        builder: Builder::new(Module { dims: module.dims.clone(), ..Module::new(&module.name) }),
        fixed: fixed(module),
        values: Vec::new(),
    };
    for (node, layout) in module.nodes.iter().zip(layouts) {
        let value = writer.node(node.op, &node.args, &node.attrs, layout.as_deref())?;
        writer.values.push(value);
    }
    for output in &module.outputs {
        let value = writer.plain(output.value)?;
        writer.builder.output(&output.name, value)?;
    }
    Ok(writer.builder.finish())
}

struct Restored {
    builder: Builder,
    /// Which values of the module follow from weights alone.
    fixed: Vec<bool>,
    /// Each value, and which of the axes that it had before its axes are, if they lie differently.
    values: Vec<(ValueId, Option<Vec<usize>>)>,
}

impl Restored {
    fn node(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: &Attrs,
        layout: Option<&[usize]>,
    ) -> Result<(ValueId, Option<Vec<usize>>), IrError> {
        let of = |writer: &Self, place: usize| writer.values[args[place].index()].clone();
        let others = |name: &'static str, value: Attr| {
            let rest = attrs.iter().filter(move |(other, _)| *other != name);
            Attrs::new(rest.map(|(name, value)| (name, value.clone())).chain([(name, value)]))
        };
        match op {
            Op::Weight => {
                let Some(layout) = layout else {
                    return Ok((self.builder.push(op, &[], attrs.clone())?, None));
                };
                let mut ty = attrs.tensor_type("type").clone();
                ty.shape = layout.iter().map(|&axis| ty.shape[axis].clone()).collect();
                let value = self.builder.push(op, &[], others("type", ty.into()))?;
                return Ok((value, Some(layout.to_vec())));
            }
            // Nothing moves until something needs it.
            Op::Transpose if self.fixed[args[0].index()] => {
                let (value, now) = of(self, 0);
                let perm = axes(attrs, "perm");
                let now = now.unwrap_or_else(|| (0..perm.len()).collect());
                let back = inverse(&perm);
                let now: Vec<usize> = now.iter().map(|&axis| back[axis]).collect();
                let moved = !now.iter().copied().eq(0..now.len());
                return Ok((value, Some(now).filter(|_| moved)));
            }
            Op::Slice | Op::Gather if op == Op::Slice || by_list(attrs) => {
                let (value, now) = of(self, 0);
                if let Some(now) = now {
                    let axis = inverse(&now)[attrs.index("axis")];
                    let mut operands = vec![value];
                    for &arg in args.iter().skip(1) {
                        operands.push(self.plain(arg)?);
                    }
                    let value = self.builder.push(op, &operands, others("axis", axis.into()))?;
                    return Ok((value, Some(now)));
                }
            }
            Op::Reshape => {
                let (value, now) = of(self, 0);
                let to = attrs.dims("shape");
                if let Some(now) = now {
                    let stored = &self.builder.tensor(value).shape;
                    let from: Vec<Dim> = inverse(&now).iter().map(|&axis| stored[axis].clone()).collect();
                    if let Some(after) = pieces(&from, to).and_then(|pieces| moved(&pieces, &now, true)) {
                        let shape: Vec<Dim> = after.iter().map(|&axis| to[axis].clone()).collect();
                        let value = self.builder.push(op, &[value], others("shape", shape.into()))?;
                        return Ok((value, Some(after)));
                    }
                }
            }
            Op::Einsum | Op::GroupedMatmul | Op::PlacedMatmul => {
                let mut spec = EinsumSpec::parse(attrs.str("spec")).map_err(IrError::Module)?;
                let first = args.len() - 2;
                let mut operands = Vec::new();
                for &arg in &args[..first] {
                    operands.push(self.plain(arg)?);
                }
                for (place, letters) in [(first, &mut spec.lhs), (first + 1, &mut spec.rhs)] {
                    let (value, now) = of(self, place);
                    if let Some(now) = now {
                        *letters = now.iter().map(|&axis| letters[axis]).collect();
                    }
                    operands.push(value);
                }
                if let Some(layout) = layout {
                    spec.out = layout.iter().map(|&axis| spec.out[axis]).collect();
                }
                let spec = spec.canonical().to_string();
                let value = self.builder.push(op, &operands, others("spec", spec.into()))?;
                return Ok((value, layout.map(<[usize]>::to_vec)));
            }
            op if crate::term::element_wise(op) => {
                let all: Vec<_> = (0..args.len()).map(|place| of(self, place)).collect();
                let now = all.first().and_then(|(_, now)| now.clone());
                if all.iter().all(|(_, other)| *other == now) {
                    let operands: Vec<ValueId> = all.iter().map(|(value, _)| *value).collect();
                    return Ok((self.builder.push(op, &operands, attrs.clone())?, now));
                }
            }
            _ => {}
        }
        let mut operands = Vec::new();
        for &arg in args {
            operands.push(self.plain(arg)?);
        }
        Ok((self.builder.push(op, &operands, attrs.clone())?, None))
    }

    /// A value with its axes as they were.
    fn plain(&mut self, value: ValueId) -> Result<ValueId, IrError> {
        let (value, now) = self.values[value.index()].clone();
        match now {
            Some(now) => self.builder.op(Op::Transpose, &[value], [("perm", inverse(&now).into())]),
            None => Ok(value),
        }
    }
}

/// `module` with the names of its interface given by place.
fn named_by_place(module: &Module) -> Result<Module, IrError> {
    let names: BTreeMap<Arc<str>, Arc<str>> = symbols(module);
    let mut dims = DimTable::default();
    let mut decls: Vec<_> = module.dims.decls().iter().collect();
    decls.sort_by_key(|decl| names.get(&decl.name));
    // A derived symbol follows those that it is made of.
    while !decls.is_empty() {
        let declared = |name: &Arc<str>| dims.decls().iter().any(|decl| names.get(name) == Some(&decl.name));
        let ready = decls.iter().position(|decl| match &decl.kind {
            DimKind::Derived(expr) => expr.symbols().iter().all(declared),
            _ => true,
        });
        let decl = decls.remove(ready.unwrap_or(0));
        let kind = match &decl.kind {
            DimKind::Derived(expr) => DimKind::Derived(expr.renamed(&names)),
            other => other.clone(),
        };
        dims.declare(names.get(&decl.name).unwrap_or(&decl.name), kind)?;
    }
    let mut facts: Vec<_> = module.dims.facts().iter().map(|fact| fact.renamed(&names)).collect();
    facts.sort();
    for fact in facts {
        dims.assume(fact)?;
    }
    let mut builder = Builder::new(Module { dims, ..Module::new("canonical") });
    let mut counts = [0, 0];
    for node in &module.nodes {
        let attrs = node.attrs.renamed(&names);
        let attrs = match node.op {
            Op::Input | Op::Weight => {
                let weight = node.op == Op::Weight;
                let count = &mut counts[usize::from(weight)];
                let name: Attr = format!("{}{count}", if weight { "w" } else { "x" }).into();
                *count += 1;
                Attrs::new(attrs.iter().map(|(key, value)| match key {
                    "name" | "from" => (key, name.clone()),
                    _ => (key, value.clone()),
                }))
            }
            _ => attrs,
        };
        builder.push(node.op, &node.args, attrs)?;
    }
    for (at, output) in module.outputs.iter().enumerate() {
        builder.output(&format!("y{at}"), output.value)?;
    }
    Ok(builder.finish())
}
