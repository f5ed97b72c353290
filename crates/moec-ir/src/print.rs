//! The printer of the text form; `read(print(m))` is `m`.

use std::fmt::Write;

use crate::{Attr, DimKind, Module};

/// The module as text.
pub fn print(module: &Module) -> String {
    let mut text = format!("module {} {{\n", module.name);
    // Writing to a string cannot fail.
    let _ = body(&mut text, module);
    text.push_str("}\n");
    text
}

fn body(text: &mut String, module: &Module) -> std::fmt::Result {
    for decl in module.dims.decls() {
        match &decl.kind {
            DimKind::Runtime => writeln!(text, "    dim {}", decl.name)?,
            DimKind::Sized(value) => writeln!(text, "    dim {} = {value}", decl.name)?,
            DimKind::Derived(expr) => writeln!(text, "    dim {} := {expr}", decl.name)?,
        }
    }
    for fact in module.dims.facts() {
        writeln!(text, "    fact {fact}")?;
    }
    for (id, node) in module.iter() {
        write!(text, "    %{} = {}", id.0, node.op)?;
        for (i, arg) in node.args.iter().enumerate() {
            write!(text, "{}%{}", if i == 0 { " " } else { ", " }, arg.0)?;
        }
        // An attribute of kind Type is the type of the result, printed there.
        let shown = node.attrs.iter().filter(|(_, value)| !matches!(value, Attr::Type(_)));
        for (i, (name, value)) in shown.enumerate() {
            write!(text, "{}{name} = {value}", if i == 0 { " {" } else { ", " })?;
        }
        let braced = node.attrs.iter().any(|(_, value)| !matches!(value, Attr::Type(_)));
        writeln!(text, "{} : {}", if braced { "}" } else { "" }, node.ty)?;
    }
    for output in &module.outputs {
        writeln!(text, "    output {:?} = %{}", &*output.name, output.value.0)?;
    }
    Ok(())
}
