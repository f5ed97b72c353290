//! The order in which operations and operands are written, and by which ties between equally good
//! programs go. It rests on what a program computes: not on names, on the order of declarations, on
//! how axes of weights are stored, or on numbers of classes. Only what is symmetric in all that goes
//! by name, so that a program has one text too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use moec_ir::{Attr, Attrs, Dim, DimTable, EinsumSpec, Module, Op, ValueId};

use crate::encode::Choice;
use crate::term::commutative;

/// A hash of a value and of all that it is computed from, the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// What it computes. Inputs count by place, weights by type without the order of their axes.
    form: u128,
    /// The same with all names and axes.
    full: u128,
}

/// What of a program outlives renaming: places of inputs and of symbols, and values of sizes.
pub(crate) struct Interface {
    dims: DimTable,
    symbols: BTreeMap<Arc<str>, Arc<str>>,
    inputs: BTreeMap<Arc<str>, usize>,
}

/// What an operation adds to the keys of its operands: as it is, and with operands exchanged.
pub(crate) struct Own {
    hashes: [Key; 2],
    commutative: bool,
    /// A transpose of weights, which is the same weights.
    transparent: bool,
}

impl Interface {
    pub(crate) fn new(module: &Module) -> Interface {
        let mut inputs = BTreeMap::new();
        for (at, (_, name, _)) in module.inputs().enumerate() {
            inputs.insert(name.into(), at);
        }
        Interface { dims: module.dims.clone(), symbols: symbols(module), inputs }
    }

    /// What the operation adds; `fixed` says of which operands, and last of whether the result, follows
    /// from weights alone.
    pub(crate) fn own(&self, op: Op, attrs: &Attrs, args_fixed: &[bool], fixed: bool) -> Own {
        let contraction = matches!(op, Op::Einsum | Op::GroupedMatmul | Op::PlacedMatmul);
        let spec = contraction.then(|| EinsumSpec::parse(attrs.str("spec")).ok()).flatten();
        let key = |swapped: bool| {
            let spec = spec.as_ref().map(|spec| if swapped { spec.swapped() } else { spec.clone() });
            let mut form = hash(op.mnemonic().as_bytes());
            let mut full = form;
            for (name, value) in attrs.iter() {
                let spec = spec.as_ref().filter(|_| name == "spec");
                let text = spec.map_or_else(|| value.to_string(), EinsumSpec::to_string);
                full = mix(mix(full, hash(name.as_bytes())), hash(text.as_bytes()));
                let form_text = match (op, name) {
                    (Op::Input, "name") => self.inputs.get(attrs.str("name")).map(usize::to_string),
                    (Op::Weight, "name" | "from") => None,
                    (Op::Weight, "type") => Some(self.unordered(value)),
                    (Op::Const | Op::Literal | Op::Iota, _) => Some(self.text(value)),
                    // Axes of what is made of weights lie as those of the weights.
                    _ if fixed && matches!(name, "axis" | "perm" | "map" | "shape" | "spec") => None,
                    _ => Some(match spec {
                        Some(spec) => self.spec(spec, args_fixed, swapped),
                        None => self.text(value),
                    }),
                };
                if let Some(text) = form_text {
                    form = mix(mix(form, hash(name.as_bytes())), hash(text.as_bytes()));
                }
            }
            Key { form, full }
        };
        let commutative = commutative(op);
        let first = key(false);
        let second = if commutative && spec.is_some() { key(true) } else { first };
        let transparent = op == Op::Transpose && fixed;
        Own { hashes: [first, second], commutative, transparent }
    }

    /// An attribute with sizes as numbers and symbols by place.
    fn text(&self, value: &Attr) -> String {
        let dim = |dim: &Dim| -> Result<Dim, Infallible> {
            Ok(self.dims.resolve(dim).unwrap_or_else(|_| dim.clone()).renamed(&self.symbols))
        };
        match value.map_dims(dim) {
            Ok(value) => value.to_string(),
        }
    }

    /// A type without the order of its axes.
    fn unordered(&self, value: &Attr) -> String {
        let Attr::Type(ty) = value else { return self.text(value) };
        let mut sizes: Vec<String> = ty.shape.iter().map(|dim| self.text(&dim.into())).collect();
        sizes.sort();
        format!("{} {}", ty.dtype, sizes.join(" "))
    }

