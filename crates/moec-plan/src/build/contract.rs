//! Contractions: which letters make rows, columns, groups and the sum of a [`Product`], and what
//! layout its operands need. What is none is a reduction of products.
//!
//! [`Product`]: crate::Product

use moec_ir::{DType, Dim, DimExpr, EinsumSpec, IrError, Node, Number, Op, ValueId};

use crate::{
    Buffer, BufferId, Groups, Index, Kernel, Lhs, Load, Map, Pack, PackedWeight, Phase, Place, PlanError,
    ReduceOp, RowIndex,
};

use super::coord::Coord;
use super::emit::Emitter;
use super::epilogue::Role;
use super::view::{View, merged_stride};
use super::{Held, Planner};

/// A product whose epilogue is open.
#[derive(Debug, Clone)]
pub(super) struct Contraction {
    pub groups: Groups,
    pub lhs: Lhs,
    pub weight: PackedWeight,
    /// What the axes of the result are.
    pub roles: Vec<Role>,
    /// Where experts lie that are not packed beforehand.
    pub cold: Option<ColdWeight>,
    /// The element type of the weight.
    dtype: DType,
}

/// The experts of one weight that stay in its file.
#[derive(Debug, Clone)]
pub(super) struct ColdWeight {
    /// As in [`crate::Cold`].
    pub slots: BufferId,
    pub pack: Pack,
    pub panel_bytes: Dim,
}

impl Contraction {
    /// Whether one kernel can compute both.
    pub(super) fn shares_kernel_with(&self, other: &Contraction) -> bool {
        let shape = |w: &PackedWeight| (w.groups.clone(), w.n.clone(), w.k.clone());
        self.groups == other.groups
            && self.lhs == other.lhs
            && shape(&self.weight) == shape(&other.weight)
            && self.dtype == other.dtype
            && self.roles == other.roles
            && self.cold.as_ref().map(|cold| cold.slots) == other.cold.as_ref().map(|cold| cold.slots)
    }
}

/// A copy of a left operand in another layout or element type.
pub(super) struct Copy {
    phase: Phase,
    value: ValueId,
    axes: Vec<usize>,
    row: DType,
    view: View,
}

/// An operand of a contraction: a value and a letter for each of its axes.
#[derive(Debug, Clone)]
struct Operand {
    value: ValueId,
    letters: Vec<u8>,
}

/// A right operand by what its axes do: those of the view are groups, then columns, then depth.
struct RightOperand {
    view: View,
    groups: Vec<Dim>,
    n: Vec<Dim>,
    k: Vec<Dim>,
    count: Dim,
    columns: Dim,
    depth: Dim,
    interleave: u64,
}

impl RightOperand {
    /// Where panels of `panel` columns end with groups of columns, these are groups of the packed weight:
    /// products that take them for one or the other share the panels.
    fn in_groups_of_panels(mut self, panel: u64) -> Result<Self, IrError> {
        let own = self.n.len() - usize::from(self.interleave > 1);
        if self.groups.is_empty() && own > 1 {
            let columns = Dim::product(&self.n[1..own])?;
            if columns.as_const().is_some_and(|columns| columns.is_multiple_of(panel)) {
                self.groups.push(self.n.remove(0));
                (self.count, self.columns) = (self.groups[0].clone(), columns);
            }
        }
        Ok(self)
    }

    /// The element that is packed: of the view, or, where the groups lie in a mapped weight, of one part.
    fn source(&self, mapped: Option<BufferId>) -> Result<Load, IrError> {
        let mut source = self.view.load(&Coord::axes(self.view.shape.len()))?;
        if let Some(mapped) = mapped {
            source.buffer = mapped;
            source.terms.retain(|(index, _)| *index != Index::Axis(0));
        }
        Ok(source)
    }

    /// Whether the elements of each group are those of one of `count` equal parts of a buffer of
    /// `all` elements, in order.
    fn is_cut_by_experts(&self, all: &Dim) -> bool {
        let View { shape, strides, offset, .. } = &self.view;
        let number = |dims: &[Dim]| dims.iter().map(Dim::as_const).collect::<Option<Vec<u64>>>();
        let known = (number(shape), number(strides), number(offset), all.as_const());
        let (Some(shape), Some(strides), Some(offset), Some(all)) = known else { return false };
        let inner = shape.iter().zip(&strides).skip(1).map(|(size, stride)| size.saturating_sub(1) * stride);
        let last = offset.iter().sum::<u64>() + inner.sum::<u64>();
        self.groups.len() == 1 && strides[0] * shape[0] == all && last < strides[0]
    }
}

