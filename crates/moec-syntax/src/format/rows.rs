//! Statements, one after the other, with what is aligned between them.

use super::flat::Flat;
use super::{Printer, STEP, Statement, WIDTH, end_column, pad};
use crate::ast::*;

/// Alignment may add at most this many blanks where it is a matter of looks.
const MOST_BLANKS: usize = 8;
/// The same for trailing comments, which read better in a column.
const MOST_BLANKS_TO_COMMENT: usize = 24;

/// What a statement is aligned with: adjacent statements of its kind.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `input` and `weight` lines: `:`, then `from`.
    Declared,
    /// `param`: `=`.
    Param,
    /// `const`: `:`, then `=`.
    Const,
    /// `output`: `:`, then `=`.
    Output,
    /// `dim` with one definition: `=`, if that is cheap.
    Dim,
    /// `let`: `=`, if that is cheap.
    Let,
    /// Nothing.
    Alone,
}

/// A statement taken apart at the columns that may be aligned.
struct Row<'a> {
    kind: Kind,
    start: u32,
    end: u32,
    cells: Vec<String>,
    /// What introduces the value: `= `, `from `.
    lead: &'static str,
    value: Value<'a>,
}

enum Value<'a> {
    None,
    Expr(&'a Expr),
    /// Separated by commas, any number on a line.
    Pieces(Vec<String>),
}

impl Printer<'_> {
    /// The lines of a block between its braces.
    pub(super) fn rows(&mut self, statements: &[Statement<'_>], from: u32, to: u32, indent: usize) -> String {
        let rows: Vec<Row<'_>> = statements.iter().map(|statement| row(statement, self.flat)).collect();
        let trailing: Vec<_> = rows
            .iter()
            .map(|row| self.comments.take_trailing(row.end).filter(|comment| comment.span.start < to))
            .collect();
        let mut from = from;
        let mut leading: Vec<Vec<Comment>> = Vec::new();
        for (row, trailing) in rows.iter().zip(&trailing) {
            leading.push(self.comments.take(from, row.start));
            from = trailing.map_or(row.end, |comment| comment.span.end);
        }
        let adjacent: Vec<bool> = (0..rows.len())
            .map(|i| i > 0 && leading[i].is_empty() && !self.comments.blank_before(rows[i].start))
            .collect();
        let widths = cell_widths(&rows, &adjacent);
        let mut texts = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            texts.push(self.row_text(row, &widths[i], indent));
            // Comments in a place that has no line for them go in front.
            let stray = self.comments.take(row.start, row.end);
            leading[i].extend(stray);
        }
        let columns = comment_columns(&texts, &trailing, &adjacent, indent);
        let mut out = String::new();
        for i in 0..rows.len() {
            for comment in &leading[i] {
                if !out.is_empty() && self.comments.blank_before(comment.span.start) {
                    out.push('\n');
                }
                out += &format!("{}{}\n", pad(indent), self.comments.text(comment));
            }
            if !out.is_empty() && self.comments.blank_before(rows[i].start) {
                out.push('\n');
            }
            out += &pad(indent);
            out += &texts[i];
            if let Some(comment) = &trailing[i] {
                out += &pad(columns[i] - end_column(&texts[i], indent));
                out += self.comments.text(comment);
            }
            out.push('\n');
        }
        for comment in self.comments.take(from, to) {
            if !out.is_empty() && self.comments.blank_before(comment.span.start) {
                out.push('\n');
            }
            out += &format!("{}{}\n", pad(indent), self.comments.text(&comment));
        }
        out
    }

    fn row_text(&mut self, row: &Row<'_>, widths: &[usize], indent: usize) -> String {
        let mut text = String::new();
        let has_value = !matches!(row.value, Value::None);
        for (number, cell) in row.cells.iter().enumerate() {
            text += cell;
            if has_value || number + 1 < row.cells.len() {
                text += &pad(widths[number] - cell.chars().count() + 1);
            }
        }
        text += row.lead;
        let column = indent + text.chars().count();
        match &row.value {
            Value::None => {}
            // A line may not start with `-`.
            Value::Expr(value) if row.cells.is_empty() && starts_with_minus(value) => {
                text += &format!("({})", self.expr(value, indent, column + 1, 1));
            }
            Value::Expr(value) => text += &self.expr(value, indent, column, 0),
            Value::Pieces(pieces) => text += &fill(pieces, indent, column),
        }
        text
    }
}

