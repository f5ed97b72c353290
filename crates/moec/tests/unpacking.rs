//! Weights that lie packed in files are unpacked when they are loaded, in little more memory than they take.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use moec::diag::SourceFile;
use moec::plan::{Phase, Place, Plan};
use moec::{Options, Validation};

/// Bytes of load scratch that live at once, at most. Of a buffer that is made in slices, one lives.
fn peak(plan: &Plan) -> u64 {
    let slices = plan.slices();
    let count = |at: usize| {
        let sliced = slices.iter().find(|slices| slices.buffer.0 as usize == at);
        sliced.map_or(1, |slices| slices.count)
    };
    let alive = |step: usize| {
        let bytes = plan.buffers.iter().enumerate().filter_map(|(at, buffer)| match buffer.place {
            Place::Scratch { phase: Phase::Load, first, last } if (first..=last).contains(&step) => {
                let elements = buffer.elements.eval(plan.dims.sized()).unwrap();
                Some(elements * buffer.dtype.bytes() as u64 / count(at))
            }
            _ => None,
        });
        bytes.sum::<u64>()
    };
    (0..plan.load.len()).map(alive).max().unwrap_or(0)
}

/// A layer of gpt_oss in MXFP4, at its real sizes.
#[test]
fn mxfp4_is_unpacked_once_and_without_integers_in_memory() {
    let text = include_str!("../../../tests/run/mxfp4_gpt_oss.moe");
    let real = [("E", "32"), ("G", "90"), ("J", "90"), ("K", "4")];
    let set = real.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options { set: set.into(), ..Options::default() };
    let source = SourceFile::new("mxfp4_gpt_oss.moe", text);
    let artifact = moec::compile(&source, &options, &mut |_| ()).unwrap();
    assert!(matches!(artifact.validation(), Validation::Agreed { .. }), "{:?}", artifact.validation());
    let plan = artifact.plan();
    for (number, (name, ..)) in plan.weights.iter().enumerate() {
        let buffer = plan.buffers.iter().position(|b| b.place == Place::Weight(number)).unwrap();
        let packed = name.ends_with("_blocks") || name.ends_with("_scales");
        assert!(!packed || !plan.reads(Phase::Run, moec::plan::BufferId(buffer as u32)), "{name}");
    }
    // The larger of two matrices as bf16, of one expert, and its scales as f32, of all.
    let (experts, rows, columns) = (32, 2 * 2880, 2880);
    assert_eq!(peak(plan), rows * (columns * 2 + experts * columns / 32 * 4));
}
