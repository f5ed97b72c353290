//! The text form of a plan, for people: buffers, then steps with their scalar programs. A scalar that
//! is used once stands where it is used. Every line is decided by the plan alone.

use std::fmt::{self, Write};
use std::ops::Range;

use moec_ir::{Dim, DimKind, Op};

use crate::{
    BufferId, Group, Groups, Index, Kernel, Lhs, Load, Pack, Panels, Phase, Place, Plan, Product, ReduceOp,
    RowIndex, RowKind, Scalar, ScalarId, Scalars, Seat, Store,
};

/// The plan as text.
pub fn print(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = Printer { plan, text: &mut text }.plan();
    text
}

/// The steps of a phase as text.
pub(crate) fn steps(plan: &Plan, phase: Phase) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = Printer { plan, text: &mut text }.steps(phase, 0..plan.steps(phase).len());
    text
}

struct Printer<'a> {
    plan: &'a Plan,
    text: &'a mut String,
}

impl<'a> Printer<'a> {
    fn plan(&mut self) -> fmt::Result {
        writeln!(self.text, "plan {}", self.plan.name)?;
        for decl in self.plan.dims.decls() {
            match &decl.kind {
                DimKind::Runtime => writeln!(self.text, "dim {}", decl.name)?,
                DimKind::Sized(value) => writeln!(self.text, "dim {} = {value}", decl.name)?,
                DimKind::Derived(expr) => writeln!(self.text, "dim {} := {expr}", decl.name)?,
            }
        }
        let Panels { columns, pairs } = self.plan.panels;
        let pairs = if pairs { ", bf16 in pairs" } else { "" };
        writeln!(self.text, "panels of {columns} columns{pairs}\n\nbuffers")?;
        for buffer in &self.plan.buffers {
            let place = match &buffer.place {
                Place::Input(n) => format!("input {n}"),
                Place::Output(n) => format!("output {n}"),
                Place::Weight(n) => format!("weight {n}"),
                Place::Mapped { weight, parts } => format!("weight {weight}, mapped in {parts} parts"),
                Place::Literal(_) => "literal".to_owned(),
                Place::Kept => "kept".to_owned(),
                Place::Scratch { phase, first, last } => format!("{} {first}..{last}", word(*phase)),
            };
            writeln!(self.text, "    {}: {}[{}] {place}", buffer.name, buffer.dtype, buffer.elements)?;
        }
        writeln!(self.text, "\n{}", word(Phase::Load))?;
        self.steps(Phase::Load, 0..self.plan.load.len())?;
        for (from, steps) in self.plan.programs() {
            write!(self.text, "\n{}", word(Phase::Run))?;
            match self.plan.selector() {
                Some(tokens) => writeln!(self.text, " from {tokens} = {from}")?,
                None => writeln!(self.text)?,
            }
            self.steps(Phase::Run, steps)?;
        }
        Ok(())
    }

    fn steps(&mut self, phase: Phase, range: Range<usize>) -> fmt::Result {
        for (at, step) in self.plan.steps(phase).iter().enumerate().skip(range.start).take(range.len()) {
            write!(self.text, "{at:4} {}", step.name)?;
            if step.together {
                write!(self.text, ", together with {}", at - 1)?;
            }
            write!(self.text, ": ")?;
            self.kernel(&step.kernel)?;
        }
        Ok(())
    }

