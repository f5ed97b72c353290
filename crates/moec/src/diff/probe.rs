//! Data that brings out differences: ties, negative and saturated scores, zero rows, huge and tiny
//! numbers, and mixtures of them.

use std::collections::{BTreeMap, BTreeSet};

use moec_interp::generate::Rng;
use moec_interp::{Tensor, round_to};
use moec_ir::{DType, Module, Op};

/// How one tensor is filled.
#[derive(Debug, Clone, Copy)]
struct Fill {
    low: f64,
    high: f64,
    /// Whether numbers are whole.
    whole: bool,
    /// How many neighbouring slices along a random axis are equal.
    equal: usize,
    /// Which elements are zero.
    zero: Zero,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zero {
    None,
    /// Every other element, at random.
    Elements,
    /// Every other slice of the first axis, at random.
    Rows,
    All,
}

const PLAIN: Fill = Fill { low: -1.0, high: 1.0, whole: false, equal: 1, zero: Zero::None };

impl Fill {
    fn between(low: f64, high: f64) -> Fill {
        Fill { low, high, ..PLAIN }
    }

    fn times(self, factor: f64) -> Fill {
        Fill { low: self.low * factor, high: self.high * factor, ..self }
    }
}

/// How every tensor of a program is filled.
#[derive(Debug, Clone)]
pub(super) struct Recipe(BTreeMap<String, Fill>);

/// The recipes for a program: which sources decide what is chosen.
pub(super) struct Recipes {
    inputs: Vec<String>,
    /// Weights that reach a choice or its scores.
    scoring: Vec<String>,
    others: Vec<String>,
}

/// Kinds of recipes; those above are mixtures.
const KINDS: usize = 12;

impl Recipes {
    pub(super) fn new(module: &Module) -> Recipes {
        let deciding = deciding(module);
        let (mut scoring, mut others) = (Vec::new(), Vec::new());
        for (id, name, _) in module.weights() {
            if deciding.contains(&id.index()) { &mut scoring } else { &mut others }.push(name.to_owned());
        }
        let inputs = module.inputs().map(|(_, name, _)| name.to_owned()).collect();
        Recipes { inputs, scoring, others }
    }

    /// The recipe of this number. The first is plain random data.
    pub(super) fn recipe(&self, number: usize, random: &mut Rng) -> Recipe {
        let ties = Fill { equal: 2 + random.below(2), ..PLAIN };
        let whole = Fill { whole: true, ..Fill::between(-2.5, 2.5) };
        let [low, deep] = [Fill::between(0.1, 1.0), Fill::between(0.5, 1.0)];
        let steep = random.pick(&[5.0, 20.0, 60.0, 200.0]);
        let (input, scoring, other) = match number % (KINDS + 4) {
            0 => (PLAIN, PLAIN, PLAIN),
            1 => (PLAIN, ties, PLAIN),
            2 => (whole, Fill { equal: 64, ..whole }, PLAIN),
            3 => (low, low.times(-1.0), PLAIN),
            4 => (deep, deep.times(-steep), PLAIN),
            5 => (deep, deep.times(steep), PLAIN),
            6 => (Fill { zero: Zero::Rows, ..PLAIN }, PLAIN, PLAIN),
            7 => (PLAIN.times(random.pick(&[1e-2, 1e-5, 1e-9])), PLAIN, PLAIN),
            8 => (PLAIN.times(random.pick(&[10.0, 100.0, 1e4])), PLAIN, PLAIN),
            9 => (whole, whole, whole),
            10 => {
                let sparse = Fill { zero: Zero::Elements, ..PLAIN };
                (sparse, sparse, sparse)
            }
            11 => (Fill { equal: 64, ..PLAIN }, PLAIN, Fill { equal: 64, ..PLAIN }),
            _ => return self.mixture(random),
        };
        let named =
            |names: &[String], fill: Fill| names.iter().map(|name| (name.clone(), fill)).collect::<Vec<_>>();
        let all = [named(&self.inputs, input), named(&self.scoring, scoring), named(&self.others, other)];
        Recipe(all.into_iter().flatten().collect())
    }

