//! One collector of functions for both destinations: memory of this process ([`Code`]) and object
//! files. Owns declaration, compilation, listings and the executable memory; knows no kernel.
//!
//! Executable memory is writable while functions are added and executable after
//! [`CodeModule::finish`], never both at once: the arena below changes each segment's protection
//! once, from read-write to read-execute.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, Type, UserFuncName};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

use crate::{CodegenError, Target};

/// Address space set aside for one module, so that its functions lie within reach of each other's
/// relative calls however much memory the process maps. Only what is used is ever committed.
const ARENA_BYTES: usize = 64 << 20;

/// The text of one compiled function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The function's symbol.
    pub name: String,
    /// Cranelift IR as emitted, before Cranelift optimises it; a comment if there was none.
    pub clif: String,
    /// Machine code in Cranelift's or the assembler's notation.
    pub assembly: String,
}

/// Collects the functions of one module; `M` says where they go.
pub struct CodeModule<M: Module> {
    module: M,
    target: Target,
    context: Context,
    frontend: FunctionBuilderContext,
    exports: Vec<(String, FuncId)>,
    listings: Option<Vec<Listing>>,
}

impl CodeModule<JITModule> {
    /// A module for this process. `listings` keeps the text of every function, which costs time.
    ///
    /// # Errors
    /// `UnsupportedTarget` if this machine cannot run the target's code, `Placement` if no
    /// address space is left.
    pub fn jit(target: &Target, listings: bool) -> Result<Self, CodegenError> {
        if !target.runs_here() {
            return Err(CodegenError::UnsupportedTarget {
                name: target.name().to_owned(),
                reason: "this machine cannot run its code".to_owned(),
            });
        }
        let arena = ArenaMemoryProvider::new_with_size(ARENA_BYTES)
            .map_err(|error| CodegenError::Placement(error.to_string()))?;
        let mut builder = JITBuilder::with_isa(target.isa().clone(), default_libcall_names());
        builder.memory_provider(Box::new(arena));
        Ok(CodeModule::around(JITModule::new(builder), target, listings))
    }

    /// Makes the code executable.
    ///
    /// # Errors
    /// `Placement` if the system refuses executable memory.
    pub fn finish(mut self) -> Result<Code, CodegenError> {
        self.module.finalize_definitions().map_err(|error| CodegenError::Placement(error.to_string()))?;
        let addresses = self
            .exports
            .iter()
            .map(|(name, id)| (name.clone(), self.module.get_finalized_function(*id)))
            .collect();
        Ok(Code {
            addresses,
            listings: self.listings.unwrap_or_default(),
            module: ManuallyDrop::new(self.module),
        })
    }
}

impl CodeModule<ObjectModule> {
    /// A module for an object file called `name`.
    ///
    /// # Errors
    /// `Placement` if the target has no object format.
    pub fn object(target: &Target, name: &str, listings: bool) -> Result<Self, CodegenError> {
        let builder = ObjectBuilder::new(target.isa().clone(), name, default_libcall_names())
            .map_err(|error| CodegenError::Placement(error.to_string()))?;
        Ok(CodeModule::around(ObjectModule::new(builder), target, listings))
    }

    /// The bytes of the object file, and the listings if they were asked for.
    ///
    /// # Errors
    /// `Placement` if the object cannot be written.
    pub fn finish(self) -> Result<(Vec<u8>, Vec<Listing>), CodegenError> {
        let bytes =
            self.module.finish().emit().map_err(|error| CodegenError::Placement(error.to_string()))?;
        Ok((bytes, self.listings.unwrap_or_default()))
    }
}

impl<M: Module> CodeModule<M> {
    fn around(module: M, target: &Target, listings: bool) -> Self {
        CodeModule {
            context: module.make_context(),
            module,
            target: target.clone(),
            frontend: FunctionBuilderContext::new(),
            exports: Vec::new(),
            listings: listings.then(Vec::new),
        }
    }

