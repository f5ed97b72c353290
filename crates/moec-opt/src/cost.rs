//! What an operation costs on a target, in picoseconds: a roofline over the flops and bytes that
//! the op row counts. Costs are integers, so that sums do not depend on their order. The model is
//! explained in `docs/cost-model.md`.

use egg::Id;
use moec_ir::{Attr, Attrs, Dim, EinsumSpec, Module, Op, PlanType, Sizes, TensorType, Type, ValueId, Work};

use crate::facts::{Graph, attrs_of, known};
use crate::kept::{Kept, kept};
use crate::node::ENode;
use crate::options::{Options, Shares};
use crate::report::{Bound, NodeReport};
use crate::sizing::Sizing;
use crate::target::Target;
use crate::term::element_wise;

/// The cost model at one number of tokens.
pub(crate) struct Model<'a> {
    target: &'a Target,
    sizing: &'a Sizing,
    shares: &'a Shares,
    mapped_in_memory: f64,
    sizes: Sizes,
    /// Whether all weights of the program stay in the cache from call to call.
    cached: bool,
}

/// An operand: its type, and whether it follows from weights alone.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) ty: &'a Type,
    pub(crate) fixed: bool,
    /// What it keeps, if it is a plan that may drop pairs.
    pub(crate) kept: Option<&'a Kept>,
}

/// What an operation costs, and what of the machine it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) picoseconds: u64,
    pub(crate) bound: Bound,
}

/// Seconds of a view that a strided access absorbs. Views are not free, so that of two equal
/// programs the one with fewer wins.
const VIEW: f64 = 1e-9;
/// Seconds of an operation that joins a loop over elements.
const FUSED: f64 = 10e-9;
/// The part of the traffic of such an operation that fusion does not save.
const FUSED_TRAFFIC: f64 = 0.1;
/// Rows that a matrix tile computes for one pass over a panel of weights.
const TILE_ROWS: f64 = 12.0;

