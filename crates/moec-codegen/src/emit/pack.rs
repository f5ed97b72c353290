//! A weight into panels `[groups, panels, k, columns]`, elements as they are. Where two elements of a column
//! lie side by side, they are one word if they do so in the source; else each is a column here, and `k`
//! counts their groups: the bytes are the same.
//!
//! A mapped weight is read part by part, wherever each lies. A product with cold experts packs panels
//! itself, see [`Packing::panel`].
//!
//! ```text
//! for item in begin..end                      group, panel
//!   columns[c] = where column c of the panel begins in the source        c < valid <= columns
//!   for each point of the axes of k but the last
//!     source contiguous along n:    for k           copy a row of columns
//!     contiguous along k:           for k by 256    for c by 4    turn squares of 4 words by 4, so that
//!                                                                256 panel rows stay in the cache
//!     otherwise:                    for k by 256    for c    copy 256 elements of column c
//!     columns from `valid` on are zero
//! ```

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{ConstantData, InstBuilder, Type, Value};
use moec_ir::Dim;
use moec_plan::{Index, Pack, Place};

use super::context::Cx;
use super::driver::Work;

/// Elements of a column copied at a time.
const RUN: i64 = 256;

/// Bytes of a vector.
const VECTOR: i64 = 16;

/// Items: the panels of all groups.
pub(super) fn work(cx: &mut Cx<'_, '_>, pack: &Pack) -> Work {
    let mut work = Work::points(cx, &pack.groups);
    let n = cx.size(&pack.out.n);
    let columns = cx.plan.panels.columns;
    let panels = cx.parts(n, columns);
    work.items = cx.b.ins().imul(work.items, panels);
    work.only_if(cx, &pack.out.k);
    work.times(cx, &pack.out.k);
    work.scale(cx, columns as usize);
    work
}

pub(super) fn emit(cx: &mut Cx<'_, '_>, pack: &Pack, begin: Value, end: Value) {
    let packing = Packing::new(cx, pack);
    let out = cx.base(pack.out.buffer);
    cx.each(begin, end, |cx, item| {
        let group = cx.b.ins().udiv(item, packing.panels);
        let panel = cx.b.ins().urem(item, packing.panels);
        let far = cx.b.ins().imul(item, packing.panel_bytes);
        let out = cx.add(out, far);
        packing.panel(cx, group, panel, out);
    });
}

/// What the panels of a weight have in common.
pub(super) struct Packing<'p> {
    source: Source<'p>,
    /// Columns of a matrix, and panels that they make.
    n: Value,
    panels: Value,
    /// Rows of a panel.
    k: Value,
    /// Bytes of a panel.
    panel_bytes: Value,
    /// An array for the addresses of columns.
    columns: Value,
}

