//! Models, functions, members, blocks.

use moec_diag::{Diagnostic, codes};

use super::exprs::relation;
use super::{Failed, Parsed, Parser};
use crate::ast::*;
use crate::token::TokenKind;

impl Parser<'_> {
    /// Everything in a file.
    pub(super) fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while self.kind() != TokenKind::End {
            let from = self.at;
            let doc = self.doc();
            let item = match self.kind() {
                TokenKind::Model => self.model(doc).map(Item::Model),
                TokenKind::Fn => self.function(doc).map(Item::Fn),
                _ => {
                    // A member or stray words: reported where they start, skipped up to the next item.
                    let failed = self.unexpected("`model` or `fn`");
                    while !matches!(self.kind(), TokenKind::Model | TokenKind::Fn | TokenKind::End) {
                        self.bump();
                    }
                    Err(failed)
                }
            };
            match item {
                Ok(item) => items.push(item),
                Err(_) => self.skip_item(from),
            }
        }
        items
    }

    /// Skips from an item that started with token `from` to the next one.
    fn skip_item(&mut self, from: usize) {
        while !(matches!(self.kind(), TokenKind::End)
            || self.at > from
                && self.next().newline
                && matches!(self.kind(), TokenKind::Model | TokenKind::Fn))
        {
            self.bump();
        }
    }

    fn doc(&mut self) -> Option<String> {
        self.layout.docs.remove(&self.at)
    }

    fn model(&mut self, doc: Option<String>) -> Parsed<Model> {
        let start = self.bump().span;
        self.in_fn = false;
        let name = self.value_name("the name of the model")?;
        if self.kind() != TokenKind::LeftBrace {
            return Err(self.unexpected("`{`"));
        }
        let members = self.bracketed(|parser| Ok(parser.members())).unwrap_or_default();
        Ok(Model { doc, name, members, span: self.since(start) })
    }

    fn members(&mut self) -> Vec<Member> {
        let mut members = Vec::new();
        while !matches!(self.kind(), TokenKind::RightBrace | TokenKind::End) {
            let from = self.at;
            let member = self.member();
            if let Ok(member) = member
                && self.end_statement().is_ok()
            {
                members.push(member);
            } else {
                self.skip_statement(from);
            }
        }
        members
    }

    /// A statement ends before a token that breaks, and before `}`.
    fn end_statement(&mut self) -> Parsed<()> {
        let next = self.next();
        if next.breaks && next.kind == TokenKind::Minus {
            return Err(self.leading_minus());
        }
        if next.breaks || next.kind == TokenKind::RightBrace {
            return Ok(());
        }
        Err(self.unexpected("an operator or the end of the line"))
    }

    fn member(&mut self) -> Parsed<Member> {
        let doc = self.doc();
        let token = self.next();
        if token.kind.starts_member() && token.kind != TokenKind::Let {
            self.bump();
        }
        let kind = match token.kind {
            TokenKind::Dim => MemberKind::Dims(self.several(|parser| parser.dim_def())?),
            TokenKind::Param => {
                let name = self.value_name("the name of a param")?;
                self.expect(TokenKind::Equals, "`=` and a value")?;
                MemberKind::Param(Param { name, value: self.param_value()? })
            }
            TokenKind::Const => {
                let name = self.value_name("the name of a constant")?;
                let ty = self.declared_type()?;
                self.expect(TokenKind::Equals, "`=` and a list")?;
                let value = self.expr()?;
                self.check_constant(&value, true)?;
                MemberKind::Const(Const { name, ty, value })
            }
            TokenKind::Fact => MemberKind::Fact(self.fact()?),
            TokenKind::Input => {
                let names = self.several(|parser| parser.value_name("the name of an input"))?;
                MemberKind::Input(Input { names, ty: self.declared_type()? })
            }
            TokenKind::Weight => MemberKind::Weight(self.weight()?),
            TokenKind::Let => MemberKind::Let(self.let_line()?),
            TokenKind::Output => {
                let name = self.value_name("the name of an output")?;
                let ty = self.declared_type()?;
                self.expect(TokenKind::Equals, "`=` and a value")?;
                MemberKind::Output(Output { name, ty, value: self.expr()? })
            }
            _ => return Err(self.no_member()),
        };
        Ok(Member { doc, kind, span: self.since(token.span) })
    }

    fn no_member(&mut self) -> Failed {
        let token = self.next();
        if matches!(token.kind, TokenKind::Skipped | TokenKind::Minus) {
            return self.unexpected("a member");
        }
        let message = format!("expected a member of the model, found {}", self.describe(token));
        let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, message).label(token.span, "");
        let keywords = ["dim", "param", "const", "fact", "input", "weight", "let", "output"];
        let diagnostic = match (token.kind, moec_diag::nearest(self.slice(token.span), keywords)) {
            (TokenKind::LeftParen | TokenKind::LeftBracket, _) => {
                diagnostic.help("the bracket of a call or index stands on the line of what it follows")
            }
            (_, Some(near)) => diagnostic.help(format!("did you mean `{near}`?")),
            _ => diagnostic.help(format!("a line starts with {}", keywords.join(", "))),
        };
        self.report(diagnostic)
    }

    /// One thing or more, with commas between.
    fn several<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut list = vec![read(self)?];
        while self.accept(TokenKind::Comma).is_some() {
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn declared_type(&mut self) -> Parsed<Type> {
        self.expect(TokenKind::Colon, "`:` and a type")?;
        self.ty()
    }

    fn dim_def(&mut self) -> Parsed<DimDef> {
        let start = self.next().span;
        let name = self.dim_name("the name of a dim")?;
        let size = if self.accept(TokenKind::Equals).is_some() {
            DimSize::Equal(self.size()?)
        } else if self.accept(TokenKind::LessEqual).is_some() {
            DimSize::AtMost(self.size()?)
        } else {
            DimSize::RunTime
        };
        Ok(DimDef { name, size, span: self.since(start) })
    }

    fn param_value(&mut self) -> Parsed<ParamValue> {
        let start = self.next().span;
        let sign = self.accept(TokenKind::Minus);
        let token = self.next();
        match token.kind {
            _ if token.breaks => Err(self.unexpected("a value")),
            TokenKind::Number | TokenKind::Inf => {
                let mut number = match token.kind {
                    TokenKind::Number => self.number(),
                    _ => {
                        self.bump();
                        Number { text: "inf".to_owned(), value: f64::INFINITY, integer: None }
                    }
                };
                if sign.is_some() {
                    number.value = -number.value;
                    number.integer = number.integer.filter(|&value| value == 0);
                }
                Ok(ParamValue::Number { number, span: self.since(start) })
            }
            TokenKind::Text if sign.is_none() => Ok(ParamValue::Text(self.text()?)),
            TokenKind::True | TokenKind::False if sign.is_none() => {
                self.bump();
                Ok(ParamValue::Bool(token.kind == TokenKind::True, token.span))
            }
            _ => Err(self.unexpected("a number, a text, `true` or `false`")),
        }
    }

    /// A constant is a list, its parts lists or plain values.
    fn check_constant(&mut self, value: &Expr, outermost: bool) -> Parsed<()> {
        match &value.kind {
            ExprKind::List(parts) => parts.iter().try_for_each(|part| self.check_constant(part, false)),
            ExprKind::Error => Ok(()),
            ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::Inf if !outermost => Ok(()),
            ExprKind::Unary { op: UnaryOp::Neg, operand } if !outermost => match operand.kind {
                ExprKind::Number(_) | ExprKind::Inf => Ok(()),
                _ => Err(self.not_a_literal(operand)),
            },
            _ => Err(self.not_a_literal(value)),
        }
    }

    fn not_a_literal(&mut self, value: &Expr) -> Failed {
        let message = "a constant is a list of numbers, `true` and `false`";
        let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, message).label(value.span, "");
        self.report(diagnostic.help("a computed value is a `let`"))
    }

    fn fact(&mut self) -> Parsed<Fact> {
        if self.sees_word("partition") && self.peek(1).kind == TokenKind::LeftParen {
            return self.partition();
        }
        let first = self.size()?;
        let mut rest = Vec::new();
        while let Some(relation) = relation(self.kind()).filter(|_| !self.next().breaks) {
            self.bump();
            rest.push((relation, self.size()?));
        }
        if rest.is_empty() {
            return Err(self.unexpected("a comparison, as in `fact Q <= C`"));
        }
        Ok(Fact::Chain { first, rest })
    }

    fn partition(&mut self) -> Parsed<Fact> {
        self.bump();
        let inside = self.bracketed(|parser| {
            let mut parts = Vec::new();
            while parser.sees(TokenKind::Name) {
                parts.push(parser.value_name("a constant")?);
                parser.expect(TokenKind::Comma, "`,` and the dim that is partitioned")?;
            }
            if parts.is_empty() {
                return Err(parser.unexpected("a constant"));
            }
            let whole = parser.dim_name("a constant or the dim that is partitioned")?;
            parser.accept(TokenKind::Comma);
            Ok(Fact::Partition { parts, whole })
        });
        inside.ok_or(Failed)
    }

    fn weight(&mut self) -> Parsed<Weight> {
        let names = self.several(|parser| parser.value_name("the name of a weight"))?;
        let ty = self.declared_type()?;
        let at = self.at;
        self.expect(TokenKind::From, "`from` and the tensor's name")?;
        let from = self.several(|parser| parser.text())?;
        if let (Some(first), Some(last)) = (from.first(), from.last())
            && from.len() != names.len()
        {
            let plural =
                |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
            let message = format!("{} for {}", plural(from.len(), "pattern"), plural(names.len(), "weight"));
            let diagnostic = Diagnostic::error(&codes::WEIGHT_PATTERNS, message);
            let diagnostic = diagnostic.label(first.span.to(last.span), format!("expected {}", names.len()));
            return Err(self.report_at(at, diagnostic.help("give one pattern per name, in the same order")));
        }
        Ok(Weight { names, ty, from })
    }

    fn let_line(&mut self) -> Parsed<Let> {
        let start = self.bump().span;
        let name = self.value_name("a name")?;
        let ty = if self.sees(TokenKind::Colon) { Some(self.declared_type()?) } else { None };
        self.expect(TokenKind::Equals, "`=` and a value")?;
        let value = self.expr()?;
        Ok(Let { name, ty, value, span: self.since(start) })
    }

    fn function(&mut self, doc: Option<String>) -> Parsed<Fn> {
        let start = self.bump().span;
        self.in_fn = true;
        let name = self.value_name("the name of the function")?;
        if !self.sees(TokenKind::LeftParen) {
            return Err(self.unexpected("`(`"));
        }
        let params = self.bracketed(|parser| parser.comma_list(|parser| parser.fn_param()));
        self.expect(TokenKind::Arrow, "`->` and the type of the result")?;
        let result = self.ty()?;
        let body = self.block()?;
        let params = params.ok_or(Failed)?;
        Ok(Fn { doc, name, params, result, body, span: self.since(start) })
    }

    fn fn_param(&mut self) -> Parsed<FnParam> {
        let token = self.next();
        let is_dim =
            |parser: &Self| parser.peek(1).kind == TokenKind::Colon && parser.peek(2).kind == TokenKind::Dim;
        if is_dim(self) {
            let name = self.dim_name("the name of a dim")?;
            self.bump();
            self.bump();
            return Ok(FnParam::Dim { name });
        }
        if token.kind == TokenKind::DimName {
            let message = format!("`{}` is a dim", self.slice(token.span));
            let diagnostic = Diagnostic::error(&codes::NAME_CASE, message).label(token.span, "");
            let help =
                format!("write `{}: dim`; a tensor starts with a small letter", self.slice(token.span));
            return Err(self.report(diagnostic.help(help)));
        }
        let name = self.value_name("the name of a parameter")?;
        Ok(FnParam::Value { name, ty: self.declared_type()? })
    }

    /// `{ lets, then one expression }`. Faults inside are recovered from.
    pub(super) fn block(&mut self) -> Parsed<Block> {
        let start = self.next().span;
        if self.kind() != TokenKind::LeftBrace {
            return Err(self.unexpected("`{`"));
        }
        let inside = self.bracketed(|parser| {
            let mut lets = Vec::new();
            let mut tallest = 0;
            while parser.kind() == TokenKind::Let {
                let from = parser.at;
                match parser.let_line() {
                    Ok(line) if parser.end_statement().is_ok() => lets.push(line),
                    _ => parser.skip_statement(from),
                }
                tallest = tallest.max(parser.height);
            }
            let result = parser.block_result()?;
            parser.height = parser.height.max(tallest);
            Ok((lets, result))
        });
        let span = self.since(start);
        let (lets, result) = inside.unwrap_or_else(|| {
            self.height = 1;
            (Vec::new(), Expr::new(ExprKind::Error, span))
        });
        Ok(Block { lets, result: Box::new(result), span })
    }

    fn block_result(&mut self) -> Parsed<Expr> {
        // The result may stand on its own line.
        if self.next().breaks && self.kind() != TokenKind::Minus {
            let at = self.at;
            self.layout.tokens[at].breaks = false;
        }
        if self.kind() == TokenKind::RightBrace && self.next().span.end > self.next().span.start {
            let span = self.next().span;
            let diagnostic = Diagnostic::error(&codes::UNEXPECTED_TOKEN, "a block ends in its value");
            return Err(self.report(diagnostic.label(span, "expected an expression")));
        }
        let result = self.expr()?;
        if self.kind() != TokenKind::RightBrace {
            if self.next().breaks && self.kind() != TokenKind::Minus {
                let span = self.next().span;
                let diagnostic =
                    Diagnostic::error(&codes::UNEXPECTED_TOKEN, "a block has one value, at its end");
                let diagnostic = diagnostic.label(span, "expected `}`").context(result.span, "the value");
                return Err(self.report(diagnostic.help("name values before it with `let`")));
            }
            return Err(self.unexpected("an operator or `}`"));
        }
        Ok(result)
    }
}
