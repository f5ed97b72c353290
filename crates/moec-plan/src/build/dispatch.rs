//! Routing plans: grouping, flattening, combining. See [`RoutingBuffers`].

use moec_ir::{DType, Dim, DimExpr, Node, Op, ValueId};

use crate::{BufferId, Group, Kernel, Place, PlanError, ReduceOp, RoutingBuffers, ScatterAdd};

use super::coord::Coord;
use super::emit::Emitter;
use super::view::View;
use super::{Held, Planner};

impl Planner<'_> {
    fn routing_buffer(&mut self, id: ValueId, part: &str, elements: DimExpr) -> BufferId {
        self.buffer(format!("v{}_{part}", id.0), DType::I32, elements, Place::Kept)
    }

    pub(super) fn group(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let index = self.store(node.args[0])?;
        let experts = node.attrs.dim("experts").clone();
        let (tokens, slots) = (index.shape[0].clone(), index.shape[1].clone());
        let total = tokens.times(&slots)?;
        let rows = || DimExpr::Dim(total.clone());
        let bounds = match experts.plus(&Dim::constant(1)) {
            Some(bounds) => DimExpr::Dim(bounds),
            None => DimExpr::Add(
                Box::new(DimExpr::Dim(experts.clone())),
                Box::new(DimExpr::Dim(Dim::constant(1))),
            ),
        };
        let out = RoutingBuffers {
            offsets: self.routing_buffer(id, "offsets", bounds),
            expert: self.routing_buffer(id, "expert", rows()),
            token: self.routing_buffer(id, "token", rows()),
            pair: self.routing_buffer(id, "pair", rows()),
            rows: self.routing_buffer(id, "rows", rows()),
            experts: experts.clone(),
            total: total.clone(),
        };
        self.trusted.extend([out.expert, out.token, out.pair, out.rows]);
        let index = index.load(&Coord::axes(2))?;
        let group = Group { experts, tokens, slots, index, out: out.clone() };
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
            let value = emitter.at(z, &std::iter::once(row).chain(rest).collect::<Vec<_>>())?;
            Ok(emitter.apply(Op::Mul, &[weight, value], DType::F32))
        })
    }
}
