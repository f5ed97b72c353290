//! The reader of the text form. It accepts what [`print`](crate::print()) writes, with free
//! whitespace and `//` comments, and checks every printed type against inference.

use std::sync::Arc;

use logos::Logos;

use crate::{
    Attr, AttrKind, Attrs, Builder, DType, Dim, DimExpr, DimKind, Fact, IrError, Module, Number, Op,
    PlanType, RouteType, TensorType, Type, ValueId,
};

#[derive(Logos, Debug, Clone, Copy, PartialEq)]
#[logos(skip r"[ \t\r\n]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
enum Token {
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Word,
    #[regex(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")]
    Number,
    #[regex(r#""([^"\\\n]|\\.)*""#)]
    Text,
    #[regex(r"%[0-9]+")]
    Value,
    #[token("<=")]
    #[token("==")]
    #[token(":=")]
    #[regex(r"[{}\[\](),=:*+\-/]")]
    Mark,
}

/// Reads a module and checks it. Nothing but a module may be in the text.
pub fn read(text: &str) -> Result<Module, IrError> {
    let mut tokens = Vec::new();
    for (token, span) in Token::lexer(text).spanned() {
        let line = 1 + text[..span.start].matches('\n').count();
        match token {
            Ok(token) => tokens.push((token, &text[span], line)),
            Err(()) => {
                return Err(IrError::Text { line, message: format!("unexpected {:?}", &text[span]) });
            }
        }
    }
    let mut reader = Reader { tokens, at: 0 };
    let module = reader.module()?;
    if reader.at < reader.tokens.len() {
        return Err(reader.expected("the end of the text"));
    }
    crate::verify(&module)?;
    Ok(module)
}

/// Size expressions nest no deeper.
const MAX_DEPTH: usize = 100;

struct Reader<'a> {
    tokens: Vec<(Token, &'a str, usize)>,
    at: usize,
}

type Parsed<T> = Result<T, IrError>;

