//! Scalar programs at one point or at four points along one axis.
//!
//! A kernel binds its axes one after another, outermost first, each at the place in its loop nest
//! where the index is known. Binding emits what can be computed from there on:
//!
//! ```text
//! Program::new          constants
//! for i {  bind(0, i)   what depends on axis 0 only
//!   for j by 4 { clone; bind_lanes(1, j, X4)    the rest, in four lanes }
//!   for j by 1 { clone; bind_lanes(1, j, Scalar)  the rest, in one lane }
//! }
//! ```
//!
//! So loads and range checks stand in the outermost loop that they can stand in, and what does not
//! depend on the axis of the lanes is computed once and repeated. Inner loops work on clones, whose
//! values are forgotten behind the loop. A load along the axis of the lanes with stride 1 is a
//! vector load; with any other stride, or through an index per lane, it is four loads.

use std::rc::Rc;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use moec_ir::{DType, Dim, Op};
use moec_plan::{Index, Load, Scalar, ScalarId, Scalars, Store};

use super::context::Cx;
use super::element::Datum;
use crate::Lanes;

/// A scalar program under emission, at some point of a kernel's loop nest.
#[derive(Clone)]
pub(super) struct Program<'p> {
    scalars: &'p Scalars,
    /// For each scalar the axes that it depends on, as bits.
    depends: Rc<[u64]>,
    needed: Rc<[bool]>,
    /// The index of each axis that is bound; of lane 0 where there are four.
    index: Vec<Option<Value>>,
    /// Axes in the order of binding.
    order: Vec<usize>,
    vector: Option<usize>,
    values: Vec<Option<Datum>>,
    accumulators: Vec<Datum>,
}