    fn name(&self, buffer: BufferId) -> &'a str {
        &self.plan.buffer(buffer).name
    }

    fn kernel(&mut self, kernel: &Kernel) -> fmt::Result {
        match kernel {
            Kernel::Map(k) => {
                writeln!(self.text, "map over {}", shape(&k.shape))?;
                let axes = axes(k.shape.len(), None);
                self.body(&k.scalars, &axes, &[(&k.out, k.value)], &[])
            }
            Kernel::Reduce(k) => {
                let op = match k.op {
                    ReduceOp::Sum => "sum",
                    ReduceOp::Mean => "mean",
                    ReduceOp::Max => "max",
                    ReduceOp::Min => "min",
                    ReduceOp::Any => "any",
                    ReduceOp::All => "all",
                    ReduceOp::Argmax => "argmax",
                };
                writeln!(self.text, "{op} over {}, r < {}", shape(&k.shape), k.len)?;
                let axes = axes(k.shape.len(), Some("r"));
                self.body(&k.scalars, &axes, &[(&k.out, k.value)], &[])
            }
            Kernel::Row(k) => {
                let kind = match &k.kind {
                    RowKind::Softmax => "softmax".to_owned(),
                    RowKind::Cumsum { exclusive: false } => "cumsum".to_owned(),
                    RowKind::Cumsum { exclusive: true } => "cumsum exclusive".to_owned(),
                    RowKind::Argsort { descending: false } => "argsort".to_owned(),
                    RowKind::Argsort { descending: true } => "argsort descending".to_owned(),
                    RowKind::TopK { k, largest: true } => format!("top {k} largest"),
                    RowKind::TopK { k, largest: false } => format!("top {k} smallest"),
                };
                writeln!(self.text, "{kind} over {}, r < {}", shape(&k.shape), k.len)?;
                let axes = axes(k.shape.len(), Some("r"));
                let stores: Vec<_> = k.out.iter().map(|out| (out, k.value)).collect();
                let results: &[&str] = match &k.kind {
                    RowKind::Softmax => &["softmax of "],
                    RowKind::Cumsum { .. } => &["sum to "],
                    RowKind::Argsort { .. } => &["index of "],
                    RowKind::TopK { .. } => &["index of ", "value of "],
                };
                self.body(&k.scalars, &axes, &stores, results)
            }
            Kernel::ScatterAdd(k) => {
                let (outer, len, count) = (shape(&k.outer), &k.len, &k.count);
                writeln!(self.text, "scatter_add over {outer}, r < {len} and {count} updates r")?;
                let axes = axes(k.outer.len(), Some("r"));
                self.body(&k.scalars, &axes, &[(&k.out, k.base)], &[])?;
                let written = Written::new(&k.scalars, &axes, self, &[k.index, k.update]);
                let (index, update) = (written.of(k.index), written.of(k.update));
                writeln!(self.text, "       {}[.. {index} ..] += {update}", self.name(k.out.buffer))
            }
            Kernel::Seat(k) => self.seat(k),
            Kernel::Group(k) => self.group(k),
            Kernel::Pack(k) => self.pack(k),
            Kernel::Product(k) => self.product(k),
        }
    }

    fn seat(&mut self, k: &Seat) -> fmt::Result {
        let index = load(self, &k.index, &axes(2, None), &[]);
        let order = if k.slots_first { "slots first" } else { "by number" };
        let pairs = shape(&[k.tokens.clone(), k.slots.clone()]);
        let (experts, group) = (&k.experts, &k.group);
        writeln!(self.text, "seats of {experts} experts over {pairs}, {order} in each {group}, of {index}")?;
        let terms = k.out.strides.iter().zip(axes(2, None)).map(|(stride, axis)| (axis, stride));
        let at = address(&k.out.offset, terms.filter(|(_, stride)| !stride.is(0)));
        writeln!(self.text, "       {}[{at}]", self.name(k.out.buffer))
    }

    fn group(&mut self, k: &Group) -> fmt::Result {
        let out = &k.out;
        let parts = [out.offsets, out.touched, out.expert, out.token, out.pair, out.rows];
        let parts = parts.map(|b| self.name(b)).join(", ");
        let index = load(self, &k.index, &axes(2, None), &[]);
        let dropped = if out.drops { " and dropped pairs" } else { "" };
        let pairs = shape(&[k.tokens.clone(), k.slots.clone()]);
        writeln!(self.text, "group of {} experts{dropped} over {pairs}, of {index}", k.experts)?;
        writeln!(self.text, "       {parts}")
    }

    fn pack(&mut self, k: &Pack) -> fmt::Result {
        let parts = [("g", &k.groups), ("n", &k.n), ("k", &k.k)];
        let names =
            parts.iter().flat_map(|(letter, dims)| (0..dims.len()).map(move |i| format!("{letter}{i}")));
        let source = load(self, &k.source, &names.collect::<Vec<_>>(), &[]);
        let [groups, n, k_dims] = parts.map(|(_, dims)| shape(dims));
        let out = self.name(k.out.buffer);
        let n = if k.out.interleave == 1 { n } else { format!("{n} side by side") };
        let parts = k.parts.map(|parts| format!(", parts {}", self.name(parts))).unwrap_or_default();
        writeln!(self.text, "panels {out} of {source}, groups {groups}, n {n}, k {k_dims}{parts}")
    }

    fn product(&mut self, k: &Product) -> fmt::Result {
        let weights: Vec<&str> = k.weights.iter().map(|w| self.name(w.buffer)).collect();
        let (n, depth) = k.weights.first().map(|w| (w.n.clone(), w.k.clone())).unzip();
        let (n, depth) = (n.unwrap_or_else(|| 0.into()), depth.unwrap_or_else(|| 0.into()));
        let (rows, group) = match &k.groups {
            Groups::Batch { count, rows } if count.is(1) => (format!("{rows} rows"), "group"),
            Groups::Batch { count, rows } => (format!("{count} groups of {rows} rows"), "group"),
            Groups::Routed(routing) => {
                let by = self.name(routing.offsets);
                (format!("{} rows of {} experts by {by}", routing.total, routing.experts), "expert")
            }
        };
        let lhs = lhs(self, &k.lhs, group);
        let weights = weights.join(" and ");
        writeln!(self.text, "product of {rows}, {n} columns, {depth} deep: {lhs} by {weights}")?;
        if let Some(cold) = &k.cold {
            let mapped: Vec<&str> = cold.packs.iter().map(|pack| self.name(pack.source.buffer)).collect();
            let slots = self.name(cold.slots);
            writeln!(self.text, "       cold experts by {slots}: panels of {}", mapped.join(" and "))?;
        }
        let axes = ["row", "col", group, "token", "pair"].map(str::to_owned);
        self.body(&k.scalars, &axes, &[(&k.out, k.value)], &[])
    }

    /// Scalars that are used more than once, then the stores, each of the result called by `results`.
    fn body(
        &mut self,
        scalars: &Scalars,
        axes: &[String],
        stores: &[(&Store, ScalarId)],
        results: &[&str],
    ) -> fmt::Result {
        let roots: Vec<ScalarId> = stores.iter().map(|(_, value)| *value).collect();
        let written = Written::new(scalars, axes, self, &roots);
        for line in &written.lines {
            writeln!(self.text, "       {line}")?;
        }
        for (at, (out, value)) in stores.iter().enumerate() {
            let result = results.get(at).copied().unwrap_or_default();
            let terms = out.strides.iter().zip(axes).map(|(stride, axis)| (axis.clone(), stride));
            let at = address(&out.offset, terms.filter(|(_, stride)| !stride.is(0)));
            let (name, value) = (self.name(out.buffer), written.of(*value));
            writeln!(self.text, "       {name}[{at}] = {result}{value}")?;
        }
        Ok(())
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Run => "run",
    }
}

