//! Sizes at which two programs can be compared. Dims that are declared equal stay equal. What is true
//! of two programs at small sizes should be true at the declared ones, so only such dims move as both
//! programs speak of by name:
//!
//! - a large dim moves unless a number in one of the programs seems to be made of it (`x / 4096`);
//! - a small one (a number of chosen experts, of groups) moves only if both programs use all symbols of
//!   that size, as one of them may be written for it alone (`maximum(a, b)` for a `top_k` of two), and
//!   only after the declared value was tried;
//! - 0 and 1 stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moec_interp::generate::Rng;
use moec_ir::{Attr, DimKind, Module, Number, Op, Sizes};
use moec_opt::Joint;

use crate::shrink::{BASES, KEPT, runtime_sizes, small, work};

/// Floating-point operations that one run of both programs may take.
const WORK: f64 = 2e6;

/// A number in a program above this is not taken for a limit that a run-time dim may exceed.
const MOST_COUNT: f64 = 500.0;

/// What sizes two programs may have.
pub(super) struct Space<'a> {
    module: &'a Module,
    runtime: Vec<Arc<str>>,
    /// Values of run-time dims: a few, and some above each number in the programs, which may be a limit.
    counts: Vec<u64>,
    /// The symbols of each declared size that may move, ascending.
    large: Vec<Vec<Arc<str>>>,
    small: Vec<Vec<Arc<str>>>,
}

impl<'a> Space<'a> {
    pub(super) fn new(joint: &'a Joint) -> Space<'a> {
        let module = &joint.module;
        let [first, second] = sides(joint);
        let mut classes: BTreeMap<u64, Vec<Arc<str>>> = BTreeMap::new();
        for (name, &value) in module.dims.sized() {
            classes.entry(value).or_default().push(name.clone());
        }
        // What stands for a size as a number in one program only may stand for it by name in the other.
        let values: Vec<u64> = classes.keys().copied().collect();
        let hinted = first.numbers.symmetric_difference(&second.numbers);
        let fixed: BTreeSet<u64> = hinted.flat_map(|number| sizes_in(number.get(), &values)).collect();
        let (mut large, mut small) = (Vec::new(), Vec::new());
        for (value, symbols) in classes {
            let both = |name: &Arc<str>| first.symbols.contains(name) && second.symbols.contains(name);
            if value < 2 || fixed.contains(&value) {
                continue;
            }
            if value > KEPT {
                large.push(symbols);
            } else if symbols.iter().all(both) {
                small.push(symbols);
            }
        }
        let open = module.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime);
        let whole = first.numbers.union(&second.numbers).map(|number| number.get());
        let limits = whole.filter(|x| x.fract() == 0.0 && (2.0..=MOST_COUNT).contains(x));
        let counts = [1, 2, 3, 4, 6, 9, 14, 20].into_iter().chain(limits.map(|x| x as u64 + 4)).collect();
        Space { module, runtime: open.map(|decl| decl.name.clone()).collect(), counts, large, small }
    }

    /// Symbols that have one value and may move, those of run-time dims first.
    pub(super) fn groups(&self) -> Vec<Vec<Arc<str>>> {
        let runtime = self.runtime.iter().map(|name| vec![name.clone()]);
        runtime.chain(self.large.iter().rev().cloned()).chain(self.small.iter().rev().cloned()).collect()
    }

    /// The program at these sizes, if they are possible and not too large.
    pub(super) fn at(&self, sizes: &Sizes) -> Option<Module> {
        let module = self.module.instantiate(sizes).ok()?;
        (work(&module, &Sizes::new()) <= WORK).then_some(module)
    }

    /// The sizes to begin with: those declared, but that large ones are made small.
    pub(super) fn start(&self) -> Option<Sizes> {
        let declared = [self.module.dims.sized().clone(), runtime_sizes(self.module)].into_iter().flatten();
        let declared: Sizes = declared.collect();
        let movable = |name: &Arc<str>| self.large.iter().flatten().any(|large| large == name);
        let shrunk = BASES.map(|base| {
            let mut sizes = declared.clone();
            sizes.extend(small(self.module, base).into_iter().filter(|(name, _)| movable(name)));
            sizes
        });
        let mut one_by_one = declared.clone();
        for group in self.large.iter().rev() {
            let possible = |sizes: &Sizes| self.module.instantiate(sizes).is_ok();
            let next = (2..=2 * KEPT).find_map(|value| self.moved(&one_by_one, group, value, possible));
            one_by_one = next.unwrap_or(one_by_one);
        }
        shrunk.into_iter().chain([one_by_one, declared]).find(|sizes| self.at(sizes).is_some())
    }

    /// `sizes` with one group at another value. Where that is not possible, another group changes by
    /// the same factor, as experts do with their groups.
    pub(super) fn changed(&self, sizes: &Sizes, group: &[Arc<str>], value: u64) -> Option<(Sizes, Module)> {
        let sizes = self.moved(sizes, group, value, |sizes| self.at(sizes).is_some())?;
        let module = self.at(&sizes)?;
        Some((sizes, module))
    }

