//! A compiled program.

use std::sync::Arc;

use moec_codegen::Compiled;
use moec_ir::Module;
use moec_opt::Report;
use moec_plan::Plan;
use moec_plan::abi::Program;
use moec_runtime::session::{LoadError, Loaded, WeightSource};
use moec_runtime::threads::Pool;

use crate::Checked;
use crate::validate::Validation;

/// A program compiled for this machine, with every stage it went through. Shared by any number of
/// sessions and threads.
#[derive(Debug)]
pub struct Artifact {
    pub(crate) checked: Checked,
    pub(crate) module: Module,
    pub(crate) report: Report,
    pub(crate) validation: Validation,
    pub(crate) program: Arc<Compiled>,
}

impl Artifact {
    /// What the front end made of the source.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The IR that was compiled, with numbers for all sizes known at compile time.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// What the optimiser did.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What translation validation found.
    pub fn validation(&self) -> &Validation {
        &self.validation
    }

    /// Kernels and buffers.
    pub fn plan(&self) -> &Plan {
        self.program.plan()
    }

    /// Takes the weights from `source` and packs them, on the threads of `pool`.
    pub fn load(&self, source: &mut dyn WeightSource, pool: &Pool) -> Result<Arc<Loaded>, LoadError> {
        let program: Arc<dyn Program> = self.program.clone();
        Loaded::new(program, source, pool).map(Arc::new)
    }
}
