//! Everything that fits on one line, as one line.

use crate::ast::*;

/// Prints on one line. It looks into the source for the letters of whole numbers, which the tree has as values only.
#[derive(Clone, Copy)]
pub(super) struct Flat<'a> {
    pub(super) source: &'a str,
}

impl Flat<'_> {
    /// A size in a `dim` line or a fact.
    pub(super) fn size(self, size: &Size) -> String {
        let (text, is_atom) = match &size.kind {
            SizeKind::Int(_) => (letters(size.span.slice(self.source)), true),
            SizeKind::Dim(name) | SizeKind::Param(name) => (name.clone(), true),
            SizeKind::Number(number) => (number.text.clone(), true),
            SizeKind::Floor(inside) => (format!("floor({})", self.size(inside)), true),
            SizeKind::Binary { op, left, right } => {
                (format!("{} {} {}", self.size(left), op.symbol(), self.size(right)), false)
            }
            SizeKind::Error => (String::new(), true),
        };
        if size.parens && !is_atom { format!("({text})") } else { text }
    }

    /// The expression on one line; `None` if it holds a fold that needs several.
    pub(super) fn expr(self, value: &Expr) -> Option<String> {
        let text = match &value.kind {
            ExprKind::Number(number) => number.text.clone(),
            ExprKind::Inf => "inf".to_owned(),
            ExprKind::Bool(value) => value.to_string(),
            ExprKind::Text(text) => format!("\"{}\"", text.text),
            ExprKind::Name(name) | ExprKind::Dim(name) => name.clone(),
            ExprKind::List(parts) => format!("[{}]", join(parts, |part| self.list_part(part))?),
            ExprKind::Unary { op, operand } => format!("{}{}", unary(*op), self.expr(operand)?),
            ExprKind::Binary { op, left, right, .. } => {
                format!("{} {} {}", self.expr(left)?, op.symbol(), self.expr(right)?)
            }
            ExprKind::Where { value, mask, other } => {
                format!("{} where {} else {}", self.expr(value)?, self.expr(mask)?, self.expr(other)?)
            }
            ExprKind::Index { base, indices } => {
                format!("{}[{}]", self.expr(base)?, join(indices, |index| self.index_text(index))?)
            }
            ExprKind::Field { base, field } => format!("{}.{}", self.expr(base)?, field.text),
            ExprKind::Transpose(base) => format!("{}.T", self.expr(base)?),
            ExprKind::Cast { dtype, operand } => format!("{}({})", dtype.name(), self.expr(operand)?),
            ExprKind::Call { callee, args } => {
                format!("{}({})", callee.text, join(args, |arg| self.arg_text(arg))?)
            }
            ExprKind::Fold(fold) if fold.body.lets.is_empty() => {
                format!("{} {} }}", self.fold_head(fold), self.expr(&fold.body.result)?)
            }
            ExprKind::Fold(_) | ExprKind::Error => return None,
        };
        Some(if value.parens && !is_atom(&value.kind) { format!("({text})") } else { text })
    }

    /// A part of a list; a product of dims is a size there, and written without blanks.
    pub(super) fn list_part(self, part: &Expr) -> Option<String> {
        match part.as_mono() {
            Some(size) if !part.parens => Some(self.mono(&size)),
            _ => self.expr(part),
        }
    }

    /// `sum e over E {`
    pub(super) fn fold_head(self, fold: &Fold) -> String {
        let binders = fold
            .binders
            .iter()
            .map(|binder| format!("{} over {}", binder.name.text, self.mono(&binder.over)));
        let along = fold.along.as_ref().map_or(String::new(), |along| format!("along {} ", self.mono(along)));
        format!("{} {} {along}{{", fold.op.name(), binders.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn index_text(self, index: &Index) -> Option<String> {
        Some(match index {
            Index::Bound(name) => name.text.clone(),
            Index::At { axis, value, .. } => format!("{} = {}", self.mono(axis), self.expr(value)?),
            Index::Range { axis, start, end, step, .. } => {
                let step = step.map_or(String::new(), |(step, _)| format!(" by {step}"));
                format!("{} = {}..{}{step}", self.mono(axis), self.expr(start)?, self.expr(end)?)
            }
            Index::Error(_) => return None,
        })
    }

    pub(super) fn arg_text(self, arg: &Arg) -> Option<String> {
        Some(match &arg.kind {
            ArgKind::Value(value) => self.expr(value)?,
            ArgKind::Type(declared) => self.ty(declared),
            ArgKind::Named { name, value } => format!("{} = {}", name.text, self.expr(value)?),
            ArgKind::Over(axes) => match axes.as_slice() {
                [axis] => format!("over {}", self.mono(axis)),
                axes => format!(
                    "over [{}]",
                    axes.iter().map(|axis| self.mono(axis)).collect::<Vec<_>>().join(", ")
                ),
            },
            ArgKind::Axis(position) => format!("axis {position}"),
        })
    }

    /// `f32[.., T, 2*F]`
    pub(super) fn ty(self, ty: &Type) -> String {
        let lead = ty.lead.map(|_| "..".to_owned());
        let axes: Vec<_> = lead.into_iter().chain(ty.axes.iter().map(|axis| self.mono(axis))).collect();
        if axes.is_empty() {
            ty.dtype.name().to_owned()
        } else {
            format!("{}[{}]", ty.dtype.name(), axes.join(", "))
        }
    }

    /// `2*F`
    pub(super) fn mono(self, mono: &Mono) -> String {
        let factors = mono.factors.iter().map(|factor| match factor {
            Factor::Int(_, span) => letters(span.slice(self.source)),
            Factor::Dim(name) => name.text.clone(),
        });
        factors.collect::<Vec<_>>().join("*")
    }
}

fn join<T>(parts: &[T], print: impl std::ops::Fn(&T) -> Option<String>) -> Option<String> {
    let texts: Option<Vec<_>> = parts.iter().map(print).collect();
    texts.map(|texts| texts.join(", "))
}

/// A plain value, of which several go on a line.
pub(super) fn is_short(part: &Expr) -> bool {
    match &part.kind {
        ExprKind::Unary { operand, .. } => is_short(operand),
        ExprKind::Number(_) | ExprKind::Inf | ExprKind::Bool(_) | ExprKind::Name(_) | ExprKind::Dim(_) => {
            true
        }
        _ => false,
    }
}

/// Whether parentheses around this are of no use.
pub(super) fn is_atom(kind: &ExprKind) -> bool {
    match kind {
        ExprKind::Unary { .. } | ExprKind::Binary { .. } | ExprKind::Where { .. } | ExprKind::Fold(_) => {
            false
        }
        ExprKind::Number(_) | ExprKind::Inf | ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Name(_) => {
            true
        }
        ExprKind::Dim(_) | ExprKind::List(_) | ExprKind::Index { .. } | ExprKind::Field { .. } => true,
        ExprKind::Transpose(_) | ExprKind::Cast { .. } | ExprKind::Call { .. } | ExprKind::Error => true,
    }
}

/// A number that grows with how tightly an operator binds.
pub(super) fn level(op: BinaryOp) -> u32 {
    match op {
        BinaryOp::Or => 0,
        BinaryOp::And => 1,
        BinaryOp::Compare(_) => 2,
        BinaryOp::Add | BinaryOp::Sub => 3,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::MatMul => 4,
    }
}

pub(super) fn unary(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "-",
        UnaryOp::Not => "not ",
    }
}

/// The letters of a number that may stand in parentheses, with comments beside it.
fn letters(number: &str) -> String {
    let code = number.lines().flat_map(|line| line.split("//").next());
    code.flat_map(str::chars).filter(|c| c.is_ascii_digit() || *c == '_').collect()
}