    /// A contraction with the axes of weights in the order in which they are read.
    fn spec(&self, spec: &EinsumSpec, args_fixed: &[bool], swapped: bool) -> String {
        let [.., left, right] = *args_fixed else { return spec.to_string() };
        let (left, right) = if swapped { (right, left) } else { (left, right) };
        let ordered = |own: &[u8], other: &[u8]| -> Vec<u8> {
            reading_order(own, other, &spec.out).into_iter().map(|at| own[at]).collect()
        };
        let mut spec = spec.clone();
        if right {
            spec.rhs = ordered(&spec.rhs, &spec.lhs);
        } else if left {
            spec.lhs = ordered(&spec.lhs, &spec.rhs);
        }
        spec.canonical().to_string()
    }
}

/// Names by place for symbols without a value: as inputs have them first; then others, as declared.
pub(crate) fn symbols(module: &Module) -> BTreeMap<Arc<str>, Arc<str>> {
    let of_inputs = module.inputs().flat_map(|(_, _, ty)| ty.shape.iter().flat_map(|dim| dim.symbols()));
    let declared = module.dims.decls().iter().map(|decl| &decl.name);
    let mut names: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    for symbol in of_inputs.chain(declared).filter(|name| !module.dims.sized().contains_key(*name)) {
        let next = names.len();
        names.entry(symbol.clone()).or_insert_with(|| format!("d{next}").into());
    }
    names
}

/// The axes of an operand of a contraction in the order in which it is best read: those of neither
/// the other operand nor the result (of a grouped product: the experts), those that all three have,
/// those of the result, those that are summed over.
pub(crate) fn reading_order(own: &[u8], other: &[u8], out: &[u8]) -> Vec<usize> {
    let place = |letters: &[u8], letter: u8| letters.iter().position(|l| *l == letter);
    let mut axes: Vec<usize> = (0..own.len()).collect();
    axes.sort_by_key(|&axis| match (place(other, own[axis]), place(out, own[axis])) {
        (None, None) => (0, axis),
        (Some(_), Some(at)) => (1, at),
        (None, Some(at)) => (2, at),
        (Some(at), None) => (3, at),
    });
    axes
}

impl Own {
    /// The key of the operation on operands with these keys.
    pub(crate) fn key(&self, args: impl Iterator<Item = Key> + Clone) -> Key {
        let fold = |own: Key, args: &mut dyn Iterator<Item = Key>| {
            args.fold(own, |key, arg| Key { form: mix(key.form, arg.form), full: mix(key.full, arg.full) })
        };
        if self.commutative {
            let mut pair: Vec<Key> = args.collect();
            let swap = pair[1] < pair[0];
            pair.sort();
            return fold(self.hashes[usize::from(swap)], &mut pair.into_iter());
        }
        let key = fold(self.hashes[0], &mut args.clone());
        match args.clone().next() {
            Some(arg) if self.transparent => Key { form: arg.form, ..key },
            _ => key,
        }
    }

    /// Orders operations before anything is known of their operands.
    pub(crate) fn first(&self) -> u128 {
        self.hashes[0].form
    }
}

/// The keys of all values of a module.
pub(crate) fn keys(module: &Module) -> Vec<Key> {
    let interface = Interface::new(module);
    let (mut keys, mut fixed): (Vec<Key>, Vec<bool>) = (Vec::new(), Vec::new());
    for node in &module.nodes {
        let args_fixed: Vec<bool> = node.args.iter().map(|arg| fixed[arg.index()]).collect();
        fixed.push(node.op != Op::Input && args_fixed.iter().all(|fixed| *fixed));
        let own = interface.own(node.op, &node.attrs, &args_fixed, fixed[keys.len()]);
        let of = |arg: &ValueId| keys[arg.index()];
        keys.push(own.key(node.args.iter().map(of)));
    }
    keys
}

/// What operands are ordered by: weights last, then what took more steps first, then by form; by name
/// where that is symmetric.
type Rank = (bool, Reverse<u32>, u128, u128);

/// The order of operands of a program.
pub(crate) struct Order {
    ranks: Vec<Option<Rank>>,
}