fn starts_with_minus(value: &Expr) -> bool {
    match &value.kind {
        _ if value.parens => false,
        ExprKind::Unary { op, .. } => *op == UnaryOp::Neg,
        ExprKind::Binary { left: first, .. } | ExprKind::Where { value: first, .. } => {
            starts_with_minus(first)
        }
        _ => false,
    }
}

/// Pieces with commas between, on new lines where a line is full.
pub(super) fn fill(pieces: &[String], indent: usize, column: usize) -> String {
    let mut out = String::new();
    let mut column = column;
    for (number, piece) in pieces.iter().enumerate() {
        let comma = usize::from(number + 1 < pieces.len());
        let width = piece.chars().count() + comma;
        if number > 0 && column + 1 + width > WIDTH {
            out += &format!("\n{}", pad(indent + STEP));
            column = indent + STEP;
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out += piece;
        out += if comma == 1 { "," } else { "" };
        column += width;
    }
    out
}

/// For each row the width of each of its cells.
fn cell_widths(rows: &[Row<'_>], adjacent: &[bool]) -> Vec<Vec<usize>> {
    let width = |cell: &String| cell.chars().count();
    let own = |row: &Row<'_>| row.cells.iter().map(width).collect::<Vec<_>>();
    let mut widths: Vec<Vec<usize>> = rows.iter().map(own).collect();
    let mut start = 0;
    while start < rows.len() {
        let kind = rows[start].kind;
        let mut end = start + 1;
        let cheap = |end: usize| {
            let names = rows[start..end].iter().map(|row| row.cells.get(1).map_or(0, width));
            let (least, most) =
                names.fold((usize::MAX, 0), |(least, most), name| (least.min(name), most.max(name)));
            most - least <= MOST_BLANKS
        };
        while end < rows.len()
            && adjacent[end]
            && rows[end].kind == kind
            && kind != Kind::Alone
            && (!matches!(kind, Kind::Let | Kind::Dim) || cheap(end + 1))
        {
            end += 1;
        }
        for column in 0..3 {
            // A cell counts if something follows it on its line.
            let follows = |row: &&Row<'_>| row.cells.len() > column + 1 || !matches!(row.value, Value::None);
            let cells = rows[start..end].iter().filter(follows).filter_map(|row| row.cells.get(column));
            let most = cells.map(width).max().unwrap_or(0);
            for row in &mut widths[start..end] {
                if let Some(own) = row.get_mut(column) {
                    *own = most.max(*own);
                }
            }
        }
        start = end;
    }
    widths
}

/// For each row the column of its trailing comment: one for adjacent rows of nearly the same length.
fn comment_columns(
    texts: &[String],
    trailing: &[Option<Comment>],
    adjacent: &[bool],
    indent: usize,
) -> Vec<usize> {
    let ends: Vec<usize> = texts.iter().map(|text| end_column(text, indent)).collect();
    let mut columns = vec![0; texts.len()];
    let mut start = 0;
    while start < texts.len() {
        let mut end = start + 1;
        let (mut least, mut most) = (ends[start], ends[start]);
        while end < texts.len()
            && adjacent[end]
            && trailing[end - 1].is_some()
            && trailing[end].is_some()
            && !texts[end].contains('\n')
            && most.max(ends[end]) - least.min(ends[end]) <= MOST_BLANKS_TO_COMMENT
        {
            (least, most) = (least.min(ends[end]), most.max(ends[end]));
            end += 1;
        }
        columns[start..end].fill(most + 2);
        start = end;
    }
    columns
}

fn row<'a>(statement: &Statement<'a>, flat: Flat<'_>) -> Row<'a> {
    let alone = |start: u32, end: u32, cell: String| Row {
        kind: Kind::Alone,
        start,
        end,
        cells: vec![cell],
        lead: "",
        value: Value::None,
    };
    match *statement {
        Statement::Result(value) => Row {
            kind: Kind::Alone,
            start: value.span.start,
            end: value.span.end,
            cells: Vec::new(),
            lead: "",
            value: Value::Expr(value),
        },
        Statement::Let(line) => let_row(line, flat),
        Statement::Member(member) => {
            let (start, end) = (member.span.start, member.span.end);
            match &member.kind {
                MemberKind::Dims(dims) => dims_row(dims, start, end, flat),
                MemberKind::Param(param) => Row {
                    kind: Kind::Param,
                    start,
                    end,
                    cells: vec!["param".to_owned(), param.name.text.clone()],
                    lead: "= ",
                    value: Value::Pieces(vec![param_value(&param.value)]),
                },
                MemberKind::Const(constant) => Row {
                    kind: Kind::Const,
                    start,
                    end,
                    cells: declared("const", std::slice::from_ref(&constant.name), &constant.ty, flat),
                    lead: "= ",
                    value: Value::Expr(&constant.value),
                },
                MemberKind::Fact(fact) => alone(start, end, format!("fact {}", fact_text(fact, flat))),
                MemberKind::Input(input) => Row {
                    kind: Kind::Declared,
                    start,
                    end,
                    cells: declared("input", &input.names, &input.ty, flat),
                    lead: "",
                    value: Value::None,
                },
                MemberKind::Weight(weight) => Row {
                    kind: Kind::Declared,
                    start,
                    end,
                    cells: declared("weight", &weight.names, &weight.ty, flat),
                    lead: "from ",
                    value: Value::Pieces(
                        weight.from.iter().map(|text| format!("\"{}\"", text.text)).collect(),
                    ),
                },
                MemberKind::Let(line) => let_row(line, flat),
                MemberKind::Output(output) => Row {
                    kind: Kind::Output,
                    start,
                    end,
                    cells: declared("output", std::slice::from_ref(&output.name), &output.ty, flat),
                    lead: "= ",
                    value: Value::Expr(&output.value),
                },
            }
        }
    }
}

fn let_row<'a>(line: &'a Let, flat: Flat<'_>) -> Row<'a> {
    let name = match &line.ty {
        Some(ty) => format!("{} : {}", line.name.text, flat.ty(ty)),
        None => line.name.text.clone(),
    };
    Row {
        kind: Kind::Let,
        start: line.span.start,
        end: line.span.end,
        cells: vec!["let".to_owned(), name],
        lead: "= ",
        value: Value::Expr(&line.value),
    }
}

fn dims_row<'a>(dims: &[DimDef], start: u32, end: u32, flat: Flat<'_>) -> Row<'a> {
    if let [DimDef { name, size: DimSize::Equal(size), .. }] = dims {
        let value = Value::Pieces(vec![flat.size(size)]);
        return Row {
            kind: Kind::Dim,
            start,
            end,
            cells: vec!["dim".to_owned(), name.text.clone()],
            lead: "= ",
            value,
        };
    }
    let pieces = dims.iter().map(|dim| match &dim.size {
        DimSize::RunTime => dim.name.text.clone(),
        DimSize::Equal(size) => format!("{} = {}", dim.name.text, flat.size(size)),
        DimSize::AtMost(size) => format!("{} <= {}", dim.name.text, flat.size(size)),
    });
    let value = Value::Pieces(pieces.collect());
    Row { kind: Kind::Alone, start, end, cells: vec!["dim".to_owned()], lead: "", value }
}

fn declared(keyword: &str, names: &[Ident], ty: &Type, flat: Flat<'_>) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|name| name.text.as_str()).collect();
    vec![keyword.to_owned(), names.join(", "), format!(": {}", flat.ty(ty))]
}

fn param_value(value: &ParamValue) -> String {
    match value {
        ParamValue::Number { number, .. } if number.value.is_sign_negative() => format!("-{}", number.text),
        ParamValue::Number { number, .. } => number.text.clone(),
        ParamValue::Bool(value, _) => value.to_string(),
        ParamValue::Text(text) => format!("\"{}\"", text.text),
    }
}

fn fact_text(fact: &Fact, flat: Flat<'_>) -> String {
    match fact {
        Fact::Chain { first, rest } => {
            let rest =
                rest.iter().map(|(relation, size)| format!(" {} {}", relation.symbol(), flat.size(size)));
            flat.size(first) + &rest.collect::<String>()
        }
        Fact::Partition { parts, whole } => {
            let parts: String = parts.iter().map(|part| format!("{}, ", part.text)).collect();
            format!("partition({parts}{})", whole.text)
        }
    }
}
