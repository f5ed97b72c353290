//! What a row of the table says: the form of `models/*.toml`. Owns the words that rows are written
//! in; what they mean in source text is `compose`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::json::Value;
use crate::key::{Condition, Key};
use crate::spec::Spec;

/// A model type: where its block lies, and of which pieces it is made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Row {
    /// Values of `model_type`, the usual one first.
    pub(crate) types: Vec<String>,
    /// What the model is called.
    pub(crate) title: String,
    /// Where the block lies in the file, below any prefix; `{layer}` is the number of the layer.
    pub(crate) at: Many<String>,
    /// Where sizes are found, for those that are not where most models have them.
    #[serde(default)]
    pub(crate) sizes: BTreeMap<String, Key>,
    /// Keys that change the mathematics, with the values that this row describes.
    #[serde(default)]
    pub(crate) require: BTreeMap<String, Many<Literal>>,
    /// Who computes a token.
    pub(crate) router: Router,
    /// What is computed.
    pub(crate) experts: Experts,
    /// An expert that computes every token.
    pub(crate) shared: Option<Shared>,
    /// Added to the result.
    pub(crate) output_bias: Option<Spec>,
}

/// Score, select, weigh.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Router {
    /// The router family, for the reader.
    pub(crate) family: String,
    /// The matrix of the router. The first of these that a layer has makes it a mixture.
    pub(crate) weight: Many<Spec>,
    /// Added to the logits.
    pub(crate) bias: Option<Spec>,
    /// What the router sees is normalised first.
    pub(crate) norm: Option<Norm>,
    /// Logits are bent to stay within this: `cap * tanh(z / cap)`. 0 is no bound.
    pub(crate) cap: Option<Key>,
    /// Logits to scores.
    pub(crate) score: Score,
    /// Added to the scores for the selection only.
    pub(crate) select_bias: Option<Optional>,
    /// Groups of experts of which only the best are open.
    pub(crate) groups: Option<Groups>,
    /// How the chosen are found.
    #[serde(default)]
    pub(crate) select: Select,
    /// Where the file has it: experts for each id of a token, which are chosen instead.
    pub(crate) table: Option<Spec>,
    /// How many experts, numbered after the others, give back what they get. The axis of all of them is
    /// called N.
    pub(crate) identities: Option<Key>,
    /// Seats of each expert, handed out to first choices first and then by token.
    pub(crate) seats: Option<Seats>,
    /// Scores to weights.
    #[serde(default)]
    pub(crate) weigh: Weigh,
    /// Weights divided by something of the chosen.
    pub(crate) divide: Option<Divide>,
    /// Weights times a number.
    pub(crate) scale: Option<Key>,
    /// Weights times 1 - this number: what the original makes of dropout when it infers.
    pub(crate) dropout: Option<Key>,
    /// Weights times a number for each expert.
    pub(crate) expert_scale: Option<Spec>,
    /// What the weights multiply.
    #[serde(default)]
    pub(crate) applies: Applies,
}

/// Logits to scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Score {
    /// Over all experts.
    Softmax,
    /// Each by itself.
    Sigmoid,
    /// Square root of softplus.
    SqrtSoftplus,
    /// The logits themselves.
    Logits,
}

/// How the chosen are found.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Select {
    /// The K best.
    #[default]
    TopK,
    /// Two rounds of the best, each weighed against its near rivals (PhiMoE).
    SparseMixer {
        /// How near, as a share.
        eps: Amount,
    },
}

/// Seats of each expert; who finds none is not computed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Seats {
    /// How many.
    pub(crate) capacity: Key,
    /// How many as a share of the tokens; where it is more than 0 it counts instead.
    pub(crate) share: Option<Key>,
    /// Whether weights are divided before those without a seat are left out.
    pub(crate) divided_before: Option<Condition>,
}

/// Division by the root of the mean square, times a weight.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Norm {
    /// The weight.
    pub(crate) weight: Spec,
    /// Added to the mean square.
    pub(crate) eps: Amount,
    /// Divided by the root of the width as well.
    #[serde(default)]
    pub(crate) by_width: bool,
}

/// Scores to weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Weigh {
    /// The scores of the chosen.
    #[default]
    Score,
    /// Softmax over the chosen.
    Softmax,
    /// Sigmoid of the chosen.
    Sigmoid,
}

/// What the weights multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Applies {
    /// What an expert gives.
    #[default]
    Output,
    /// What an expert takes.
    Input,
}

/// Groups of experts of which only the best are open. Sizes G and Kg; with one group there is no such
/// stage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Groups {
    /// What a group is judged by.
    pub(crate) by: GroupScore,
    /// The score of experts in closed groups.
    pub(crate) closed: Closed,
    /// Whether weights are taken after closing (a closed expert that is chosen nevertheless weighs
    /// nothing) or before.
    #[serde(default)]
    pub(crate) weights_closed: bool,
    /// Whether there are groups.
    pub(crate) when: Option<Condition>,
}

/// What a group is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum GroupScore {
    /// Its best expert.
    #[serde(rename = "max")]
    Max,
    /// The sum of its best two.
    #[serde(rename = "top 2")]
    TopTwo,
}