impl Order {
    /// The order for `choices` as far as `outputs` need them.
    pub(crate) fn new(source: &Module, choices: &[Choice], outputs: &[usize]) -> Order {
        let interface = Interface::new(source);
        let sorted = operands_first(choices, outputs);
        let mut keys: Vec<Option<Key>> = vec![None; choices.len()];
        let mut ranks: Vec<Option<Rank>> = vec![None; choices.len()];
        for &at in &sorted {
            let Choice { op, args, attrs } = &choices[at];
            let args_fixed: Vec<bool> =
                args.iter().map(|&arg| ranks[arg].is_some_and(|rank| rank.0)).collect();
            let fixed = *op != Op::Input && args_fixed.iter().all(|fixed| *fixed);
            let own = interface.own(*op, attrs, &args_fixed, fixed);
            let below: Vec<Key> = args.iter().filter_map(|&arg| keys[arg]).collect();
            let key = own.key(below.into_iter());
            let steps = args.iter().filter_map(|&arg| ranks[arg]).map(|rank| rank.1.0 + 1).max();
            let steps = if fixed { 0 } else { steps.unwrap_or(0) };
            keys[at] = Some(key);
            ranks[at] = Some((fixed, Reverse(steps), key.form, key.full));
        }
        let mut order = Order { ranks };
        order.tell_apart(choices, &sorted, outputs);
        order
    }

    /// Whether the operands of this commutative operation are to be exchanged.
    pub(crate) fn swaps(&self, choice: &Choice) -> bool {
        commutative(choice.op) && self.ranks[choice.args[1]] < self.ranks[choice.args[0]]
    }

    /// What looks alike from below may be used differently. Forms take in what uses a value, until
    /// no operands look alike; where that does not help they are symmetric, and the name decides once.
    fn tell_apart(&mut self, choices: &[Choice], sorted: &[usize], outputs: &[usize]) {
        let looks = |rank: &Option<Rank>| rank.map(|(fixed, steps, form, _)| (fixed, steps, form));
        let alike = |order: &Order| {
            let pairs = sorted.iter().filter(|&&at| commutative(choices[at].op)).map(|&at| &choices[at].args);
            let mut alike = pairs.filter(|args| {
                args[0] != args[1] && looks(&order.ranks[args[0]]) == looks(&order.ranks[args[1]])
            });
            alike
                .next()
                .map(|args| if order.ranks[args[0]] <= order.ranks[args[1]] { args[0] } else { args[1] })
        };
        let distinct =
            |order: &Order| sorted.iter().map(|&at| looks(&order.ranks[at])).collect::<BTreeSet<_>>().len();
        while let Some(first) = alike(self) {
            let before = distinct(self);
            self.look_at_users(choices, sorted, outputs);
            if distinct(self) == before
                && let Some(rank) = &mut self.ranks[first]
            {
                rank.2 = mix(rank.2, 1);
            }
        }
    }

    /// Each form takes in the forms of all that uses the value, and then those of its operands.
    fn look_at_users(&mut self, choices: &[Choice], sorted: &[usize], outputs: &[usize]) {
        let form = |order: &Order, at: usize| order.ranks[at].map_or(0, |rank| rank.2);
        let mut uses: Vec<Vec<u128>> = vec![Vec::new(); choices.len()];
        for (place, &output) in outputs.iter().enumerate() {
            uses[output].push(place as u128);
        }
        let mut seen = vec![0; choices.len()];
        for &at in sorted.iter().rev() {
            uses[at].sort_unstable();
            seen[at] = uses[at].iter().fold(form(self, at), |hash, user| mix(hash, *user));
            for (place, &arg) in choices[at].args.iter().enumerate() {
                let place = if commutative(choices[at].op) { 0 } else { place };
                uses[arg].push(mix(seen[at], place as u128));
            }
        }
        for &at in sorted {
            let mut args: Vec<u128> = choices[at].args.iter().map(|&arg| form(self, arg)).collect();
            if commutative(choices[at].op) {
                args.sort_unstable();
            }
            if let Some(rank) = &mut self.ranks[at] {
                rank.2 = args.into_iter().fold(seen[at], mix);
            }
        }
    }
}

/// The choices that `outputs` need, operands first; without recursion, since chains may be long.
fn operands_first(choices: &[Choice], outputs: &[usize]) -> Vec<usize> {
    let mut sorted = Vec::new();
    let mut done = vec![false; choices.len()];
    let mut stack: Vec<usize> = outputs.iter().rev().copied().collect();
    while let Some(&at) = stack.last() {
        match choices[at].args.iter().find(|&&arg| !done[arg]) {
            Some(&next) if !done[at] => stack.push(next),
            _ => {
                if !std::mem::replace(&mut done[at], true) {
                    sorted.push(at);
                }
                stack.pop();
            }
        }
    }
    sorted
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62272e07bb014262b821756295c58d, |hash, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013b)
    })
}

/// One hash of two, in this order.
fn mix(a: u128, b: u128) -> u128 {
    let mixed = (a.rotate_left(41) ^ b).wrapping_mul(0x0000000001000000000000000000013b);
    mixed ^ (mixed >> 67)
}
