//! What lowered programs compute, under the interpreter: against loops written out here, and forms that are equal
//! against each other.

use std::collections::BTreeMap;
use std::path::Path;

use moec_interp::{Tensor, run};
use moec_ir::{DType, Module, Sizes};
use moec_lower::{Options, lower_text};

fn program(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/programs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The first model of a text, with sizes and params set.
fn module(source: &str, set: &[(&str, &str)]) -> Module {
    let set = set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (models, diagnostics) = lower_text(source, &Options { set, model: None });
    assert!(!diagnostics.iter().any(|d| d.is_error()), "{diagnostics:#?}");
    models.into_iter().next().expect("the example is right").module
}

/// Numbers in -1 .. 1 that depend on the name only; few bits for 16-bit types, so that they are exact.
fn filled(name: &str, dtype: DType, shape: Vec<usize>) -> Tensor {
    let seed =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut state = seed | 1;
    let data = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
            if dtype == DType::Bf16 { (unit * 64.0).round() / 64.0 } else { unit }
        })
        .collect();
    Tensor::new(dtype, shape, data).expect("the example is right")
}

/// Runs a module on filled inputs and weights.
fn evaluated(module: &Module, runtime: &[(&str, u64)]) -> (Vec<(String, Tensor)>, BTreeMap<String, Tensor>) {
    let runtime: Sizes = runtime.iter().map(|(name, n)| ((*name).into(), *n)).collect();
    let sizes = module.dims.bind(&runtime).expect("the example is right");
    let mut inputs = BTreeMap::new();
    for (_, name, ty) in module.inputs().chain(module.weights()) {
        let shape = ty.shape.iter().map(|d| d.eval(&sizes).expect("the example is right") as usize).collect();
        inputs.insert(name.to_owned(), filled(name, ty.dtype, shape));
    }
    (run(module, &runtime, &inputs).expect("the example is right"), inputs)
}

fn output(module: &Module, runtime: &[(&str, u64)]) -> Tensor {
    evaluated(module, runtime).0.remove(0).1
}

#[track_caller]
fn close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape, b.shape);
    let scale = b.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(scale > 1e-3, "nothing to compare");
    for (x, y) in a.data.iter().zip(&b.data) {
        assert!((x - y).abs() <= 1e-12 * scale, "{x} against {y}");
    }
}

const SMALL: &[(&str, &str)] = &[("H", "6"), ("F", "5"), ("E", "4")];
const T: &[(&str, u64)] = &[("T", 7)];

