//! Scalar programs: a value evaluated at a point, through everything that has no buffer.

use std::collections::HashMap;

use moec_ir::{DType, Dim, EinsumSpec, Node, Number, Op, ValueId};

use crate::{BufferId, Index, Load, PlanError, RoutingBuffers, Scalar, ScalarId, Scalars};

use super::coord::Coord;
use super::epilogue::Epilogue;
use super::view::{is_empty, regroup};
use super::{Held, Planner};

/// Writes one scalar program.
pub(super) struct Emitter<'p, 'm> {
    planner: &'p Planner<'m>,
    /// The program so far.
    pub scalars: Scalars,
    /// What accumulators may stand for, if this is the epilogue of a product.
    pub epilogue: Option<Epilogue>,
    known: HashMap<(ValueId, Vec<Coord>), ScalarId>,
}

impl<'p, 'm> Emitter<'p, 'm> {
    pub(super) fn new(planner: &'p Planner<'m>) -> Emitter<'p, 'm> {
        Emitter { planner, scalars: Scalars::default(), epilogue: None, known: HashMap::new() }
    }

    /// The element of `value` at `coords`.
    pub(super) fn at(&mut self, value: ValueId, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let key = (value, coords.to_vec());
        if let Some(&scalar) = self.known.get(&key) {
            return Ok(scalar);
        }
        let node = self.planner.module.node(value);
        let scalar = match &self.planner.held[value.index()] {
            Held::View(view) => self.load(view.load(coords)?),
            Held::Lazy => self.expression(node, coords)?,
            Held::Pending(_) => match self.epilogue.as_mut().and_then(|e| e.accumulator(value, coords)) {
                Some(scalar) => self.scalars.push(scalar, DType::F32),
                None => return Err(PlanError::Broken(format!("v{} has no place to be used in", value.0))),
            },
            other => return Err(PlanError::Broken(format!("v{} is used as {other:?}", value.0))),
        };
        self.known.insert(key, scalar);
        Ok(scalar)
    }

    /// The element of `value` at `coords`, widened to the type that is computed in.
    pub(super) fn wide(&mut self, value: ValueId, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let scalar = self.at(value, coords)?;
        Ok(self.widened(scalar))
    }

    fn widened(&mut self, scalar: ScalarId) -> ScalarId {
        match self.scalars.dtype(scalar) {
            DType::Bf16 | DType::F16 => self.scalars.push(Scalar::Cast(DType::F32, scalar), DType::F32),
            DType::U8 => self.scalars.push(Scalar::Cast(DType::I32, scalar), DType::I32),
            _ => scalar,
        }
    }

    pub(super) fn load(&mut self, load: Load) -> ScalarId {
        let dtype = self.planner.buffers[load.buffer.0 as usize].dtype;
        self.scalars.push(Scalar::Load(load), dtype)
    }

    pub(super) fn apply(&mut self, op: Op, args: &[ScalarId], dtype: DType) -> ScalarId {
        self.scalars.push(Scalar::Apply(op, args.to_vec()), dtype)
    }

    pub(super) fn number(&mut self, dtype: DType, value: f64) -> ScalarId {
        self.scalars.push(Scalar::Const(dtype, Number::new(value)), dtype)
    }

    /// An index that faults when it is not below `size`.
    pub(super) fn in_range(&mut self, index: ScalarId, size: &Dim) -> ScalarId {
        self.scalars.push(Scalar::InRange(index, size.clone()), DType::I32)
    }

    /// A position as a number.
    pub(super) fn position(&mut self, coord: &Coord) -> ScalarId {
        let mut sum = None;
        for (index, factor) in &coord.terms {
            let mut term = match index {
                Index::Axis(axis) => self.scalars.push(Scalar::Iota(*axis), DType::I32),
                Index::Value(scalar) => *scalar,
            };
            if !factor.is(1) {
                let factor = self.size(factor);
                term = self.apply(Op::Mul, &[term, factor], DType::I32);
            }
            sum = Some(self.plus(sum, term));
        }
        for summand in &coord.offset {
            let summand = self.size(summand);
            sum = Some(self.plus(sum, summand));
        }
        sum.unwrap_or_else(|| self.number(DType::I32, 0.0))
    }

    fn plus(&mut self, sum: Option<ScalarId>, term: ScalarId) -> ScalarId {
        match sum {
            Some(sum) => self.apply(Op::Add, &[sum, term], DType::I32),
            None => term,
        }
    }

    /// A size as a number.
    pub(super) fn size(&mut self, dim: &Dim) -> ScalarId {
        match dim.as_const() {
            Some(value) => self.number(DType::I32, value as f64),
            None => self.scalars.push(Scalar::Size(dim.clone()), DType::I32),
        }
    }

    /// The entry of a routing buffer for plan row (or pair) `row`, as a position below `size`.
    pub(super) fn routed(&mut self, buffer: BufferId, row: &Coord, size: &Dim) -> Coord {
        if let Some(axis) = self.epilogue.as_ref().and_then(|e| e.routing_axis(buffer, row)) {
            return Coord::axis(axis);
        }
        let load = Load { buffer, offset: row.offset.clone(), terms: row.terms.clone() };
        let entry = self.load(load);
        if self.planner.trusted.contains(&buffer) {
            return Coord::value(entry);
        }
        Coord::value(self.in_range(entry, size))
    }

