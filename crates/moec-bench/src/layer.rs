//! The layers that benchmarks are about, as source text and as weights.

use std::cmp::Reverse;

use moec::buffer::Buffer;
use moec::diag::SourceFile;
use moec::ir::{DType, TensorType};
use moec::{WeightBytes, WeightError, WeightSource, Weights};

/// What one expert computes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expert {
    /// `x @ w1.T`, from width H to F.
    Linear,
    /// `x @ w1.T @ w2.T`
    Chain,
    /// `relu(x @ w1.T) @ w2.T`
    Relu,
    /// `(silu(x @ w1.T) * (x @ w3.T)) @ w2.T`
    Gated,
}

/// A router and its experts.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// What figures call it.
    pub name: &'static str,
    /// Number of experts.
    pub e: u64,
    /// Experts of a token; 0: all of them, weighted by the softmax of the scores.
    pub k: u64,
    /// Width of a token.
    pub h: u64,
    /// Width of an expert.
    pub f: u64,
    /// Experts of the same width that every token passes through besides.
    pub shared: u64,
    /// Whether the weights of the chosen are scaled to sum up to 1.
    pub renormalised: bool,
    /// What they compute.
    pub expert: Expert,
    /// The number of tokens, where there is only one that matters.
    pub tokens: Option<u64>,
}

const GATED: Layer = Layer {
    name: "",
    e: 0,
    k: 0,
    h: 0,
    f: 0,
    shared: 0,
    renormalised: false,
    expert: Expert::Gated,
    tokens: None,
};

/// Layers of published models (Mixtral's at a quarter of its width), and one that is nothing but overhead.
pub const LAYERS: [Layer; 5] = [
    Layer { name: "mixtral4", e: 8, k: 2, h: 1024, f: 3584, renormalised: true, ..GATED },
    Layer { name: "olmoe", e: 64, k: 8, h: 2048, f: 1024, ..GATED },
    Layer { name: "qwen3", e: 128, k: 8, h: 2048, f: 768, renormalised: true, ..GATED },
    Layer { name: "dsv2lite", e: 64, k: 6, h: 2048, f: 1408, shared: 2, ..GATED },
    Layer { name: "toy", e: 4, k: 0, h: 8, f: 64, expert: Expert::Linear, tokens: Some(2), ..GATED },
];

impl Layer {
    /// What choices of the optimiser are measured on: two matrices for each expert.
    pub const fn plain(name: &'static str, e: u64, k: u64, h: u64, f: u64, expert: Expert) -> Layer {
        Layer { name, e, k, h, f, expert, ..GATED }
    }

    /// Width of the result.
    pub fn out(&self) -> u64 {
        if self.expert == Expert::Linear { self.f } else { self.h }
    }

    /// The numbers of tokens that are measured, of those, in the order in which they are: from the most to the
    /// fewest, since the first calls after loading can be disturbed and large ones feel it least.
    pub fn tokens(&self, wanted: &[u64]) -> Vec<u64> {
        let mut tokens = self.tokens.map_or_else(|| wanted.to_vec(), |tokens| vec![tokens]);
        tokens.sort_by_key(|&tokens| Reverse(tokens));
        tokens
    }

