//! What benchmarks share: layers as sources, and the middle of what was measured.

use moec::ir::DType;

/// A layer: E experts of width F, K of them for each token; `K = 0` means all, weighted by a softmax.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) e: u64,
    pub(crate) k: u64,
    pub(crate) h: u64,
    pub(crate) f: u64,
    pub(crate) body: Body,
}

/// What an expert computes.
pub(crate) enum Body {
    /// `x @ w1.T`.
    Linear,
    /// `relu(x @ w1.T) @ w2.T`.
    Relu,
    /// `x @ w1.T @ w2.T`.
    Chain,
    /// `(silu(x @ w1.T) * (x @ w3.T)) @ w2.T`, and the same for every token with a width of that many
    /// experts.
    Gated { shared: u64 },
}

/// Element types of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Types {
    F32,
    /// bf16 weights and input, the hidden activation rounded to bf16, as transformers computes in bf16.
    Bf16,
    /// bf16 weights, `f32` activations.
    Mixed,
}

impl Types {
    pub(crate) const ALL: [(&str, Types); 3] =
        [("f32", Types::F32), ("bf16", Types::Bf16), ("mixed", Types::Mixed)];

    pub(crate) fn weight(self) -> DType {
        if self == Types::F32 { DType::F32 } else { DType::Bf16 }
    }

    pub(crate) fn input(self) -> DType {
        if self == Types::Bf16 { DType::Bf16 } else { DType::F32 }
    }
}

impl Layer {
    /// The source. Its second output, if there is a choice, is the experts chosen.
    pub(crate) fn source(&self, types: Types) -> String {
        let Layer { name, e, k, h, f, body } = self;
        let (weight, input) = (types.weight(), types.input());
        let gated = |w1: &str, w3: &str| {
            let hidden = format!("silu(x @ {w1}.T) * (x @ {w3}.T)");
            if types == Types::Bf16 { format!("bf16({hidden})") } else { format!("({hidden})") }
        };
        let mut weights = String::new();
        let mut declare = |names: &str, shape: &str, from: &str| {
            weights += &format!("    weight {names} : {weight}[{shape}] from {from}\n");
        };
        declare("router", "E, H", "\"router\"");
        let gate = if *k == 0 { "p" } else { "g" };
        let (shared, rest) = match body {
            Body::Linear => {
                declare("w1", "E, F, H", "\"w1\"");
                (0, format!("sum e over E {{ {gate}[e] * (x @ w1[e].T) }}"))
            }
            Body::Relu | Body::Chain => {
                declare("w1", "E, F, H", "\"w1\"");
                declare("w2", "E, H, F", "\"w2\"");
                let hidden = if matches!(body, Body::Relu) { "relu(x @ w1[e].T)" } else { "x @ w1[e].T" };
                (0, format!("sum e over E {{ {gate}[e] * ({hidden} @ w2[e].T) }}"))
            }
            Body::Gated { shared } => {
                declare("w1, w3", "E, F, H", "\"w1.{E}\", \"w3.{E}\"");
                declare("w2", "E, H, F", "\"w2.{E}\"");
                let experts =
                    format!("sum e over E {{ {gate}[e] * ({} @ w2[e].T) }}", gated("w1[e]", "w3[e]"));
                if *shared == 0 {
                    (0, experts)
                } else {
                    declare("s1, s3", "S, H", "\"s1\", \"s3\"");
                    declare("s2", "H, S", "\"s2\"");
                    (*shared, format!("{experts} + {} @ s2.T", gated("s1", "s3")))
                }
            }
        };
        let shared = if shared == 0 { String::new() } else { format!(", S = {}", shared * f) };
        let out = if matches!(body, Body::Linear) { "F" } else { "H" };
        let choice = match k {
            0 => String::new(),
            _ => format!(
                "    let g = p where top_k(p, {k}, over E).mask else 0
    output chosen : i32[T, {k}] = top_k(p, {k}, over E).index\n"
            ),
        };
        format!(
            "model {name} {{
    dim T, H = {h}, F = {f}, E = {e}{shared}
    input  x : {input}[T, H]
{weights}
    let p = softmax(x @ router.T, over E)
{choice}    output y : f32[T, {out}] = {rest}
}}
"
        )
    }

    /// Elements of one expert's matrices.
    pub(crate) fn matrix(&self) -> u64 {
        let products = match self.body {
            Body::Linear => 1,
            Body::Relu | Body::Chain => 2,
            Body::Gated { .. } => 3,
        };
        products * self.h * self.f
    }

    /// How many experts every token passes through, in all and chosen or not.
    pub(crate) fn per_token(&self) -> u64 {
        (if self.k == 0 { self.e } else { self.k }) + self.always()
    }

    /// Experts that are not chosen: those of every token.
    pub(crate) fn always(&self) -> u64 {
        match self.body {
            Body::Gated { shared } => shared,
            _ => 0,
        }
    }
}

/// The middle of the values, which are sorted afterwards.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
