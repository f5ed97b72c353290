//! What loading leaves behind: the buffers that runs read, and a text that says how their bytes follow
//! from the bytes of weights. Two plans with one recipe have the same image for the same weights, whatever
//! their run steps are; so weights that were packed once serve both. Knows nothing of files.

use std::fmt::Write;

use crate::print::steps;
use crate::{BufferId, Kernel, Phase, Place, Plan};

/// What is there of weights once they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The buffers that runs read and that weights decide: kept ones, weights, mapped weights. In the
    /// order in which load steps mention them, then by name.
    pub buffers: Vec<BufferId>,
    /// The load phase as text, in which buffers and steps are numbered anew. It has everything that the
    /// bytes of the image follow from, but weights and instruction set.
    pub recipe: String,
}

impl Plan {
    /// What loading leaves behind.
    pub fn image(&self) -> Image {
        let mut order: Vec<BufferId> = Vec::new();
        for step in &self.load {
            for buffer in step.kernel.writes().into_iter().chain(step.kernel.reads()) {
                if !order.contains(&buffer) {
                    order.push(buffer);
                }
            }
        }
        let mut others: Vec<BufferId> = (0..self.buffers.len() as u32).map(BufferId).collect();
        others.retain(|&buffer| !order.contains(&buffer) && self.stays(buffer));
        others.sort_by_key(|&buffer| &self.buffer(buffer).name);
        order.extend(others);

        let mut renamed = self.clone();
        for (number, buffer) in order.iter().enumerate() {
            renamed.buffers[buffer.0 as usize].name = format!("b{number}");
        }
        for (number, step) in renamed.load.iter_mut().enumerate() {
            step.name = format!("s{number}");
        }
        let mut recipe = format!("{:?}\n", self.panels);
        for &id in &order {
            let buffer = renamed.buffer(id);
            let weight = |n: usize| {
                let (name, ty, from) = &self.weights[n];
                format!("{name:?} {ty} from {from:?}")
            };
            let place = match &buffer.place {
                Place::Weight(n) => format!("weight {}", weight(*n)),
                Place::Mapped { weight: n, parts } => format!("{parts} parts of {}", weight(*n)),
                Place::Literal(values) => format!("{values:?}"),
                Place::Kept => "kept".to_owned(),
                Place::Scratch { .. } | Place::Input(_) | Place::Output(_) => "scratch".to_owned(),
            };
            let stays = if self.stays(id) { ", stays" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(recipe, "{}: {}[{}] {place}{stays}", buffer.name, buffer.dtype, buffer.elements);
        }
        recipe += &steps(&renamed, Phase::Load);
        order.retain(|&buffer| self.stays(buffer));
        Image { buffers: order, recipe }
    }

    /// Whether runs read the buffer, and weights decide what is in it.
    pub fn stays(&self, buffer: BufferId) -> bool {
        match self.buffer(buffer).place {
            Place::Kept => true,
            Place::Weight(_) | Place::Mapped { .. } => self.reads(Phase::Run, buffer),
            _ => false,
        }
    }

    /// Whether load steps make a routing plan, whose indices run steps use without looking at them.
    pub fn routes_at_load(&self) -> bool {
        self.load.iter().any(|step| matches!(step.kernel, Kernel::Group(_) | Kernel::Seat(_)))
    }
}
