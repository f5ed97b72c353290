//! What an expert computes, as a function of `.moe`, and the call of it with one expert's weights.

use crate::draft::{Draft, number};
use crate::error::ImportError;
use crate::row::{self, Experts, Layout, LayoutRef};
use crate::spec::Spec;

/// How weights of one kind of expert are called.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// The dim of its width.
    width: &'static str,
    /// The dim of what it gets and gives.
    pub(crate) token: &'static str,
    /// Letter in front of the matrices, and of the biases.
    matrix: &'static str,
    bias: &'static str,
    /// The view of a fused matrix, and of its bias.
    fused: &'static str,
    fused_bias: &'static str,
    /// Its function, where another kind has taken the plain name.
    function: &'static str,
}

/// Experts that are chosen.
pub(crate) const ROUTED: Names =
    Names { width: "F", token: "H", matrix: "w", bias: "b", fused: "w", fused_bias: "b", function: "expert" };

/// Experts that compute every token.
pub(crate) const SHARED: Names = Names {
    width: "Fs",
    token: "H",
    matrix: "s",
    bias: "sb",
    fused: "sw",
    fused_bias: "sb",
    function: "shared_expert",
};

/// A body with the numbers of a configuration.
pub(crate) struct Body {
    kind: row::Body,
    /// The activation, with `$` for what it is of.
    act: &'static str,
    limit: Option<String>,
    alpha: Option<String>,
}

/// Activations by the names that configurations use.
const ACTIVATIONS: &[(&str, &str)] = &[
    ("silu", "silu($)"),
    ("swish", "silu($)"),
    ("gelu", "gelu($)"),
    ("gelu_new", "gelu_tanh($)"),
    ("gelu_pytorch_tanh", "gelu_tanh($)"),
    ("relu", "relu($)"),
    ("relu2", "square(relu($))"),
    ("sigmoid", "sigmoid($)"),
    ("tanh", "tanh($)"),
];

impl Body {
    pub(crate) fn read(draft: &Draft<'_>, experts: &Experts) -> Result<Body, ImportError> {
        let name = draft.config.word(&experts.act)?.unwrap_or_else(|| "silu".to_owned());
        let act = ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, act)| *act);
        let act = act.ok_or_else(|| {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(known, _)| *known).collect();
            let name: String = name.chars().take(40).collect();
            ImportError::Config(format!(
                "the activation {name:?} is not known; known are {}",
                known.join(", ")
            ))
        })?;
        let amount = |amount: &Option<row::Amount>| -> Result<Option<String>, ImportError> {
            let Some(amount) = amount else { return Ok(None) };
            Ok(draft.amount(amount)?.map(number))
        };
        let alpha = match &experts.body {
            row::Body::Lifted { alpha } => amount(&Some(alpha.clone()))?,
            _ => None,
        };
        Ok(Body { kind: experts.body.clone(), act, limit: amount(&experts.limit)?, alpha })
    }

    fn act(&self, of: &str) -> String {
        self.act.replace('$', of)
    }

    fn is_swiglu(&self) -> bool {
        self.kind == row::Body::Gated && self.act == "silu($)" && self.limit.is_none()
    }

    /// A few words for the reader.
    pub(crate) fn about(&self) -> String {
        let act = self.act("x gate");
        let limit =
            self.limit.as_ref().map_or(String::new(), |limit| format!(", both factors within {limit}"));
        match self.kind {
            _ if self.is_swiglu() => "SwiGLU".to_owned(),
            row::Body::Gated => format!("{act} * (x up), then down{limit}"),
            row::Body::Plain => format!("{}, then down", self.act("x up")),
            row::Body::Lifted { .. } => format!("(x up + 1) times a sigmoid gate, then down{limit}"),
        }
    }
}

/// The layout that the folder has: of those whose matrices are all there, the first that fits the
/// configuration. Of matrices in the one order and in the other, the names are the same.
pub(crate) fn layout(
    draft: &Draft<'_>,
    under: &str,
    references: &[LayoutRef],
) -> Result<Layout, ImportError> {
    let (mut first, mut first_there) = (None, None);
    for reference in references {
        let layout = draft.table.layout(reference)?;
        let (mut is_there, mut is_fit) = (true, true);
        for spec in [&layout.gate, &layout.up, &layout.gate_up].into_iter().flatten().chain([&layout.down]) {
            is_there &= draft.has(under, spec)?;
            is_fit &= draft.fits(under, spec)?;
        }
        if is_there && is_fit {
            return Ok(layout.clone());
        }
        first = first.or(Some(layout));
        first_there = first_there.or(Some(layout).filter(|_| is_there));
    }
    // What is wrong is said of the one that is there, or of the usual one.
    first_there
        .or(first)
        .cloned()
        .ok_or_else(|| ImportError::Internal(format!("{}: no layout", draft.row.title)))
}

