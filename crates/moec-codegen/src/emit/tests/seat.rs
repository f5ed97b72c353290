//! Seats, and groupings by what is no expert.

use moec_ir::{DType, Dim};
use moec_plan::{Group, Kernel, Seat, Store};

use super::group::{CHOICES, Choice, choose, routing};
use super::harness::{Builder, at};

/// Groups and tokens of a group, slots, experts.
type Sizes = [u64; 4];

fn seat([groups, group, slots, experts]: Sizes, slots_first: bool, drops: bool, choice: Choice) {
    let mut builder = Builder::new();
    let count = groups * group;
    let tokens = builder.dim("T", count);
    let [group, s, e] =
        [("G", group), ("S", slots), ("E", experts)].map(|(name, size)| builder.dim(name, size));
    let shape = [tokens.clone(), s.clone()];
    let index = builder.buffer("index", DType::I32, &shape);
    let seated = builder.buffer("seated", DType::I32, &shape);
    let out = routing(&mut builder, &e, &tokens, &s, true);
    let from = at(index, &shape, &[0, 1]);
    let store = Store { buffer: seated, offset: Vec::new(), strides: vec![s.clone(), Dim::constant(1)] };
    let kernel = Seat {
        experts: e.clone(),
        tokens: tokens.clone(),
        slots: s.clone(),
        group,
        slots_first,
        drops,
        index: from,
        out: store,
    };
    builder.step("seat", Kernel::Seat(kernel));
    let index = at(index, &shape, &[0, 1]);
    builder.step("group", Kernel::Group(Group { experts: e, tokens, slots: s, index, out }));
    let mut contents = builder.contents(3);
    contents[0] = choose(count, slots, experts, choice);
    builder.check_on(&contents);
}

#[test]
fn seats_are_given_in_order() {
    let sizes =
        [[1, 0, 2, 4], [1, 1, 1, 1], [1, 5, 2, 4], [3, 6, 2, 4], [2, 9, 3, 8], [4, 1, 4, 64], [1, 7, 2, 3]];
    for size in sizes {
        for choice in CHOICES {
            for slots_first in [false, true] {
                seat(size, slots_first, false, choice);
            }
        }
    }
}

#[test]
fn dropped_pairs_stay_dropped() {
    let also: Choice = |token, slot, experts| ((token * 3 + slot * 5) % (experts + 1)) as i32;
    for size in [[1, 5, 2, 4], [3, 4, 3, 2], [2, 1, 1, 1]] {
        for slots_first in [false, true] {
            seat(size, slots_first, true, also);
        }
    }
}

#[test]
fn faults_stay_in_bounds() {
    let bad: [Choice; 3] = [
        |_, _, experts| experts as i32 + 1,
        |token, _, _| if token == 2 { -1 } else { 0 },
        |_, _, _| i32::MIN,
    ];
    for choice in bad {
        for drops in [false, true] {
            seat([2, 3, 2, 4], true, drops, choice);
            seat([1, 3, 1, 0], false, drops, choice);
        }
    }
}
