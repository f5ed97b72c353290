//! The one style of `.moe` (its rules are in `ir-specs/grammar.md`).
//!
//! The tree is printed anew; comments are put back by their place. A comment between two statements, behind a
//! statement, between the arguments of a call or the operands of a broken operator stays where it is; one in a less
//! usual place moves in front of its statement. Nothing here changes what a program says.

mod comments;
mod exprs;
mod flat;
mod rows;
#[cfg(test)]
mod tests;

use moec_diag::Diagnostic;

use crate::ast::{Block, Expr, File, Fn, FnParam, Item, Let, Member};
use crate::parse;
use comments::Comments;
use flat::Flat;

/// Columns of a line.
const WIDTH: usize = 120;
/// Columns of a level.
const STEP: usize = 4;

/// The text in the one style, or what is wrong with it. Formatting its result changes nothing.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut before = text.to_owned();
    // A comment that had to move can free the line it left: the second pass settles it, the third sees no change.
    for _ in 0..5 {
        let (file, found) = parse(&before);
        if !found.is_empty() {
            return Err(found);
        }
        let after =
            Printer { flat: Flat { source: &before }, comments: Comments::new(&before, &file.comments) }
                .file(&file);
        if after == before {
            break;
        }
        before = after;
    }
    Ok(before)
}

struct Printer<'a> {
    flat: Flat<'a>,
    comments: Comments<'a>,
}

/// A statement of a model or a block.
enum Statement<'a> {
    Member(&'a Member),
    Let(&'a Let),
    Result(&'a Expr),
}

/// Blanks for a column.
fn pad(columns: usize) -> String {
    " ".repeat(columns)
}

/// Columns of the last line of a text that starts in column `start`.
fn end_column(text: &str, start: usize) -> usize {
    match text.rsplit_once('\n') {
        Some((_, last)) => last.chars().count(),
        None => start + text.chars().count(),
    }
}

impl Printer<'_> {
    fn file(&mut self, file: &File) -> String {
        let mut out = String::new();
        let mut from = 0;
        for item in &file.items {
            let span = match item {
                Item::Model(model) => model.span,
                Item::Fn(function) => function.span,
            };
            if !out.is_empty() {
                out.push('\n');
            }
            let mut leading = self.comments.take(from, span.start);
            let printed = match item {
                Item::Model(model) => {
                    let members: Vec<_> = model.members.iter().map(Statement::Member).collect();
                    let open = self.comments.next_brace(model.name.span.end);
                    let head = format!("model {} {{{}", model.name.text, self.behind_brace(open, span.end));
                    self.body(head, &members, open, span.end, 0)
                }
                Item::Fn(function) => self.function(function),
            };
            let blank_before_item = self.comments.blank_before(span.start);
            leading.extend(self.comments.take(span.start, span.end));
            for (number, comment) in leading.iter().enumerate() {
                if number > 0 && self.comments.blank_before(comment.span.start) {
                    out.push('\n');
                }
                out += self.comments.text(comment);
                out.push('\n');
            }
            if !leading.is_empty() && blank_before_item {
                out.push('\n');
            }
            out += &printed;
            from = span.end;
            if let Some(comment) = self.comments.take_trailing(from) {
                out += "  ";
                out += self.comments.text(&comment);
            }
            out.push('\n');
        }
        for (number, comment) in self.comments.take(from, u32::MAX).iter().enumerate() {
            if !out.is_empty() && (number == 0 || self.comments.blank_before(comment.span.start)) {
                out.push('\n');
            }
            out += self.comments.text(comment);
            out.push('\n');
        }
        out
    }

    fn function(&mut self, function: &Fn) -> String {
        let params: Vec<_> = function
            .params
            .iter()
            .map(|param| match param {
                FnParam::Value { name, ty } => format!("{}: {}", name.text, self.flat.ty(ty)),
                FnParam::Dim { name } => format!("{}: dim", name.text),
            })
            .collect();
        let open = function.body.span.start + 1;
        let result = self.flat.ty(&function.result);
        let mut head = format!("fn {}({}) -> {result} {{", function.name.text, params.join(", "));
        if head.chars().count() > WIDTH || self.comments.any(function.name.span.end, open) {
            head = format!("fn {}(\n", function.name.text);
            let mut from = function.name.span.end;
            for (param, text) in function.params.iter().zip(params) {
                let (start, end) = match param {
                    FnParam::Value { name, ty } => (name.span.start, ty.span.end),
                    FnParam::Dim { name } => (name.span.start, name.span.end),
                };
                head += &self.own_lines(from, start, STEP);
                let behind = self.behind(end);
                head += &format!("{}{text},{behind}\n", pad(STEP));
                from = end;
            }
            head += &self.own_lines(from, function.result.span.start, STEP);
            head += &format!(") -> {result} {{");
        }
        head += &self.behind_brace(open, function.span.end);
        self.body(head, &statements(&function.body), open, function.span.end, 0)
    }

    /// A head that ends in `{`, the statements on lines of their own, and `}`.
    fn body(
        &mut self,
        head: String,
        statements: &[Statement<'_>],
        from: u32,
        end: u32,
        indent: usize,
    ) -> String {
        let lines = self.rows(statements, from, end.saturating_sub(1), indent + STEP);
        format!("{head}\n{lines}{}}}", pad(indent))
    }

    /// The comment on the line of a `{` that ends at `open`, with the blanks before it.
    fn behind_brace(&mut self, open: u32, end: u32) -> String {
        match self.comments.take_trailing(open) {
            Some(comment) if comment.span.start < end => format!("  {}", self.comments.text(&comment)),
            _ => String::new(),
        }
    }

    /// The comment on the line of what ends at `end`, with the blanks before it.
    fn behind(&mut self, end: u32) -> String {
        match self.comments.take_trailing(end) {
            Some(comment) => format!("  {}", self.comments.text(&comment)),
            None => String::new(),
        }
    }

    /// The comments between two places, each on a line of its own.
    fn own_lines(&mut self, from: u32, to: u32, indent: usize) -> String {
        let comments = self.comments.take(from, to);
        comments.iter().map(|comment| format!("{}{}\n", pad(indent), self.comments.text(comment))).collect()
    }
}

fn statements(block: &Block) -> Vec<Statement<'_>> {
    block.lets.iter().map(Statement::Let).chain([Statement::Result(&block.result)]).collect()
}
