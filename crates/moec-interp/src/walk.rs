//! Index arithmetic: strides, and loops over all indices of a shape.

/// Distances between neighbours along each axis, in row-major order.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Calls `f` for every index below `sizes` in row-major order, with the `N` positions that the index
/// has under each of `strides`.
pub(crate) fn walk<const N: usize>(sizes: &[usize], strides: [&[usize]; N], mut f: impl FnMut([usize; N])) {
    if sizes.contains(&0) {
        return;
    }
    let Some((&inner, outer)) = sizes.split_last() else {
        return f([0; N]);
    };
    let step: [usize; N] = strides.map(|s| s[outer.len()]);
    let mut index = vec![0; outer.len()];
    let mut start = [0; N];
    loop {
        let mut here = start;
        for _ in 0..inner {
            f(here);
            for i in 0..N {
                here[i] += step[i];
            }
        }
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for i in 0..N {
                start[i] += strides[i][axis];
            }
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
            for i in 0..N {
                start[i] -= strides[i][axis] * outer[axis];
            }
        }
    }
}

/// A shape seen from one of its axes: `outer` blocks of `size` rows of `inner` elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) outer: usize,
    pub(crate) size: usize,
    pub(crate) inner: usize,
}

impl Lanes {
    pub(crate) fn new(shape: &[usize], axis: usize) -> Lanes {
        Lanes {
            outer: shape[..axis].iter().product(),
            size: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The position of element `i` of the lane `inner` of block `outer`.
    pub(crate) fn at(&self, outer: usize, i: usize, inner: usize) -> usize {
        (outer * self.size + i) * self.inner + inner
    }

    /// Every lane, as (block, position in the row), in row-major order.
    pub(crate) fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.outer).flat_map(move |outer| (0..self.inner).map(move |inner| (outer, inner)))
    }

    /// The elements of one lane.
    pub(crate) fn read(&self, data: &[f64], (outer, inner): (usize, usize), lane: &mut Vec<f64>) {
        lane.clear();
        lane.extend((0..self.size).map(|i| data[self.at(outer, i, inner)]));
    }
}
