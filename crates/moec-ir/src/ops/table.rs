//! The table itself, one row an operation.

use super::{Infer, OpRow, Operands, Work};
use super::{contract, dispatch, element, layout, moved, reduce, select, source};
use crate::AttrKind;

macro_rules! op_table {
    ($(
        $(#[doc = $doc:literal])+
        $op:ident = $mnemonic:literal $operands:tt [$($attr:ident: $kind:ident),*] $infer:expr, $flops:expr;
    )*) => {
        /// An operation of the IR. [`Op::row`] tells all about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $($(#[doc = $doc])+ $op,)*
        }

        impl Op {
            /// Every operation, in table order.
            pub const ALL: &'static [Op] = &[$(Op::$op),*];

            /// The row of this operation.
            pub fn row(self) -> &'static OpRow {
                match self {$(
                    Op::$op => {
                        const ROW: OpRow = OpRow {
                            mnemonic: $mnemonic,
                            operands: op_table!(@operands $operands),
                            attrs: &[$((stringify!($attr), AttrKind::$kind)),*],
                            infer: $infer,
                            flops: $flops,
                            doc: concat!($($doc),+),
                        };
                        &ROW
                    }
                )*}
            }
        }
    };
    (@operands (variadic)) => { Operands::AtLeast(1) };
    (@operands ($n:literal)) => { Operands::Exactly($n) };
}

/// Flops of a function whose cost is that of a short polynomial.
fn transcendental(work: &Work<'_>) -> f64 {
    work.per_result(20.0)
}

fn one(work: &Work<'_>) -> f64 {
    work.per_result(1.0)
}

fn scan(work: &Work<'_>) -> f64 {
    work.per_operand(1.0)
}

fn sort(work: &Work<'_>) -> f64 {
    work.per_operand(8.0)
}

type Inferred = Result<crate::Type, String>;

fn comparison(cx: &Infer<'_>) -> Inferred {
    element::comparison(cx)
}

