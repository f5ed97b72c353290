//! Test harness: one element-wise function as a loop over arrays, in both widths.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};
use cranelift_module::Module;

use crate::guard::{Edge, Guarded};
use crate::{Code, CodeKind, CodeModule, LaneEmitter, Lanes, Target};

/// Emits one group of lanes, given the addresses of its two operands and its result.
pub(crate) type EmitGroup<'a> = &'a dyn Fn(&mut LaneEmitter<'_, '_>, [Value; 3]);

/// Defines `name(a, b, out, groups)`; `sizes` are the bytes of an element of each array.
pub(crate) fn define<M: Module>(
    module: &mut CodeModule<M>,
    name: &str,
    lanes: Lanes,
    sizes: [usize; 3],
    emit: EmitGroup<'_>,
) {
    let fma = module.target().fma();
    let signature = module.signature(&[I64; 4], &[]);
    let id = module.declare(name, &signature, true).unwrap();
    let emit_loop = |b: &mut cranelift_frontend::FunctionBuilder<'_>| {
        let (entry, body, exit) = (b.create_block(), b.create_block(), b.create_block());
        b.append_block_params_for_function_params(entry);
        let parameters = b.block_params(entry).to_vec();
        let index = b.append_block_param(body, I64);
        b.switch_to_block(entry);
        let zero = b.ins().iconst(I64, 0);
        b.ins().brif(parameters[3], body, &[BlockArg::Value(zero)], exit, &[]);
        b.switch_to_block(body);
        let places = [0, 1, 2].map(|i| {
            let offset = b.ins().imul_imm_s(index, i64::try_from(sizes[i] * lanes.count()).unwrap());
            b.ins().iadd(parameters[i], offset)
        });
        emit(&mut LaneEmitter::new(b, lanes, fma), places);
        let next = b.ins().iadd_imm_s(index, 1);
        let more = b.ins().icmp(IntCC::UnsignedLessThan, next, parameters[3]);
        b.ins().brif(more, body, &[BlockArg::Value(next)], exit, &[]);
        b.switch_to_block(exit);
        b.ins().return_(&[]);
        b.seal_all_blocks();
    };
    module
        .define(id, |b, _| {
            emit_loop(b);
            Ok(())
        })
        .unwrap();
}

/// Both widths of one function, ready to run.
pub(crate) struct ElementLoop(Code);

impl ElementLoop {
    pub(crate) fn compile(target: &Target, sizes: [usize; 3], emit: EmitGroup<'_>) -> ElementLoop {
        let mut module = CodeModule::jit(target, false).unwrap();
        for lanes in [Lanes::Scalar, Lanes::X4] {
            define(&mut module, &format!("{lanes:?}"), lanes, sizes, emit);
        }
        ElementLoop(module.finish().unwrap())
    }

    /// Runs it over arrays of one length, a multiple of four, that end at a fault.
    pub(crate) fn run<A, B, C>(&self, lanes: Lanes, a: &[A], b: &[B]) -> Vec<C>
    where
        A: Copy + Default,
        B: Copy + Default,
        C: Copy + Default,
    {
        assert!(a.len() == b.len() && a.len().is_multiple_of(4));
        let (a, b) = (Guarded::from_slice(a, Edge::End), Guarded::from_slice(b, Edge::End));
        let mut out = Guarded::<C>::new(a.as_slice().len(), Edge::End);
        let address = self.0.address(&format!("{lanes:?}")).unwrap();
        // SAFETY: the signature of `define`; `self` keeps the code alive.
        let run: extern "C" fn(*const A, *const B, *mut C, usize) = unsafe { std::mem::transmute(address) };
        run(a.as_ptr(), b.as_ptr(), out.as_mut_ptr(), a.as_slice().len() / lanes.count());
        out.as_slice().to_vec()
    }
}

/// The targets that this machine can run, the one without FMA among them on x86-64.
pub(crate) fn runnable_targets() -> Vec<Target> {
    crate::TARGET_NAMES
        .iter()
        .map(|name| Target::named(name, CodeKind::Jit).unwrap())
        .filter(Target::runs_here)
        .collect()
}

/// For each tile family that this machine can run, a target that has it.
pub(crate) fn targets_by_family() -> Vec<Target> {
    let mut targets = runnable_targets();
    targets.sort_by_key(Target::tiles);
    targets.dedup_by_key(|target| target.tiles());
    targets
}

/// Whether a listing calls anything.
pub(crate) fn calls(assembly: &str) -> bool {
    let call = |line: &str| ["call", "bl ", "blr "].iter().any(|op| line.trim_start().starts_with(op));
    assembly.lines().any(call)
}
