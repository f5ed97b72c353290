//! The structure of a tree as text, in prefix form and without places: equal outlines mean equal trees.
//!
//! `(output y f32[T, O] (fold sum (e over E) (* (index p e) x)))`. Parentheses of the source leave no trace but the
//! shape of the tree, comments none at all. Made for tests and for looking at what the parser understood.

use crate::ast::*;

/// The outline of a file, one member a line. Ends in a newline unless the file is empty.
pub fn outline(file: &File) -> String {
    let mut out = String::new();
    for item in &file.items {
        match item {
            Item::Model(model) => {
                doc(&mut out, &model.doc);
                out += &format!("(model {}", model.name.text);
                for member in &model.members {
                    out += "\n  ";
                    doc(&mut out, &member.doc);
                    out += &member_text(&member.kind);
                }
                out += ")\n";
            }
            Item::Fn(function) => {
                doc(&mut out, &function.doc);
                let params: Vec<_> = function.params.iter().map(fn_param).collect();
                let head = format!("(fn {} ({})", function.name.text, params.join(" "));
                out += &format!("{head} {} {})\n", ty(&function.result), block(&function.body));
            }
        }
    }
    out
}

/// The outline of one expression.
pub fn outline_expr(value: &Expr) -> String {
    expr(value)
}

fn doc(out: &mut String, doc: &Option<String>) {
    if let Some(doc) = doc {
        *out += &format!("(doc {doc:?}) ");
    }
}

/// `(head part part ..)`
fn form(head: &str, parts: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("({head}");
    for part in parts {
        text.push(' ');
        text += &part;
    }
    text.push(')');
    text
}

