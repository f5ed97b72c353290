//! Calls of operations: [`ROWS`] says what each takes, the modules below what each does.

mod layout;
mod math;
mod reduce;
mod select;

use moec_diag::{Diagnostic, Span, codes, nearest};
use moec_ir::Op;
use moec_syntax::ast::{self, Arg, ArgKind, Expr, Mono};

use crate::lowerer::{Check, Failed, Lowerer};
use crate::value::{Literal, Operand, Tensor, Value};

/// Which axes a call may name, with `over E` or `axis n`.
#[derive(Clone, Copy, PartialEq)]
enum Axes {
    None,
    /// Exactly one.
    One,
    /// One, unless the tensor has only one.
    OneOrOnly,
    /// One or several; all of them if nothing is said.
    Any,
}

/// An operation that sources call by name.
pub(crate) struct Row {
    name: &'static str,
    /// How a call looks.
    form: &'static str,
    /// How many arguments without a name it takes, at least and at most.
    values: (usize, usize),
    axes: Axes,
    /// The named arguments it knows.
    named: &'static [&'static str],
    run: for<'c> fn(&mut Lowerer<'_>, &Call<'c>) -> Check<Value>,
}

/// A call whose arguments have been counted against its row.
pub(crate) struct Call<'c> {
    row: &'static Row,
    span: Span,
    values: Vec<&'c Arg>,
    named: Vec<(&'c ast::Ident, &'c Expr)>,
    over: Option<(AxisList<'c>, Span)>,
}

/// The axes of a call, by name or by position.
enum AxisList<'c> {
    Over(&'c [Mono]),
    Axis(i64),
}

const fn row(
    name: &'static str,
    form: &'static str,
    values: (usize, usize),
    axes: Axes,
    named: &'static [&'static str],
    run: for<'c> fn(&mut Lowerer<'_>, &Call<'c>) -> Check<Value>,
) -> Row {
    Row { name, form, values, axes, named, run }
}

