//! Contractions, by index arithmetic on the operands where they lie.

use moec_ir::EinsumSpec;

use crate::eval::{Cx, Evaluated};
use crate::walk::{strides, walk};

/// Loops over some letters: their sizes and their strides in both operands (0 where one lacks it).
#[derive(Default)]
struct Loops {
    sizes: Vec<usize>,
    lhs: Vec<usize>,
    rhs: Vec<usize>,
}

impl Loops {
    /// Without the last loop, and its size and strides; none for no loops.
    fn split_last(mut self) -> (Loops, Option<[usize; 3]>) {
        let last = (self.sizes.pop()).zip(self.lhs.pop()).zip(self.rhs.pop());
        (self, last.map(|((size, lhs), rhs)| [size, lhs, rhs]))
    }
}

/// A contraction of two operands: for every index of the kept letters the sum over the others.
pub(crate) struct Contraction {
    /// Kept letters but the last, in the result's order.
    kept: Loops,
    /// The last kept letter: its size and its strides.
    row: [usize; 3],
    /// Contracted letters, in order of first use.
    summed: Loops,
}

impl Contraction {
    /// The contraction of operands with these letters and shapes to the letters `out`.
    pub(crate) fn new(lhs: (&[u8], &[usize]), rhs: (&[u8], &[usize]), spec: &EinsumSpec, out: &[u8]) -> Self {
        let (lhs_strides, rhs_strides) = (strides(lhs.1), strides(rhs.1));
        let loops = |letters: &[u8]| {
            let mut loops = Loops::default();
            for letter in letters {
                let (l, r) = (position(lhs.0, *letter), position(rhs.0, *letter));
                let size = l.map(|i| lhs.1[i]).or(r.map(|i| rhs.1[i]));
                loops.sizes.push(size.unwrap_or(1));
                loops.lhs.push(l.map_or(0, |i| lhs_strides[i]));
                loops.rhs.push(r.map_or(0, |i| rhs_strides[i]));
            }
            loops
        };
        let (kept, row) = loops(out).split_last();
        let bound = |l: &u8| lhs.0.contains(l) || rhs.0.contains(l);
        let summed: Vec<u8> = spec.contracted().into_iter().filter(bound).collect();
        Contraction { kept, row: row.unwrap_or([1, 0, 0]), summed: loops(&summed) }
    }

    /// Appends the result, in row-major order, to `out`.
    pub(crate) fn run(&self, x: &[f64], w: &[f64], out: &mut Vec<f64>) {
        let [size, x_step, w_step] = self.row;
        // Either loop order adds the same terms in the same order; this one reads `w` in its order.
        let row_inside = self.summed.rhs.last().is_some_and(|&s| 0 < w_step && w_step < s);
        let summed = (self.summed.sizes.as_slice(), [self.summed.lhs.as_slice(), &self.summed.rhs]);
        walk(&self.kept.sizes, [&self.kept.lhs, &self.kept.rhs], |[i, j]| {
            if row_inside {
                let start = out.len();
                out.resize(start + size, 0.0);
                let row = &mut out[start..];
                walk(summed.0, summed.1, |[k, l]| {
                    for (f, sum) in row.iter_mut().enumerate() {
                        *sum += x[i + k + f * x_step] * w[j + l + f * w_step];
                    }
                });
                return;
            }
            for f in 0..size {
                let (i, j) = (i + f * x_step, j + f * w_step);
                let mut sum = 0.0;
                walk(summed.0, summed.1, |[k, l]| sum += x[i + k] * w[j + l]);
                out.push(sum);
            }
        });
    }
}

fn position(letters: &[u8], letter: u8) -> Option<usize> {
    letters.iter().position(|&l| l == letter)
}

/// The specification in attribute `spec`, which type inference has parsed before.
pub(crate) fn spec(cx: &Cx<'_>) -> Result<EinsumSpec, crate::InterpError> {
    EinsumSpec::parse(cx.attrs.str("spec")).map_err(|message| cx.error(message))
}

pub(crate) fn einsum(cx: &Cx<'_>) -> Evaluated {
    let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
    let spec = spec(cx)?;
    let mut data = cx.room()?;
    Contraction::new((&spec.lhs, &x.shape), (&spec.rhs, &w.shape), &spec, &spec.out)
        .run(&x.data, &w.data, &mut data);
    cx.result(data)
}
