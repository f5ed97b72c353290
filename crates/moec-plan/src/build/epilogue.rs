//! Epilogues: an element-wise tree over the result of products, in the axes of a [`Product`] kernel.
//!
//! The tree is first written over the axes of its root, then carried over: axes of the root that
//! make up the rows (columns, groups) of the product become one axis, where strides allow it.
//!
//! [`Product`]: crate::Product

use moec_ir::{Dim, ValueId};

use crate::{BufferId, Index, Load, PlanError, RoutingBuffers, Scalar, ScalarId, Scalars, Store};

use super::coord::Coord;
use super::view::{View, merged_stride};

/// What an axis of a product's result belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The rows: kernel axis 0.
    Row,
    /// The columns: kernel axis 1.
    Column,
    /// The groups: kernel axis 2.
    Group,
}

const ROLES: [Role; 3] = [Role::Row, Role::Column, Role::Group];

/// What an emitter knows while it writes an epilogue over the axes `0..rank` of the root.
pub(super) struct Epilogue {
    rank: usize,
    routing: Option<RoutingBuffers>,
    accumulators: Vec<ValueId>,
    /// The axes of the root that the axes of each accumulator are.
    places: Vec<Option<Vec<usize>>>,
    unfit: bool,
}

impl Epilogue {
    pub(super) fn new(rank: usize, accumulators: &[ValueId], routing: Option<RoutingBuffers>) -> Epilogue {
        let places = vec![None; accumulators.len()];
        Epilogue { rank, routing, accumulators: accumulators.to_vec(), places, unfit: false }
    }

    /// The accumulator of a product at `coords`, if `value` is one.
    pub(super) fn accumulator(&mut self, value: ValueId, coords: &[Coord]) -> Option<Scalar> {
        let at = self.accumulators.iter().position(|a| *a == value)?;
        let axes: Option<Vec<usize>> = coords.iter().map(Coord::as_axis).collect();
        let distinct = |axes: &[usize]| (0..axes.len()).all(|i| !axes[..i].contains(&axes[i]));
        match axes.filter(|axes| axes.len() == self.rank && distinct(axes)) {
            Some(axes) if self.places[at].as_ref().is_none_or(|known| *known == axes) => {
                self.places[at] = Some(axes);
            }
            _ => self.unfit = true,
        }
        Some(Scalar::Accumulator(at))
    }

    /// The axis after those of the root that stands for the entry of a routing buffer at plan row
    /// `row`, if that is the row of the product.
    pub(super) fn routing_axis(&self, buffer: BufferId, row: &Coord) -> Option<usize> {
        let routing = self.routing.as_ref().filter(|_| row.as_axis() == Some(0))?;
        let entries = [routing.expert, routing.token, routing.pair];
        entries.iter().position(|entry| *entry == buffer).map(|at| self.rank + at)
    }

    /// What the root's axes are to the product, if all accumulators agree and none is used askew.
    /// `roles` are those of the products' axes.
    pub(super) fn axes<'a>(&self, shape: &'a [Dim], roles: &[Role]) -> Option<Axes<'a>> {
        let mut found: Option<[Vec<usize>; 3]> = None;
        for place in &self.places {
            let place = place.as_ref()?;
            let of_role = ROLES.map(|wanted| -> Vec<usize> {
                let of = place.iter().zip(roles).filter(|(_, role)| **role == wanted);
                of.map(|(axis, _)| *axis).collect()
            });
            // A plan row is recognised by being axis 0.
            let turned = self.routing.is_some() && of_role[0] != [0];
            if turned || found.as_ref().is_some_and(|known| *known != of_role) {
                return None;
            }
            found = Some(of_role);
        }
        found.filter(|_| !self.unfit).map(|of_role| Axes { shape, of_role })
    }
}

/// The axes of a root, and which make rows, columns and groups, in the product's order.
pub(super) struct Axes<'a> {
    pub shape: &'a [Dim],
    of_role: [Vec<usize>; 3],
}

