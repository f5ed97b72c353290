//! Variants of a program, made at random: the same mathematics written in another way.

use std::collections::BTreeMap;
use std::sync::Arc;

use moec_ir::{
    Attr, Attrs, Builder, Dim, DimKind, DimTable, EinsumSpec, Module, Node, Op, TensorType, ValueId,
};

/// In what a variant differs, besides the order in which values are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Differ {
    /// Some values are computed twice; operands are swapped; transposes and reshapes with their inverses
    /// stand anywhere; shares are divided by their sum before they are chosen from, choices are made
    /// among scores instead of shares, chosen shares are divided by their sum before or after they are put
    /// in their places.
    Form,
    /// Everything has another name, and weights are stored with their axes in another order.
    Interface,
    /// In both.
    Both,
}

/// A variant of `module`.
pub(crate) fn variant(module: &Module, seed: u64, differ: Differ) -> Module {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let interface = differ != Differ::Form;
    let names = Names::new(module, interface, &mut dice);
    let dims = names.dims(&module.dims);
    let builder = Builder::new(Module { dims, ..Module::new(&names.of("program", &module.name)) });
    let copies = vec![Vec::new(); module.nodes.len()];
    let form = differ != Differ::Interface;
    let mut writer = Writer { module, names, form, interface, dice, builder, copies };
    let is_input = |&at: &usize| module.nodes[at].op == Op::Input;
    // Places of inputs are part of the interface.
    let (inputs, mut open): (Vec<usize>, Vec<usize>) = (0..module.nodes.len()).partition(is_input);
    for at in inputs {
        writer.node(at);
    }
    while !open.is_empty() {
        let ready: Vec<usize> = (0..open.len()).filter(|&i| writer.is_ready(open[i])).collect();
        let at = open.remove(ready[writer.dice.below(ready.len())]);
        let twice = form && module.nodes[at].op != Op::Weight && writer.dice.one_in(4);
        for _ in 0..1 + usize::from(twice) {
            writer.node(at);
        }
    }
    for output in &module.outputs {
        let name = writer.names.of("output", &output.name);
        writer.builder.output(&name, writer.copies[output.value.index()][0]).unwrap();
    }
    writer.builder.finish()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn permutation(&mut self, rank: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..rank).collect();
        (0..rank).map(|_| left.remove(self.below(left.len()))).collect()
    }
}

/// What things are called in the variant; without new names, as before.
struct Names {
    dims: BTreeMap<Arc<str>, Arc<str>>,
    salt: Option<u64>,
}

impl Names {
    fn new(module: &Module, renamed: bool, dice: &mut Dice) -> Names {
        let mut names = Names { dims: BTreeMap::new(), salt: renamed.then(|| dice.below(1 << 20) as u64) };
        for decl in module.dims.decls() {
            let name = names.of("dim", &decl.name);
            names.dims.insert(decl.name.clone(), name.into());
        }
        names
    }

    /// A name that sorts anywhere.
    fn of(&self, kind: &str, name: &str) -> String {
        let Some(salt) = self.salt else { return name.to_string() };
        let hash = [kind, name]
            .concat()
            .bytes()
            .fold(salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3).rotate_left(29));
        format!("{}{hash:x}", char::from(b'a' + (hash >> 7) as u8 % 26))
    }

    fn dims(&self, table: &DimTable) -> DimTable {
        let mut dims = DimTable::default();
        for decl in table.decls() {
            let kind = match &decl.kind {
                DimKind::Derived(expr) => DimKind::Derived(expr.renamed(&self.dims)),
                other => other.clone(),
            };
            dims.declare(&self.dims[&decl.name], kind).unwrap();
        }
        for fact in table.facts() {
            dims.assume(fact.renamed(&self.dims)).unwrap();
        }
        dims
    }
}

struct Writer<'a> {
    module: &'a Module,
    names: Names,
    form: bool,
    interface: bool,
    dice: Dice,
    builder: Builder,
    /// What each value has become.
    copies: Vec<Vec<ValueId>>,
}