    fn moved(
        &self,
        sizes: &Sizes,
        group: &[Arc<str>],
        value: u64,
        possible: impl Fn(&Sizes) -> bool,
    ) -> Option<Sizes> {
        let old = sizes.get(group.first()?).copied().filter(|&old| old != value && old > 0)?;
        let set = |sizes: &Sizes, group: &[Arc<str>], value: u64| {
            let mut sizes = sizes.clone();
            sizes.extend(group.iter().map(|name| (name.clone(), value)));
            sizes
        };
        let alone = set(sizes, group, value);
        let others = self.large.iter().chain(&self.small).filter(|other| other[0] != group[0]);
        let together = others.filter_map(|other| {
            let scaled = sizes[&other[0]].checked_mul(value)?;
            (scaled >= old && scaled.is_multiple_of(old)).then(|| set(&alone, other, scaled / old))
        });
        std::iter::once(alone.clone()).chain(together).find(possible)
    }

    /// Other sizes near those given; of the small declared ones only if `edges` are wanted.
    pub(super) fn random(&self, start: &Sizes, edges: bool, random: &mut Rng) -> Sizes {
        let mut sizes = start.clone();
        let mut groups = self.groups();
        random.shuffle(&mut groups);
        for group in groups {
            let value = match (self.runtime.contains(&group[0]), self.small.contains(&group)) {
                (true, _) => random.pick(&self.counts),
                (false, true) if !edges => continue,
                (false, true) => random.pick(&[1, 2, 3, 4, 6, sizes[&group[0]]]),
                (false, false) => random.pick(&[1, 2, 3, 4, 5, 6, sizes[&group[0]]]),
            };
            let possible = |sizes: &Sizes| self.at(sizes).is_some() && (edges || self.keeps_small(sizes));
            sizes = self.moved(&sizes, &group, value, possible).unwrap_or(sizes);
        }
        sizes
    }

    /// Whether the small dims have their declared values.
    fn keeps_small(&self, sizes: &Sizes) -> bool {
        let declared = self.module.dims.sized();
        self.small.iter().flatten().all(|name| sizes.get(name) == declared.get(name))
    }
}

/// What one of the two programs speaks of.
#[derive(Default)]
struct Side {
    symbols: BTreeSet<Arc<str>>,
    numbers: BTreeSet<Number>,
}

fn sides(joint: &Joint) -> [Side; 2] {
    let module = &joint.module;
    let mut sides: [Side; 2] = Default::default();
    for (at, side) in sides.iter_mut().enumerate() {
        let outputs = joint.pairs().map(|(first, second)| if at == 0 { first } else { second });
        let mut stack: Vec<usize> = outputs.map(|output| output.value.index()).collect();
        let mut seen: BTreeSet<usize> = stack.iter().copied().collect();
        while let Some(at) = stack.pop() {
            let node = &module.nodes[at];
            let attrs = node.attrs.iter().flat_map(|(_, attr)| attr.dims());
            let dims = attrs.chain(node.ty.dims());
            side.symbols.extend(dims.flat_map(|dim| dim.symbols().to_vec()));
            for (_, attr) in node.attrs.iter().filter(|_| matches!(node.op, Op::Const | Op::Literal)) {
                match attr {
                    Attr::Number(number) => side.numbers.extend([*number]),
                    Attr::Numbers(numbers) => side.numbers.extend(numbers.iter()),
                    _ => {}
                }
            }
            stack.extend(node.args.iter().map(|arg| arg.index()).filter(|&arg| seen.insert(arg)));
        }
        // Derived symbols come after those they follow from.
        for decl in module.dims.decls().iter().rev() {
            if let DimKind::Derived(expr) = &decl.kind
                && side.symbols.contains(&decl.name)
            {
                side.symbols.extend(expr.symbols());
            }
        }
    }
    sides
}

/// The sizes that a number looks as if it were computed from: itself, a small multiple, the root, or one
/// over one of these; of these ways only the simplest.
fn sizes_in(number: f64, sizes: &[u64]) -> Vec<u64> {
    let same = |x: f64, size: f64| (x - size).abs() <= 1e-6 * size;
    let multiple =
        |x: f64, size: f64| same(x / size, (x / size).round()) && (1.0..=64.0).contains(&(x / size));
    let x = number.abs();
    let ways: [&dyn Fn(f64) -> bool; 3] = [
        &|size| same(x, size) || same(1.0 / x, size),
        &|size| multiple(x, size) || multiple(1.0 / x, size),
        &|size| same(x * x, size) || same(1.0 / (x * x), size),
    ];
    let by = |way: &&dyn Fn(f64) -> bool| -> Vec<u64> {
        sizes.iter().copied().filter(|&size| size > 1 && way(size as f64)).collect()
    };
    ways.iter().map(by).find(|found| !found.is_empty()).unwrap_or_default()
}