impl<'p> Program<'p> {
    /// A program of which `roots` are wanted, in a kernel of at most 64 axes; none is bound.
    /// Accumulators depend on axes 0 and 1, as in a product.
    pub(super) fn new(
        cx: &mut Cx<'_, '_>,
        scalars: &'p Scalars,
        roots: &[ScalarId],
        axes: usize,
    ) -> Program<'p> {
        let mut program = Program {
            scalars,
            depends: depends(scalars).into(),
            needed: needed(scalars, roots).into(),
            index: vec![None; axes],
            order: Vec::new(),
            vector: None,
            values: vec![None; scalars.list.len()],
            accumulators: Vec::new(),
        };
        program.advance(cx);
        program
    }

    /// What `root` follows from along `axis`, the last to be bound: scalars that differ by lane and lie side
    /// by side (`true`), and those that are one for all lanes. None if it cannot be had from such alone.
    pub(super) fn leaves(
        scalars: &Scalars,
        root: ScalarId,
        axis: usize,
        beside: impl Fn(&Dim) -> bool,
    ) -> Option<Vec<(ScalarId, bool)>> {
        let depends = depends(scalars);
        let varies = |id: &ScalarId| depends[id.0 as usize] & 1 << axis != 0;
        let (mut leaves, mut open) = (Vec::new(), vec![root]);
        let mut seen = vec![false; scalars.list.len()];
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            match scalars.get(id) {
                Scalar::Const(DType::F32 | DType::I32, _) => {}
                _ if !varies(&id) => leaves.push((id, false)),
                Scalar::Accumulator(_) => leaves.push((id, true)),
                Scalar::Load(load) => {
                    let along = |(index, stride): &(Index, Dim)| match index {
                        Index::Axis(other) if *other == axis => beside(stride),
                        Index::Axis(_) => true,
                        Index::Value(id) => !varies(id),
                    };
                    if !load.terms.iter().all(along) {
                        return None;
                    }
                    leaves.push((id, true));
                }
                Scalar::Apply(_, args) => open.extend(args),
                Scalar::Cast(_, arg) => open.push(*arg),
                Scalar::Iota(_) | Scalar::Size(_) | Scalar::InRange(..) | Scalar::Const(..) => return None,
            }
        }
        Some(leaves)
    }

    /// The program of `root` in four lanes along `axis`, where its leaves have these values.
    pub(super) fn of_line(
        cx: &mut Cx<'_, '_>,
        scalars: &'p Scalars,
        root: ScalarId,
        axis: usize,
        leaves: &[(ScalarId, Datum)],
    ) -> Program<'p> {
        let mut values = vec![None; scalars.list.len()];
        for (id, datum) in leaves {
            values[id.0 as usize] = Some(*datum);
        }
        let is_leaf = |at: usize| values[at].is_some();
        let needed = needed_from(scalars, &[root], is_leaf);
        let mut program = Program {
            scalars,
            depends: depends(scalars).into(),
            needed: needed.into(),
            index: Vec::new(),
            order: (0..64).collect(),
            vector: Some(axis),
            values,
            accumulators: Vec::new(),
        };
        program.advance(cx);
        program
    }

    /// Where the element of `load` is at this point; of lane 0 where there are four.
    pub(super) fn place_of(&self, cx: &mut Cx<'_, '_>, load: &Load) -> Value {
        self.address(cx, load).0
    }

    /// Fixes the index of an axis.
    pub(super) fn bind(&mut self, cx: &mut Cx<'_, '_>, axis: usize, index: Value) {
        self.index[axis] = Some(index);
        self.order.push(axis);
        self.advance(cx);
    }

    /// Fixes the indices of the axes from 0 on.
    pub(super) fn bind_first(&mut self, cx: &mut Cx<'_, '_>, indices: &[Value]) {
        for (axis, &index) in indices.iter().enumerate() {
            self.bind(cx, axis, index);
        }
    }

    /// Fixes the index of an axis: this one, or four from this one on.
    pub(super) fn bind_lanes(&mut self, cx: &mut Cx<'_, '_>, axis: usize, index: Value, lanes: Lanes) {
        self.vector = (lanes == Lanes::X4).then_some(axis);
        self.bind(cx, axis, index);
    }

    /// Gives the values of the accumulators, before the last of axes 0 and 1 is bound.
    pub(super) fn accumulate(&mut self, values: Vec<Datum>) {
        self.accumulators = values;
    }

    /// Takes over what `other`, a clone from an outer loop, has computed since.
    pub(super) fn adopt(&mut self, other: &Program<'p>) {
        for (mine, theirs) in self.values.iter_mut().zip(&other.values) {
            *mine = mine.or(*theirs);
        }
    }

    /// This point with `axis` at another index, to ask for places of loads and stores only.
    pub(super) fn at(&self, axis: usize, index: Value) -> Program<'p> {
        let mut at = self.clone();
        if at.index[axis].replace(index).is_none() {
            at.order.push(axis);
        }
        at
    }

    /// This point with `axis` at this index, or at four from this one on, to store at only.
    pub(super) fn placed(&self, axis: usize, index: Value, lanes: Lanes) -> Program<'p> {
        let mut placed = self.at(axis, index);
        placed.vector = (lanes == Lanes::X4).then_some(axis);
        placed
    }

    /// What lies where [`store`](Self::store) would store.
    pub(super) fn stored(&self, cx: &mut Cx<'_, '_>, out: &Store) -> Datum {
        let moving = out.strides.iter().enumerate().filter(|(_, stride)| !stride.is(0));
        let terms = moving.map(|(axis, stride)| (Index::Axis(axis), stride.clone())).collect();
        let load = Load { buffer: out.buffer, offset: out.offset.clone(), terms };
        let lanes = if self.vector.is_some() { Lanes::X4 } else { Lanes::Scalar };
        self.load(cx, &load, lanes)
    }

    /// Whether a wanted scalar depends on `axis`.
    pub(super) fn uses(&self, axis: usize) -> bool {
        self.needed.iter().zip(self.depends.iter()).any(|(needed, bits)| *needed && bits & 1 << axis != 0)
    }

    /// The value of a wanted scalar, all of whose axes are bound.
    pub(super) fn datum(&self, cx: &mut Cx<'_, '_>, id: ScalarId) -> Datum {
        match self.values[id.0 as usize] {
            Some(datum) => datum,
            None => {
                cx.refuse(format!("scalar {} depends on an axis that its kernel has not", id.0));
                let zero = cx.b.ins().iconst(I32, 0);
                Datum::number(Lanes::Scalar, zero)
            }
        }
    }

    /// Stores `datum` at this point: in four lanes if the last axis was bound so.
    pub(super) fn store(&self, cx: &mut Cx<'_, '_>, out: &Store, datum: Datum) {
        let dtype = cx.dtype(out.buffer);
        let mut address = self.place_in(cx, out);
        let Some(vector) = self.vector else {
            return store_element(cx, dtype, datum, address);
        };
        let datum = cx.widened(datum, Lanes::X4);
        let stride = out.strides[vector].clone();
        if cx.known(&stride) == Some(1) {
            return store_element(cx, dtype, datum, address);
        }
        let far = cx.bytes(&stride, dtype);
        let value = cx.value(datum);
        for value in cx.lanes(Lanes::X4).split(value) {
            store_element(cx, dtype, Datum::number(Lanes::Scalar, value), address);
            address = cx.add(address, far);
        }
    }

    /// Where this point is stored; lane 0 where there are four.
    pub(super) fn place_in(&self, cx: &mut Cx<'_, '_>, out: &Store) -> Value {
        let dtype = cx.dtype(out.buffer);
        let mut address = cx.start(out.buffer, &out.offset);
        for &axis in &self.order {
            if let (Some(index), Some(stride)) = (self.index[axis], out.strides.get(axis)) {
                address = cx.stepped(address, index, stride, dtype);
            }
        }
        let unbound = |axis: usize| self.index.get(axis).copied().flatten().is_none();
        if (0..out.strides.len()).any(|axis| unbound(axis) && !out.strides[axis].is(0)) {
            cx.refuse("a store moves along an axis that its kernel has not");
        }
        address
    }

    /// Emits every wanted scalar whose axes are bound.
    fn advance(&mut self, cx: &mut Cx<'_, '_>) {
        let bound = self.order.iter().fold(0, |bits, axis| bits | 1u64 << axis);
        for at in 0..self.values.len() {
            if self.needed[at] && self.values[at].is_none() && self.depends[at] & !bound == 0 {
                self.values[at] = Some(self.emit(cx, at));
            }
        }
    }

    fn lanes_of(&self, at: usize) -> Lanes {
        match self.vector {
            Some(axis) if self.depends[at] & 1 << axis != 0 => Lanes::X4,
            _ => Lanes::Scalar,
        }
    }

    fn emit(&self, cx: &mut Cx<'_, '_>, at: usize) -> Datum {
        let lanes = self.lanes_of(at);
        match &self.scalars.list[at] {
            Scalar::Load(load) => self.load(cx, load, lanes),
            Scalar::Iota(axis) => self.iota(cx, *axis, lanes),
            Scalar::Size(dim) => {
                let size = cx.size(dim);
                Datum::number(Lanes::Scalar, cx.b.ins().ireduce(I32, size))
            }
            Scalar::Const(dtype, number) => cx.constant(*dtype, *number),
            Scalar::Apply(op, args) => {
                let data: Vec<Datum> = args
                    .iter()
                    .map(|arg| {
                        let datum = self.datum(cx, *arg);
                        cx.widened(datum, lanes)
                    })
                    .collect();
                if let (Op::FloorDiv | Op::Mod, [x, _], Some(shift)) =
                    (op, &data[..], self.power_of_two(args))
                {
                    return cx.by_power_of_two(*op, *x, shift);
                }
                match args.last() {
                    Some(last) => cx.apply(*op, self.scalars.dtype(*last), &data),
                    None => {
                        cx.refuse(format!("{op} without operands"));
                        cx.constant(DType::I32, moec_ir::Number::new(0.0))
                    }
                }
            }
            Scalar::Cast(to, x) => {
                let datum = self.datum(cx, *x);
                cx.convert(self.scalars.dtype(*x), *to, datum)
            }
            Scalar::InRange(x, size) => {
                let datum = self.datum(cx, *x);
                in_range(cx, datum, size)
            }
            Scalar::Accumulator(n) => match self.accumulators.get(*n) {
                Some(datum) => *datum,
                None => {
                    cx.refuse("an accumulator outside of a product");
                    cx.constant(DType::F32, moec_ir::Number::new(0.0))
                }
            },
        }
    }

    /// The exponent, if the last of these scalars is a constant `i32` power of two.
    fn power_of_two(&self, args: &[ScalarId]) -> Option<u8> {
        let Scalar::Const(DType::I32, number) = self.scalars.get(*args.last()?) else { return None };
        let number = number.get() as i32;
        (number > 0 && number & (number - 1) == 0).then_some(number.trailing_zeros() as u8)
    }

    fn iota(&self, cx: &mut Cx<'_, '_>, axis: usize, lanes: Lanes) -> Datum {
        let index = self.index[axis].unwrap_or_else(|| cx.int(0));
        let first = cx.b.ins().ireduce(I32, index);
        if lanes == Lanes::Scalar {
            return Datum::number(lanes, first);
        }
        let all = cx.lanes(lanes).splat(first);
        let steps: Vec<u8> = (0..4u32).flat_map(u32::to_le_bytes).collect();
        let steps = cx.b.func.dfg.constants.insert(steps.into());
        let steps = cx.b.ins().vconst(I32X4, steps);
        let all = cx.b.ins().iadd(all, steps);
        Datum::number(lanes, all)
    }

    /// An access.
    fn load(&self, cx: &mut Cx<'_, '_>, load: &Load, lanes: Lanes) -> Datum {
        let dtype = cx.dtype(load.buffer);
        let (address, by_lane) = self.address(cx, load);
        let contiguous = match by_lane[..] {
            [] => true,
            [(None, stride)] => cx.known(stride) == Some(1),
            _ => false,
        };
        if lanes == Lanes::Scalar || contiguous {
            return load_element(cx, dtype, lanes, address);
        }
        let addresses = lane_addresses(cx, address, &by_lane, dtype);
        load_lanes(cx, dtype, &addresses)
    }

    /// The address of an access, and what differs between the lanes: an index of each, or its number, and a
    /// stride. The part that is common to the lanes is summed outermost axis first, so that Cranelift can
    /// move its beginning out of the inner loops.
    fn address<'l>(&self, cx: &mut Cx<'_, '_>, load: &'l Load) -> (Value, Vec<(Option<Value>, &'l Dim)>) {
        let dtype = cx.dtype(load.buffer);
        let mut terms: Vec<_> = load.terms.iter().collect();
        terms.sort_by_key(|(index, _)| self.depth(index));
        let mut address = cx.start(load.buffer, &load.offset);
        let mut by_lane = Vec::new();
        for (index, stride) in terms {
            match index {
                Index::Axis(axis) => {
                    let at = self.index[*axis].unwrap_or_else(|| cx.int(0));
                    address = cx.stepped(address, at, stride, dtype);
                    if self.vector == Some(*axis) {
                        by_lane.push((None, stride));
                    }
                }
                Index::Value(id) => {
                    let datum = self.datum(cx, *id);
                    let value = cx.value(datum);
                    if datum.lanes == Lanes::X4 {
                        by_lane.push((Some(value), stride));
                    } else {
                        let at = cx.b.ins().uextend(I64, value);
                        address = cx.stepped(address, at, stride, dtype);
                    }
                }
            }
        }
        (address, by_lane)
    }

    /// How deep in the loop nest an index is known.
    fn depth(&self, index: &Index) -> usize {
        let bits = match index {
            Index::Axis(axis) => 1 << axis,
            Index::Value(id) => self.depends[id.0 as usize],
        };
        self.order.iter().rposition(|axis| bits & 1 << axis != 0).map_or(0, |at| at + 1)
    }
}

