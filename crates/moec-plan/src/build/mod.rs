//! From a module to a plan.
//!
//! Live nodes are visited in order. What becomes of a value is its [`Held`]: a view of a buffer, an
//! expression that is evaluated inside the kernels that use it (`emit`), or a matrix product that
//! waits for an element-wise tree to become its epilogue (`store`, `epilogue`). `survey` decides
//! beforehand which expressions get a buffer of their own.

mod contract;
mod coord;
mod dispatch;
mod emit;
mod epilogue;
mod layout;
mod lifetime;
mod loaded;
mod operand;
mod reduce;
mod store;
mod survey;
mod together;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moec_ir::{DType, Dim, DimExpr, Module, Node, Op, TensorType, ValueId};

use crate::{
    Buffer, BufferId, Kernel, Pack, Panels, Phase, Place, Plan, PlanError, RoutingBuffers, Step, Switch,
};

use contract::{Contraction, Copy};
use dispatch::Choice;
use loaded::Loaded;
use survey::Survey;
use view::View;

/// Plans an optimised and instantiated module: only symbols that get their value at run time are
/// left. `panels` are those that the target's tiles read.
pub fn plan(module: &Module, panels: Panels) -> Result<Plan, PlanError> {
    plan_programs(module, &[], panels)
}

/// Plans several programs with the same interface and dims as one: `first`, and from each number of
/// tokens on another, ascending. What is done when weights are loaded is done once for all of them.
/// One symbol, the number of tokens, is open until the program runs.
pub fn plan_programs(first: &Module, others: &[(u64, &Module)], panels: Panels) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(first, panels);
    planner.program()?;
    for (from, module) in others {
        planner.switches.push(Switch { from: *from, step: planner.run.len() });
        planner.turn_to(module);
        planner.program()?;
    }
    planner.finish()
}

/// What became of a value.
#[derive(Debug, Clone)]
enum Held {
    /// It was not visited, or nothing needs it.
    Nothing,
    /// It lies in a buffer.
    View(View),
    /// It is evaluated where it is used.
    Lazy,
    /// A product that waits for its epilogue.
    Pending(Box<Contraction>),
    /// A product that became part of a kernel; nothing else uses it.
    Spent,
    /// The result of `top_k`.
    Route {
        /// The chosen indices.
        index: View,
        /// The chosen values.
        value: View,
    },
    /// A routing plan.
    Routing(RoutingBuffers),
}

/// `base`, or the first of `base_2`, `base_3`, .. that is not taken.
fn unique(base: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&base) {
        return base;
    }
    let mut number = 2;
    while taken(&format!("{base}_{number}")) {
        number += 1;
    }
    format!("{base}_{number}")
}

struct Planner<'m> {
    module: &'m Module,
    survey: Survey,
    held: Vec<Held>,
    panels: Panels,
    buffers: Vec<Buffer>,
    load: Vec<Step>,
    run: Vec<Step>,
    /// For each output, whether a step writes it.
    written: Vec<bool>,
    /// Buffers whose elements are in range because a grouping wrote them.
    trusted: BTreeSet<BufferId>,
    /// Of plans, what each pair chose.
    choices: BTreeMap<ValueId, Choice>,
    packs: Vec<(Phase, Pack)>,
    copies: Vec<Copy>,
    weights: Vec<(Arc<str>, TensorType, Arc<str>)>,
    switches: Vec<Switch>,
    loaded: Loaded,
}

