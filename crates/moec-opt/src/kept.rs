//! How many pairs a plan that drops some can keep: what its cost rests on.

use moec_ir::{Attrs, Dim, Op, PlanType};

/// What is known of the pairs that a plan keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// Seats of all experts in all groups: no more pairs are kept.
    pub(crate) seats: Option<Dim>,
    /// Of how many experts those of the plan are some.
    pub(crate) of: Dim,
}

/// What `plan`, made by `op`, keeps, given what its operand, a plan of type `from`, does.
pub(crate) fn kept(
    op: Op,
    attrs: &Attrs,
    plan: Option<&PlanType>,
    from: Option<&PlanType>,
    operand: Option<&Kept>,
) -> Option<Kept> {
    let (plan, from) = (plan?, from?);
    let of = operand.map_or(&from.experts, |known| &known.of).clone();
    let known = operand.and_then(|known| known.seats.clone());
    match op {
        Op::PlanCapacity => {
            let group = attrs.dim("group");
            let groups =
                if *group == from.tokens { Some(Dim::constant(1)) } else { from.tokens.divided_by(group) };
            let seats =
                groups.and_then(|groups| Dim::product([&groups, &from.experts, attrs.dim("capacity")]).ok());
            Some(Kept { seats: seats.or(known), of })
        }
        Op::PlanSubset => {
            let seats = known.and_then(|seats| seats.divided_by(&from.experts)?.times(&plan.experts).ok());
            Some(Kept { seats, of })
        }
        Op::PlanFlatten => operand.cloned(),
        _ => None,
    }
}
