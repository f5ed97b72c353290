//! Emission of a plan's functions.
//!
//! From the bottom: [`context`] is the function under construction, [`loops`] its loops,
//! [`element`] the op table's element-wise meaning, [`scalar`] scalar programs; then one file for
//! each kernel, whose head draws its loop nest, and [`driver`] for the entry points and for steps that
//! are done together. What a kernel's items are is said twice in its file and nowhere else: `work`
//! counts them in the driver, `emit` does a range of them. Knows plans, not where functions go: that is
//! `compile`.

mod argsort;
mod context;
mod cumsum;
mod driver;
mod element;
mod fold;
mod group;
mod line;
mod loops;
mod map;
mod pack;
mod product;
mod reduce;
mod row;
mod scalar;
mod scatter_add;
mod seat;
mod softmax;
mod sort;
mod top_k;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Module};
use moec_plan::{Kernel, Phase, Plan};

use self::context::Cx;
use self::line::Line;
use crate::tile::{TileFamily, TileOperands};
use crate::{CodeModule, CodegenError};

/// The tiles for each kind of operands, for 1, 2, .. rows.
type TileIds = BTreeMap<TileOperands, Vec<FuncId>>;

/// The symbol of an entry point.
pub(crate) fn entry_name(plan: &Plan, phase: Phase) -> String {
    format!("{}_{}", plan.name, phase_name(phase))
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Run => "run",
    }
}

