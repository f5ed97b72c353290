//! The account as text.

use std::fmt::{self, Write};

use super::account::{Account, Operation};

/// All of it.
pub(super) fn text(account: &Account) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, account);
    text
}

fn write_all(out: &mut String, account: &Account) -> fmt::Result {
    let Account { model, tokens, graph, .. } = account;
    writeln!(
        out,
        "{model}: {} operations became {}; estimated {} became {} a call, at {tokens} tokens",
        account.before.len(),
        account.after.len(),
        time(account.seconds_before),
        time(account.seconds_after),
    )?;
    writeln!(out, "costs assume the target `{}`: {}", account.target, account.figures)?;
    let end = match graph.limit {
        None => "until nothing new was found".to_owned(),
        Some(limit) => format!("until the limit of {limit}"),
    };
    let (nodes, classes, rounds) = (graph.nodes, graph.classes, graph.rounds);
    writeln!(out, "e-graph: {nodes} nodes in {classes} classes after {rounds} rounds, {end}")?;
    for rule in &account.panicked {
        writeln!(out, "the rule {rule} panicked and was left out: please report this")?;
    }
    if let Some(reason) = &account.fallback {
        writeln!(out, "the source was kept as it is: {reason}")?;
    }
    writeln!(out, "numerics: {}", account.numerics)?;
    writeln!(out, "validation: {}", account.validation)?;
    for plan in account.memory.iter().flat_map(|memory| &memory.plans) {
        writeln!(out, "memory: {}", plan.said)?;
    }
    writeln!(out, "\nbefore, with the estimated time of each operation and what it waits for:")?;
    operations(out, &account.before)?;
    writeln!(out, "\nafter, with the rule that made each:")?;
    operations(out, &account.after)?;
    if !account.considered.is_empty() {
        writeln!(out, "\nconsidered and not chosen at {tokens} tokens, and the time of the whole:")?;
        for other in &account.considered {
            writeln!(out, "    {:>9}  {}: {}", time(other.seconds), other.what, other.why)?;
        }
    }
    if account.choices.len() > 1 {
        writeln!(out, "\nby number of tokens:")?;
        for choice in &account.choices {
            let (tokens, program) = (choice.tokens, choice.program + 1);
            writeln!(out, "    {:>9}  at {tokens}, program {program}", time(choice.seconds))?;
        }
    }
    if !account.rules.is_empty() {
        writeln!(out, "\nrules that added something, how often, and how far they may move bits:")?;
        for rule in &account.rules {
            writeln!(out, "    {:6}  {} ({})", rule.count, rule.name, rule.numerics)?;
        }
    }
    Ok(())
}

/// One operation a line; sources and operations on weights alone cost nothing.
fn operations(out: &mut String, operations: &[Operation]) -> fmt::Result {
    for operation in operations {
        let cost = if operation.seconds == 0.0 { String::new() } else { time(operation.seconds) };
        let bound = operation.bound.unwrap_or_default();
        writeln!(out, "    {cost:>9} {bound:6}  {}", operation.text)?;
        if let Some(rule) = operation.rule {
            writeln!(out, "    {:16}      by {rule}", "")?;
        }
    }
    Ok(())
}

/// A time in the unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
