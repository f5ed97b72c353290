//! Reductions, row operations and scattered additions.

use moec_ir::{DType, Dim, Node, Op, ValueId};

use crate::{Kernel, Map, PlanError, Reduce, ReduceOp, RowKind, RowOp, Scalar, ScalarId, ScatterAdd};

use super::coord::Coord;
use super::emit::Emitter;
use super::view::View;
use super::{Held, Planner};

/// `shape` without axis `axis`, and the size of that axis.
fn without(shape: &[Dim], axis: usize) -> (Vec<Dim>, Dim) {
    let mut outer = shape.to_vec();
    let len = outer.remove(axis);
    (outer, len)
}

/// The view with axis `axis` last.
fn with_last(view: &View, axis: usize) -> View {
    let mut axes: Vec<usize> = (0..view.shape.len()).filter(|a| *a != axis).collect();
    axes.push(axis);
    view.permuted(&axes)
}

impl Planner<'_> {
    pub(super) fn reduce(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (arg, axis) = (node.args[0], node.attrs.index("axis"));
        let op = match node.op {
            Op::Sum => ReduceOp::Sum,
            Op::Mean => ReduceOp::Mean,
            Op::Max => ReduceOp::Max,
            Op::Min => ReduceOp::Min,
            Op::Any => ReduceOp::Any,
            Op::All => ReduceOp::All,
            _ => ReduceOp::Argmax,
        };
        self.settle(arg, self.phase(id))?;
        let shape = self.shape(arg).to_vec();
        let coords = Coord::axes_with_last(shape.len(), axis);
        let (shape, len) = without(&shape, axis);
        self.reduce_with(id, op, &shape, &len, |emitter| emitter.wide(arg, &coords))
    }

    /// A reduction into memory for the value `id`, of what `value` emits over (shape, len).
    pub(super) fn reduce_with(
        &mut self,
        id: ValueId,
        op: ReduceOp,
        shape: &[Dim],
        len: &Dim,
        value: impl FnOnce(&mut Emitter<'_, '_>) -> Result<ScalarId, PlanError>,
    ) -> Result<(), PlanError> {
        let view = self.result(id)?;
        self.reduce_into(id, op, &view.clone(), shape, len, value)?;
        self.hold(id, Held::View(view));
        Ok(())
    }

    /// A reduction for the sake of `id` into `target`, whose axes are those of `shape`.
    pub(super) fn reduce_into(
        &mut self,
        id: ValueId,
        op: ReduceOp,
        target: &View,
        shape: &[Dim],
        len: &Dim,
        value: impl FnOnce(&mut Emitter<'_, '_>) -> Result<ScalarId, PlanError>,
    ) -> Result<(), PlanError> {
        let mut emitter = Emitter::new(self);
        let value = value(&mut emitter)?;
        let scalars = emitter.scalars;
        let (shape, len, out) = (shape.to_vec(), len.clone(), target.store());
        self.step(self.phase(id), id, Kernel::Reduce(Reduce { shape, len, op, scalars, value, out }));
        Ok(())
    }

    pub(super) fn row(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (arg, axis) = (node.args[0], node.attrs.index("axis"));
        self.settle(arg, self.phase(id))?;
        let ty = self.module.node(arg).tensor();
        let (shape, len) = without(&ty.shape, axis);
        let kind = match node.op {
            Op::Softmax => RowKind::Softmax,
            Op::Cumsum => RowKind::Cumsum { exclusive: node.attrs.bool("exclusive") },
            Op::Argsort => RowKind::Argsort { descending: node.attrs.bool("descending") },
            _ => RowKind::TopK { k: node.attrs.dim("k").clone(), largest: node.attrs.bool("largest") },
        };
        let held = if let RowKind::TopK { k, .. } = &kind {
            let mut chosen = ty.shape.clone();
            chosen[axis] = k.clone();
            let index = self.scratch(format!("v{}_index", id.0), DType::I32, &chosen)?;
            let value = self.scratch(format!("v{}_value", id.0), ty.dtype, &chosen)?;
            Held::Route { index, value }
        } else {
            Held::View(self.result(id)?)
        };
        let views = match &held {
            Held::Route { index, value } => vec![index, value],
            Held::View(view) => vec![view],
            _ => Vec::new(),
        };
        let out = views.into_iter().map(|view| with_last(view, axis).store()).collect();
        let mut emitter = Emitter::new(self);
        let value = emitter.at(arg, &Coord::axes_with_last(ty.rank(), axis))?;
        let scalars = emitter.scalars;
        self.step(self.phase(id), id, Kernel::Row(RowOp { shape, len, kind, scalars, value, out }));
        self.hold(id, held);
        Ok(())
    }

    /// Index or value of a route.
    pub(super) fn route_part(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (index, value) = self.route(node.args[0])?;
        self.hold(id, Held::View(if node.op == Op::RouteIndex { index } else { value }));
        Ok(())
    }

    fn route(&self, id: ValueId) -> Result<(View, View), PlanError> {
        match &self.held[id.index()] {
            Held::Route { index, value } => Ok((index.clone(), value.clone())),
            other => Err(PlanError::Broken(format!("v{} is {other:?}, not a route", id.0))),
        }
    }

    /// Whether any of the chosen indices is the position.
    pub(super) fn route_mask(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (index, _) = self.route(node.args[0])?;
        let Some(route) = self.module.node(node.args[0]).ty.route() else {
            return Err(PlanError::Broken(format!("v{} is not a route", node.args[0].0)));
        };
        let shape = route.scores.shape.clone();
        let mut coords = Coord::axes(shape.len());
        let here = std::mem::replace(&mut coords[route.axis], Coord::axis(shape.len()));
        self.reduce_with(id, ReduceOp::Any, &shape, &route.k, |emitter| {
            let chosen = emitter.load(index.load(&coords)?);
            let here = emitter.position(&here);
            Ok(emitter.apply(Op::Eq, &[chosen, here], DType::Bool))
        })
    }

    /// The sum over entries of the value where the index is the position, zero elsewhere.
    pub(super) fn densify(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (values, index) = (node.args[0], node.args[1]);
        let axis = node.attrs.index("axis");
        self.settle(values, self.phase(id))?;
        self.settle(index, self.phase(id))?;
        let ty = node.tensor();
        let mut coords = Coord::axes(ty.rank());
        let here = std::mem::replace(&mut coords[axis], Coord::axis(ty.rank()));
        let (len, size) = (self.shape(values)[axis].clone(), &ty.shape[axis]);
        self.only_summand(id, &len, |emitter| {
            let chosen = emitter.at(index, &coords)?;
            let chosen = emitter.in_range(chosen, size);
            let here = emitter.position(&here);
            let hit = emitter.apply(Op::Eq, &[chosen, here], DType::Bool);
            let value = emitter.wide(values, &coords)?;
            Ok((hit, value))
        })
    }

    /// The value of `id` as the sum over `len` of what `summand` emits (whether it counts, and the
    /// value), of which at most one counts at each point.
    pub(super) fn only_summand(
        &mut self,
        id: ValueId,
        len: &Dim,
        summand: impl FnOnce(&mut Emitter<'_, '_>) -> Result<(ScalarId, ScalarId), PlanError>,
    ) -> Result<(), PlanError> {
        let body = |emitter: &mut Emitter<'_, '_>| {
            let (counts, value) = summand(emitter)?;
            Ok(match emitter.scalars.dtype(value) {
                DType::Bool => emitter.apply(Op::And, &[counts, value], DType::Bool),
                dtype => {
                    let zero = emitter.number(dtype, 0.0);
                    emitter.apply(Op::Select, &[counts, value, zero], dtype)
                }
            })
        };
        let ty = self.module.node(id).tensor();
        match ty.dtype {
            DType::Bool => self.reduce_with(id, ReduceOp::Any, &ty.shape, len, body),
            DType::F32 | DType::I32 => self.reduce_with(id, ReduceOp::Sum, &ty.shape, len, body),
            DType::Bf16 | DType::F16 | DType::U8 => {
                // At most one summand is not zero, so rounding back is exact.
                let wide = if ty.dtype == DType::U8 { DType::I32 } else { DType::F32 };
                let wide = self.scratch(format!("v{}_wide", id.0), wide, &ty.shape)?;
                self.reduce_into(id, ReduceOp::Sum, &wide, &ty.shape, len, body)?;
                self.narrow(id, &wide)
            }
        }
    }

    /// Rounds a stored `f32` value to the element type of `id`.
    fn narrow(&mut self, id: ValueId, wide: &View) -> Result<(), PlanError> {
        let dtype = self.module.node(id).tensor().dtype;
        let out = self.result(id)?;
        let mut emitter = Emitter::new(self);
        let value = emitter.load(wide.load(&Coord::axes(wide.shape.len()))?);
        let value = emitter.scalars.push(Scalar::Cast(dtype, value), dtype);
        let scalars = emitter.scalars;
        let map = Map { shape: wide.shape.clone(), scalars, value, out: out.store() };
        self.step(self.phase(id), id, Kernel::Map(map));
        self.hold(id, Held::View(out));
        Ok(())
    }

    pub(super) fn scatter_add(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let [base, index, updates] = [0, 1, 2].map(|i| node.args[i]);
        let axis = node.attrs.index("axis");
        for arg in [base, index, updates] {
            self.settle(arg, self.phase(id))?;
        }
        let shape = &node.tensor().shape;
        let (outer, len) = without(shape, axis);
        let count = self.shape(index)[0].clone();
        let out = self.result(id)?;
        let coords = Coord::axes_with_last(shape.len(), axis);
        let mut emitter = Emitter::new(self);
        let base = emitter.at(base, &coords)?;
        let index = emitter.at(index, &[Coord::axis(outer.len())])?;
        let index = emitter.in_range(index, &len);
        let update = emitter.at(updates, &coords)?;
        let scalars = emitter.scalars;
        let store = with_last(&out, axis).store();
        let kernel = ScatterAdd { outer, len, count, scalars, base, index, update, out: store };
        self.step(self.phase(id), id, Kernel::ScatterAdd(kernel));
        self.hold(id, Held::View(out));
        Ok(())
    }
}
