//! What the importer asks of weights: names, element types, shapes. It never looks at an element.

use moec_ir::DType;
use moec_runtime::weights::WeightFiles;

use crate::error::ImportError;

/// Tensors by name.
pub trait Tensors {
    /// Every name, each once, in no order that may be relied on.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// Element type and shape; `None` where no tensor has the name.
    fn get(&self, name: &str) -> Result<Option<(DType, &[u64])>, ImportError>;
}

impl Tensors for WeightFiles {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(WeightFiles::names(self))
    }

    fn get(&self, name: &str) -> Result<Option<(DType, &[u64])>, ImportError> {
        if !self.contains(name) {
            return Ok(None);
        }
        let tensor = WeightFiles::get(self, name)?;
        Ok(Some((tensor.dtype, tensor.shape)))
    }
}
