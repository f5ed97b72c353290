//! Whether a program treats the rows along a run-time size, such as tokens, independently, so that
//! a few of them can be run alone. A structural analysis: it may miss a program that does, never
//! the other way round.
//!
//! Each value is given the one axis along which it depends on rows. An axis may hold a block of
//! several elements a row (`[T, K]` reshaped to `[T*K]`), and may stand in the order of a routing
//! plan, where every element still belongs to one row.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::carry::carried;
use crate::{Dim, DimKind, Module, Node, Op, Type, ValueId};

/// The axes that carry the rows of a row-wise program. The size of such an axis is the symbol times
/// a block; row `t` is the `t`-th block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rowwise {
    /// The axis of each input that has rows, by name.
    pub inputs: BTreeMap<Arc<str>, usize>,
    /// The axis of each output that has rows, by name; the others do not depend on rows.
    pub outputs: BTreeMap<Arc<str>, usize>,
}

/// The row axes along `symbol`, if every row of every output is proved to depend on the same row of
/// the inputs alone, whatever the number of rows.
pub fn rowwise(module: &Module, symbol: &str) -> Option<Rowwise> {
    let tainted = tainted(module, symbol);
    let of = |symbols: &[Arc<str>]| symbols.iter().any(|s| tainted.contains(s));
    if module.dims.facts().iter().flat_map(|fact| fact.sides()).any(|side| of(&side.symbols())) {
        return None;
    }
    let cx = Analysis { module, tainted: &tainted };
    let mut states: Vec<State> = Vec::new();
    for (id, node) in module.iter() {
        let state = cx.state(id, node, &states).filter(|state| cx.fits(node, *state));
        states.push(state.unwrap_or(State::Unknown));
    }
    let mut axes = Rowwise { inputs: BTreeMap::new(), outputs: BTreeMap::new() };
    for (id, name, _) in module.inputs() {
        if let State::Rows { axis, .. } = states[id.index()] {
            axes.inputs.insert(name.into(), axis);
        }
    }
    for output in &module.outputs {
        match states[output.value.index()] {
            State::Free => {}
            State::Rows { axis, order: Order::Row | Order::Uniform } => {
                axes.outputs.insert(output.name.clone(), axis);
            }
            _ => return None,
        }
    }
    Some(axes)
}

/// `symbol` and every symbol computed from it.
fn tainted(module: &Module, symbol: &str) -> Vec<Arc<str>> {
    let mut tainted: Vec<Arc<str>> = vec![symbol.into()];
    for decl in module.dims.decls() {
        if let DimKind::Derived(expr) = &decl.kind
            && expr.symbols().iter().any(|s| tainted.contains(s))
        {
            tainted.push(decl.name.clone());
        }
    }
    tainted
}

/// How a value depends on rows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Not at all.
    Free,
    /// A tensor, or a route, whose elements along `axis` each depend on one row.
    Rows { axis: usize, order: Order },
    /// A plan whose tokens are blocks of rows. Plans with one `order` have one order of plan rows.
    Plan { order: ValueId },
    /// Not known to be row by row.
    Unknown,
}

/// Which row an element along the row axis belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// To that of its block.
    Row,
    /// To that of its pair in this plan.
    Plan(ValueId),
    /// To any: all are equal.
    Uniform,
}

use State::{Free, Rows};

impl Order {
    /// The order of a value computed from values in two orders, element by element.
    fn meet(self, other: Order) -> Option<Order> {
        match (self, other) {
            (Order::Uniform, order) | (order, Order::Uniform) => Some(order),
            (a, b) => (a == b).then_some(a),
        }
    }
}

struct Analysis<'a> {
    module: &'a Module,
    tainted: &'a [Arc<str>],
}

