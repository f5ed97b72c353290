//! Values that lie in a buffer: strided views, and how layout operations change them.

use moec_ir::{Dim, IrError, Node, Op};

use crate::{BufferId, Load, Store};

use super::coord::Coord;

/// An element at position `i..` lies at `sum of offset + sum of i * stride` of the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// The shape of the value.
    pub shape: Vec<Dim>,
    /// Summands of the constant part.
    pub offset: Vec<Dim>,
    /// One stride for each axis; zero where values repeat.
    pub strides: Vec<Dim>,
}

/// Row-major strides.
pub(super) fn natural_strides(shape: &[Dim]) -> Result<Vec<Dim>, IrError> {
    (0..shape.len()).map(|axis| Dim::product(&shape[axis + 1..])).collect()
}

/// Whether a shape is known to have no elements.
pub(super) fn is_empty(shape: &[Dim]) -> bool {
    shape.iter().any(|size| size.is(0))
}

impl View {
    /// All of a buffer, row-major.
    pub(super) fn natural(buffer: BufferId, shape: &[Dim]) -> Result<View, IrError> {
        Ok(View { buffer, shape: shape.to_vec(), offset: Vec::new(), strides: natural_strides(shape)? })
    }

    /// The element at `coords`.
    pub(super) fn load(&self, coords: &[Coord]) -> Result<Load, IrError> {
        let mut at = Coord::default();
        for summand in &self.offset {
            at.move_by(summand);
        }
        for ((coord, stride), size) in coords.iter().zip(&self.strides).zip(&self.shape) {
            // The one position of an axis of size one is zero, whatever the loop index is called.
            if !(size.is(1) && coord.as_axis().is_some()) {
                at.add(&coord.scaled(stride)?);
            }
        }
        at.terms.sort();
        Ok(Load { buffer: self.buffer, offset: at.offset, terms: at.terms })
    }

    /// A store whose kernel axes are the axes of this view.
    pub(super) fn store(&self) -> Store {
        Store { buffer: self.buffer, offset: self.offset.clone(), strides: self.strides.clone() }
    }

    /// The axes `axes` of this view, in that order.
    pub(super) fn permuted(&self, axes: &[usize]) -> View {
        View {
            buffer: self.buffer,
            shape: axes.iter().map(|&a| self.shape[a].clone()).collect(),
            offset: self.offset.clone(),
            strides: axes.iter().map(|&a| self.strides[a].clone()).collect(),
        }
    }

    /// `size` elements along `axis` from `start`, every `step`-th.
    pub(super) fn sliced(&self, axis: usize, start: &Dim, size: &Dim, step: u64) -> Result<View, IrError> {
        let mut at = Coord { offset: self.offset.clone(), terms: Vec::new() };
        at.move_by(&start.times(&self.strides[axis])?);
        let mut view = View { offset: at.offset, ..self.clone() };
        view.shape[axis] = size.clone();
        view.strides[axis] = self.strides[axis].times(&Dim::constant(step))?;
        Ok(view)
    }

    /// The last axis, of known size, in groups of `count` neighbours: their position becomes axis `at`.
    pub(super) fn side_by_side(mut self, at: usize, count: u64) -> Result<View, IrError> {
        let axis = self.shape.len() - 1;
        let stride = self.strides[axis].clone();
        self.strides[axis] = stride.times(&Dim::constant(count))?;
        self.shape[axis] = Dim::constant(self.shape[axis].as_const().unwrap_or_default() / count);
        self.shape.insert(at, Dim::constant(count));
        self.strides.insert(at, stride);
        Ok(self)
    }

    /// The same elements in row-major order in another shape, if strides can say so.
    pub(super) fn reshaped(&self, shape: &[Dim]) -> Result<Option<View>, IrError> {
        let mut view = View { shape: shape.to_vec(), ..self.clone() };
        if is_empty(shape) {
            view.strides = natural_strides(shape)?;
            return Ok(Some(view));
        }
        let Some(groups) = regroup(&self.shape, shape)? else { return Ok(None) };
        view.strides = vec![Dim::constant(0); shape.len()];
        for group in groups {
            let Some(mut stride) = self.merged_stride(&group.old)? else { return Ok(None) };
            for &axis in group.new.iter().rev() {
                view.strides[axis] = stride.clone();
                stride = stride.times(&shape[axis])?;
            }
        }
        Ok(Some(view))
    }

    /// The stride of `axes` taken as one axis, outermost first: `None` if they are not one.
    pub(super) fn merged_stride(&self, axes: &[usize]) -> Result<Option<Dim>, IrError> {
        let axes: Vec<(Dim, Dim)> =
            axes.iter().map(|&a| (self.shape[a].clone(), self.strides[a].clone())).collect();
        merged_stride(&axes)
    }

