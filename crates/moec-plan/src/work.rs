//! How much a plan computes, for reports and tests.

use moec_ir::{IrError, Sizes};

use crate::{Groups, Kernel, Plan};

/// The matrix products of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProductRows {
    /// Rows of plain and batched products, over all matrices.
    pub plain: u64,
    /// Plan rows of routed products, over all matrices: `tokens * slots` for each, however many
    /// experts there are and whether pairs are dropped.
    pub routed: u64,
}

impl Plan {
    /// Rows times matrices over all products of a call with these sizes of all symbols.
    pub fn product_rows(&self, sizes: &Sizes) -> Result<ProductRows, IrError> {
        let mut total = ProductRows::default();
        for step in &self.run[self.active(sizes)] {
            let Kernel::Product(product) = &step.kernel else { continue };
            let matrices = product.weights.len() as u64;
            match &product.groups {
                Groups::Batch { count, rows } => {
                    total.plain += count.eval(sizes)? * rows.eval(sizes)? * matrices;
                }
                Groups::Routed(routing) => total.routed += routing.total.eval(sizes)? * matrices,
            }
        }
        Ok(total)
    }
}
