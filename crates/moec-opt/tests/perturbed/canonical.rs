//! The canonical form by itself: it does not change again, names and layouts of weights do not matter, what
//! computes something else has another form, and it computes what the program does.

use std::collections::BTreeMap;
use std::path::Path;

use moec_interp::{Tensor, generate, run};
use moec_ir::{Attr, Attrs, Builder, Module, Node, Op, Sizes, ValueId, print, read};
use moec_opt::canonical;

use crate::variant::{Differ, variant};

/// The programs of `tests/opt` by name of file: sources, and what they become.
fn programs() -> BTreeMap<String, Module> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/opt");
    let paths = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let module = |path: &Path| read(&std::fs::read_to_string(path).unwrap()).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "moir"))
        .map(|p| (name(&p), module(&p)))
        .collect()
}

/// Those that are optimised.
fn optimized() -> BTreeMap<String, Module> {
    programs().into_iter().filter(|(name, _)| name.ends_with(".opt.moir")).collect()
}

fn form(module: &Module) -> String {
    print(&canonical(module).unwrap())
}

#[test]
fn a_canonical_form_is_its_own() {
    for (name, module) in programs() {
        let once = canonical(&module).unwrap();
        assert_eq!(print(&once), form(&once), "{name}");
    }
}

#[test]
fn names_and_layouts_of_weights_do_not_matter() {
    for (name, module) in programs() {
        for seed in 1..=8 {
            let variant = variant(&module, seed, Differ::Interface);
            assert_eq!(form(&module), form(&variant), "{name}, variant {seed}:\n{}", print(&variant));
        }
    }
}

/// What else an operation might be, with operands and a result of the same types.
fn others(node: &Node) -> Vec<(Op, Attrs)> {
    let attrs = &node.attrs;
    let with = |name: &'static str, value: Attr| {
        let others = attrs.iter().filter(move |(other, _)| *other != name);
        Attrs::new(others.map(|(name, value)| (name, value.clone())).chain([(name, value)]))
    };
    match node.op {
        Op::Silu | Op::Relu | Op::Gelu | Op::Sigmoid => vec![(Op::Tanh, attrs.clone())],
        Op::Add => vec![(Op::Mul, attrs.clone())],
        Op::Sub | Op::Mul | Op::Div => vec![(Op::Add, attrs.clone())],
        Op::Sum => vec![(Op::Mean, attrs.clone()), (Op::Max, attrs.clone())],
        Op::Const => {
            let value = attrs.number("value");
            vec![(Op::Const, with("value", if value.is_finite() { value + 1.0 } else { 0.0 }.into()))]
        }
        Op::TopK => vec![(Op::TopK, with("largest", (!attrs.bool("largest")).into()))],
        Op::Cumsum => vec![(Op::Cumsum, with("exclusive", (!attrs.bool("exclusive")).into()))],
        _ => Vec::new(),
    }
}

/// `module` with `change` made to each node; none where that is not well-typed.
fn rebuilt(module: &Module, change: impl Fn(usize, &Node) -> (Op, Vec<ValueId>, Attrs)) -> Option<Module> {
    let start = Module { dims: module.dims.clone(), ..Module::new(&module.name) };
    let mut builder = Builder::new(start);
    for (at, node) in module.nodes.iter().enumerate() {
        let (op, args, attrs) = change(at, node);
        builder.push(op, &args, attrs).ok()?;
    }
    for output in &module.outputs {
        builder.output(&output.name, output.value).ok()?;
    }
    Some(builder.finish())
}

/// Programs in which one operation is another.
fn with_other_operations(module: &Module) -> Vec<Module> {
    let mut changed = Vec::new();
    for (at, node) in module.nodes.iter().enumerate() {
        for (op, attrs) in others(node) {
            changed.extend(rebuilt(module, |i, node| match i == at {
                true => (op, node.args.clone(), attrs.clone()),
                false => (node.op, node.args.clone(), node.attrs.clone()),
            }));
        }
    }
    changed
}

/// Programs in which one operation has another value of the same type for one of its operands.
fn with_other_operands(module: &Module) -> Vec<Module> {
    let mut changed = Vec::new();
    for (at, node) in module.nodes.iter().enumerate() {
        for (place, arg) in node.args.iter().enumerate() {
            let earlier =
                module.iter().take(at).filter(|(id, other)| id != arg && other.ty == module.node(*arg).ty);
            for (other, _) in earlier {
                changed.extend(rebuilt(module, |i, node| {
                    let mut args = node.args.clone();
                    if i == at {
                        args[place] = other;
                    }
                    (node.op, args, node.attrs.clone())
                }));
            }
        }
    }
    changed
}

