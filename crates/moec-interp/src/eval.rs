//! One operation: which function computes it, and what that function may look at.

use moec_ir::{Attrs, DType, DimTable, Op, Sizes, Type};

use crate::{InterpError, Plan, Route, Tensor, Value, number, value};
use crate::{contract, dispatch, element, layout, reduce, select, source};

/// The value of an operation. `sizes` has a value for every symbol in `attrs`; all types are checked,
/// with these values, as the verifier would. Inputs and weights have no value of their own.
pub fn eval_node(
    op: Op,
    args: &[&Value<'_>],
    attrs: &Attrs,
    sizes: &Sizes,
) -> Result<Value<'static>, InterpError> {
    let mut known = Vec::new();
    for (name, attr) in attrs.iter() {
        known.push((name, attr.map_dims(|dim| dim.substitute(sizes))?));
    }
    let attrs = Attrs::new(known);
    let types: Vec<Type> = args.iter().map(|value| value.ty()).collect();
    let ty = op.infer(&types.iter().collect::<Vec<_>>(), &attrs, &DimTable::default())?;
    evaluate(&Cx { op, args, attrs: &attrs, ty })
}

/// An operation with its operands. All sizes are numbers and all types have been checked.
pub(crate) struct Cx<'a> {
    pub(crate) op: Op,
    pub(crate) args: &'a [&'a Value<'a>],
    pub(crate) attrs: &'a Attrs,
    ty: Type,
}

pub(crate) type Evaluated = Result<Value<'static>, InterpError>;

impl<'a> Cx<'a> {
    pub(crate) fn error(&self, message: impl Into<String>) -> InterpError {
        InterpError::Op { op: self.op.mnemonic(), message: message.into() }
    }

    pub(crate) fn tensor(&self, i: usize) -> Result<&'a Tensor, InterpError> {
        self.args[i].tensor().ok_or_else(|| self.error(format!("operand {i} is not a tensor")))
    }

    pub(crate) fn route(&self) -> Result<&'a Route, InterpError> {
        match self.args[0] {
            Value::Route(route) => Ok(route),
            _ => Err(self.error("operand 0 is not a route")),
        }
    }

    pub(crate) fn plan(&self) -> Result<&'a Plan, InterpError> {
        match self.args[0] {
            Value::Plan(plan) => Ok(plan),
            _ => Err(self.error("operand 0 is not a plan")),
        }
    }

    /// The size in attribute `name`.
    pub(crate) fn size(&self, name: &str) -> Result<usize, InterpError> {
        let dim = self.attrs.dim(name);
        let size = dim.as_const().and_then(|n| usize::try_from(n).ok());
        size.ok_or_else(|| self.error(format!("the size {dim} is not known")))
    }

    pub(crate) fn axis(&self) -> usize {
        self.attrs.index("axis")
    }

    /// The element type of the result.
    pub(crate) fn dtype(&self) -> Result<DType, InterpError> {
        self.ty.tensor().map(|ty| ty.dtype).ok_or_else(|| self.error("the result is not a tensor"))
    }

    /// The shape of the result.
    pub(crate) fn shape(&self) -> Result<Vec<usize>, InterpError> {
        let ty = self.ty.tensor().ok_or_else(|| self.error("the result is not a tensor"))?;
        let size = |dim: &moec_ir::Dim| dim.as_const().and_then(|n| usize::try_from(n).ok());
        let shape: Option<Vec<usize>> = ty.shape.iter().map(size).collect();
        shape.ok_or_else(|| self.error(format!("the sizes of {ty} are not known")))
    }

    /// Room for the elements of the result.
    pub(crate) fn room(&self) -> Result<Vec<f64>, InterpError> {
        value::room(&self.shape()?)
    }

    /// As many elements as the result has, all `value`.
    pub(crate) fn filled(&self, value: f64) -> Result<Vec<f64>, InterpError> {
        let mut data = self.room()?;
        data.resize(value::elements(&self.shape()?)?, value);
        Ok(data)
    }

    /// The result with these elements.
    pub(crate) fn result(&self, data: Vec<f64>) -> Evaluated {
        Tensor::new(self.dtype()?, self.shape()?, data).map(Value::from)
    }

    /// `value` as an index below `size`.
    pub(crate) fn index(&self, value: f64, size: usize) -> Result<usize, InterpError> {
        if (0.0..size as f64).contains(&value) {
            return Ok(value as usize);
        }
        Err(InterpError::Index { op: self.op.mnemonic(), index: value as i64, size })
    }
}