/// For each scalar the axes that it depends on, as bits.
fn depends(scalars: &Scalars) -> Vec<u64> {
    let mut depends = vec![0; scalars.list.len()];
    for (at, scalar) in scalars.list.iter().enumerate() {
        let own = match scalar {
            Scalar::Load(load) => load.terms.iter().fold(0, |bits, (index, _)| match index {
                Index::Axis(axis) => bits | 1 << axis,
                Index::Value(_) => bits,
            }),
            Scalar::Iota(axis) => 1 << axis,
            Scalar::Accumulator(_) => 0b11,
            _ => 0,
        };
        depends[at] = scalar.operands().iter().fold(own, |bits, id| bits | depends[id.0 as usize]);
    }
    depends
}

/// Which scalars are computed for the sake of `roots`.
fn needed(scalars: &Scalars, roots: &[ScalarId]) -> Vec<bool> {
    needed_from(scalars, roots, |_| false)
}

/// The same where some are given.
fn needed_from(scalars: &Scalars, roots: &[ScalarId], given: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut needed = vec![false; scalars.list.len()];
    for root in roots {
        needed[root.0 as usize] = true;
    }
    for at in (0..needed.len()).rev() {
        if needed[at] && !given(at) {
            for id in scalars.list[at].operands() {
                needed[id.0 as usize] = true;
            }
        }
    }
    needed
}

