//! Between modules and the e-graph: encoding, and decoding into the canonical order.

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::{Attr, Attrs, Builder, DimTable, EinsumSpec, IrError, Module, Op, ValueId};

use crate::facts::{Facts, Graph};
use crate::sizing::Sizing;
use crate::term::{add_op, commutative};

/// A module in an e-graph.
pub(crate) struct Encoded {
    /// The e-graph.
    pub(crate) graph: Graph,
    /// The class of each value.
    pub(crate) values: Vec<Id>,
}

/// Puts every node of `module` into a new e-graph.
pub(crate) fn encode(module: &Module) -> Encoded {
    let sizing = Sizing::new(module);
    let mut graph = Graph::new(Facts::new(sizing.clone()));
    let mut values = Vec::new();
    for node in &module.nodes {
        let args = node.args.iter().map(|arg| values[arg.index()]).collect();
        values.push(add_op(&mut graph, node.op, args, &sizing.attrs(&node.attrs)));
    }
    graph.rebuild();
    Encoded { graph, values }
}

/// A chosen operation: its operands are positions of other choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) op: Op,
    pub(crate) args: Vec<usize>,
    pub(crate) attrs: Attrs,
}

/// A hash of an operation with hashes of its operands: the same in every process, and independent
/// of class numbers.
pub(crate) fn structural_key(op: Op, args: impl Iterator<Item = u128>, attrs: &str) -> u128 {
    // FNV-1a.
    let mut hash: u128 = 0x6c62272e07bb014262b821756295c58d;
    let mut feed = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013b);
        }
    };
    feed(op.mnemonic().as_bytes());
    for arg in args {
        feed(&arg.to_le_bytes());
    }
    feed(attrs.as_bytes());
    hash
}

/// Attributes as text for [`structural_key`].
pub(crate) fn attrs_text(attrs: &Attrs) -> String {
    attrs.iter().map(|(name, value)| format!("{name}={value};")).collect()
}

/// Writes choices as a module. Inputs come first, in the order of `source`; then values in
/// depth-first order from the outputs, operands of commutative operations by structural key, and
/// weights on the right of contractions. `position[i]` of the second result is the choice that made
/// node `i`, if it is not an input.
pub(crate) fn decode(
    source: &Module,
    choices: &[Choice],
    outputs: &[usize],
) -> Result<(Module, Vec<Option<usize>>), IrError> {
    let mut writer = Writer {
        choices,
        builder: Builder::new(Module { dims: source.dims.clone(), ..Module::new(&source.name) }),
        declared: BTreeMap::new(),
        written: vec![None; choices.len()],
        keys: vec![None; choices.len()],
        from: Vec::new(),
    };
    let table: &DimTable = &source.dims;
    debug_assert!(table.decls().len() == writer.builder.module().dims.decls().len());
    for node in source.nodes.iter().filter(|node| matches!(node.op, Op::Input | Op::Weight)) {
        writer.declared.insert((node.op, node.attrs.str("name").to_string()), node.attrs.clone());
    }
    for node in source.nodes.iter().filter(|node| node.op == Op::Input) {
        writer.builder.push(Op::Input, &[], node.attrs.clone())?;
        writer.from.push(None);
    }
    for &output in outputs {
        writer.write(output)?;
    }
    for (output, &value) in source.outputs.iter().zip(outputs) {
        if let Some(value) = writer.written[value] {
            writer.builder.output(&output.name, value)?;
        }
    }
    Ok((writer.builder.finish(), writer.from))
}

struct Writer<'a> {
    choices: &'a [Choice],
    builder: Builder,
    declared: BTreeMap<(Op, String), Attrs>,
    written: Vec<Option<ValueId>>,
    keys: Vec<Option<(bool, u128)>>,
    from: Vec<Option<usize>>,
}

impl Writer<'_> {
    /// Writes the choices below `root` and then `root`, without recursion: chains may be long.
    fn write(&mut self, root: usize) -> Result<(), IrError> {
        let mut stack = vec![root];
        while let Some(&at) = stack.last() {
            if self.written[at].is_some() {
                stack.pop();
                continue;
            }
            self.key(at);
            let (args, attrs) = self.ordered(at);
            match args.iter().find(|&&arg| self.written[arg].is_none()) {
                Some(&next) => stack.push(next),
                None => {
                    self.push(at, &args, attrs)?;
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, at: usize, args: &[usize], attrs: Attrs) -> Result<(), IrError> {
        let op = self.choices[at].op;
        let attrs = match op {
            // As declared, in the spelling of the source.
            Op::Input | Op::Weight => {
                let name = attrs.str("name");
                if op == Op::Input {
                    let found = self.builder.module().inputs().find(|(_, n, _)| *n == name).map(|i| i.0);
                    self.written[at] = found;
                    return match found {
                        Some(_) => Ok(()),
                        None => Err(IrError::Module(format!("the input {name} is not declared"))),
                    };
                }
                self.declared.get(&(op, name.to_string())).cloned().unwrap_or(attrs)
            }
            _ => attrs,
        };
        let args: Vec<ValueId> = args.iter().filter_map(|&arg| self.written[arg]).collect();
        self.written[at] = Some(self.builder.push(op, &args, attrs)?);
        self.from.push(Some(at));
        Ok(())
    }

    /// The operands in the order in which they are written, and the attributes that fit it.
    fn ordered(&self, at: usize) -> (Vec<usize>, Attrs) {
        let choice = &self.choices[at];
        let (mut args, mut attrs) = (choice.args.clone(), choice.attrs.clone());
        if commutative(choice.op) && self.keys[args[1]] < self.keys[args[0]] {
            args.swap(0, 1);
            if choice.op == Op::Einsum
                && let Ok(spec) = EinsumSpec::parse(attrs.str("spec"))
            {
                attrs = Attrs::new([("spec", Attr::from(spec.swapped().to_string()))]);
            }
        }
        (args, attrs)
    }

    /// Computes the key of a choice: whether it is fixed (weights sort last), and its structure.
    fn key(&mut self, root: usize) {
        let mut stack = vec![root];
        while let Some(&at) = stack.last() {
            if self.keys[at].is_some() {
                stack.pop();
                continue;
            }
            let choices = self.choices;
            let choice = &choices[at];
            if let Some(&next) = choice.args.iter().find(|&&arg| self.keys[arg].is_none()) {
                stack.push(next);
                continue;
            }
            let below: Vec<(bool, u128)> = choice.args.iter().filter_map(|&arg| self.keys[arg]).collect();
            let fixed = choice.op != Op::Input && below.iter().all(|(fixed, _)| *fixed);
            let (args, attrs) = self.ordered(at);
            let keys = args.iter().filter_map(|&arg| self.keys[arg]).map(|(_, key)| key);
            let key = structural_key(choice.op, keys, &attrs_text(&attrs));
            self.keys[at] = Some((fixed, key));
            stack.pop();
        }
    }
}