impl Axes<'_> {
    /// The strides of rows, columns and groups, given those of the root's axes.
    fn merged(&self, stride: impl Fn(usize) -> Dim) -> Result<Option<Vec<Dim>>, PlanError> {
        let mut strides = Vec::new();
        for axes in &self.of_role {
            let axes: Vec<(Dim, Dim)> = axes.iter().map(|&a| (self.shape[a].clone(), stride(a))).collect();
            match merged_stride(&axes)? {
                Some(stride) => strides.push(stride),
                None => return Ok(None),
            }
        }
        Ok(Some(strides))
    }

    /// The store into `view`, if its strides fit.
    pub(super) fn store(&self, view: &View) -> Result<Option<Store>, PlanError> {
        let strides = self.merged(|axis| view.strides[axis].clone())?;
        Ok(strides.map(|strides| Store { buffer: view.buffer, offset: view.offset.clone(), strides }))
    }

    /// The axes of the root in the order group, row, column, which always fits when row-major.
    pub(super) fn in_product_order(&self) -> Vec<usize> {
        let [rows, columns, groups] = &self.of_role;
        [groups.as_slice(), rows, columns].concat()
    }

    /// A program over the root's axes as one over the product's, if it can be said in those.
    pub(super) fn carry(
        &self,
        from: &Scalars,
        value: ScalarId,
    ) -> Result<Option<(Scalars, ScalarId)>, PlanError> {
        let mut to = Scalars::default();
        let mut renamed: Vec<ScalarId> = Vec::new();
        for (scalar, &dtype) in from.list.iter().zip(&from.types) {
            let carried = match scalar {
                Scalar::Load(load) => match self.carry_load(load, &renamed)? {
                    Some(load) => Scalar::Load(load),
                    None => return Ok(None),
                },
                Scalar::Iota(axis) => match self.carry_iota(*axis) {
                    Some(scalar) => scalar,
                    None => return Ok(None),
                },
                other => other.renamed(|id| renamed[id.0 as usize]),
            };
            renamed.push(to.push(carried, dtype));
        }
        Ok(Some((to, renamed[value.0 as usize])))
    }

    fn carry_load(&self, load: &Load, renamed: &[ScalarId]) -> Result<Option<Load>, PlanError> {
        let rank = self.shape.len();
        let along = |wanted: usize| {
            let mut found = load.terms.iter().filter(|(index, _)| *index == Index::Axis(wanted));
            found.next().map_or(Dim::constant(0), |(_, stride)| stride.clone())
        };
        let Some(strides) = self.merged(along)? else { return Ok(None) };
        let mut terms: Vec<(Index, Dim)> =
            strides.into_iter().enumerate().map(|(axis, stride)| (Index::Axis(axis), stride)).collect();
        for (index, stride) in &load.terms {
            match index {
                Index::Value(scalar) => {
                    terms.push((Index::Value(renamed[scalar.0 as usize]), stride.clone()))
                }
                Index::Axis(axis) if *axis >= rank => {
                    // Expert, token and pair follow the axes of the root; see `routing_axis`.
                    terms.push((Index::Axis(axis - rank + 2), stride.clone()));
                }
                Index::Axis(_) => {}
            }
        }
        // A routed product has no stride along groups, so the expert's stands alone.
        terms.retain(|(_, stride)| !stride.is(0));
        terms.sort();
        Ok(Some(Load { buffer: load.buffer, offset: load.offset.clone(), terms }))
    }

    fn carry_iota(&self, axis: usize) -> Option<Scalar> {
        let rank = self.shape.len();
        if axis >= rank {
            return Some(Scalar::Iota(axis - rank + 2));
        }
        let kernel_axis = self.of_role.iter().position(|axes| axes.contains(&axis))?;
        let mut others = self.of_role[kernel_axis].iter().filter(|other| **other != axis);
        let alone = others.all(|&other| self.shape[other].is(1));
        alone.then_some(Scalar::Iota(kernel_axis))
    }
}