/// The character that an escape stands for, as Rust writes them, and the text behind it. `text`
/// begins behind the backslash.
fn unescape(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let c = match chars.next()? {
        c @ ('"' | '\\' | '\'') => c,
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'u' => {
            let (code, after) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            return Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, after));
        }
        _ => return None,
    };
    Some((c, chars.as_str()))
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<(Token, &'a str)> {
        self.tokens.get(self.at).map(|&(token, text, _)| (token, text))
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |&(_, _, line)| line)
    }

    fn error(&self, message: impl Into<String>) -> IrError {
        IrError::Text { line: self.line(), message: message.into() }
    }

    fn expected(&self, what: &str) -> IrError {
        let found = self.peek().map_or("the end of the text", |(_, text)| text);
        self.error(format!("found `{found}`, expected {what}"))
    }

    fn take(&mut self, token: Token, what: &str) -> Parsed<&'a str> {
        match self.peek() {
            Some((found, text)) if found == token => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Whether the next token is this text; it is consumed if so.
    fn eat(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|(token, t)| token != Token::Text && t == text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.eat(text) { Ok(()) } else { Err(self.expected(&format!("`{text}`"))) }
    }

    fn word(&mut self, what: &str) -> Parsed<&'a str> {
        self.take(Token::Word, what)
    }

    fn integer(&mut self) -> Parsed<u64> {
        let text = self.take(Token::Number, "an integer")?;
        text.parse::<u64>()
            .ok()
            .filter(|&n| n <= i64::MAX as u64)
            .ok_or_else(|| self.error(format!("`{text}` is not an integer below 2^63")))
    }

    fn signed(&mut self) -> Parsed<i64> {
        let negative = self.eat("-");
        let value = self.integer()? as i64;
        Ok(if negative { -value } else { value })
    }

    fn number(&mut self) -> Parsed<f64> {
        let sign = if self.eat("-") { -1.0 } else { 1.0 };
        let value = if self.eat("inf") {
            f64::INFINITY
        } else if self.eat("NaN") {
            f64::NAN
        } else {
            let text = self.take(Token::Number, "a number")?;
            text.parse().map_err(|_| self.error(format!("`{text}` is not a number")))?
        };
        Ok(sign * value)
    }

    fn string(&mut self) -> Parsed<String> {
        let text = self.take(Token::Text, "a string")?;
        let mut out = String::new();
        let mut rest = &text[1..text.len() - 1];
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            let (c, after) =
                unescape(&rest[at + 1..]).ok_or_else(|| self.error(format!("unknown escape in {text}")))?;
            out.push(c);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self) -> Parsed<ValueId> {
        let text = self.take(Token::Value, "a value such as `%0`")?;
        text[1..].parse().map(ValueId).map_err(|_| self.error(format!("`{text}` is out of range")))
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn factor(&mut self) -> Parsed<Dim> {
        match self.peek() {
            Some((Token::Number, _)) => self.integer().map(Dim::constant),
            _ => self.word("a size").map(Dim::symbol),
        }
    }

    /// Whether the token after the next is a factor of a monomial, and not one of an expression
    /// such as `T * 0.5`.
    fn factor_follows(&self) -> bool {
        match self.tokens.get(self.at + 1) {
            Some((Token::Number, text, _)) => text.parse::<u64>().is_ok(),
            Some((Token::Word, text, _)) => *text != "floor",
            _ => false,
        }
    }

    fn dim(&mut self) -> Parsed<Dim> {
        let mut dim = self.factor()?;
        while self.peek().is_some_and(|(_, text)| text == "*") && self.factor_follows() {
            self.expect("*")?;
            dim = dim.times(&self.factor()?)?;
        }
        Ok(dim)
    }

    fn dim_expr(&mut self, depth: usize) -> Parsed<DimExpr> {
        if depth > MAX_DEPTH {
            return Err(self.error("this size is nested too deep"));
        }
        if self.eat("floor") {
            self.expect("(")?;
            let inner = self.dim_expr(depth + 1)?;
            self.expect(")")?;
            return Ok(DimExpr::Floor(Box::new(inner)));
        }
        if self.eat("(") {
            let a = Box::new(self.dim_expr(depth + 1)?);
            let make: fn(Box<DimExpr>, Box<DimExpr>) -> DimExpr = if self.eat("+") {
                DimExpr::Add
            } else if self.eat("-") {
                DimExpr::Sub
            } else if self.eat("*") {
                DimExpr::Mul
            } else if self.eat("/") {
                DimExpr::Div
            } else {
                self.expect(")")?;
                return Ok(*a);
            };
            let b = Box::new(self.dim_expr(depth + 1)?);
            self.expect(")")?;
            return Ok(make(a, b));
        }
        match self.peek() {
            Some((Token::Number, text)) if text.parse::<u64>().is_err() => {
                self.number().map(|n| DimExpr::Number(Number::new(n)))
            }
            _ => self.dim().map(DimExpr::Dim),
        }
    }

    fn dtype(&mut self) -> Parsed<DType> {
        let name = self.word("an element type")?;
        DType::from_name(name).ok_or_else(|| self.error(format!("`{name}` is not an element type")))
    }

    fn tensor_type(&mut self) -> Parsed<TensorType> {
        let dtype = self.dtype()?;
        let bracket = self.peek().is_some_and(|(_, text)| text == "[");
        let shape = if bracket { self.list(Self::dim)? } else { Vec::new() };
        Ok(TensorType { dtype, shape })
    }

    fn ty(&mut self) -> Parsed<Type> {
        if self.eat("route") {
            self.expect("(")?;
            let scores = self.tensor_type()?;
            self.expect(",")?;
            let axis = self.integer()? as usize;
            self.expect(",")?;
            let k = self.dim()?;
            self.expect(")")?;
            return Ok(Type::Route(RouteType { scores, axis, k }));
        }
        if self.eat("plan") {
            self.expect("(")?;
            let experts = self.dim()?;
            self.expect(",")?;
            let tokens = self.dim()?;
            self.expect(",")?;
            let slots = self.dim()?;
            self.expect(")")?;
            return Ok(Type::Plan(PlanType { experts, tokens, slots }));
        }
        self.tensor_type().map(Type::Tensor)
    }

    fn attr(&mut self, kind: AttrKind) -> Parsed<Attr> {
        Ok(match kind {
            AttrKind::Bool => match self.word("`true` or `false`")? {
                "true" => Attr::Bool(true),
                "false" => Attr::Bool(false),
                _ => {
                    self.at -= 1;
                    return Err(self.expected("`true` or `false`"));
                }
            },
            AttrKind::Int => Attr::Int(self.signed()?),
            AttrKind::Ints => Attr::Ints(self.list(Self::signed)?),
            AttrKind::Number => Attr::Number(Number::new(self.number()?)),
            AttrKind::Numbers => {
                let numbers = self.list(|r| r.number().map(Number::new))?;
                Attr::Numbers(Arc::from(numbers))
            }
            AttrKind::Dim => Attr::Dim(self.dim()?),
            AttrKind::Dims => Attr::Dims(self.list(Self::dim)?),
            AttrKind::DType => Attr::DType(self.dtype()?),
            AttrKind::Str => Attr::Str(self.string()?.into()),
            AttrKind::Type => Attr::Type(self.tensor_type()?),
        })
    }

    fn module(&mut self) -> Parsed<Module> {
        self.expect("module")?;
        let mut builder = Builder::new(Module::new(self.word("a name")?));
        self.expect("{")?;
        loop {
            if self.eat("}") {
                return Ok(builder.finish());
            } else if self.eat("dim") {
                let name = self.word("a name")?;
                let kind = if self.eat("=") {
                    DimKind::Sized(self.integer()?)
                } else if self.eat(":=") {
                    DimKind::Derived(self.dim_expr(0)?)
                } else {
                    DimKind::Runtime
                };
                let line = self.line();
                let placed = |e: IrError| IrError::Text { line, message: e.to_string() };
                builder.dims_mut().declare(name, kind).map_err(placed)?;
            } else if self.eat("fact") {
                let low = self.dim_expr(0)?;
                let equal = self.eat("==");
                if !equal {
                    self.expect("<=")?;
                }
                let high = self.dim_expr(0)?;
                let fact = if equal { Fact::Eq(low, high) } else { Fact::Le(low, high) };
                builder.dims_mut().assume(fact)?;
            } else if self.eat("output") {
                let name = self.string()?;
                self.expect("=")?;
                let value = self.value()?;
                if value.index() >= builder.module().nodes.len() {
                    return Err(self.error(format!("%{} is not defined", value.0)));
                }
                let line = self.line();
                let placed = |e: IrError| IrError::Text { line, message: e.to_string() };
                builder.output(&name, value).map_err(placed)?;
            } else {
                self.node(&mut builder)?;
            }
        }
    }

    fn node(&mut self, builder: &mut Builder) -> Parsed<()> {
        let line = self.line();
        let id = self.value()?;
        if id.index() != builder.module().nodes.len() {
            return Err(self.error(format!("expected %{}", builder.module().nodes.len())));
        }
        self.expect("=")?;
        let name = self.word("an operation")?;
        let op = Op::from_mnemonic(name).ok_or_else(|| self.error(format!("no operation `{name}`")))?;
        let mut args = Vec::new();
        while matches!(self.peek(), Some((Token::Value, _))) {
            args.push(self.value()?);
            if !self.eat(",") {
                break;
            }
        }
        let mut attrs = Vec::new();
        if self.eat("{") {
            while !self.eat("}") {
                if !attrs.is_empty() {
                    self.expect(",")?;
                }
                let name = self.word("an attribute")?;
                let known = op.row().attrs.iter().find(|(n, _)| *n == name);
                let Some(&(name, kind)) = known else {
                    return Err(self.error(format!("{op} has no attribute `{name}`")));
                };
                self.expect("=")?;
                attrs.push((name, self.attr(kind)?));
            }
        }
        self.expect(":")?;
        let ty = self.ty()?;
        if let (Some(&(name, _)), Type::Tensor(ty)) =
            (op.row().attrs.iter().find(|(_, kind)| *kind == AttrKind::Type), &ty)
        {
            attrs.push((name, ty.clone().into()));
        }
        let placed = |e: IrError| IrError::Text { line, message: e.to_string() };
        let value = builder.push(op, &args, Attrs::new(attrs)).map_err(placed)?;
        if builder.ty(value) != &ty {
            let message = format!("{op} yields {}, not {ty}", builder.ty(value));
            return Err(IrError::Text { line, message });
        }
        Ok(())
    }
}
