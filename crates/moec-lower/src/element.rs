//! Element-wise operations: which axes the result has, which element type, and the broadcasts in between.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, Op};
use moec_syntax::ast::{BinaryOp, Relation};

use crate::axis::{self, Axis};
use crate::lowerer::{Binding, Check, Failed, Lowerer, NameKind};
use crate::value::{Hidden, Literal, Operand, Tensor, Value};

/// The axes of the result of an element-wise operation.
struct Common {
    hidden: Vec<Hidden>,
    axes: Vec<Axis>,
}

/// What makes a number of a truth value or a byte.
pub(crate) fn as_number(text: &str, value: &Value) -> String {
    match value {
        Value::Tensor(tensor) if tensor.dtype == DType::U8 => {
            format!("bytes are stored only: `i32({text})` or `f32({text})` widens them")
        }
        _ => format!("`i32({text})` or `f32({text})` counts true as 1"),
    }
}

/// How one operand's visible axes fit into another's.
#[derive(PartialEq)]
enum Fit {
    Fits,
    Ambiguous(Axis),
    Lacks,
}

fn fit(inner: &[Axis], outer: &[Axis]) -> Fit {
    if inner == outer {
        return Fit::Fits;
    }
    for (i, axis) in inner.iter().enumerate() {
        let there = outer.iter().filter(|a| *a == axis).count();
        if there == 0 {
            return Fit::Lacks;
        }
        if there > 1 || inner[..i].contains(axis) {
            return Fit::Ambiguous(axis.clone());
        }
    }
    Fit::Fits
}

