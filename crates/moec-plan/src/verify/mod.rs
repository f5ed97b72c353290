//! The verifier. A plan that passes guarantees:
//!
//! 1. names of steps are distinct, and so are names of buffers;
//! 2. a step reads only what its caller gives it or an earlier step wrote, and no step reads what it
//!    writes itself;
//! 3. load steps touch neither inputs, outputs nor memory of the run, and their sizes are known;
//!    run steps touch no memory of the load phase but what is kept, which they only read;
//! 4. no step writes an input, a weight or a literal; run steps write every output, and nothing else
//!    of the caller's;
//! 5. scratch memory lives from the first step that touches it, which writes it, to the last, and through all
//!    steps that are done together with these;
//! 6. scalars stand after their operands and have the element type that their operation gives;
//! 7. axes in loads and strides in stores are those of the kernel; no axis occurs twice in a load and
//!    no stride of a load is zero;
//! 8. an index computed from data is checked by [`InRange`](crate::Scalar::InRange), or loaded from
//!    what a grouping wrote;
//! 9. what is stored has the element type of the buffer;
//! 10. the weights of a product have one shape, one element type and one layout, and its left operand is `f32`, or
//!     `bf16` where the weights are `bf16` in pairs;
//! 11. where there are several programs, one symbol selects among them, each keeps the above by itself
//!     with what the load phase left, and they stand in ascending order;
//! 12. only packing reads a mapped weight, and a product with cold experts packs each of its weights;
//! 13. steps that are done together are products of the run, and none of them writes what another touches; no
//!     program begins with a step that is done together with the one before.
//!
//! That accesses stay inside buffers follows from how views are made and is tested, not checked here.

mod kernels;
mod scalars;

use std::collections::BTreeSet;
use std::ops::Range;

use moec_ir::DimKind;

use crate::{BufferId, Kernel, Phase, Place, Plan, PlanError, Step, stages};

/// Checks the guarantees of the module doc.
pub fn verify(plan: &Plan) -> Result<(), PlanError> {
    distinct("buffer", plan.buffers.iter().map(|buffer| buffer.name.as_str()))?;
    distinct("step", plan.load.iter().chain(&plan.run).map(|step| step.name.as_str()))?;
    let mut checker = Checker { plan, written: BTreeSet::new(), grouped: BTreeSet::new() };
    for (at, buffer) in plan.buffers.iter().enumerate() {
        if !matches!(buffer.place, Place::Output(_) | Place::Kept | Place::Scratch { .. }) {
            checker.written.insert(BufferId(at as u32));
        }
    }
    checker.steps(Phase::Load, 0..plan.load.len())?;
    switches(plan)?;
    for (_, steps) in plan.programs() {
        // No program of the run sees what another has written.
        let mut checker = checker.clone();
        checker.steps(Phase::Run, steps)?;
        for (at, (name, _)) in plan.outputs.iter().enumerate() {
            let of_output = |id: &BufferId| plan.buffer(*id).place == Place::Output(at);
            if checker.written.iter().filter(|id| of_output(id)).count() != 1 {
                return Err(PlanError::Broken(format!("output {name} is not written in one place")));
            }
        }
    }
    Ok(())
}

fn switches(plan: &Plan) -> Result<(), PlanError> {
    let broken = |what: &str| Err(PlanError::Broken(what.to_owned()));
    let ascends = plan.switches.is_sorted_by(|a, b| a.from < b.from && a.step <= b.step);
    let ends = plan.switches.iter().all(|switch| switch.from > 0 && switch.step <= plan.run.len());
    if !ascends || !ends {
        return broken("programs are not in ascending order");
    }
    let open = plan.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime).count();
    if !plan.switches.is_empty() && open != 1 {
        return broken("no single symbol selects the program");
    }
    Ok(())
}

fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), PlanError> {
    let mut known = BTreeSet::new();
    for name in names {
        if !known.insert(name) {
            return Err(PlanError::Broken(format!("two {what}s are called {name}")));
        }
    }
    Ok(())
}

type Checked = Result<(), String>;

