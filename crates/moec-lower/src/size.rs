//! Sizes as `dim` lines, facts and bounds write them: arithmetic over dims, numbers and params.

use std::sync::Arc;

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{Dim, DimExpr, Number, SizeSum};
use moec_syntax::ast::{self, BinaryOp, ExprKind, SizeKind, SizeOp};

use crate::axis::{self, Axis};
use crate::lowerer::{Binding, Check, Failed, Lowerer};
use crate::value::{Literal, Value};

/// Sizes are exact below this: `DimExpr` computes in floating point.
pub(crate) const EXACT: f64 = 9_007_199_254_740_992.0;

/// What is known about a size.
#[derive(Clone, Debug)]
pub(crate) struct SizeValue {
    /// The product of numbers and dims that it is, if it is one.
    pub(crate) axis: Option<Axis>,
    /// How it is computed.
    pub(crate) expr: DimExpr,
    /// The sum of products that it is, if it is one.
    pub(crate) sum: Option<SizeSum>,
    /// Its value, if known now.
    pub(crate) value: Option<f64>,
}

impl SizeValue {
    fn of_axis(axis: Axis, value: Option<f64>) -> Self {
        let (expr, sum) = (DimExpr::Dim(axis.size().clone()), SizeSum::of(axis.name()));
        Self { axis: Some(axis), expr, sum: Some(sum), value }
    }
}