impl<'a> Model<'a> {
    /// The model for programs equal to `source` at `tokens` tokens. All have its weights.
    pub(crate) fn new(source: &Module, options: &'a Options, sizing: &'a Sizing, tokens: u64) -> Model<'a> {
        let sizes = sizing.assumed(tokens);
        let &Options { ref target, ref shares, mapped_in_memory, .. } = options;
        let size = |dim: &Dim| sizing.estimate(dim, &sizes);
        let bytes = |ty: &TensorType| ty.shape.iter().map(size).product::<f64>() * ty.dtype.bytes() as f64;
        let weights: f64 = source.weights().map(|(_, _, ty)| bytes(ty)).sum();
        let cached = weights <= target.cache_bytes;
        Model { target, sizing, shares, mapped_in_memory, sizes, cached }
    }

    /// The cost of one e-node in a class of type `ty`; at least 1, so that sums grow along chains.
    pub(crate) fn node(&self, graph: &Graph, class: Id, node: &ENode) -> u64 {
        let (Some(op), Some(result)) = (node.op(), known(graph, class)) else { return 1 };
        // Folded when weights are loaded.
        if result.fixed {
            return 1;
        }
        let operand = |arg: &Id| {
            known(graph, *arg).map(|k| Operand { ty: &k.ty, fixed: k.fixed, kept: k.kept.as_ref() })
        };
        let args: Option<Vec<Operand<'_>>> = node.args().iter().map(operand).collect();
        let Some(args) = args else { return u64::MAX >> 20 };
        self.op(op, &args, &attrs_of(graph, op, node), &result.ty).picoseconds
    }

    /// The cost of every node of a module that is equal to the source.
    pub(crate) fn nodes(&self, module: &Module) -> Vec<NodeReport> {
        let mut fixed: Vec<bool> = Vec::new();
        let mut plans: Vec<Option<Kept>> = Vec::new();
        let mut out = Vec::new();
        for node in &module.nodes {
            fixed.push(node.op != Op::Input && node.args.iter().all(|arg| fixed[arg.index()]));
            let free = fixed.last() == Some(&true) || node.op == Op::Input;
            let operand = |arg: &ValueId| Operand {
                ty: &module.node(*arg).ty,
                fixed: fixed[arg.index()],
                kept: plans[arg.index()].as_ref(),
            };
            let operands: Vec<Operand<'_>> = node.args.iter().map(operand).collect();
            let plan = node.args.first().map(|plan| plan.index());
            let from = plan.and_then(|plan| module.nodes[plan].ty.plan());
            let operand = plan.and_then(|plan| plans[plan].as_ref());
            let own = kept(node.op, &node.attrs, node.ty.plan(), from, operand);
            let cost = (!free).then(|| self.op(node.op, &operands, &node.attrs, &node.ty));
            let seconds = cost.map_or(0.0, |cost| cost.picoseconds as f64 * 1e-12);
            out.push(NodeReport { rule: None, seconds, bound: cost.map(|cost| cost.bound) });
            plans.push(own);
        }
        out
    }

    /// Seconds of a whole module that is equal to the source.
    pub(crate) fn seconds(&self, module: &Module) -> f64 {
        self.nodes(module).iter().map(|node| node.seconds).sum()
    }

    /// The cost of one operation.
    pub(crate) fn op(&self, op: Op, operands: &[Operand<'_>], attrs: &Attrs, result: &Type) -> Cost {
        let size = |dim: &Dim| self.sizing.estimate(dim, &self.sizes);
        let args: Vec<&Type> = operands.iter().map(|operand| operand.ty).collect();
        let work = Work { args: &args, attrs, result, size: &size };
        let flops = (op.row().flops)(&work);
        let mut use_ = Use { element: flops, ..Use::default() };
        match op {
            Op::Input | Op::Weight | Op::Const | Op::Literal | Op::Iota => {}
            Op::Broadcast | Op::Reshape | Op::Slice | Op::RouteIndex | Op::RouteValue | Op::PlanFlatten => {
                use_.start = VIEW;
            }
            // Absorbed by most consumers, not by all.
            Op::Transpose => {
                use_.start = VIEW;
                self.moves(&mut use_, 0.5 * FUSED_TRAFFIC * work.bytes(result), false);
            }
            // Chosen rows of what was computed for all: copied for the product that reads them.
            Op::TakePairs => {
                use_.start = self.target.step;
                self.moves(&mut use_, 2.0 * work.bytes(result), false);
            }
            // A sum over the seats, of which one is the pair's.
            Op::TakeSeats => {
                let seats = args[1].tensor().and_then(|ty| ty.shape.get(1)).map_or(1.0, size);
                use_.start = self.target.step;
                use_.element = seats * work.elements(result);
                self.moves(&mut use_, work.bytes(args[1]) + work.bytes(result), false);
            }
            Op::TakeRows | Op::TakeSlots | Op::TakeExperts | Op::Gather | Op::RouteMask | Op::OneHot => {
                self.fused(&mut use_, &work)
            }
            _ if element_wise(op) => self.fused(&mut use_, &work),
            Op::Einsum | Op::GroupedMatmul | Op::PlacedMatmul => match EinsumSpec::parse(attrs.str("spec")) {
                Ok(spec) if spec.contracted().is_empty() => self.fused(&mut use_, &work),
                Ok(spec) => self.contraction(&mut use_, &spec, operands, &work),
                Err(_) => {}
            },
            _ => {
                use_.start = self.target.step;
                for operand in operands {
                    self.moves(&mut use_, work.bytes(operand.ty), operand.fixed);
                }
                self.moves(&mut use_, work.bytes(result), false);
            }
        }
        self.roofline(use_)
    }

    fn fused(&self, use_: &mut Use, work: &Work<'_>) {
        use_.start = FUSED;
        self.moves(use_, FUSED_TRAFFIC * work.bytes(work.result), false);
    }

    fn contraction(&self, use_: &mut Use, spec: &EinsumSpec, operands: &[Operand<'_>], work: &Work<'_>) {
        use_.start = self.target.step;
        let (tensors, touched, kept) = match operands {
            [Operand { ty: Type::Plan(plan), kept, .. }, tensors @ ..] => {
                (tensors, self.touched(plan, *kept), self.part_kept(plan, *kept))
            }
            tensors => (tensors, 1.0, 1.0),
        };
        let [left, right] = tensors else { return };
        let cold = match (operands, work.attrs.get("resident")) {
            ([Operand { ty: Type::Plan(plan), kept, .. }, ..], Some(Attr::Ints(resident))) => {
                self.cold(plan, *kept, resident)
            }
            _ => 0.0,
        };
        // The packed operand is the one known when weights are loaded, else the right one.
        let swaps = left.fixed && !right.fixed;
        let (left, right) = if swaps { (right, left) } else { (left, right) };
        let (letters, others) = if swaps { (&spec.lhs, &spec.rhs) } else { (&spec.rhs, &spec.lhs) };
        let bytes = touched * work.bytes(right.ty);
        use_.element *= kept;
        self.moves(use_, kept * work.bytes(left.ty), left.fixed);
        self.moves(use_, bytes - cold * work.bytes(right.ty), right.fixed);
        self.reads_cold(use_, cold * work.bytes(right.ty));
        self.moves(use_, work.bytes(work.result), false);
        let has_columns = letters.iter().any(|l| spec.out.contains(l) && !others.contains(l));
        if !has_columns {
            // A sum over elements.
            return;
        }
        if !right.fixed {
            // Written into panels at every call.
            use_.start += self.target.step;
            self.moves(use_, 2.0 * bytes, false);
        }
        use_.matrix = std::mem::take(&mut use_.element);
        // Every matrix is read from the cache once for each tile of rows.
        let rows = use_.matrix / (2.0 * touched * work.elements(right.ty)).max(1.0);
        use_.cache += bytes * (rows / TILE_ROWS).max(1.0);
    }

    /// Adds bytes that are read or written, from where they lie.
    fn moves(&self, use_: &mut Use, bytes: f64, fixed: bool) {
        let near = if fixed { self.cached } else { bytes <= self.target.cache_bytes };
        *(if near { &mut use_.cache } else { &mut use_.memory }) += bytes;
    }

    /// Adds bytes of weights that stay in their file: read from there unless they happen to be in
    /// memory, written into panels and read again.
    fn reads_cold(&self, use_: &mut Use, bytes: f64) {
        use_.memory += bytes * self.mapped_in_memory;
        use_.storage += bytes * (1.0 - self.mapped_in_memory);
        use_.cache += 2.0 * bytes;
    }

    /// The part of the experts that at least one token chooses and that are not resident.
    fn cold(&self, plan: &PlanType, kept: Option<&Kept>, resident: &[i64]) -> f64 {
        let size = |dim: &Dim| self.sizing.estimate(dim, &self.sizes);
        let (experts, slots) = (size(kept.map_or(&plan.experts, |kept| &kept.of)), size(&plan.slots));
        self.shares.touched_without(resident, experts, size(&plan.tokens), slots)
    }

    /// The part of the pairs that a plan keeps at most, if experts are chosen alike.
    fn part_kept(&self, plan: &PlanType, kept: Option<&Kept>) -> f64 {
        let size = |dim: &Dim| self.sizing.estimate(dim, &self.sizes);
        let Some(kept) = kept else { return 1.0 };
        let pairs = size(&plan.tokens) * size(&plan.slots);
        let seats = kept.seats.as_ref().map_or(1.0, |seats| size(seats) / pairs.max(1.0));
        seats.min(size(&plan.experts) / size(&kept.of).max(1.0)).min(1.0)
    }

    /// The part of the experts that at least one token chooses.
    fn touched(&self, plan: &PlanType, kept: Option<&Kept>) -> f64 {
        let size = |dim: &Dim| self.sizing.estimate(dim, &self.sizes);
        let (experts, slots) = (size(kept.map_or(&plan.experts, |kept| &kept.of)), size(&plan.slots));
        self.shares.touched(experts, size(&plan.tokens), slots)
    }

    fn roofline(&self, use_: Use) -> Cost {
        let target = self.target;
        let flops = use_.matrix / target.matrix_flops + use_.element / target.element_flops;
        // What waits for storage does nothing else meanwhile.
        let storage = use_.storage / target.storage_bandwidth;
        let memory = storage + use_.memory / target.memory_bandwidth;
        let slow = if 2.0 * storage > memory { Bound::Storage } else { Bound::Memory };
        let cache = use_.cache / target.cache_bandwidth;
        let (work, bound) = [(memory, slow), (cache, Bound::Cache)]
            .into_iter()
            .fold((flops, Bound::Flops), |most, next| if next.0 > most.0 { next } else { most });
        // A kernel too small to be worth spreading stays on one thread.
        let work = (work * target.threads).min(work + target.fork);
        let bound = if use_.start > work { Bound::Launch } else { bound };
        // 2^50 ps are 20 minutes; saturating keeps sums of many such far from overflow.
        let picoseconds = ((use_.start + work) * 1e12).clamp(1.0, (1u64 << 50) as f64) as u64;
        Cost { picoseconds, bound }
    }
}

/// What an operation uses of the machine.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Floating-point operations in matrix tiles.
    matrix: f64,
    /// Floating-point operations in loops over elements.
    element: f64,
    /// Bytes from files.
    storage: f64,
    /// Bytes from memory.
    memory: f64,
    /// Bytes from the cache.
    cache: f64,
    /// Seconds that do not depend on sizes.
    start: f64,
}
