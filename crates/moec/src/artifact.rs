//! A compiled program.

use std::path::Path;
use std::sync::Arc;

use moec_codegen::Compiled;
use moec_ir::{Module, Sizes};
use moec_opt::{Report, Target};
use moec_plan::Plan;
use moec_plan::abi::Program;
use moec_runtime::packed::{PackedError, PackedFile};
use moec_runtime::session::{LoadError, Loaded, WeightSource};
use moec_runtime::threads::Threads;

use crate::profile::{self, Tallies};
use crate::validate::Validation;
use crate::{Checked, HostTensor, Placement, ProfileError, Routing};

/// A program compiled for this machine, with every stage it went through. Shared by any number of
/// sessions and threads.
#[derive(Debug)]
pub struct Artifact {
    pub(crate) checked: Checked,
    pub(crate) programs: Vec<(u64, Module)>,
    pub(crate) usual: usize,
    pub(crate) target: Target,
    pub(crate) report: Report,
    pub(crate) validation: Validation,
    pub(crate) tallies: Tallies,
    pub(crate) placement: Option<Placement>,
    pub(crate) program: Arc<Compiled>,
}

impl Artifact {
    /// What the front end made of the source.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The IR that was compiled for the usual number of tokens, with numbers for all sizes known at
    /// compile time.
    pub fn module(&self) -> &Module {
        &self.programs[self.usual].1
    }

    /// All programs that were compiled, each with the smallest number of tokens that it serves; the
    /// first serves from 0. Calls pick by the number that they are made with.
    pub fn programs(&self) -> &[(u64, Module)] {
        &self.programs
    }

    /// The machine that costs assumed.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the optimiser did.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What translation validation found.
    pub fn validation(&self) -> &Validation {
        &self.validation
    }

    /// Which experts stay in their files, if a budget of memory asks for it.
    pub fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    /// The outputs behind those of the source that count what routing does, as asked for by
    /// [`Options::record`](crate::Options::record).
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// How pairs of token and expert fared in a call with these sizes whose outputs, tallies included, are
    /// `outputs`.
    pub fn routing(&self, outputs: &[HostTensor], sizes: &Sizes) -> Result<Routing, ProfileError> {
        profile::of_call(&self.tallies, outputs, sizes)
    }

    /// Kernels and buffers.
    pub fn plan(&self) -> &Plan {
        self.program.plan()
    }

    /// Bytes of memory that its weights take when they are loaded, without those that stay in files; none where no
    /// number holds them.
    pub fn loaded_bytes(&self) -> Option<u64> {
        Loaded::bytes_for(self.plan()).ok()
    }

    /// Takes the weights from `source` and packs them, on the threads of `pool`.
    pub fn load(&self, source: &mut dyn WeightSource, pool: &dyn Threads) -> Result<Arc<Loaded>, LoadError> {
        let program: Arc<dyn Program> = self.program.clone();
        Loaded::new(program, source, pool).map(Arc::new)
    }

    /// Takes the weights from `source`, packs them, and writes them to a file, whole or not at all, from
    /// which a later start can take them.
    pub fn pack(
        &self,
        source: &mut dyn WeightSource,
        pool: &dyn Threads,
        path: &Path,
    ) -> Result<Arc<Loaded>, PackedError> {
        Loaded::pack(self.program.clone(), source, pool, path).map(Arc::new)
    }

    /// Takes packed weights from a file, where they stay: nothing is read until it is used. Refused if the
    /// file was packed for another program, instruction set or version, or, where there is a `source`, from
    /// weights of which samples differ. With a `pool`, they are copied into memory of this process on its
    /// threads: some tenths of a second for a gigabyte, for calls as fast as after [`Artifact::load`].
    pub fn load_packed(
        &self,
        file: &PackedFile,
        source: Option<&mut dyn WeightSource>,
        pool: Option<&dyn Threads>,
    ) -> Result<Arc<Loaded>, PackedError> {
        let loaded = Loaded::unpack(self.program.clone(), file, source)?;
        Ok(Arc::new(match pool {
            Some(pool) => loaded.in_memory(pool)?,
            None => loaded,
        }))
    }

    /// Refuses a packed file unless it is sound in every byte, and, where there is a `source`, was packed
    /// for this program from exactly these weights.
    pub fn verify_packed(
        &self,
        file: &PackedFile,
        source: Option<&mut dyn WeightSource>,
        pool: &dyn Threads,
    ) -> Result<(), PackedError> {
        Loaded::unpack(self.program.clone(), file, None)?;
        file.verify(pool)?;
        source.map_or(Ok(()), |source| Loaded::compare(&*self.program, file, source, pool))
    }
}