    fn expression(&mut self, node: &Node, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let attrs = &node.attrs;
        let dtype = node.tensor().dtype;
        match node.op {
            Op::Const => Ok(self.number(dtype, attrs.number("value"))),
            Op::Iota => Ok(self.position(&coords[attrs.index("axis")])),
            Op::Cast => {
                let value = self.at(node.args[0], coords)?;
                if self.scalars.dtype(value) == dtype {
                    return Ok(value);
                }
                Ok(self.scalars.push(Scalar::Cast(dtype, value), dtype))
            }
            Op::Broadcast => {
                let coords: Vec<Coord> =
                    attrs.ints("map").iter().map(|&axis| coords[axis as usize].clone()).collect();
                self.at(node.args[0], &coords)
            }
            Op::Transpose => {
                let mut operand = vec![Coord::default(); coords.len()];
                for (coord, &axis) in coords.iter().zip(attrs.ints("perm")) {
                    operand[axis as usize] = coord.clone();
                }
                self.at(node.args[0], &operand)
            }
            Op::Slice => {
                let axis = attrs.index("axis");
                let mut operand = coords.to_vec();
                operand[axis] = coords[axis].scaled(&Dim::constant(attrs.int("step") as u64))?;
                operand[axis].move_by(attrs.dim("start"));
                self.at(node.args[0], &operand)
            }
            Op::Reshape => self.reshape(node, coords),
            Op::Gather => self.gather(node, coords),
            Op::OneHot => {
                let (size, index) = (coords.len() - 1, &coords[..coords.len() - 1]);
                let index = self.at(node.args[0], index)?;
                let position = self.position(&coords[size]);
                Ok(self.apply(Op::Eq, &[index, position], DType::Bool))
            }
            Op::Einsum => self.outer(node, coords),
            Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::TakePairs => self.take(node, coords),
            op => {
                let args =
                    node.args.iter().map(|&arg| self.at(arg, coords)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.apply(op, &args, dtype))
            }
        }
    }

    /// Only splits of axes get here: each operand axis is a sum of result axes.
    fn reshape(&mut self, node: &Node, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let (old, new) = (self.planner.shape(node.args[0]), &node.tensor().shape);
        let groups = if is_empty(new) { Some(Vec::new()) } else { regroup(old, new)? };
        let mut operand = vec![Coord::default(); old.len()];
        for group in groups.unwrap_or_default() {
            let &[axis] = group.old.as_slice() else {
                return Err(PlanError::Broken(format!("{} merges axes of an expression", node.op)));
            };
            let mut stride = Dim::constant(1);
            for &part in group.new.iter().rev() {
                operand[axis].add(&coords[part].scaled(&stride)?);
                stride = stride.times(&new[part])?;
            }
        }
        self.at(node.args[0], &operand)
    }

    fn gather(&mut self, node: &Node, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let along = node.attrs.ints("along");
        let axis = node.attrs.index("axis");
        let new = along.iter().filter(|&&a| a == -1).count();
        let mut operand = [&coords[..axis], &[Coord::default()], &coords[axis + new..]].concat();
        let mut next = axis;
        let mut index = Vec::new();
        for &along in along {
            match usize::try_from(along) {
                Ok(along) => index.push(operand[along].clone()),
                Err(_) => {
                    index.push(coords[next].clone());
                    next += 1;
                }
            }
        }
        let index = self.at(node.args[1], &index)?;
        let size = &self.planner.shape(node.args[0])[axis];
        operand[axis] = Coord::value(self.in_range(index, size));
        self.at(node.args[0], &operand)
    }

    /// The product of two elements of a contraction that sums over nothing.
    fn outer(&mut self, node: &Node, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let spec = EinsumSpec::parse(node.attrs.str("spec")).map_err(PlanError::Broken)?;
        let at = |letters: &[u8]| -> Vec<Coord> {
            let place = |l: &u8| spec.out.iter().position(|o| o == l).unwrap_or_default();
            letters.iter().map(|l| coords[place(l)].clone()).collect()
        };
        let left = self.wide(node.args[0], &at(&spec.lhs))?;
        let right = self.wide(node.args[1], &at(&spec.rhs))?;
        Ok(self.apply(Op::Mul, &[left, right], DType::F32))
    }

    fn take(&mut self, node: &Node, coords: &[Coord]) -> Result<ScalarId, PlanError> {
        let routing: RoutingBuffers = self.planner.routing(node.args[0])?;
        let operand = node.args[1];
        let shape = self.planner.shape(operand);
        let (row, rest) = (&coords[0], &coords[1..]);
        match node.op {
            Op::TakeRows => {
                let token = self.routed(routing.token, row, &shape[0]);
                self.at(operand, &[&[token], rest].concat())
            }
            Op::TakeExperts => {
                let expert = self.routed(routing.expert, row, &shape[0]);
                self.at(operand, &[&[expert], rest].concat())
            }
            Op::TakePairs => {
                let expert = self.routed(routing.expert, row, &shape[0]);
                let token = self.routed(routing.token, row, &shape[1]);
                self.at(operand, &[&[expert, token], rest].concat())
            }
            _ => {
                // Tokens and slots of the operand lie as one axis; see `Planner::lazy`.
                let pair = self.routed(routing.pair, row, &routing.total);
                let view = self.planner.pairs_view(operand)?;
                let load = view.load(&[&[pair], rest].concat())?;
                Ok(self.load(load))
            }
        }
    }
}