/// The score of experts in closed groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Closed {
    /// Zero.
    #[serde(rename = "0")]
    Zero,
    /// Minus infinity.
    #[serde(rename = "-inf")]
    NegInf,
}

/// Weights divided by something of the chosen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Divide {
    /// By what.
    pub(crate) by: Divisor,
    /// Added to it.
    pub(crate) eps: Option<Amount>,
    /// The least it can be.
    pub(crate) at_least: Option<Amount>,
    /// Whether.
    pub(crate) when: Option<Condition>,
}

/// What weights are divided by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Divisor {
    /// Their sum.
    Sum,
    /// Their p-norm; without p, nothing is divided.
    Norm {
        /// The p.
        p: Key,
    },
}

/// What an expert is, and how it lies in files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Experts {
    /// What it computes.
    #[serde(default)]
    pub(crate) body: Body,
    /// Its activation.
    #[serde(default = "hidden_act")]
    pub(crate) act: Key,
    /// The gate is at most this before the activation, and the other factor between this and its
    /// negative.
    pub(crate) limit: Option<Amount>,
    /// Where in the block.
    #[serde(default = "experts")]
    pub(crate) under: String,
    /// How it lies there: the first whose names the file has.
    pub(crate) layouts: Vec<LayoutRef>,
    /// Where they work in a narrower space (size L): the matrices into it and out of it.
    pub(crate) latent: Option<Latent>,
    /// Around all of them: of what they get, and of what they give.
    pub(crate) norm_in: Option<Norm>,
    pub(crate) norm_out: Option<Norm>,
}

/// The matrices into a narrower space and out of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Latent {
    /// Into it.
    pub(crate) into: Spec,
    /// Out of it.
    pub(crate) out: Spec,
    /// Whether there is one.
    pub(crate) when: Condition,
}

/// What an expert computes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Body {
    /// `(act(x gate) * (x up)) down`
    #[default]
    Gated,
    /// `act(x up) down`
    Plain,
    /// `((x up + 1) * g * sigmoid(alpha g)) down` with `g = x gate` (gpt-oss).
    Lifted {
        /// The alpha.
        alpha: Amount,
    },
}

/// An expert that computes every token. Its body is that of the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Shared {
    /// Where in the block; with `../` in front, beside it.
    pub(crate) under: String,
    /// How it lies there.
    #[serde(default = "linear")]
    pub(crate) layouts: Vec<LayoutRef>,
    /// Its share, before a sigmoid.
    pub(crate) gate: Option<Spec>,
    /// Whether there is one.
    pub(crate) when: Option<Condition>,
    /// Around it: of what it gets, and of what it gives.
    pub(crate) norm_in: Option<Norm>,
    pub(crate) norm_out: Option<Norm>,
}

/// A number that is the same in every model of a type, or that the configuration has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Amount {
    /// The number.
    Fixed(f64),
    /// Where it is found.
    Key(Key),
}

/// A layout by name or in place.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum LayoutRef {
    /// One of `layouts.toml`.
    Named(String),
    /// One of its own.
    Own(Box<Layout>),
}

/// The tensors of an expert.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Layout {
    /// What the activation is of, and its bias.
    pub(crate) gate: Option<Spec>,
    pub(crate) gate_bias: Option<Spec>,
    /// The other factor, or the only matrix in.
    pub(crate) up: Option<Spec>,
    pub(crate) up_bias: Option<Spec>,
    /// Both in one.
    pub(crate) gate_up: Option<Spec>,
    pub(crate) gate_up_bias: Option<Spec>,
    /// The matrix out.
    pub(crate) down: Spec,
    pub(crate) down_bias: Option<Spec>,
}

/// A tensor that only some configurations have.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Optional {
    /// All of them have it.
    Always(Spec),
    /// Those of which the condition holds.
    When {
        /// The tensor.
        tensor: Spec,
        /// The condition.
        when: Condition,
    },
}

/// One, or several of which the first that fits counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Many<T> {
    /// One.
    One(T),
    /// Several.
    Several(Vec<T>),
}

impl<T> Many<T> {
    /// All of them.
    pub(crate) fn all(&self) -> &[T] {
        match self {
            Many::One(one) => std::slice::from_ref(one),
            Many::Several(several) => several,
        }
    }
}

/// A value of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Scalar")]
pub(crate) struct Literal(pub Value);

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Word(String),
}

impl From<Scalar> for Literal {
    fn from(scalar: Scalar) -> Literal {
        Literal(match scalar {
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => Value::Number(value.to_string()),
            Scalar::Float(value) => Value::Number(value.to_string()),
            Scalar::Word(value) => Value::String(value),
        })
    }
}

fn experts() -> String {
    "experts".to_owned()
}

fn linear() -> Vec<LayoutRef> {
    vec![LayoutRef::Named("linear".to_owned())]
}

fn hidden_act() -> Key {
    // Every name of this key in use; a configuration without it means silu.
    Key::try_from("hidden_act | hidden_activation | activation_function ? silu".to_owned())
        .unwrap_or(Key { terms: Vec::new() })
}