/// Every operation that is called by name, `einsum` excepted, which takes a text.
static ROWS: &[Row] = &[
    row("abs", "abs(x)", (1, 1), Axes::None, &[], |l, c| l.map_numbers(c, Op::Abs)),
    row("exp", "exp(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Exp)),
    row("exp2", "exp2(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Exp2)),
    row("log", "log(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Log)),
    row("sqrt", "sqrt(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Sqrt)),
    row("rsqrt", "rsqrt(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Rsqrt)),
    row("tanh", "tanh(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Tanh)),
    row("erf", "erf(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Erf)),
    row("sigmoid", "sigmoid(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Sigmoid)),
    row("silu", "silu(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Silu)),
    row("gelu", "gelu(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Gelu)),
    row("gelu_tanh", "gelu_tanh(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::GeluTanh)),
    row("relu", "relu(x)", (1, 1), Axes::None, &[], |l, c| l.map_numbers(c, Op::Relu)),
    row("softplus", "softplus(x)", (1, 1), Axes::None, &[], |l, c| l.map_floats(c, Op::Softplus)),
    row("square", "square(x)", (1, 1), Axes::None, &[], |l, c| l.square(c)),
    row("floor_div", "floor_div(x, y)", (2, 2), Axes::None, &[], |l, c| l.integers(c, Op::FloorDiv)),
    row("mod", "mod(x, y)", (2, 2), Axes::None, &[], |l, c| l.integers(c, Op::Mod)),
    row("minimum", "minimum(x, y)", (2, 2), Axes::None, &[], |l, c| l.pair(c, Op::Minimum)),
    row("maximum", "maximum(x, y)", (2, 2), Axes::None, &[], |l, c| l.pair(c, Op::Maximum)),
    row("clamp", "clamp(x, low, high)", (3, 3), Axes::None, &[], |l, c| l.clamp(c)),
    row("sum", "sum(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.sum(c)),
    row("mean", "mean(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.mean(c)),
    row("max", "max(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.extreme(c, Op::Max)),
    row("min", "min(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.extreme(c, Op::Min)),
    row("any", "any(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.truth(c, Op::Any)),
    row("all", "all(x, over E)", (1, 1), Axes::Any, &[], |l, c| l.truth(c, Op::All)),
    row("argmax", "argmax(x, over E)", (1, 1), Axes::OneOrOnly, &[], |l, c| l.argmax(c)),
    row("softmax", "softmax(x, over E)", (1, 1), Axes::OneOrOnly, &[], |l, c| l.softmax(c)),
    row("normalize", "normalize(x, over E)", (1, 1), Axes::OneOrOnly, &[], |l, c| l.normalize(c)),
    row("rms_norm", "rms_norm(x, over E, eps = 1e-6)", (1, 1), Axes::OneOrOnly, &["eps"], |l, c| {
        l.rms_norm(c)
    }),
    row("layer_norm", "layer_norm(x, over E, eps = 1e-5)", (1, 1), Axes::OneOrOnly, &["eps"], |l, c| {
        l.layer_norm(c)
    }),
    row("cumsum", "cumsum(x, over E, exclusive = false)", (1, 1), Axes::OneOrOnly, &["exclusive"], |l, c| {
        l.cumsum(c)
    }),
    row(
        "argsort",
        "argsort(x, over E, descending = false)",
        (1, 1),
        Axes::OneOrOnly,
        &["descending"],
        |l, c| l.argsort(c),
    ),
    row("top_k", "top_k(x, K, over E, smallest = false)", (2, 2), Axes::OneOrOnly, &["smallest"], |l, c| {
        l.top_k(c)
    }),
    row("one_hot", "one_hot(index, E)", (2, 2), Axes::None, &[], |l, c| l.one_hot(c)),
    row("iota", "iota(E)", (1, 1), Axes::None, &[], |l, c| l.count_up(c)),
    row("zeros", "zeros(f32[T, H])", (1, 1), Axes::None, &[], |l, c| l.zeros(c)),
    row("transpose", "transpose(x, [1, 0])", (2, 2), Axes::None, &[], |l, c| l.transpose(c)),
    row("reshape", "reshape(x, [G, M])", (2, 2), Axes::None, &[], |l, c| l.reshape(c)),
    row("rename", "rename(x, [T, E])", (2, 2), Axes::None, &[], |l, c| l.rename(c)),
    row("expand", "expand(x, [T, K, H])", (2, 2), Axes::None, &[], |l, c| l.expand(c)),
    row("slice", "slice(x, [0, 0], [T, Q])", (3, 3), Axes::None, &[], |l, c| l.slice_all(c)),
    row(
        "pad",
        "pad(x, over C, before = 0, after = R, value = 0)",
        (1, 1),
        Axes::One,
        &["before", "after", "value"],
        |l, c| l.pad(c),
    ),
    row("concat", "concat(a, b, axis 0)", (1, usize::MAX), Axes::One, &[], |l, c| l.concat(c)),
    row("gather", "gather(x, index, axis 0)", (2, 2), Axes::One, &[], |l, c| l.gather_call(c)),
];

/// The row of an operation, if there is one of this name; `einsum` has none.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Whether `name` is an operation.
pub(crate) fn is_operation(name: &str) -> bool {
    name == "einsum" || find(name).is_some()
}

/// What is written here for a name that other array languages have.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "arange" | "range" => "`iota(T)` counts along an axis",
        "cat" | "concatenate" | "vstack" | "hstack" => "`concat(a, b, axis 0)`",
        "clip" => "`clamp(x, low, high)`",
        "relu6" => "`clamp(x, 0, 6)`",
        "pow" | "power" => "`square(x)`, or a product; `exp2(x)` for powers of two",
        "ldexp" | "scalbn" => "`x * exp2(f32(n))`",
        "floor_divide" | "floordiv" | "div" => "`floor_div(x, y)` of i32, `x / y` of floats",
        "remainder" | "fmod" | "rem" => "`mod(x, y)`, which has the sign of `y`",
        "bitwise_right_shift" | "right_shift" | "shift_right" => "`floor_div(x, 16)` shifts by 4 bits",
        "bitwise_and" | "bit_and" => "`mod(x, 16)` keeps the lowest 4 bits",
        "float" | "float32" | "f64" | "float64" | "double" => "`f32(x)`; there is no wider element type",
        "bfloat16" => "`bf16(x)`",
        "float16" | "half" => "`f16(x)`",
        "uint8" | "byte" => "`u8(x)`; for arithmetic `i32(x)`",
        "int" | "int32" | "long" | "i64" | "int64" => "`i32(x)`",
        "ones" | "full" | "full_like" | "ones_like" => "a number fits any shape: `zeros(f32[T, H]) + 1`",
        "zeros_like" | "empty" => "`zeros(f32[T, H])`",
        "matmul" | "dot" | "mm" | "bmm" => "`x @ w`",
        "mul" | "multiply" => "`x * y`",
        "add" => "`x + y`",
        "prod" => "`exp(sum(log(x), over E))` for what is positive",
        "map" => "a fold: `map e over E { .. }`",
        "view" | "flatten" | "unflatten" => "`reshape(x, [T, H])`",
        "permute" | "swapaxes" | "moveaxis" => "`transpose(x, [1, 0])`",
        "squeeze" => "an axis of size 1 goes away with `x[1 = 0]`",
        "unsqueeze" | "expand_dims" | "repeat" | "tile" | "broadcast_to" | "repeat_interleave" => {
            "`expand(x, [T, K, H])`; element-wise operations match axes by name and need no such step"
        }
        "stack" => "reshape each to have the new axis, then `concat(a, b, axis 0)`",
        "topk" => "`top_k(x, K, over E).mask`",
        "argmin" => "`argmax(-x, over E)`",
        "sort" => "`top_k(x, E, over E).value` sorts from the largest",
        "take" | "take_along_axis" | "index_select" => "`x[E = index]`, or `gather(x, index, axis 0)`",
        _ => return None,
    })
}

impl Lowerer<'_> {
    /// `name(args)`
    pub(crate) fn call(&mut self, callee: &ast::Ident, args: &[Arg], span: Span) -> Check<Value> {
        if callee.text == "einsum" {
            return self.einsum(args, span);
        }
        let functions = self.functions;
        if let Some(function) = functions.get(&callee.text) {
            return self.apply(function, callee, args, span);
        }
        if let Some(row) = find(&callee.text) {
            let call = self.count_arguments(row, args, span)?;
            return (row.run)(self, &call);
        }
        if functions.unread.may_declare(&callee.text) {
            return Err(Failed);
        }
        let message = format!("there is no operation or function `{}`", callee.text);
        let mut diagnostic =
            Diagnostic::error(&codes::UNKNOWN_FUNCTION, message).label(callee.span, "not known");
        let known = ROWS.iter().map(|r| r.name).chain(["einsum"]).chain(functions.by_name.keys().copied());
        if let Some(help) = elsewhere(&callee.text) {
            diagnostic = diagnostic.help(help);
        } else if let Some(near) = nearest(&callee.text, known) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        Err(self.report(diagnostic))
    }

    fn wrong(&mut self, row: &Row, span: Span, what: impl Into<String>) -> Failed {
        let message = format!("`{}` is called with the wrong arguments", row.name);
        let diagnostic = Diagnostic::error(&codes::WRONG_ARGUMENTS, message)
            .label(span, what)
            .help(format!("its form is `{}`", row.form));
        self.report(diagnostic)
    }

    fn count_arguments<'c>(&mut self, row: &'static Row, args: &'c [Arg], span: Span) -> Check<Call<'c>> {
        let mut call = Call { row, span, values: Vec::new(), named: Vec::new(), over: None };
        for arg in args {
            match &arg.kind {
                ArgKind::Value(_) | ArgKind::Type(_) => call.values.push(arg),
                ArgKind::Named { name, value } => {
                    if !row.named.contains(&name.text.as_str()) {
                        return Err(self.wrong(row, arg.span, format!("it knows no `{}`", name.text)));
                    }
                    if call.named.iter().any(|(n, _)| n.text == name.text) {
                        return Err(self.wrong(row, arg.span, "given twice"));
                    }
                    call.named.push((name, value));
                }
                ArgKind::Over(_) | ArgKind::Axis(_) if call.over.is_some() => {
                    return Err(self.wrong(row, arg.span, "its axes are given twice"));
                }
                ArgKind::Over(monos) => call.over = Some((AxisList::Over(monos), arg.span)),
                ArgKind::Axis(n) => call.over = Some((AxisList::Axis(*n), arg.span)),
            }
        }
        let (least, most) = row.values;
        if call.values.len() < least {
            return Err(self.wrong(row, span, format!("{} of {least} values", call.values.len())));
        }
        if let Some(extra) = call.values.get(most) {
            if let ("max" | "min", [_, _]) = (row.name, &call.values[..]) {
                let message = format!("`{}` finds the largest or smallest along an axis", row.name);
                let pair = self.text(call.values[0].span.to(extra.span));
                let diagnostic = Diagnostic::error(&codes::WRONG_ARGUMENTS, message)
                    .label(extra.span, "one value too many")
                    .help(format!("of two values it is `{}imum({pair})`", row.name));
                return Err(self.report(diagnostic));
            }
            return Err(self.wrong(row, extra.span, "one value too many"));
        }
        let mono_count = match &call.over {
            None => 0,
            Some((AxisList::Over(monos), _)) => monos.len(),
            Some((AxisList::Axis(_), _)) => 1,
        };
        let place = call.over.as_ref().map_or(span, |(_, span)| *span);
        match row.axes {
            Axes::None if mono_count > 0 => Err(self.wrong(row, place, "it works on all axes alike")),
            Axes::One if mono_count == 0 => Err(self.wrong(row, place, "which axis? add `over` or `axis`")),
            Axes::One | Axes::OneOrOnly if mono_count > 1 => Err(self.wrong(row, place, "it takes one axis")),
            _ => Ok(call),
        }
    }

    /// The expression of argument `i`.
    fn value<'c>(&mut self, call: &Call<'c>, i: usize) -> Check<&'c Expr> {
        match call.values.get(i).map(|arg| (&arg.kind, arg.span)) {
            Some((ArgKind::Value(expr), _)) => Ok(expr),
            Some((_, span)) => Err(self.wrong(call.row, span, "expected a value")),
            None => Err(self.wrong(call.row, call.span, "a value is missing")),
        }
    }

    /// Argument `i`, evaluated.
    fn value_of(&mut self, call: &Call<'_>, i: usize) -> Check<Operand> {
        let expr = self.value(call, i)?;
        self.operand(expr)
    }

    /// Argument `i` as a list.
    fn list<'c>(&mut self, call: &Call<'c>, i: usize) -> Check<&'c [Expr]> {
        let expr = self.value(call, i)?;
        match &expr.kind {
            ast::ExprKind::List(items) => Ok(items),
            ast::ExprKind::Error => Err(Failed),
            _ => Err(self.wrong(call.row, expr.span, "expected a list, `[..]`")),
        }
    }

    /// The visible axes that a call names, in the order written; for [`Axes::Any`] all if it names none.
    fn call_axes(&mut self, call: &Call<'_>, tensor: &Tensor, base: Span) -> Check<Vec<usize>> {
        let rank = tensor.axes.len();
        match &call.over {
            None if call.row.axes == Axes::Any => Ok((0..rank).collect()),
            None if rank == 1 => Ok(vec![0]),
            None => {
                let call_text = self.text(call.span);
                let call_text = call_text.strip_suffix(')').unwrap_or(&call_text);
                let first = tensor.axes.last().map_or("E".to_owned(), |axis| axis.to_string());
                let diagnostic = Diagnostic::error(
                    &codes::WRONG_ARGUMENTS,
                    format!("`{}` needs to know its axis", call.row.name),
                )
                .label(base, tensor.type_text())
                .help(format!("`{}, over {first})`", call_text.trim_end_matches([',', ' '])));
                Err(self.report(diagnostic))
            }
            Some((AxisList::Axis(n), span)) => {
                let at = if *n < 0 { *n + rank as i64 } else { *n };
                match usize::try_from(at).ok().filter(|at| *at < rank) {
                    Some(at) => Ok(vec![at]),
                    None => {
                        let message = format!("there is no axis {n} among {rank}");
                        let diagnostic = Diagnostic::error(&codes::NO_SUCH_AXIS, message)
                            .label(*span, "positions count from 0, or from -1 at the end")
                            .context(base, tensor.type_text());
                        Err(self.report(diagnostic))
                    }
                }
            }
            Some((AxisList::Over(monos), _)) => {
                let mut found: Vec<usize> = Vec::new();
                for mono in *monos {
                    let axis = self.mono(mono)?;
                    let at = self.find_axis(tensor, base, &axis, mono.span)?;
                    if found.contains(&at) {
                        let message = format!("the axis {axis} is listed twice");
                        return Err(self.fail(&codes::DUPLICATE_AXIS, message, mono.span, "again"));
                    }
                    found.push(at);
                }
                Ok(found)
            }
        }
    }

    /// The one visible axis that a call names.
    fn call_axis(&mut self, call: &Call<'_>, tensor: &Tensor, base: Span) -> Check<usize> {
        self.call_axes(call, tensor, base)?.first().copied().ok_or(Failed)
    }

    /// A named number; `default` if it is not given.
    fn number(&mut self, call: &Call<'_>, name: &str, default: f64) -> Check<f64> {
        let Some((_, expr)) = call.named.iter().find(|(n, _)| n.text == name) else { return Ok(default) };
        match self.expr(expr)? {
            Value::Literal(Literal::Number(n)) => Ok(n),
            // A number passed to the function, which a call will know.
            Value::Tensor(tensor) if self.emitter.sizes().is_none() && tensor.axes.is_empty() => Ok(default),
            Value::Size(_) if self.emitter.sizes().is_none() => Ok(default),
            other => Err(self.not_constant(name, expr.span, &other, "a number")),
        }
    }

    /// A named truth value, false if it is not given.
    fn flag(&mut self, call: &Call<'_>, name: &str) -> Check<bool> {
        let Some((_, expr)) = call.named.iter().find(|(n, _)| n.text == name) else { return Ok(false) };
        match self.expr(expr)? {
            Value::Literal(Literal::Bool(b)) => Ok(b),
            other => Err(self.not_constant(name, expr.span, &other, "true or false")),
        }
    }

    fn not_constant(&mut self, name: &str, span: Span, found: &Value, wanted: &str) -> Failed {
        let message = format!("`{name}` must be known when compiling");
        let label = format!("{}, expected {wanted}", found.type_text());
        self.fail(&codes::NOT_CONSTANT, message, span, label)
    }
}
