//! The entry points: that of phase run walks the steps of the program that serves the number of tokens,
//! that of phase load the one step that the frame names.
//!
//! ```text
//! for each stage: a step, or some that are done together
//!   items, cost of one                      from the sizes; their sum and the highest
//!   if items > 0: frame.parallel(host, kernel, frame, items, grain, last step)
//!                 or, loading one item: kernel(frame, 0, 0, 1)
//!   if a step of it can fault and the fault word is set: return step + 1
//! return 0
//! ```
//!
//! The kernel of steps that are done together hands their items on:
//!
//! ```text
//! for each step
//!   items                                   as above; those of the step follow those of the one before
//!   if any of them are in begin..end: kernel(frame, worker, ..) of the step
//! ```

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, SigRef, Signature, Value};
use moec_ir::Dim;
use moec_plan::{Kernel, Phase, Scalar, Scalars, Step, abi};

use super::context::Cx;
use super::{group, map, pack, product, reduce, row, scatter_add, seat};

/// Cost of a range of items that is worth handing to another thread: some microseconds. In this
/// crate's tests everything is split.
const GRAIN_COST: i64 = if cfg!(test) { 1 } else { 1 << 15 };

/// How much there is to do in a step, as emitted in its driver.
pub(super) struct Work {
    /// Number of items; 0 if there is nothing to do.
    pub(super) items: Value,
    /// Rough cost of one, in simple operations on elements; at least 1 if there are any.
    pub(super) cost: Value,
}

impl Work {
    /// One item for each point of `shape`.
    pub(super) fn points(cx: &mut Cx<'_, '_>, shape: &[Dim]) -> Work {
        Work { items: cx.product(shape), cost: cx.int(1) }
    }

    /// One item for each row along the last axis; none if rows are empty.
    pub(super) fn rows(cx: &mut Cx<'_, '_>, shape: &[Dim]) -> Work {
        let Some((last, outer)) = shape.split_last() else {
            return Work::points(cx, shape);
        };
        let mut work = Work::points(cx, outer);
        work.only_if(cx, last);
        work.times(cx, last);
        work
    }

    /// No items if the size is zero.
    pub(super) fn only_if(&mut self, cx: &mut Cx<'_, '_>, dim: &Dim) {
        let size = cx.size(dim);
        let zero = cx.int(0);
        self.items = cx.b.ins().select(size, self.items, zero);
    }

    /// Each item costs so many times as much.
    pub(super) fn times(&mut self, cx: &mut Cx<'_, '_>, dim: &Dim) {
        let size = cx.size(dim);
        self.cost = cx.b.ins().imul(self.cost, size);
    }

    /// Both, as costly as the dearer.
    fn and(self, cx: &mut Cx<'_, '_>, other: &Work) -> Work {
        Work { items: cx.add(self.items, other.items), cost: cx.b.ins().umax(self.cost, other.cost) }
    }

    /// Each item costs so many times as much.
    pub(super) fn scale(&mut self, cx: &mut Cx<'_, '_>, by: usize) {
        self.cost = cx.b.ins().imul_imm_u(self.cost, by.max(1) as i64);
    }
}

/// Steps that are done together; most are by themselves.
pub(super) struct Stage<'p> {
    pub(super) steps: &'p [Step],
    /// The number of the first.
    pub(super) first: usize,
    /// What does their items.
    pub(super) kernel: FuncRef,
}

