//! The last step of planning: who owns each buffer, and for how long.

use crate::{Phase, Place, Plan, PlanError, stages, verify};

use super::Planner;

impl Planner<'_> {
    /// The plan, verified.
    pub(super) fn finish(mut self) -> Result<Plan, PlanError> {
        self.find_lifetimes();
        let module = self.module;
        let plan = Plan {
            name: module.name.clone(),
            dims: module.dims.clone(),
            inputs: module.inputs().map(|(_, name, ty)| (name.into(), ty.clone())).collect(),
            weights: self.weights,
            outputs: module
                .outputs
                .iter()
                .map(|output| (output.name.clone(), module.node(output.value).tensor().clone()))
                .collect(),
            panels: self.panels,
            buffers: self.buffers,
            load: self.load,
            run: self.run,
            switches: self.switches,
        };
        verify(&plan)?;
        Ok(plan)
    }

    /// A buffer that load steps write and run steps read is kept; any other lives from the first step
    /// that writes it to the last that touches it, and as long as steps that are done together with these.
    fn find_lifetimes(&mut self) {
        let mut touched: Vec<Vec<(Phase, usize)>> = vec![Vec::new(); self.buffers.len()];
        for (phase, steps) in [(Phase::Load, &self.load), (Phase::Run, &self.run)] {
            for stage in stages(steps) {
                for step in &steps[stage.clone()] {
                    for buffer in step.kernel.writes().into_iter().chain(step.kernel.reads()) {
                        touched[buffer.0 as usize].extend([(phase, stage.start), (phase, stage.end - 1)]);
                    }
                }
            }
        }
        for (buffer, touched) in self.buffers.iter_mut().zip(touched) {
            // So far, `Kept` means no more than memory of our own.
            let (Some(&(phase, first)), Some(&(last_phase, last))) = (touched.first(), touched.last()) else {
                continue;
            };
            if buffer.place == Place::Kept && phase == last_phase {
                buffer.place = Place::Scratch { phase, first, last };
            }
        }
    }
}