impl Lowerer<'_> {
    /// Evaluates a size. `dim` gives the axis of a dim, which may have to be defined first.
    pub(crate) fn size(
        &mut self,
        size: &ast::Size,
        dim: &mut dyn FnMut(&mut Self, &str, Span) -> Check<Axis>,
    ) -> Check<SizeValue> {
        self.size_under(size, dim, false)
    }

    fn size_under(
        &mut self,
        size: &ast::Size,
        dim: &mut dyn FnMut(&mut Self, &str, Span) -> Check<Axis>,
        floored: bool,
    ) -> Check<SizeValue> {
        match &size.kind {
            SizeKind::Int(n) if *n as f64 >= EXACT => Err(self.too_large(size.span)),
            SizeKind::Int(n) => Ok(SizeValue::of_axis(Axis::constant(*n), Some(*n as f64))),
            SizeKind::Dim(name) => {
                let axis = dim(self, name, size.span)?;
                let value = self.known(&axis).map(|n| n as f64);
                Ok(SizeValue::of_axis(axis, value))
            }
            SizeKind::Param(name) => match self.lookup(name, size.span)? {
                Binding::Value(Some(Value::Literal(Literal::Number(n)))) => Ok(number(n)),
                Binding::Value(None) => Err(Failed),
                _ => {
                    let message = format!("`{name}` is not a number");
                    Err(self.fail(
                        &codes::BAD_SIZE,
                        message,
                        size.span,
                        "sizes are made of dims, numbers and params",
                    ))
                }
            },
            SizeKind::Number(n) => Ok(number(n.value)),
            SizeKind::Floor(inner) => {
                let inner = self.size_under(inner, dim, true)?;
                if inner.axis.is_some() {
                    return Ok(inner);
                }
                let value = inner.value.map(f64::floor);
                Ok(SizeValue { axis: None, expr: DimExpr::Floor(Box::new(inner.expr)), sum: None, value })
            }
            SizeKind::Binary { op, left, right } => {
                let (a, b) = (self.size_under(left, dim, floored), self.size_under(right, dim, floored));
                self.size_binary(*op, size.span, &a?, &b?, floored)
            }
            SizeKind::Error => Err(Failed),
        }
    }

    pub(crate) fn too_large(&mut self, span: Span) -> Failed {
        self.fail(&codes::DIM_OVERFLOW, "this size overflows: sizes are below 2^53", span, "")
    }

    fn size_binary(
        &mut self,
        op: SizeOp,
        span: Span,
        a: &SizeValue,
        b: &SizeValue,
        floored: bool,
    ) -> Check<SizeValue> {
        let values = a.value.zip(b.value);
        let value = values.map(|(x, y)| match op {
            SizeOp::Add => x + y,
            SizeOp::Sub => x - y,
            SizeOp::Mul => x * y,
            SizeOp::Div => x / y,
        });
        if op == SizeOp::Div
            && !floored
            && let (Some((x, y)), Some(value)) = (values, value)
            && value.fract() != 0.0
        {
            let text = self.text(span);
            let diagnostic = Diagnostic::error(&codes::NOT_DIVISIBLE, format!("{y} does not divide {x}"))
                .label(span, format!("{x} / {y}"))
                .help(format!("to round down, write `floor({text})`"));
            return Err(self.report(diagnostic));
        }
        if value.is_some_and(|v| v.abs() >= EXACT) {
            return Err(self.too_large(span));
        }
        let pair = || (Box::new(a.expr.clone()), Box::new(b.expr.clone()));
        let sums = a.sum.as_ref().zip(b.sum.as_ref());
        let (expr, sum, axis) = match op {
            SizeOp::Add | SizeOp::Sub => {
                let sign = if op == SizeOp::Add { 1 } else { -1 };
                let sum = sums.map(|(x, y)| x.plus(y, sign));
                let axis = sum.as_ref().and_then(SizeSum::as_dim).and_then(|name| self.axis_of(&name));
                let (x, y) = pair();
                (if op == SizeOp::Add { DimExpr::Add(x, y) } else { DimExpr::Sub(x, y) }, sum, axis)
            }
            SizeOp::Mul => {
                let axis = match a.axis.as_ref().zip(b.axis.as_ref()) {
                    Some((x, y)) => {
                        let product = x.times(y);
                        Some(self.ir(span, product)?)
                    }
                    None => None,
                };
                let (x, y) = pair();
                (DimExpr::Mul(x, y), sums.and_then(|(x, y)| x.times(y)), axis)
            }
            SizeOp::Div => {
                // `E / G` of `dim E = G*M` is M by size, though the name of E says nothing of G.
                let axis = a.axis.as_ref().zip(b.axis.as_ref()).and_then(|(x, y)| x.divided_by(y));
                let (x, y) = pair();
                (DimExpr::Div(x, y), axis.as_ref().map(|a| SizeSum::of(a.name())), axis)
            }
        };
        match axis {
            Some(axis) => Ok(SizeValue::of_axis(axis, value)),
            None => Ok(SizeValue { axis: None, expr, sum, value }),
        }
    }

    /// The axis of a name made of dims of this frame.
    pub(crate) fn axis_of(&self, name: &Dim) -> Option<Axis> {
        let mut axis = Axis::constant(name.coefficient());
        for symbol in name.symbols() {
            let wanted = Dim::symbol(symbol);
            let known = self.frame.dims.iter().filter_map(|d| d.axis.as_ref());
            axis = axis.times(known.into_iter().find(|a| *a.name() == wanted)?).ok()?;
        }
        Some(axis)
    }

    /// The name of a sum of names: itself if it is a product, else what the definitions make of it, else a dim that
    /// is defined as this sum.
    pub(crate) fn name_of_sum(&self, sum: &SizeSum) -> Option<Axis> {
        if let Some(name) = sum.as_dim() {
            return self.axis_of(&name);
        }
        let expanded = sum.expanded(&self.frame.sums)?;
        if let Some(name) = expanded.as_dim() {
            return self.axis_of(&name);
        }
        self.frame.dims.iter().filter_map(|d| d.axis.as_ref()).find_map(|axis| {
            let symbol: &Arc<str> = axis.name().symbols().first()?;
            (self.frame.sums.get(symbol) == Some(&expanded)).then(|| axis.clone())
        })
    }

    /// The name of a sum, or the error that there is none.
    pub(crate) fn named_sum(&mut self, sum: &SizeSum, what: &str, span: Span) -> Check<Axis> {
        if let Some(axis) = self.name_of_sum(sum) {
            for dim in &mut self.frame.dims {
                let own = dim.axis.as_ref().and_then(|own| own.name().symbols().first());
                dim.used |= own.is_some_and(|own| axis.name().symbols().contains(own));
            }
            return Ok(axis);
        }
        let sum = axis::without_calls(&sum.to_string());
        let mut free = ('N'..='Z').chain('A'..='M').map(String::from);
        let name =
            free.find(|n| self.frame.dims.iter().all(|d| d.text != *n)).unwrap_or_else(|| "Sum".into());
        let message = format!("{what} makes an axis of size {sum}, which no dim names");
        let diagnostic = Diagnostic::error(&codes::UNNAMED_SIZE, message)
            .label(span, format!("{sum} has no name"))
            .help(format!("declare `dim {name} = {sum}`; the axis is then {name}"));
        Err(self.report(diagnostic))
    }

    /// A bound or a size inside an expression: sums of products of dims, whole numbers and whole params.
    pub(crate) fn size_expr(&mut self, expr: &ast::Expr) -> Check<SizeSum> {
        match &expr.kind {
            ExprKind::Number(n) => match n.integer {
                Some(n) if n <= i64::MAX as u64 => Ok(SizeSum::of(&Dim::constant(n))),
                _ => Err(self.not_a_size(expr.span)),
            },
            ExprKind::Dim(name) => Ok(SizeSum::of(self.dim(name, expr.span)?.name())),
            ExprKind::Name(name) => match self.lookup(name, expr.span)? {
                Binding::Value(Some(Value::Literal(Literal::Number(n))))
                    if n.fract() == 0.0 && (0.0..EXACT).contains(&n) =>
                {
                    Ok(SizeSum::of(&Dim::constant(n as u64)))
                }
                Binding::Value(None) => Err(Failed),
                _ => Err(self.not_a_size(expr.span)),
            },
            ExprKind::Binary {
                op: op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
                left,
                right,
                ..
            } => {
                let (a, b) = (self.size_expr(left), self.size_expr(right));
                let (a, b) = (a?, b?);
                match op {
                    BinaryOp::Add => Ok(a.plus(&b, 1)),
                    BinaryOp::Sub => Ok(a.plus(&b, -1)),
                    _ => a.times(&b).ok_or_else(|| self.not_a_size(expr.span)),
                }
            }
            ExprKind::Error => Err(Failed),
            _ => Err(self.not_a_size(expr.span)),
        }
    }

    fn not_a_size(&mut self, span: Span) -> Failed {
        let diagnostic = Diagnostic::error(&codes::NOT_CONSTANT, "this must be known when compiling")
            .label(span, "expected whole numbers, dims and params, with `+ - *`");
        self.report(diagnostic)
    }

    /// An axis written as an expression: `T*K` in a list of axes.
    pub(crate) fn axis_expr(&mut self, expr: &ast::Expr) -> Check<Axis> {
        if let Some(mono) = expr.as_mono() {
            return self.mono(&mono);
        }
        if matches!(expr.kind, ExprKind::Error) {
            return Err(Failed);
        }
        let sum = self.size_expr(expr)?;
        self.named_sum(&sum, "this list", expr.span)
    }

    /// The axes of a written list.
    pub(crate) fn axis_list(&mut self, list: &[ast::Expr]) -> Check<Vec<Axis>> {
        let axes: Vec<Check<Axis>> = list.iter().map(|e| self.axis_expr(e)).collect();
        axes.into_iter().collect()
    }
}

fn number(n: f64) -> SizeValue {
    if n.fract() == 0.0 && (0.0..EXACT).contains(&n) {
        return SizeValue::of_axis(Axis::constant(n as u64), Some(n));
    }
    SizeValue { axis: None, expr: DimExpr::Number(Number::new(n)), sum: None, value: Some(n) }
}