/// Letters by what they do, each kind outermost first.
struct Letters {
    groups: Vec<u8>,
    rows: Vec<u8>,
    columns: Vec<u8>,
    sum: Vec<u8>,
}

impl Planner<'_> {
    pub(super) fn einsum(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let spec = EinsumSpec::parse(node.attrs.str("spec")).map_err(PlanError::Broken)?;
        let mut left = Operand { value: node.args[0], letters: spec.lhs.clone() };
        let mut right = Operand { value: node.args[1], letters: spec.rhs.clone() };
        // The packed operand is on the right: the one known when weights are loaded.
        let swaps = self.phase(right.value) == Phase::Run && self.phase(left.value) == Phase::Load;
        if swaps {
            std::mem::swap(&mut left, &mut right);
        }
        let one_sided = |a: &Operand, b: &Operand| {
            a.letters.iter().any(|l| !b.letters.contains(l) && !spec.out.contains(l))
        };
        let letters = Letters {
            groups: pick(&spec.out, |l| left.letters.contains(l) && right.letters.contains(l)),
            rows: pick(&spec.out, |l| !right.letters.contains(l)),
            columns: pick(&spec.out, |l| !left.letters.contains(l)),
            sum: pick(&left.letters, |l| !spec.out.contains(l)),
        };
        if letters.columns.is_empty() || one_sided(&left, &right) || one_sided(&right, &left) {
            return self.sum_of_products(id, &spec.out, &spec.contracted(), [left, right]);
        }
        let roles = spec.out.iter().map(|l| {
            let is = |list: &[u8]| list.contains(l);
            match (is(&letters.groups), is(&letters.rows)) {
                (true, _) => Role::Group,
                (_, true) => Role::Row,
                _ => Role::Column,
            }
        });
        let phase = self.phase(id);
        let order = [letters.groups.as_slice(), &letters.rows, &letters.sum];
        let row = self.row_type(&left, &right, &letters);
        let lhs = self.left(phase, &left, order, row)?;
        let (weight, dtype) = self.packed(id, &right, &letters)?;
        let sizes = |list: &[u8]| self.size_of(&left, list);
        let groups = Groups::Batch { count: sizes(&letters.groups)?, rows: sizes(&letters.rows)? };
        let roles = roles.collect();
        let product = Contraction { groups, lhs, weight, roles, cold: None, dtype };
        self.hold(id, Held::Pending(Box::new(product)));
        Ok(())
    }

    pub(super) fn grouped_matmul(&mut self, id: ValueId, node: &Node) -> Result<(), PlanError> {
        let spec = EinsumSpec::parse(node.attrs.str("spec")).map_err(PlanError::Broken)?;
        let routing = self.routing(node.args[0])?;
        let left = Operand { value: node.args[1], letters: spec.lhs.clone() };
        let right = Operand { value: node.args[2], letters: spec.rhs.clone() };
        let (row, expert) = (&spec.lhs[..1], &spec.rhs[..1]);
        let letters = Letters {
            groups: expert.to_vec(),
            rows: row.to_vec(),
            columns: pick(&spec.rhs[1..], |l| spec.out.contains(l)),
            sum: pick(&spec.lhs[1..], |l| spec.rhs.contains(l) && !spec.out.contains(l)),
        };
        let columns = pick(&spec.out[1..], |l| letters.columns.contains(l));
        let letters = Letters { columns, ..letters };
        let whole = letters.sum.len() + 1 == spec.lhs.len()
            && letters.sum.len() + letters.columns.len() + 1 == spec.rhs.len();
        if !whole || letters.columns.is_empty() {
            return self.sum_of_products_by_expert(id, &spec, &routing, left, right);
        }
        let row_type = self.row_type(&left, &right, &letters);
        let placed = match node.op {
            Op::PlacedMatmul => self.placed(id, &right, &letters, node.attrs.ints("resident"))?,
            _ => None,
        };
        let (weight, cold, dtype) = match placed {
            Some((weight, cold, dtype)) => (weight, Some(cold), dtype),
            None => {
                let (weight, dtype) = self.packed(id, &right, &letters)?;
                (weight, None, dtype)
            }
        };
        let lhs = match self.gathered_left(node.args[1], &routing, letters.sum.len(), row_type)? {
            Some(lhs) => lhs,
            None => self.left(self.phase(id), &left, [&[], row, &letters.sum], row_type)?,
        };
        let roles = spec.out.iter().map(|l| if row.contains(l) { Role::Row } else { Role::Column }).collect();
        let groups = Groups::Routed(routing);
        let product = Contraction { groups, lhs, weight, roles, cold, dtype };
        self.hold(id, Held::Pending(Box::new(product)));
        Ok(())
    }

    /// Rows that the product can gather itself, if the operand is rows of a tensor by token.
    fn gathered_left(
        &mut self,
        value: ValueId,
        routing: &crate::RoutingBuffers,
        summed: usize,
        row: DType,
    ) -> Result<Option<Lhs>, PlanError> {
        let node = self.module.node(value);
        if node.op != Op::TakeRows || !matches!(self.held[value.index()], Held::Lazy) {
            return Ok(None);
        }
        if self.routing(node.args[0])?.token != routing.token {
            return Ok(None);
        }
        let letters: Vec<u8> = (0..=summed as u8).collect();
        let operand = Operand { value: node.args[1], letters: letters.clone() };
        let lhs = self.left(self.phase(value), &operand, [&[], &letters[..1], &letters[1..]], row)?;
        Ok(Some(Lhs { row: RowIndex::Token, ..lhs }))
    }

    /// The size of letters taken as one axis.
    fn size_of(&self, operand: &Operand, letters: &[u8]) -> Result<Dim, PlanError> {
        Ok(Dim::product(&self.sizes(operand, letters))?)
    }

    fn sizes(&self, operand: &Operand, letters: &[u8]) -> Vec<Dim> {
        let shape = self.shape(operand.value);
        let place = |l: &u8| operand.letters.iter().position(|o| o == l);
        letters.iter().filter_map(place).map(|axis| shape[axis].clone()).collect()
    }

    /// The element type in which tiles read the left operand: bf16 where both operands are, the target
    /// multiplies pairs, and the sum is made of pairs; else `f32`.
    fn row_type(&self, left: &Operand, right: &Operand, letters: &Letters) -> DType {
        let bf16 = |operand: &Operand| self.module.node(operand.value).tensor().dtype == DType::Bf16;
        let even = makes_pairs(&self.sizes(left, &letters.sum));
        if self.panels.pairs && bf16(left) && bf16(right) && even { DType::Bf16 } else { DType::F32 }
    }

    /// The left operand as groups of rows of element type `row`, contiguous along the sum: as it lies,
    /// or copied.
    fn left(
        &mut self,
        phase: Phase,
        operand: &Operand,
        order: [&[u8]; 3],
        row: DType,
    ) -> Result<Lhs, PlanError> {
        let value = operand.value;
        let axes: Vec<usize> =
            order.concat().iter().filter_map(|l| operand.letters.iter().position(|o| o == l)).collect();
        if self.module.node(value).tensor().dtype == row {
            let view = self.store(value)?;
            if let Some(lhs) = left_view(&view.permuted(&axes), order)? {
                return Ok(lhs);
            }
        }
        let copy = self.copied_rows(phase, value, &axes, row)?;
        left_view(&copy, order)?.ok_or_else(|| PlanError::Broken("a copied operand is askew".into()))
    }

    /// A value as elements of type `row` with its axes in the order `axes`, row-major, copied once for
    /// all products.
    fn copied_rows(
        &mut self,
        phase: Phase,
        value: ValueId,
        axes: &[usize],
        row: DType,
    ) -> Result<View, PlanError> {
        let known =
            |copy: &&Copy| (copy.phase, copy.value, copy.row) == (phase, value, row) && copy.axes == axes;
        if let Some(copy) = self.copies.iter().find(known) {
            return Ok(copy.view.clone());
        }
        self.settle(value, phase)?;
        let shape: Vec<Dim> = axes.iter().map(|&axis| self.shape(value)[axis].clone()).collect();
        let view = self.scratch(format!("v{}_rows", value.0), row, &shape)?;
        let mut coords = vec![Coord::default(); axes.len()];
        for (kernel_axis, &axis) in axes.iter().enumerate() {
            coords[axis] = Coord::axis(kernel_axis);
        }
        let mut emitter = Emitter::new(self);
        let result = match row {
            DType::Bf16 => emitter.at(value, &coords)?,
            _ => emitter.wide(value, &coords)?,
        };
        let scalars = emitter.scalars;
        let map = Map { shape, scalars, value: result, out: view.store() };
        self.step(phase, value, Kernel::Map(map));
        self.copies.push(Copy { phase, value, axes: axes.to_vec(), row, view: view.clone() });
        Ok(view)
    }

    /// The right operand in panels, packed as early as it is known; and its element type.
    fn packed(
        &mut self,
        id: ValueId,
        operand: &Operand,
        letters: &Letters,
    ) -> Result<(PackedWeight, DType), PlanError> {
        let view = match self.unwidened(operand.value)? {
            Some(view) => view,
            None => self.store(operand.value)?,
        };
        let dtype = self.buffers[view.buffer.0 as usize].dtype;
        let phase = self.phase(operand.value);
        let right = self.right_operand(view, operand, letters)?;
        let (groups, n) = (right.count.clone(), right.columns.clone());
        let right = right.in_groups_of_panels(self.panels.columns)?;
        let mapped = if phase == Phase::Load { self.mapped(&right) } else { None };
        let source = right.source(mapped)?;
        let same = |pack: &Pack| {
            (&pack.source, &pack.groups, &pack.n, &pack.k) == (&source, &right.groups, &right.n, &right.k)
        };
        if let Some((_, pack)) = self.packs.iter().find(|(at, pack)| *at == phase && same(pack)) {
            return Ok((PackedWeight { groups, n, ..pack.out.clone() }, dtype));
        }
        let elements = self.panel_elements(&right.count, &right.columns, &right.depth)?;
        let buffer = self.buffer(format!("v{}_panels", operand.value.0), dtype, elements, Place::Kept);
        let RightOperand { count, columns, depth: k, interleave, .. } = right;
        let out = PackedWeight { buffer, groups: count, n: columns, k, interleave };
        let pack =
            Pack { groups: right.groups, n: right.n, k: right.k, source, parts: None, out: out.clone() };
        self.packs.push((phase, pack.clone()));
        self.step(phase, id, Kernel::Pack(pack));
        Ok((PackedWeight { groups, n, ..out }, dtype))
    }

    /// A right operand, stored as `view`, by what its axes do. Panels of bf16 are in pairs if they can be.
    fn right_operand(
        &self,
        view: View,
        operand: &Operand,
        letters: &Letters,
    ) -> Result<RightOperand, PlanError> {
        let axis = |l: &u8| operand.letters.iter().position(|o| o == l);
        let parts = [&letters.groups, &letters.columns, &letters.sum];
        let axes: Vec<usize> = parts.iter().flat_map(|part| part.iter().filter_map(axis)).collect();
        let mut view = view.permuted(&axes);
        let [groups, mut n, mut k] = parts.map(|part| self.sizes(operand, part));
        let [count, columns, depth] = [&groups, &n, &k].map(Dim::product);
        let (count, columns, depth) = (count?, columns?, depth?);
        let bf16 = self.buffers[view.buffer.0 as usize].dtype == DType::Bf16;
        let interleave = if bf16 && makes_pairs(&k) { 2 } else { 1 };
        if let Some(depth) = k.last_mut().filter(|_| interleave > 1) {
            view = view.side_by_side(groups.len() + n.len(), interleave)?;
            n.push(Dim::constant(interleave));
            *depth = view.shape[view.shape.len() - 1].clone();
        }
        Ok(RightOperand { view, groups, n, k, count, columns, depth, interleave })
    }

    /// The panels of the `resident` experts of a weight as it lies in its files, and how those of the
    /// others are packed when they are needed. None if experts are not slices of a weight along its
    /// axis 0: then all are packed beforehand.
    fn placed(
        &mut self,
        id: ValueId,
        operand: &Operand,
        letters: &Letters,
        resident: &[i64],
    ) -> Result<Option<(PackedWeight, ColdWeight, DType)>, PlanError> {
        let Some(view) = self.unwidened(operand.value)? else { return Ok(None) };
        let dtype = self.buffers[view.buffer.0 as usize].dtype;
        let right = self.right_operand(view, operand, letters)?;
        let (Some(mapped), Some(experts)) = (self.mapped(&right), right.count.as_const()) else {
            return Ok(None);
        };
        let source = right.source(Some(mapped))?;
        let mut slots = vec![-1; experts as usize];
        for (slot, &expert) in resident.iter().enumerate() {
            slots[expert as usize] = slot as i64;
        }
        let (slots, parts) = (self.numbers("slots", &slots), self.numbers("resident", resident));
        let RightOperand { groups, n, k, columns, depth, interleave, .. } = right;
        let count = Dim::constant(resident.len() as u64);
        let panels = self.panel_elements(&count, &columns, &depth)?;
        let buffer = self.buffer(format!("v{}_panels", operand.value.0), dtype, panels, Place::Kept);
        let panel_bytes = Dim::product([&depth, &Dim::constant(self.panels.columns * dtype.bytes() as u64)])?;
        let out = PackedWeight { buffer, groups: count.clone(), n: columns, k: depth, interleave };
        let pack = Pack { groups, n, k, source, parts: None, out: out.clone() };
        let hot = Pack { groups: vec![count], parts: Some(parts), ..pack.clone() };
        self.step(Phase::Load, id, Kernel::Pack(hot));
        Ok(Some((out, ColdWeight { slots, pack, panel_bytes }, dtype)))
    }

    /// The weight of which the groups are slices along axis 0, where it lies in its files; none if they are
    /// not.
    fn mapped(&mut self, right: &RightOperand) -> Option<BufferId> {
        let Buffer { name, dtype, elements, place } = self.buffers[right.view.buffer.0 as usize].clone();
        let (Place::Weight(weight), DimExpr::Dim(all)) = (place, &elements) else { return None };
        let parts = right.count.as_const().filter(|&count| count > 0 && right.is_cut_by_experts(all))?;
        let place = Place::Mapped { weight, parts };
        let known = self.buffers.iter().position(|buffer| buffer.place == place);
        Some(match known {
            Some(at) => BufferId(at as u32),
            None => self.buffer(format!("{name}_mapped"), dtype, elements, place),
        })
    }

    /// A buffer of constant indices, one for all who want the same.
    fn numbers(&mut self, name: &str, values: &[i64]) -> BufferId {
        let place = Place::Literal(values.iter().map(|&value| Number::new(value as f64)).collect());
        let known = |buffer: &Buffer| buffer.place == place && buffer.dtype == DType::I32;
        match self.buffers.iter().position(known) {
            Some(at) => BufferId(at as u32),
            None => {
                let elements = DimExpr::Dim(Dim::constant(values.len() as u64));
                self.buffer(name.to_owned(), DType::I32, elements, place)
            }
        }
    }

    /// `groups * ceil(n / columns) * columns * k`.
    fn panel_elements(&self, groups: &Dim, n: &Dim, k: &Dim) -> Result<DimExpr, PlanError> {
        let columns = Dim::constant(self.panels.columns);
        let rest = Dim::product([groups, k, &columns])?;
        if let Some(n) = n.as_const() {
            return Ok(DimExpr::Dim(rest.times(&Dim::constant(n.div_ceil(self.panels.columns)))?));
        }
        let number = |n: u64| Box::new(DimExpr::Number(Number::new(n as f64)));
        let padded = DimExpr::Add(Box::new(DimExpr::Dim(n.clone())), number(self.panels.columns - 1));
        let panels = DimExpr::Floor(Box::new(DimExpr::Div(Box::new(padded), number(self.panels.columns))));
        Ok(DimExpr::Mul(Box::new(DimExpr::Dim(rest)), Box::new(panels)))
    }

    /// A contraction as reductions: the last summed letter with the product of elements, then the
    /// others, one by one.
    fn sum_of_products(
        &mut self,
        id: ValueId,
        out: &[u8],
        summed: &[u8],
        operands: [Operand; 2],
    ) -> Result<(), PlanError> {
        let all = [out, summed].concat();
        let place = |l: &u8| Coord::axis(all.iter().position(|a| a == l).unwrap_or_default());
        let coords = operands.each_ref().map(|o| o.letters.iter().map(place).collect::<Vec<_>>());
        for operand in &operands {
            self.settle(operand.value, self.phase(id))?;
        }
        let mut sizes = Vec::new();
        for letter in &all {
            let found = operands.iter().find(|o| o.letters.contains(letter));
            sizes.extend(found.map(|o| self.sizes(o, &[*letter])).unwrap_or_default());
        }
        self.reduce_all(id, out.len(), &sizes, |emitter| {
            let left = emitter.wide(operands[0].value, &coords[0])?;
            let right = emitter.wide(operands[1].value, &coords[1])?;
            Ok(emitter.apply(Op::Mul, &[left, right], DType::F32))
        })
    }

    /// The same for a grouped product: the expert of a row is looked up.
    fn sum_of_products_by_expert(
        &mut self,
        id: ValueId,
        spec: &EinsumSpec,
        routing: &crate::RoutingBuffers,
        left: Operand,
        right: Operand,
    ) -> Result<(), PlanError> {
        let mut summed = spec.contracted();
        summed.retain(|l| *l != spec.rhs[0]);
        let all = [spec.out.as_slice(), &summed].concat();
        let place = |l: &u8| Coord::axis(all.iter().position(|a| a == l).unwrap_or_default());
        for operand in [&left, &right] {
            self.settle(operand.value, self.phase(id))?;
        }
        let mut sizes = Vec::new();
        for letter in &all {
            let operand = if left.letters.contains(letter) { &left } else { &right };
            sizes.extend(self.sizes(operand, &[*letter]));
        }
        let at_left: Vec<Coord> = left.letters.iter().map(place).collect();
        self.reduce_all(id, spec.out.len(), &sizes, |emitter| {
            let expert = emitter.routed(routing.expert, &Coord::axis(0), &routing.experts);
            let at_right: Vec<Coord> =
                std::iter::once(expert).chain(right.letters[1..].iter().map(place)).collect();
            let left = emitter.wide(left.value, &at_left)?;
            let right = emitter.wide(right.value, &at_right)?;
            Ok(emitter.apply(Op::Mul, &[left, right], DType::F32))
        })
    }

    /// The sum over the axes from `kept` on of what `value` emits over axes of `sizes`.
    fn reduce_all(
        &mut self,
        id: ValueId,
        kept: usize,
        sizes: &[Dim],
        value: impl FnOnce(&mut Emitter<'_, '_>) -> Result<crate::ScalarId, PlanError>,
    ) -> Result<(), PlanError> {
        let mut rank = sizes.len() - 1;
        if rank == kept {
            return self.reduce_with(id, ReduceOp::Sum, &sizes[..rank], &sizes[rank], value);
        }
        let mut part = self.scratch(format!("v{}_part", id.0), DType::F32, &sizes[..rank])?;
        self.reduce_into(id, ReduceOp::Sum, &part, &sizes[..rank], &sizes[rank], value)?;
        loop {
            rank -= 1;
            let from = part.clone();
            let sum = |emitter: &mut Emitter<'_, '_>| Ok(emitter.load(from.load(&Coord::axes(rank + 1))?));
            if rank == kept {
                return self.reduce_with(id, ReduceOp::Sum, &sizes[..rank], &sizes[rank], sum);
            }
            part = self.scratch(format!("v{}_part", id.0), DType::F32, &sizes[..rank])?;
            self.reduce_into(id, ReduceOp::Sum, &part, &sizes[..rank], &sizes[rank], sum)?;
        }
    }
}