/// Whether some load for the sake of `root` is contiguous along `axis`.
pub(super) fn contiguous(cx: &Cx<'_, '_>, scalars: &Scalars, root: ScalarId, axis: usize) -> bool {
    let needed = needed(scalars, &[root]);
    let along = |(index, stride): &(Index, Dim)| *index == Index::Axis(axis) && cx.known(stride) == Some(1);
    scalars.list.iter().zip(needed).any(|(scalar, needed)| match scalar {
        Scalar::Load(load) => needed && load.terms.iter().any(along),
        _ => false,
    })
}

/// `x` where it lies in `0..size`; elsewhere 0, and a fault.
fn in_range(cx: &mut Cx<'_, '_>, x: Datum, size: &Dim) -> Datum {
    let size = cx.size(size);
    below(cx, x, size)
}

/// `x` where it lies in `0..limit`; elsewhere 0, and a fault.
pub(super) fn below(cx: &mut Cx<'_, '_>, x: Datum, limit: Value) -> Datum {
    let lanes = x.lanes;
    let value = cx.value(x);
    // As unsigned numbers the negative ones are 2^31 or more: one comparison for both ends.
    let most = cx.int(1 << 31);
    let limit = cx.smaller(limit, most);
    let limit = cx.b.ins().ireduce(I32, limit);
    let mut e = cx.lanes(lanes);
    let limit = e.splat(limit);
    let outside = e.compare_int(IntCC::UnsignedGreaterThanOrEqual, value, limit);
    let zero = e.int(0);
    let inside = e.select(outside, zero, value);
    let outside = e.mask_to_int(outside);
    let any = if lanes == Lanes::X4 { e.builder.ins().vany_true(outside) } else { outside };
    cx.when(any, Cx::fault);
    Datum::number(lanes, inside)
}