/// Emits the entry point of a phase, whose steps are those of `stages`.
pub(super) fn emit(cx: &mut Cx<'_, '_>, phase: Phase, stages: &[Stage<'_>], parallel: Signature) {
    let parallel = cx.b.import_signature(parallel);
    let faulted = cx.b.create_block();
    cx.b.append_block_param(faulted, I64);
    let host = Host { phase, parallel, faulted };
    match phase {
        Phase::Load => {
            let wanted = cx.frame_field(abi::offset::STEP);
            for stage in stages {
                let this = cx.b.ins().icmp_imm_u(IntCC::Equal, wanted, stage.first as i64);
                walk_if(cx, this, |cx| walk(cx, host, [stage]));
            }
            walk(cx, host, []);
        }
        Phase::Run => {
            let tokens = cx.plan.selector().map(|tokens| Dim::symbol(tokens));
            let programs: Vec<_> = cx.plan.programs().collect();
            for (at, (_, range)) in programs.iter().enumerate() {
                let of_program = stages.iter().filter(|stage| range.contains(&stage.first));
                match (&tokens, programs.get(at + 1)) {
                    (Some(tokens), Some((next, _))) => {
                        let tokens = cx.size(tokens);
                        let next = cx.int(*next as i64);
                        let serves = cx.below(tokens, next);
                        walk_if(cx, serves, |cx| walk(cx, host, of_program));
                    }
                    _ => walk(cx, host, of_program),
                }
            }
        }
    }
    cx.b.switch_to_block(faulted);
    let result = cx.b.block_params(faulted)[0];
    cx.b.ins().return_(&[result]);
}

/// Emits a walk, which returns, for when the condition holds.
fn walk_if(cx: &mut Cx<'_, '_>, condition: Value, walk: impl FnOnce(&mut Cx<'_, '_>)) {
    let (here, after) = (cx.b.create_block(), cx.b.create_block());
    cx.b.ins().brif(condition, here, &[], after, &[]);
    cx.b.switch_to_block(here);
    walk(cx);
    cx.b.switch_to_block(after);
}

/// How a driver reaches its host, and where it goes on a fault.
#[derive(Clone, Copy)]
struct Host {
    phase: Phase,
    parallel: SigRef,
    faulted: Block,
}

/// Runs the stages, and returns.
fn walk<'s>(cx: &mut Cx<'_, '_>, host: Host, stages: impl IntoIterator<Item = &'s Stage<'s>>) {
    let frame = cx.parameter(0);
    for &Stage { steps, first, kernel } in stages {
        let works: Vec<Work> = steps.iter().map(|step| work(cx, &step.kernel)).collect();
        let Some(work) = works.into_iter().reduce(|some, more| some.and(cx, &more)) else { continue };
        cx.when(work.items, |cx| {
            let budget = cx.int(GRAIN_COST);
            let one = cx.int(1);
            let cost = cx.b.ins().umax(work.cost, one);
            let grain = cx.b.ins().udiv(budget, cost);
            let grain = cx.b.ins().umax(grain, one);
            let number = cx.int((first + steps.len() - 1) as i64);
            let call = |cx: &mut Cx<'_, '_>| {
                let data = cx.frame_field(abi::offset::HOST);
                let callee = cx.frame_field(abi::offset::PARALLEL);
                let address = cx.b.ins().func_addr(I64, kernel);
                let args = [data, address, frame, work.items, grain, number];
                cx.b.ins().call_indirect(host.parallel, callee, &args);
            };
            if host.phase == Phase::Run {
                call(cx);
                return;
            }
            // The host of loading may want part of the items only.
            let many = cx.below(one, work.items);
            cx.either(many, call, |cx| {
                let zero = cx.int(0);
                cx.b.ins().call(kernel, &[frame, zero, zero, work.items]);
            });
        });
        if let Some(at) = steps.iter().position(|step| can_fault(&step.kernel)) {
            let word = cx.frame_field(abi::offset::FAULT);
            let fault = cx.load(I64, word, 0);
            let result = cx.int((first + at) as i64 + 1);
            let next = cx.b.create_block();
            cx.b.ins().brif(fault, host.faulted, &[result.into()], next, &[]);
            cx.b.switch_to_block(next);
        }
    }
    let done = cx.int(0);
    cx.b.ins().return_(&[done]);
}

