//! Matrix tiles on their own, for whoever lists or measures them.

use moec_codegen::CodeKind;
pub use moec_codegen::tile::{Operands, TileFamily, TileOperands, TileSpec, Trial};
pub use moec_codegen::{CodegenError, amx_permission};
use moec_plan::Kernel;

use crate::{Artifact, Target};

/// The tiles that products are made of on that machine.
///
/// # Errors
/// If the machine's instruction set is unknown.
pub fn family(target: &Target) -> Result<TileFamily, CodegenError> {
    Ok(moec_codegen::Target::named(&target.isa, CodeKind::Object)?.tiles())
}

/// A product as its tiles see it: what they multiply, length of the sums, columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Element types of rows and panels, and how these lie.
    pub operands: TileOperands,
    /// Length of the sums.
    pub depth: u64,
    /// Columns of the product.
    pub columns: u64,
}

/// The products that calls of a program make, each once, in ascending order.
pub fn shapes(artifact: &Artifact) -> Vec<Shape> {
    let plan = artifact.plan();
    let size = |dim: &moec_ir::Dim| dim.eval(plan.dims.sized()).unwrap_or(0);
    let mut shapes = Vec::new();
    for step in &plan.run {
        let Kernel::Product(product) = &step.kernel else { continue };
        let dtype = |buffer| plan.buffer(buffer).dtype;
        shapes.extend(product.weights.iter().map(|weight| {
            let (row, element) = (dtype(product.lhs.buffer), dtype(weight.buffer));
            let operands = TileOperands { row, element, interleave: weight.interleave };
            Shape { operands, depth: size(&weight.k), columns: size(&weight.n) }
        }));
    }
    shapes.sort();
    shapes.dedup();
    shapes
}