/// Whether a sum over axes of those sizes, outermost first, is one over pairs of neighbours.
fn makes_pairs(sum: &[Dim]) -> bool {
    sum.last().and_then(Dim::as_const).is_some_and(|size| size.is_multiple_of(2))
}

fn pick(letters: &[u8], keep: impl Fn(&u8) -> bool) -> Vec<u8> {
    letters.iter().copied().filter(keep).collect()
}

/// The view, whose axes are groups, rows and sum in this order, as a left operand, if it is one.
fn left_view(view: &View, order: [&[u8]; 3]) -> Result<Option<Lhs>, PlanError> {
    let mut strides = Vec::new();
    let mut next = 0;
    for part in order {
        let axes = next..next + part.len();
        next = axes.end;
        let axes: Vec<(Dim, Dim)> = axes.map(|a| (view.shape[a].clone(), view.strides[a].clone())).collect();
        match merged_stride(&axes)? {
            Some(stride) => strides.push((stride, axes.iter().all(|(size, _)| size.is(1)))),
            None => return Ok(None),
        }
    }
    let [(groups, _), (rows, _), (sum, single)] = strides.as_slice() else { return Ok(None) };
    if !sum.is(1) && !single {
        return Ok(None);
    }
    Ok(Some(Lhs {
        buffer: view.buffer,
        offset: view.offset.clone(),
        group_stride: groups.clone(),
        row_stride: rows.clone(),
        row: RowIndex::Row,
    }))
}
