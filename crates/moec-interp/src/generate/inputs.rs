//! Data for generated programs.

use std::collections::BTreeMap;

use moec_ir::{DType, Module, Sizes};

use super::rng::Rng;
use crate::{InterpError, Tensor, round_to, value};

/// Random data for the inputs and weights of `module`, by name. What a name starts with decides:
/// `belowN_` integers below N (else `i32` is 0 and `u8` 112 to 143, moderate if it is an exponent), `scores_` numbers in -2..2 that are all well
/// apart, everything else numbers with a full mantissa in -1..1.
pub fn inputs(module: &Module, sizes: &Sizes, seed: u64) -> Result<BTreeMap<String, Tensor>, InterpError> {
    let sizes = module.dims.bind(sizes)?;
    let mut data = BTreeMap::new();
    for (i, (_, name, ty)) in module.inputs().chain(module.weights()).enumerate() {
        let mut rng = Rng::new(seed.wrapping_add((i as u64) << 32));
        let mut shape = Vec::new();
        for dim in &ty.shape {
            shape.push(usize::try_from(dim.eval(&sizes)?).unwrap_or(usize::MAX));
        }
        let count = value::elements(&shape)?;
        let mut elements = value::room(&shape)?;
        match ty.dtype {
            DType::Bool => elements.extend((0..count).map(|_| rng.below(2) as f64)),
            DType::I32 => elements.extend((0..count).map(|_| rng.below(limit(name).unwrap_or(1)) as f64)),
            DType::U8 => match limit(name) {
                Some(limit) => elements.extend((0..count).map(|_| rng.below(limit) as f64)),
                None => elements.extend((0..count).map(|_| (112 + rng.below(32)) as f64)),
            },
            _ if name.starts_with("scores") => {
                let step = 4.0 / count.max(1) as f64;
                elements.extend((0..count).map(|i| (i as f64 + 0.5 * rng.unit()) * step - 2.0));
                rng.shuffle(&mut elements);
            }
            _ => elements.extend((0..count).map(|_| rng.unit() * 2.0 - 1.0)),
        }
        elements.iter_mut().for_each(|x| *x = round_to(ty.dtype, *x));
        data.insert(name.to_string(), Tensor::new(ty.dtype, shape, elements)?);
    }
    Ok(data)
}

/// N of a name that starts with `belowN_`.
fn limit(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("below").and_then(|rest| rest.split('_').next());
    digits.and_then(|digits| digits.parse().ok())
}
