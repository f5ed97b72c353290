//! Element by element.
//!
//! ```text
//! for item in begin..end            all axes but the last; indices step from item to item
//!   what depends on these axes
//!   for j in 0..last by 4           out[item, j..j + 4] = value
//!   for j in the rest               out[item, j] = value
//! ```

use cranelift_codegen::ir::Value;
use moec_plan::Map;

use super::context::Cx;
use super::driver::Work;
use super::scalar::Program;

/// Items: the points of all axes but the last.
pub(super) fn work(cx: &mut Cx<'_, '_>, map: &Map) -> Work {
    let mut work = Work::rows(cx, &map.shape);
    work.scale(cx, map.scalars.list.len());
    work
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, map: &Map, begin: Value, end: Value) {
    let program = Program::new(cx, &map.scalars, &[map.value], map.shape.len());
    let Some((last, outer)) = map.shape.split_last() else {
        let value = program.datum(cx, map.value);
        return program.store(cx, &map.out, value);
    };
    cx.points(outer, begin, end, |cx, index| {
        let mut row = program.clone();
        row.bind_first(cx, index);
        cx.by_lanes(last, |cx, lanes, j| {
            let mut point = row.clone();
            point.bind_lanes(cx, outer.len(), j, lanes);
            let value = point.datum(cx, map.value);
            point.store(cx, &map.out, value);
        });
    });
}
