//! Params: their values, overrides, and the texts they are put into.

use std::collections::BTreeMap;

use moec_diag::{Diagnostic, Span, codes, nearest};
use moec_syntax::ast::{self, MemberKind, ParamValue, StringLit, StringPart};

use crate::lowerer::{Binding, Check, Failed, Lowerer, NameKind};
use crate::value::{Literal, Value};

/// What a hole that names a param is replaced by.
enum Content<'m> {
    /// As written in the model.
    Written(&'m StringLit),
    /// From `--set`.
    Given(String),
    /// A whole number.
    Whole(i128),
    /// A number with a fraction, or a truth value: not for names of tensors.
    Unfit(String),
}

/// The params of a model as texts see them.
#[derive(Default)]
pub(crate) struct Params<'m>(BTreeMap<String, Content<'m>>);

/// A piece of an expanded text.
pub(crate) enum Piece {
    Text(String),
    /// A hole that names a dim.
    Dim {
        name: String,
        width: Option<u32>,
        span: Span,
    },
}

impl Lowerer<'_> {
    /// Declares the params of a model, with those of `set` overridden.
    pub(crate) fn define_params<'m>(
        &mut self,
        model: &'m ast::Model,
        set: &BTreeMap<String, String>,
        applied: &mut Vec<String>,
    ) -> Params<'m> {
        let mut params = Params::default();
        for member in &model.members {
            let MemberKind::Param(param) = &member.kind else { continue };
            let name = &param.name.text;
            let given = set.get(name);
            applied.extend(given.map(|_| name.clone()));
            let (value, content) = match (&param.value, given) {
                (ParamValue::Number { number, .. }, None) => (Ok(number.value), None),
                (ParamValue::Number { .. }, Some(text)) => {
                    (text.parse::<f64>().map_err(|_| "a number"), None)
                }
                (ParamValue::Bool(value, _), None) => {
                    (Ok(f64::from(u8::from(*value))), Some(value.to_string()))
                }
                (ParamValue::Bool(..), Some(text)) => match text.parse::<bool>() {
                    Ok(value) => (Ok(f64::from(u8::from(value))), Some(text.clone())),
                    Err(_) => (Err("true or false"), None),
                },
                (ParamValue::Text(text), None) => {
                    params.0.insert(name.clone(), Content::Written(text));
                    self.declare(&param.name, NameKind::Param, Binding::Value(Some(Value::Text)));
                    continue;
                }
                (ParamValue::Text(_), Some(text)) => {
                    params.0.insert(name.clone(), Content::Given(text.clone()));
                    self.declare(&param.name, NameKind::Param, Binding::Value(Some(Value::Text)));
                    continue;
                }
            };
            let value = match (value, content) {
                (Ok(_), Some(text)) => {
                    let value = Value::Literal(Literal::Bool(text == "true"));
                    params.0.insert(name.clone(), Content::Unfit(text));
                    Some(value)
                }
                (Ok(number), None) => {
                    let whole = number.fract() == 0.0 && number.abs() < 1e18;
                    let content = if whole {
                        Content::Whole(number as i128)
                    } else {
                        Content::Unfit(number.to_string())
                    };
                    params.0.insert(name.clone(), content);
                    Some(Value::Literal(Literal::Number(number)))
                }
                (Err(wanted), _) => {
                    let text = given.map_or("", String::as_str);
                    let message = format!("`--set {name}={text}`: expected {wanted}");
                    self.fail(&codes::BAD_OVERRIDE, message, param.name.span, "declared here");
                    None
                }
            };
            self.declare(&param.name, NameKind::Param, Binding::Value(value));
        }
        params
    }

    /// The text with params put in.
    pub(crate) fn filled_in(&mut self, text: &StringLit, params: &Params<'_>) -> Check<Vec<Piece>> {
        let mut pieces = Vec::new();
        self.expand_into(text, params, &mut Vec::new(), None, &mut pieces)?;
        Ok(pieces)
    }

    /// `at` is the hole in the text that was asked for, when this is a param inside it.
    fn expand_into(
        &mut self,
        text: &StringLit,
        params: &Params<'_>,
        inside: &mut Vec<String>,
        at: Option<Span>,
        pieces: &mut Vec<Piece>,
    ) -> Check<()> {
        for part in &text.parts {
            let (name, width, span) = match part {
                StringPart::Text(text, _) => {
                    pieces.push(Piece::Text(text.clone()));
                    continue;
                }
                StringPart::Hole { name, width, span } => (&name.text, *width, *span),
            };
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                pieces.push(Piece::Dim { name: name.clone(), width, span: at.unwrap_or(span) });
                continue;
            }
            if let Some(param) = self.frame.names.iter_mut().find(|n| n.text == *name) {
                param.used = true;
            }
            match params.0.get(name) {
                Some(Content::Written(inner)) => {
                    // Texts double in length with each level at worst, so levels are few.
                    if inside.contains(name) || inside.len() >= 16 {
                        let message = format!("the text of `{name}` contains itself");
                        return Err(self.fail(
                            &codes::BAD_PATTERN,
                            message,
                            span,
                            "this hole leads back to its own text",
                        ));
                    }
                    inside.push(name.clone());
                    self.expand_into(inner, params, inside, Some(at.unwrap_or(span)), pieces)?;
                    inside.pop();
                    if pieces.len() > 10_000 {
                        let message = format!("the text of `{name}` is too long");
                        return Err(self.fail(&codes::BAD_PATTERN, message, span, ""));
                    }
                }
                Some(Content::Given(text)) => pieces.push(Piece::Text(text.clone())),
                Some(Content::Whole(n)) => {
                    let width = width.unwrap_or(0) as usize;
                    pieces.push(Piece::Text(format!("{n:0width$}")));
                }
                Some(Content::Unfit(text)) => {
                    let message = format!("`{{{name}}}` is {text}, which cannot stand in a tensor's name");
                    return Err(self.fail(
                        &codes::BAD_PATTERN,
                        message,
                        span,
                        "expected a whole number or a text",
                    ));
                }
                None => return Err(self.unknown_param(name, span, params)),
            }
        }
        Ok(())
    }

    fn unknown_param(&mut self, name: &str, span: Span, params: &Params<'_>) -> Failed {
        let message = format!("`{name}` is no param");
        let mut diagnostic =
            Diagnostic::error(&codes::UNKNOWN_NAME, message).label(span, "a hole names a param or a dim");
        if let Some(near) = nearest(name, params.0.keys().map(String::as_str)) {
            diagnostic = diagnostic.help(format!("did you mean `{{{near}}}`?"));
        }
        self.report(diagnostic)
    }
}