/// Whether a step may be done together with `others`, all those of its stage before it.
fn together(phase: Phase, step: &Step, others: &[Step]) -> Checked {
    let Some(first) = others.first() else {
        return if step.together { Err("is together with no step".to_owned()) } else { Ok(()) };
    };
    let products = [first, step].iter().all(|step| matches!(step.kernel, Kernel::Product(_)));
    if phase == Phase::Load || !products {
        return Err("only products of the run are done together".to_owned());
    }
    match others.iter().find(|other| other.kernel.interferes(&step.kernel)) {
        Some(other) => Err(format!("cannot be done together with {}", other.name)),
        None => Ok(()),
    }
}

#[derive(Clone)]
struct Checker<'a> {
    plan: &'a Plan,
    /// Buffers that hold something.
    written: BTreeSet<BufferId>,
    /// Buffers that a grouping wrote.
    grouped: BTreeSet<BufferId>,
}

impl Checker<'_> {
    fn steps(&mut self, phase: Phase, range: Range<usize>) -> Result<(), PlanError> {
        let steps = &self.plan.steps(phase)[range.clone()];
        for stage in stages(steps) {
            let (numbers, stage) = (range.start + stage.start..range.start + stage.end, &steps[stage]);
            let broken = |step: &Step, what| PlanError::Broken(format!("{}: {what}", step.name));
            for (at, step) in stage.iter().enumerate() {
                together(phase, step, &stage[..at]).map_err(|what| broken(step, what))?;
            }
            for step in stage {
                self.step(phase, &numbers, step).map_err(|what| broken(step, what))?;
            }
        }
        Ok(())
    }

    /// A step, which is done together with those of `stage`.
    fn step(&mut self, phase: Phase, stage: &Range<usize>, step: &Step) -> Checked {
        let kernel = &step.kernel;
        let (reads, writes) = (kernel.reads(), kernel.writes());
        let known = |id: &&BufferId| (id.0 as usize) < self.plan.buffers.len();
        if let Some(bad) = reads.iter().chain(&writes).find(|id| !known(id)) {
            return Err(format!("there is no buffer {}", bad.0));
        }
        for &id in &reads {
            let name = &self.plan.buffer(id).name;
            if !self.written.contains(&id) {
                return Err(format!("{name} is read before it is written"));
            }
            if writes.contains(&id) {
                return Err(format!("{name} is read and written"));
            }
            self.reach(phase, stage, id)?;
        }
        for &id in &writes {
            self.reach(phase, stage, id)?;
            self.owned(phase, id)?;
            self.written.insert(id);
        }
        if phase == Phase::Load {
            self.sizes_known(&writes)?;
        }
        self.kernel(kernel)?;
        if let Kernel::Group(_) = kernel {
            self.grouped.extend(&writes);
        }
        Ok(())
    }

    /// Whether the memory exists during all steps of `stage`, of `phase`.
    fn reach(&self, phase: Phase, stage: &Range<usize>, id: BufferId) -> Checked {
        let buffer = self.plan.buffer(id);
        let alive = match &buffer.place {
            Place::Input(_) | Place::Output(_) => phase == Phase::Run,
            Place::Weight(_) | Place::Mapped { .. } | Place::Literal(_) | Place::Kept => true,
            Place::Scratch { phase: of, first, last } => {
                *of == phase && *first <= stage.start && stage.end - 1 <= *last
            }
        };
        if alive { Ok(()) } else { Err(format!("{} does not live here", buffer.name)) }
    }

    /// Whether a step of `phase` may write the buffer.
    fn owned(&self, phase: Phase, id: BufferId) -> Checked {
        let buffer = self.plan.buffer(id);
        let owned = match &buffer.place {
            Place::Input(_) | Place::Weight(_) | Place::Mapped { .. } | Place::Literal(_) => false,
            Place::Output(_) => phase == Phase::Run,
            Place::Kept => phase == Phase::Load,
            Place::Scratch { phase: of, .. } => *of == phase,
        };
        if owned { Ok(()) } else { Err(format!("{} is written", buffer.name)) }
    }

    fn sizes_known(&self, writes: &[BufferId]) -> Checked {
        for &id in writes {
            let buffer = self.plan.buffer(id);
            if !buffer.elements.symbols().is_empty() {
                return Err(format!("{} has a size that is known when the program runs", buffer.name));
            }
        }
        Ok(())
    }
}
