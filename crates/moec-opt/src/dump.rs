//! The e-graph as text, for people: one block a class, its type, its nodes and the rules that made
//! them.

use std::fmt::Write;

use egg::Id;

use crate::facts::{Fact, Graph, attrs_of};
use crate::saturate::{Log, canonical};

/// The text of `graph`; classes are numbered in order of their ids, attributes stand in their
/// operations.
pub(crate) fn text<'a>(graph: &Graph, log: &Log, roots: impl Iterator<Item = (&'a str, Id)>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, graph, log, roots);
    out
}

fn write_all<'a>(
    out: &mut String,
    graph: &Graph,
    log: &Log,
    roots: impl Iterator<Item = (&'a str, Id)>,
) -> std::fmt::Result {
    let rules = log.rules(graph);
    let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
    ids.sort();
    for id in ids {
        let Fact::Value(known) = &graph[id].data else { continue };
        writeln!(out, "c{id} : {}", known.ty)?;
        for node in &graph[id].nodes {
            let Some(op) = node.op() else { continue };
            write!(out, "    {op}")?;
            for (i, arg) in node.args().iter().enumerate() {
                write!(out, "{}c{}", if i == 0 { " " } else { ", " }, graph.find(*arg))?;
            }
            for (name, value) in attrs_of(graph, op, node).iter() {
                write!(out, " {name}={value}")?;
            }
            match rules.get(&canonical(graph, node)) {
                Some(rule) => writeln!(out, "    ; {rule}")?,
                None => writeln!(out)?,
            }
        }
    }
    for (name, root) in roots {
        writeln!(out, "output {name} = c{}", graph.find(root))?;
    }
    Ok(())
}
