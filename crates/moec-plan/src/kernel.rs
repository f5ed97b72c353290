//! The kernels. Each has one loop form; what it computes is a scalar program.
//!
//! Shared contracts. Results do not depend on how items are split over workers. Each sum has one
//! order, whatever the sizes of other axes. Nothing outside the buffers is read or written, for any
//! sizes (zero included) and any routing. Float arithmetic is `f32`; 16-bit operands widen exactly.

use moec_ir::{Dim, IrError, Sizes};

use crate::{BufferId, Load, RoutingBuffers, ScalarId, Scalars, Store};

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// Element by element.
    Map(Map),
    /// A reduction along one axis.
    Reduce(Reduce),
    /// Something that needs a whole row.
    Row(RowOp),
    /// Additions at computed places.
    ScatterAdd(ScatterAdd),
    /// The seat of each pair with its expert.
    Seat(Seat),
    /// A routing plan from expert indices.
    Group(Group),
    /// A weight into panels.
    Pack(Pack),
    /// A matrix product, plain, batched or grouped by expert.
    Product(Product),
}

impl Kernel {
    /// Bytes of worker scratch that the kernel may use: for a row operation 16 for each element of
    /// the row, for a grouping or seating 8 for each expert and 8 more, for a product with cold experts
    /// the panels of an item, rounded up to 64.
    pub fn scratch(&self, sizes: &Sizes) -> Result<u64, IrError> {
        let bytes = match self {
            Kernel::Row(row) => row.len.times(&Dim::constant(16))?.eval(sizes)?,
            Kernel::Group(Group { experts, .. }) | Kernel::Seat(Seat { experts, .. }) => {
                experts.times(&Dim::constant(8))?.eval(sizes)?.saturating_add(8)
            }
            Kernel::Product(Product { cold: Some(cold), .. }) => {
                cold.panel_bytes.eval(sizes)?.max(BLOCK_BYTES)
            }
            _ => 0,
        };
        Ok(bytes.next_multiple_of(64))
    }
}

/// `out[i..] = value(i..)` for every point of `shape`. Axis `i` of scalars and stores is axis `i` of
/// the shape, which may have none: one point. Items: all axes but the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The index space.
    pub shape: Vec<Dim>,
    /// The scalar program.
    pub scalars: Scalars,
    /// Its result, stored in the buffer's element type, which is the scalar's.
    pub value: ScalarId,
    /// Where it goes.
    pub out: Store,
}

/// How a reduction goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceOp {
    /// `f32` or `i32` sum.
    Sum,
    /// Sum divided by the number of elements.
    Mean,
    /// Largest; NaN if any is NaN; -inf (or the least `i32`) for none.
    Max,
    /// Smallest; NaN if any is NaN; inf (or the greatest `i32`) for none.
    Min,
    /// Any, of `bool`.
    Any,
    /// All, of `bool`.
    All,
    /// First index of the largest; NaN counts as largest; 0 for none.
    Argmax,
}

/// `out[i..] = op over r of value(i.., r)`. Axes are those of `shape`, then the reduced one, which
/// has the size `len`. Sums run ascending along `r`, in one lane, or, when `r` is the axis that
/// loads are contiguous along, in the four lanes `r % 4`, added as (0 + 2) + (1 + 3).
/// Items: all axes of `shape`, or all but its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// The index space of the result.
    pub shape: Vec<Dim>,
    /// The size of the reduced axis.
    pub len: Dim,
    /// The operation.
    pub op: ReduceOp,
    /// The scalar program.
    pub scalars: Scalars,
    /// What is reduced.
    pub value: ScalarId,
    /// Where the result goes; strides for the axes of `shape`.
    pub out: Store,
}

/// What a row operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKind {
    /// `exp(x - max) / sum exp(x - max)`, into `out[0]`: `f32`.
    Softmax,
    /// Running sums, without the element itself if `exclusive`, into `out[0]`: `f32` or `i32`.
    Cumsum {
        /// Whether each sum stops before its own element.
        exclusive: bool,
    },
    /// The order of the elements, into `out[0]`: `i32`. Stable; NaN last.
    Argsort {
        /// Whether the largest comes first.
        descending: bool,
    },
    /// The `k` best: indices into `out[0]` (`i32`), values into `out[1]`. Ties to the lower index;
    /// NaN after every number.
    TopK {
        /// How many.
        k: Dim,
        /// Whether the largest are best.
        largest: bool,
    },
}

/// An operation on rows: for every point of `shape`, a row of `len` elements `value(i.., r)` goes in
/// and rows come out. Axes are those of `shape`, then the row. Items: the points of `shape`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOp {
    /// The index space without the row.
    pub shape: Vec<Dim>,
    /// The length of the row that goes in.
    pub len: Dim,
    /// The operation.
    pub kind: RowKind,
    /// The scalar program.
    pub scalars: Scalars,
    /// The element that goes in, `f32` or `i32`.
    pub value: ScalarId,
    /// Where rows go; strides for the axes of `shape`, then for the row.
    pub out: Vec<Store>,
}

/// `out = base`, then `out[.., index[m], ..] += updates[.., m, ..]` for ascending `m`. Axes: those of
/// `outer` (the result without the scattered axis), then the scattered axis (`len`, for the copy of
/// the base) or `m` (`count`, for updates). Items: the points of `outer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScatterAdd {
    /// The index space without the scattered axis.
    pub outer: Vec<Dim>,
    /// The size of the scattered axis.
    pub len: Dim,
    /// The number of updates.
    pub count: Dim,
    /// The scalar program; `base` uses axes (outer, scattered), `index` and `update` (outer, m).
    pub scalars: Scalars,
    /// What the result starts from.
    pub base: ScalarId,
    /// Where along the axis, in range.
    pub index: ScalarId,
    /// What is added.
    pub update: ScalarId,
    /// Where the result goes; strides for (outer, scattered).
    pub out: Store,
}