    fn mixture(&self, random: &mut Rng) -> Recipe {
        let mut one = || Fill {
            whole: random.once_in(4),
            equal: random.pick(&[1, 1, 1, 2, 3, 64]),
            zero: random.pick(&[Zero::None, Zero::None, Zero::None, Zero::Elements, Zero::Rows, Zero::All]),
            ..random
                .pick(&[PLAIN, PLAIN, Fill::between(0.1, 1.0), Fill::between(-1.0, -0.1)])
                .times(random.pick(&[1e-4, 0.1, 1.0, 1.0, 1.0, 3.0, 8.0, 40.0]))
        };
        let names = self.inputs.iter().chain(&self.scoring).chain(&self.others);
        Recipe(names.map(|name| (name.clone(), one())).collect())
    }
}

impl Recipe {
    /// Data by this recipe, for a program in which every size is a number.
    pub(super) fn data(&self, module: &Module, random: &mut Rng) -> Option<BTreeMap<String, Tensor>> {
        let mut data = BTreeMap::new();
        for (_, name, ty) in module.inputs().chain(module.weights()) {
            let size = |dim: &moec_ir::Dim| dim.as_const().and_then(|n| usize::try_from(n).ok());
            let shape: Vec<usize> = ty.shape.iter().map(size).collect::<Option<_>>()?;
            let count = shape.iter().product();
            let elements = match ty.dtype {
                DType::U8 => (0..count).map(|_| random.below(256) as f64).collect(),
                DType::Bool => (0..count).map(|_| random.below(2) as f64).collect(),
                DType::I32 => {
                    let below = random.pick(&[1, 2, 4]);
                    (0..count).map(|_| random.below(below) as f64).collect()
                }
                _ => floats(&shape, self.0.get(name).copied().unwrap_or(PLAIN), random),
            };
            let rounded = elements.into_iter().map(|x: f64| round_to(ty.dtype, x)).collect();
            data.insert(name.to_owned(), Tensor::new(ty.dtype, shape, rounded).ok()?);
        }
        Some(data)
    }
}

fn floats(shape: &[usize], fill: Fill, random: &mut Rng) -> Vec<f64> {
    let count: usize = shape.iter().product();
    let mut number = || {
        let number = fill.low + (fill.high - fill.low) * random.unit();
        if fill.whole { number.round() } else { number }
    };
    let mut data: Vec<f64> = (0..count).map(|_| number()).collect();
    let wide: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] > 1).collect();
    if fill.equal > 1 && !wide.is_empty() {
        let axis = random.pick(&wide);
        let inner: usize = shape[axis + 1..].iter().product();
        for at in 0..count {
            let index = at / inner % shape[axis];
            data[at] = data[at - index % fill.equal * inner];
        }
    }
    let row = shape.iter().skip(1).product::<usize>().max(1);
    match fill.zero {
        Zero::None => {}
        Zero::All => data.fill(0.0),
        Zero::Elements => data.iter_mut().filter(|_| random.once_in(2)).for_each(|x| *x = 0.0),
        Zero::Rows => data.chunks_mut(row).filter(|_| random.once_in(2)).for_each(|row| row.fill(0.0)),
    }
    data
}

/// The nodes that reach a choice or the scores of one.
fn deciding(module: &Module) -> BTreeSet<usize> {
    let decides = |op: Op| matches!(op, Op::TopK | Op::Argsort | Op::Argmax | Op::Softmax | Op::Max);
    let mut found = BTreeSet::new();
    for (at, node) in module.nodes.iter().enumerate().rev() {
        if decides(node.op) || found.contains(&at) {
            found.extend(node.args.iter().map(|arg| arg.index()));
        }
    }
    found
}