impl<'p> Packing<'p> {
    pub(super) fn new(cx: &mut Cx<'_, '_>, pack: &'p Pack) -> Packing<'p> {
        if pack.source.terms.iter().any(|(index, _)| matches!(index, Index::Value(_))) {
            cx.refuse("a packed weight is gathered");
        }
        if pack.k.is_empty() {
            cx.refuse("a packed weight has no axis of the contraction");
        }
        let source = Source::new(cx, pack);
        let width = source.width;
        let n = cx.product(source.n);
        let k = cx.product(&pack.k);
        let panels = cx.parts(n, width as u64);
        let panel_bytes = cx.b.ins().imul_imm_u(k, source.row_of_panel());
        let (_, columns) = cx.slot(8 * width as usize);
        Packing { source, n, panels, k, panel_bytes, columns }
    }

    /// Packs one panel of a group to `out`. The bytes that it reads.
    pub(super) fn panel(&self, cx: &mut Cx<'_, '_>, group: Value, panel: Value, out: Value) -> Value {
        let &Packing { ref source, n, k, columns, .. } = self;
        let pack = source.pack;
        let Some((k_last, k_outer)) = pack.k.split_last() else { return n };
        let zero = cx.int(0);
        let full = cx.int(source.width);
        let first = cx.b.ins().imul_imm_u(panel, source.width);
        let left = cx.b.ins().isub(n, first);
        let valid = cx.smaller(left, full);
        let start = source.group(cx, group);
        cx.each(zero, valid, |cx, c| {
            let column = cx.add(first, c);
            let column = cx.point(source.n, column);
            let at = source.moved(cx, start, pack.groups.len(), &column);
            let entry = cx.element(columns, c, 8);
            cx.store(at, entry, 0);
        });
        let blank = cx.b.ins().icmp(IntCC::NotEqual, valid, full);
        cx.when(blank, |cx| {
            cx.each(zero, k, |cx, row| {
                let row = cx.element(out, row, source.row_of_panel());
                cx.each(valid, full, |cx, c| {
                    let nothing = cx.b.ins().iconst(source.word(), 0);
                    let place = cx.element(row, c, source.word_bytes);
                    cx.store(nothing, place, 0);
                });
            });
        });
        let outer_points = cx.product(k_outer);
        let run_len = cx.size(k_last);
        let k_axis = pack.groups.len() + pack.n.len();
        cx.points(k_outer, zero, outer_points, |cx, index| {
            let far = source.moved(cx, zero, k_axis, index);
            let mut number = zero;
            for (dim, &at) in k_outer.iter().zip(index) {
                let size = cx.size(dim);
                number = cx.b.ins().imul(number, size);
                number = cx.add(number, at);
            }
            let rows = cx.b.ins().imul(number, run_len);
            let out = cx.element(out, rows, source.row_of_panel());
            let panel = Panel { columns, valid, far, out, len: run_len };
            if source.contiguous_columns(cx) {
                copy_rows(cx, source, &panel);
            } else {
                copy_columns(cx, source, &panel, source.contiguous_rows(cx));
            }
        });
        let elements = cx.b.ins().imul(valid, k);
        cx.b.ins().imul_imm_u(elements, source.word_bytes)
    }
}

/// The weight that is read.
struct Source<'p> {
    pack: &'p Pack,
    /// Bytes of what is moved at once: an element, or a pair.
    word_bytes: i64,
    /// Axes that make the column of a word.
    n: &'p [Dim],
    /// Words in a row of a panel.
    width: i64,
}

/// Part of a panel: all columns, a run of rows.
struct Panel {
    /// An array of the valid columns' addresses.
    columns: Value,
    /// How many there are.
    valid: Value,
    /// Bytes from a column's beginning to the run.
    far: Value,
    /// Where the run goes.
    out: Value,
    /// Rows of the run.
    len: Value,
}

