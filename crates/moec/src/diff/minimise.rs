//! From a counterexample to a small one: smaller sizes, then fewer numbers that are not zero, then
//! rounder ones. Each step is kept if the difference stays believed and easy to see.

use std::sync::Arc;

use moec_interp::generate::Rng;
use moec_interp::{Tensor, round_to};
use moec_ir::DType;

use super::Counterexample;
use super::probe::Recipe;
use super::search::{Judge, Search};
use super::trial::{Apart, Data, Trial};

/// Seeds tried at each smaller size.
const SEEDS: u64 = 10;

/// Passes over the sizes, and over the numbers.
const PASSES: usize = 3;

/// Changes of numbers that may be tried.
const CHANGES: usize = 8000;

/// A difference that is easy to see, relative to the output's scale.
pub(super) const VISIBLE: f64 = 0.05;

pub(super) fn minimise<'a>(
    search: &Search<'a>,
    found: &Trial<'a>,
    recipe: &Recipe,
    data: Data,
    apart: Apart,
    judge: Judge<'a>,
) -> Option<Counterexample> {
    let visible = VISIBLE.min(apart.relative / 10.0);
    let judge = |trial: &Trial<'a>, data: &Data| judge(trial, data).filter(|apart| apart.relative >= visible);
    let mut smaller: Option<(Trial<'a>, Data)> = None;
    for _ in 0..PASSES {
        let mut changed = false;
        for group in search.space.groups() {
            let sizes = smaller.as_ref().map_or(&found.sizes, |(trial, _)| &trial.sizes).clone();
            let next = (1..sizes[&group[0]]).find_map(|value| {
                let (sizes, module) = search.space.changed(&sizes, &group, value)?;
                let trial = Trial { joint: search.joint, module, sizes };
                let data = (0..SEEDS).find_map(|seed| {
                    let data = recipe.data(&trial.module, &mut Rng::new(seed))?;
                    judge(&trial, &data).map(|_| data)
                });
                data.map(|data| (trial, data))
            });
            changed |= next.is_some();
            smaller = next.or(smaller);
        }
        if !changed {
            break;
        }
    }
    let (mut trial, mut data) = match smaller {
        Some((trial, data)) => (trial, data),
        None => (search.trial(&found.sizes)?, data),
    };
    let holds = |trial: &Trial<'a>, data: &Data| judge(trial, data).is_some();
    crop(search, &mut trial, &mut data, holds);
    round(&mut data, |data| holds(&trial, data));
    // What has become zero may be left out.
    if crop(search, &mut trial, &mut data, holds) {
        round(&mut data, |data| holds(&trial, data));
    }
    let apart = judge(&trial, &data)?;
    trial.example(&data, apart)
}

/// Leaves out one index of a dim after the other while `holds`; whether any was.
fn crop<'a>(
    search: &Search<'a>,
    trial: &mut Trial<'a>,
    data: &mut Data,
    holds: impl Fn(&Trial<'a>, &Data) -> bool,
) -> bool {
    let mut changed = false;
    for group in search.space.groups() {
        let mut index = trial.sizes[&group[0]];
        while index > 0 && trial.sizes[&group[0]] > 1 {
            index -= 1;
            let mut sizes = trial.sizes.clone();
            sizes.extend(group.iter().map(|name| (name.clone(), trial.sizes[name] - 1)));
            let Some(next) = search.trial(&sizes) else { break };
            for outer in [true, false] {
                let Some(smaller) = without(trial, data, &group, index as usize, outer) else { continue };
                if holds(&next, &smaller) {
                    (*trial, *data) = (next, smaller);
                    changed = true;
                    break;
                }
            }
        }
    }
    changed
}

/// The data without one index of the dims of `group`. On an axis that is a product, the dim is the
/// outer factor or the inner one.
fn without(trial: &Trial<'_>, data: &Data, group: &[Arc<str>], index: usize, outer: bool) -> Option<Data> {
    let module = &trial.joint.module;
    let mut smaller = data.clone();
    for (_, name, ty) in module.inputs().chain(module.weights()) {
        let tensor = smaller.get_mut(name)?;
        for (axis, dim) in ty.shape.iter().enumerate() {
            let mut named = dim.symbols().iter().filter(|symbol| group.contains(symbol));
            let Some(symbol) = named.next() else { continue };
            if named.next().is_some() {
                return None;
            }
            let size = usize::try_from(trial.sizes[symbol]).ok()?;
            let rest = tensor.shape[axis] / size;
            let inner: usize = tensor.shape[axis + 1..].iter().product();
            let dropped = |at: usize| {
                let place = at / inner % (size * rest);
                if outer { place / rest == index } else { place % size == index }
            };
            let kept = (0..tensor.data.len()).filter(|&at| !dropped(at)).map(|at| tensor.data[at]);
            tensor.data = kept.collect();
            tensor.shape[axis] = (size - 1) * rest;
        }
    }
    Some(smaller)
}

/// Makes numbers zero or round while `holds`.
fn round(data: &mut Data, holds: impl Fn(&Data) -> bool) {
    let names: Vec<String> = data.keys().cloned().collect();
    let mut left = CHANGES;
    let mut accept = |data: &mut Data, name: &str, tensor: Tensor| -> bool {
        if left == 0 || data.get(name) == Some(&tensor) {
            return false;
        }
        left -= 1;
        let Some(old) = data.insert(name.to_owned(), tensor) else { return false };
        let holds = holds(data);
        if !holds {
            data.insert(name.to_owned(), old);
        }
        holds
    };
    for name in &names {
        for number in [0.0, 1.0] {
            let tensor = Tensor { data: vec![number; data[name].data.len()], ..data[name].clone() };
            if fits(tensor.dtype, number) && accept(data, name, tensor) {
                break;
            }
        }
    }
    for _ in 0..PASSES {
        let mut changed = false;
        for name in &names {
            for at in 0..data[name].data.len() {
                let old = data[name].data[at];
                for number in rounder(old) {
                    let mut tensor = data[name].clone();
                    tensor.data[at] = round_to(tensor.dtype, number);
                    if fits(tensor.dtype, number) && accept(data, name, tensor) {
                        changed = true;
                        break;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
}

/// Whether a number of this kind may stand in a tensor: integers and booleans only ever become 0.
fn fits(dtype: DType, number: f64) -> bool {
    matches!(dtype, DType::F32 | DType::Bf16 | DType::F16) || number == 0.0
}

/// Numbers that are easier to read than `old`, the easiest first.
fn rounder(old: f64) -> Vec<f64> {
    let digits = |count: i32| {
        let unit = 10f64.powi(old.abs().log10().floor() as i32 + 1 - count);
        let number = (old / unit).round() * unit;
        // The nearest to what it says: 0.3, not 0.30000000000000004.
        format!("{number:.12e}").parse().unwrap_or(number)
    };
    let easy = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0];
    let mut numbers: Vec<f64> = easy.into_iter().take_while(|&number| number != old).collect();
    let is_easy = numbers.len() < easy.len();
    if !is_easy && old.is_finite() {
        let short = [digits(1), digits(2)];
        numbers.extend(short.into_iter().take_while(|&number| number != old));
    }
    numbers
}