fn dot(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> f64 {
    a.zip(b).map(|(x, y)| x * y).sum()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = row.iter().map(|x| (x - top).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|x| x / sum).collect()
}

#[test]
fn the_soft_sum_is_what_the_paper_says() {
    let module = module(&program("soft_sum.moe"), &[("H", "6"), ("O", "5"), ("E", "4")]);
    let (outputs, data) = evaluated(&module, T);
    let (h, o, e) = (6, 5, 4);
    let (x, gate, w, b) = (&data["x"].data, &data["gate"].data, &data["w"].data, &data["b"].data);
    let mut expected = Vec::new();
    for t in 0..7 {
        let row = &x[t * h..][..h];
        let logits: Vec<f64> =
            (0..e).map(|i| dot(row.iter().copied(), (0..h).map(|j| gate[j * e + i]))).collect();
        let p = softmax(&logits);
        for k in 0..o {
            let expert =
                |i: usize| dot(row.iter().copied(), (0..h).map(|j| w[(i * h + j) * o + k])) + b[i * o + k];
            expected.push((0..e).map(|i| p[i] * expert(i)).sum());
        }
    }
    close(&outputs[0].1, &Tensor::new(DType::F32, [7, o].to_vec(), expected).unwrap());
}

#[test]
fn mixtral_is_two_experts_a_token() {
    let module = module(&program("mixtral.moe"), SMALL);
    let (outputs, data) = evaluated(&module, T);
    let (h, f, e) = (6, 5, 4);
    let row = |name: &str, at: usize, n: usize| data[name].data[at * n..][..n].to_vec();
    let mut expected = Vec::new();
    for t in 0..7 {
        let x = row("x", t, h);
        let logits: Vec<f64> =
            (0..e).map(|i| dot(x.iter().copied(), row("router", i, h).into_iter())).collect();
        let p = softmax(&logits);
        let mut order: Vec<usize> = (0..e).collect();
        order.sort_by(|a, b| p[*b].total_cmp(&p[*a]).then(a.cmp(b)));
        let total = p[order[0]] + p[order[1]];
        let mut y = vec![0.0; h];
        for &i in &order[..2] {
            let hidden: Vec<f64> = (0..f)
                .map(|j| {
                    let gate = dot(x.iter().copied(), row("w1", i * f + j, h).into_iter());
                    let up = dot(x.iter().copied(), row("w3", i * f + j, h).into_iter());
                    gate / (1.0 + (-gate).exp()) * up
                })
                .collect();
            for (k, y) in y.iter_mut().enumerate() {
                *y += p[i] / total * dot(hidden.iter().copied(), row("w2", i * h + k, f).into_iter());
            }
        }
        expected.extend(y);
    }
    close(&outputs[0].1, &Tensor::new(DType::F32, [7, h].to_vec(), expected).unwrap());
}

#[test]
fn equal_forms_agree() {
    let sizes = [("H", "6"), ("O", "5"), ("E", "4")];
    let sum = output(&module(&program("soft_sum.moe"), &sizes), T);
    close(&output(&module(&program("soft_stacked.moe"), &sizes), T), &sum);

    let dense = output(&module(&program("mixtral.moe"), SMALL), T);
    close(&output(&module(&program("mixtral_flat.moe"), SMALL), T), &dense);
}

#[test]
fn gshard_with_room_for_all_is_dense() {
    let dense = "
model dense {
    dim T, H = 6, F = 5, E = 4, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"r\"
    weight w1     : f32[E, F, H] from \"w1\"
    weight w2     : f32[E, H, F] from \"w2\"
    let p = softmax(x @ router.T, over E)
    let g = normalize(p where top_k(p, K, over E).mask else 0, over E)
    output y : f32[T, H] = sum e over E { g[e] * (relu(x @ w1[e].T) @ w2[e].T) }
}
";
    let gshard = module(&program("gshard.moe"), &[("H", "6"), ("F", "5"), ("E", "4"), ("C", "7")]);
    let (outputs, _) = evaluated(&gshard, T);
    close(&outputs[0].1, &output(&module(dense, &[]), T));
    assert_eq!(outputs[1].1.data, [0.0], "nothing is dropped");

    let full = module(&program("gshard.moe"), &[("H", "6"), ("F", "5"), ("E", "4"), ("C", "1")]);
    assert_eq!(evaluated(&full, T).0[1].1.data, [14.0 - 4.0], "each expert seats one of the 14 choices");
}

#[test]
fn hot_and_cold_experts_are_the_experts() {
    let dense = "
model dense {
    dim D, H = 6, F = 5, E = 8, C = 4
    input  expert_input : f32[E, C, D, H]
    weight w1           : f32[E, H, F] from \"a\"
    weight w2           : f32[E, F, H] from \"b\"
    output y : f32[D, H, E, C] =
        transpose(map e over E { gelu(expert_input[e] @ w1[e]) @ w2[e] }, [2, 3, 0, 1])
}
";
    let sizes = |r| vec![("H", "6"), ("F", "5"), ("C", "4"), ("r", r)];
    let expected = output(&module(dense, &[]), &[("D", 3)]);
    let whole = output(&module(&program("hot_cold.moe"), &sizes("1")), &[("D", 3)]);
    close(&whole, &expected);
    let half = output(&module(&program("hot_cold.moe"), &sizes("0.5")), &[("D", 3)]);
    for (at, (x, y)) in half.data.iter().zip(&expected.data).enumerate() {
        let (expert, slot) = (at / 4 % 8, at % 4);
        let kept = [5, 1].contains(&expert) || slot < 2;
        assert!((x - if kept { *y } else { 0.0 }).abs() < 1e-12, "expert {expert}, slot {slot}");
    }
}

#[test]
fn nested_functions_are_nested_sums() {
    let written_out = "
model flat {
    dim T, H = 6, F = 5, G = 3, E = 4, K = 2
    input  x      : f32[T, H]
    weight outer  : bf16[G, H]       from \"o\"
    weight inner  : bf16[G, E, H]    from \"i\"
    weight w1, w3 : bf16[G, E, F, H] from \"w1\", \"w3\"
    weight w2     : bf16[G, E, H, F] from \"w2\"
    let p = softmax(x @ outer.T, over G)
    let a = normalize(p where top_k(p, K, over G).mask else 0, over G)
    let q = softmax(einsum(\"th,geh->tge\", x, inner), over E)
    let b = normalize(q where top_k(q, K, over E).mask else 0, over E)
    let h = map g over G, e over E {
        (silu(einsum(\"th,fh->tf\", x, w1[g, e])) * einsum(\"th,fh->tf\", x, w3[g, e])) @ w2[g, e].T
    }
    output y : f32[T, H] = sum(a * b * h, over [G, E])
}
";
    let sizes = [("H", "6"), ("F", "5"), ("G", "3"), ("E", "4")];
    let nested = output(&module(&program("hmoe.moe"), &sizes), T);
    close(&nested, &output(&module(written_out, &[]), T));
}

/// Pairs of expressions over the same inputs that are equal by the rules of the language.
#[test]
fn constructs_mean_what_the_rules_say() {
    let pairs: &[(&str, &str, &str)] = &[
        ("f32[T, H]", "map t over T { x[t] * 2 }", "x + x"),
        ("f32[H]", "sum t over T { x[t] }", "sum(x, over T)"),
        ("f32[T]", "sum t over T { (x[t] @ x.T) * x[t, H = 0] }", "(x @ x.T) @ x[H = 0]"),
        ("f32[T]", "sum h over H { x[h] * max(x, over H) }", "sum(x, over H) * max(x, over H)"),
        ("f32[T]", "map t over T { sum((x * x[t])[t]) }", "sum(x * x, over H)"),
        ("f32[T, K]", "x[H = i]", "sum h over H { expand(x[h], [T, K]) where i == h else 0 }"),
        ("f32[T, K, H]", "w[E = j]", "sum e over E { (expand(w[e], [T, K, H]) where j == e else 0) }"),
        ("f32[T, K]", "gather(x, i, axis 1)", "x[H = i]"),
        ("f32[T, H]", "gather(x, i32(x[H = 0]), axis 0)", "expand(x[T = 0], [T, H])"),
        (
            "f32[T, E*H]",
            "concat e over E along H { x + w[e] }",
            "reshape(transpose(map e over E { x + w[e] }, [1, 0, 2]), [T, E*H])",
        ),
        ("f32[T]", "mean h over H { x[h] }", "mean(x, axis -1)"),
        ("f32[T]", "x @ w[E = 0]", "sum(x * w[E = 0], over H)"),
        ("f32[T, T]", "x @ x.T", "einsum(\"ah,bh->ab\", x, rename(x, [T, H]))"),
        (
            "f32[T, H]",
            "layer_norm(x, over H, eps = 0.5)",
            "(x - mean(x, over H)) / sqrt(mean(square(x - mean(x, over H)), over H) + 0.5)",
        ),
        ("f32[T, H]", "rms_norm(x, over T, eps = 0.5)", "x / sqrt(mean(square(x), over T) + 0.5)"),
        ("f32[T, 3]", "x[H = 0..H by 2]", "reshape(x, [T, 3, 2])[2 = 0]"),
        (
            "f32[T, 2*H]",
            "concat(x, x * 2, axis 1)",
            "reshape(expand(x, [T, 2, H]) * f32(iota(2) + 1), [T, 2*H])",
        ),
        ("f32[E]", "einsum(\"eh->e\", w)", "sum(w, over H)"),
        (
            "f32[E]",
            "einsum(\"th,eh,fh->e\", x, w, w)",
            "einsum(\"h,eh->e\", sum(x, over T) * sum(w, over E), w)",
        ),
        ("f32[T, H]", "x / T", "x * (1 / sum t over T { 1 })"),
        ("f32[T, H]", "twice(x)", "x * 2"),
        ("f32[T, E]", "scores(x, w)", "x @ w.T"),
        ("f32[E]", "scores(x[T = 0], w)", "(x @ w.T)[T = 0]"),
        ("f32[T, H]", "sum e over E { twice(w[e] * x) }", "sum(w, over E) * x * 2"),
        ("f32[T, H]", "sum e over E { x }", "x * E"),
        ("f32[T, H]", "max e over E { x * w[e] }", "max(map e over E { x * w[e] }, axis 0)"),
        (
            "i32[T, E]",
            "i32(top_k(x @ w.T, 2, over E).mask)",
            "i32(any(one_hot(top_k(x @ w.T, 2, over E).index, E), axis 1))",
        ),
        ("f32[T, 2]", "top_k(x @ w.T, 2, over E).value", "(x @ w.T)[E = top_k(x @ w.T, 2, over E).index]"),
    ];
    for (ty, left, right) in pairs {
        let model = |body: &str| {
            format!(
                "fn twice(v: f32[.., A]) -> f32[.., A] {{ v + v }}\n\
                 fn scores(v: f32[.., A], m: f32[B, A]) -> f32[.., B] {{ sum a over A {{ m[a] * v[a] }} }}\n\
                 model m {{\n dim T, H = 6, E = 4, K = 3\n input x : f32[T, H]\n weight w : f32[E, H] from \"w\"\n \
                 const i : i32[K] = [2, 0, 5]\n let j = expand(i32(x[T = 0, H = 0]) + iota(K), [T, K])\n \
                 output y : {ty} = {body}\n output z : i32[T, K] = j\n output v : i32[K] = i\n}}\n"
            )
        };
        let (a, b) = (output(&module(&model(left), &[]), T), output(&module(&model(right), &[]), T));
        close(&a, &b);
    }
}

#[test]
fn run_time_capacities_are_derived() {
    let source = "
model derived {
    dim T, C, H = 3
    dim Q = floor(C * 0.5)
    dim R = C - Q
    fact Q <= C
    input x : f32[2*T, C, H]
    let a = x[C = 0..Q]
    let b = x[C = Q..C]
    output y : f32[2*T, C, H] = concat(a, b, axis 1)
}
";
    let module = module(source, &[]);
    let shape: Vec<_> = module.inputs().next().unwrap().2.shape.clone();
    let axes: Vec<_> = shape.into_iter().zip([4, 5, 3]).collect();
    let sizes = module.dims.solve(&axes).unwrap();
    assert_eq!((sizes["T"], sizes["Q"], sizes["R"]), (2, 2, 3));
    let (outputs, inputs) = evaluated(&module, &[("T", 2), ("C", 5)]);
    assert_eq!(outputs[0].1, inputs["x"]);
}
