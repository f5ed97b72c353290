//! Inputs, weights and constants: what a model declares and the IR takes as it is.

use std::collections::BTreeSet;

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{Attr, DType, Number, Op, TensorType};
use moec_syntax::ast::{self, ExprKind, MemberKind, UnaryOp};

use crate::axis::Axis;
use crate::lowerer::{Binding, Check, Failed, Lowerer, NameKind};
use crate::param::{Params, Piece};
use crate::value::{Literal, Tensor, Value, type_text};

/// The element type of the IR; `float`, which the parser keeps to signatures, has none.
pub(crate) fn dtype(written: ast::DType) -> Option<DType> {
    match written {
        ast::DType::F32 => Some(DType::F32),
        ast::DType::Bf16 => Some(DType::Bf16),
        ast::DType::F16 => Some(DType::F16),
        ast::DType::I32 => Some(DType::I32),
        ast::DType::U8 => Some(DType::U8),
        ast::DType::Bool => Some(DType::Bool),
        ast::DType::Float => None,
    }
}

impl Lowerer<'_> {
    /// A type as the members of a model write it.
    pub(crate) fn written_type(&mut self, ty: &ast::Type) -> Check<(DType, Vec<Axis>)> {
        let axes = self.monos(&ty.axes)?;
        // The parser has reported `float` and `..` outside signatures.
        Ok((dtype(ty.dtype).ok_or(Failed)?, axes))
    }

    pub(crate) fn declare_sources(&mut self, model: &ast::Model, params: &Params<'_>) {
        for member in &model.members {
            match &member.kind {
                MemberKind::Input(input) => {
                    let ty = self.written_type(&input.ty);
                    for name in &input.names {
                        let value = ty.clone().and_then(|(dtype, axes)| {
                            let attrs = |ty| [("name", name.text.as_str().into()), ("type", ty)];
                            self.source(name.span, Op::Input, dtype, axes, attrs)
                        });
                        self.declare(name, NameKind::Input, Binding::Value(value.ok()));
                    }
                }
                MemberKind::Weight(weight) => {
                    let ty = self.written_type(&weight.ty);
                    for (name, from) in weight.names.iter().zip(&weight.from) {
                        let value = ty.clone().and_then(|(dtype, axes)| {
                            let pattern = self.pattern(from, &weight.ty, &axes, params)?;
                            let attrs = |ty| {
                                [("name", name.text.as_str().into()), ("type", ty), ("from", pattern.into())]
                            };
                            self.source(name.span, Op::Weight, dtype, axes, attrs)
                        });
                        self.declare(name, NameKind::Weight, Binding::Value(value.ok()));
                    }
                }
                MemberKind::Const(constant) => {
                    let value = self.constant(constant);
                    self.declare(&constant.name, NameKind::Const, Binding::Value(value.ok()));
                }
                _ => {}
            }
        }
    }

    fn source<const N: usize>(
        &mut self,
        span: Span,
        op: Op,
        dtype: DType,
        axes: Vec<Axis>,
        attrs: impl FnOnce(Attr) -> [(&'static str, Attr); N],
    ) -> Check<Value> {
        let ty = TensorType::new(dtype, self.shape(&[], &axes));
        let node = self.emit(span, op, &[], attrs(Attr::Type(ty)))?;
        Ok(Value::Tensor(Tensor::new(node, dtype, Vec::new(), axes)))
    }

    /// The `from` attribute: params put in, holes of dims as numbers of axes.
    fn pattern(
        &mut self,
        from: &ast::StringLit,
        ty: &ast::Type,
        axes: &[Axis],
        params: &Params<'_>,
    ) -> Check<String> {
        let mut text = String::new();
        let mut stacked: Vec<usize> = Vec::new();
        for piece in self.filled_in(from, params)? {
            let (name, width, span) = match piece {
                Piece::Text(piece) => {
                    text.push_str(&piece);
                    continue;
                }
                Piece::Dim { name, width, span } => (name, width, span),
            };
            let dim = self.dim(&name, span)?;
            let at: Vec<usize> = (0..axes.len()).filter(|&i| axes[i] == dim).collect();
            let [at] = at[..] else {
                let message = format!("the hole {{{name}}} needs one axis {name} of its weight");
                let diagnostic = Diagnostic::error(&codes::BAD_PATTERN, message)
                    .label(span, "one tensor per index of this dim")
                    .context(ty.span, format!("{} axes {name}", at.len()));
                return Err(self.report(diagnostic));
            };
            if self.known(&dim).is_none() {
                let message = format!("the hole {{{name}}} needs a dim whose size is known");
                let diagnostic = Diagnostic::error(&codes::BAD_PATTERN, message)
                    .label(span, format!("{name} is known when the program runs"));
                return Err(self.report(diagnostic));
            }
            match width {
                Some(width) => text.push_str(&format!("{{{at}:0{width}}}")),
                None => text.push_str(&format!("{{{at}}}")),
            }
            if !stacked.contains(&at) {
                stacked.push(at);
            }
        }
        stacked.sort_unstable();
        if stacked.iter().enumerate().any(|(i, &at)| i != at) {
            let names: Vec<String> = stacked.iter().map(|&at| axes[at].to_string()).collect();
            let rest: Vec<String> =
                (0..axes.len()).filter(|i| !stacked.contains(i)).map(|i| axes[i].to_string()).collect();
            let list = [names.clone(), rest].concat().join(", ");
            let message = format!("stacking over {} gives leading axes", names.join(", "));
            let diagnostic = Diagnostic::error(&codes::BAD_PATTERN, message)
                .label(ty.span, format!("{} must come first", names.join(", ")))
                .context(from.span, "one tensor per index")
                .help(format!("declare {}[{list}], and `transpose` where it is used", ty.dtype.name()));
            return Err(self.report(diagnostic));
        }
        Ok(text)
    }

    fn constant(&mut self, constant: &ast::Const) -> Check<Value> {
        let (dtype, axes) = self.written_type(&constant.ty)?;
        let mut sizes = Vec::new();
        for axis in &axes {
            let Some(n) = self.known(axis) else {
                let message =
                    format!("`{}` has the axis {axis}, whose size is not known", constant.name.text);
                return Err(self.fail(&codes::BAD_CONST, message, constant.ty.span, "expected known sizes"));
            };
            sizes.push(n);
        }
        let ty = type_text(dtype, false, &axes);
        let mut values = Vec::new();
        self.elements(&constant.value, &sizes, dtype, &ty, &mut values)?;
        let name = constant.name.text.clone();
        self.constants.push((name, values.iter().map(|v| v.get()).collect()));
        let attrs = |ty| [("type", ty), ("values", Attr::Numbers(values.into()))];
        self.source(constant.name.span, Op::Literal, dtype, axes, attrs)
    }

    /// Appends the elements of a nested list in row-major order.
    fn elements(
        &mut self,
        expr: &ast::Expr,
        sizes: &[u64],
        dtype: DType,
        ty: &str,
        values: &mut Vec<Number>,
    ) -> Check<()> {
        if let Some((&n, inner)) = sizes.split_first() {
            let (found, items) = match &expr.kind {
                ExprKind::List(items) => (items.len().to_string(), Some(items)),
                ExprKind::Error => return Err(Failed),
                _ => ("no list".into(), None),
            };
            let Some(items) = items.filter(|items| items.len() as u64 == n) else {
                let message = format!("{ty} needs a list of {n} here");
                return Err(self.fail(&codes::BAD_CONST, message, expr.span, format!("found {found}")));
            };
            return items.iter().try_for_each(|item| self.elements(item, inner, dtype, ty, values));
        }
        let value = constant_element(expr);
        let fits = match (value, dtype) {
            (Some(Literal::Bool(_)), DType::Bool) => true,
            (Some(Literal::Number(n)), DType::I32) => {
                n.fract() == 0.0 && n >= i32::MIN.into() && n <= i32::MAX.into()
            }
            (Some(Literal::Number(n)), DType::U8) => n.fract() == 0.0 && (0.0..=255.0).contains(&n),
            (Some(Literal::Number(_)), DType::F32 | DType::Bf16 | DType::F16) => true,
            _ => false,
        };
        match value {
            Some(Literal::Number(n)) if fits => values.push(Number::new(n)),
            Some(Literal::Bool(b)) if fits => values.push(Number::new(f64::from(u8::from(b)))),
            _ => {
                let message = format!("`{}` is not one element of {ty}", self.text(expr.span));
                return Err(self.fail(&codes::BAD_CONST, message, expr.span, format!("expected {dtype}")));
            }
        }
        Ok(())
    }

    /// Checks the `fact partition(..)` lines of a model.
    pub(crate) fn check_partitions(&mut self, model: &ast::Model) {
        for member in &model.members {
            if let MemberKind::Fact(ast::Fact::Partition { parts, whole }) = &member.kind {
                let _ = self.check_partition(parts, whole);
            }
        }
    }

    fn check_partition(&mut self, parts: &[ast::Ident], whole: &ast::Ident) -> Check<()> {
        let axis = self.dim(&whole.text, whole.span)?;
        let Some(size) = self.known(&axis) else {
            let message = format!("the size of {axis} is not known");
            return Err(self.fail(&codes::BAD_PARTITION, message, whole.span, "expected a known size"));
        };
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        for part in parts {
            self.lookup(&part.text, part.span)?;
            let Some((_, values)) = self.constants.iter().find(|(name, _)| *name == part.text) else {
                let message = format!("`{}` is not a `const`", part.text);
                return Err(self.fail(&codes::BAD_PARTITION, message, part.span, "expected a constant"));
            };
            for value in values.clone() {
                let problem = if value.fract() != 0.0 || !(0.0..size as f64).contains(&value) {
                    format!("{value} is not in 0 .. {size}")
                } else if !seen.insert(value as u64) {
                    format!("{value} occurs twice")
                } else {
                    continue;
                };
                let diagnostic = Diagnostic::error(&codes::BAD_PARTITION, problem.clone())
                    .label(part.span, problem)
                    .context(whole.span, format!("{size} entries, each to occur once"));
                return Err(self.report(diagnostic));
            }
        }
        // All distinct and in range, so a smaller count means that one is missing.
        if (seen.len() as u64) < size {
            let missing = (0..size).find(|n| !seen.contains(n)).unwrap_or(0);
            let names: Vec<&str> = parts.iter().map(|p| p.text.as_str()).collect();
            let message = format!("{missing} of {axis} is in none of {}", names.join(", "));
            return Err(self.fail(&codes::BAD_PARTITION, message, whole.span, format!("{size} entries")));
        }
        Ok(())
    }
}

fn constant_element(expr: &ast::Expr) -> Option<Literal> {
    match &expr.kind {
        ExprKind::Number(n) => Some(Literal::Number(n.value)),
        ExprKind::Inf => Some(Literal::Number(f64::INFINITY)),
        ExprKind::Bool(b) => Some(Literal::Bool(*b)),
        ExprKind::Unary { op: UnaryOp::Neg, operand } => match constant_element(operand)? {
            Literal::Number(n) => Some(Literal::Number(-n)),
            Literal::Bool(_) => None,
        },
        _ => None,
    }
}