/// Takes the weights of an expert and gives the call of its function on `input`.
pub(crate) fn write(
    draft: &mut Draft<'_>,
    body: &Body,
    layout: &Layout,
    under: &str,
    names: Names,
    input: &str,
) -> Result<String, ImportError> {
    let mut parts = Parts { draft, under, names, arguments: vec![input.to_owned()], formals: Vec::new() };
    let Names { width, token, .. } = names;
    match &layout.gate_up {
        Some(fused) => {
            let (matrix, bias) = (names.matrix, names.bias);
            let stored = parts.bind(names.fused, &format!("{matrix}13"), fused)?;
            let stored_bias = match &layout.gate_up_bias {
                Some(spec) => Some(parts.bind(names.fused_bias, &format!("{bias}13"), spec)?),
                None => None,
            };
            for (half, name) in ["gate", "up"].into_iter().enumerate() {
                parts.push(name, "[W, D]", stored.part(&[width, token], Some(half))?);
                if let Some(bias) = &stored_bias {
                    parts.push(&format!("{name}_bias"), "[W]", bias.part(&[width], Some(half))?);
                }
            }
        }
        None => {
            for (name, digit, spec, bias) in [
                ("gate", '1', &layout.gate, &layout.gate_bias),
                ("up", if layout.gate.is_some() { '3' } else { '1' }, &layout.up, &layout.up_bias),
            ] {
                parts.matrix(name, digit, spec.as_ref(), &[width, token], "[W, D]")?;
                parts.bias(name, digit, bias.as_ref(), width, "[W]")?;
            }
        }
    }
    parts.matrix("down", '2', Some(&layout.down), &[token, width], "[D, W]")?;
    parts.bias("down", '2', layout.down_bias.as_ref(), token, "[D]")?;
    let Parts { arguments, formals, .. } = parts;

    let arguments = arguments.join(", ");
    let has = |name: &str| formals.iter().any(|(formal, _)| formal == name);
    if body.is_swiglu() && formals.len() == 3 {
        return Ok(format!("swiglu({arguments})"));
    }
    if (body.kind == row::Body::Plain) == has("gate") || !has("up") {
        return Err(ImportError::Internal(format!("{}: body and layout do not fit", draft.row.title)));
    }
    let text = |name: &str| function(name, body, &formals);
    let plain = text(ROUTED.function);
    let name = if draft.functions.is_empty() || draft.functions.contains(&plain) {
        ROUTED.function
    } else {
        names.function
    };
    let text = text(name);
    if !draft.functions.contains(&text) {
        draft.functions.push(text);
    }
    Ok(format!("{name}({arguments})"))
}

/// Arguments of a call and formals of the function, as they are collected.
struct Parts<'d, 'a> {
    draft: &'d mut Draft<'a>,
    under: &'d str,
    names: Names,
    arguments: Vec<String>,
    formals: Vec<(String, &'static str)>,
}

impl Parts<'_, '_> {
    /// Takes a weight; specs speak of F and H, whatever the widths are called here.
    fn bind(&mut self, name: &str, stored: &str, spec: &Spec) -> Result<crate::draft::Bound, ImportError> {
        let mut spec = spec.clone();
        for dim in spec.axes.iter_mut().flatten() {
            match dim.as_str() {
                "F" => *dim = self.names.width.to_owned(),
                "H" => *dim = self.names.token.to_owned(),
                _ => {}
            }
        }
        self.draft.bind(name, stored, self.under, &spec)
    }

    fn push(&mut self, formal: &str, axes: &'static str, argument: String) {
        self.arguments.push(argument);
        self.formals.push((formal.to_owned(), axes));
    }

    fn matrix(
        &mut self,
        formal: &str,
        digit: char,
        spec: Option<&Spec>,
        wanted: &[&str],
        axes: &'static str,
    ) -> Result<(), ImportError> {
        let Some(spec) = spec else { return Ok(()) };
        let name = format!("{}{digit}", self.names.matrix);
        let bound = self.bind(&name, &format!("{name}_flat"), spec)?;
        self.push(formal, axes, bound.part(wanted, None)?);
        Ok(())
    }

    fn bias(
        &mut self,
        formal: &str,
        digit: char,
        spec: Option<&Spec>,
        wanted: &str,
        axes: &'static str,
    ) -> Result<(), ImportError> {
        let Some(spec) = spec else { return Ok(()) };
        let name = format!("{}{digit}", self.names.bias);
        let bound = self.bind(&name, &format!("{name}_flat"), spec)?;
        self.push(&format!("{formal}_bias"), axes, bound.part(&[wanted], None)?);
        Ok(())
    }
}

/// The function of a body with these weights. Its dims D and W are whatever widths it is called with.
fn function(name: &str, body: &Body, formals: &[(String, &str)]) -> String {
    let product = |x: &str, matrix: &str| {
        let bias = format!("{matrix}_bias");
        let plus = if formals.iter().any(|(formal, _)| *formal == bias) {
            format!(" + {bias}")
        } else {
            String::new()
        };
        format!("{x} @ {matrix}.T{plus}")
    };
    let (gate, up) = (product("x", "gate"), product("x", "up"));
    let within = |factor: &str, both: bool| match (&body.limit, both) {
        (None, _) => factor.to_owned(),
        (Some(limit), false) => format!("minimum({factor}, {limit})"),
        (Some(limit), true) => format!("clamp({factor}, -{limit}, {limit})"),
    };
    let (doc, lines) = match &body.kind {
        row::Body::Gated => (
            format!("{} * (x up), then down.", body.act("x gate")),
            vec![
                format!("let g = {}", within(&gate, false)),
                format!("let u = {}", within(&up, true)),
                product(&format!("({} * u)", body.act("g")), "down"),
            ],
        ),
        row::Body::Plain => (
            format!("{}, then down.", body.act("x up")),
            vec![format!("let h = {up}"), product(&body.act("h"), "down")],
        ),
        row::Body::Lifted { .. } => (
            "(x up + 1) times a sigmoid gate, then down.".to_owned(),
            vec![
                format!("let g = {}", within(&gate, false)),
                format!("let u = {}", within(&up, true)),
                product(
                    &format!("((u + 1) * g * sigmoid({} * g))", body.alpha.as_deref().unwrap_or("1")),
                    "down",
                ),
            ],
        ),
    };
    let formals: Vec<String> =
        formals.iter().map(|(formal, axes)| format!("{formal}: float{axes}")).collect();
    let formals = formals.join(", ");
    let body = lines.join("\n");
    format!("/// {doc}\nfn {name}(x: f32[.., D], {formals}) -> f32[.., D] {{\n{body}\n}}\n")
}
