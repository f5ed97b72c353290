//! A whole plan as code: in this process, or in an object file.

use moec_plan::abi::{Entry, Program};
use moec_plan::{Phase, Plan};

use crate::{Code, CodeModule, CodegenError, Listing, Target, emit};

/// A plan with its machine code in this process. Executable memory lives as long as this value.
#[derive(Debug)]
pub struct Compiled {
    plan: Plan,
    target: String,
    code: Code,
    load: Entry,
    run: Entry,
}

impl Compiled {
    /// Compiles `plan` for this process. `listings` keeps the text of every function, which costs
    /// time.
    ///
    /// # Errors
    /// `UnsupportedTarget` if this machine cannot run the target's code, `Placement` without
    /// executable memory, `Function` if the plan breaks a guarantee of its verifier.
    pub fn jit(plan: Plan, target: &Target, listings: bool) -> Result<Compiled, CodegenError> {
        let mut module = CodeModule::jit(target, listings)?;
        emit::define(&mut module, &plan)?;
        let code = module.finish()?;
        let entry = |phase| -> Result<Entry, CodegenError> {
            let name = emit::entry_name(&plan, phase);
            let missing = || CodegenError::Placement(format!("the entry point {name} is missing"));
            let address = code.address(&name).ok_or_else(missing)?;
            // SAFETY: `define` gave the function of this name the signature of `Entry`.
            Ok(unsafe { std::mem::transmute::<*const u8, Entry>(address) })
        };
        let (load, run) = (entry(Phase::Load)?, entry(Phase::Run)?);
        Ok(Compiled { plan, target: target.features_text(), code, load, run })
    }

    /// The text of every function in the order of definition; empty unless it was asked for.
    pub fn listings(&self) -> &[Listing] {
        self.code.listings()
    }
}

// SAFETY: `jit` compiled the entry points from this plan, and `code` keeps them in memory.
unsafe impl Program for Compiled {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn entry(&self, phase: Phase) -> Entry {
        match phase {
            Phase::Load => self.load,
            Phase::Run => self.run,
        }
    }
}

/// Compiles `plan` for any target into an object file with the global symbols `NAME_load` and
/// `NAME_run`, of type [`Entry`], where `NAME` is the plan's name. `listings` asks for the text of
/// every function too.
///
/// # Errors
/// `Placement` if the object cannot be written, `Function` if the plan breaks a guarantee of its
/// verifier.
pub fn compile_object(
    plan: &Plan,
    target: &Target,
    listings: bool,
) -> Result<(Vec<u8>, Vec<Listing>), CodegenError> {
    let mut module = CodeModule::object(target, &plan.name, listings)?;
    emit::define(&mut module, plan)?;
    module.finish()
}
