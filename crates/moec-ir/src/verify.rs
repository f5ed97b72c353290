//! The verifier. A module that passes guarantees:
//!
//! 1. operands are defined before they are used;
//! 2. operand counts and attribute names and kinds are those of the op row;
//! 3. every result type is the one that inference gives;
//! 4. every symbol is declared, and no size overflows 63 bits for the sizes known now;
//! 5. names of inputs and weights are distinct, and so are names of outputs;
//! 6. every output is a tensor;
//! 7. einsum specifications are canonical;
//! 8. no output depends on what stands in the rows of pairs that a routing plan drops (`dropped`).
//!
//! Phases call it on what they hand on, and only look further where this list ends.

use crate::{IrError, Module, Op, Type};

/// Checks the guarantees of the module doc.
pub fn verify(module: &Module) -> Result<(), IrError> {
    let fail = |at: usize, what: String| Err(IrError::Module(format!("%{at}: {what}")));
    let mut names: Vec<&str> = Vec::new();
    for (at, node) in module.nodes.iter().enumerate() {
        if let Some(bad) = node.args.iter().find(|a| a.index() >= at) {
            return fail(at, format!("operand %{} is not defined before", bad.0));
        }
        let types: Vec<&Type> = node.args.iter().map(|&a| &module.node(a).ty).collect();
        let inferred = match node.op.infer(&types, &node.attrs, &module.dims) {
            Ok(ty) => ty,
            Err(error) => return fail(at, error.to_string()),
        };
        if inferred != node.ty {
            return fail(at, format!("{} is declared {} and inferred {inferred}", node.op, node.ty));
        }
        for dim in node.ty.dims() {
            module.dims.check_declared(dim.symbols())?;
        }
        if let Some(ty) = node.ty.tensor() {
            module.dims.resolve(&ty.elements()?)?;
        }
        if matches!(node.op, Op::Input | Op::Weight) {
            let name = node.attrs.str("name");
            if names.contains(&name) {
                return fail(at, format!("the name {name} is taken"));
            }
            names.push(name);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for output in &module.outputs {
        let known = module.nodes.get(output.value.index());
        if known.is_none_or(|node| node.ty.tensor().is_none()) {
            return Err(IrError::Module(format!("output {} is not a tensor", output.name)));
        }
        if names.contains(&&*output.name) {
            return Err(IrError::Module(format!("output {} is defined twice", output.name)));
        }
        names.push(&output.name);
    }
    crate::dropped::check(module)
}
