//! Both programs on one input, and which differences to believe.
//!
//! The interpreter computes in f64, so two programs that are equal in real numbers agree to about
//! sixteen digits, unless a choice (`top_k`, a comparison) hangs on the last of them. A difference is
//! believed when
//!
//! - it is above the tolerance relative to the output's scale, and above what rounding can do to the
//!   largest numbers that were added up on the way;
//! - it stays when every number is nudged, equal numbers by equal amounts. A choice that hung on
//!   rounding falls the other way in some of these; a tie between equal numbers stays a tie;
//! - where some choice was close, it also stays when all numbers shrink. Scores that are equal only
//!   because they saturated come apart then.

use std::collections::BTreeMap;

use moec_interp::generate::Rng;
use moec_interp::{Tensor, Value, round_to, run, run_all};
use moec_ir::{DType, Module, Op, Sizes};
use moec_opt::Joint;

use super::{Counterexample, paired};
use crate::validate::allowed;

/// Numbers nearer than this, relative to their size, are a close choice.
const CLOSE: f64 = 1e-9;

/// What a sum may be off by, relative to the largest number in it.
const ROUNDING: f64 = 1e-13;

/// Operations between a choice and the masks of its scores.
const MASKS: usize = 8;

/// Data by name.
pub(super) type Data = BTreeMap<String, Tensor>;

/// Both programs at sizes that are all numbers.
pub(super) struct Trial<'a> {
    pub(super) joint: &'a Joint,
    pub(super) module: Module,
    pub(super) sizes: Sizes,
}

/// How two outputs differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Apart {
    /// Which output.
    output: usize,
    /// The first element.
    element: usize,
    /// The largest difference, relative to the output's scale; infinite where one program has no
    /// number.
    pub(super) relative: f64,
}

impl Trial<'_> {
    /// How the outputs differ, finite differences first. None if they agree, or if one of the
    /// programs refuses the data.
    pub(super) fn apart(&self, data: &Data, noise: f64) -> Option<Apart> {
        let outputs = run(&self.module, &Sizes::new(), data).ok()?;
        let pairs = outputs.len() / 2;
        let apart = |i: usize| {
            let (a, b) = (&outputs[i].1.data, &outputs[i + pairs].1.data);
            difference(i, a, b, allowed(&self.module), noise)
        };
        let found: Vec<Apart> = (0..pairs).flat_map(apart).collect();
        found.iter().find(|apart| apart.relative.is_finite()).or(found.first()).copied()
    }

    /// A finite difference that is more than rounding.
    pub(super) fn believed(&self, data: &Data) -> Option<Apart> {
        self.confirmed(data, f64::is_finite)
    }

    /// A number on one side and none on the other, and not because of rounding.
    pub(super) fn undefined(&self, data: &Data) -> Option<Apart> {
        self.confirmed(data, f64::is_infinite)
    }

    fn confirmed(&self, data: &Data, kind: fn(f64) -> bool) -> Option<Apart> {
        let wanted = |apart: &Apart| kind(apart.relative);
        self.apart(data, 0.0).filter(wanted)?;
        let (noise, close) = self.examine(data)?;
        let apart = self.apart(data, noise).filter(wanted)?;
        let stays = |strength: f64, scale: f64, seed: u64| {
            let nudged = nudged(data, strength, scale, seed);
            self.apart(&nudged, noise).is_some_and(|apart| wanted(&apart))
        };
        let nudges = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-2];
        let still = nudges.iter().zip(0..).all(|(&strength, seed)| stays(strength, 1.0, seed));
        let floats = data.values().filter(|tensor| is_float(tensor.dtype)).flat_map(|tensor| &tensor.data);
        let largest = floats.fold(1.0, |most: f64, x| most.max(x.abs()));
        let scales = [0.5, 0.1, 0.1 / largest];
        let shrunk = !close || scales.iter().zip(10..).all(|(&scale, seed)| stays(1e-2, scale, seed));
        (still && shrunk).then_some(apart)
    }

    /// What rounding may have done to a sum, and whether a choice was close.
    fn examine(&self, data: &Data) -> Option<(f64, bool)> {
        let values = run_all(&self.module, &Sizes::new(), data).ok()?;
        let tensor = |at: usize| values[at].tensor().filter(|tensor| is_float(tensor.dtype));
        let mut largest: f64 = 0.0;
        let mut close = false;
        for (at, node) in self.module.nodes.iter().enumerate() {
            let args: Vec<&Tensor> = node.args.iter().filter_map(|arg| tensor(arg.index())).collect();
            if adds(node.op) {
                let finite = args.iter().copied().chain(tensor(at)).flat_map(|tensor| &tensor.data);
                largest = finite.filter(|x| x.is_finite()).fold(largest, |most, x| most.max(x.abs()));
            }
            close |= match (node.op, &args[..]) {
                (Op::TopK, [scores]) => {
                    let taken = values[at].ty().route().and_then(|route| route.k.as_const());
                    let masks = masks(&self.module, node.args[0].index(), MASKS);
                    close_order(scores, node.attrs.index("axis"), taken, node.attrs.bool("largest"), &masks)
                }
                (Op::Argsort, [scores]) => close_order(scores, node.attrs.index("axis"), None, true, &[]),
                (Op::Argmax, [scores]) => close_order(scores, node.attrs.index("axis"), Some(1), true, &[]),
                (Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge, [a, b]) => {
                    a.data.iter().zip(&b.data).any(|(&a, &b)| near(a, b))
                }
                (Op::Cast, [_]) => matches!(values[at], Value::Tensor(ref t) if !is_float(t.dtype)),
                _ => false,
            };
        }
        Some((largest * ROUNDING, close))
    }

    /// The counterexample that this data is.
    pub(super) fn example(&self, data: &Data, apart: Apart) -> Option<Counterexample> {
        let outputs = paired(self.joint, run(&self.module, &Sizes::new(), data).ok()?);
        let mut rest = apart.element;
        let mut index = Vec::new();
        for &size in outputs[apart.output].first.shape.iter().rev() {
            index.push(rest % size.max(1));
            rest /= size.max(1);
        }
        index.reverse();
        Some(Counterexample {
            sizes: self.sizes.clone(),
            data: data.clone(),
            outputs,
            output: apart.output,
            index,
        })
    }
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::Bf16 | DType::F16)
}

