//! Guarantees about scalar programs.

use moec_ir::{Attrs, DType, DimTable, Op, TensorType, Type};

use crate::{Index, Load, Scalar, ScalarId, Scalars};

use super::{Checked, Checker};

impl Checker<'_> {
    /// A program of a kernel with `axes` axes and `accumulators` weights.
    pub(super) fn scalars(&self, scalars: &Scalars, axes: usize, accumulators: usize) -> Checked {
        if scalars.list.len() != scalars.types.len() {
            return Err("scalars without types".into());
        }
        for (at, scalar) in scalars.list.iter().enumerate() {
            let found = self.scalar(scalars, at, scalar, axes, accumulators);
            let found = found.map_err(|what| format!("scalar {at}: {what}"))?;
            if found != scalars.types[at] {
                return Err(format!("scalar {at} is {found}, declared {}", scalars.types[at]));
            }
        }
        Ok(())
    }

    /// The element type that the scalar has.
    fn scalar(
        &self,
        scalars: &Scalars,
        at: usize,
        scalar: &Scalar,
        axes: usize,
        accumulators: usize,
    ) -> Result<DType, String> {
        if let Some(bad) = scalar.operands().iter().find(|id| id.0 as usize >= at) {
            return Err(format!("operand {} does not stand before", bad.0));
        }
        match scalar {
            Scalar::Load(load) => {
                if matches!(self.plan.buffer(load.buffer).place, crate::Place::Mapped { .. }) {
                    return Err("an element of a mapped weight is loaded".into());
                }
                self.load(load, axes, Some(scalars))?;
                Ok(self.plan.buffer(load.buffer).dtype)
            }
            Scalar::Iota(axis) if *axis >= axes => Err(format!("there is no axis {axis}")),
            Scalar::Iota(_) | Scalar::Size(_) => Ok(DType::I32),
            Scalar::Const(dtype, _) => Ok(*dtype),
            Scalar::Apply(op, args) => applied(*op, args.iter().map(|id| scalars.dtype(*id))),
            Scalar::Cast(to, _) => Ok(*to),
            Scalar::InRange(arg, _) if scalars.dtype(*arg) != DType::I32 => Err("not an i32 in range".into()),
            Scalar::InRange(..) => Ok(DType::I32),
            Scalar::Accumulator(n) if *n >= accumulators => Err(format!("there is no accumulator {n}")),
            Scalar::Accumulator(_) => Ok(DType::F32),
        }
    }

    /// An access by axes and, if it stands in a program, by scalars.
    pub(super) fn load(&self, load: &Load, axes: usize, scalars: Option<&Scalars>) -> Checked {
        for (at, (index, stride)) in load.terms.iter().enumerate() {
            if stride.is(0) {
                return Err("a stride is zero".into());
            }
            match index {
                Index::Axis(axis) if *axis >= axes => return Err(format!("there is no axis {axis}")),
                Index::Axis(axis) => {
                    if load.terms[..at].iter().any(|(other, _)| other == index) {
                        return Err(format!("axis {axis} occurs twice"));
                    }
                }
                Index::Value(id) => {
                    let in_range = match scalars.map(|scalars| scalars.get(*id)) {
                        Some(Scalar::InRange(..)) => true,
                        Some(Scalar::Load(load)) => self.grouped.contains(&load.buffer),
                        _ => false,
                    };
                    if !in_range {
                        return Err(format!("index {} is not known to be in range", id.0));
                    }
                }
            }
        }
        Ok(())
    }

    /// The element type of the scalar `id`.
    pub(super) fn dtype(&self, scalars: &Scalars, id: ScalarId) -> Result<DType, String> {
        scalars.types.get(id.0 as usize).copied().ok_or_else(|| format!("there is no scalar {}", id.0))
    }
}

/// The result type of an element-wise operation, by the op table.
fn applied(op: Op, args: impl Iterator<Item = DType>) -> Result<DType, String> {
    let types: Vec<Type> = args.map(|dtype| Type::Tensor(TensorType::new(dtype, []))).collect();
    let result = op.infer(&types.iter().collect::<Vec<_>>(), &Attrs::default(), &DimTable::default());
    match result.map_err(|error| error.to_string())? {
        Type::Tensor(ty) => Ok(ty.dtype),
        other => Err(format!("{op} yields {other}")),
    }
}
