//! Positions along an axis of a value, as sums of kernel axes and computed indices.

use moec_ir::{Dim, IrError};

use crate::{Index, ScalarId};

/// `sum of offset + sum of index * factor`. Also the address of an element, in elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Coord {
    /// Summands of the constant part; none is zero.
    pub offset: Vec<Dim>,
    /// What moves the position, and how far; no factor is zero.
    pub terms: Vec<(Index, Dim)>,
}

impl Coord {
    /// The loop index of kernel axis `axis`.
    pub(super) fn axis(axis: usize) -> Coord {
        Coord { offset: Vec::new(), terms: vec![(Index::Axis(axis), Dim::constant(1))] }
    }

    /// The value of an `i32` scalar.
    pub(super) fn value(scalar: ScalarId) -> Coord {
        Coord { offset: Vec::new(), terms: vec![(Index::Value(scalar), Dim::constant(1))] }
    }

    /// The kernel axes `0..rank`, in order.
    pub(super) fn axes(rank: usize) -> Vec<Coord> {
        (0..rank).map(Coord::axis).collect()
    }

    /// The axes of a value with `rank` axes in a kernel whose last axis is the value's axis `last`.
    pub(super) fn axes_with_last(rank: usize, last: usize) -> Vec<Coord> {
        let kernel_axis = |a: usize| match a.cmp(&last) {
            std::cmp::Ordering::Less => a,
            std::cmp::Ordering::Equal => rank - 1,
            std::cmp::Ordering::Greater => a - 1,
        };
        (0..rank).map(|a| Coord::axis(kernel_axis(a))).collect()
    }

    /// The kernel axis that this position is, if it is no more than that.
    pub(super) fn as_axis(&self) -> Option<usize> {
        match self.terms.as_slice() {
            [(Index::Axis(axis), factor)] if self.offset.is_empty() && factor.is(1) => Some(*axis),
            _ => None,
        }
    }

    /// The position times `factor`.
    pub(super) fn scaled(&self, factor: &Dim) -> Result<Coord, IrError> {
        let mut out = Coord::default();
        for summand in &self.offset {
            out.move_by(&summand.times(factor)?);
        }
        for (index, stride) in &self.terms {
            out.add_term(*index, stride.times(factor)?);
        }
        Ok(out)
    }

    /// Adds another position to this one.
    pub(super) fn add(&mut self, other: &Coord) {
        for summand in &other.offset {
            self.move_by(summand);
        }
        for (index, factor) in &other.terms {
            self.add_term(*index, factor.clone());
        }
    }

    /// Adds a constant.
    pub(super) fn move_by(&mut self, summand: &Dim) {
        if summand.is(0) {
            return;
        }
        for known in &mut self.offset {
            if let Some(sum) = known.plus(summand) {
                *known = sum;
                return;
            }
        }
        self.offset.push(summand.clone());
        self.offset.sort();
    }

    fn add_term(&mut self, index: Index, factor: Dim) {
        if factor.is(0) {
            return;
        }
        for (known, stride) in &mut self.terms {
            if *known == index
                && let Some(sum) = stride.plus(&factor)
            {
                *stride = sum;
                return;
            }
        }
        self.terms.push((index, factor));
    }
}
