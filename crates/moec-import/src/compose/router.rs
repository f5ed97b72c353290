//! The lines from tokens to the weights `g : f32[T, E]`, which are zero for experts that are not chosen;
//! or, where experts are looked up, `g : f32[T, K]` beside their numbers `chosen`.

use super::seats;
use crate::draft::{Draft, number};
use crate::error::ImportError;
use crate::key::Key;
use crate::row::{Amount, Closed, Divide, Divisor, GroupScore, Groups, Norm, Optional, Score, Select, Weigh};
use crate::spec::Spec;

/// The gates of a block, as expressions see them.
pub(crate) struct Gates {
    /// The axis of what is chosen: of experts, and of those that give back what they get.
    pub(crate) axis: String,
    /// Experts for each token are numbers `i32[T, K]` and their weights `f32[T, K]`, not a row of weights.
    pub(crate) are_slots: bool,
}

/// Writes the lines of the router.
pub(crate) fn write(draft: &mut Draft<'_>) -> Result<Gates, ImportError> {
    let router = &draft.row.router;
    let spec = router.weight.all().get(draft.place.router);
    let spec = spec.ok_or_else(|| ImportError::Internal("a router without a name".to_owned()))?;
    let axis = spec.axes.first().map_or("E".to_owned(), |axis| axis.join("*"));
    if let Some(identities) = &router.identities {
        let (experts, identities) = (draft.size("E")?, draft.config.count(identities)?);
        draft.define("Z", identities);
        draft.define("N", experts + identities);
        draft.derived.push(("N", "E + Z".to_owned()));
    }
    let weight = draft.bind("router", "router", "", spec)?.part(&[&axis, "H"], None)?;
    let mut words: Vec<String> = Vec::new();
    let x = match &router.norm {
        Some(norm) => {
            words.push("of the normalised token".to_owned());
            let normed = normed(draft, norm, "router_scale", "x")?;
            draft.lets.push(format!("let n = {normed}"));
            "n"
        }
        None => "x",
    };
    let mut logits = format!("{x} @ {weight}.T");
    if let Some(bias) = &router.bias {
        logits = format!("{logits} + {}", draft.bind("router_bias", "router_bias", "", bias)?.name);
    }
    if let Select::SparseMixer { eps } = &router.select {
        sparse_mixer(draft, &logits, eps)?;
        return Ok(Gates { axis, are_slots: false });
    }
    if let Some(cap) = &router.cap
        && let Some(cap) = draft.config.number(cap)?.filter(|cap| *cap > 0.0)
    {
        draft.params.push(("cap".to_owned(), number(cap)));
        logits = format!("cap * tanh(({logits}) / cap)");
        words.push(format!("logits within {}", number(cap)));
    }

    let (name, score, word) = match router.score {
        Score::Softmax => ("p", format!("softmax({logits}, over {axis})"), "softmax"),
        Score::Sigmoid => ("s", format!("sigmoid({logits})"), "sigmoid"),
        Score::SqrtSoftplus => ("s", format!("sqrt(softplus({logits}))"), "square root of softplus"),
        Score::Logits => ("z", logits, "logits"),
    };
    draft.lets.push(format!("let {name} = {score}  // [T, {axis}]"));
    let (experts, chosen) = (draft.size(&axis)?, draft.size("K")?);
    if chosen == 0 || chosen > experts {
        let message = format!("{chosen} experts for each token, of {experts}");
        return Err(ImportError::Config(message));
    }
    if let Some(table) = &router.table
        && draft.has("", table)?
    {
        words.push(format!("{word}; experts looked up by the id of the token, weighed by the score"));
        looked_up(draft, name, table, words)?;
        return Ok(Gates { axis, are_slots: true });
    }
    words.push(format!("{word}; the best {chosen} of {experts}"));

    let mut choice = name.to_owned();
    if let Some(bias) = &router.select_bias {
        let (bias, is_there) = match bias {
            Optional::Always(spec) => (spec, true),
            Optional::When { tensor, when } => (tensor, draft.config.holds(when)?),
        };
        if is_there {
            let bias = draft.bind("bias", "bias", "", bias)?.part(&[&axis], None)?;
            choice = format!("{name} + {bias}");
            words.push("chosen by score + bias".to_owned());
        }
    }
    let mut weighed = name.to_owned();
    if let Some(groups) = &router.groups
        && let Some(open) = open_groups(draft, groups, &choice, &mut words)?
    {
        if groups.weights_closed {
            weighed = open.clone();
        }
        choice = open;
    }
    let mut mask = format!("top_k({choice}, K, over {axis}).mask");
    let mut seated = None;
    if let Some(seats) = &router.seats
        && seats::are_few(draft, seats)?
    {
        seats::write(draft, seats, &choice, &mut words)?;
        match &seats.divided_before {
            Some(before) if draft.config.holds(before)? => seated = Some("seated"),
            _ => mask = "seated".to_owned(),
        }
    }
    let (weights, word) = match router.weigh {
        Weigh::Score => (format!("{weighed} where {mask} else 0"), "weighed by the score"),
        Weigh::Softmax => (
            format!("softmax({weighed} where {mask} else -inf, over {axis})"),
            "weighed by softmax over them",
        ),
        Weigh::Sigmoid => (format!("sigmoid({weighed} where {mask} else -inf)"), "weighed by their sigmoid"),
    };
    words.push(word.to_owned());
    finish(draft, weights, &axis, seated, words)?;
    Ok(Gates { axis, are_slots: false })
}