/// Whether the operation can cancel, so that rounding of large numbers shows in small ones.
fn adds(op: Op) -> bool {
    use Op::*;
    matches!(op, Add | Sub | Sum | Mean | Cumsum | Einsum | GroupedMatmul | Combine | ScatterAdd)
}

/// The first element of each kind in which two outputs differ, and how far they are apart.
fn difference(output: usize, a: &[f64], b: &[f64], allowed: f64, noise: f64) -> Vec<Apart> {
    let scale = a.iter().chain(b).filter(|x| x.is_finite()).fold(0.0f64, |most, x| most.max(x.abs()));
    let mut finite: Option<Apart> = None;
    let mut undefined: Option<Apart> = None;
    for (element, (&a, &b)) in a.iter().zip(b).enumerate() {
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        if !(a.is_finite() && b.is_finite()) {
            undefined.get_or_insert(Apart { output, element, relative: f64::INFINITY });
            continue;
        }
        let relative = (a - b).abs() / scale;
        if relative > allowed && (a - b).abs() > noise {
            let found = finite.get_or_insert(Apart { output, element, relative });
            found.relative = found.relative.max(relative);
        }
    }
    finite.into_iter().chain(undefined).collect()
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= CLOSE * a.abs().max(b.abs())
}

/// The numbers that masks put among the elements of a value: those are equal without any rounding.
fn masks(module: &Module, value: usize, depth: usize) -> Vec<f64> {
    let node = &module.nodes[value];
    let args = match node.op {
        Op::Const => return vec![node.attrs.number("value")],
        Op::Reshape | Op::Transpose | Op::Broadcast | Op::Slice if depth > 0 => &node.args[..1],
        Op::Select if depth > 0 => &node.args[1..],
        _ => return Vec::new(),
    };
    args.iter().flat_map(|arg| masks(module, arg.index(), depth - 1)).collect()
}

/// Whether two neighbours are close in the order of a lane, among the first `taken` and the next, other
/// than because both are one of `masks`.
fn close_order(scores: &Tensor, axis: usize, taken: Option<u64>, largest: bool, masks: &[f64]) -> bool {
    let size = scores.shape[axis];
    let inner: usize = scores.shape[axis + 1..].iter().product();
    let taken = taken.map_or(size, |taken| usize::try_from(taken).unwrap_or(size));
    let close = |block: &[f64], lane: usize| {
        let mut lane: Vec<f64> = block.iter().skip(lane).step_by(inner).copied().collect();
        lane.sort_by(f64::total_cmp);
        if largest {
            lane.reverse();
        }
        let masked = |pair: &[f64]| pair[0] == pair[1] && masks.contains(&pair[0]);
        lane.windows(2).take(taken).any(|pair| near(pair[0], pair[1]) && !masked(pair))
    };
    let block = (size * inner).max(1);
    scores.data.chunks(block).any(|block| (0..inner).any(|lane| close(block, lane)))
}

/// The data with every number moved by up to `strength` of it, equal numbers of a tensor by equal
/// amounts, and then scaled.
fn nudged(data: &Data, strength: f64, scale: f64, seed: u64) -> Data {
    let mut nudged = data.clone();
    for (at, tensor) in nudged.values_mut().enumerate().filter(|(_, tensor)| is_float(tensor.dtype)) {
        for x in &mut tensor.data {
            let key = x.to_bits() ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((at as u64) << 56);
            let unit = Rng::new(key).unit() * 2.0 - 1.0;
            *x = round_to(tensor.dtype, *x * (1.0 + strength * unit) * scale);
        }
    }
    nudged
}