impl Writer<'_> {
    fn is_ready(&self, at: usize) -> bool {
        self.module.nodes[at].args.iter().all(|arg| !self.copies[arg.index()].is_empty())
    }

    /// One of the values that `value` of the module has become.
    fn copy(&mut self, value: ValueId) -> ValueId {
        let of = &self.copies[value.index()];
        of[self.dice.below(of.len())]
    }

    fn node(&mut self, at: usize) {
        let module = self.module;
        let node = &module.nodes[at];
        let mut value = match node.op {
            Op::Weight => self.weight(node),
            Op::Input => self.push(Op::Input, &[], self.renamed_source(node)),
            _ if self.form => self.operation(at, node),
            _ => self.same(node),
        };
        if self.form && self.dice.one_in(5) {
            value = self.there_and_back(value);
        }
        self.copies[at].push(value);
    }

    fn push(&mut self, op: Op, args: &[ValueId], attrs: Attrs) -> ValueId {
        self.builder.push(op, args, attrs).unwrap()
    }

    fn op<const N: usize>(&mut self, op: Op, args: &[ValueId], attrs: [(&'static str, Attr); N]) -> ValueId {
        self.push(op, args, Attrs::new(attrs))
    }

    fn renamed_source(&self, node: &Node) -> Attrs {
        let attrs = node.attrs.renamed(&self.names.dims);
        Attrs::new(attrs.iter().map(|(key, value)| match key {
            "name" | "from" => (key, self.names.of(key, node.attrs.str(key)).into()),
            _ => (key, value.clone()),
        }))
    }

    /// A weight, which may be stored with its axes in another order and transposed back.
    fn weight(&mut self, node: &Node) -> ValueId {
        let attrs = self.renamed_source(node);
        let ty = attrs.tensor_type("type").clone();
        if !self.interface || self.dice.one_in(2) {
            return self.push(Op::Weight, &[], attrs);
        }
        let stored = self.dice.permutation(ty.rank());
        let shape: Vec<Dim> = stored.iter().map(|&axis| ty.shape[axis].clone()).collect();
        let there = attrs.iter().map(|(key, value)| match key {
            "type" => (key, TensorType::new(ty.dtype, shape.clone()).into()),
            _ => (key, value.clone()),
        });
        let weight = self.push(Op::Weight, &[], Attrs::new(there));
        self.transpose(weight, &inverse(&stored))
    }

    fn transpose(&mut self, value: ValueId, perm: &[usize]) -> ValueId {
        self.op(Op::Transpose, &[value], [("perm", perm.to_vec().into())])
    }

    /// The operation as it is.
    fn same(&mut self, node: &Node) -> ValueId {
        let args: Vec<ValueId> = node.args.iter().map(|&arg| self.copy(arg)).collect();
        self.push(node.op, &args, node.attrs.renamed(&self.names.dims))
    }

    fn operation(&mut self, at: usize, node: &Node) -> ValueId {
        if self.dice.one_in(2)
            && let Some(value) = self.other_gate(node)
        {
            return value;
        }
        let mut args: Vec<ValueId> = Vec::new();
        for &arg in &node.args {
            args.push(self.copy(arg));
        }
        let mut attrs = node.attrs.renamed(&self.names.dims);
        match node.op {
            Op::TopK if self.dice.one_in(2) => {
                if let Some(scores) = self.scores_instead_of_shares(at, node) {
                    args = vec![scores];
                }
            }
            Op::Reshape if self.dice.one_in(2) => {
                let elements = Dim::product(attrs.dims("shape")).unwrap();
                args = vec![self.op(Op::Reshape, &args, [("shape", vec![elements].into())])];
            }
            _ if self.dice.one_in(2) => attrs = swapped(node.op, attrs, &mut args),
            _ => {}
        }
        let value = self.push(node.op, &args, attrs);
        let shares = node.op == Op::Softmax && self.users(at).any(|user| user.op == Op::TopK);
        if shares && self.dice.one_in(2) { self.normalised(value, node.attrs.index("axis")) } else { value }
    }

    fn users(&self, at: usize) -> impl Iterator<Item = &Node> {
        self.module.nodes.iter().filter(move |user| user.args.iter().any(|arg| arg.index() == at))
    }

    /// The scores that shares were made of, if only places of what is chosen are asked for.
    fn scores_instead_of_shares(&mut self, at: usize, node: &Node) -> Option<ValueId> {
        let shares = self.module.node(node.args[0]);
        let places_only = self.users(at).all(|user| user.op != Op::RouteValue);
        let apply = shares.op == Op::Softmax && shares.attrs.index("axis") == node.attrs.index("axis");
        (places_only && apply).then(|| self.copy(shares.args[0]))
    }

    /// `value` divided by its sum along `axis`.
    fn normalised(&mut self, value: ValueId, axis: usize) -> ValueId {
        let shape = self.builder.tensor(value).shape.clone();
        let map: Vec<usize> = (0..shape.len()).filter(|&other| other != axis).collect();
        let sum = self.op(Op::Sum, &[value], [("axis", axis.into())]);
        let sums = self.op(Op::Broadcast, &[sum], [("map", map.into()), ("shape", shape.into())]);
        self.op(Op::Div, &[value, sums], [])
    }

    /// For shares that are chosen, put in their places and divided by their sum: chosen, divided by their
    /// sum and put in their places.
    fn other_gate(&mut self, node: &Node) -> Option<ValueId> {
        let defines = |value: ValueId, op: Op| Some(self.module.node(value)).filter(|node| node.op == op);
        if node.op != Op::Div {
            return None;
        }
        let sums = defines(node.args[1], Op::Broadcast)?;
        let sum = defines(sums.args[0], Op::Sum).filter(|sum| sum.args[0] == node.args[0])?;
        let gate = defines(node.args[0], Op::Select)?;
        let mask = defines(gate.args[0], Op::RouteMask)?;
        let zero = defines(gate.args[2], Op::Const)?.attrs.number("value");
        let top = defines(mask.args[0], Op::TopK)?;
        let axis = top.attrs.index("axis");
        let size = node.tensor().shape.get(axis)?.renamed(&self.names.dims);
        if top.args[0] != gate.args[1] || zero != 0.0 || sum.attrs.index("axis") != axis {
            return None;
        }
        let shares = self.copy(top.args[0]);
        let route = self.push(Op::TopK, &[shares], top.attrs.renamed(&self.names.dims));
        let chosen = self.op(Op::RouteValue, &[route], []);
        let values = self.normalised(chosen, axis);
        let index = self.op(Op::RouteIndex, &[route], []);
        Some(self.op(Op::Densify, &[values, index], [("axis", axis.into()), ("size", size.into())]))
    }

    /// `value`, transposed and back, or with some axes merged and split again.
    fn there_and_back(&mut self, value: ValueId) -> ValueId {
        let Some(ty) = self.builder.ty(value).tensor().cloned() else { return value };
        if ty.rank() < 2 {
            return value;
        }
        if self.dice.one_in(2) {
            let perm = self.dice.permutation(ty.rank());
            let turned = self.transpose(value, &perm);
            return self.transpose(turned, &inverse(&perm));
        }
        let first = self.dice.below(ty.rank() - 1);
        let end = first + 2 + self.dice.below(ty.rank() - first - 1);
        let mut shape = ty.shape.clone();
        shape.splice(first..end, [Dim::product(&ty.shape[first..end]).unwrap()]);
        let merged = self.op(Op::Reshape, &[value], [("shape", shape.into())]);
        self.op(Op::Reshape, &[merged], [("shape", ty.shape.into())])
    }
}

fn swapped(op: Op, attrs: Attrs, args: &mut [ValueId]) -> Attrs {
    if !matches!(op, Op::Add | Op::Mul | Op::And | Op::Or | Op::Minimum | Op::Maximum | Op::Einsum) {
        return attrs;
    }
    args.swap(0, 1);
    if op != Op::Einsum {
        return attrs;
    }
    let spec = EinsumSpec::parse(attrs.str("spec")).unwrap();
    Attrs::new([("spec", spec.swapped().to_string().into())])
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    (0..perm.len()).map(|axis| perm.iter().position(|&p| p == axis).unwrap()).collect()
}