fn names(names: &[Ident]) -> String {
    names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn member_text(kind: &MemberKind) -> String {
    match kind {
        MemberKind::Dims(dims) => form("dim", dims.iter().map(dim_def)),
        MemberKind::Param(param) => {
            let value = match &param.value {
                ParamValue::Number { number, .. } if number.value < 0.0 => format!("-{}", number.text),
                ParamValue::Number { number, .. } => number.text.clone(),
                ParamValue::Bool(value, _) => value.to_string(),
                ParamValue::Text(text) => string(text),
            };
            form("param", [param.name.text.clone(), value])
        }
        MemberKind::Const(constant) => {
            form("const", [constant.name.text.clone(), ty(&constant.ty), expr(&constant.value)])
        }
        MemberKind::Fact(Fact::Chain { first, rest }) => {
            let rest = rest.iter().map(|(relation, right)| format!("{} {}", relation.symbol(), size(right)));
            form("fact", std::iter::once(size(first)).chain(rest))
        }
        MemberKind::Fact(Fact::Partition { parts, whole }) => {
            form("partition", [names(parts), whole.text.clone()])
        }
        MemberKind::Input(input) => form("input", [names(&input.names), ty(&input.ty)]),
        MemberKind::Weight(weight) => form(
            "weight",
            [names(&weight.names), ty(&weight.ty)].into_iter().chain(weight.from.iter().map(string)),
        ),
        MemberKind::Let(line) => let_line(line),
        MemberKind::Output(output) => {
            form("output", [output.name.text.clone(), ty(&output.ty), expr(&output.value)])
        }
    }
}

fn dim_def(dim: &DimDef) -> String {
    match &dim.size {
        DimSize::RunTime => dim.name.text.clone(),
        DimSize::Equal(value) => form("=", [dim.name.text.clone(), size(value)]),
        DimSize::AtMost(value) => form("<=", [dim.name.text.clone(), size(value)]),
    }
}

fn fn_param(param: &FnParam) -> String {
    match param {
        FnParam::Value { name, ty: declared } => format!("{}: {}", name.text, ty(declared)),
        FnParam::Dim { name } => format!("{}: dim", name.text),
    }
}

fn let_line(line: &Let) -> String {
    let declared = line.ty.as_ref().map(ty);
    form("let", [line.name.text.clone()].into_iter().chain(declared).chain([expr(&line.value)]))
}

fn block(block: &Block) -> String {
    if block.lets.is_empty() {
        return expr(&block.result);
    }
    form("block", block.lets.iter().map(let_line).chain([expr(&block.result)]))
}

fn ty(ty: &Type) -> String {
    let lead = ty.lead.map(|_| "..".to_owned());
    let axes: Vec<_> = lead.into_iter().chain(ty.axes.iter().map(mono)).collect();
    if axes.is_empty() {
        ty.dtype.name().to_owned()
    } else {
        format!("{}[{}]", ty.dtype.name(), axes.join(", "))
    }
}

fn mono(mono: &Mono) -> String {
    let factors = mono.factors.iter().map(|factor| match factor {
        Factor::Int(value, _) => value.to_string(),
        Factor::Dim(name) => name.text.clone(),
    });
    factors.collect::<Vec<_>>().join("*")
}

fn size(size_of: &Size) -> String {
    match &size_of.kind {
        SizeKind::Int(value) => value.to_string(),
        SizeKind::Dim(name) | SizeKind::Param(name) => name.clone(),
        SizeKind::Number(number) => number.text.clone(),
        SizeKind::Floor(inside) => form("floor", [size(inside)]),
        SizeKind::Binary { op, left, right } => form(op.symbol(), [size(left), size(right)]),
        SizeKind::Error => "<error>".to_owned(),
    }
}

fn string(text: &StringLit) -> String {
    format!("\"{}\"", text.text)
}

fn expr(value: &Expr) -> String {
    match &value.kind {
        ExprKind::Number(number) => number.text.clone(),
        ExprKind::Inf => "inf".to_owned(),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Text(text) => string(text),
        ExprKind::Name(name) | ExprKind::Dim(name) => name.clone(),
        ExprKind::List(parts) => form("list", parts.iter().map(expr)),
        ExprKind::Unary { op, operand } => form(op.symbol(), [expr(operand)]),
        ExprKind::Binary { op, left, right, .. } => form(op.symbol(), [expr(left), expr(right)]),
        ExprKind::Where { value, mask, other } => form("where", [expr(value), expr(mask), expr(other)]),
        ExprKind::Index { base, indices } => {
            form("index", std::iter::once(expr(base)).chain(indices.iter().map(index)))
        }
        ExprKind::Field { base, field } => form(&format!(".{}", field.text), [expr(base)]),
        ExprKind::Transpose(base) => form(".T", [expr(base)]),
        ExprKind::Cast { dtype, operand } => form(dtype.name(), [expr(operand)]),
        ExprKind::Call { callee, args } => form(&callee.text, args.iter().map(arg)),
        ExprKind::Fold(fold) => {
            let binders = fold
                .binders
                .iter()
                .map(|binder| format!("({} over {})", binder.name.text, mono(&binder.over)));
            let along = fold.along.iter().map(|along| format!("along {}", mono(along)));
            form(&format!("fold {}", fold.op.name()), binders.chain(along).chain([block(&fold.body)]))
        }
        ExprKind::Error => "<error>".to_owned(),
    }
}

fn index(index: &Index) -> String {
    match index {
        Index::Bound(name) => name.text.clone(),
        Index::At { axis, value, .. } => format!("{} = {}", mono(axis), expr(value)),
        Index::Range { axis, start, end, step, .. } => {
            let step = step.map_or(String::new(), |(step, _)| format!(" by {step}"));
            format!("{} = {}..{}{step}", mono(axis), expr(start), expr(end))
        }
        Index::Error(_) => "<error>".to_owned(),
    }
}

fn arg(arg: &Arg) -> String {
    match &arg.kind {
        ArgKind::Value(value) => expr(value),
        ArgKind::Type(declared) => ty(declared),
        ArgKind::Named { name, value } => format!("{} = {}", name.text, expr(value)),
        ArgKind::Over(axes) => format!("over {}", axes.iter().map(mono).collect::<Vec<_>>().join(" ")),
        ArgKind::Axis(position) => format!("axis {position}"),
    }
}
