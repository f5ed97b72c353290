//! Between modules and the e-graph: encoding, and decoding into the canonical order.

use std::collections::BTreeMap;

use egg::Id;
use moec_ir::{Attr, Attrs, Builder, DimTable, EinsumSpec, IrError, Module, Op, ValueId};

use crate::facts::{Facts, Graph};
use crate::order::Order;
use crate::sizing::Sizing;
use crate::term::add_op;

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

/// Writes choices as a module. Inputs come first, in the order of `source`; then values in
/// depth-first order from the outputs, operands of commutative operations as [`Order`] says. `position[i]` of the second result is the choice that made
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
        order: Order::new(source, choices, outputs),
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
    order: Order,
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
        if self.order.swaps(choice) {
            args.swap(0, 1);
            if choice.op == Op::Einsum
                && let Ok(spec) = EinsumSpec::parse(attrs.str("spec"))
            {
                attrs = Attrs::new([("spec", Attr::from(spec.swapped().to_string()))]);
            }
        }
        (args, attrs)
    }
}