/// Defines every function of `plan`: tiles, kernels, and the two entry points, which are exported.
///
/// # Errors
/// `Function` if the plan breaks a guarantee, or if Cranelift refuses a function.
pub(crate) fn define<M: Module>(module: &mut CodeModule<M>, plan: &Plan) -> Result<(), CodegenError> {
    let panels = module.target().panels();
    if plan.panels != panels {
        let reason = format!("the plan has {:?}, the target's tiles {panels:?}", plan.panels);
        return Err(CodegenError::Function { function: plan.name.to_string(), reason });
    }
    let tiles = define_tiles(module, plan)?;
    for phase in [Phase::Load, Phase::Run] {
        let steps = plan.steps(phase);
        let kernels = steps
            .iter()
            .enumerate()
            .map(|(number, step)| {
                let name = format!("{}.{}{number}.{}", plan.name, phase_name(phase), step.name);
                define_kernel(module, plan, &name, &step.kernel, &tiles)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut stages = Vec::new();
        for stage in moec_plan::stages(steps) {
            let kernel = define_stage(module, plan, phase, &stage, &kernels[stage.clone()])?;
            stages.push((stage, kernel));
        }
        define_entry(module, plan, phase, &stages)?;
    }
    Ok(())
}

/// Every height of tile for the operands of every product of the plan.
fn define_tiles<M: Module>(module: &mut CodeModule<M>, plan: &Plan) -> Result<TileIds, CodegenError> {
    let products = plan.load.iter().chain(&plan.run).filter_map(|step| match &step.kernel {
        Kernel::Product(product) => Some(product),
        _ => None,
    });
    let operands: BTreeSet<TileOperands> = products
        .flat_map(|product| product.weights.iter().map(|weight| product::operands(plan, product, weight)))
        .collect();
    let mut tiles = TileIds::new();
    for operands in operands {
        let heights = module.target().tiles().tiles(operands);
        let ids = heights.map(|tile| tile.define(module, false)).collect::<Result<Vec<_>, _>>()?;
        if !ids.is_empty() {
            tiles.insert(operands, ids);
        }
    }
    Ok(tiles)
}

fn define_kernel<M: Module>(
    module: &mut CodeModule<M>,
    plan: &Plan,
    name: &str,
    kernel: &Kernel,
    tiles: &TileIds,
) -> Result<FuncId, CodegenError> {
    let signature = module.signature(&[I64; 4], &[]);
    let id = module.declare(name, &signature, false)?;
    let (fma, family) = (module.target().fma(), module.target().tiles());
    let line = match kernel {
        Kernel::Product(product) if !product::is_direct(plan, product) => {
            line::define(module, plan, &format!("{name}.line"), product)?
        }
        _ => None,
    };
    module.define(id, |b, m| {
        let callees = match kernel {
            Kernel::Product(_) => callable(family, tiles, line, b, m),
            _ => product::Callees::default(),
        };
        let mut cx = Cx::begin(b, plan, fma);
        emit_kernel(&mut cx, kernel, &callees);
        cx.b.ins().return_(&[]);
        cx.finish(name)
    })?;
    Ok(id)
}

/// The tiles and the wide form of an epilogue, to be called from the function that `b` builds.
fn callable<M: Module>(
    family: TileFamily,
    tiles: &TileIds,
    line: Option<(Line, FuncId)>,
    b: &mut FunctionBuilder<'_>,
    module: &mut M,
) -> product::Callees {
    let mut refer = |id: FuncId| module.declare_func_in_func(id, b.func);
    let tiles = tiles.iter().map(|(operands, ids)| {
        let heights = ids.iter().map(|id| refer(*id)).collect();
        let (lead, chunk_rows) = (family.lead(), family.chunk_rows(*operands));
        (*operands, product::Tiles { heights, lead, chunk_rows })
    });
    product::Callees { tiles: tiles.collect(), line: line.map(|(line, id)| (line, refer(id))) }
}

fn emit_kernel(cx: &mut Cx<'_, '_>, kernel: &Kernel, callees: &product::Callees) {
    let [worker, begin, end] = [1, 2, 3].map(|n| cx.parameter(n));
    match kernel {
        Kernel::Map(map) => map::emit(cx, map, begin, end),
        Kernel::Reduce(reduce) => reduce::emit(cx, reduce, begin, end),
        Kernel::Row(op) => row::emit(cx, op, worker, begin, end),
        Kernel::ScatterAdd(scatter) => scatter_add::emit(cx, scatter, begin, end),
        Kernel::Seat(seat) => seat::emit(cx, seat, worker),
        Kernel::Group(group) => group::emit(cx, group, worker),
        Kernel::Pack(pack) => pack::emit(cx, pack, begin, end),
        Kernel::Product(product) => product::emit(cx, product, callees, worker, begin, end),
    }
}

/// The kernel of steps that are done together, given those of each: a new one if there are several.
fn define_stage<M: Module>(
    module: &mut CodeModule<M>,
    plan: &Plan,
    phase: Phase,
    stage: &Range<usize>,
    kernels: &[FuncId],
) -> Result<FuncId, CodegenError> {
    if let [kernel] = kernels {
        return Ok(*kernel);
    }
    let name = format!("{}.{}{}.together", plan.name, phase_name(phase), stage.start);
    let signature = module.signature(&[I64; 4], &[]);
    let id = module.declare(&name, &signature, false)?;
    let fma = module.target().fma();
    module.define(id, |b, m| {
        let kernels: Vec<_> = kernels.iter().map(|id| m.declare_func_in_func(*id, b.func)).collect();
        let mut cx = Cx::begin(b, plan, fma);
        driver::emit_stage(&mut cx, &plan.steps(phase)[stage.clone()], &kernels);
        cx.b.ins().return_(&[]);
        cx.finish(&name)
    })?;
    Ok(id)
}

/// The entry point of a phase, given its stages and their kernels.
fn define_entry<M: Module>(
    module: &mut CodeModule<M>,
    plan: &Plan,
    phase: Phase,
    stages: &[(Range<usize>, FuncId)],
) -> Result<(), CodegenError> {
    let name = entry_name(plan, phase);
    let signature = module.signature(&[I64], &[I64]);
    let parallel = module.signature(&[I64; 6], &[]);
    let id = module.declare(&name, &signature, true)?;
    let fma = module.target().fma();
    module.define(id, |b, m| {
        let stages = stages.iter().map(|(stage, id)| driver::Stage {
            steps: &plan.steps(phase)[stage.clone()],
            first: stage.start,
            kernel: m.declare_func_in_func(*id, b.func),
        });
        let stages: Vec<_> = stages.collect();
        let mut cx = Cx::begin(b, plan, fma);
        driver::emit(&mut cx, phase, &stages, parallel);
        cx.finish(&name)
    })
}