impl Lowerer<'_> {
    /// `left op right` for every operator but `@`.
    pub(crate) fn binary(
        &mut self,
        op: BinaryOp,
        op_span: Span,
        left: &Operand,
        right: &Operand,
    ) -> Check<Value> {
        if let (Value::Literal(a), Value::Literal(b)) = (&left.value, &right.value)
            && let Some(value) = fold_literals(op, *a, *b)
        {
            return Ok(Value::Literal(value));
        }
        let symbol = format!("`{}`", op.symbol());
        let place = op_span;
        match op {
            BinaryOp::And | BinaryOp::Or => {
                let a = self.tensor_of(&symbol, DType::Bool, left);
                let b = self.tensor_of(&symbol, DType::Bool, right);
                let (a, b) = (tensor_operand(a?, left), tensor_operand(b?, right));
                let op = if op == BinaryOp::And { Op::And } else { Op::Or };
                self.elementwise(&symbol, place, op, DType::Bool, DType::Bool, &[a, b])
            }
            BinaryOp::Compare(relation) => {
                let dtype = self.numeric_dtype(&symbol, place, &[left, right])?;
                let op = match relation {
                    Relation::Less => Op::Lt,
                    Relation::LessEqual => Op::Le,
                    Relation::Greater => Op::Gt,
                    Relation::GreaterEqual => Op::Ge,
                    Relation::Equal => Op::Eq,
                    Relation::NotEqual => Op::Ne,
                };
                self.elementwise(&symbol, place, op, dtype, DType::Bool, &[left.clone(), right.clone()])
            }
            BinaryOp::Add => self.arithmetic(&symbol, place, Op::Add, left, right),
            BinaryOp::Sub => self.arithmetic(&symbol, place, Op::Sub, left, right),
            BinaryOp::Mul | BinaryOp::MatMul => self.arithmetic(&symbol, place, Op::Mul, left, right),
            BinaryOp::Div => {
                let dtype = self.numeric_dtype(&symbol, place, &[left, right])?;
                if dtype == DType::I32 {
                    let text = self.text(left.span);
                    let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, "`/` divides floats")
                        .label(left.span, left.value.type_text())
                        .label(right.span, right.value.type_text())
                        .help(format!("`f32({text}) / f32({})`", self.text(right.span)));
                    return Err(self.report(diagnostic));
                }
                self.elementwise(&symbol, place, Op::Div, dtype, dtype, &[left.clone(), right.clone()])
            }
        }
    }

    /// An operation on two numbers of one element type.
    pub(crate) fn arithmetic(
        &mut self,
        what: &str,
        place: Span,
        op: Op,
        left: &Operand,
        right: &Operand,
    ) -> Check<Value> {
        let dtype = self.numeric_dtype(what, place, &[left, right])?;
        self.elementwise(what, place, op, dtype, dtype, &[left.clone(), right.clone()])
    }

    /// `value where mask else other`
    pub(crate) fn choose(
        &mut self,
        span: Span,
        value: &Operand,
        mask: &Operand,
        other: &Operand,
    ) -> Check<Value> {
        let tensor = self.tensor_of("`where`", DType::Bool, mask);
        let dtype = self.branch_dtype(value, other);
        let (tensor, dtype) = (tensor?, dtype?);
        let operands = [tensor_operand(tensor, mask), value.clone(), other.clone()];
        self.elementwise("`where`", span, Op::Select, dtype, dtype, &operands)
    }

    /// The element type of both branches of a `where`.
    fn branch_dtype(&mut self, value: &Operand, other: &Operand) -> Check<DType> {
        let weak = |v: &Value| !matches!(v, Value::Tensor(_));
        let dtypes: Vec<DType> = [value, other]
            .into_iter()
            .filter_map(|o| match &o.value {
                Value::Tensor(t) => Some(t.dtype),
                _ => None,
            })
            .collect();
        for operand in [value, other] {
            if let Value::Route(route) = &operand.value {
                return Err(self.route_as_tensor(operand.span, route));
            }
        }
        match dtypes[..] {
            [a, b] if a == b => Ok(a),
            [a] => Ok(a),
            [a, b] if a.is_float() && b.is_float() => Ok(DType::F32),
            [] if weak(&value.value) => match (&value.value, &other.value) {
                (Value::Literal(Literal::Bool(_)), Value::Literal(Literal::Bool(_))) => Ok(DType::Bool),
                _ => Ok(DType::F32),
            },
            _ => {
                let diagnostic = Diagnostic::error(
                    &codes::ELEMENT_TYPE,
                    "the two branches of `where` differ in element type",
                )
                .label(value.span, value.value.type_text())
                .label(other.span, other.value.type_text());
                Err(self.report(diagnostic))
            }
        }
    }

    /// The element type that numbers are computed in: `f32` or `i32`.
    fn numeric_dtype(&mut self, what: &str, place: Span, operands: &[&Operand]) -> Check<DType> {
        let mut found: Option<(DType, &Operand)> = None;
        for operand in operands {
            let dtype = match &operand.value {
                Value::Tensor(t) if t.dtype.is_float() => DType::F32,
                Value::Tensor(t) if t.dtype == DType::I32 => DType::I32,
                Value::Literal(Literal::Number(_)) | Value::Size(_) => continue,
                Value::Route(route) => return Err(self.route_as_tensor(operand.span, route)),
                Value::Text => return Err(self.text_as_value(operand.span)),
                Value::Tensor(_) | Value::Literal(Literal::Bool(_)) => {
                    let text = self.text(operand.span);
                    let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, format!("{what} takes numbers"))
                        .label(operand.span, operand.value.type_text())
                        .context(place, "")
                        .help(as_number(&text, &operand.value));
                    return Err(self.report(diagnostic));
                }
            };
            match found {
                Some((before, other)) if before != dtype => {
                    let int = if dtype == DType::I32 { operand } else { other };
                    let text = self.text(int.span);
                    let message = format!("{what} cannot combine i32 and f32");
                    let diagnostic = Diagnostic::error(&codes::ELEMENT_TYPE, message)
                        .label(other.span, other.value.type_text())
                        .label(operand.span, operand.value.type_text())
                        .help(format!("`f32({text})`"));
                    return Err(self.report(diagnostic));
                }
                _ => found = Some((dtype, operand)),
            }
        }
        Ok(found.map_or(DType::F32, |(dtype, _)| dtype))
    }

    /// Brings all operands to one shape and to `dtype` (except the condition of a select), and emits `op`.
    pub(crate) fn elementwise(
        &mut self,
        what: &str,
        place: Span,
        op: Op,
        dtype: DType,
        result: DType,
        operands: &[Operand],
    ) -> Check<Value> {
        let mut operands = operands.to_vec();
        for operand in &mut operands {
            if let Value::Size(axis) = &operand.value {
                operand.value = Value::Tensor(self.counted(operand.span, &axis.clone(), dtype)?);
            }
        }
        let common = if op == Op::Select {
            // As written: the value stands in front of the condition.
            let [mask, value, other] = operands.as_slice() else { return Err(Failed) };
            self.common(what, &[value.clone(), mask.clone(), other.clone()])?
        } else {
            self.common(what, &operands)?
        };
        let mut args = Vec::new();
        for (i, operand) in operands.iter().enumerate() {
            let dtype = if op == Op::Select && i == 0 { DType::Bool } else { dtype };
            args.push(match &operand.value {
                Value::Literal(literal) => {
                    self.filled(operand.span, *literal, dtype, &common.hidden, &common.axes)?.node
                }
                _ => {
                    let tensor = self.tensor(operand)?;
                    let tensor = self.cast(operand.span, &tensor, dtype)?;
                    self.align(operand.span, &tensor, &common.hidden, &common.axes)?
                }
            });
        }
        let node = self.emit(place, op, &args, [])?;
        Ok(Value::Tensor(Tensor::new(node, result, common.hidden, common.axes)))
    }

    /// Rule 3: one operand holds every axis of all the others, by name.
    fn common(&mut self, what: &str, operands: &[Operand]) -> Check<Common> {
        let mut tensors: Vec<(&Tensor, Span)> = Vec::new();
        for operand in operands {
            match &operand.value {
                Value::Tensor(tensor) => tensors.push((tensor, operand.span)),
                Value::Route(route) => return Err(self.route_as_tensor(operand.span, route)),
                Value::Text => return Err(self.text_as_value(operand.span)),
                Value::Literal(_) | Value::Size(_) => {}
            }
        }
        let hidden = join_hidden(tensors.iter().map(|(t, _)| t.hidden.as_slice()));
        let holder = tensors
            .iter()
            .find(|(outer, _)| tensors.iter().all(|(inner, _)| fit(&inner.axes, &outer.axes) == Fit::Fits));
        match holder {
            Some((tensor, _)) => Ok(Common { hidden, axes: tensor.axes.clone() }),
            None if tensors.is_empty() => Ok(Common { hidden, axes: Vec::new() }),
            None => Err(self.do_not_fit(what, &tensors)),
        }
    }

    fn do_not_fit(&mut self, what: &str, tensors: &[(&Tensor, Span)]) -> Failed {
        for (a, a_span) in tensors {
            for (b, b_span) in tensors {
                if let Fit::Ambiguous(axis) = fit(&a.axes, &b.axes) {
                    // The one that has it twice is spoken of.
                    let twice = |t: &Tensor| t.axes.iter().filter(|x| **x == axis).count() > 1;
                    let ((two, two_span), (one, one_span)) =
                        if twice(b) { ((b, b_span), (a, a_span)) } else { ((a, a_span), (b, b_span)) };
                    return self.twice(&axis, two, *two_span, Some((one, *one_span)));
                }
            }
        }
        let pair = tensors.iter().enumerate().find_map(|(i, x)| {
            tensors[i + 1..].iter().map(|y| (x, y)).find(|((a, _), (b, _))| {
                fit(&a.axes, &b.axes) != Fit::Fits && fit(&b.axes, &a.axes) != Fit::Fits
            })
        });
        // Three operands may fit in pairs and have no holder.
        let (&(a, a_span), &(b, b_span)) = match (pair, tensors) {
            (Some(pair), _) => pair,
            (None, [first, .., last]) => (first, last),
            _ => return Failed,
        };
        let missing = |x: &Tensor, y: &Tensor| -> Vec<Axis> {
            x.axes.iter().filter(|axis| !y.axes.contains(axis)).cloned().collect()
        };
        let (only_a, only_b) = (missing(a, b), missing(b, a));
        let same = |x: &Axis| only_b.iter().find(|y| x.size() == y.size());
        if let Some((x, y)) = only_a.iter().find_map(|x| same(x).map(|y| (x, y))) {
            let renamed: Vec<Axis> =
                a.axes.iter().map(|z| if z == x { y.clone() } else { z.clone() }).collect();
            let message = format!("{x} and {y} are one size{} but two names", self.size_note(x));
            let diagnostic = Diagnostic::error(&codes::SAME_SIZE_OTHER_NAME, message)
                .label(a_span, a.type_text())
                .label(b_span, b.type_text())
                .help(format!("`rename({}, [{}])`", self.text(a_span), axis::list(&renamed)));
            return self.report(diagnostic);
        }
        let (a_text, b_text) = (self.text(a_span), self.text(b_span));
        let mut diagnostic =
            Diagnostic::error(&codes::SHAPE_MISMATCH, format!("{what} cannot combine these shapes"))
                .label(a_span, a.type_text())
                .label(b_span, b.type_text());
        if !only_a.is_empty() && !only_b.is_empty() {
            diagnostic = diagnostic.note(format!(
                "`{a_text}` has {0} and lacks {1}; `{b_text}` has {1} and lacks {0}: that would be an outer product",
                axis::list(&only_a),
                axis::list(&only_b)
            ));
            if only_a.iter().chain(&only_b).any(|x| x.name().is(1)) {
                diagnostic = diagnostic.note("an axis of size 1 does not stretch");
            }
        }
        diagnostic = self.note_equal_sizes(diagnostic, only_a.first().zip(only_b.first()));
        let wanted = [a.axes.as_slice(), &only_b].concat();
        let one =
            [(a, &a_text), (b, &b_text)].into_iter().find(|(t, _)| t.axes.iter().any(|x| x.name().is(1)));
        let weighed = match (what, &only_a[..], &only_b[..]) {
            ("`*`", [expert], [_]) => self
                .weighed_experts((a, &a_text), expert, b)
                .or_else(|| self.weighed_experts((b, &b_text), only_b.first()?, a)),
            _ => None,
        };
        let help = match (what, einsum_letters(&wanted)) {
            _ if weighed.is_some() => weighed.unwrap_or_default(),
            _ if one.is_some() => {
                one.map_or(String::new(), |(_, text)| format!("to drop that axis: `{text}[1 = 0]`"))
            }
            ("`*`", Some(letters)) => {
                let of = |axes: &[Axis]| -> String {
                    axes.iter().filter_map(|x| Some(letters[wanted.iter().position(|w| w == x)?])).collect()
                };
                format!(
                    "if the outer product is meant: `einsum(\"{},{}->{}\", {a_text}, {b_text})`",
                    of(&a.axes),
                    of(&b.axes),
                    of(&wanted)
                )
            }
            _ => format!("to repeat `{a_text}`: `expand({a_text}, [{}])`", axis::list(&wanted)),
        };
        self.report(diagnostic.help(help))
    }

    /// How to weigh the outputs of experts by `gate`, which has the axis `expert`, if `out` looks like the output of
    /// one: there is a weight for each expert, and an input for it.
    fn weighed_experts(&self, gate: (&Tensor, &str), expert: &Axis, out: &Tensor) -> Option<String> {
        let (last, lead) = out.axes.split_last()?;
        if !(gate.0.hidden.is_empty() && out.hidden.is_empty() && expert.name().symbols().len() == 1) {
            return None;
        }
        let tensors = |kinds: &'static [NameKind]| {
            self.frame.names.iter().filter_map(move |name| match &name.binding {
                Binding::Value(Some(Value::Tensor(tensor))) if kinds.contains(&name.kind) => {
                    Some((name.text.as_str(), tensor))
                }
                _ => None,
            })
        };
        let product = tensors(&[NameKind::Weight, NameKind::Formal]).find_map(|(weight, tensor)| {
            let mut left = tensor.axes.clone();
            left.remove(left.iter().position(|axis| axis == expert)?);
            let (inner, turn) = match &left[..] {
                [rows, columns] if columns == last && rows != last => (rows, ""),
                [rows, columns] if rows == last && columns != last => (columns, ".T"),
                _ => return None,
            };
            let wanted = [lead, std::slice::from_ref(inner)].concat();
            let fits = |(_, x): &(&str, &Tensor)| x.axes == wanted && x.hidden.is_empty();
            let (x, _) = tensors(&[NameKind::Input, NameKind::Formal, NameKind::Let]).find(fits)?;
            Some((x, weight, turn))
        });
        let (x, weight, turn) = product?;
        let free = |name: &String| self.frame.names.iter().all(|known| known.text != *name);
        let index =
            [expert.to_string().to_ascii_lowercase(), "e".into(), "i".into()].into_iter().find(free)?;
        let is_word = gate.1.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let gate = if is_word { gate.1.to_owned() } else { format!("({})", gate.1) };
        Some(format!(
            "to weigh expert outputs, index both: `sum {index} over {expert} {{ {gate}[{index}] * ({x} @ {weight}[{index}]{turn}) }}`"
        ))
    }

    /// Reports that `tensor` has an axis twice where one of the two must be chosen.
    pub(crate) fn twice(
        &mut self,
        axis: &Axis,
        tensor: &Tensor,
        span: Span,
        other: Option<(&Tensor, Span)>,
    ) -> Failed {
        let text = self.text(span);
        let mut free = ["J", "I", "L", "N", "P", "Q", "R", "U", "V"].into_iter();
        let name = free.find(|n| self.frame.dims.iter().all(|d| d.text != *n)).unwrap_or("Other");
        let at = tensor.axes.iter().position(|a| a == axis).unwrap_or(0);
        let mut renamed: Vec<String> = tensor.axes.iter().map(Axis::to_string).collect();
        if let Some(first) = renamed.get_mut(at) {
            *first = name.into();
        }
        let mut diagnostic =
            Diagnostic::error(&codes::AMBIGUOUS_AXIS, format!("`{text}` has the axis {axis} twice"))
                .label(span, tensor.type_text());
        if let Some((other, span)) = other {
            diagnostic = diagnostic.label(span, format!("{}: along which of the two?", other.type_text()));
        }
        let renamed = renamed.join(", ");
        self.report(
            diagnostic
                .help(format!("name one of them: `dim {name} = {axis}` and `rename({text}, [{renamed}])`")),
        )
    }
}

