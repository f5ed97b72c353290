//! A folder of `tests/golden`: a published layer and what PyTorch made of it.

use std::path::{Path, PathBuf};

use moec::ir::DType;
use moec::{HostTensor, WeightFiles};

/// Numbers of tokens that there are cases for.
pub(crate) const TOKENS: [u64; 3] = [1, 29, 257];

/// A folder and its cases.
pub(crate) struct Golden {
    pub(crate) path: PathBuf,
    cases: WeightFiles,
}

impl Golden {
    pub(crate) fn open(path: &Path) -> Golden {
        let cases = WeightFiles::open(&[path.join("cases.safetensors")]).unwrap();
        Golden { path: path.to_owned(), cases }
    }

    fn tensor(&self, name: &str) -> HostTensor {
        let tensor = self.cases.get(name).unwrap();
        HostTensor::copied(tensor.dtype, tensor.shape, tensor.bytes).unwrap()
    }

    /// The first `tokens` rows of the input of this name.
    pub(crate) fn input(&self, name: &str, tokens: u64) -> HostTensor {
        let rows: Vec<u64> = (0..tokens).collect();
        self.tensor(name).select(0, 1, &rows).unwrap()
    }

    /// What the original gives for them.
    pub(crate) fn expected(&self, tokens: u64) -> Vec<f64> {
        self.tensor(&format!("y.{tokens}")).to_oracle().data
    }

    /// Which experts ran for them: `bool[tokens, experts]`.
    pub(crate) fn chosen(&self, tokens: u64) -> HostTensor {
        let chosen = self.tensor(&format!("chosen.{tokens}"));
        assert_eq!(chosen.dtype(), DType::Bool);
        chosen
    }
}
