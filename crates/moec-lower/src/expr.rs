//! Expressions: one arm a kind, each handed to the module that knows it.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, Op};
use moec_syntax::ast::{self, BinaryOp, Expr, ExprKind, UnaryOp};

use crate::convert::Promise;
use crate::lowerer::{Binding, Check, Failed, Lowerer, NameKind};
use crate::value::{Literal, Operand, Origin, Route, Tensor, Value};
use crate::weight::dtype;

/// Expressions inside each other, over all calls; what the parser allows within one function fits.
const MOST_LEVELS: usize = 400;

impl Lowerer<'_> {
    /// Checks and lowers an expression.
    pub(crate) fn expr(&mut self, expr: &Expr) -> Check<Value> {
        if self.depth >= MOST_LEVELS {
            return Err(self.fail(
                &codes::TOO_DEEP,
                "expressions and calls are nested too deeply",
                expr.span,
                "",
            ));
        }
        self.depth += 1;
        let value = self.expr_of_kind(expr);
        self.depth -= 1;
        value
    }

    /// An expression with its place, for operations that speak of it.
    pub(crate) fn operand(&mut self, expr: &Expr) -> Check<Operand> {
        Ok(Operand { value: self.expr(expr)?, span: expr.span })
    }

    fn expr_of_kind(&mut self, expr: &Expr) -> Check<Value> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Value::Literal(Literal::Number(number.value))),
            ExprKind::Inf => Ok(Value::Literal(Literal::Number(f64::INFINITY))),
            ExprKind::Bool(value) => Ok(Value::Literal(Literal::Bool(*value))),
            ExprKind::Text(text) => {
                let message = "a text is not a value";
                Err(self.fail(&codes::ELEMENT_TYPE, message, text.span, "texts stand in `einsum` and `from`"))
            }
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Dim(name) => {
                let axis = self.dim(name, expr.span)?;
                Ok(match self.known(&axis) {
                    Some(n) => Value::Literal(Literal::Number(n as f64)),
                    None => Value::Size(axis),
                })
            }
            ExprKind::List(_) => {
                let message = "a list is not a value";
                Err(self.fail(&codes::WRONG_ARGUMENTS, message, expr.span, "lists name axes in calls"))
            }
            ExprKind::Unary { op, operand } => self.unary(*op, operand, expr.span),
            ExprKind::Binary { op, op_span, left, right } => self.infix(*op, *op_span, left, right),
            ExprKind::Where { value, mask, other } => self.branches(expr.span, [value, mask, other]),
            ExprKind::Index { base, indices } => self.indexed(base, indices),
            ExprKind::Field { base, field } => self.field(base, field),
            ExprKind::Transpose(base) => self.transposed(base),
            ExprKind::Cast { dtype, operand } => self.converted(*dtype, operand, expr.span),
            ExprKind::Call { callee, args } => self.call(callee, args, expr.span),
            ExprKind::Fold(fold) => self.fold(fold, expr.span),
            ExprKind::Error => Err(Failed),
        }
    }

    // One function an arm: an arm's values would otherwise take stack in every level of every expression.

    #[inline(never)]
    fn infix(&mut self, op: BinaryOp, op_span: Span, left: &Expr, right: &Expr) -> Check<Value> {
        let (left, right) = (self.operand(left), self.operand(right));
        match op {
            BinaryOp::MatMul => self.matmul(op_span, &left?, &right?),
            _ => self.binary(op, op_span, &left?, &right?),
        }
    }

    #[inline(never)]
    fn branches(&mut self, span: Span, parts: [&Expr; 3]) -> Check<Value> {
        let [value, mask, other] = parts.map(|part| self.operand(part));
        self.choose(span, &value?, &mask?, &other?)
    }

    #[inline(never)]
    fn indexed(&mut self, base: &Expr, indices: &[ast::Index]) -> Check<Value> {
        let base = self.operand(base)?;
        self.index(&base, indices)
    }

    #[inline(never)]
    fn transposed(&mut self, base: &Expr) -> Check<Value> {
        let base = self.operand(base)?;
        self.swap_axes(&base)
    }

    #[inline(never)]
    fn converted(&mut self, to: ast::DType, operand: &Expr, span: Span) -> Check<Value> {
        let operand = self.operand(operand)?;
        let to = dtype(to).ok_or(Failed)?;
        self.cast_to(to, &operand, span)
    }

    #[inline(never)]
    fn name(&mut self, name: &str, span: Span) -> Check<Value> {
        match self.lookup(name, span)? {
            Binding::Value(value) => value.ok_or(Failed),
            Binding::Index(hidden) => {
                let axis = self.hidden_axis(hidden);
                let node = self.iota(span, &axis)?;
                Ok(Value::Tensor(Tensor::new(node, DType::I32, vec![hidden], Vec::new())))
            }
        }
    }

    #[inline(never)]
    fn unary(&mut self, op: UnaryOp, operand: &Expr, span: Span) -> Check<Value> {
        let operand = self.operand(operand)?;
        match (op, &operand.value) {
            (UnaryOp::Neg, Value::Literal(Literal::Number(n))) => Ok(Value::Literal(Literal::Number(-n))),
            (UnaryOp::Not, Value::Literal(Literal::Bool(b))) => Ok(Value::Literal(Literal::Bool(!b))),
            (UnaryOp::Neg, _) => {
                let tensor = self.number_tensor("`-`", &operand)?;
                self.map_tensor(span, Op::Neg, &tensor)
            }
            (UnaryOp::Not, _) => {
                let tensor = self.tensor_of("`not`", DType::Bool, &operand)?;
                self.map_tensor(span, Op::Not, &tensor)
            }
        }
    }

    /// An operation on each element that keeps the element type.
    pub(crate) fn map_tensor(&mut self, span: Span, op: Op, tensor: &Tensor) -> Check<Value> {
        let node = self.emit(span, op, &[tensor.node], [])?;
        Ok(Value::Tensor(tensor.with_node(node, tensor.dtype)))
    }

    fn cast_to(&mut self, to: DType, operand: &Operand, span: Span) -> Check<Value> {
        let tensor = match operand.value {
            Value::Literal(Literal::Number(n)) => {
                // A number is exactly what was written, rounded once.
                let literal = match to {
                    DType::Bool => Literal::Bool(n != 0.0),
                    DType::I32 | DType::U8 => Literal::Number(n.trunc()),
                    _ => Literal::Number(n),
                };
                self.filled(operand.span, literal, to, &[], &[])?
            }
            _ => self.tensor(operand)?,
        };
        Ok(Value::Tensor(self.cast(span, &tensor, to)?))
    }

    #[inline(never)]
    fn field(&mut self, base: &Expr, field: &ast::Ident) -> Check<Value> {
        let value = self.expr(base)?;
        let Value::Route(route) = &value else {
            let message = format!("{} has no field `.{}`", value.type_text(), field.text);
            let diagnostic = Diagnostic::error(&codes::NO_SUCH_FIELD, message)
                .label(field.span, "only routes have fields")
                .context(base.span, value.type_text());
            return Err(self.report(diagnostic));
        };
        let (op, dtype, name) = match field.text.as_str() {
            "mask" => (Op::RouteMask, DType::Bool, "mask"),
            "index" => (Op::RouteIndex, DType::I32, "index"),
            "value" => (Op::RouteValue, route.scores.dtype, "value"),
            _ => {
                let message = format!("a route has no field `.{}`", field.text);
                let label = "expected `.mask`, `.index` or `.value`";
                return Err(self.fail(&codes::NO_SUCH_FIELD, message, field.span, label));
            }
        };
        let node = self.emit(base.span, op, &[route.scores.node], [])?;
        let mut result = route.scores.with_node(node, dtype);
        if name != "mask" {
            result.origin = Some(Box::new(self.origin(route, name)));
            result.axes[route.axis] = route.k.clone();
        }
        Ok(Value::Tensor(result))
    }

    fn origin(&self, route: &Route, field: &'static str) -> Origin {
        let [scores, call] = route.text.clone();
        Origin { field, scores, call, from: route.scores.axes[route.axis].clone(), to: route.k.clone() }
    }

    fn swap_axes(&mut self, base: &Operand) -> Check<Value> {
        let tensor = self.tensor(base)?;
        let rank = tensor.axes.len();
        if rank == 2 {
            return Ok(Value::Tensor(tensor.reordered(&[1, 0])));
        }
        let message = format!("`.T` is for two axes; this has {rank}");
        let mut diagnostic =
            Diagnostic::error(&codes::RANK_MISMATCH, message).label(base.span, tensor.type_text());
        if rank > 2 {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 2, rank - 1);
            diagnostic = diagnostic
                .help(format!("`transpose({}, {order:?})` swaps the last two", self.text(base.span)));
        } else {
            diagnostic = diagnostic
                .help(format!("`{}` has no two axes to swap: leave `.T` out", self.text(base.span)));
        }
        Err(self.report(diagnostic))
    }

    /// A `let`: its value under its name.
    pub(crate) fn let_statement(&mut self, statement: &ast::Let) {
        let value = self.operand(&statement.value).and_then(|operand| match &statement.ty {
            None => Ok(operand.value),
            Some(ty) => {
                let (dtype, axes) = self.written_type(ty)?;
                let promise = Promise { dtype: Some(dtype), axes: &axes, lead: false, span: Some(ty.span) };
                self.keep_promise(&operand, &promise).map(Value::Tensor)
            }
        });
        self.declare(&statement.name, NameKind::Let, Binding::Value(value.ok()));
    }

    /// A block: its lets are gone after it.
    pub(crate) fn block(&mut self, block: &ast::Block) -> Check<Operand> {
        let (names, errors) = (self.frame.names.len(), self.diagnostics.len());
        for statement in &block.lets {
            self.let_statement(statement);
        }
        let result = self.operand(&block.result);
        self.close_names(names, errors);
        result
    }

    /// Takes the names from number `from` on out of scope; warns of unused ones unless there were errors since
    /// there were `errors` diagnostics.
    pub(crate) fn close_names(&mut self, from: usize, errors: usize) {
        let faulty = self.diagnostics[errors..].iter().any(Diagnostic::is_error);
        for name in self.frame.names.split_off(from) {
            if name.used || faulty || name.text.starts_with('_') {
                continue;
            }
            let (code, message) = match name.kind {
                NameKind::Let => (&codes::UNUSED_LET, format!("`{}` is computed and never used", name.text)),
                NameKind::Index => {
                    (&codes::UNUSED_INDEX, format!("the body does not use the index `{}`", name.text))
                }
                NameKind::Param | NameKind::Const | NameKind::Input | NameKind::Weight => {
                    (&codes::UNUSED_DECLARATION, format!("`{}` is declared and never used", name.text))
                }
                NameKind::Output | NameKind::Formal => continue,
            };
            let mut diagnostic = Diagnostic::warning(code, message).label(name.span, "never used");
            if name.kind == NameKind::Let {
                diagnostic = diagnostic.help(format!("remove it, or call it `_{}`", name.text));
            }
            self.warn(diagnostic);
        }
    }
}