/// A normalised token.
pub(super) fn normed(
    draft: &mut Draft<'_>,
    norm: &Norm,
    name: &str,
    of: &str,
) -> Result<String, ImportError> {
    let weight = draft.bind(name, name, "", &norm.weight)?.part(&["H"], None)?;
    let eps = number(draft.amount(&norm.eps)?.unwrap_or(0.0));
    let by = if norm.by_width { " / sqrt(f32(H))" } else { "" };
    Ok(format!("rms_norm({of}, over H, eps = {eps}) * {weight}{by}"))
}

/// Experts by the id of the token, weighed by their scores.
fn looked_up(
    draft: &mut Draft<'_>,
    score: &str,
    table: &Spec,
    words: Vec<String>,
) -> Result<(), ImportError> {
    let table = draft.bind_table("table", table)?.name;
    draft.inputs.push(("ids", "i32[T]"));
    draft.lets.push(format!("let chosen = {table}[V = ids]  // i32[T, K]"));
    finish(draft, format!("{score}[E = chosen]"), "K", None, words)
}

/// Opens the best groups: the scores of experts in others are closed. `None` with a single group.
fn open_groups(
    draft: &mut Draft<'_>,
    groups: &Groups,
    choice: &str,
    words: &mut Vec<String>,
) -> Result<Option<String>, ImportError> {
    if let Some(when) = &groups.when
        && !draft.config.holds(when)?
    {
        return Ok(None);
    }
    let (count, experts) = (draft.peek("G")?.unwrap_or(1), draft.size("E")?);
    if count == 1 {
        return Ok(None);
    }
    let open = draft.size("Kg")?;
    if count == 0 || experts % count != 0 || open == 0 || open > count {
        return Err(ImportError::Config(format!("{experts} experts in {count} groups, {open} of them open")));
    }
    draft.define("G", count);
    draft.define("M", experts / count);
    let best = match groups.by {
        GroupScore::Max => "max(grouped, over M)".to_owned(),
        GroupScore::TopTwo => {
            draft.define("P", 2);
            "sum(top_k(grouped, P, over M).value, over P)".to_owned()
        }
    };
    let (closed, by) = (
        if groups.closed == Closed::Zero { "0" } else { "-inf" },
        if groups.by == GroupScore::Max { "best" } else { "best two" },
    );
    draft.lets.extend([
        format!("let grouped = reshape({choice}, [T, G, M])"),
        format!("let best = {best}  // [T, G]"),
        "let open = top_k(best, Kg, over G).mask".to_owned(),
        format!("let choice = reshape(grouped where open else {closed}, [T, E])"),
    ]);
    words.push(format!("in the {open} of {count} groups whose {by} score most"));
    Ok(Some("choice".to_owned()))
}

