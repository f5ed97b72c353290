//! Sizes at which the interpreter is quick: sized dims above 16 become small ones, smaller for smaller,
//! equal for equal; run-time dims get small values.

use moec_ir::{DimKind, Module, Sizes, Work};

/// Sizes up to this one keep their value: they are numbers of chosen experts, groups and the like.
pub(crate) const KEPT: u64 = 16;

/// Large sizes are replaced by those above this one; the next is tried where a program is too large.
pub(crate) const BASES: [u64; 3] = [KEPT, 8, 4];

/// A small size above `base` for each large sized symbol, in the same order.
pub(crate) fn small(module: &Module, base: u64) -> Sizes {
    let mut values: Vec<u64> = module.dims.sized().values().copied().filter(|&v| v > KEPT).collect();
    values.sort_unstable();
    values.dedup();
    let shrink = |value: u64| values.binary_search(&value).map_or(value, |rank| base + 1 + rank as u64);
    module.dims.sized().iter().map(|(name, &value)| (name.clone(), shrink(value))).collect()
}

/// Three tokens, and something else for further run-time symbols.
pub(crate) fn runtime_sizes(module: &Module) -> Sizes {
    let open = module.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime);
    open.zip(3..).map(|(decl, size)| (decl.name.clone(), size)).collect()
}

/// Floating-point operations of the whole program.
pub(crate) fn work(module: &Module, runtime: &Sizes) -> f64 {
    let Ok(sizes) = module.dims.bind(runtime) else { return f64::INFINITY };
    let size = |dim: &moec_ir::Dim| dim.eval(&sizes).map_or(f64::INFINITY, |n| n as f64);
    module
        .nodes
        .iter()
        .map(|node| {
            let args: Vec<_> = node.args.iter().map(|&arg| &module.node(arg).ty).collect();
            let work = Work { args: &args, attrs: &node.attrs, result: &node.ty, size: &size };
            (node.op.row().flops)(&work) + work.elements(&node.ty)
        })
        .sum()
}
