//! Expressions: operators by precedence, then what stands between them.
//!
//! Loosest first: `where .. else`, `or`, `and`, `not`, comparisons, `+ -`, `* /` or `@`, unary `-`, postfix.

use moec_diag::{Diagnostic, Span, codes};

use super::{Failed, Parsed, Parser};
use crate::ast::*;
use crate::token::{Token, TokenKind};

/// How tightly an infix operator binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Or,
    And,
    Not,
    Compare,
    Add,
    Mul,
}

fn infix(kind: TokenKind) -> Option<(Level, BinaryOp)> {
    Some(match kind {
        TokenKind::Or => (Level::Or, BinaryOp::Or),
        TokenKind::And => (Level::And, BinaryOp::And),
        TokenKind::Plus => (Level::Add, BinaryOp::Add),
        TokenKind::Minus => (Level::Add, BinaryOp::Sub),
        TokenKind::Star => (Level::Mul, BinaryOp::Mul),
        TokenKind::Slash => (Level::Mul, BinaryOp::Div),
        TokenKind::At => (Level::Mul, BinaryOp::MatMul),
        _ => (Level::Compare, BinaryOp::Compare(relation(kind)?)),
    })
}

/// The comparison of this token.
pub(super) fn relation(kind: TokenKind) -> Option<Relation> {
    Some(match kind {
        TokenKind::Less => Relation::Less,
        TokenKind::LessEqual => Relation::LessEqual,
        TokenKind::Greater => Relation::Greater,
        TokenKind::GreaterEqual => Relation::GreaterEqual,
        TokenKind::EqualEqual => Relation::Equal,
        TokenKind::NotEqual => Relation::NotEqual,
        _ => return None,
    })
}