fn evaluate(cx: &Cx<'_>) -> Evaluated {
    match cx.op {
        Op::Input | Op::Weight => Err(cx.error("its value is given, not computed")),
        Op::Const => source::constant(cx),
        Op::Literal => source::literal(cx),
        Op::Iota => source::iota(cx),

        Op::Neg => element::unary(cx, |x| -x, i32::wrapping_neg),
        Op::Abs => element::unary(cx, f64::abs, i32::wrapping_abs),
        Op::Relu => element::unary(cx, |x| number::maximum(x, 0.0), |x| x.max(0)),
        Op::Exp => element::float(cx, f64::exp),
        Op::Exp2 => element::float(cx, f64::exp2),
        Op::Log => element::float(cx, f64::ln),
        Op::Sqrt => element::float(cx, f64::sqrt),
        Op::Rsqrt => element::float(cx, |x| 1.0 / x.sqrt()),
        Op::Tanh => element::float(cx, f64::tanh),
        Op::Erf => element::float(cx, number::erf),
        Op::Sigmoid => element::float(cx, number::sigmoid),
        Op::Silu => element::float(cx, |x| x * number::sigmoid(x)),
        Op::Gelu => element::float(cx, number::gelu),
        Op::GeluTanh => element::float(cx, number::gelu_tanh),
        Op::Softplus => element::float(cx, number::softplus),
        Op::Add => element::binary(cx, |x, y| x + y, i32::wrapping_add),
        Op::Sub => element::binary(cx, |x, y| x - y, i32::wrapping_sub),
        Op::Mul => element::binary(cx, |x, y| x * y, i32::wrapping_mul),
        Op::Div => element::binary(cx, |x, y| x / y, |x, _| x),
        Op::FloorDiv => element::binary(cx, |x, _| x, number::floor_div),
        Op::Mod => element::binary(cx, |x, _| x, number::modulo),
        Op::Minimum => element::binary(cx, number::minimum, i32::min),
        Op::Maximum => element::binary(cx, number::maximum, i32::max),
        Op::Eq => element::compare(cx, |x, y| x == y),
        Op::Ne => element::compare(cx, |x, y| x != y),
        Op::Lt => element::compare(cx, |x, y| x < y),
        Op::Le => element::compare(cx, |x, y| x <= y),
        Op::Gt => element::compare(cx, |x, y| x > y),
        Op::Ge => element::compare(cx, |x, y| x >= y),
        Op::And => element::compare(cx, |x, y| x != 0.0 && y != 0.0),
        Op::Or => element::compare(cx, |x, y| x != 0.0 || y != 0.0),
        Op::Not => element::float(cx, |x| 1.0 - x),
        Op::Select => element::select(cx),
        Op::Cast => element::cast(cx),

        Op::Broadcast => layout::broadcast(cx),
        Op::Transpose => layout::transpose(cx),
        Op::Reshape => layout::reshape(cx),
        Op::Slice => layout::slice(cx),
        Op::Pad => layout::pad(cx),
        Op::Concat => layout::concat(cx),
        Op::Gather => layout::gather(cx),
        Op::ScatterAdd => layout::scatter_add(cx),

        Op::Sum => reduce::sum(cx),
        Op::Mean => reduce::mean(cx),
        Op::Max => reduce::max(cx),
        Op::Min => reduce::min(cx),
        Op::Any => reduce::any(cx),
        Op::All => reduce::all(cx),
        Op::Argmax => reduce::argmax(cx),
        Op::Softmax => reduce::softmax(cx),
        Op::Cumsum => reduce::cumsum(cx),
        Op::Argsort => select::argsort(cx),

        Op::TopK => select::top_k(cx),
        Op::RouteIndex => Ok(cx.route()?.index.clone().into()),
        Op::RouteValue => Ok(cx.route()?.value.clone().into()),
        Op::RouteMask => select::mask(cx),
        Op::OneHot => select::one_hot(cx),
        Op::Densify => select::densify(cx),

        Op::Einsum => contract::einsum(cx),

        Op::Plan => dispatch::plan(cx),
        Op::PlanFlatten => dispatch::flatten(cx),
        Op::PlanCapacity => dispatch::capacity(cx),
        Op::PlanSubset => dispatch::subset(cx),
        Op::PlanSeat => dispatch::seat(cx),
        Op::TakeSeats => dispatch::take_seats(cx),
        Op::TakeRows => dispatch::take_rows(cx),
        Op::TakeSlots => dispatch::take_slots(cx),
        Op::TakeExperts => dispatch::take_experts(cx),
        Op::TakePairs => dispatch::take_pairs(cx),
        Op::GroupedMatmul | Op::PlacedMatmul => dispatch::grouped_matmul(cx),
        Op::Combine => dispatch::combine(cx),
    }
}
