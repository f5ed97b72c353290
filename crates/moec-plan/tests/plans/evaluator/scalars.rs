//! Scalar programs, all points at once: each scalar is a column with one element for each point.

use std::borrow::Cow;

use moec_interp::{Tensor, Value, eval_node};
use moec_ir::{Attrs, DType, Op};
use moec_plan::{Index, Scalar, ScalarId, Scalars};

use super::{Fault, Machine, Point};

impl Machine<'_> {
    /// The columns `wanted` of a program at `points`; `accumulators` are columns too.
    pub(super) fn columns(
        &self,
        scalars: &Scalars,
        points: &[Point],
        accumulators: &[Vec<f64>],
        wanted: &[ScalarId],
    ) -> Result<Vec<Vec<f64>>, Fault> {
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for (scalar, &dtype) in scalars.list.iter().zip(&scalars.types) {
            let of = |id: &ScalarId| &columns[id.0 as usize];
            let each = |f: &dyn Fn(usize, &Point) -> f64| -> Vec<f64> {
                points.iter().enumerate().map(|(at, point)| f(at, point)).collect()
            };
            let column = match scalar {
                // A kernel with an index into nothing does nothing.
                Scalar::InRange(_, size) if self.size(size) == 0 && !points.is_empty() => return Err(Fault),
                Scalar::InRange(index, size) => {
                    let inside = 0.0..self.size(size) as f64;
                    if of(index).iter().any(|i| !inside.contains(i)) {
                        return Err(Fault);
                    }
                    of(index).clone()
                }
                Scalar::Load(load) => each(&|at, point| {
                    self.load(load, |index| match index {
                        Index::Axis(axis) => point[axis],
                        Index::Value(id) => of(&id)[at] as u64,
                    })
                }),
                Scalar::Iota(axis) => each(&|_, point| point[*axis] as f64),
                Scalar::Size(dim) => each(&|_, _| self.size(dim) as f64),
                Scalar::Const(dtype, number) => each(&|_, _| moec_interp::round_to(*dtype, number.get())),
                Scalar::Apply(op, args) => {
                    let args: Vec<_> = args.iter().map(|id| (of(id), scalars.dtype(*id))).collect();
                    element_wise(*op, &args, Attrs::default(), dtype)
                }
                Scalar::Cast(to, arg) => {
                    let attrs = Attrs::new([("to", moec_ir::Attr::DType(*to))]);
                    element_wise(Op::Cast, &[(of(arg), scalars.dtype(*arg))], attrs, dtype)
                }
                Scalar::Accumulator(at) => accumulators[*at].clone(),
            };
            columns.push(column);
        }
        Ok(wanted.iter().map(|id| columns[id.0 as usize].clone()).collect())
    }
}

/// The interpreter's meaning of an operation, on columns. The result must have the type `dtype`.
fn element_wise(op: Op, args: &[(&Vec<f64>, DType)], attrs: Attrs, dtype: DType) -> Vec<f64> {
    let args: Vec<Value<'_>> =
        args.iter().map(|(data, dtype)| tensor(*dtype, vec![data.len()], data.to_vec())).collect();
    let result = eval_node(op, &args.iter().collect::<Vec<_>>(), &attrs, &Default::default()).unwrap();
    let result = result.into_tensor().unwrap();
    assert_eq!(result.dtype, dtype, "type of {op}");
    result.data
}

pub(super) fn tensor(dtype: DType, shape: Vec<usize>, data: Vec<f64>) -> Value<'static> {
    Value::Tensor(Cow::Owned(Tensor::new(dtype, shape, data).unwrap()))
}