impl Parser<'_> {
    /// `or [ "where" or "else" expr ]`
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        // `a where m else b where n else c` nests to the right: read in a loop, built from the end.
        let mut choices = Vec::new();
        let mut last = self.binary(Level::Or)?;
        let mut tallest = self.height;
        while let Some(word) = self.accept(TokenKind::Where) {
            let mask = self.binary(Level::Or)?;
            tallest = tallest.max(self.height);
            if self.accept(TokenKind::Else).is_none() {
                self.missing_else(word, &mask);
                let span = Span::at(mask.span.end);
                choices.push((last, mask));
                last = Expr::new(ExprKind::Error, span);
                break;
            }
            choices.push((last, mask));
            last = self.binary(Level::Or)?;
            tallest = tallest.max(self.height);
        }
        self.height = tallest;
        while let Some((value, mask)) = choices.pop() {
            let span = value.span.to(last.span);
            self.grow(self.height, span)?;
            last = Expr::new(
                ExprKind::Where { value: Box::new(value), mask: Box::new(mask), other: Box::new(last) },
                span,
            );
        }
        Ok(last)
    }

    fn missing_else(&mut self, word: Token, mask: &Expr) {
        let diagnostic = Diagnostic::error(&codes::MISSING_ELSE, "`where` has no `else`")
            .label(Span::at(mask.span.end), "expected `else`")
            .context(word.span, "")
            .help("`else 0` removes an expert from a sum; `else -inf` from a softmax or a later top_k");
        self.report(diagnostic);
    }

    /// Operands joined by operators of at least this level.
    fn binary(&mut self, least: Level) -> Parsed<Expr> {
        let mut left = self.prefix(least)?;
        let mut mixed = false;
        while let Some((level, op)) = infix(self.kind()).filter(|(level, _)| *level >= least) {
            if self.next().breaks {
                break;
            }
            let tall_left = self.height;
            let op_span = self.bump().span;
            let right = match level {
                Level::Or => self.binary(Level::And)?,
                Level::And => self.binary(Level::Not)?,
                Level::Not | Level::Compare => self.binary(Level::Add)?,
                Level::Add => self.binary(Level::Mul)?,
                Level::Mul => self.prefix(Level::Mul)?,
            };
            let span = left.span.to(right.span);
            self.grow(tall_left.max(self.height), span)?;
            if let ExprKind::Binary { op: before, op_span: before_span, left: first, right: middle } =
                &left.kind
                && !left.parens
            {
                let parts = [first.span, middle.span, right.span];
                let is_product = |op: &BinaryOp| matches!(op, BinaryOp::Mul | BinaryOp::Div);
                if level == Level::Mul && is_product(before) != is_product(&op) && !mixed {
                    mixed = true;
                    let diagnostic = self.mixed_precedence([*before, op], [*before_span, op_span], parts);
                    self.report(diagnostic);
                } else if level == Level::Compare && matches!(before, BinaryOp::Compare(_)) && !mixed {
                    mixed = true;
                    let diagnostic = self.chained_comparison([*before, op], [*before_span, op_span], parts);
                    self.report(diagnostic);
                }
            }
            left = Expr::new(
                ExprKind::Binary { op, op_span, left: Box::new(left), right: Box::new(right) },
                span,
            );
        }
        Ok(left)
    }

    fn mixed_precedence(&self, ops: [BinaryOp; 2], places: [Span; 2], parts: [Span; 3]) -> Diagnostic {
        let [first, second] = ops.map(BinaryOp::symbol);
        let diagnostic =
            Diagnostic::error(&codes::MIXED_PRECEDENCE, format!("`{first}` and `{second}` need parentheses"))
                .label(places[0], "")
                .label(places[1], "");
        match self.short(parts) {
            Some([a, b, c]) => diagnostic.help(format!(
                "`({a} {first} {b}) {second} {c}` is what Python means; `{a} {first} ({b} {second} {c})` is the other reading"
            )),
            None => diagnostic.help(format!("Python would do `{first}` before `{second}` here: put parentheses around it")),
        }
    }

    fn chained_comparison(&self, ops: [BinaryOp; 2], places: [Span; 2], parts: [Span; 3]) -> Diagnostic {
        let [first, second] = ops.map(BinaryOp::symbol);
        let diagnostic = Diagnostic::error(&codes::CHAINED_COMPARISON, "comparisons do not chain")
            .label(places[1], "")
            .context(places[0], "");
        match self.short(parts) {
            Some([a, b, c]) => diagnostic.help(format!("write `{a} {first} {b} and {b} {second} {c}`")),
            None => diagnostic.help("join two comparisons with `and`"),
        }
    }

    /// The texts of three operands, if they are short enough to be quoted.
    fn short(&self, parts: [Span; 3]) -> Option<[&str; 3]> {
        let texts = parts.map(|span| self.slice(span));
        texts.iter().all(|text| text.len() <= 40 && !text.contains('\n')).then_some(texts)
    }

    /// `not` where its level is allowed, `-`, or a postfix expression.
    fn prefix(&mut self, least: Level) -> Parsed<Expr> {
        if self.sees(TokenKind::Minus) {
            let start = self.bump().span;
            let operand = self.postfix()?;
            return self.unary(UnaryOp::Neg, start, operand);
        }
        if self.sees(TokenKind::Not) {
            if least > Level::Not {
                let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "`not` needs parentheses here");
                let span = self.next().span;
                return Err(self.report(diagnostic.label(span, "").help("write `(not ..)`")));
            }
            let start = self.bump().span;
            let operand = self.binary(Level::Compare)?;
            return self.unary(UnaryOp::Not, start, operand);
        }
        self.postfix()
    }

    fn unary(&mut self, op: UnaryOp, start: Span, operand: Expr) -> Parsed<Expr> {
        let span = start.to(operand.span);
        self.grow(self.height, span)?;
        Ok(Expr::new(ExprKind::Unary { op, operand: Box::new(operand) }, span))
    }

    /// `primary { "[" indices "]" | "." name | ".T" }`
    fn postfix(&mut self) -> Parsed<Expr> {
        let mut base = self.primary()?;
        loop {
            let next = self.next();
            let start = base.span;
            let tall_base = self.height;
            let kind = if next.kind == TokenKind::LeftBracket && !next.newline {
                match self.bracketed(|parser| parser.indices()) {
                    Some(indices) => ExprKind::Index { base: Box::new(base), indices },
                    None => ExprKind::Error,
                }
            } else if self.accept(TokenKind::Dot).is_some() {
                if self.sees(TokenKind::DimName) && self.slice(self.next().span) == "T" {
                    self.bump();
                    ExprKind::Transpose(Box::new(base))
                } else {
                    if matches!(base.kind, ExprKind::Number(_)) {
                        return Err(self.no_fraction(start));
                    }
                    let field = self.expect(TokenKind::Name, "a field or `T`")?;
                    if self.sees(TokenKind::LeftParen) && !self.next().newline {
                        return Err(self.no_method(start, field.span));
                    }
                    ExprKind::Field { base: Box::new(base), field: self.ident(field) }
                }
            } else {
                return Ok(base);
            };
            let span = self.since(start);
            self.grow(tall_base.max(self.height), span)?;
            base = Expr::new(kind, span);
        }
    }

    /// `1.`
    fn no_fraction(&mut self, number: Span) -> Failed {
        let span = self.since(number);
        let text = self.slice(number).to_owned();
        let diagnostic = Diagnostic::error(&codes::BAD_NUMBER, format!("`{text}.` is not a number"));
        self.report_at(self.at - 1, diagnostic.label(span, "").help(format!("write `{text}.0`")))
    }

    /// `x.mean(..)` and `torch.relu(..)`
    fn no_method(&mut self, base: Span, name: Span) -> Failed {
        let (base, name_text) = (self.slice(base), self.slice(name));
        let module = ["torch", "F", "nn", "np", "jnp", "jax", "tf", "math"].contains(&base);
        let help = match module || base.len() > 40 || base.contains('\n') {
            true => format!("operations are called by name: `{name_text}(..)`"),
            false => format!("operations are called by name: `{name_text}({base}, ..)`"),
        };
        let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "there are no methods and no modules");
        self.report_at(self.at - 1, diagnostic.label(name, "not a field of anything").help(help))
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.next();
        if token.breaks && token.kind == TokenKind::Minus {
            return Err(self.leading_minus());
        }
        self.height = 1;
        let kind = match token.kind {
            _ if token.breaks => return Err(self.unexpected("an expression")),
            TokenKind::Number => ExprKind::Number(self.number()),
            TokenKind::Text => ExprKind::Text(self.text()?),
            TokenKind::Skipped => {
                self.bump();
                ExprKind::Error
            }
            TokenKind::Inf | TokenKind::True | TokenKind::False => {
                self.bump();
                match token.kind {
                    TokenKind::Inf => ExprKind::Inf,
                    kind => ExprKind::Bool(kind == TokenKind::True),
                }
            }
            TokenKind::DimName => {
                self.bump();
                if self.kind() == TokenKind::LeftParen && !self.next().newline {
                    let word = self.slice(token.span);
                    let diagnostic =
                        Diagnostic::error(&codes::NAME_CASE, format!("`{word}` is a dim, not a function"));
                    let help =
                        format!("functions start with a small letter: `{}`", word.to_ascii_lowercase());
                    return Err(self.report(diagnostic.label(token.span, "").help(help)));
                }
                ExprKind::Dim(self.word(token.span))
            }
            TokenKind::Name => return self.name_or_call(),
            TokenKind::LeftParen => return Ok(self.parenthesized()),
            TokenKind::LeftBracket => {
                let parts = self.bracketed(|parser| parser.sequence(|parser| parser.expr()));
                let span = self.since(token.span);
                self.grow(self.height, span)?;
                parts.map_or(ExprKind::Error, ExprKind::List)
            }
            kind => match kind.dtype() {
                Some(dtype) => self.cast(dtype)?,
                None => return Err(self.unexpected("an expression")),
            },
        };
        Ok(Expr::new(kind, self.since(token.span)))
    }

    /// A comma list, as high as its tallest part.
    pub(super) fn sequence<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut tallest = 0;
        let list = self.comma_list(|parser| {
            parser.height = 0;
            let part = read(parser)?;
            tallest = tallest.max(parser.height);
            Ok(part)
        })?;
        self.height = tallest;
        Ok(list)
    }

    fn parenthesized(&mut self) -> Expr {
        let start = self.next().span;
        let inside = self.bracketed(|parser| {
            let inside = parser.expr()?;
            if parser.sees(TokenKind::Comma) {
                let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "there are no tuples");
                let span = parser.next().span;
                return Err(
                    parser.report(diagnostic.label(span, "expected `)`").help("a list is written `[a, b]`"))
                );
            }
            Ok(inside)
        });
        let span = self.since(start);
        match inside {
            Some(inside) => Expr { kind: inside.kind, span, parens: true },
            None => {
                self.height = 1;
                Expr::new(ExprKind::Error, span)
            }
        }
    }

    fn cast(&mut self, dtype: DType) -> Parsed<ExprKind> {
        let token = self.bump();
        if dtype == DType::Float {
            let diagnostic = Diagnostic::error(&codes::MISPLACED_TYPE, "`float` is not one element type");
            self.report_at(self.at - 1, diagnostic.label(token.span, "").help("write `f32(x)` or `bf16(x)`"));
        }
        if !self.sees(TokenKind::LeftParen) || self.next().newline {
            let word = self.slice(token.span);
            let diagnostic =
                Diagnostic::error(&codes::UNEXPECTED_TOKEN, format!("`{word}` is a type, not a value"));
            let diagnostic = diagnostic.label(token.span, "").help(format!("`{word}(x)` converts x"));
            return Err(self.report(diagnostic));
        }
        let operand = self.bracketed(|parser| {
            let operand = parser.expr()?;
            parser.accept(TokenKind::Comma);
            Ok(operand)
        });
        match operand {
            Some(operand) if dtype != DType::Float => {
                let span = self.since(token.span);
                self.grow(self.height, span)?;
                Ok(ExprKind::Cast { dtype, operand: Box::new(operand) })
            }
            _ => Ok(ExprKind::Error),
        }
    }

    /// A name, a call, or a fold: the token after the word decides.
    fn name_or_call(&mut self) -> Parsed<Expr> {
        let token = self.bump();
        let callee = self.ident(token);
        let next = self.next();
        let kind = match next.kind {
            TokenKind::LeftParen if !next.newline => {
                let args = self.bracketed(|parser| parser.sequence(|parser| parser.arg()));
                let span = self.since(token.span);
                self.grow(self.height, span)?;
                args.map_or(ExprKind::Error, |args| ExprKind::Call { callee, args })
            }
            TokenKind::Name | TokenKind::DimName if !next.newline => match FoldOp::from_name(&callee.text) {
                Some(op) => ExprKind::Fold(self.fold(op, token.span)?),
                None if callee.text == "for" => {
                    let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "there is no `for`");
                    let help = "an index runs over an axis in `sum e over E { .. }`, `map` and `concat`";
                    return Err(self.report_at(self.at - 1, diagnostic.label(token.span, "").help(help)));
                }
                None if self.peek(1).kind == TokenKind::Over => return Err(self.no_fold(&callee)),
                None => ExprKind::Name(callee.text),
            },
            _ => ExprKind::Name(callee.text),
        };
        Ok(Expr::new(kind, self.since(token.span)))
    }

    fn no_fold(&mut self, word: &Ident) -> Failed {
        let diagnostic =
            Diagnostic::error(&codes::UNEXPECTED_TOKEN, format!("`{}` is not a fold", word.text));
        let folds = "sum mean max min any all map concat";
        let diagnostic = match moec_diag::nearest(&word.text, folds.split(' ')) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("the folds are {}", folds.replace(' ', ", "))),
        };
        self.report(diagnostic.label(word.span, ""))
    }

    /// `binder { "," binder } [ "along" mono ] block`, behind the word.
    fn fold(&mut self, op: FoldOp, op_span: Span) -> Parsed<Fold> {
        let mut binders = vec![self.binder()?];
        while self.accept(TokenKind::Comma).is_some() {
            binders.push(self.binder()?);
        }
        let along_word = self.accept(TokenKind::Along);
        let along = along_word.map(|_| self.mono("the axis that grows")).transpose()?;
        let misplaced = match (op, along_word) {
            (FoldOp::Concat, None) => {
                Some((op_span, "`concat` needs `along` and the axis that grows".to_owned()))
            }
            (FoldOp::Concat, Some(_)) | (_, None) => None,
            (_, Some(word)) => Some((word.span, format!("`{}` takes no `along`", op.name()))),
        };
        if let Some((span, message)) = misplaced {
            let diagnostic = Diagnostic::error(&codes::MISPLACED_ALONG, message).label(span, "");
            self.report(diagnostic.help("the form is `concat e over E along O { .. }`"));
        }
        let body = self.block()?;
        self.grow(self.height, op_span)?;
        Ok(Fold { op, op_span, binders, along, body })
    }

    fn binder(&mut self) -> Parsed<Binder> {
        let name = self.value_name("an index")?;
        self.expect(TokenKind::Over, "`over` and an axis")?;
        Ok(Binder { name, over: self.mono("an axis")? })
    }
}
