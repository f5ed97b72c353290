//! Products side by side: a routed product waits for memory where a batch with many rows waits for arithmetic,
//! so two that do not need each other are done together.

use crate::{Groups, Kernel, Step};

/// Steps that are done together.
type Stage = Vec<Step>;

/// The steps of one program, in an order that is as good. Each routed product is done together with the first
/// batch product that it neither needs nor is needed by, if there is one that is still alone.
pub(super) fn joined(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut stages: Vec<Stage> = steps.into_iter().map(|step| vec![step]).collect();
    while let Some([first, second]) = pair(&stages) {
        join(&mut stages, first, second);
    }
    let numbered = stages.into_iter().flat_map(|stage| stage.into_iter().enumerate());
    numbered.map(|(number, step)| Step { together: number > 0, ..step }).collect()
}

/// Two stages to join, in ascending order.
fn pair(stages: &[Stage]) -> Option<[usize; 2]> {
    let alone = |routed: bool| {
        let is = move |stage: &Stage| matches!(stage.as_slice(), [step] if is_routed(step) == Some(routed));
        (0..stages.len()).filter(move |&at| is(&stages[at]))
    };
    let pairs = alone(true).flat_map(|routed| alone(false).map(move |batch| [routed, batch]));
    let mut pairs = pairs.map(|[routed, batch]| [routed.min(batch), routed.max(batch)]);
    pairs.find(|&[first, second]| !followers(stages, first, second).contains(&second))
}

/// Whether a step is a routed product; none if it is no product.
fn is_routed(step: &Step) -> Option<bool> {
    match &step.kernel {
        Kernel::Product(product) => Some(matches!(product.groups, Groups::Routed(_))),
        _ => None,
    }
}

/// The stage `first`, and those up to `last` that have to be done after it.
fn followers(stages: &[Stage], first: usize, last: usize) -> Vec<usize> {
    let mut found = vec![first];
    for at in first + 1..=last {
        let follows = |&earlier: &usize| {
            let mut pairs = stages[earlier].iter().flat_map(|a| stages[at].iter().map(move |b| (a, b)));
            pairs.any(|(a, b)| a.kernel.interferes(&b.kernel))
        };
        if found.iter().any(follows) {
            found.push(at);
        }
    }
    found
}

/// Joins two stages where the second is, and puts behind it what follows the first. The batch comes before the
/// routed product: threads begin at different items, one with what waits for arithmetic and another with what
/// waits for memory.
fn join(stages: &mut Vec<Stage>, first: usize, second: usize) {
    let followers = followers(stages, first, second);
    let mut moved: Vec<Stage> = followers.iter().rev().map(|&at| stages.remove(at)).collect();
    let at = second - followers.len();
    stages[at].extend(moved.pop().into_iter().flatten());
    stages[at].sort_by_key(is_routed);
    moved.reverse();
    stages.splice(at + 1..at + 1, moved);
}
