//! Which weights of two programs are the same. A weight is what it is in the file: two programs read
//! the same weight when they name the same tensors, whatever they call them. Only where the file
//! names have nothing in common do equal names in the source count, and then the report says so.

use std::collections::{BTreeMap, BTreeSet};

use moec_ir::{Attrs, Builder, DType, Dim, IrError, Module, Node, Op, ValueId};
use moec_runtime::weights::StackPattern;

use super::DiffError;

/// A stack of more tensors is known by its pattern.
const MOST_TENSORS: u64 = 1 << 16;

/// Two programs in which weights have one name if and only if they are the same.
pub(super) struct Bound {
    pub(super) a: Module,
    pub(super) b: Module,
    /// What was assumed, and what only one of them reads.
    pub(super) notes: Vec<String>,
}

/// A weight as it lies in files: tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    tensors: Vec<String>,
    dtype: DType,
    /// The shape of each.
    part: Vec<Dim>,
}

/// A weight that a program reads, or a part of it.
#[derive(Debug)]
struct Leaf {
    stored: Stored,
    name: String,
    /// How the first program that reads it names it in files.
    pattern: String,
    read: [bool; 2],
}

/// What a weight of a program is made of, as positions among the leaves.
#[derive(Debug, Clone)]
enum Source {
    Whole(usize),
    /// One leaf a tensor of the stack.
    Parts(Vec<usize>),
}

pub(super) fn bind(a: &Module, b: &Module) -> Result<Bound, DiffError> {
    let mut weights = [stored(a), stored(b)];
    check_types(&weights)?;
    let mut notes = by_name(&mut weights);
    let split = overlapping(&weights);
    // A weight that is an input of the other program keeps its name: that is a mismatch of its own.
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut leaf = |stored: &Stored, name: &str, pattern: &str, side: usize| -> usize {
        if let Some(at) = leaves.iter().position(|leaf| leaf.stored == *stored) {
            leaves[at].read[side] = true;
            return at;
        }
        let mut unique = name.to_owned();
        let mut number = 2;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        let mut read = [false; 2];
        read[side] = true;
        leaves.push(Leaf { stored: stored.clone(), name: unique, pattern: pattern.to_owned(), read });
        leaves.len() - 1
    };
    let mut sources: [BTreeMap<String, Source>; 2] = Default::default();
    for (side, weights) in weights.iter().enumerate() {
        for weight in weights {
            let source = if weight.stored.tensors.iter().any(|tensor| split.contains(tensor)) {
                let part =
                    |tensor: &String| Stored { tensors: vec![tensor.clone()], ..weight.stored.clone() };
                let parts = weight.stored.tensors.iter();
                Source::Parts(parts.map(|tensor| leaf(&part(tensor), tensor, tensor, side)).collect())
            } else {
                Source::Whole(leaf(&weight.stored, &weight.name, &weight.pattern, side))
            };
            sources[side].insert(weight.name.clone(), source);
        }
    }
    let alone = |side: usize| leaves.iter().filter(move |leaf| leaf.read[side] && !leaf.read[1 - side]);
    let line = |side: usize, leaf: &Leaf| {
        let which = ["first", "second"][side];
        format!("only the {which} program reads the weight `{}` (\"{}\")", leaf.name, leaf.pattern)
    };
    let lines: Vec<String> =
        [0, 1].into_iter().flat_map(|side| alone(side).map(move |leaf| line(side, leaf))).collect();
    if [0, 1].iter().all(|&side| alone(side).next().is_some()) {
        return Err(DiffError::Interface(lines));
    }
    notes.extend(lines);
    let [first, second] = &sources;
    let bound = |module: &Module, sources| {
        rebound(module, sources, &leaves).map_err(|error| DiffError::Internal(error.to_string()))
    };
    Ok(Bound { a: bound(a, first)?, b: bound(b, second)?, notes })
}

/// A weight of a program.
#[derive(Debug)]
struct Weight {
    name: String,
    pattern: String,
    stored: Stored,
}

fn stored(module: &Module) -> Vec<Weight> {
    let weight = |(id, name, ty): (ValueId, &str, &moec_ir::TensorType)| {
        let pattern = module.node(id).attrs.str("from").to_owned();
        let shape: Vec<Dim> =
            ty.shape.iter().map(|dim| module.dims.resolve(dim).unwrap_or_else(|_| dim.clone())).collect();
        let axes = StackPattern::axes(&pattern).min(shape.len());
        let counts: Option<Vec<u64>> = shape[..axes].iter().map(Dim::as_const).collect();
        let few = |counts: &Vec<u64>| {
            let product = counts.iter().try_fold(1u64, |n, &count| n.checked_mul(count));
            product.is_some_and(|n| n <= MOST_TENSORS)
        };
        let stack = counts.filter(few).zip(StackPattern::parse(&pattern, axes).ok());
        let (tensors, part) = match stack {
            Some((counts, stack)) => (stack.names(&counts).collect(), shape[axes..].to_vec()),
            None => (vec![pattern.clone()], shape),
        };
        let stored = Stored { tensors, dtype: ty.dtype, part };
        Weight { name: name.to_owned(), pattern, stored }
    };
    module.weights().map(weight).collect()
}