impl<'p> Source<'p> {
    fn new(cx: &Cx<'_, '_>, pack: &'p Pack) -> Source<'p> {
        let dtype_bytes = cx.dtype(pack.source.buffer).bytes() as i64;
        let columns = cx.plan.panels.columns as i64;
        let interleave = pack.out.interleave as i64;
        let elements = Source { pack, word_bytes: dtype_bytes, n: &pack.n, width: columns * interleave };
        match pack.n.split_last() {
            // The last axis of `n` counts the two, and steps from one to the next.
            Some((_, n)) if interleave == 2 && dtype_bytes == 2 => {
                let step = elements.stride(pack.groups.len() + n.len());
                let neighbours = step.and_then(|stride| cx.known(stride)) == Some(1);
                if neighbours { Source { word_bytes: 4, n, width: columns, ..elements } } else { elements }
            }
            _ => elements,
        }
    }

    /// The stride along axis `axis` of the source, if it moves there.
    fn stride(&self, axis: usize) -> Option<&Dim> {
        let mut terms = self.pack.source.terms.iter();
        terms.find(|(index, _)| *index == Index::Axis(axis)).map(|(_, stride)| stride)
    }

    /// Where the elements of a group begin.
    fn group(&self, cx: &mut Cx<'_, '_>, group: Value) -> Value {
        let Pack { source, groups, parts, .. } = self.pack;
        if !matches!(cx.plan.buffer(source.buffer).place, Place::Mapped { .. }) {
            let start = cx.start(source.buffer, &source.offset);
            let group = cx.point(groups, group);
            return self.moved(cx, start, 0, &group);
        }
        let part = match parts {
            Some(parts) => {
                let parts = cx.base(*parts);
                cx.load_index(parts, group)
            }
            None => group,
        };
        let addresses = cx.base(source.buffer);
        let entry = cx.element(addresses, part, 8);
        let start = cx.load(I64, entry, 0);
        let dtype = cx.dtype(source.buffer);
        source.offset.iter().fold(start, |start, summand| {
            let bytes = cx.bytes(summand, dtype);
            cx.add(start, bytes)
        })
    }

    /// `address` moved along the axes from `first` on.
    fn moved(&self, cx: &mut Cx<'_, '_>, address: Value, first: usize, index: &[Value]) -> Value {
        let dtype = cx.dtype(self.pack.source.buffer);
        index.iter().enumerate().fold(address, |address, (i, &at)| match self.stride(first + i) {
            Some(stride) => cx.stepped(address, at, &stride.clone(), dtype),
            None => address,
        })
    }

    /// Whether neighbouring columns are neighbours in memory.
    fn contiguous_columns(&self, cx: &Cx<'_, '_>) -> bool {
        self.n.len() == 1 && self.steps_by_word(cx, self.pack.groups.len())
    }

    /// Whether neighbouring words of a column are neighbours in memory.
    fn contiguous_rows(&self, cx: &Cx<'_, '_>) -> bool {
        self.steps_by_word(cx, self.last_k())
    }

    /// Whether the source moves by a word along the axis.
    fn steps_by_word(&self, cx: &Cx<'_, '_>, axis: usize) -> bool {
        let bytes = cx.dtype(self.pack.source.buffer).bytes() as u64;
        let stride = self.stride(axis).and_then(|stride| cx.known(stride));
        stride.is_some_and(|stride| stride * bytes == self.word_bytes as u64)
    }

    /// The last axis of `k`.
    fn last_k(&self) -> usize {
        self.pack.groups.len() + self.pack.n.len() + self.pack.k.len() - 1
    }

    /// Bytes from one row of a column to the next.
    fn row_bytes(&self, cx: &mut Cx<'_, '_>) -> Value {
        let dtype = cx.dtype(self.pack.source.buffer);
        match self.stride(self.last_k()) {
            Some(stride) => cx.bytes(&stride.clone(), dtype),
            None => cx.int(0),
        }
    }

    /// Bytes of one row of a panel.
    fn row_of_panel(&self) -> i64 {
        self.width * self.word_bytes
    }

    /// A word as bits.
    fn word(&self) -> Type {
        if self.word_bytes == 4 { I32 } else { I16 }
    }
}

/// Row by row: whole vectors of a full panel, else element by element.
fn copy_rows(cx: &mut Cx<'_, '_>, source: &Source<'_>, panel: &Panel) {
    let zero = cx.int(0);
    let row_bytes = source.row_bytes(cx);
    let panel_bytes = source.row_of_panel();
    let first = cx.load(I64, panel.columns, 0);
    let first = cx.add(first, panel.far);
    let part = cx.b.ins().icmp_imm_u(IntCC::NotEqual, panel.valid, source.width);
    cx.each(zero, panel.len, |cx, row| {
        let far = cx.b.ins().imul(row, row_bytes);
        let from = cx.add(first, far);
        let to = cx.element(panel.out, row, panel_bytes);
        cx.either(
            part,
            |cx| {
                cx.each(zero, panel.valid, |cx, c| copy_element(cx, source, (from, c), (to, c)));
            },
            |cx| {
                for at in (0..panel_bytes as i32).step_by(16) {
                    let vector = cx.load(F32X4, from, at);
                    cx.store(vector, to, at);
                }
            },
        );
    });
}

/// Column by column, in runs of [`RUN`] rows. Where words of a column are neighbours, in squares as far as
/// there are whole ones.
fn copy_columns(cx: &mut Cx<'_, '_>, source: &Source<'_>, panel: &Panel, in_squares: bool) {
    let zero = cx.int(0);
    let side = VECTOR / source.word_bytes;
    cx.range(zero, panel.len, RUN, &[], |cx, begin, _| {
        let end = cx.plus(begin, RUN);
        let end = cx.smaller(end, panel.len);
        if !in_squares {
            cx.each(zero, panel.valid, |cx, c| copy_column(cx, source, panel, c, (begin, end)));
            return Vec::new();
        }
        let whole = |cx: &mut Cx<'_, '_>, count| cx.b.ins().band_imm_s(count, -side);
        let rows = cx.b.ins().isub(end, begin);
        let rows = whole(cx, rows);
        let middle = cx.add(begin, rows);
        let columns = whole(cx, panel.valid);
        cx.range(zero, columns, side, &[], |cx, c, _| {
            turn_squares(cx, source, panel, c, (begin, middle));
            let last = cx.plus(c, side);
            cx.each(c, last, |cx, c| copy_column(cx, source, panel, c, (middle, end)));
            Vec::new()
        });
        cx.each(columns, panel.valid, |cx, c| copy_column(cx, source, panel, c, (begin, end)));
        Vec::new()
    });
}

/// The rows of one column, word by word.
fn copy_column(
    cx: &mut Cx<'_, '_>,
    source: &Source<'_>,
    panel: &Panel,
    c: Value,
    (begin, end): (Value, Value),
) {
    let row_bytes = source.row_bytes(cx);
    let column = column_of(cx, panel, c);
    let to = cx.element(panel.out, c, source.word_bytes);
    cx.each(begin, end, |cx, row| {
        let far = cx.b.ins().imul(row, row_bytes);
        let from = cx.add(column, far);
        let word = cx.load(source.word(), from, 0);
        let to = cx.element(to, row, source.row_of_panel());
        cx.store(word, to, 0);
    });
}

/// Columns from `c` on, as many as a vector has words, in squares.
fn turn_squares(
    cx: &mut Cx<'_, '_>,
    source: &Source<'_>,
    panel: &Panel,
    c: Value,
    (begin, end): (Value, Value),
) {
    let side = VECTOR / source.word_bytes;
    let columns: Vec<Value> = (0..side)
        .map(|next| {
            let c = cx.plus(c, next);
            column_of(cx, panel, c)
        })
        .collect();
    let to = cx.element(panel.out, c, source.word_bytes);
    cx.range(begin, end, side, &[], |cx, row, _| {
        let square = columns.iter().map(|&column| {
            let from = cx.element(column, row, source.word_bytes);
            cx.load(I8X16, from, 0)
        });
        let square = square.collect();
        let to = cx.element(to, row, source.row_of_panel());
        for (next, vector) in turned(cx, square, source.word_bytes).into_iter().enumerate() {
            cx.store(vector, to, next as i32 * source.row_of_panel() as i32);
        }
        Vec::new()
    });
}

/// The columns of a square whose rows are these vectors: each round interleaves the first half of the
/// vectors with the second, and after as many rounds as a row number has bits, rows are columns.
fn turned(cx: &mut Cx<'_, '_>, mut square: Vec<Value>, word_bytes: i64) -> Vec<Value> {
    let half = square.len() / 2;
    let mask = |from: usize| -> ConstantData {
        let words = (from..from + half)
            .flat_map(|word| [word * word_bytes as usize, 16 + word * word_bytes as usize]);
        words.flat_map(|first| (first as u8)..(first as u8 + word_bytes as u8)).collect::<Vec<u8>>().into()
    };
    let [low, high] = [0, half].map(|from| cx.b.func.dfg.immediates.push(mask(from)));
    for _ in 0..square.len().ilog2() {
        let pairs: Vec<(Value, Value)> = (0..half).map(|at| (square[at], square[at + half])).collect();
        square = pairs
            .into_iter()
            .flat_map(|(a, b)| [low, high].map(|mask| cx.b.ins().shuffle(a, b, mask)))
            .collect();
    }
    square
}

/// Where the run begins in column `c`.
fn column_of(cx: &mut Cx<'_, '_>, panel: &Panel, c: Value) -> Value {
    let entry = cx.element(panel.columns, c, 8);
    let column = cx.load(I64, entry, 0);
    cx.add(column, panel.far)
}

fn copy_element(cx: &mut Cx<'_, '_>, source: &Source<'_>, from: (Value, Value), to: (Value, Value)) {
    let from = cx.element(from.0, from.1, source.word_bytes);
    let word = cx.load(source.word(), from, 0);
    let to = cx.element(to.0, to.1, source.word_bytes);
    cx.store(word, to, 0);
}
