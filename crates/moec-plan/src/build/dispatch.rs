//! Routing plans: grouping, dropping, flattening, combining. See [`RoutingBuffers`].

use moec_ir::{DType, Dim, DimExpr, Node, Op, ValueId};

use crate::{
    BufferId, Group, Kernel, Load, Map, Place, PlanError, ReduceOp, RoutingBuffers, ScatterAdd, Seat,
};

use super::coord::Coord;
use super::emit::Emitter;
use super::view::View;
use super::{Held, Planner};

/// What each pair chose.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// `[tokens, slots]`.
    index: View,
    /// Number of experts.
    experts: Dim,
    /// Whether pairs may be dropped: their index is `experts`.
    drops: bool,
}

/// The number after that of the last expert, if it is one size.
fn after_last(experts: &Dim) -> Option<Dim> {
    experts.plus(&Dim::constant(1))
}

impl Planner<'_> {
    fn routing_buffer(&mut self, id: ValueId, part: &str, elements: DimExpr) -> BufferId {
        self.buffer(format!("v{}_{part}", id.0), DType::I32, elements, Place::Kept)
    }

    /// A plan, as what each pair chose, and grouped if anything but another plan needs it.
    fn chosen(&mut self, id: ValueId, choice: Choice) -> Result<(), PlanError> {
        let ungrouped = [Op::PlanCapacity, Op::PlanSubset, Op::PlanSeat];
        let of_plans = |user: &ValueId| ungrouped.contains(&self.module.node(*user).op);
        if !self.survey.users(id).iter().all(of_plans) {
            self.group(id, &choice)?;
        }
        self.choices.insert(id, choice);
        Ok(())
    }

    pub(super) fn plan(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let index = self.store(node.args[0])?;
        let experts = node.attrs.dim("experts").clone();
        self.chosen(id, Choice { index, experts, drops: false })
    }

    /// The seat of each pair of a plan, by the attributes of `node`.
    fn seats(&mut self, id: ValueId, node: &Node) -> Result<View, PlanError> {
        let from = self.choice(node.args[0])?;
        let seats = self.scratch(format!("v{}_seat", id.0), DType::I32, &from.index.shape)?;
        let kernel = Seat {
            experts: from.experts,
            tokens: from.index.shape[0].clone(),
            slots: from.index.shape[1].clone(),
            group: node.attrs.dim("group").clone(),
            slots_first: node.attrs.bool("slots_first"),
            drops: from.drops,
            index: from.index.load(&Coord::axes(2))?,
            out: seats.store(),
        };
        self.step(self.phase(id), id, Kernel::Seat(kernel));
        Ok(seats)
    }

    pub(super) fn seat(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let seats = self.seats(id, node)?;
        self.hold(id, Held::View(seats));
        Ok(())
    }

    /// A pair that is dropped already has a seat below any and stays so.
    pub(super) fn capacity(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let from = self.choice(node.args[0])?;
        let seats = self.seats(id, node)?;
        let index = self.scratch(format!("v{}_chosen", id.0), DType::I32, &from.index.shape)?;
        let mut emitter = Emitter::new(self);
        let seat = emitter.load(seats.load(&Coord::axes(2))?);
        let capacity = emitter.size(node.attrs.dim("capacity"));
        let seated = emitter.apply(Op::Lt, &[seat, capacity], DType::Bool);
        let expert = emitter.load(from.index.load(&Coord::axes(2))?);
        let none = emitter.size(&from.experts);
        let value = emitter.apply(Op::Select, &[seated, expert, none], DType::I32);
        let scalars = emitter.scalars;
        let map = Map { shape: from.index.shape, scalars, value, out: index.store() };
        self.step(self.phase(id), id, Kernel::Map(map));
        self.chosen(id, Choice { index, experts: from.experts, drops: true })
    }

    /// The sum over seats of what stands there if it is the pair's: right for any number of seats.
    pub(super) fn take_seats(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let (routing, x) = (self.routing(node.args[0])?, node.args[1]);
        let seats = self.seats(id, node)?;
        let pairs = View::natural(seats.buffer, std::slice::from_ref(&routing.total))?;
        self.settle(x, self.phase(id))?;
        let (shape, from) = (&node.tensor().shape, self.shape(x).to_vec());
        let group_of = match node.attrs.bool("grouped") {
            true => Some(self.group_of_tokens(id, &from[2], node.attrs.dim("group"))?),
            false => None,
        };
        self.only_summand(id, &from[1], |emitter| {
            let row = Coord::axis(0);
            let pair = emitter.routed(routing.pair, &row, &routing.total);
            let seat = emitter.load(pairs.load(std::slice::from_ref(&pair))?);
            let at = Coord::axis(shape.len());
            let here = emitter.position(&at);
            let hit = emitter.apply(Op::Eq, &[seat, here], DType::Bool);
            let mut coords = vec![emitter.routed(routing.expert, &row, &from[0]), at];
            if let Some(group_of) = &group_of {
                let token = emitter.routed(routing.token, &row, &group_of.shape[0]);
                let group = emitter.load(group_of.load(&[token])?);
                coords.push(Coord::value(emitter.in_range(group, &from[2])));
            }
            coords.extend((1..shape.len()).map(Coord::axis));
            Ok((hit, emitter.wide(x, &coords)?))
        })
    }

    /// The number of the group that each token belongs to.
    fn group_of_tokens(&mut self, id: ValueId, groups: &Dim, group: &Dim) -> Result<View, PlanError> {
        let shape = [groups.clone(), group.clone()];
        let numbers = self.scratch(format!("v{}_group", id.0), DType::I32, &shape)?;
        let mut emitter = Emitter::new(self);
        let value = emitter.position(&Coord::axis(0));
        let scalars = emitter.scalars;
        let map = Map { shape: shape.to_vec(), scalars, value, out: numbers.store() };
        self.step(self.phase(id), id, Kernel::Map(map));
        Ok(View::natural(numbers.buffer, &[groups.times(group)?])?)
    }

    /// Experts are renumbered by a table, made when the list is known: most lists are when weights are
    /// loaded. What a dropped pair has is no expert of the table.
    pub(super) fn subset(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let from = self.choice(node.args[0])?;
        let list = node.args[1];
        let experts = self.shape(list)[0].clone();
        let table = self.numbers_anew(id, list, &from.experts)?;
        let index = self.scratch(format!("v{}_chosen", id.0), DType::I32, &from.index.shape)?;
        let mut emitter = Emitter::new(self);
        let old = emitter.load(from.index.load(&Coord::axes(2))?);
        let value = if from.drops {
            let (limit, none) = (emitter.size(&from.experts), emitter.size(&experts));
            let counts = emitter.apply(Op::Lt, &[old, limit], DType::Bool);
            let zero = emitter.number(DType::I32, 0.0);
            let some = emitter.apply(Op::Select, &[counts, old, zero], DType::I32);
            let some = emitter.in_range(some, &from.experts);
            let new = emitter.load(table.load(&[Coord::value(some)])?);
            emitter.apply(Op::Select, &[counts, new, none], DType::I32)
        } else {
            let old = emitter.in_range(old, &from.experts);
            emitter.load(table.load(&[Coord::value(old)])?)
        };
        let scalars = emitter.scalars;
        let map = Map { shape: from.index.shape, scalars, value, out: index.store() };
        self.step(self.phase(id), id, Kernel::Map(map));
        self.chosen(id, Choice { index, experts, drops: true })
    }

    /// For each of `of` experts its place in `list`, or the length of the list.
    fn numbers_anew(&mut self, id: ValueId, list: ValueId, of: &Dim) -> Result<View, PlanError> {
        let phase = self.phase(list);
        self.settle(list, phase)?;
        let table = self.scratch(format!("v{}_number", id.0), DType::I32, std::slice::from_ref(of))?;
        let count = self.shape(list)[0].clone();
        let mut emitter = Emitter::new(self);
        let base = emitter.size(&count);
        let index = emitter.at(list, &[Coord::axis(0)])?;
        let index = emitter.in_range(index, of);
        let place = emitter.position(&Coord::axis(0));
        let update = emitter.apply(Op::Sub, &[place, base], DType::I32);
        let scalars = emitter.scalars;
        let (outer, len, out) = (Vec::new(), of.clone(), table.store());
        let kernel = ScatterAdd { outer, len, count, scalars, base, index, update, out };
        self.step(phase, id, Kernel::ScatterAdd(kernel));
        Ok(table)
    }

    /// What the pairs of a plan chose.
    fn choice(&mut self, id: ValueId) -> Result<Choice, PlanError> {
        if let Some(choice) = self.choices.get(&id) {
            return Ok(choice.clone());
        }
        let node = self.module.node(id);
        if node.op != Op::PlanFlatten {
            return Err(PlanError::Broken(format!("v{} is not a routing plan", id.0)));
        }
        let from = self.choice(node.args[0])?;
        let total = Dim::product(&from.index.shape)?;
        let flat = [total, Dim::constant(1)];
        let index = match from.index.reshaped(&flat)? {
            Some(index) => index,
            None => {
                let copy = self.scratch(format!("v{}_chosen", id.0), DType::I32, &from.index.shape)?;
                let mut emitter = Emitter::new(self);
                let value = emitter.load(from.index.load(&Coord::axes(2))?);
                let scalars = emitter.scalars;
                let map = Map { shape: from.index.shape, scalars, value, out: copy.store() };
                self.step(self.phase(id), id, Kernel::Map(map));
                View::natural(copy.buffer, &flat)?
            }
        };
        let choice = Choice { index, ..from };
        self.choices.insert(id, choice.clone());
        Ok(choice)
    }

    fn group(&mut self, id: ValueId, choice: &Choice) -> Result<(), PlanError> {
        let Choice { index, experts, drops } = choice;
        let (tokens, slots) = (index.shape[0].clone(), index.shape[1].clone());
        let total = tokens.times(&slots)?;
        let rows = || DimExpr::Dim(total.clone());
        let bounds = || match after_last(experts) {
            Some(bounds) => DimExpr::Dim(bounds),
            None => DimExpr::Add(
                Box::new(DimExpr::Dim(experts.clone())),
                Box::new(DimExpr::Dim(Dim::constant(1))),
            ),
        };
        let out = RoutingBuffers {
            offsets: self.routing_buffer(id, "offsets", bounds()),
            touched: self.routing_buffer(id, "touched", bounds()),
            expert: self.routing_buffer(id, "expert", rows()),
            token: self.routing_buffer(id, "token", rows()),
            pair: self.routing_buffer(id, "pair", rows()),
            rows: self.routing_buffer(id, "rows", rows()),
            experts: experts.clone(),
            total: total.clone(),
            drops: *drops,
        };
        self.trusted.extend([out.expert, out.token, out.pair, out.rows]);
        let index = index.load(&Coord::axes(2))?;
        let group = Group { experts: experts.clone(), tokens, slots, index, out: out.clone() };
        self.step(self.phase(id), id, Kernel::Group(group));
        self.hold(id, Held::Routing(out));
        Ok(())
    }

    /// The plan of the same pairs as tokens with one slot: the token is the pair, and the plan row of
    /// a token is where that pair stands.
    pub(super) fn flatten(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let from = self.routing(node.args[0])?;
        let total = from.total.clone();
        let rows = self.routing_buffer(id, "rows", DimExpr::Dim(total.clone()));
        let view = View::natural(rows, std::slice::from_ref(&total))?;
        let mut emitter = Emitter::new(self);
        let base = emitter.number(DType::I32, 0.0);
        let at = emitter.routed(from.pair, &Coord::axis(0), &total);
        let index = emitter.position(&at);
        let index = emitter.in_range(index, &total);
        let update = emitter.position(&Coord::axis(0));
        let scalars = emitter.scalars;
        let kernel = ScatterAdd {
            outer: Vec::new(),
            len: total.clone(),
            count: total,
            scalars,
            base,
            index,
            update,
            out: view.store(),
        };
        self.step(self.phase(id), id, Kernel::ScatterAdd(kernel));
        self.hold(id, Held::Routing(RoutingBuffers { token: from.pair, rows, ..from }));
        Ok(())
    }

    /// A sum over the slots of each token, in the order of its plan rows.
    pub(super) fn combine(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let [plan, weights, z] = [0, 1, 2].map(|i| node.args[i]);
        let routing = self.routing(plan)?;
        let slots = self.shape(weights)[1].clone();
        let weights = self.pairs(weights)?;
        self.settle(z, self.phase(id))?;
        let shape = &node.tensor().shape;
        let places = View::natural(routing.rows, &[shape[0].clone(), slots.clone()])?;
        self.reduce_with(id, ReduceOp::Sum, shape, &slots, |emitter| {
            let mut place = Coord::default();
            let load = places.load(&[Coord::axis(0), Coord::axis(shape.len())])?;
            place.add(&Coord { offset: load.offset, terms: load.terms });
            let row = emitter.routed(routing.rows, &place, &routing.total);
            let pair = emitter.routed(routing.pair, &row, &routing.total);
            let weight = emitter.load(weights.load(&[pair])?);
            let rest = (1..shape.len()).map(Coord::axis);
            let value = emitter.at(z, &std::iter::once(row.clone()).chain(rest).collect::<Vec<_>>())?;
            let term = emitter.apply(Op::Mul, &[weight, value], DType::F32);
            if !routing.drops {
                return Ok(term);
            }
            let kept =
                Load { buffer: routing.offsets, offset: vec![routing.experts.clone()], terms: Vec::new() };
            let (row, kept) = (emitter.position(&row), emitter.load(kept));
            let counts = emitter.apply(Op::Lt, &[row, kept], DType::Bool);
            let zero = emitter.number(DType::F32, 0.0);
            Ok(emitter.apply(Op::Select, &[counts, term, zero], DType::F32))
        })
    }
}
