//! Load steps that can be done slice by slice: what one step makes of a weight, and others pack, need not
//! be in memory for all experts at once. An analysis of the plan; it changes nothing.

use moec_ir::{Dim, DimExpr};

use crate::{BufferId, Index, Kernel, Load, Phase, Place, Plan, Step};

/// A buffer whose slices along axis 0 can be made and packed one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slices {
    /// The buffer, load scratch.
    pub buffer: BufferId,
    /// The load step that makes it.
    pub writer: usize,
    /// The load steps that read it. They read nothing else that is made at load.
    pub readers: Vec<usize>,
    /// How many slices. Equal parts of the items of writer and readers, in order, touch one slice each.
    pub count: u64,
    /// Elements of a slice.
    pub elements: u64,
}

impl Plan {
    /// The buffers that can be made and packed in slices.
    pub fn slices(&self) -> Vec<Slices> {
        let buffers = (0..self.buffers.len() as u32).map(BufferId);
        buffers.filter_map(|buffer| self.slices_of(buffer)).collect()
    }

    fn slices_of(&self, id: BufferId) -> Option<Slices> {
        let buffer = self.buffer(id);
        let (Place::Scratch { phase: Phase::Load, .. }, DimExpr::Dim(all)) =
            (&buffer.place, &buffer.elements)
        else {
            return None;
        };
        let all = self.dims.value(all)?;
        let numbered = |touch: &dyn Fn(&Step) -> bool| -> Vec<usize> {
            let steps = self.load.iter().enumerate().filter(|(_, step)| touch(step));
            steps.map(|(number, _)| number).collect()
        };
        let writers = numbered(&|step| step.kernel.writes().contains(&id));
        let readers = numbered(&|step| step.kernel.reads().contains(&id));
        let &[writer] = writers.as_slice() else { return None };
        let Kernel::Map(map) = &self.load[writer].kernel else { return None };
        let (first, inner) = map.shape.split_first().filter(|(_, inner)| !inner.is_empty())?;
        let count = self.dims.value(first).filter(|&count| count > 1)?;
        let elements = all / count;
        let (step, strides) = map.out.strides.split_first()?;
        let stays = self.reach(&map.out.offset, inner.iter().zip(strides))? < elements;
        if elements * count != all || self.dims.value(step) != Some(elements) || !stays {
            return None;
        }
        let packed = readers.iter().all(|&reader| self.packs_slices(reader, count, elements) == Some(true));
        (packed && !readers.is_empty()).then_some(Slices { buffer: id, writer, readers, count, elements })
    }

    /// Whether each group of a packing reads the slice of its number only.
    fn packs_slices(&self, step: usize, count: u64, elements: u64) -> Option<bool> {
        let Kernel::Pack(pack) = &self.load[step].kernel else { return None };
        let [groups] = pack.groups.as_slice() else { return None };
        let Load { offset, terms, .. } = &pack.source;
        let axes: Vec<&Dim> = pack.groups.iter().chain(&pack.n).chain(&pack.k).collect();
        let (mut slice, mut inner) = (None, Vec::new());
        for (index, stride) in terms {
            match index {
                Index::Axis(0) => slice = self.dims.value(stride),
                Index::Axis(axis) => inner.push((*axes.get(*axis)?, stride)),
                Index::Value(_) => return None,
            }
        }
        let stays = self.reach(offset, inner)? < elements;
        Some(
            pack.parts.is_none()
                && self.dims.value(groups) == Some(count)
                && slice == Some(elements)
                && stays,
        )
    }

    /// The largest offset that axes of these sizes and strides reach.
    fn reach<'d>(&self, offset: &[Dim], axes: impl IntoIterator<Item = (&'d Dim, &'d Dim)>) -> Option<u64> {
        let start = offset.iter().map(|summand| self.dims.value(summand)).sum::<Option<u64>>()?;
        axes.into_iter().try_fold(start, |reach, (size, stride)| {
            Some(reach + self.dims.value(size)?.checked_sub(1)? * self.dims.value(stride)?)
        })
    }
}
