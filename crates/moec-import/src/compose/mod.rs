//! From a row and a folder to source text: who says what in which order. `router` writes the lines
//! from tokens to weights, `seats` those of experts that take so many tokens and no more, `expert` the
//! functions and calls of experts.

mod expert;
mod router;
mod seats;

use crate::draft::Draft;
use crate::error::ImportError;
use crate::row::{Applies, Norm, Shared};

/// The text of a block, before it is formatted.
pub(crate) struct Text {
    /// What stands above the model: who it is, and which pieces it is made of.
    pub(crate) about: Vec<String>,
    /// Functions of the block.
    pub(crate) functions: Vec<String>,
    /// Its members.
    pub(crate) members: Vec<String>,
}

impl Text {
    /// As source.
    pub(crate) fn source(&self, title: &str, name: &str) -> String {
        let mut text = String::new();
        for function in &self.functions {
            text.push_str(function);
            text.push('\n');
        }
        text.push_str(&format!("/// {title}\n///\n"));
        for sentence in &self.about {
            text.push_str(&doc(sentence));
        }
        text.push_str(&format!("model {name} {{\n"));
        for member in &self.members {
            text.push_str(member);
            text.push('\n');
        }
        text.push_str("}\n");
        text
    }
}

/// Columns of a line of comment.
const COLUMNS: usize = 100;

/// A sentence as lines of comment; those after the first are indented.
fn doc(sentence: &str) -> String {
    let (mut lines, mut line) = (String::new(), "///".to_owned());
    for word in sentence.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            line = "///  ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    format!("{lines}{line}\n")
}

/// Writes a block.
pub(crate) fn compose(mut draft: Draft<'_>) -> Result<Text, ImportError> {
    let row = draft.row;
    for (key, allowed) in &row.require {
        let key = crate::key::Key::try_from(key.clone()).map_err(ImportError::Internal)?;
        let allowed: Vec<_> = allowed.all().iter().map(|literal| literal.0.clone()).collect();
        draft.config.require(&key, &allowed)?;
    }
    draft.size("H")?;
    let gates = router::write(&mut draft)?;
    let experts = &row.experts;
    let layout = expert::layout(&draft, &experts.under, &experts.layouts)?;
    let body = expert::Body::read(&draft, experts)?;
    let mut names = expert::ROUTED;
    let mut input = norm_in(&mut draft, experts.norm_in.as_ref(), "norm_in", "xe")?;
    let mut around = Vec::new();
    let latent = match &experts.latent {
        Some(latent) if draft.config.holds(&latent.when)? => Some(latent),
        _ => None,
    };
    if let Some(latent) = latent {
        names.token = "L";
        let matrix = draft.bind("latent_in", "latent_in", "", &latent.into)?.part(&["L", "H"], None)?;
        draft.lets.push(format!("let z = {input} @ {matrix}.T  // [T, L]"));
        input = "z".to_owned();
        around.push("projections to a narrower space and back");
    }
    if row.router.applies == Applies::Input {
        input = format!("g[e] * {input}");
    }
    let call = expert::write(&mut draft, &body, &layout, &experts.under, names, &input)?;
    let mut gate = "g";
    let mut terms = Vec::new();
    if row.router.identities.is_some() {
        draft.lets.push(format!("let real = g[{} = 0..E]", gates.axis));
        draft.lets.push(format!("let same = sum(g[{} = E..{0}], over Z)", gates.axis));
        gate = "real";
        around.push("others give back what they get");
        terms.push("same * x".to_owned());
    }
    let mut routed = match row.router.applies {
        _ if gates.are_slots => {
            format!("sum k over K {{ {gate}[k] * sum e over E {{ {call} where chosen[k] == e else 0 }} }}")
        }
        Applies::Output => format!("sum e over E {{ {gate}[e] * {call} }}"),
        Applies::Input => format!("sum e over E {{ {call} }}"),
    };
    if let Some(latent) = latent {
        let matrix = draft.bind("latent_out", "latent_out", "", &latent.out)?.part(&["H", "L"], None)?;
        draft.lets.push(format!("let r = {routed}  // [T, L]"));
        routed = format!("r @ {matrix}.T");
    }
    if let Some(norm) = &experts.norm_out {
        around.push("norms of their own");
        draft.lets.push(format!("let r = {routed}"));
        routed = router::normed(&mut draft, norm, "norm_out", "r")?;
    }
    draft.about.push(format!("Experts: {}.", body.about()));
    if !around.is_empty() {
        draft.about.push(format!("Around the experts: {}.", around.join(", ")));
    }
    if let Some(shared) = &row.shared {
        terms.extend(write_shared(&mut draft, shared, &body)?);
    }
    terms.push(routed);
    if let Some(bias) = &row.output_bias {
        let bias = draft.bind("bias_out", "bias_out", "", bias)?;
        terms.push(bias.part(&["H"], None)?);
    }
    draft.account()?;
    let mut members = draft.declarations();
    members.push(String::new());
    members.append(&mut draft.views);
    members.append(&mut draft.lets);
    members.push(format!("output y : f32[T, H] = {}", terms.join(" + ")));
    Ok(Text { about: draft.about, functions: draft.functions, members })
}

/// The term of a shared expert, where there is one.
fn write_shared(
    draft: &mut Draft<'_>,
    shared: &Shared,
    body: &expert::Body,
) -> Result<Option<String>, ImportError> {
    if let Some(when) = &shared.when
        && !draft.config.holds(when)?
    {
        return Ok(None);
    }
    let layout = expert::layout(draft, &shared.under, &shared.layouts)?;
    let input = norm_in(draft, shared.norm_in.as_ref(), "shared_norm_in", "xs")?;
    let mut call = expert::write(draft, body, &layout, &shared.under, expert::SHARED, &input)?;
    if let Some(norm) = &shared.norm_out {
        call = router::normed(draft, norm, "shared_norm_out", &call)?;
    }
    let Some(gate) = &shared.gate else {
        draft.about.push("Shared expert: always on.".to_owned());
        return Ok(Some(call));
    };
    draft.about.push("Shared expert: always on, times the sigmoid of a gate of its own.".to_owned());
    let gate = draft.bind("shared_gate", "shared_gate", "", gate)?;
    let column = gate.part(&["H"], None)?;
    Ok(Some(format!("sigmoid(x @ {column}) * {call}")))
}

/// What experts get: the token, or, where there is a norm, the normalised token as the value `name`.
fn norm_in(
    draft: &mut Draft<'_>,
    norm: Option<&Norm>,
    weight: &str,
    name: &str,
) -> Result<String, ImportError> {
    let Some(norm) = norm else { return Ok("x".to_owned()) };
    let normed = router::normed(draft, norm, weight, "x")?;
    draft.lets.push(format!("let {name} = {normed}"));
    Ok(name.to_owned())
}