fn load_element(cx: &mut Cx<'_, '_>, dtype: DType, lanes: Lanes, address: Value) -> Datum {
    let mut e = cx.lanes(lanes);
    match dtype {
        DType::Bool => Datum::truth(lanes, e.load_mask(address, 0)),
        _ => Datum::number(lanes, e.load(dtype, address, 0)),
    }
}

fn store_element(cx: &mut Cx<'_, '_>, dtype: DType, datum: Datum, address: Value) {
    if dtype == DType::Bool {
        let mask = cx.mask(datum);
        cx.lanes(datum.lanes).store_mask(mask, address, 0);
    } else {
        let value = cx.value(datum);
        cx.lanes(datum.lanes).store(dtype, value, address, 0);
    }
}

/// The addresses of four lanes: `address` plus, for each of `by_lane`, the lane's index (or its
/// number) times the stride.
fn lane_addresses(
    cx: &mut Cx<'_, '_>,
    address: Value,
    by_lane: &[(Option<Value>, &Dim)],
    dtype: DType,
) -> Vec<Value> {
    let mut addresses = vec![address; 4];
    for (indices, stride) in by_lane {
        let indices: Vec<Value> = match indices {
            Some(indices) => {
                let split = cx.lanes(Lanes::X4).split(*indices);
                split.into_iter().map(|index| cx.b.ins().uextend(I64, index)).collect()
            }
            None => (0..4).map(|lane| cx.int(lane)).collect(),
        };
        for (address, index) in addresses.iter_mut().zip(indices) {
            *address = cx.stepped(*address, index, stride, dtype);
        }
    }
    addresses
}

fn load_lanes(cx: &mut Cx<'_, '_>, dtype: DType, addresses: &[Value]) -> Datum {
    let mut lanes = Vec::new();
    for &address in addresses {
        let datum = load_element(cx, dtype, Lanes::Scalar, address);
        lanes.push(cx.value(datum));
    }
    let mut all = cx.lanes(Lanes::X4).splat(lanes[0]);
    for (lane, &value) in lanes.iter().enumerate().skip(1) {
        all = cx.b.ins().insertlane(all, value, lane as u8);
    }
    let all = Datum::number(Lanes::X4, all);
    if dtype == DType::Bool {
        let mask = cx.mask(all);
        return Datum::truth(Lanes::X4, mask);
    }
    all
}