/// From the weights of the chosen to `g`: divided, without those that found no seat, scaled. `axis` is
/// that of the chosen.
fn finish(
    draft: &mut Draft<'_>,
    weights: String,
    axis: &str,
    seated: Option<&str>,
    mut words: Vec<String>,
) -> Result<(), ImportError> {
    let router = &draft.row.router;
    let mut gate = weights.clone();
    let mut is_factor = false;
    if let Some(divide) = &router.divide
        && let Some(divisor) = divisor(draft, divide, axis)?
    {
        is_factor = true;
        if divisor == format!("sum(c, over {axis})") {
            gate = format!("normalize({weights}, over {axis})");
        } else {
            draft.lets.push(format!("let c = {weights}"));
            gate = format!("c / {divisor}");
        }
        words.push(match divide.by {
            Divisor::Sum => "divided by their sum".to_owned(),
            Divisor::Norm { .. } => "divided by their norm".to_owned(),
        });
    }
    if let Some(seated) = seated {
        gate = format!("{gate} where {seated} else 0");
        is_factor = false;
    }
    let number_of = |key: &Option<Key>| match key {
        Some(key) => draft.config.number(key),
        None => Ok(None),
    };
    let scale = number_of(&router.scale)?.unwrap_or(1.0) * (1.0 - number_of(&router.dropout)?.unwrap_or(0.0));
    if scale != 1.0 {
        draft.params.push(("scale".to_owned(), number(scale)));
        gate = if is_factor { format!("{gate} * scale") } else { format!("({gate}) * scale") };
        is_factor = true;
        words.push(format!("times {}", number(scale)));
    }
    if let Some(each) = &router.expert_scale {
        let each = draft.bind("expert_scale", "expert_scale", "", each)?.part(&[axis], None)?;
        gate = if is_factor { format!("{gate} * {each}") } else { format!("({gate}) * {each}") };
        words.push("times a number for each expert".to_owned());
    }
    draft.lets.push(format!("let g = {gate}"));
    draft.about.insert(0, format!("Router ({}): {}.", router.family, words.join(", ")));
    Ok(())
}

/// What `c`, the weights of the chosen, is divided by; `None` if by nothing.
fn divisor(draft: &Draft<'_>, divide: &Divide, axis: &str) -> Result<Option<String>, ImportError> {
    if let Some(when) = &divide.when
        && !draft.config.holds(when)?
    {
        return Ok(None);
    }
    let mut divisor = match &divide.by {
        Divisor::Sum => format!("sum(c, over {axis})"),
        Divisor::Norm { p } => match draft.config.number(p)? {
            None => return Ok(None),
            Some(1.0) => format!("sum(abs(c), over {axis})"),
            Some(2.0) => format!("sqrt(sum(c * c, over {axis}))"),
            Some(p) => {
                let message = format!("weights divided by their {}-norm; supported is 1 or 2", number(p));
                return Err(ImportError::Config(message));
            }
        },
    };
    let amount = |amount: &Option<Amount>| match amount {
        Some(amount) => draft.amount(amount),
        None => Ok(None),
    };
    if let Some(eps) = amount(&divide.eps)?.filter(|eps| *eps != 0.0) {
        divisor = format!("({divisor} + {})", number(eps));
    }
    if let Some(least) = amount(&divide.at_least)? {
        divisor = format!("maximum({divisor}, {})", number(least));
    }
    Ok(Some(divisor))
}

/// Two rounds of the best (`sparsemixer` of transformers, as it infers): each is weighed by a softmax over
/// those of its rivals that are within `2 eps` of it.
fn sparse_mixer(draft: &mut Draft<'_>, logits: &str, eps: &Amount) -> Result<(), ImportError> {
    let eps = draft.amount(eps)?.unwrap_or(0.0);
    draft.params.push(("eps".to_owned(), number(eps)));
    draft.functions.push(MIXER_ROUND.to_owned());
    draft.lets.extend([
        format!("let s = {logits}  // [T, E]"),
        "let first = mixer_round(s, s, eps)".to_owned(),
        "let rest = s where not top_k(s, 1, over E).mask else -inf".to_owned(),
        "let g = first + mixer_round(s, rest, eps)".to_owned(),
    ]);
    let about = format!(
        "Router ({}): two rounds of the best, each weighed by softmax over its rivals within {} of it.",
        draft.row.router.family,
        number(2.0 * eps)
    );
    draft.about.insert(0, about);
    Ok(())
}

const MIXER_ROUND: &str = "\
/// The best of `open`, weighed against those rivals that are within 2 eps of it.
fn mixer_round(s: f32[.., E], open: f32[.., E], eps: f32) -> f32[.., E] {
    let best = max(open, over E)
    let far = (best - s) / maximum(abs(s), best) > 2 * eps  // bool[.., E]
    let p = softmax(open where not far else -inf, over E)
    p where top_k(open, 1, over E).mask else 0
}
";
