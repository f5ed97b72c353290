//! Routing plans.

use moec_ir::{DType, Dim, DimExpr, Number};
use moec_plan::{Group, Kernel, RoutingBuffers};

use super::harness::{Builder, at};

/// Adds the buffers of a routing plan.
pub(super) fn routing(
    builder: &mut Builder,
    experts: &Dim,
    tokens: &Dim,
    slots: &Dim,
    drops: bool,
) -> RoutingBuffers {
    let total = tokens.times(slots).unwrap();
    let one = DimExpr::Number(Number::new(1.0));
    let offsets = DimExpr::Add(Box::new(DimExpr::Dim(experts.clone())), Box::new(one));
    RoutingBuffers {
        offsets: builder.sized_buffer("offsets", DType::I32, offsets.clone()),
        touched: builder.sized_buffer("touched", DType::I32, offsets),
        expert: builder.buffer("expert", DType::I32, std::slice::from_ref(&total)),
        token: builder.buffer("token", DType::I32, std::slice::from_ref(&total)),
        pair: builder.buffer("pair", DType::I32, std::slice::from_ref(&total)),
        rows: builder.buffer("rows", DType::I32, &[tokens.clone(), slots.clone()]),
        experts: experts.clone(),
        total,
        drops,
    }
}

/// Which experts a test chooses: by token and slot, of so many experts.
pub(super) type Choice = fn(usize, usize, usize) -> i32;

pub(super) const CHOICES: [Choice; 4] = [
    |token, slot, experts| ((token * 5 + slot * 3) % experts) as i32,
    |_, slot, _| slot as i32,
    |_, slot, experts| (experts - 1 - slot % experts) as i32,
    |token, slot, experts| ((token + slot + token / 3) % experts) as i32,
];

pub(super) fn choose(tokens: u64, slots: u64, experts: u64, choice: Choice) -> Vec<u8> {
    let pairs = (0..tokens).flat_map(|t| (0..slots).map(move |s| (t as usize, s as usize)));
    pairs.flat_map(|(t, s)| choice(t, s, experts as usize).to_le_bytes()).collect()
}

fn group(tokens: u64, slots: u64, experts: u64, choice: Choice) {
    let mut builder = Builder::new();
    let (t, s, e) = (builder.dim("T", tokens), builder.dim("S", slots), builder.dim("E", experts));
    let index = builder.buffer("index", DType::I32, &[t.clone(), s.clone()]);
    let out = routing(&mut builder, &e, &t, &s, false);
    let index = at(index, &[t.clone(), s.clone()], &[0, 1]);
    builder.step("group", Kernel::Group(Group { experts: e, tokens: t, slots: s, index, out }));
    let mut contents = builder.contents(2);
    contents[0] = choose(tokens, slots, experts, choice);
    builder.check_on(&contents);
}

#[test]
fn choices() {
    for (tokens, slots, experts) in
        [(0, 2, 4), (1, 1, 1), (5, 2, 4), (17, 3, 8), (40, 4, 64), (3, 0, 2), (0, 1, 0)]
    {
        for choice in CHOICES {
            group(tokens, slots, experts, choice);
        }
    }
}

#[test]
fn faults_stay_in_bounds() {
    let bad: [Choice; 4] = [
        |_, _, experts| experts as i32,
        |token, _, _| if token == 2 { -1 } else { 0 },
        |_, _, _| i32::MAX,
        |_, _, _| i32::MIN,
    ];
    for choice in bad {
        group(5, 3, 4, choice);
        group(3, 1, 0, choice);
        group(0, 1, 4, choice);
    }
}
