//! Values made of pieces: each piece is computed into its place.

use moec_ir::{Node, ValueId};

use crate::{Kernel, Map, Phase, PlanError};

use super::emit::Emitter;
use super::view::View;
use super::{Held, Planner};

impl Planner<'_> {
    pub(super) fn concat(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let axis = node.attrs.index("axis");
        let phase = self.phase(id);
        let whole = self.result(id)?;
        let mut rest = whole.clone();
        for &arg in &node.args {
            let size = self.shape(arg)[axis].clone();
            let piece = rest.sliced(axis, &0.into(), &size, 1)?;
            self.store_into(phase, arg, &piece, id)?;
            rest = rest.sliced(axis, &size, &size, 1)?;
        }
        self.hold(id, Held::View(whole));
        Ok(())
    }

    pub(super) fn pad(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (attrs, arg) = (&node.attrs, node.args[0]);
        let (axis, phase) = (attrs.index("axis"), self.phase(id));
        let (before, after) = (attrs.dim("before"), attrs.dim("after"));
        let size = self.shape(arg)[axis].clone();
        let whole = self.result(id)?;
        let middle = whole.sliced(axis, before, &size, 1)?;
        let end = middle.sliced(axis, &size, after, 1)?;
        self.fill(phase, id, &whole.sliced(axis, &0.into(), before, 1)?, attrs.number("value"));
        self.store_into(phase, arg, &middle, id)?;
        self.fill(phase, id, &end, attrs.number("value"));
        self.hold(id, Held::View(whole));
        Ok(())
    }

    /// Writes one number into all of `target`, unless it is known to be empty.
    fn fill(&mut self, phase: Phase, id: ValueId, target: &View, value: f64) {
        if super::view::is_empty(&target.shape) {
            return;
        }
        let dtype = self.module.node(id).tensor().dtype;
        let mut emitter = Emitter::new(self);
        let value = emitter.number(dtype, value);
        let scalars = emitter.scalars;
        let map = Map { shape: target.shape.clone(), scalars, value, out: target.store() };
        self.step(phase, id, Kernel::Map(map));
    }
}
