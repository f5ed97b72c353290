//! `@` and `einsum`: sums of products. Permuted operands are absorbed into the specification.

use moec_diag::{Diagnostic, Span, codes};
use moec_ir::{DType, EinsumSpec, Op};
use moec_syntax::ast::{self, Arg, ArgKind, ExprKind};

use crate::axis::{self, Axis};
use crate::element::join_hidden;
use crate::lowerer::{Check, Failed, Lowerer};
use crate::value::{Hidden, Operand, Tensor, Value};

/// Letters of specifications in the IR.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a letter stands for.
#[derive(Clone, Debug, PartialEq)]
enum Label {
    Hidden(Hidden),
    /// A visible axis, by a number that the caller gives.
    Axis(usize),
}

/// A tensor whose visible axes have labels.
struct Labelled<'t> {
    tensor: &'t Tensor,
    axes: Vec<usize>,
}

impl Lowerer<'_> {
    /// `left @ right`
    pub(crate) fn matmul(&mut self, op_span: Span, left: &Operand, right: &Operand) -> Check<Value> {
        let (a, b) = (self.float_tensor("`@`", left), self.float_tensor("`@`", right));
        let (a, b) = (a?, b?);
        for (tensor, operand) in [(&a, left), (&b, right)] {
            if tensor.axes.is_empty() {
                let diagnostic =
                    Diagnostic::error(&codes::RANK_MISMATCH, "`@` contracts axes; a scalar has none")
                        .label(operand.span, tensor.type_text())
                        .context(op_span, "")
                        .help("to scale, use `*`");
                return Err(self.report(diagnostic));
            }
        }
        let (m, n) = (a.axes.len(), b.axes.len());
        // Where the contracted axis lies on the right, and the axes that only one side has.
        let b_inner = n.saturating_sub(2);
        let (a_lead, a_row) =
            if m == 1 { (&a.axes[..0], None) } else { (&a.axes[..m - 2], a.axes.get(m - 2)) };
        let (b_lead, b_col) =
            if n == 1 { (&b.axes[..0], None) } else { (&b.axes[..n - 2], b.axes.get(n - 1)) };
        let (ak, bk) = (&a.axes[m - 1], &b.axes[b_inner]);
        if ak != bk {
            return Err(self.contraction_mismatch(left, &a, right, &b));
        }
        for lead in a_lead.iter().chain(b_lead) {
            if a_row == Some(lead) || b_col == Some(lead) {
                let diagnostic = Diagnostic::error(
                    &codes::AMBIGUOUS_AXIS,
                    format!("is {lead} one axis of the product, or two?"),
                )
                .label(left.span, a.type_text())
                .label(right.span, b.type_text())
                .note(format!("either one product for each {lead}, or all pairs of {lead}"))
                .help("name the axes of the result with `einsum`, or `rename` one of them");
                return Err(self.report(diagnostic));
            }
        }
        let (outer, inner, inner_operand, inner_tensor) = if a_lead.len() >= b_lead.len() {
            (a_lead, b_lead, right, &b)
        } else {
            (b_lead, a_lead, left, &a)
        };
        for (i, lead) in inner.iter().enumerate() {
            let there = outer.iter().filter(|x| *x == lead).count();
            if there == 0 {
                let message = "`@` cannot combine these leading axes";
                let diagnostic = Diagnostic::error(&codes::SHAPE_MISMATCH, message)
                    .label(left.span, a.type_text())
                    .label(right.span, b.type_text())
                    .note(format!(
                        "one side's leading axes must hold all of the other's; {lead} is on one side only"
                    ));
                return Err(self.report(diagnostic));
            }
            if outer != inner && (there > 1 || inner[..i].contains(lead)) {
                return Err(self.twice(lead, inner_tensor, inner_operand.span, None));
            }
        }
        let mut axes = outer.to_vec();
        let leads = axes.len();
        axes.extend(a_row.into_iter().chain(b_col).cloned());
        // Labels: the axes of the result by position, then the contracted axis.
        let contracted = axes.len();
        let label_lead = |list: &[Axis]| -> Vec<usize> {
            let same = list == outer;
            let find =
                |i: usize, x: &Axis| if same { i } else { outer.iter().position(|o| o == x).unwrap_or(i) };
            list.iter().enumerate().map(|(i, x)| find(i, x)).collect()
        };
        let mut a_labels = label_lead(a_lead);
        a_labels.extend(a_row.map(|_| leads));
        a_labels.push(contracted);
        let mut b_labels = label_lead(b_lead);
        b_labels.push(contracted);
        b_labels.extend(b_col.map(|_| contracted - 1));
        let operands = [Labelled { tensor: &a, axes: a_labels }, Labelled { tensor: &b, axes: b_labels }];
        let result: Vec<usize> = (0..contracted).collect();
        self.contract(op_span, &operands, &result, axes).map(Value::Tensor)
    }

    fn contraction_mismatch(&mut self, left: &Operand, a: &Tensor, right: &Operand, b: &Tensor) -> Failed {
        let (m, n) = (a.axes.len(), b.axes.len());
        let (ak, bk) = (&a.axes[m - 1], &b.axes[n.saturating_sub(2)]);
        let (x, w) = (self.text(left.span), self.text(right.span));
        if ak.size() == bk.size() {
            let mut renamed = b.axes.clone();
            renamed[n.saturating_sub(2)] = ak.clone();
            let message = format!("{ak} and {bk} are one size{} but two names", self.size_note(ak));
            let diagnostic = Diagnostic::error(&codes::SAME_SIZE_OTHER_NAME, message)
                .label(left.span, a.type_text())
                .label(right.span, b.type_text())
                .help(format!("`{x} @ rename({w}, [{}])`", axis::list(&renamed)));
            return self.report(diagnostic);
        }
        let which = match n {
            1 => "its only axis",
            2 => "its first axis",
            _ => "its last axis but one",
        };
        let mut diagnostic =
            Diagnostic::error(&codes::CONTRACTION_MISMATCH, format!("`@` contracts {ak} with {bk}"))
                .label(left.span, format!("{}: its last axis is {ak}", a.type_text()))
                .label(right.span, format!("{}: {which} is {bk}", b.type_text()));
        if n == 2 && b.axes[1] == *ak {
            diagnostic = diagnostic.help(format!("`{x} @ {w}.T` contracts {ak} with {ak}"));
        } else if m == 2 && a.axes[0] == *bk {
            diagnostic = diagnostic.help(format!("`{x}.T @ {w}` contracts {bk} with {bk}"));
        } else if n > 2 && b.axes[n - 1] == *ak {
            let mut order: Vec<usize> = (0..n).collect();
            order.swap(n - 2, n - 1);
            diagnostic =
                diagnostic.help(format!("`{x} @ transpose({w}, {order:?})` contracts {ak} with {ak}"));
        }
        let diagnostic = self.note_equal_sizes(diagnostic, Some((ak, bk)));
        self.report(diagnostic)
    }

    /// Emits the contraction of two labelled tensors; labels that `result` lacks are summed over.
    fn contract(
        &mut self,
        span: Span,
        operands: &[Labelled<'_>; 2],
        result: &[usize],
        axes: Vec<Axis>,
    ) -> Check<Tensor> {
        let hidden = join_hidden(operands.iter().map(|o| o.tensor.hidden.as_slice()));
        let mut letters: Vec<Label> = Vec::new();
        let mut letter = |label: Label| -> Option<u8> {
            let at = letters.iter().position(|l| *l == label).unwrap_or_else(|| {
                letters.push(label);
                letters.len() - 1
            });
            ALPHABET.get(at).copied()
        };
        let mut sides = operands.iter().map(|operand| {
            let mut side = vec![0u8; operand.tensor.places.len()];
            for (at, h) in operand.tensor.hidden.iter().enumerate() {
                side[operand.tensor.places[at]] = letter(Label::Hidden(*h))?;
            }
            for (i, label) in operand.axes.iter().enumerate() {
                side[operand.tensor.place(i)] = letter(Label::Axis(*label))?;
            }
            Some(side)
        });
        let (lhs, rhs) = (sides.next().flatten(), sides.next().flatten());
        drop(sides);
        let hidden_labels = hidden.iter().map(|h| Label::Hidden(*h));
        let out: Option<Vec<u8>> =
            hidden_labels.chain(result.iter().map(|r| Label::Axis(*r))).map(letter).collect();
        let (Some(lhs), Some(rhs), Some(out)) = (lhs, rhs, out) else {
            let message = format!("a product of more than {} axes", ALPHABET.len());
            return Err(self.fail(&codes::RANK_MISMATCH, message, span, ""));
        };
        let spec = EinsumSpec { lhs, rhs, out }.canonical().to_string();
        let args = [operands[0].tensor.node, operands[1].tensor.node];
        let node = self.emit(span, Op::Einsum, &args, [("spec", spec.into())])?;
        Ok(Tensor::new(node, DType::F32, hidden, axes))
    }

    /// `einsum("th,tec->ech", x, d)`
    pub(crate) fn einsum(&mut self, args: &[Arg], span: Span) -> Check<Value> {
        let Some((ArgKind::Value(ast::Expr { kind: ExprKind::Text(text), .. }), rest)) =
            args.split_first().map(|(first, rest)| (&first.kind, rest))
        else {
            let label = "expected `einsum(\"th,tec->ech\", x, d)`";
            return Err(self.fail(&codes::WRONG_ARGUMENTS, "`einsum` starts with its text", span, label));
        };
        let mut operands = Vec::new();
        for arg in rest {
            match &arg.kind {
                ArgKind::Value(expr) => operands.push(self.operand(expr)),
                _ => {
                    let label = "expected a tensor";
                    return Err(self.fail(
                        &codes::WRONG_ARGUMENTS,
                        "`einsum` takes tensors",
                        arg.span,
                        label,
                    ));
                }
            }
        }
        let operands: Vec<Operand> = operands.into_iter().collect::<Check<_>>()?;
        let mut tensors = Vec::new();
        for operand in &operands {
            tensors.push(self.float_tensor("`einsum`", operand)?);
        }
        let (groups, out) = match read_spec(&text.text) {
            Ok(spec) => spec,
            Err(problem) => {
                let label = "expected the form \"th,tec->ech\"";
                return Err(self.fail(&codes::BAD_EINSUM, problem, text.span, label));
            }
        };
        if groups.len() != tensors.len() || tensors.is_empty() {
            let plural = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
            let groups = plural(groups.len(), "group of letters", "groups of letters");
            let message = format!("{groups} for {}", plural(tensors.len(), "tensor", "tensors"));
            return Err(self.fail(&codes::BAD_EINSUM, message, text.span, "one group for each tensor"));
        }
        let mut named: Vec<(u8, Axis)> = Vec::new();
        for ((letters, tensor), operand) in groups.iter().zip(&tensors).zip(&operands) {
            let group = String::from_utf8_lossy(letters);
            if letters.len() != tensor.axes.len() {
                let message =
                    format!("`{group}` has {} letters for {} axes", letters.len(), tensor.axes.len());
                let diagnostic = Diagnostic::error(&codes::BAD_EINSUM, message)
                    .label(operand.span, tensor.type_text())
                    .context(text.span, "one letter for each axis");
                return Err(self.report(diagnostic));
            }
            for (&letter, axis) in letters.iter().zip(&tensor.axes) {
                match named.iter().find(|(l, _)| *l == letter) {
                    Some((_, known)) if known != axis => {
                        let message = format!("`{}` is {known} and {axis}", char::from(letter));
                        let diagnostic = Diagnostic::error(&codes::BAD_EINSUM, message)
                            .label(operand.span, tensor.type_text())
                            .context(text.span, "one letter for one dim");
                        let diagnostic = self.note_equal_sizes(diagnostic, Some((known, axis)));
                        return Err(self.report(diagnostic));
                    }
                    Some(_) => {}
                    None => named.push((letter, axis.clone())),
                }
            }
        }
        if let Some(letter) = out.iter().find(|l| named.iter().all(|(n, _)| n != *l)) {
            let message = format!("`{}` of the result is in no group on the left", char::from(*letter));
            return Err(self.fail(&codes::BAD_EINSUM, message, text.span, ""));
        }
        self.einsum_of(span, &tensors, &groups, &out, &named).map(Value::Tensor)
    }

    /// Contracts from left to right; a letter stays until no later group and not the result needs it.
    fn einsum_of(
        &mut self,
        span: Span,
        tensors: &[Tensor],
        groups: &[Vec<u8>],
        out: &[u8],
        named: &[(u8, Axis)],
    ) -> Check<Tensor> {
        let axes_of = |letters: &[u8]| -> Vec<Axis> {
            letters.iter().filter_map(|l| Some(named.iter().find(|(n, _)| n == l)?.1.clone())).collect()
        };
        let labels = |letters: &[u8]| -> Vec<usize> { letters.iter().map(|l| usize::from(*l)).collect() };
        let (mut tensor, mut letters) = (tensors[0].clone(), groups[0].clone());
        for (i, (right, group)) in tensors.iter().zip(groups).enumerate().skip(1) {
            let last = i + 1 == tensors.len();
            let result: Vec<u8> = if last {
                out.to_vec()
            } else {
                let mut both = letters.clone();
                both.extend(group.iter().filter(|l| !letters.contains(l)));
                both.retain(|l| out.contains(l) || groups[i + 1..].iter().any(|g| g.contains(l)));
                both
            };
            let operands = [
                Labelled { tensor: &tensor, axes: labels(&letters) },
                Labelled { tensor: right, axes: labels(group) },
            ];
            tensor = self.contract(span, &operands, &labels(&result), axes_of(&result))?;
            letters = result;
        }
        if tensors.len() == 1 {
            tensor = self.cast(span, &tensor, DType::F32)?;
            for i in (0..letters.len()).rev().filter(|&i| !out.contains(&groups[0][i])) {
                let node = self.emit(span, Op::Sum, &[tensor.node], [("axis", tensor.place(i).into())])?;
                tensor = tensor.without_axis(i, node, DType::F32);
                letters.remove(i);
            }
            let order: Vec<usize> = out.iter().filter_map(|l| letters.iter().position(|x| x == l)).collect();
            tensor = tensor.reordered(&order);
        }
        Ok(tensor)
    }
}

/// Groups of letters and the result's letters.
fn read_spec(text: &str) -> Result<(Vec<Vec<u8>>, Vec<u8>), String> {
    let (inputs, out) = text.split_once("->").ok_or("an `einsum` text has an `->`")?;
    let letters = |part: &str| -> Result<Vec<u8>, String> {
        let letters: Vec<u8> = part.bytes().filter(|b| *b != b' ').collect();
        if let Some(bad) = part.chars().find(|c| !c.is_ascii_alphabetic() && *c != ' ') {
            return Err(format!("`{bad}` is not a letter"));
        }
        match (1..letters.len()).find(|&i| letters[..i].contains(&letters[i])) {
            Some(i) => Err(format!("`{}` occurs twice in `{}`", char::from(letters[i]), part.trim())),
            None => Ok(letters),
        }
    };
    let groups = inputs.split(',').map(letters).collect::<Result<_, _>>()?;
    Ok((groups, letters(out)?))
}
