//! Guarantees about each kind of kernel.

use moec_ir::DType;

use crate::{Kernel, Product, ReduceOp, RowKind, ScalarId, Scalars, Store};

use super::{Checked, Checker};

impl Checker<'_> {
    pub(super) fn kernel(&self, kernel: &Kernel) -> Checked {
        match kernel {
            Kernel::Map(k) => {
                self.scalars(&k.scalars, k.shape.len(), 0)?;
                self.stored(&k.out, k.shape.len(), self.dtype(&k.scalars, k.value)?)
            }
            Kernel::Reduce(k) => {
                self.scalars(&k.scalars, k.shape.len() + 1, 0)?;
                let dtype = self.dtype(&k.scalars, k.value)?;
                let wanted: &[DType] = match k.op {
                    ReduceOp::Mean => &[DType::F32],
                    ReduceOp::Any | ReduceOp::All => &[DType::Bool],
                    _ => &[DType::F32, DType::I32],
                };
                one_of(dtype, wanted)?;
                let result = if k.op == ReduceOp::Argmax { DType::I32 } else { dtype };
                self.stored(&k.out, k.shape.len(), result)
            }
            Kernel::Row(k) => {
                self.scalars(&k.scalars, k.shape.len() + 1, 0)?;
                let dtype = self.dtype(&k.scalars, k.value)?;
                one_of(dtype, &[DType::F32, DType::I32])?;
                let results = match k.kind {
                    RowKind::Softmax | RowKind::Cumsum { .. } => vec![dtype],
                    RowKind::Argsort { .. } => vec![DType::I32],
                    RowKind::TopK { .. } => vec![DType::I32, dtype],
                };
                if results.len() != k.out.len() {
                    return Err(format!("{} results, expected {}", k.out.len(), results.len()));
                }
                k.out
                    .iter()
                    .zip(results)
                    .try_for_each(|(out, dtype)| self.stored(out, k.shape.len() + 1, dtype))
            }
            Kernel::ScatterAdd(k) => {
                let axes = k.outer.len() + 1;
                self.scalars(&k.scalars, axes, 0)?;
                let (base, update) = (self.dtype(&k.scalars, k.base)?, self.dtype(&k.scalars, k.update)?);
                one_of(base, &[DType::F32, DType::I32])?;
                one_of(update, &[base])?;
                in_range(&k.scalars, k.index)?;
                self.stored(&k.out, axes, base)
            }
            Kernel::Seat(k) => {
                self.load(&k.index, 2, None)?;
                one_of(self.plan.buffer(k.index.buffer).dtype, &[DType::I32])?;
                self.stored(&k.out, 2, DType::I32)
            }
            Kernel::Group(k) => {
                self.load(&k.index, 2, None)?;
                one_of(self.plan.buffer(k.index.buffer).dtype, &[DType::I32])
            }
            Kernel::Pack(k) => {
                if let Some(parts) = k.parts {
                    one_of(self.plan.buffer(parts).dtype, &[DType::I32])?;
                }
                if k.parts.is_some() && !self.is_mapped(k.source.buffer) {
                    return Err("parts of a weight that is not mapped".into());
                }
                self.load(&k.source, k.groups.len() + k.n.len() + k.k.len(), None)?;
                let dtype = self.plan.buffer(k.source.buffer).dtype;
                one_of(dtype, &[DType::F32, DType::Bf16, DType::F16])?;
                one_of(self.plan.buffer(k.out.buffer).dtype, &[dtype])
            }
            Kernel::Product(k) => self.product(k),
        }
    }

    fn product(&self, k: &Product) -> Checked {
        // Row, column, group, token, pair.
        self.scalars(&k.scalars, 5, k.weights.len())?;
        let row = self.plan.buffer(k.lhs.buffer).dtype;
        one_of(row, &[DType::F32, DType::Bf16])?;
        let Some(first) = k.weights.first() else { return Err("a product without weights".into()) };
        for weight in &k.weights {
            if (&weight.groups, &weight.n, &weight.k) != (&first.groups, &first.n, &first.k) {
                return Err("weights of two shapes".into());
            }
            one_of(self.plan.buffer(weight.buffer).dtype, &[self.plan.buffer(first.buffer).dtype])?;
            if row == DType::Bf16 {
                one_of(self.plan.buffer(weight.buffer).dtype, &[row])?;
            }
            let pairs = row == DType::Bf16;
            if pairs && !(self.plan.panels.pairs && weight.interleave == 2) {
                return Err(format!("rows of {row}, elements by {}", weight.interleave));
            }
            if weight.interleave != first.interleave {
                return Err("weights of two layouts".into());
            }
            if weight.interleave == 2 {
                one_of(self.plan.buffer(weight.buffer).dtype, &[DType::Bf16])?;
                if self.plan.dims.value(&weight.k).is_some_and(|k| !k.is_multiple_of(2)) {
                    return Err(format!("pairs in sums of {}", weight.k));
                }
            }
        }
        if let Some(cold) = &k.cold {
            one_of(self.plan.buffer(cold.slots).dtype, &[DType::I32])?;
            let outs = cold.packs.iter().map(|pack| &pack.out);
            if !outs.eq(&k.weights) || cold.packs.iter().any(|pack| !self.is_mapped(pack.source.buffer)) {
                return Err("cold experts without a packing of each weight".into());
            }
            for pack in &cold.packs {
                self.load(&pack.source, pack.groups.len() + pack.n.len() + pack.k.len(), None)?;
                one_of(self.plan.buffer(pack.source.buffer).dtype, &[self.plan.buffer(first.buffer).dtype])?;
            }
        }
        self.stored(&k.out, 3, self.dtype(&k.scalars, k.value)?)
    }

    fn is_mapped(&self, buffer: crate::BufferId) -> bool {
        matches!(self.plan.buffer(buffer).place, crate::Place::Mapped { .. })
    }

    fn stored(&self, out: &Store, axes: usize, dtype: DType) -> Checked {
        if out.strides.len() != axes {
            return Err(format!("{} strides in a store, expected {axes}", out.strides.len()));
        }
        one_of(self.plan.buffer(out.buffer).dtype, &[dtype])
    }
}

fn one_of(found: DType, wanted: &[DType]) -> Checked {
    if wanted.contains(&found) { Ok(()) } else { Err(format!("{found} where {wanted:?} is expected")) }
}

fn in_range(scalars: &Scalars, id: ScalarId) -> Checked {
    match scalars.get(id) {
        crate::Scalar::InRange(..) => Ok(()),
        _ => Err("an index of updates is not checked".into()),
    }
}
