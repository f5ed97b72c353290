//! Machine-made variants of programs end as the same text: nodes in another order, operands swapped,
//! values computed twice, transposes and reshapes with their inverses put anywhere.

#![expect(clippy::unwrap_used, reason = "a test without its files fails")]

use std::path::Path;

use moec_ir::{Attrs, Builder, Dim, EinsumSpec, Module, Node, Op, ValueId, print, read};
use moec_opt::{Options, optimize};

/// Variants of each form.
const VARIANTS: u64 = 20;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

fn swapped(node: &Node, args: &mut [ValueId]) -> Attrs {
    if !matches!(node.op, Op::Add | Op::Mul | Op::And | Op::Or | Op::Minimum | Op::Maximum | Op::Einsum) {
        return node.attrs.clone();
    }
    args.swap(0, 1);
    if node.op != Op::Einsum {
        return node.attrs.clone();
    }
    let spec = EinsumSpec::parse(node.attrs.str("spec")).unwrap();
    Attrs::new([("spec", spec.swapped().to_string().into())])
}

/// `value`, transposed and back, or reshaped and back.
fn there_and_back(builder: &mut Builder, value: ValueId, dice: &mut Dice) -> ValueId {
    let Some(ty) = builder.ty(value).tensor().cloned() else { return value };
    if ty.rank() < 2 {
        return value;
    }
    if dice.below(2) == 0 {
        let perm: Vec<usize> = (0..ty.rank()).rev().collect();
        let turned = builder.op(Op::Transpose, &[value], [("perm", perm.clone().into())]).unwrap();
        return builder.op(Op::Transpose, &[turned], [("perm", perm.into())]).unwrap();
    }
    let flat = vec![Dim::product(&ty.shape).unwrap()];
    let merged = builder.op(Op::Reshape, &[value], [("shape", flat.into())]).unwrap();
    builder.op(Op::Reshape, &[merged], [("shape", ty.shape.into())]).unwrap()
}

fn perturbed(module: &Module, seed: u64) -> Module {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut builder = Builder::new(Module { dims: module.dims.clone(), ..Module::new(&module.name) });
    let mut copies: Vec<Vec<ValueId>> = vec![Vec::new(); module.nodes.len()];
    let mut open: Vec<usize> = (0..module.nodes.len()).collect();
    while !open.is_empty() {
        let ready: Vec<usize> = (0..open.len())
            .filter(|&i| module.nodes[open[i]].args.iter().all(|arg| !copies[arg.index()].is_empty()))
            .collect();
        let at = open.remove(ready[dice.below(ready.len())]);
        let node = &module.nodes[at];
        let source = matches!(node.op, Op::Input | Op::Weight);
        let times = if source { 1 } else { 1 + usize::from(dice.below(4) == 0) };
        for _ in 0..times {
            let mut args: Vec<ValueId> = Vec::new();
            for arg in &node.args {
                let of = &copies[arg.index()];
                args.push(of[dice.below(of.len())]);
            }
            let attrs = if dice.below(2) == 0 { swapped(node, &mut args) } else { node.attrs.clone() };
            let mut value = builder.push(node.op, &args, attrs).unwrap();
            if dice.below(5) == 0 {
                value = there_and_back(&mut builder, value, &mut dice);
            }
            copies[at].push(value);
        }
    }
    for output in &module.outputs {
        builder.output(&output.name, copies[output.value.index()][0]).unwrap();
    }
    builder.finish()
}

#[test]
fn variants_of_a_program_end_as_one_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/opt");
    for name in ["s2", "s2b", "s5", "s7", "s7_all", "s8_all"] {
        let source = read(&std::fs::read_to_string(folder.join(format!("{name}.moir"))).unwrap()).unwrap();
        let wanted = print(&optimize(&source, &Options::default()).unwrap().module);
        for seed in 1..=VARIANTS {
            let variant = perturbed(&source, seed);
            let found = print(&optimize(&variant, &Options::default()).unwrap().module);
            assert!(found == wanted, "{name}, variant {seed}\n{}\ngives\n{found}", print(&variant));
        }
    }
}