/// Emits the kernel of steps that are done together, by those of each.
pub(super) fn emit_stage(cx: &mut Cx<'_, '_>, steps: &[Step], kernels: &[FuncRef]) {
    let [frame, worker, begin, end] = [0, 1, 2, 3].map(|n| cx.parameter(n));
    let mut first = cx.int(0);
    for (step, &kernel) in steps.iter().zip(kernels) {
        let items = work(cx, &step.kernel).items;
        let next = cx.add(first, items);
        let from = cx.b.ins().umax(begin, first);
        let to = cx.smaller(end, next);
        let some = cx.below(from, to);
        cx.when(some, |cx| {
            let [from, to] = [from, to].map(|item| cx.b.ins().isub(item, first));
            cx.b.ins().call(kernel, &[frame, worker, from, to]);
        });
        first = next;
    }
}

/// What there is to do in a step; nothing, and a fault, if it checks an index against the size zero.
fn work(cx: &mut Cx<'_, '_>, kernel: &Kernel) -> Work {
    let mut work = match kernel {
        Kernel::Map(map) => map::work(cx, map),
        Kernel::Reduce(reduce) => reduce::work(cx, reduce),
        Kernel::Row(op) => row::work(cx, op),
        Kernel::ScatterAdd(scatter) => scatter_add::work(cx, scatter),
        Kernel::Seat(_) => seat::work(cx),
        Kernel::Group(_) => group::work(cx),
        Kernel::Pack(pack) => pack::work(cx, pack),
        Kernel::Product(product) => product::work(cx, product),
    };
    refuse_empty_sizes(cx, kernel, &mut work);
    work
}

/// The scalar program of a kernel that has one.
fn scalars(kernel: &Kernel) -> Option<&Scalars> {
    match kernel {
        Kernel::Map(map) => Some(&map.scalars),
        Kernel::Reduce(reduce) => Some(&reduce.scalars),
        Kernel::Row(op) => Some(&op.scalars),
        Kernel::ScatterAdd(scatter) => Some(&scatter.scalars),
        Kernel::Product(product) => Some(&product.scalars),
        Kernel::Seat(_) | Kernel::Group(_) | Kernel::Pack(_) => None,
    }
}

/// The sizes that indices are checked against.
fn checked_sizes(kernel: &Kernel) -> Vec<&Dim> {
    let list = scalars(kernel).map_or(&[][..], |scalars| &scalars.list);
    list.iter()
        .filter_map(|scalar| match scalar {
            Scalar::InRange(_, size) => Some(size),
            _ => None,
        })
        .collect()
}

fn can_fault(kernel: &Kernel) -> bool {
    matches!(kernel, Kernel::Group(_) | Kernel::Seat(_)) || !checked_sizes(kernel).is_empty()
}

/// Leaves no work to a kernel that checks an index against the size zero, and sets the fault word
/// if it has a point where it would.
fn refuse_empty_sizes(cx: &mut Cx<'_, '_>, kernel: &Kernel, work: &mut Work) {
    let sizes = checked_sizes(kernel);
    let open: Vec<&Dim> = sizes.into_iter().filter(|size| cx.known(size).is_none_or(|n| n == 0)).collect();
    let Some((first, rest)) = open.split_first() else { return };
    let mut least = cx.size(first);
    for size in rest {
        let size = cx.size(size);
        least = cx.smaller(least, size);
    }
    let points = match kernel {
        Kernel::Reduce(reduce) => {
            let len = cx.size(&reduce.len);
            // Without elements the result is that of nothing, and no index is looked at.
            let one = cx.int(1);
            least = cx.b.ins().select(len, least, one);
            work.items
        }
        Kernel::ScatterAdd(scatter) => cx.product(scatter.outer.iter().chain([&scatter.count])),
        _ => work.items,
    };
    let zero = cx.int(0);
    let some = cx.below(zero, points);
    let empty = cx.b.ins().icmp(IntCC::Equal, least, zero);
    let fault = cx.b.ins().band(some, empty);
    cx.when(fault, Cx::fault);
    work.items = cx.b.ins().select(least, work.items, zero);
}