fn tensor_operand(tensor: Tensor, at: &Operand) -> Operand {
    Operand { value: Value::Tensor(tensor), span: at.span }
}

/// The union of hidden axes, sorted.
pub(crate) fn join_hidden<'h>(lists: impl Iterator<Item = &'h [Hidden]>) -> Vec<Hidden> {
    let mut all: Vec<Hidden> = lists.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A letter for each axis, if there are enough.
fn einsum_letters(axes: &[Axis]) -> Option<Vec<char>> {
    let mut letters: Vec<char> = Vec::new();
    for axis in axes {
        let wish = axis.to_string().chars().find(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase());
        let letter = wish.into_iter().chain('a'..='z').find(|c| !letters.contains(c))?;
        letters.push(letter);
    }
    Some(letters)
}

fn fold_literals(op: BinaryOp, a: Literal, b: Literal) -> Option<Literal> {
    use Literal::{Bool, Number};
    Some(match (op, a, b) {
        (BinaryOp::Add, Number(a), Number(b)) => Number(a + b),
        (BinaryOp::Sub, Number(a), Number(b)) => Number(a - b),
        (BinaryOp::Mul, Number(a), Number(b)) => Number(a * b),
        (BinaryOp::Div, Number(a), Number(b)) => Number(a / b),
        (BinaryOp::And, Bool(a), Bool(b)) => Bool(a && b),
        (BinaryOp::Or, Bool(a), Bool(b)) => Bool(a || b),
        (BinaryOp::Compare(relation), Number(a), Number(b)) => Bool(match relation {
            Relation::Less => a < b,
            Relation::LessEqual => a <= b,
            Relation::Greater => a > b,
            Relation::GreaterEqual => a >= b,
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
        }),
        _ => return None,
    })
}