    /// The view after a layout operation that moves no element, if strides can say so.
    pub(super) fn after(&self, node: &Node) -> Result<Option<View>, IrError> {
        let attrs = &node.attrs;
        Ok(match node.op {
            Op::Transpose => {
                let perm: Vec<usize> = attrs.ints("perm").iter().map(|&a| a as usize).collect();
                Some(self.permuted(&perm))
            }
            Op::Broadcast => {
                let shape = attrs.dims("shape").to_vec();
                let mut strides = vec![Dim::constant(0); shape.len()];
                for (stride, &axis) in self.strides.iter().zip(attrs.ints("map")) {
                    strides[axis as usize] = stride.clone();
                }
                Some(View { buffer: self.buffer, shape, offset: self.offset.clone(), strides })
            }
            Op::Slice => {
                let (start, size) = (attrs.dim("start"), attrs.dim("size"));
                Some(self.sliced(attrs.index("axis"), start, size, attrs.int("step") as u64)?)
            }
            Op::Reshape => self.reshaped(attrs.dims("shape"))?,
            _ => None,
        })
    }
}

/// The stride of axes (size, stride), outermost first, taken as one axis: `None` if they are not one.
/// No axes are an axis of size one.
pub(super) fn merged_stride(axes: &[(Dim, Dim)]) -> Result<Option<Dim>, IrError> {
    let mut axes = axes.iter().filter(|(size, _)| !size.is(1)).rev();
    let Some((size, stride)) = axes.next() else { return Ok(Some(Dim::constant(0))) };
    let mut next = stride.times(size)?;
    for (size, outer) in axes {
        if *outer != next {
            return Ok(None);
        }
        next = next.times(size)?;
    }
    Ok(Some(stride.clone()))
}

/// Axes of an old and a new shape that hold the same elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Regroup {
    /// Axes of the old shape; none has the size one.
    pub old: Vec<usize>,
    /// Axes of the new shape; none has the size one.
    pub new: Vec<usize>,
}

/// Splits two non-empty shapes with equal element counts into the shortest groups of axes with equal
/// counts, if sizes can be compared.
pub(super) fn regroup(old: &[Dim], new: &[Dim]) -> Result<Option<Vec<Regroup>>, IrError> {
    let parts = |shape: &[Dim]| -> Vec<usize> { (0..shape.len()).filter(|&a| !shape[a].is(1)).collect() };
    let (olds, news) = (parts(old), parts(new));
    let (mut i, mut j) = (0, 0);
    let mut groups = Vec::new();
    while i < olds.len() && j < news.len() {
        let (from_i, from_j) = (i, j);
        let (mut left, mut right) = (old[olds[i]].clone(), new[news[j]].clone());
        (i, j) = (i + 1, j + 1);
        while left != right {
            let (grow_left, grow_right) = match (right.divided_by(&left), left.divided_by(&right)) {
                (Some(_), _) => (true, false),
                (_, Some(_)) => (false, true),
                _ => (true, true),
            };
            if grow_left {
                let Some(&axis) = olds.get(i) else { return Ok(None) };
                left = left.times(&old[axis])?;
                i += 1;
            }
            if grow_right {
                let Some(&axis) = news.get(j) else { return Ok(None) };
                right = right.times(&new[axis])?;
                j += 1;
            }
        }
        groups.push(Regroup { old: olds[from_i..i].to_vec(), new: news[from_j..j].to_vec() });
    }
    Ok((i == olds.len() && j == news.len()).then_some(groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[&str]) -> Vec<Dim> {
        sizes.iter().map(|s| s.parse::<u64>().map_or_else(|_| Dim::symbol(s), Dim::constant)).collect()
    }

    #[test]
    fn strides_follow_a_reshape_where_they_can() {
        let view = View::natural(BufferId(0), &shape(&["T", "6", "4"])).unwrap();
        let split = view.reshaped(&shape(&["T", "2", "12"])).unwrap().unwrap();
        assert_eq!(split.strides, shape(&["24", "12", "1"]));
        let turned = view.permuted(&[0, 2, 1]);
        assert_eq!(turned.reshaped(&shape(&["T", "24"])).unwrap(), None);
        let apart = turned.reshaped(&shape(&["T", "2", "2", "6"])).unwrap().unwrap();
        assert_eq!(apart.strides, shape(&["24", "2", "1", "4"]));
    }

    #[test]
    fn shapes_regroup_by_symbols() {
        let groups = regroup(&shape(&["T", "8", "1", "6"]), &shape(&["2", "4", "T", "6"])).unwrap();
        let groups = groups.unwrap();
        assert_eq!(groups[0], Regroup { old: vec![0, 1], new: vec![0, 1, 2] });
        assert_eq!(groups[1], Regroup { old: vec![3], new: vec![3] });
    }
}