op_table! {
    // Sources.
    /// An input of the program, `name`.
    Input = "input" (0) [name: Str, type: Type] source::declared, moved;
    /// A weight, `name`; `from` is its name in files, where `{0}` stands for an index of axis 0.
    Weight = "weight" (0) [from: Str, name: Str, type: Type] source::declared, moved;
    /// A tensor whose elements are all `value`.
    Const = "const" (0) [type: Type, value: Number] source::constant, moved;
    /// The tensor with these elements, in row-major order.
    Literal = "literal" (0) [type: Type, values: Numbers] source::literal, moved;
    /// The `i32` tensor whose elements are their own index along `axis`.
    Iota = "iota" (0) [axis: Int, type: Type] source::iota, moved;

    // Element by element. Operands have one type; a scalar is broadcast first.
    /// `-x`.
    Neg = "neg" (1) [] element::numeric, one;
    /// The absolute value.
    Abs = "abs" (1) [] element::numeric, one;
    /// The exponential.
    Exp = "exp" (1) [] element::float, transcendental;
    /// 2 to the power of x; exact for an integer x.
    Exp2 = "exp2" (1) [] element::float, transcendental;
    /// The natural logarithm.
    Log = "log" (1) [] element::float, transcendental;
    /// The square root.
    Sqrt = "sqrt" (1) [] element::float, one;
    /// `1 / sqrt(x)`.
    Rsqrt = "rsqrt" (1) [] element::float, one;
    /// The hyperbolic tangent.
    Tanh = "tanh" (1) [] element::float, transcendental;
    /// The error function.
    Erf = "erf" (1) [] element::float, transcendental;
    /// `1 / (1 + exp(-x))`.
    Sigmoid = "sigmoid" (1) [] element::float, transcendental;
    /// `x * sigmoid(x)`.
    Silu = "silu" (1) [] element::float, transcendental;
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu = "gelu" (1) [] element::float, transcendental;
    /// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`.
    GeluTanh = "gelu_tanh" (1) [] element::float, transcendental;
    /// `maximum(x, 0)`.
    Relu = "relu" (1) [] element::numeric, one;
    /// `log(1 + exp(x))`.
    Softplus = "softplus" (1) [] element::float, transcendental;
    /// `x + y`.
    Add = "add" (2) [] element::numeric, one;
    /// `x - y`.
    Sub = "sub" (2) [] element::numeric, one;
    /// `x * y`.
    Mul = "mul" (2) [] element::numeric, one;
    /// `x / y`, floats only.
    Div = "div" (2) [] element::float, one;
    /// The quotient `x / y` of `i32` rounded down, wrapping; 0 if y is 0.
    FloorDiv = "floor_div" (2) [] element::integer, one;
    /// What `floor_div` leaves, `x - floor_div(x, y) * y`: it has the sign of y; x if y is 0.
    Mod = "mod" (2) [] element::integer, one;
    /// The smaller; NaN if either is NaN.
    Minimum = "minimum" (2) [] element::numeric, one;
    /// The larger; NaN if either is NaN.
    Maximum = "maximum" (2) [] element::numeric, one;
    /// `x == y`.
    Eq = "eq" (2) [] comparison, one;
    /// `x != y`.
    Ne = "ne" (2) [] comparison, one;
    /// `x < y`.
    Lt = "lt" (2) [] comparison, one;
    /// `x <= y`.
    Le = "le" (2) [] comparison, one;
    /// `x > y`.
    Gt = "gt" (2) [] comparison, one;
    /// `x >= y`.
    Ge = "ge" (2) [] comparison, one;
    /// Both.
    And = "and" (2) [] element::boolean, one;
    /// One or both.
    Or = "or" (2) [] element::boolean, one;
    /// The other truth value.
    Not = "not" (1) [] element::boolean, one;
    /// `if c then x else y`, of operands c, x, y.
    Select = "select" (3) [] element::select, one;
    /// The value in element type `to`, rounded to nearest even; to `i32` and `u8` towards zero.
    Cast = "cast" (1) [to: DType] element::cast, one;

    // Layout.
    /// Operand axis `i` becomes result axis `map[i]`; along the other axes of `shape` values repeat.
    Broadcast = "broadcast" (1) [map: Ints, shape: Dims] layout::broadcast, moved;
    /// Result axis `i` is operand axis `perm[i]`.
    Transpose = "transpose" (1) [perm: Ints] layout::transpose, moved;
    /// The same elements in row-major order, in `shape`.
    Reshape = "reshape" (1) [shape: Dims] layout::reshape, moved;
    /// `size` elements along `axis`, from `start`, every `step`-th.
    Slice = "slice" (1) [axis: Int, size: Dim, start: Dim, step: Int] layout::slice, moved;
    /// `before` and `after` elements `value` added along `axis`, which gets the size `size`.
    Pad = "pad" (1) [after: Dim, axis: Int, before: Dim, size: Dim, value: Number] layout::pad, moved;
    /// The operands one after another along `axis`, which gets the size `size`.
    Concat = "concat" (variadic) [axis: Int, size: Dim] layout::concat, moved;
    /// Elements of operand 0 along `axis` at the indices in operand 1. Index axis `i` moves along
    /// operand axis `along[i]`, or is new if that is -1; new axes replace `axis`.
    Gather = "gather" (2) [along: Ints, axis: Int] layout::gather, moved;
    /// Operand 0 with the slices of operand 2 added along `axis` at the indices in operand 1, in
    /// order of index number.
    ScatterAdd = "scatter_add" (3) [axis: Int] layout::scatter_add, one;

    // Reductions and scans along one axis.
    /// The sum.
    Sum = "sum" (1) [axis: Int] reduce::sum, scan;
    /// The mean.
    Mean = "mean" (1) [axis: Int] reduce::float, scan;
    /// The largest element; NaN if any is NaN.
    Max = "max" (1) [axis: Int] reduce::numeric, scan;
    /// The smallest element; NaN if any is NaN.
    Min = "min" (1) [axis: Int] reduce::numeric, scan;
    /// Whether any is true.
    Any = "any" (1) [axis: Int] reduce::boolean, scan;
    /// Whether all are true.
    All = "all" (1) [axis: Int] reduce::boolean, scan;
    /// The first index of the largest element.
    Argmax = "argmax" (1) [axis: Int] reduce::index, scan;
    /// `exp(x) / sum exp(x)`, computed after subtracting the largest element.
    Softmax = "softmax" (1) [axis: Int] reduce::softmax, transcendental;
    /// Sums of the elements up to each one, without the element itself if `exclusive`.
    Cumsum = "cumsum" (1) [axis: Int, exclusive: Bool] reduce::cumsum, scan;
    /// The indices that sort ascending (or `descending`), equal elements in index order; NaN last.
    Argsort = "argsort" (1) [axis: Int, descending: Bool] reduce::argsort, sort;

    // Selection.
    /// The `k` largest (or smallest) elements along `axis`, best first, ties to the lower index;
    /// NaN is below every number.
    TopK = "top_k" (1) [axis: Int, k: Dim, largest: Bool] select::top_k, sort;
    /// The chosen indices of a route, best first, in place of its axis.
    RouteIndex = "route_index" (1) [] select::index, moved;
    /// The chosen values of a route, best first, in place of its axis.
    RouteValue = "route_value" (1) [] select::value, moved;
    /// Where the scores of a route were chosen.
    RouteMask = "route_mask" (1) [] select::mask, moved;
    /// A new last axis of `size`: true at the operand's value, false everywhere if out of range.
    OneHot = "one_hot" (1) [size: Dim] select::one_hot, moved;
    /// Zeros, with the elements of operand 0 at the indices in operand 1 along `axis`, which gets
    /// the size `size`. Indices along the axis are distinct.
    Densify = "densify" (2) [axis: Int, size: Dim] select::densify, moved;

    // Contractions.
    /// The sum of products named by `spec`, one of `ab,cb->ac` with letters in order of first use.
    /// Accumulates floats in `f32`.
    Einsum = "einsum" (2) [spec: Str] contract::einsum, contract::flops;

    // Routing plans (see `PlanType`).
    /// The plan of the pairs in `i32[tokens, slots]`. A token may choose an expert more than once.
    Plan = "plan" (1) [experts: Dim] dispatch::plan, sort;
    /// The plan of the same pairs, each a token of its own with one slot.
    PlanFlatten = "plan_flatten" (1) [] dispatch::flatten, moved;
    /// The pairs whose seat (see `plan_seat`) is below `capacity`.
    PlanCapacity = "plan_capacity" (1) [capacity: Dim, group: Dim, slots_first: Bool] dispatch::capacity, scan;
    /// The pairs of the experts in `i32[kept]`, of which none is there twice; expert `i` of the result is
    /// the one at `i` of the list: of plan, list.
    PlanSubset = "plan_subset" (2) [] dispatch::subset, scan;
    /// `i32[tokens, slots]`: how many pairs of the same expert come before each pair among every `group`
    /// tokens that follow one another, counted by slot and then token if `slots_first`, else by
    /// number; -1 for a pair that is not in the plan.
    PlanSeat = "plan_seat" (1) [group: Dim, slots_first: Bool] dispatch::seat, scan;
    /// Rows of `[tokens, ..]` by token, in plan rows.
    TakeRows = "take_rows" (2) [] dispatch::take_rows, moved;
    /// Elements of `[tokens, slots, ..]` by pair, in plan rows.
    TakeSlots = "take_slots" (2) [] dispatch::take_slots, moved;
    /// Rows of `[experts, ..]` by expert, in plan rows.
    TakeExperts = "take_experts" (2) [] dispatch::take_experts, moved;
    /// Rows of `[experts, tokens, ..]` by pair, in plan rows.
    TakePairs = "take_pairs" (2) [] dispatch::take_pairs, moved;
    /// Rows of `[experts, seats, groups, ..]` by expert, seat (see `plan_seat`) and group of the token, in
    /// plan rows; 0 where there is no such seat. Without `grouped` all tokens are one group, which has
    /// no axis.
    TakeSeats = "take_seats" (2) [group: Dim, grouped: Bool, slots_first: Bool] dispatch::take_seats, moved;
    /// For each plan row, the contraction `spec` of operand 1 (plan rows first) with the row's
    /// expert in operand 2 (experts first): of plan, x, w.
    GroupedMatmul = "grouped_matmul" (3) [spec: Str] dispatch::grouped_matmul, dispatch::flops;
    /// The same. Experts in `resident` are kept in memory; the others stay in the file that they come
    /// from and are read by the calls that have rows for them.
    PlacedMatmul = "placed_matmul" (3) [resident: Ints, spec: Str] dispatch::placed_matmul, dispatch::flops;
    /// `[tokens, ..]`: for each token the sum over its pairs in the plan, in ascending expert order,
    /// of the weight times the plan row: of plan, weights `[tokens, slots]`, plan rows.
    Combine = "combine" (3) [] dispatch::combine, dispatch::combine_flops;
}
