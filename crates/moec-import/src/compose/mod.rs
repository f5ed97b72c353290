//! From a row and a folder to source text: who says what in which order. `router` writes the lines
//! from tokens to weights, `expert` the functions and calls of experts.

mod expert;
mod router;

use crate::draft::Draft;
use crate::error::ImportError;
use crate::row::{Applies, Shared};

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
            text.push_str(&format!("/// {sentence}\n"));
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

/// Writes a block.
pub(crate) fn compose(mut draft: Draft<'_>) -> Result<Text, ImportError> {
    let row = draft.row;
    for (key, allowed) in &row.require {
        let key = crate::key::Key::try_from(key.clone()).map_err(ImportError::Internal)?;
        let allowed: Vec<_> = allowed.all().iter().map(|literal| literal.0.clone()).collect();
        draft.config.require(&key, &allowed)?;
    }
    draft.size("H")?;
    router::write(&mut draft)?;
    let experts = &row.experts;
    let layout = expert::layout(&draft, &experts.under, &experts.layouts)?;
    let input = match row.router.applies {
        Applies::Output => "x",
        Applies::Input => "g[e] * x",
    };
    let body = expert::Body::read(&draft, experts)?;
    let call = expert::write(&mut draft, &body, &layout, &experts.under, expert::ROUTED, input)?;
    let routed = match row.router.applies {
        Applies::Output => format!("sum e over E {{ g[e] * {call} }}"),
        Applies::Input => format!("sum e over E {{ {call} }}"),
    };
    draft.about.push(format!("Experts: {}.", body.about()));
    let mut terms = Vec::new();
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
    let call = expert::write(draft, body, &layout, &shared.under, expert::SHARED, "x")?;
    let Some(gate) = &shared.gate else {
        draft.about.push("Shared expert: always on.".to_owned());
        return Ok(Some(call));
    };
    draft.about.push("Shared expert: always on, times the sigmoid of a gate of its own.".to_owned());
    let gate = draft.bind("shared_gate", "shared_gate", "", gate)?;
    let column = gate.part(&["H"], None)?;
    Ok(Some(format!("sigmoid(x @ {column}) * {call}")))
}