#[test]
fn what_computes_something_else_has_another_form() {
    let mut tried = 0;
    for (name, module) in optimized() {
        let own = form(&module);
        for changed in with_other_operations(&module).iter().chain(&with_other_operands(&module)) {
            assert_ne!(form(changed), own, "{name}:\n{}", print(changed));
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
}

/// The form of a program of square weights and of inputs alike, in which only the structure tells what is what.
fn form_of(body: &str) -> String {
    let head = r#"module m {
    dim T
    dim H = 4
    %0 = input {name = "x"} : f32[T, H]
    %1 = input {name = "z"} : f32[T, H]
    %2 = weight {from = "w", name = "w"} : f32[H, H]
    %3 = weight {from = "v", name = "v"} : f32[H, H]
"#;
    form(&read(&format!("{head}{body}}}\n")).unwrap())
}

#[test]
fn names_alone_tell_apart_what_has_a_place() {
    let pairs = [
        // Inputs have places.
        [
            "    %4 = sub %0, %1 : f32[T, H]\n    output \"y\" = %4\n",
            "    %4 = sub %1, %0 : f32[T, H]\n    output \"y\" = %4\n",
        ],
        // So have outputs.
        [
            "    %4 = neg %0 : f32[T, H]\n    output \"y\" = %0\n    output \"z\" = %4\n",
            "    %4 = neg %0 : f32[T, H]\n    output \"y\" = %4\n    output \"z\" = %0\n",
        ],
        // One weight twice is not two weights.
        [
            r#"    %4 = einsum %0, %2 {spec = "ab,bc->ac"} : f32[T, H]
    %5 = einsum %4, %2 {spec = "ab,bc->ac"} : f32[T, H]
    output "y" = %5
"#,
            r#"    %4 = einsum %0, %2 {spec = "ab,bc->ac"} : f32[T, H]
    %5 = einsum %4, %3 {spec = "ab,bc->ac"} : f32[T, H]
    output "y" = %5
"#,
        ],
        // Nor is a matrix its transpose, if both are used.
        [
            r#"    %4 = einsum %0, %2 {spec = "ab,bc->ac"} : f32[T, H]
    %5 = einsum %4, %2 {spec = "ab,bc->ac"} : f32[T, H]
    output "y" = %5
"#,
            r#"    %4 = einsum %0, %2 {spec = "ab,bc->ac"} : f32[T, H]
    %5 = einsum %4, %2 {spec = "ab,cb->ac"} : f32[T, H]
    output "y" = %5
"#,
        ],
    ];
    for [a, b] in pairs {
        assert_ne!(form_of(a), form_of(b));
    }
    // Where one of two matrices is used alone, how it is stored and what it is called does not matter.
    let product = |w: &str, spec: &str| {
        form_of(&format!(
            "    %4 = einsum %0, %{w} {{spec = \"{spec}\"}} : f32[T, H]\n    output \"y\" = %4\n"
        ))
    };
    assert_eq!(product("2", "ab,bc->ac"), product("3", "ab,cb->ac"));
}

/// All orders of axes in which a tensor of shape `from` has shape `to`.
fn orders(from: &[usize], to: &[usize]) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for &size in to {
        let longer = |order: &Vec<usize>| {
            let free: Vec<usize> =
                (0..from.len()).filter(|at| from[*at] == size && !order.contains(at)).collect();
            let order = order.clone();
            free.into_iter().map(move |axis| [order.as_slice(), &[axis]].concat())
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

/// `x` with its axes in another order.
fn stored(x: &Tensor, order: &[usize]) -> Tensor {
    let strides: Vec<usize> = (0..x.shape.len()).map(|axis| x.shape[axis + 1..].iter().product()).collect();
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
    let mut data = Vec::with_capacity(x.data.len());
    for mut at in 0..x.data.len() {
        let mut from = 0;
        for (&axis, &size) in order.iter().zip(&shape).rev() {
            from += at % size * strides[axis];
            at /= size;
        }
        data.push(x.data[from]);
    }
    Tensor::new(x.dtype, shape, data).unwrap()
}

/// An optimised program has its weights in the order of their first use, so each is the one of its place in
/// the form. How that one is stored, its sizes say; where some are equal, one of the orders must do.
#[test]
fn canonical_forms_compute_the_same() {
    for (name, module) in optimized() {
        let form = canonical(&module).unwrap();
        let sizes: Sizes = [("T".into(), 3)].into();
        let own: Sizes = [("d0".into(), 3)].into();
        let data = generate::inputs(&module, &sizes, 11).unwrap();
        let wanted = run(&module, &sizes, &data).unwrap();
        let of = |name: &str| data[name].clone();
        let mut tries: Vec<BTreeMap<String, Tensor>> = vec![BTreeMap::new()];
        for ((_, from, _), (_, to, _)) in module.inputs().zip(form.inputs()) {
            tries[0].insert(to.to_string(), of(from));
        }
        assert_eq!(module.weights().count(), form.weights().count(), "{name}");
        for ((_, from, _), (_, to, ty)) in module.weights().zip(form.weights()) {
            let shape: Vec<usize> = ty.shape.iter().map(|size| size.as_const().unwrap() as usize).collect();
            let x = of(from);
            let mut next = Vec::new();
            for order in orders(&x.shape, &shape) {
                for known in &tries {
                    let mut known = known.clone();
                    known.insert(to.to_string(), stored(&x, &order));
                    next.push(known);
                }
            }
            tries = next;
        }
        let same = |data: &BTreeMap<String, Tensor>| {
            let found = run(&form, &own, data).unwrap();
            assert_eq!(found.len(), wanted.len());
            wanted.iter().zip(&found).all(|((_, a), (_, b))| {
                let scale = a.data.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
                a.shape == b.shape && a.data.iter().zip(&b.data).all(|(x, y)| (x - y).abs() <= 1e-12 * scale)
            })
        };
        assert!(tries.iter().any(same), "{name}:\n{}", print(&form));
    }
}
