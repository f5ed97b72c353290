//! Which buffers a kernel touches.

use crate::{BufferId, Groups, Kernel, Phase, Plan, Scalar, Scalars, ScatterAdd};

impl Kernel {
    /// The buffers that the kernel reads, in no particular order, possibly repeated.
    pub fn reads(&self) -> Vec<BufferId> {
        match self {
            Kernel::Map(map) => loads(&map.scalars),
            Kernel::Reduce(reduce) => loads(&reduce.scalars),
            Kernel::Row(row) => loads(&row.scalars),
            Kernel::ScatterAdd(ScatterAdd { scalars, .. }) => loads(scalars),
            Kernel::Group(group) => vec![group.index.buffer],
            Kernel::Pack(pack) => vec![pack.source.buffer],
            Kernel::Product(product) => {
                let mut all = loads(&product.scalars);
                all.push(product.lhs.buffer);
                all.extend(product.weights.iter().map(|weight| weight.buffer));
                if let Groups::Routed(routing) = &product.groups {
                    all.extend([routing.offsets, routing.expert, routing.token, routing.pair]);
                }
                all
            }
        }
    }

    /// The buffers that the kernel writes.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            Kernel::Map(map) => vec![map.out.buffer],
            Kernel::Reduce(reduce) => vec![reduce.out.buffer],
            Kernel::Row(row) => row.out.iter().map(|store| store.buffer).collect(),
            Kernel::ScatterAdd(scatter) => vec![scatter.out.buffer],
            Kernel::Group(group) => {
                let out = &group.out;
                vec![out.offsets, out.expert, out.token, out.pair, out.rows]
            }
            Kernel::Pack(pack) => vec![pack.out.buffer],
            Kernel::Product(product) => vec![product.out.buffer],
        }
    }
}

fn loads(scalars: &Scalars) -> Vec<BufferId> {
    let buffer = |scalar: &Scalar| match scalar {
        Scalar::Load(load) => Some(load.buffer),
        _ => None,
    };
    scalars.list.iter().filter_map(buffer).collect()
}

impl Plan {
    /// Whether a step of `phase` reads the buffer.
    pub fn reads(&self, phase: Phase, buffer: BufferId) -> bool {
        self.steps(phase).iter().any(|step| step.kernel.reads().contains(&buffer))
    }
}
