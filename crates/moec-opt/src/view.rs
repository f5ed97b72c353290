//! A saturated e-graph as data and as text, for people: its classes, what each node was made by, and
//! which nodes the cheapest program takes.

use std::collections::BTreeMap;
use std::fmt;

use egg::Id;
use moec_ir::Module;

use crate::OptError;
use crate::cost::Model;
use crate::facts::{Fact, attrs_of};
use crate::node::ENode;
use crate::optimize::Space;
use crate::options::Options;
use crate::saturate::canonical;

/// A saturated e-graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EGraph {
    /// The classes that hold a value, in order of their numbers.
    pub classes: Vec<EClass>,
    /// The class of each output, by name.
    pub outputs: Vec<(String, usize)>,
    /// For each node of the cheapest program, in its order, the class and the place of the node in it;
    /// none for inputs that nothing uses. Empty if there is no such program.
    pub program: Vec<Option<(usize, usize)>>,
}

/// Programs that are known to be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EClass {
    /// Its number.
    pub id: usize,
    /// The type of its value.
    pub ty: String,
    /// Its operations.
    pub nodes: Vec<EOperation>,
}

/// One operation on classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EOperation {
    /// The mnemonic.
    pub op: &'static str,
    /// Numbers of the classes of its operands.
    pub args: Vec<usize>,
    /// Its attributes, `name=value`.
    pub attrs: Vec<String>,
    /// The rule that added it first; none for those of the source.
    pub rule: Option<&'static str>,
    /// Its place in the order in which operations were added.
    pub added: usize,
}

/// The e-graph of `module` after saturation, and the cheapest program in it.
pub fn egraph(module: &Module, options: &Options) -> Result<EGraph, OptError> {
    let space = Space::new(module, options, options.numerics)?;
    let graph = &space.encoded.graph;
    let mut added: BTreeMap<ENode, usize> = BTreeMap::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        added.entry(canonical(graph, node)).or_insert(at);
    }
    let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
    ids.sort();
    let mut classes = Vec::new();
    // Where each node went: its class and its place there.
    let mut places: BTreeMap<(Id, ENode), (usize, usize)> = BTreeMap::new();
    for id in ids {
        let Fact::Value(known) = &graph[id].data else { continue };
        let mut nodes = Vec::new();
        for node in &graph[id].nodes {
            let Some(op) = node.op() else { continue };
            let attrs = attrs_of(graph, op, node);
            let canonical = canonical(graph, node);
            nodes.push(EOperation {
                op: op.mnemonic(),
                args: node.args().iter().map(|&arg| graph.find(arg).into()).collect(),
                attrs: attrs.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                rule: space.rule(node),
                added: added.get(&canonical).copied().unwrap_or_default(),
            });
            places.insert((id, canonical), (id.into(), nodes.len() - 1));
        }
        classes.push(EClass { id: id.into(), ty: known.ty.to_string(), nodes });
    }
    let outputs = module.outputs.iter();
    let outputs =
        outputs.map(|o| (o.name.to_string(), graph.find(space.encoded.values[o.value.index()]).into()));
    let model = Model::new(module, options, &graph.analysis.sizing, options.tokens);
    let program = space.cheapest(&model, false).map_or(Vec::new(), |found| {
        let place =
            |(class, node): &(Id, ENode)| places.get(&(graph.find(*class), canonical(graph, node))).copied();
        found.nodes.iter().map(|chosen| chosen.as_ref().and_then(place)).collect()
    });
    Ok(EGraph { classes, outputs: outputs.collect(), program })
}

/// One block a class: its type, its operations, and the rules that made them.
impl fmt::Display for EGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for class in &self.classes {
            writeln!(f, "c{} : {}", class.id, class.ty)?;
            for node in &class.nodes {
                write!(f, "    {}", node.op)?;
                for (i, arg) in node.args.iter().enumerate() {
                    write!(f, "{}c{arg}", if i == 0 { " " } else { ", " })?;
                }
                for attr in &node.attrs {
                    write!(f, " {attr}")?;
                }
                match node.rule {
                    Some(rule) => writeln!(f, "    ; {rule}")?,
                    None => writeln!(f)?,
                }
            }
        }
        for (name, class) in &self.outputs {
            writeln!(f, "output {name} = c{class}")?;
        }
        Ok(())
    }
}