fn shape(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

fn axes(count: usize, last: Option<&str>) -> Vec<String> {
    (0..count).map(|i| format!("i{i}")).chain(last.map(str::to_owned)).collect()
}

fn address<'a>(offset: &[Dim], terms: impl Iterator<Item = (String, &'a Dim)>) -> String {
    let terms = terms.map(|(index, stride)| if stride.is(1) { index } else { format!("{stride}*{index}") });
    let all: Vec<String> = terms.chain(offset.iter().map(Dim::to_string)).collect();
    if all.is_empty() { "0".to_owned() } else { all.join(" + ") }
}

fn load(printer: &Printer<'_>, load: &Load, axes: &[String], scalars: &[String]) -> String {
    let terms = load.terms.iter().map(|(index, stride)| {
        let index = match index {
            Index::Axis(axis) => axes[*axis].clone(),
            Index::Value(id) => scalars[id.0 as usize].clone(),
        };
        (index, stride)
    });
    format!("{}[{}]", printer.name(load.buffer), address(&load.offset, terms))
}

fn lhs(printer: &Printer<'_>, lhs: &Lhs, group: &str) -> String {
    let row = match lhs.row {
        RowIndex::Row => "row",
        RowIndex::Token => "token",
    };
    let one = Dim::constant(1);
    let terms = [(group, &lhs.group_stride), (row, &lhs.row_stride), ("k", &one)];
    let terms = terms.into_iter().filter(|(_, stride)| !stride.is(0)).map(|(i, s)| (i.to_owned(), s));
    format!("{}[{}]", printer.name(lhs.buffer), address(&lhs.offset, terms))
}

/// A scalar program in text.
struct Written {
    lines: Vec<String>,
    scalars: Vec<String>,
}

impl Written {
    /// Only what `roots` need is written.
    fn new(scalars: &Scalars, axes: &[String], printer: &Printer<'_>, roots: &[ScalarId]) -> Written {
        let mut uses = vec![0; scalars.list.len()];
        roots.iter().for_each(|root| uses[root.0 as usize] += 1);
        for (at, scalar) in scalars.list.iter().enumerate().rev() {
            if uses[at] > 0 {
                scalar.operands().iter().for_each(|id| uses[id.0 as usize] += 1);
            }
        }
        let mut written = Written { lines: Vec::new(), scalars: Vec::new() };
        for (at, scalar) in scalars.list.iter().enumerate() {
            let text = written.scalar(scalar, axes, printer);
            let atom = matches!(scalar, Scalar::Const(..) | Scalar::Iota(_) | Scalar::Accumulator(_));
            if uses[at] > 1 && !atom {
                written.lines.push(format!("s{at} = {text}"));
                written.scalars.push(format!("s{at}"));
            } else {
                written.scalars.push(text);
            }
        }
        written
    }

    fn of(&self, id: ScalarId) -> &str {
        &self.scalars[id.0 as usize]
    }

    fn scalar(&self, scalar: &Scalar, axes: &[String], printer: &Printer<'_>) -> String {
        match scalar {
            Scalar::Load(at) => load(printer, at, axes, &self.scalars),
            Scalar::Iota(axis) => axes[*axis].clone(),
            Scalar::Size(dim) => dim.to_string(),
            Scalar::Const(dtype, number) => format!("{dtype}({number})"),
            Scalar::Apply(op, args) => {
                let args: Vec<&str> = args.iter().map(|id| self.of(*id)).collect();
                match (sign(*op), args.as_slice()) {
                    (Some(sign), [left, right]) => format!("({left} {sign} {right})"),
                    _ => format!("{op}({})", args.join(", ")),
                }
            }
            Scalar::Cast(to, arg) => format!("{to}({})", self.of(*arg)),
            Scalar::InRange(arg, size) => format!("in_range({}, {size})", self.of(*arg)),
            Scalar::Accumulator(at) => format!("acc{at}"),
        }
    }
}

fn sign(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Add => "+",
        Op::Sub => "-",
        Op::Mul => "*",
        Op::Div => "/",
        Op::Eq => "==",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        _ => return None,
    })
}
