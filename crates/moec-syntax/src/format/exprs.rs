//! Expressions: on one line where they fit, else broken at the outermost place that helps.

use moec_diag::Span;

use super::flat::{is_atom, is_short, level, unary};
use super::rows::fill;
use super::{Printer, STEP, WIDTH, end_column, pad, statements};
use crate::ast::{Arg, ArgKind, BinaryOp, Expr, ExprKind, Index};

/// What joins an operand to the one before it.
enum Joint {
    /// Stands in front of the operand, on its line.
    Leading(&'static str),
    /// Stays behind the operand before.
    Trailing(&'static str),
}

impl Joint {
    fn of(op: BinaryOp) -> Self {
        match op {
            // A line that starts with one of these would be a statement of its own.
            BinaryOp::Sub | BinaryOp::Compare(_) => Joint::Trailing(op.symbol()),
            _ => Joint::Leading(op.symbol()),
        }
    }

    fn symbol(&self) -> &'static str {
        match self {
            Joint::Leading(symbol) | Joint::Trailing(symbol) => symbol,
        }
    }
}

impl Printer<'_> {
    /// An expression that starts in `column` of a line indented by `indent` and has `tail` columns behind it.
    /// Its further lines carry their own indentation.
    pub(super) fn expr(&mut self, value: &Expr, indent: usize, column: usize, tail: usize) -> String {
        if let Some(text) = self.flat.expr(value)
            && column + text.chars().count() + tail <= WIDTH
            && !self.comments.any(value.span.start, value.span.end)
        {
            return text;
        }
        if value.parens && !is_atom(&value.kind) {
            return format!("({})", self.broken(value, indent, column + 1, tail + 1));
        }
        self.broken(value, indent, column, tail)
    }

    fn broken(&mut self, value: &Expr, indent: usize, column: usize, tail: usize) -> String {
        match &value.kind {
            ExprKind::Where { .. } | ExprKind::Binary { .. } => self.chain(value, indent, column, tail),
            ExprKind::Unary { op, operand } => {
                let head = unary(*op);
                format!("{head}{}", self.expr(operand, indent, column + head.len(), tail))
            }
            ExprKind::Field { base, field } => {
                format!("{}.{}", self.expr(base, indent, column, tail + 1 + field.text.len()), field.text)
            }
            ExprKind::Transpose(base) => self.expr(base, indent, column, tail + 2) + ".T",
            ExprKind::Index { base, indices } => {
                self.index(base, indices, value.span.end, indent, column, tail)
            }
            ExprKind::Cast { dtype, operand } => {
                let head = dtype.name();
                format!("{head}({})", self.expr(operand, indent, column + head.len() + 1, tail + 1))
            }
            ExprKind::Call { callee, args } if !args.is_empty() => {
                let (from, end) = (callee.span.end, value.span.end);
                format!("{}({})", callee.text, self.lines(args, from, end, indent, |arg| arg.span, Self::arg))
            }
            ExprKind::List(parts) if !parts.is_empty() => {
                let texts: Option<Vec<_>> = parts.iter().map(|part| self.flat.list_part(part)).collect();
                if let Some(texts) = texts.filter(|_| parts.iter().all(is_short)) {
                    return format!("[{}]", fill(&texts, indent, column + 1));
                }
                let print = |printer: &mut Self, part: &Expr, indent| printer.expr(part, indent, indent, 1);
                format!(
                    "[{}]",
                    self.lines(parts, value.span.start, value.span.end, indent, |part| part.span, print)
                )
            }
            ExprKind::Fold(fold) => {
                let (start, end) = (fold.body.span.start + 1, fold.body.span.end);
                let head = self.flat.fold_head(fold) + &self.behind_brace(start, end);
                self.body(head, &statements(&fold.body), start, end, indent)
            }
            _ => self.flat.expr(&Expr::new(value.kind.clone(), value.span)).unwrap_or_default(),
        }
    }

    /// Operands of one level, a line each.
    fn chain(&mut self, value: &Expr, indent: usize, column: usize, tail: usize) -> String {
        let (first, rest) = links(value);
        if let Some(text) = self.hug_fold(first, &rest, indent, column) {
            return text;
        }
        let inner = indent + STEP;
        let mut out = self.expr(first, indent, column, 0);
        let mut from = first.span.end;
        for (number, (joint, operand)) in rest.iter().enumerate() {
            let mut head = String::new();
            match joint {
                Joint::Leading(symbol) => head = format!("{symbol} "),
                Joint::Trailing(symbol) => out += &format!(" {symbol}"),
            }
            out += &self.behind(from);
            out.push('\n');
            out += &self.own_lines(from, operand.span.start, inner);
            let tail = if number + 1 == rest.len() { tail } else { 0 };
            let operand_text = self.expr(operand, inner, inner + head.len(), tail);
            out += &format!("{}{head}{operand_text}", pad(inner));
            from = operand.span.end;
        }
        out
    }

