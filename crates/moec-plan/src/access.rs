//! Which buffers a kernel touches, and its scalar programs.

use crate::{BufferId, Groups, Kernel, Phase, Plan, RoutingBuffers, Scalar, Scalars, Store};

impl Kernel {
    /// The word for this kind of kernel in names and dumps.
    pub fn kind(&self) -> &'static str {
        match self {
            Kernel::Map(_) => "map",
            Kernel::Reduce(_) => "reduce",
            Kernel::Row(_) => "row",
            Kernel::ScatterAdd(_) => "scatter_add",
            Kernel::Seat(_) => "seat",
            Kernel::Group(_) => "group",
            Kernel::Pack(_) => "pack",
            Kernel::Product(_) => "product",
        }
    }

    /// The scalar program, if there is one.
    pub fn scalars(&self) -> Option<&Scalars> {
        match self {
            Kernel::Map(k) => Some(&k.scalars),
            Kernel::Reduce(k) => Some(&k.scalars),
            Kernel::Row(k) => Some(&k.scalars),
            Kernel::ScatterAdd(k) => Some(&k.scalars),
            Kernel::Product(k) => Some(&k.scalars),
            Kernel::Seat(_) | Kernel::Group(_) | Kernel::Pack(_) => None,
        }
    }

    /// The stores of the kernels that have any.
    pub fn stores(&self) -> Vec<&Store> {
        match self {
            Kernel::Map(k) => vec![&k.out],
            Kernel::Reduce(k) => vec![&k.out],
            Kernel::Row(k) => k.out.iter().collect(),
            Kernel::ScatterAdd(k) => vec![&k.out],
            Kernel::Product(k) => vec![&k.out],
            Kernel::Seat(k) => vec![&k.out],
            Kernel::Group(_) | Kernel::Pack(_) => Vec::new(),
        }
    }

    /// The buffers it writes.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            Kernel::Group(k) => {
                vec![k.out.offsets, k.out.touched, k.out.expert, k.out.token, k.out.pair, k.out.rows]
            }
            Kernel::Pack(k) => vec![k.out.buffer],
            _ => self.stores().iter().map(|store| store.buffer).collect(),
        }
    }

    /// The buffers it reads. A scattering also reads back what it writes.
    pub fn reads(&self) -> Vec<BufferId> {
        let mut buffers = Vec::new();
        for scalar in self.scalars().map_or(&[][..], |scalars| &scalars.list) {
            if let Scalar::Load(load) = scalar {
                buffers.push(load.buffer);
            }
        }
        match self {
            Kernel::Seat(k) => buffers.push(k.index.buffer),
            Kernel::Group(k) => buffers.push(k.index.buffer),
            Kernel::Pack(k) => {
                buffers.push(k.source.buffer);
                buffers.extend(k.parts);
            }
            Kernel::Product(k) => {
                buffers.push(k.lhs.buffer);
                buffers.extend(k.weights.iter().map(|weight| weight.buffer));
                if let Some(cold) = &k.cold {
                    buffers.push(cold.slots);
                    buffers.extend(cold.packs.iter().map(|pack| pack.source.buffer));
                }
                if let Groups::Routed(routing) = &k.groups {
                    let RoutingBuffers { offsets, touched, expert, token, pair, .. } = *routing;
                    buffers.extend([offsets, touched, expert, token, pair]);
                }
            }
            _ => {}
        }
        buffers.sort();
        buffers.dedup();
        buffers
    }

    /// Whether one of two kernels writes what the other touches, so that their order matters.
    pub fn interferes(&self, other: &Kernel) -> bool {
        let reaches = |from: &Kernel, to: &Kernel| {
            let writes = from.writes();
            to.reads().into_iter().chain(to.writes()).any(|buffer| writes.contains(&buffer))
        };
        reaches(self, other) || reaches(other, self)
    }
}

impl Plan {
    /// Whether a step of `phase` reads the buffer.
    pub fn reads(&self, phase: Phase, buffer: BufferId) -> bool {
        self.steps(phase).iter().any(|step| step.kernel.reads().contains(&buffer))
    }
}
