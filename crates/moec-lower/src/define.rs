//! The dims and facts of a model.

use std::collections::BTreeMap;

use moec_diag::{Code, Diagnostic, Span, codes};
use moec_ir::{Dim, DimExpr, DimKind, Fact, SizeSum};
use moec_syntax::ast::{self, DimSize, Relation};

use crate::axis::Axis;
use crate::lowerer::{Check, DimName, Failed, Lowerer};
use crate::size::{EXACT, SizeValue};

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Waiting,
    Active,
    Done,
}

/// The `dim` lines of a model while they are resolved, in whatever order they need each other.
struct Definitions<'m> {
    defs: Vec<&'m ast::DimDef>,
    progress: Vec<Progress>,
    set: &'m BTreeMap<String, String>,
}

impl<'a> Lowerer<'a> {
    /// Declares the dims of a model. Names of `set` that were applied are added to `applied`.
    pub(crate) fn define_dims(
        &mut self,
        model: &ast::Model,
        set: &BTreeMap<String, String>,
        applied: &mut Vec<String>,
    ) {
        let mut defs: Vec<&ast::DimDef> = Vec::new();
        for member in &model.members {
            let ast::MemberKind::Dims(dims) = &member.kind else { continue };
            for def in dims {
                if let Some(before) = defs.iter().find(|d| d.name.text == def.name.text) {
                    let message = format!("the dim {} is already declared", def.name.text);
                    let diagnostic = Diagnostic::error(&codes::DUPLICATE_NAME, message)
                        .label(def.name.span, "declared again")
                        .context(before.name.span, "declared here first");
                    self.report(diagnostic);
                    continue;
                }
                if set.contains_key(&def.name.text) {
                    applied.push(def.name.text.clone());
                }
                let (text, span) = (def.name.text.clone(), def.name.span);
                self.frame.dims.push(DimName { text, span, axis: None, used: false });
                defs.push(def);
            }
        }
        let progress = vec![Progress::Waiting; defs.len()];
        let mut definitions = Definitions { defs, progress, set };
        for at in 0..definitions.defs.len() {
            // A failure was reported, and the dim stays without an axis.
            let _ = self.define(&mut definitions, at);
        }
    }

    fn define(&mut self, definitions: &mut Definitions<'_>, at: usize) -> Check<Axis> {
        match definitions.progress[at] {
            Progress::Done => return self.frame.dims[at].axis.clone().ok_or(Failed),
            Progress::Active => {
                let name = definitions.defs[at].name.clone();
                let message = format!("the size of {} depends on itself", name.text);
                return Err(self.fail(&codes::DIM_CYCLE, message, name.span, "defined by way of itself"));
            }
            Progress::Waiting => definitions.progress[at] = Progress::Active,
        }
        let def = definitions.defs[at];
        let name = def.name.text.as_str();
        let axis = match (definitions.set.get(name), &def.size) {
            (Some(text), _) => self.overridden(def, text),
            (None, DimSize::RunTime | DimSize::AtMost(_)) => self.declare_dim(def, DimKind::Runtime),
            (None, DimSize::Equal(size)) => {
                let value =
                    self.size(size, &mut |this, text, span| this.dim_or_define(definitions, text, span));
                value.and_then(|value| self.define_as(def, size.span, &value))
            }
        };
        definitions.progress[at] = Progress::Done;
        self.frame.dims[at].axis = axis.clone().ok();
        axis
    }

    fn dim_or_define(&mut self, definitions: &mut Definitions<'_>, text: &str, span: Span) -> Check<Axis> {
        if let Some(at) = definitions.defs.iter().position(|d| d.name.text == text) {
            self.define(definitions, at)?;
        }
        self.dim(text, span)
    }

    fn overridden(&mut self, def: &ast::DimDef, text: &str) -> Check<Axis> {
        let name = &def.name.text;
        let plain = match &def.size {
            DimSize::Equal(size) => matches!(size.kind, ast::SizeKind::Int(_)),
            DimSize::RunTime | DimSize::AtMost(_) => true,
        };
        let problem = match text.parse::<u64>() {
            _ if !plain => format!("`--set {name}={text}`: {name} is defined by other dims"),
            Ok(n) if n < 1 << 53 => return self.declare_dim(def, DimKind::Sized(n)),
            _ => format!("`--set {name}={text}`: a dim needs a whole number of at least 0"),
        };
        Err(self.fail(&codes::BAD_OVERRIDE, problem, def.span, "declared here"))
    }

    /// A symbol of its own in the IR.
    fn declare_dim(&mut self, def: &ast::DimDef, kind: DimKind) -> Check<Axis> {
        let declared = self.emitter.declare_dim(&def.name.text, kind);
        self.ir(def.name.span, declared)?;
        let symbol = Dim::symbol(&def.name.text);
        Ok(Axis::new(symbol.clone(), symbol))
    }