    /// `a + sum e over E {`, with only the fold broken, if that is the last operand and the rest fits in front of it.
    fn hug_fold(
        &mut self,
        first: &Expr,
        rest: &[(Joint, &Expr)],
        indent: usize,
        column: usize,
    ) -> Option<String> {
        let (last_joint, last) = rest.last()?;
        let ExprKind::Fold(fold) = &last.kind else { return None };
        if last.parens || self.comments.any(first.span.start, fold.body.span.start) {
            return None;
        }
        let mut head = self.flat.expr(first)?;
        for (joint, operand) in &rest[..rest.len() - 1] {
            head += &format!(" {} {}", joint.symbol(), self.flat.expr(operand)?);
        }
        head += &format!(" {} ", last_joint.symbol());
        let width = head.chars().count();
        let fits = column + width + self.flat.fold_head(fold).chars().count() <= WIDTH;
        fits.then(|| head + &self.broken(last, indent, column + width, 0))
    }

    fn index(
        &mut self,
        base: &Expr,
        indices: &[Index],
        end: u32,
        indent: usize,
        column: usize,
        tail: usize,
    ) -> String {
        let base_text = self.expr(base, indent, column, 0);
        let column = end_column(&base_text, column) + 2 + tail;
        let texts: Option<Vec<_>> = indices.iter().map(|index| self.flat.index_text(index)).collect();
        if let Some(texts) = texts.map(|texts| texts.join(", "))
            && column + texts.chars().count() <= WIDTH
            && !self.comments.any(base.span.end, end)
        {
            return format!("{base_text}[{texts}]");
        }
        let flat = self.flat;
        let print = |printer: &mut Self, index: &Index, indent: usize| match index {
            Index::At { axis, value, .. } => {
                let head = format!("{} = ", flat.mono(axis));
                let value = printer.expr(value, indent, indent + head.len(), 1);
                head + &value
            }
            Index::Range { axis, start, end, step, .. } => {
                let mut text = format!("{} = ", flat.mono(axis));
                text += &printer.expr(start, indent, indent + text.len(), 0);
                text += "..";
                text += &printer.expr(end, indent, end_column(&text, indent), 1);
                text + &step.map_or(String::new(), |(step, _)| format!(" by {step}"))
            }
            Index::Bound(_) | Index::Error(_) => flat.index_text(index).unwrap_or_default(),
        };
        format!("{base_text}[{}]", self.lines(indices, base.span.end, end, indent, Index::span, print))
    }

    fn arg(&mut self, arg: &Arg, indent: usize) -> String {
        match &arg.kind {
            ArgKind::Value(value) => self.expr(value, indent, indent, 1),
            ArgKind::Named { name, value } => {
                let head = format!("{} = ", name.text);
                let value = self.expr(value, indent, indent + head.len(), 1);
                head + &value
            }
            ArgKind::Type(declared) => self.flat.ty(declared),
            ArgKind::Over(_) | ArgKind::Axis(_) => self.flat.arg_text(arg).unwrap_or_default(),
        }
    }

    /// A newline, each part on a line of its own with a comma behind it, and the line of the closing bracket begun.
    fn lines<T>(
        &mut self,
        parts: &[T],
        from: u32,
        end: u32,
        indent: usize,
        span: impl Fn(&T) -> Span,
        print: impl Fn(&mut Self, &T, usize) -> String,
    ) -> String {
        let inner = indent + STEP;
        let mut out = "\n".to_owned();
        let mut from = from;
        for part in parts {
            let place = span(part);
            out += &self.own_lines(from, place.start, inner);
            out += &format!("{}{},", pad(inner), print(self, part, inner));
            out += &self.behind(place.end);
            out.push('\n');
            from = place.end;
        }
        out += &self.own_lines(from, end, inner);
        out + &pad(indent)
    }
}

/// The first operand of a chain, and the others with what joins them.
fn links(value: &Expr) -> (&Expr, Vec<(Joint, &Expr)>) {
    match &value.kind {
        ExprKind::Where { value, mask, other } => {
            let mut rest = vec![(Joint::Leading("where"), &**mask)];
            let mut last = &**other;
            // `a where m else b where n else c` is one chain.
            while let ExprKind::Where { value, mask, other } = &last.kind
                && !last.parens
            {
                rest.push((Joint::Leading("else"), &**value));
                rest.push((Joint::Leading("where"), &**mask));
                last = other;
            }
            rest.push((Joint::Leading("else"), last));
            (value, rest)
        }
        ExprKind::Binary { op, left, right, .. } => {
            let mut rest = vec![(Joint::of(*op), &**right)];
            let mut first = &**left;
            while let ExprKind::Binary { op: inner, left, right, .. } = &first.kind
                && !first.parens
                && level(*inner) == level(*op)
            {
                rest.push((Joint::of(*inner), &**right));
                first = left;
            }
            rest.reverse();
            (first, rest)
        }
        _ => (value, Vec::new()),
    }
}