impl Analysis<'_> {
    fn has_rows(&self, dim: &Dim) -> bool {
        dim.symbols().iter().any(|s| self.tainted.contains(s))
    }

    /// Whether the sizes of the result say the same as its state: one axis with the symbol, once,
    /// where the state has it.
    fn fits(&self, node: &Node, state: State) -> bool {
        let is_row_axis = |dim: &Dim| {
            let found: Vec<_> = dim.symbols().iter().filter(|s| self.tainted.contains(s)).collect();
            matches!(found.as_slice(), [one] if **one == self.tainted[0])
        };
        let free = |dim: &Dim| !self.has_rows(dim);
        match (&node.ty, state) {
            (Type::Tensor(ty), Rows { axis, .. }) => self.only_axis(&ty.shape, axis, is_row_axis),
            (Type::Route(ty), Rows { axis, .. }) => {
                free(&ty.k) && self.only_axis(&ty.scores.shape, axis, is_row_axis)
            }
            (Type::Plan(ty), State::Plan { .. }) => {
                free(&ty.experts) && free(&ty.slots) && is_row_axis(&ty.tokens)
            }
            (ty, Free) => ty.dims().into_iter().all(free),
            _ => false,
        }
    }

    fn only_axis(&self, shape: &[Dim], axis: usize, is_row_axis: impl Fn(&Dim) -> bool) -> bool {
        let fits = |(i, dim): (usize, &Dim)| if i == axis { is_row_axis(dim) } else { !self.has_rows(dim) };
        axis < shape.len() && shape.iter().enumerate().all(fits)
    }

    /// The only axis of `shape` with rows; none if there is no such axis or more than one.
    fn row_axis(&self, shape: &[Dim]) -> Option<usize> {
        let mut axes = shape.iter().enumerate().filter(|(_, dim)| self.has_rows(dim)).map(|(i, _)| i);
        axes.next().filter(|_| axes.next().is_none())
    }

    /// A value that is the same for all rows, of a shape that may have a row axis.
    fn same_everywhere(&self, shape: &[Dim]) -> Option<State> {
        if !shape.iter().any(|dim| self.has_rows(dim)) {
            return Some(Free);
        }
        self.row_axis(shape).map(|axis| Rows { axis, order: Order::Uniform })
    }

    /// The state of `node`; none stands for unknown.
    fn state(&self, id: ValueId, node: &Node, states: &[State]) -> Option<State> {
        let args: Vec<State> = node.args.iter().map(|arg| states[arg.index()]).collect();
        if args.contains(&State::Unknown) {
            return None;
        }
        let shape = |i: usize| self.module.node(node.args[i]).tensor().shape.as_slice();
        match node.op {
            Op::Input => self.input(node),
            Op::Weight | Op::Literal => Some(Free),
            Op::Const => self.same_everywhere(&node.tensor().shape),
            // An iota along the rows would make them differ by their number.
            Op::Iota => match self.same_everywhere(&node.tensor().shape)? {
                Rows { axis, .. } if axis == node.attrs.index("axis") => None,
                state => Some(state),
            },

            Op::Reshape => self.reshape(args[0], shape(0), &node.tensor().shape),
            Op::Broadcast if args[0] == Free => self.same_everywhere(&node.tensor().shape),
            Op::ScatterAdd if args[1] != Free => None,
            Op::Neg | Op::Abs | Op::Exp | Op::Exp2 | Op::Log | Op::Sqrt | Op::Rsqrt | Op::Tanh | Op::Erf => {
                self.carried(node, &args)
            }
            Op::Sigmoid | Op::Silu | Op::Gelu | Op::GeluTanh | Op::Relu | Op::Softplus => {
                self.carried(node, &args)
            }
            Op::Not | Op::Cast => self.carried(node, &args),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Minimum | Op::Maximum => self.carried(node, &args),
            Op::FloorDiv | Op::Mod => self.carried(node, &args),
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => self.carried(node, &args),
            Op::And | Op::Or | Op::Select => self.carried(node, &args),
            Op::Broadcast
            | Op::Transpose
            | Op::Slice
            | Op::Pad
            | Op::Concat
            | Op::Gather
            | Op::ScatterAdd => self.carried(node, &args),
            Op::Sum | Op::Mean | Op::Max | Op::Min | Op::Any | Op::All | Op::Argmax => {
                self.carried(node, &args)
            }
            Op::Softmax | Op::Cumsum | Op::Argsort | Op::TopK | Op::Densify => self.carried(node, &args),
            Op::RouteIndex | Op::RouteValue | Op::RouteMask | Op::OneHot | Op::Einsum => {
                self.carried(node, &args)
            }

            Op::Plan => match args[0] {
                Free => Some(Free),
                Rows { axis: 0, order: Order::Row | Order::Uniform } => Some(State::Plan { order: id }),
                _ => None,
            },
            // The same pairs in the same order.
            Op::PlanFlatten => Some(args[0]),
            // Seats depend on what other rows chose.
            Op::PlanCapacity => (args[0] == Free).then_some(Free),
            Op::PlanSubset => match (args[0], args[1]) {
                (State::Plan { .. }, Free) => Some(State::Plan { order: id }),
                (Free, Free) => Some(Free),
                _ => None,
            },
            Op::PlanSeat | Op::TakeSeats => args.iter().all(|arg| *arg == Free).then_some(Free),
            Op::TakeRows => self.take(&args, 1, Some(0)),
            Op::TakeSlots => self.take(&args, 2, Some(0)),
            Op::TakeExperts => self.take(&args, 1, None),
            Op::TakePairs => self.take(&args, 2, Some(1)),
            Op::GroupedMatmul | Op::PlacedMatmul => match (args[0], args[1], args[2]) {
                (Free, Free, Free) => Some(Free),
                (State::Plan { order }, x, Free) => self.in_plan_rows(order, x),
                _ => None,
            },
            Op::Combine => match (args[0], args[1], args[2]) {
                (Free, Free, Free) => Some(Free),
                (State::Plan { order }, Rows { axis: 0, order: Order::Row | Order::Uniform }, z) => {
                    self.in_plan_rows(order, z)?;
                    Some(Rows { axis: 0, order: Order::Row })
                }
                _ => None,
            },
        }
    }

    /// The state of a value whose positions are those of its operands. Operands without rows do not
    /// matter.
    fn carried(&self, node: &Node, args: &[State]) -> Option<State> {
        let mut result = Free;
        for (operand, state) in args.iter().enumerate() {
            let Rows { axis, order } = *state else { continue };
            let axis = carried(self.module, node, operand, axis)?;
            result = match result {
                Rows { axis: known, order: other } => {
                    Rows { axis, order: other.meet(order).filter(|_| known == axis)? }
                }
                _ => Rows { axis, order },
            };
        }
        Some(result)
    }

    fn input(&self, node: &Node) -> Option<State> {
        match self.same_everywhere(&node.tensor().shape)? {
            Rows { axis, .. } => Some(Rows { axis, order: Order::Row }),
            state => Some(state),
        }
    }

    /// Rows stay together if as many elements stand before their axis as did, so that it is only
    /// split or merged with axes after it. In plan order an axis must stay whole.
    fn reshape(&self, state: State, from: &[Dim], to: &[Dim]) -> Option<State> {
        let Rows { axis, order } = state else { return Some(state) };
        let result = self.row_axis(to)?;
        let before = |shape: &[Dim]| self.module.dims.resolve(&Dim::product(shape).ok()?).ok();
        let whole = self.module.dims.same(&from[axis], &to[result]);
        if before(&from[..axis])? != before(&to[..result])? || (matches!(order, Order::Plan(_)) && !whole) {
            return None;
        }
        Some(Rows { axis: result, order })
    }

    /// A value in the rows of a plan with this order.
    fn in_plan_rows(&self, plan: ValueId, x: State) -> Option<State> {
        match x {
            Rows { axis: 0, order } => order.meet(Order::Plan(plan)).map(|order| Rows { axis: 0, order }),
            _ => None,
        }
    }

    /// Plan rows in place of the `leading` axes of operand 1, whose rows are on axis `rows`; none if
    /// it has none.
    fn take(&self, args: &[State], leading: usize, rows: Option<usize>) -> Option<State> {
        match (args[0], args[1], rows) {
            (Free, Free, _) => Some(Free),
            (Free, Rows { axis, order }, _) if axis >= leading => {
                Some(Rows { axis: axis + 1 - leading, order })
            }
            (State::Plan { order }, Free, None) => Some(Rows { axis: 0, order: Order::Plan(order) }),
            (State::Plan { order }, Rows { axis, order: Order::Row | Order::Uniform }, Some(rows))
                if axis == rows =>
            {
                Some(Rows { axis: 0, order: Order::Plan(order) })
            }
            _ => None,
        }
    }
}
