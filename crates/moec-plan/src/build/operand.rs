//! Operands of kernels: what must have a buffer before a kernel may use it, and in which layout.

use moec_ir::{DType, Node, Op, ValueId};

use crate::{Phase, PlanError};

use super::view::{View, is_empty, regroup};
use super::{Held, Planner};

impl Planner<'_> {
    /// Prepares a value that the kernel of another evaluates element by element: afterwards it is a
    /// view or an expression over views.
    pub(super) fn settle(&mut self, value: ValueId, phase: Phase) -> Result<(), PlanError> {
        match self.held[value.index()] {
            Held::Pending(_) => {
                self.store(value)?;
            }
            Held::Lazy => {
                // What weights alone decide is computed when they are loaded.
                let early = phase == Phase::Run && self.phase(value) == Phase::Load;
                if early && !self.survey.is_cheap(value, phase) {
                    self.store(value)?;
                } else {
                    self.fuse_tree(value, None)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Prepares a value of which a kernel evaluates elements repeatedly.
    fn settle_repeated(&mut self, value: ValueId, phase: Phase) -> Result<(), PlanError> {
        match self.held[value.index()] {
            Held::Lazy if self.survey.is_cheap(value, phase) => self.settle(value, phase),
            Held::Lazy | Held::Pending(_) => self.store(value).map(drop),
            _ => Ok(()),
        }
    }

    /// A value that is computed where it is used, unless it is a view or worth a buffer.
    pub(super) fn lazy(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let phase = self.phase(id);
        match node.op {
            Op::Gather if self.uses_each_index_once(node) => {
                self.settle_repeated(node.args[0], phase)?;
                self.settle(node.args[1], phase)?;
            }
            Op::Broadcast | Op::Slice | Op::Gather | Op::OneHot | Op::Einsum => {
                for &arg in &node.args {
                    self.settle_repeated(arg, phase)?;
                }
            }
            Op::Reshape if self.merges_axes(node)? => {
                self.store(node.args[0])?;
            }
            Op::TakeRows | Op::TakeExperts | Op::TakePairs => self.settle_repeated(node.args[1], phase)?,
            Op::TakeSlots => self.store_pairs(node.args[1])?,
            _ => self.settle_early_operands(node, phase)?,
        }
        let held = self.as_view(node)?.map_or(Held::Lazy, Held::View);
        self.hold(id, held);
        if self.survey.keep[id.index()] {
            self.store(id)?;
        }
        Ok(())
    }

    /// Whether no axis of a gather's operand repeats the indices.
    fn uses_each_index_once(&self, node: &Node) -> bool {
        let aligned = node.attrs.ints("along").iter().filter(|&&axis| axis != -1).count();
        self.shape(node.args[0]).len() == aligned + 1
    }

    /// Stores operands that can be computed when weights are loaded for a node that runs later.
    fn settle_early_operands(&mut self, node: &Node, phase: Phase) -> Result<(), PlanError> {
        for &arg in &node.args {
            let early = phase == Phase::Run && self.phase(arg) == Phase::Load;
            if early && !self.survey.is_cheap(arg, phase) && matches!(self.held[arg.index()], Held::Lazy) {
                self.store(arg)?;
            }
        }
        Ok(())
    }

    /// Whether a reshape of an expression would need quotients of positions.
    fn merges_axes(&self, node: &Node) -> Result<bool, PlanError> {
        if !matches!(self.held[node.args[0].index()], Held::Lazy | Held::Pending(_)) {
            return Ok(false);
        }
        let shape = &node.tensor().shape;
        if is_empty(shape) {
            return Ok(false);
        }
        let groups = regroup(self.shape(node.args[0]), shape)?;
        Ok(groups.is_none_or(|groups| groups.iter().any(|group| group.old.len() > 1)))
    }

    /// The view that a layout operation makes of a stored operand. A reshape that strides cannot say
    /// copies the operand.
    fn as_view(&mut self, node: &Node) -> Result<Option<View>, PlanError> {
        let is_layout = matches!(node.op, Op::Broadcast | Op::Transpose | Op::Slice | Op::Reshape);
        let Some(&arg) = node.args.first().filter(|_| is_layout) else { return Ok(None) };
        let Held::View(view) = &self.held[arg.index()] else { return Ok(None) };
        match view.after(node)? {
            None => self.copied(arg)?.after(node).map_err(PlanError::from),
            view => Ok(view),
        }
    }

    /// The value in a buffer of its own, row-major, in its own element type.
    fn copied(&mut self, value: ValueId) -> Result<View, PlanError> {
        let dtype = self.module.node(value).tensor().dtype;
        let view = self.scratch(format!("v{}_copy", value.0), dtype, self.shape(value))?;
        self.map_into(self.phase(value), value, &view)?;
        Ok(view)
    }

    /// Stores `[tokens, slots, ..]` so that tokens and slots lie as one axis.
    fn store_pairs(&mut self, value: ValueId) -> Result<(), PlanError> {
        let view = self.store(value)?;
        if view.merged_stride(&[0, 1])?.is_none() {
            let view = self.copied(value)?;
            self.hold(value, Held::View(view));
        }
        Ok(())
    }

    /// `[tokens, slots, ..]` as `[tokens * slots, ..]`, after [`Planner::store_pairs`].
    pub(super) fn pairs_view(&self, value: ValueId) -> Result<View, PlanError> {
        let broken = || PlanError::Broken(format!("the pairs of v{} are not one axis", value.0));
        let Held::View(view) = &self.held[value.index()] else { return Err(broken()) };
        let stride = view.merged_stride(&[0, 1])?.ok_or_else(broken)?;
        let pairs = view.shape[0].times(&view.shape[1])?;
        let mut merged = view.permuted(&(1..view.shape.len()).collect::<Vec<_>>());
        merged.shape[0] = pairs;
        merged.strides[0] = stride;
        Ok(merged)
    }

    /// A stored `[tokens, slots, ..]` whose pairs lie as one axis.
    pub(super) fn pairs(&mut self, value: ValueId) -> Result<View, PlanError> {
        self.store_pairs(value)?;
        self.pairs_view(value)
    }

    /// Whether the value is `f32` made of a shorter float without rounding, by layout operations and
    /// casts: then the view of that float. Anything stored is its own view.
    pub(super) fn unwidened(&self, value: ValueId) -> Result<Option<View>, PlanError> {
        if let Held::View(view) = &self.held[value.index()] {
            return Ok(Some(view.clone()));
        }
        let node = self.module.node(value);
        let layout = matches!(node.op, Op::Broadcast | Op::Transpose | Op::Slice | Op::Reshape);
        let widens = node.op == Op::Cast && node.tensor().dtype == DType::F32;
        if !(layout || widens) || !matches!(self.held[value.index()], Held::Lazy) {
            return Ok(None);
        }
        let arg = node.args[0];
        let Some(view) = self.unwidened(arg)? else { return Ok(None) };
        if !self.buffers[view.buffer.0 as usize].dtype.is_float() {
            return Ok(None);
        }
        if layout { Ok(view.after(node)?) } else { Ok(Some(view)) }
    }
}