impl<'m> Planner<'m> {
    fn new(module: &'m Module, panels: Panels) -> Planner<'m> {
        Planner {
            module,
            survey: Survey::new(module),
            held: vec![Held::Nothing; module.nodes.len()],
            panels: Panels { columns: panels.columns.max(1), ..panels },
            buffers: Vec::new(),
            load: Vec::new(),
            run: Vec::new(),
            written: vec![false; module.outputs.len()],
            trusted: BTreeSet::new(),
            choices: BTreeMap::new(),
            packs: Vec::new(),
            copies: Vec::new(),
            weights: Vec::new(),
            switches: Vec::new(),
            loaded: Loaded::default(),
        }
    }

    /// Turns to the next program. What was made from weights stays known, under their names.
    fn turn_to(&mut self, module: &'m Module) {
        self.module = module;
        self.survey = Survey::new(module);
        self.held = vec![Held::Nothing; module.nodes.len()];
        self.written = vec![false; module.outputs.len()];
        self.packs.retain(|(phase, _)| *phase == Phase::Load);
        self.copies.clear();
        self.choices.clear();
    }

    /// Plans the present module.
    fn program(&mut self) -> Result<(), PlanError> {
        let module = self.module;
        let begin = self.run.len();
        for (number, (id, name, ty)) in module.inputs().enumerate() {
            self.source(id, name, ty.dtype, Place::Input(number))?;
        }
        for (id, name, ty) in module.weights() {
            let known = self.weights.iter().position(|(known, _, _)| **known == *name);
            let number = known.unwrap_or(self.weights.len());
            if known.is_none() {
                self.weights.push((name.into(), ty.clone(), module.node(id).attrs.str("from").into()));
            }
            self.source(id, name, ty.dtype, Place::Weight(number))?;
        }
        let names = self.loaded.names(module, &self.survey.phase);
        for (id, node) in module.iter() {
            if !self.survey.live[id.index()] || !matches!(self.held[id.index()], Held::Nothing) {
                continue;
            }
            match names[id.index()].and_then(|name| self.loaded.held(name)) {
                Some(held) => self.hold(id, held),
                None => self.visit(id, node)?,
            }
        }
        self.write_outputs()?;
        let steps = self.run.split_off(begin);
        self.run.extend(together::joined(steps));
        self.loaded.keep(&names, &self.held);
        Ok(())
    }

    /// Gives the value `id` a buffer that somebody else fills.
    fn source(&mut self, id: ValueId, name: &str, dtype: DType, place: Place) -> Result<(), PlanError> {
        let shape = &self.module.node(id).tensor().shape;
        let elements = DimExpr::Dim(Dim::product(shape)?);
        let buffer = self.given(name, dtype, elements, place);
        self.held[id.index()] = Held::View(View::natural(buffer, shape)?);
        Ok(())
    }

    /// The one buffer of a place that somebody else provides.
    fn given(&mut self, name: &str, dtype: DType, elements: DimExpr, place: Place) -> BufferId {
        match self.buffers.iter().position(|buffer| buffer.place == place && buffer.dtype == dtype) {
            Some(at) => BufferId(at as u32),
            None => self.buffer(name.to_owned(), dtype, elements, place),
        }
    }

    /// A new buffer. Names that are taken get a number.
    fn buffer(&mut self, name: String, dtype: DType, elements: DimExpr, place: Place) -> BufferId {
        let name = unique(name, |name| self.buffers.iter().any(|buffer| buffer.name == name));
        self.buffers.push(Buffer { name, dtype, elements, place });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// A new buffer for `shape`, row-major.
    fn scratch(&mut self, name: String, dtype: DType, shape: &[Dim]) -> Result<View, PlanError> {
        let elements = DimExpr::Dim(Dim::product(shape)?);
        // `finish` finds out how long it lives.
        let buffer = self.buffer(name, dtype, elements, Place::Kept);
        Ok(View::natural(buffer, shape)?)
    }

    /// Memory for the value `id`, row-major: an output's, if it is one.
    fn result(&mut self, id: ValueId) -> Result<View, PlanError> {
        let ty = self.module.node(id).tensor();
        let free = |at: &usize| self.module.outputs[*at].value == id && !self.written[*at];
        let output = (0..self.module.outputs.len()).find(free);
        if let Some(at) = output.filter(|_| self.phase(id) == Phase::Run) {
            self.written[at] = true;
            let elements = DimExpr::Dim(ty.elements()?);
            let name = self.module.outputs[at].name.to_string();
            let buffer = self.given(&name, ty.dtype, elements, Place::Output(at));
            return Ok(View::natural(buffer, &ty.shape)?);
        }
        self.scratch(format!("v{}", id.0), ty.dtype, &ty.shape)
    }

    /// Adds a step that computes (part of) the value `id`.
    fn step(&mut self, phase: Phase, id: ValueId, kernel: Kernel) {
        let name = format!("{}_v{}", kernel.kind(), id.0);
        let name = unique(name, |name| self.load.iter().chain(&self.run).any(|step| step.name == name));
        let steps = match phase {
            Phase::Load => &mut self.load,
            Phase::Run => &mut self.run,
        };
        steps.push(Step { name, kernel, together: false });
    }

    fn phase(&self, id: ValueId) -> Phase {
        self.survey.phase[id.index()]
    }

    fn shape(&self, id: ValueId) -> &'m [Dim] {
        &self.module.node(id).tensor().shape
    }

    fn hold(&mut self, id: ValueId, held: Held) {
        self.held[id.index()] = held;
    }

    fn routing(&self, id: ValueId) -> Result<RoutingBuffers, PlanError> {
        match &self.held[id.index()] {
            Held::Routing(routing) => Ok(routing.clone()),
            other => Err(PlanError::Broken(format!("v{} is {other:?}, not a routing plan", id.0))),
        }
    }

    fn visit(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        match node.op {
            // Their memory is given.
            Op::Input | Op::Weight => {}
            Op::Literal => {
                let place = Place::Literal(node.attrs.numbers("values").clone());
                self.source(id, &format!("v{}", id.0), node.tensor().dtype, place)?;
            }
            Op::Concat => self.concat(id, node)?,
            Op::Pad => self.pad(id, node)?,
            Op::ScatterAdd => self.scatter_add(id, node)?,
            Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All | Op::Argmax => {
                self.reduce(id, node)?
            }
            Op::Softmax | Op::Cumsum | Op::Argsort | Op::TopK => self.row(id, node)?,
            Op::RouteIndex | Op::RouteValue => self.route_part(id, node)?,
            Op::RouteMask => self.route_mask(id, node)?,
            Op::Densify => self.densify(id, node)?,
            Op::Plan => self.plan(id, node)?,
            Op::PlanCapacity => self.capacity(id, node)?,
            Op::PlanSubset => self.subset(id, node)?,
            Op::PlanSeat => self.seat(id, node)?,
            Op::TakeSeats => self.take_seats(id, node)?,
            Op::PlanFlatten => self.flatten(id, node)?,
            Op::Combine => self.combine(id, node)?,
            Op::Einsum if !survey::is_outer(node) => self.einsum(id, node)?,
            Op::GroupedMatmul | Op::PlacedMatmul => self.grouped_matmul(id, node)?,
            _ => self.lazy(id, node)?,
        }
        Ok(())
    }

    /// Copies what no step wrote where it belongs.
    fn write_outputs(&mut self) -> Result<(), PlanError> {
        for (at, output) in self.module.outputs.iter().enumerate() {
            // Storing writes the value into the first output of that value.
            self.store(output.value)?;
            if !self.written[at] {
                self.written[at] = true;
                let ty = self.module.node(output.value).tensor();
                let elements = DimExpr::Dim(ty.elements()?);
                let buffer = self.given(&output.name, ty.dtype, elements, Place::Output(at));
                let target = View::natural(buffer, &ty.shape)?;
                self.map_into(Phase::Run, output.value, &target)?;
            }
        }
        Ok(())
    }
}
