//! What is known about values before anything is planned: who uses them, when they can be computed,
//! and which are worth a buffer.

use moec_ir::{EinsumSpec, Module, Node, Op, ValueId};

use crate::Phase;

/// A value that several kernels use is computed again in each if it costs no more than this.
const CHEAP: u32 = 4;

/// A value that costs more than this has a buffer, so that kernels stay small and recursion shallow.
const LARGEST: u32 = 96;

/// Facts about the values of a module, by their number.
pub(super) struct Survey {
    /// Whether an output needs the value.
    pub live: Vec<bool>,
    /// The nodes that use it, each once.
    pub users: Vec<Vec<ValueId>>,
    /// Whether it is an output.
    pub output: Vec<bool>,
    /// When it can be computed.
    pub phase: Vec<Phase>,
    /// What evaluating one element where it is used costs, in cheap operations.
    pub cost: Vec<u32>,
    /// Whether it gets a buffer although it could be computed where it is used.
    pub keep: Vec<bool>,
}

/// Whether the result of the operation can be computed element by element where it is used.
pub(super) fn is_lazy(node: &Node) -> bool {
    match node.op {
        Op::Const | Op::Iota => true,
        Op::Broadcast | Op::Transpose | Op::Reshape | Op::Slice | Op::Gather | Op::OneHot => true,
        Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::TakePairs => true,
        Op::Einsum => is_outer(node),
        op => is_elementwise(op),
    }
}

/// Whether the operation is one of the element-wise family, casts included.
pub(super) fn is_elementwise(op: Op) -> bool {
    (Op::Neg..=Op::Cast).contains(&op)
}

/// Whether the contraction sums over nothing: a product of broadcast operands.
pub(super) fn is_outer(node: &Node) -> bool {
    EinsumSpec::parse(node.attrs.str("spec")).is_ok_and(|spec| spec.contracted().is_empty())
}

/// What the operation itself costs for one element.
fn own_cost(op: Op) -> u32 {
    match op {
        Op::Const => 0,
        Op::Exp | Op::Exp2 | Op::Log | Op::Tanh | Op::Erf | Op::Softplus => 16,
        Op::Sigmoid | Op::Silu | Op::Gelu | Op::GeluTanh => 20,
        Op::Sqrt | Op::Rsqrt | Op::Div | Op::FloorDiv | Op::Mod => 4,
        Op::Gather | Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::OneHot => 2,
        Op::TakePairs => 3,
        _ => 1,
    }
}

impl Survey {
    /// Looks at `module`.
    pub(super) fn new(module: &Module) -> Survey {
        let count = module.nodes.len();
        let mut survey = Survey {
            live: vec![false; count],
            users: vec![Vec::new(); count],
            output: vec![false; count],
            phase: vec![Phase::Run; count],
            cost: vec![1; count],
            keep: vec![false; count],
        };
        survey.find_uses(module);
        survey.find_phases(module);
        survey.find_costs(module);
        survey.find_kept(module);
        survey
    }

    fn find_uses(&mut self, module: &Module) {
        for output in &module.outputs {
            self.live[output.value.index()] = true;
            self.output[output.value.index()] = true;
        }
        for (at, node) in module.nodes.iter().enumerate().rev() {
            let id = ValueId(at as u32);
            if !self.live[id.index()] {
                continue;
            }
            for arg in &node.args {
                self.live[arg.index()] = true;
                if self.users[arg.index()].last() != Some(&id) {
                    self.users[arg.index()].push(id);
                }
            }
        }
    }

    /// Values that depend on no input and no run-time size are computed when weights are loaded.
    fn find_phases(&mut self, module: &Module) {
        for (id, node) in module.iter() {
            let known = node.ty.dims().iter().all(|dim| dim.as_const().is_some());
            let args = node.args.iter().all(|a| self.phase[a.index()] == Phase::Load);
            if known && args && node.op != Op::Input {
                self.phase[id.index()] = Phase::Load;
            }
        }
    }

    fn find_costs(&mut self, module: &Module) {
        for (id, node) in module.iter() {
            if !is_lazy(node) {
                continue;
            }
            let tensors = node.args.iter().filter(|a| module.node(**a).ty.tensor().is_some());
            let operands: u32 = tensors.map(|a| self.cost[a.index()]).sum();
            let of_const = node.op == Op::Broadcast && module.node(node.args[0]).op == Op::Const;
            let cost = if of_const { 0 } else { operands + own_cost(node.op) };
            self.keep[id.index()] = cost > LARGEST;
            self.cost[id.index()] = if cost > LARGEST { 1 } else { cost };
        }
    }

    /// Follows each value to the kernels that would evaluate it. With more than one, or as an output,
    /// it is kept, unless it is cheap.
    fn find_kept(&mut self, module: &Module) {
        // The one kernel, named by its node, in which the value is used; `None` for several.
        let mut place: Vec<Option<ValueId>> = vec![None; module.nodes.len()];
        for (at, node) in module.nodes.iter().enumerate().rev() {
            let id = ValueId(at as u32);
            let at = id.index();
            if !self.live[at] || !is_lazy(node) {
                place[at] = Some(id);
                continue;
            }
            let mut places = self.users[at].iter().map(|user| place[user.index()]);
            let one = places.next().flatten();
            let several = self.output[at] || one.is_none() || places.any(|other| other != one);
            let gathered_by_products = node.op == Op::TakeRows
                && self.users[at]
                    .iter()
                    .all(|user| matches!(module.node(*user).op, Op::GroupedMatmul | Op::PlacedMatmul));
            if several && self.cost[at] > CHEAP && !gathered_by_products {
                self.keep[at] = true;
            }
            place[at] = if self.keep[at] { Some(id) } else { one.filter(|_| !several) };
        }
    }

    /// Whether a value is cheap enough to be evaluated more than once for each element by kernels of
    /// `phase`. What weights alone decide is hardly ever cheap in the run phase: there it is done again
    /// in every run.
    pub(super) fn is_cheap(&self, value: ValueId, phase: Phase) -> bool {
        let early = phase == Phase::Run && self.phase[value.index()] == Phase::Load;
        let limit = if early { 1 } else { CHEAP };
        self.cost[value.index()] <= limit
    }

    /// The live nodes that use the value.
    pub(super) fn users(&self, value: ValueId) -> &[ValueId] {
        &self.users[value.index()]
    }

    /// Whether only `others` use the value.
    pub(super) fn used_only_by(&self, value: ValueId, others: &[ValueId]) -> bool {
        !self.output[value.index()] && self.users[value.index()].iter().all(|user| others.contains(user))
    }
}