/// A tensor of a file has one type.
fn check_types(weights: &[Vec<Weight>; 2]) -> Result<(), DiffError> {
    let mut types: BTreeMap<&str, (&str, &Stored)> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    let text = |stored: &Stored| moec_ir::TensorType::new(stored.dtype, stored.part.clone()).to_string();
    for weight in weights.iter().flatten() {
        for tensor in &weight.stored.tensors {
            let (name, found) = types.entry(tensor).or_insert((&weight.name, &weight.stored));
            if (found.dtype, &found.part) != (weight.stored.dtype, &weight.stored.part) {
                lines.insert(format!(
                    "the tensor \"{tensor}\" is {} as `{name}` and {} as `{}`",
                    text(found),
                    text(&weight.stored),
                    weight.name,
                ));
                break;
            }
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(DiffError::Interface(lines.into_iter().collect())) }
}

/// Takes weights of one name and type for the same whose tensors the other program does not name at
/// all.
fn by_name([first, second]: &mut [Vec<Weight>; 2]) -> Vec<String> {
    let named = |weights: &[Weight]| -> BTreeSet<String> {
        weights.iter().flat_map(|weight| weight.stored.tensors.iter().cloned()).collect()
    };
    let (in_first, in_second) = (named(first), named(second));
    let mut notes = Vec::new();
    for weight in second.iter_mut() {
        let other = first.iter().find(|other| {
            let same = (other.stored.dtype, &other.stored.part, other.stored.tensors.len())
                == (weight.stored.dtype, &weight.stored.part, weight.stored.tensors.len());
            let strange = !other.stored.tensors.iter().any(|tensor| in_second.contains(tensor))
                && !weight.stored.tensors.iter().any(|tensor| in_first.contains(tensor));
            same && strange && other.name == weight.name
        });
        if let Some(other) = other {
            notes.push(format!(
                "the weight `{}` is \"{}\" in the first program and \"{}\" in the second, and is taken to be the same",
                weight.name, other.pattern, weight.pattern
            ));
            weight.stored = other.stored.clone();
        }
    }
    notes
}

/// The tensors of weights that have some tensors in common with another, but not all.
fn overlapping(weights: &[Vec<Weight>; 2]) -> BTreeSet<String> {
    let stacks: BTreeSet<&Stored> = weights.iter().flatten().map(|weight| &weight.stored).collect();
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in stacks.iter().flat_map(|stored| &stored.tensors) {
        *readers.entry(tensor).or_default() += 1;
    }
    let shared = |stored: &&&Stored| stored.tensors.iter().any(|tensor| readers[tensor.as_str()] > 1);
    stacks.iter().filter(shared).flat_map(|stored| stored.tensors.iter().cloned()).collect()
}

/// The program with its weights under the names of leaves, put together where they are parts.
fn rebound(module: &Module, sources: &BTreeMap<String, Source>, leaves: &[Leaf]) -> Result<Module, IrError> {
    let mut builder = Builder::new(Module { dims: module.dims.clone(), ..Module::new(&module.name) });
    let mut read: BTreeMap<usize, ValueId> = BTreeMap::new();
    let mut values: Vec<ValueId> = Vec::new();
    let mut leaf = |builder: &mut Builder, at: usize, node: &Node, stacked: usize| {
        if let Some(&value) = read.get(&at) {
            return Ok(value);
        }
        let mut ty = node.tensor().clone();
        ty.shape.drain(..stacked);
        let (name, from) = (leaves[at].name.as_str(), leaves[at].pattern.as_str());
        let attrs = [("name", name.into()), ("from", from.into()), ("type", ty.into())];
        let value = builder.op(Op::Weight, &[], attrs)?;
        read.insert(at, value);
        Ok::<ValueId, IrError>(value)
    };
    for node in &module.nodes {
        let source = (node.op == Op::Weight).then(|| sources.get(node.attrs.str("name"))).flatten();
        let value = match source {
            Some(Source::Whole(at)) => leaf(&mut builder, *at, node, 0)?,
            Some(Source::Parts(parts)) => {
                let shape = &node.tensor().shape;
                let stacked = shape.len() - leaves[parts[0]].stored.part.len();
                let mut rows = Vec::new();
                for &part in parts {
                    let part = leaf(&mut builder, part, node, stacked)?;
                    let row = [&[Dim::constant(1)], &shape[stacked..]].concat();
                    rows.push(builder.op(Op::Reshape, &[part], [("shape", row.into())])?);
                }
                let size = Dim::constant(parts.len() as u64);
                let stack =
                    builder.op(Op::Concat, &rows, [("axis", 0usize.into()), ("size", size.into())])?;
                builder.op(Op::Reshape, &[stack], [("shape", shape.as_slice().into())])?
            }
            None => {
                let args: Vec<ValueId> = node.args.iter().map(|arg| values[arg.index()]).collect();
                builder.push(node.op, &args, Attrs::clone(&node.attrs))?
            }
        };
        values.push(value);
    }
    for output in &module.outputs {
        builder.output(&output.name, values[output.value.index()])?;
    }
    Ok(builder.finish())
}