    /// What the module is compiled for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A signature in the platform's C calling convention.
    pub fn signature(&self, parameters: &[Type], results: &[Type]) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params.extend(parameters.iter().map(|ty| AbiParam::new(*ty)));
        signature.returns.extend(results.iter().map(|ty| AbiParam::new(*ty)));
        signature
    }

    /// Declares a function that others may call before it is defined. `exported` makes it
    /// visible outside: in [`Code::address`] or as a global symbol of the object.
    ///
    /// # Errors
    /// `Function` if the name is taken by another signature.
    pub fn declare(
        &mut self,
        name: &str,
        signature: &Signature,
        exported: bool,
    ) -> Result<FuncId, CodegenError> {
        let linkage = if exported { Linkage::Export } else { Linkage::Local };
        let id = self
            .module
            .declare_function(name, linkage, signature)
            .map_err(|error| CodegenError::function(name, &error))?;
        if exported {
            self.exports.push((name.to_owned(), id));
        }
        Ok(id)
    }

    /// Compiles the body that `emit` builds into the declared function `id`. `emit` gets a builder
    /// without any block and the module, to refer to other functions; it seals its blocks.
    ///
    /// # Errors
    /// Whatever `emit` reports; `Function` if Cranelift refuses the result.
    pub fn define(
        &mut self,
        id: FuncId,
        emit: impl FnOnce(&mut FunctionBuilder<'_>, &mut M) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let clif = self.build(id, emit)?;
        let name = self.symbol(id);
        self.module
            .define_function(id, &mut self.context)
            .map_err(|error| CodegenError::function(&name, &error))?;
        self.list(name, clif);
        Ok(())
    }

    /// Like [`define`](Self::define), with every operation where `emit` has put it: for innermost
    /// loops that are written to fit the registers. Such a function refers to no other.
    ///
    /// # Errors
    /// As for `define`; `Function` too if the code refers to anything outside.
    pub fn define_as_written(
        &mut self,
        id: FuncId,
        emit: impl FnOnce(&mut FunctionBuilder<'_>) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let clif = self.build(id, |builder, _| emit(builder))?;
        let name = self.symbol(id);
        let refused = |reason: String| CodegenError::Function { function: name.clone(), reason };
        let code = self
            .context
            .compile(self.target.as_written(), &mut ControlPlane::default())
            .map_err(|error| refused(format!("{:?}", error.inner)))?;
        if !code.buffer.relocs().is_empty() {
            return Err(refused("refers to code or data outside of itself".to_owned()));
        }
        self.module
            .define_function_bytes(id, u64::from(code.buffer.alignment), code.code_buffer(), &[])
            .map_err(|error| CodegenError::function(&name, &error))?;
        self.list(name, clif);
        Ok(())
    }

    /// Builds the function in `self.context`; its text if listings are kept.
    fn build(
        &mut self,
        id: FuncId,
        emit: impl FnOnce(&mut FunctionBuilder<'_>, &mut M) -> Result<(), CodegenError>,
    ) -> Result<Option<String>, CodegenError> {
        self.module.clear_context(&mut self.context);
        let signature = self.module.declarations().get_function_decl(id).signature.clone();
        self.context.func = Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature);
        let mut builder = FunctionBuilder::new(&mut self.context.func, &mut self.frontend);
        if let Err(error) = emit(&mut builder, &mut self.module) {
            // The half-built function is dropped, and with it the builder's notes on it.
            self.frontend = FunctionBuilderContext::new();
            return Err(error);
        }
        builder.finalize(self.module.target_config());
        self.context.set_disasm(self.listings.is_some());
        Ok(self.listings.is_some().then(|| self.context.func.display().to_string()))
    }

    /// Keeps the text of the function just compiled.
    fn list(&mut self, name: String, clif: Option<String>) {
        if let (Some(listings), Some(clif)) = (&mut self.listings, clif) {
            let assembly = self.context.compiled_code().and_then(|code| code.vcode.clone());
            listings.push(Listing { name, clif, assembly: assembly.unwrap_or_default() });
        }
    }

    fn symbol(&self, id: FuncId) -> String {
        self.module.declarations().get_function_decl(id).linkage_name(id).into_owned()
    }

    /// Defines the declared function `id` by finished, position-independent machine code that
    /// follows the platform's C calling convention. `assembly` gives its text if listings are kept.
    ///
    /// # Errors
    /// `Function` if `id` has a body already.
    pub fn define_bytes(
        &mut self,
        id: FuncId,
        alignment: u64,
        bytes: &[u8],
        assembly: impl FnOnce() -> String,
    ) -> Result<(), CodegenError> {
        let name = self.symbol(id);
        self.module
            .define_function_bytes(id, alignment, bytes, &[])
            .map_err(|error| CodegenError::function(&name, &error))?;
        if let Some(listings) = &mut self.listings {
            let clif = "; assembled without Cranelift\n".to_owned();
            listings.push(Listing { name, clif, assembly: assembly() });
        }
        Ok(())
    }
}

/// Finished code in the memory of this process. The memory lives as long as this value: whoever
/// calls an address from it keeps it alive.
pub struct Code {
    addresses: BTreeMap<String, *const u8>,
    listings: Vec<Listing>,
    module: ManuallyDrop<JITModule>,
}

// SAFETY: after `CodeModule::finish` the pages are read-only or read-execute and the module is not
// touched again before `drop`; the addresses are plain numbers into those pages.
unsafe impl Send for Code {}
// SAFETY: as above; `&Code` gives access to immutable data only.
unsafe impl Sync for Code {}

impl Code {
    /// Where the exported function `name` starts.
    pub fn address(&self, name: &str) -> Option<*const u8> {
        self.addresses.get(name).copied()
    }

    /// The text of every function in the order of definition; empty unless it was asked for.
    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: `module` is taken once, here, and never used again.
        let module = unsafe { ManuallyDrop::take(&mut self.module) };
        // SAFETY: no address outlives `self` by the contract in the type's documentation.
        unsafe { module.free_memory() };
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("functions", &self.addresses.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::types::I64;
    use cranelift_codegen::ir::{InstBuilder, Value};

    use super::*;
    use crate::CodeKind;

    /// `twice(x) = add(x, x)`, with `add` declared after its first use is compiled.
    fn define_twice<M: Module>(module: &mut CodeModule<M>) {
        let binary = module.signature(&[I64, I64], &[I64]);
        let unary = module.signature(&[I64], &[I64]);
        let add = module.declare("add", &binary, false).unwrap();
        let twice = module.declare("twice", &unary, true).unwrap();
        module
            .define(twice, |b, m| {
                let x = entry(b)[0];
                let callee = m.declare_func_in_func(add, b.func);
                let call = b.ins().call(callee, &[x, x]);
                let sum = b.inst_results(call)[0];
                b.ins().return_(&[sum]);
                Ok(())
            })
            .unwrap();
        module
            .define(add, |b, _| {
                let xs = entry(b);
                let sum = b.ins().iadd(xs[0], xs[1]);
                b.ins().return_(&[sum]);
                Ok(())
            })
            .unwrap();
    }

    fn entry(b: &mut FunctionBuilder<'_>) -> Vec<Value> {
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        b.seal_block(block);
        b.block_params(block).to_vec()
    }

    #[test]
    fn jit_code_runs_on_another_thread_and_lists_itself() {
        let target = Target::host(CodeKind::Jit).unwrap();
        let mut module = CodeModule::jit(&target, true).unwrap();
        define_twice(&mut module);
        let code = module.finish().unwrap();
        assert!(code.address("add").is_none(), "not exported");
        let names: Vec<_> = code.listings().iter().map(|listing| listing.name.as_str()).collect();
        assert_eq!(names, ["twice", "add"]);
        assert!(code.listings()[1].clif.contains("iadd v0, v1"));
        assert!(!code.listings()[1].assembly.is_empty());
        let got = std::thread::spawn(move || {
            let address = code.address("twice").unwrap();
            // SAFETY: the signature declared above; `code` is alive.
            let twice: extern "C" fn(i64) -> i64 = unsafe { std::mem::transmute(address) };
            twice(21)
        });
        assert_eq!(got.join().unwrap(), 42);
    }

    #[test]
    fn the_same_functions_go_into_objects_for_every_target() {
        for name in crate::TARGET_NAMES {
            let target = Target::named(name, CodeKind::Object).unwrap();
            let object = || {
                let mut module = CodeModule::object(&target, "m", false).unwrap();
                define_twice(&mut module);
                module.finish().unwrap().0
            };
            let bytes = object();
            assert!(bytes.starts_with(b"\x7fELF") || name == "host");
            assert_eq!(bytes, object(), "{name}: the same bytes every time");
        }
    }

    #[test]
    fn a_target_that_cannot_run_here_is_refused() {
        let foreign = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
        let target = Target::named(foreign, CodeKind::Jit).unwrap();
        let error = CodeModule::jit(&target, false).err().unwrap();
        assert!(matches!(error, CodegenError::UnsupportedTarget { .. }));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn finished_machine_code_is_called_like_any_function() {
        let target = Target::host(CodeKind::Jit).unwrap();
        let mut module = CodeModule::jit(&target, false).unwrap();
        let signature = module.signature(&[], &[I64]);
        let id = module.declare("seven", &signature, true).unwrap();
        // mov eax, 7; ret
        module.define_bytes(id, 16, &[0xb8, 7, 0, 0, 0, 0xc3], String::new).unwrap();
        let code = module.finish().unwrap();
        let address = code.address("seven").unwrap();
        // SAFETY: the bytes above follow the C convention; `code` is alive.
        let seven: extern "C" fn() -> i64 = unsafe { std::mem::transmute(address) };
        assert_eq!(seven(), 7);
    }

    #[test]
    fn a_body_that_fails_leaves_the_module_usable() {
        let target = Target::host(CodeKind::Jit).unwrap();
        let mut module = CodeModule::jit(&target, false).unwrap();
        let signature = module.signature(&[I64], &[I64]);
        let id = module.declare("broken", &signature, false).unwrap();
        let refused = module.define(id, |b, _| {
            entry(b);
            Err(CodegenError::Placement("on purpose".to_owned()))
        });
        assert!(refused.is_err());
        module
            .define(id, |b, _| {
                let x = entry(b)[0];
                b.ins().return_(&[x]);
                Ok(())
            })
            .unwrap();
        define_twice(&mut module);
        assert!(module.finish().is_ok());
    }
}