    /// The layer as a program: input `x`, weights named as here, output `y`.
    pub fn source(&self, types: Types) -> SourceFile {
        let Layer { name, e, k, h, f, shared, .. } = self;
        let (weight, input) = (types.weight(), types.input());
        let mut dims = format!("T, H = {h}, F = {f}, E = {e}");
        if *k > 0 {
            dims += &format!(", K = {k}");
        }
        let mut declared =
            format!("    input  x : {input}[T, H]\n    weight router : {weight}[E, H] from \"router\"\n");
        for name in self.expert.weights() {
            let shape = if *name == "w2" { "H, F" } else { "F, H" };
            declared += &format!("    weight {name} : {weight}[E, {shape}] from \"{name}\"\n");
        }
        let hidden =
            |text: String| if types == Types::Bf16 { format!("bf16({text})") } else { format!("({text})") };
        let body = |at: &str, w: &str| match self.expert {
            Expert::Linear => format!("(x @ {w}1{at}.T)"),
            Expert::Chain => format!("(x @ {w}1{at}.T @ {w}2{at}.T)"),
            Expert::Relu => format!("({} @ {w}2{at}.T)", hidden(format!("relu(x @ {w}1{at}.T)"))),
            Expert::Gated => {
                let gated = format!("silu(x @ {w}1{at}.T) * (x @ {w}3{at}.T)");
                format!("({} @ {w}2{at}.T)", hidden(gated))
            }
        };
        let gate = match (k, self.renormalised) {
            (0, _) => "softmax(x @ router.T, over E)",
            (_, false) => "p where top_k(p, K, over E).mask else 0",
            (_, true) => "softmax(p where top_k(p, K, over E).mask else -inf, over E)",
        };
        let scores = match (k, self.renormalised) {
            (0, _) => "",
            (_, false) => "    let p = softmax(x @ router.T, over E)\n",
            (_, true) => "    let p = x @ router.T\n",
        };
        let mut sum = format!("sum e over E {{ g[e] * {} }}", body("[e]", "w"));
        if *shared > 0 {
            dims += &format!(", S = {}", shared * f);
            declared += &format!(
                "    weight s1, s3 : {weight}[S, H] from \"s1\", \"s3\"\n    weight s2 : {weight}[H, S] from \"s2\"\n"
            );
            sum = format!("{sum} + {}", body("", "s"));
        }
        let out = if self.expert == Expert::Linear { "F" } else { "H" };
        let text = format!(
            "model {name} {{\n    dim {dims}\n{declared}\n{scores}    let g = {gate}\n    output y : f32[T, {out}] = {sum}\n}}\n"
        );
        SourceFile::new(format!("{name}.moe"), moec::format(&text).unwrap_or(text))
    }
}

impl Expert {
    /// The names of its weights.
    fn weights(self) -> &'static [&'static str] {
        match self {
            Expert::Linear => &["w1"],
            Expert::Chain | Expert::Relu => &["w1", "w2"],
            Expert::Gated => &["w1", "w3", "w2"],
        }
    }
}

/// Element types of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// Everything in f32.
    F32,
    /// Weights, input and hidden activation in bf16, sums in f32: as transformers computes in bf16.
    Bf16,
    /// Weights in bf16, everything else in f32.
    Mixed,
}

impl Types {
    /// All of them.
    pub const ALL: [Types; 3] = [Types::F32, Types::Bf16, Types::Mixed];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Types::F32 => "f32",
            Types::Bf16 => "bf16",
            Types::Mixed => "mixed",
        }
    }

    /// Of weights.
    pub fn weight(self) -> DType {
        if self == Types::F32 { DType::F32 } else { DType::Bf16 }
    }

    /// Of the input.
    pub fn input(self) -> DType {
        if self == Types::Bf16 { DType::Bf16 } else { DType::F32 }
    }
}

/// The weights of a layer: random, but for the router, which is the identity. So the first E elements of a
/// token are its scores, and inputs say who is chosen ([`routed`](crate::routed)).
pub struct LayerWeights<'a> {
    /// Whose they are.
    pub layer: &'a Layer,
    /// Where the others come from.
    pub random: Weights<'a>,
}

impl WeightSource for LayerWeights<'_> {
    fn weight(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
        if name != "router" {
            return self.random.weight(name, from, ty);
        }
        let Layer { e, h, .. } = *self.layer;
        let size = ty.dtype.bytes();
        let mut memory =
            Buffer::zeroed_shape(&[e, h], size).map_err(|error| WeightError::Size(error.to_string()))?;
        for at in 0..e.min(h) {
            // The upper half of an f32 is the bf16 of the same value.
            let one = 1f32.to_bits().to_ne_bytes();
            let place = (at * h + at) as usize * size;
            memory.as_mut_slice::<u8>()[place..place + size].copy_from_slice(&one[4 - size..]);
        }
        Ok(WeightBytes::Made(memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_tokens_come_first() {
        let [mixtral, .., toy] = LAYERS;
        assert_eq!(mixtral.tokens(&[1, 256, 4, 1024, 32]), [1024, 256, 32, 4, 1]);
        assert_eq!(toy.tokens(&[1, 32]), [2]);
    }

    #[test]
    fn every_layer_is_a_program() {
        for layer in LAYERS.iter().chain(&[
            Layer::plain("two", 4, 2, 8, 8, Expert::Relu),
            Layer::plain("all", 4, 0, 8, 8, Expert::Chain),
        ]) {
            for types in Types::ALL {
                let source = layer.source(types);
                let options = moec::Options::default();
                let checked = moec::check(&source, &options);
                assert!(checked.is_ok(), "{}\n{:?}", source.text, checked.err());
            }
        }
    }
}