    fn define_as(&mut self, def: &ast::DimDef, span: Span, value: &SizeValue) -> Check<Axis> {
        let name = Dim::symbol(&def.name.text);
        if let Some(axis) = &value.axis {
            return match axis.name().as_const() {
                Some(n) => self.declare_dim(def, DimKind::Sized(n)),
                None => Ok(Axis::new(name, axis.size().clone())),
            };
        }
        if let Some(sum) = value.sum.as_ref().and_then(|s| s.expanded(&self.frame.sums)) {
            self.frame.sums.insert(def.name.text.as_str().into(), sum);
        }
        match value.value {
            None => self.declare_dim(def, DimKind::Derived(value.expr.clone())),
            Some(n) if n.abs() >= EXACT => Err(self.too_large(span)),
            Some(n) if n.fract() == 0.0 && n >= 0.0 => self.declare_dim(def, DimKind::Sized(n as u64)),
            Some(n) => {
                let message = format!("{} would be {n}, which is not a size", def.name.text);
                let mut diagnostic = Diagnostic::error(&codes::BAD_SIZE, message).label(span, format!("{n}"));
                if n >= 0.0 {
                    diagnostic =
                        diagnostic.help(format!("to round down, write `floor({})`", self.text(span)));
                }
                Err(self.report(diagnostic))
            }
        }
    }

    /// Checks what is known now, and hands the rest to those who bind run-time dims.
    pub(crate) fn check_facts(&mut self, model: &ast::Model) {
        for member in &model.members {
            match &member.kind {
                ast::MemberKind::Dims(dims) => {
                    for def in dims {
                        if let DimSize::AtMost(size) = &def.size {
                            let left = ast::Size {
                                kind: ast::SizeKind::Dim(def.name.text.clone()),
                                span: def.name.span,
                                parens: false,
                            };
                            let _ = self.check_relation(Relation::LessEqual, &left, size);
                        }
                    }
                }
                ast::MemberKind::Fact(ast::Fact::Chain { first, rest }) => {
                    let mut left = first;
                    for (relation, right) in rest {
                        let _ = self.check_relation(*relation, left, right);
                        left = right;
                    }
                }
                _ => {}
            }
        }
    }

    fn check_relation(&mut self, relation: Relation, left: &ast::Size, right: &ast::Size) -> Check<()> {
        let mut dim = |this: &mut Self, text: &str, span: Span| this.dim(text, span);
        let (a, b) = (self.size(left, &mut dim), self.size(right, &mut dim));
        let (a, b) = (a?, b?);
        if relation == Relation::Equal && (b.value == Some(0.0) || a.value == Some(0.0)) {
            self.empty_on_purpose.extend(a.axis.iter().chain(&b.axis).cloned());
        }
        if let Some((x, y)) = a.value.zip(b.value) {
            let holds = match relation {
                Relation::Less => x < y,
                Relation::LessEqual => x <= y,
                Relation::Greater => x > y,
                Relation::GreaterEqual => x >= y,
                Relation::Equal => x == y,
                Relation::NotEqual => x != y,
            };
            if holds {
                return Ok(());
            }
            let (l, r) = (self.text(left.span), self.text(right.span));
            let message =
                format!("the fact `{l} {} {r}` is false: {l} is {x}, {r} is {y}", relation.symbol());
            let diagnostic = Diagnostic::error(&codes::FACT_VIOLATED, message)
                .label(left.span, format!("{x}"))
                .label(right.span, format!("{y}"));
            return Err(self.report(diagnostic));
        }
        let above = |e: DimExpr| DimExpr::Add(Box::new(e), Box::new(DimExpr::Dim(Dim::constant(1))));
        let fact = match relation {
            Relation::Less => Fact::Le(above(a.expr), b.expr),
            Relation::LessEqual => Fact::Le(a.expr, b.expr),
            Relation::Greater => Fact::Le(above(b.expr), a.expr),
            Relation::GreaterEqual => Fact::Le(b.expr, a.expr),
            Relation::Equal => {
                self.equate(&a.sum, &b);
                self.equate(&b.sum, &a);
                Fact::Eq(a.expr, b.expr)
            }
            Relation::NotEqual => {
                let code: &'static Code = &codes::BAD_SIZE;
                let message = "`!=` between run-time sizes cannot be checked";
                return Err(self.fail(code, message, left.span.to(right.span), "use `<` or `>`"));
            }
        };
        let span = left.span.to(right.span);
        self.facts.push((fact.clone(), span));
        let assumed = self.emitter.assume(fact);
        self.ir(span, assumed)
    }

    /// `fact Q + R == C` names the sum as `dim C = Q + R` would.
    fn equate(&mut self, sum: &Option<SizeSum>, whole: &SizeValue) {
        if let (Some(sum), Some(axis)) = (sum, &whole.axis)
            && let [symbol] = axis.name().symbols()
            && axis.name().coefficient() == 1
            && sum.as_dim().is_none()
        {
            self.frame.sums.entry(symbol.clone()).or_insert_with(|| sum.clone());
        }
    }
}