/// Counting sort of the pairs of `index: i32[tokens, slots]` into plan rows. Faults when an index is
/// not below `experts`, unless pairs may be dropped: then it is not below `experts + 1`, and pairs
/// with the index `experts` have the last rows. One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Number of experts.
    pub experts: Dim,
    /// Number of tokens.
    pub tokens: Dim,
    /// Pairs per token.
    pub slots: Dim,
    /// The index of token (axis 0) and slot (axis 1).
    pub index: Load,
    /// What is written.
    pub out: RoutingBuffers,
}

/// Seats: `out[token, slot]` is the number of pairs of the same expert that come before among every
/// `group` tokens that follow one another, counted by slot and then token if `slots_first`, else by
/// number; -1 for a pair that is dropped already. Faults as a grouping does. One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Number of experts.
    pub experts: Dim,
    /// Number of tokens.
    pub tokens: Dim,
    /// Pairs per token.
    pub slots: Dim,
    /// Tokens of a group.
    pub group: Dim,
    /// Whether all tokens of a slot are counted before the next slot.
    pub slots_first: bool,
    /// Whether pairs may be dropped already: then an index may be `experts`.
    pub drops: bool,
    /// The index of token (axis 0) and slot (axis 1).
    pub index: Load,
    /// Where the result goes, `i32`; strides for token and slot.
    pub out: Store,
}

/// A weight in the layout that tiles read: `[groups, panels, k / interleave, columns, interleave]`,
/// where `columns` is that of `Plan::panels`, `panels = ceil(n / columns)`, and columns from `n` on are
/// zero. Elements keep their type (`f32`, `bf16` or `f16`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// The buffer that holds the panels, padding included.
    pub buffer: BufferId,
    /// Number of matrices.
    pub groups: Dim,
    /// Columns of the product.
    pub n: Dim,
    /// Length of the contraction, a multiple of `interleave`.
    pub k: Dim,
    /// Elements of a column that lie side by side: 2 for bf16 if `k` allows it, else 1.
    pub interleave: u64,
}

/// Packs a weight. Axes of `source` are those of `groups`, then `n`, then `k`, each outermost first;
/// a merged index counts in row-major order. Where elements lie side by side, the last axis of `n`
/// counts them and `k` counts their groups. Items: panels of all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Axes that make the group.
    pub groups: Vec<Dim>,
    /// Axes that make the column.
    pub n: Vec<Dim>,
    /// Axes that make the contraction.
    pub k: Vec<Dim>,
    /// The element, by axes (groups, n, k). Of a mapped weight it is an element of one part of axis
    /// 0, and the load has no term for the groups.
    pub source: Load,
    /// For each group the part of a mapped weight, `i32`; without it the group is the part.
    pub parts: Option<BufferId>,
    /// Where it goes.
    pub out: PackedWeight,
}

/// Which rows of the left operand meet which matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// `count` matrices with `rows` rows each. One matrix: a plain product.
    Batch {
        /// Number of matrices.
        count: Dim,
        /// Rows of each.
        rows: Dim,
    },
    /// Experts, with the rows that a routing plan gives them.
    Routed(RoutingBuffers),
}

/// How a row of a [`Product`] is found in the left operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowIndex {
    /// By its own number (the plan row, if routed; the row in its group, if not).
    Row,
    /// By the token of the plan row: rows are gathered as they are read.
    Token,
}

/// The left operand, contiguous along the contraction: `bf16` for products of pairs, else `f32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lhs {
    /// The buffer.
    pub buffer: BufferId,
    /// Summands of the constant part of the offset.
    pub offset: Vec<Dim>,
    /// From one group to the next; zero if routed or shared.
    pub group_stride: Dim,
    /// From one row to the next.
    pub row_stride: Dim,
    /// How rows are found.
    pub row: RowIndex,
}

/// Bytes of panels that an item of a product works on, unless one panel is larger.
pub const BLOCK_BYTES: u64 = 256 << 10;

/// Experts of a routed product whose weights stay in their files. The kernel packs those panels of
/// them that an item needs into the scratch memory of its worker, if the expert has rows, and adds
/// the bytes that it reads to [`Frame::read`](crate::abi::Frame::read).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cold {
    /// `i32[experts]`: the place of each expert among the packed ones, or -1 if it is cold.
    pub slots: BufferId,
    /// How panels of each weight are packed, from mapped weights. Groups are the experts.
    pub packs: Vec<Pack>,
    /// Bytes of one panel of each weight, together.
    pub panel_bytes: Dim,
}

/// `out[row, col] = epilogue(acc_0[row, col], acc_1[row, col], ..)` where
/// `acc_i[row, col] = sum over k, ascending, of lhs[row, k] * weight_i[group, k, col]` by fused
/// multiply-add from zero, or pair by pair where rows are bf16; whatever the tile.
///
/// Axes of the epilogue: 0 the row (plan row if routed, row in its group if not), 1 the column,
/// 2 the group or expert, 3 the token and 4 the pair number of a plan row. The store has strides for
/// row, column and group (zero if routed).
/// Items: groups times blocks of columns, times blocks of rows if not routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Rows and matrices.
    pub groups: Groups,
    /// The left operand.
    pub lhs: Lhs,
    /// The right operands: all of one shape, read in one pass over the rows.
    pub weights: Vec<PackedWeight>,
    /// Experts that are not packed beforehand.
    pub cold: Option<Cold>,
    /// The epilogue.
    pub scalars: Scalars,
    /// What is stored.
    pub value: ScalarId,
    /// Where it goes.
    pub out: Store,
}
