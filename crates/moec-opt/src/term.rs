//! How rules look at the e-graph and say what they want added: typed views and typed terms. A rule
//! is a pure function from a view to terms, so it cannot leave the e-graph in a bad state, and a
//! term that inference refuses is never added.

use egg::Id;
use moec_ir::{Attr, Attrs, DType, Dim, EinsumSpec, Number, Op, PlanType, TensorType, Type};

use crate::facts::{Fact, Graph, Known, attrs_of, known};
use crate::node::ENode;
use crate::sizing::Sizing;

/// An expression over classes of the e-graph, typed.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    /// The type of its value.
    pub(crate) ty: Type,
    /// What it is.
    pub(crate) kind: TermKind,
}

/// What a term is.
#[derive(Debug, Clone)]
pub(crate) enum TermKind {
    /// A class that exists.
    Class(Id),
    /// An operation, existing or new.
    Op(Op, Vec<Term>, Attrs),
}

impl Term {
    /// The shape; empty for a route or a plan.
    pub(crate) fn shape(&self) -> &[Dim] {
        self.ty.tensor().map_or(&[], |ty| &ty.shape)
    }

    /// The number of axes.
    pub(crate) fn rank(&self) -> usize {
        self.shape().len()
    }
}

/// The e-graph as rules see it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) graph: &'a Graph,
}

/// An e-node in a view.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    graph: &'a Graph,
    node: &'a ENode,
    /// The operation.
    pub(crate) op: Op,
}

impl<'a> Found<'a> {
    /// The operands.
    pub(crate) fn args(&self) -> &'a [Id] {
        self.node.args()
    }

    /// Operand `i`, which the op row has.
    pub(crate) fn arg(&self, i: usize) -> Id {
        self.node.args()[i]
    }

    /// The attributes.
    pub(crate) fn attrs(&self) -> Attrs {
        attrs_of(self.graph, self.op, self.node)
    }

    fn attr(&self, name: &str) -> Option<&'a Attr> {
        let at = self.op.row().attrs.iter().position(|(n, _)| *n == name)?;
        match &self.graph[*self.node.attrs().get(at)?].data {
            Fact::Attr(attr) => Some(attr),
            _ => None,
        }
    }

    /// The axis in an attribute.
    pub(crate) fn axis(&self) -> usize {
        match self.attr("axis") {
            Some(Attr::Int(axis)) => usize::try_from(*axis).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// The list of axes in an attribute, empty if there is none.
    pub(crate) fn axes(&self, name: &str) -> Vec<usize> {
        match self.attr(name) {
            Some(Attr::Ints(list)) => {
                list.iter().map(|&a| usize::try_from(a).unwrap_or(usize::MAX)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The shape in an attribute, empty if there is none.
    pub(crate) fn dims(&self, name: &str) -> &'a [Dim] {
        match self.attr(name) {
            Some(Attr::Dims(dims)) => dims,
            _ => &[],
        }
    }

    /// The size in an attribute.
    pub(crate) fn dim(&self, name: &str) -> Option<&'a Dim> {
        match self.attr(name) {
            Some(Attr::Dim(dim)) => Some(dim),
            _ => None,
        }
    }

    /// The specification of a contraction.
    pub(crate) fn spec(&self) -> Option<EinsumSpec> {
        match self.attr("spec") {
            Some(Attr::Str(text)) => EinsumSpec::parse(text).ok(),
            _ => None,
        }
    }
}

impl<'a> View<'a> {
    /// The spelling of sizes.
    pub(crate) fn sizing(self) -> &'a Sizing {
        &self.graph.analysis.sizing
    }

    /// The view of an operation node.
    pub(crate) fn found(self, node: &'a ENode) -> Option<Found<'a>> {
        node.op().map(|op| Found { graph: self.graph, node, op })
    }

    /// The nodes of a class with this operation.
    pub(crate) fn nodes(self, class: Id, op: Op) -> impl Iterator<Item = Found<'a>> {
        self.all(class).filter(move |found| found.op == op)
    }

    /// The operation nodes of a class.
    pub(crate) fn all(self, class: Id) -> impl Iterator<Item = Found<'a>> {
        self.graph[class].nodes.iter().filter_map(move |node| self.found(node))
    }

    /// The class of a node.
    pub(crate) fn class_of(self, found: Found<'a>) -> Option<Id> {
        self.graph.lookup(found.node.clone())
    }

    /// The operation nodes of which a class is an operand.
    pub(crate) fn users(self, class: Id, op: Op) -> impl Iterator<Item = Found<'a>> {
        let nodes = self.graph[class].parents().map(move |id| self.graph.id_to_node(id));
        nodes.filter_map(move |node| self.found(node)).filter(move |found| found.op == op)
    }

    /// What is known of a class.
    pub(crate) fn known(self, class: Id) -> Option<&'a Known> {
        known(self.graph, class)
    }

    /// The tensor type of a class.
    pub(crate) fn tensor(self, class: Id) -> Option<&'a TensorType> {
        self.known(class)?.ty.tensor()
    }

    /// The shape of a class; empty for a route or a plan.
    pub(crate) fn shape(self, class: Id) -> &'a [Dim] {
        self.tensor(class).map_or(&[], |ty| &ty.shape)
    }

    /// The number of axes of a class.
    pub(crate) fn rank(self, class: Id) -> usize {
        self.shape(class).len()
    }

    /// The plan type of a class.
    pub(crate) fn plan(self, class: Id) -> Option<&'a PlanType> {
        self.known(class)?.ty.plan()
    }

    /// The number that all elements of a class are.
    pub(crate) fn uniform(self, class: Id) -> Option<f64> {
        self.known(class)?.uniform.map(Number::get)
    }

    /// Whether all elements of a class are the number `value`; 0 and -0 differ.
    pub(crate) fn is(self, class: Id, value: f64) -> bool {
        self.uniform(class).is_some_and(|found| found.to_bits() == value.to_bits())
    }

    /// Whether a class follows from weights and constants.
    pub(crate) fn fixed(self, class: Id) -> bool {
        self.known(class).is_some_and(|known| known.fixed)
    }

    /// The elements of a class that is a constant list of integers.
    pub(crate) fn integers(self, class: Id) -> Option<Vec<i64>> {
        let list = self.nodes(class, Op::Literal).next()?;
        let one_axis = self.tensor(class).is_some_and(|ty| ty.dtype == DType::I32 && ty.rank() == 1);
        let attrs = list.attrs();
        one_axis.then(|| attrs.numbers("values").iter().map(|number| number.get() as i64).collect())
    }

    /// Whether all elements of a class are proved to lie between `low` and `high`, if not NaN.
    pub(crate) fn within(self, class: Id, low: f64, high: f64) -> bool {
        self.known(class).is_some_and(|known| low <= known.range.low && known.range.high <= high)
    }

    /// A class as a term.
    pub(crate) fn term(self, class: Id) -> Option<Term> {
        let ty = self.known(class)?.ty.clone();
        Some(Term { ty, kind: TermKind::Class(self.graph.find(class)) })
    }

    /// The class that a term is in, if it is in the e-graph.
    pub(crate) fn existing(self, term: &Term) -> Option<Id> {
        match &term.kind {
            TermKind::Class(id) => Some(self.graph.find(*id)),
            TermKind::Op(op, args, attrs) => {
                let args: Vec<Id> = args.iter().map(|arg| self.existing(arg)).collect::<Option<_>>()?;
                let (args, attrs) = ordered(*op, args, attrs);
                let attrs = attrs.into_iter().map(|attr| self.graph.lookup(ENode::Leaf(attr)));
                let children: Option<Vec<Id>> = args.into_iter().map(Some).chain(attrs).collect();
                self.graph.lookup(ENode::Op(*op, children?))
            }
        }
    }

    /// An operation as a term, if it is well-typed.
    pub(crate) fn op(self, op: Op, args: Vec<Term>, attrs: Attrs) -> Option<Term> {
        let sizing = self.sizing();
        let attrs = sizing.attrs(&attrs);
        let types: Vec<&Type> = args.iter().map(|term| &term.ty).collect();
        let ty = sizing.ty(&op.infer(&types, &attrs, sizing.table()).ok()?);
        Some(Term { ty, kind: TermKind::Op(op, args, attrs) })
    }

    /// The operation of `found` and its attributes, on other operands.
    pub(crate) fn again(self, found: Found<'a>, args: Vec<Term>) -> Option<Term> {
        self.op(found.op, args, found.attrs())
    }

    /// The operation of `found` along another axis, on another operand.
    pub(crate) fn along(self, found: Found<'a>, args: Vec<Term>, axis: usize) -> Option<Term> {
        let attrs = found.attrs();
        let moved = attrs.iter().map(|(name, value)| match name {
            "axis" => (name, Attr::from(axis)),
            _ => (name, value.clone()),
        });
        self.op(found.op, args, Attrs::new(moved))
    }

    /// A tensor of one number.
    pub(crate) fn constant(self, dtype: DType, shape: &[Dim], value: f64) -> Option<Term> {
        let ty = TensorType::new(dtype, shape);
        self.op(Op::Const, Vec::new(), Attrs::new([("type", ty.into()), ("value", value.into())]))
    }

    /// The numbers from 0 up to `size`.
    pub(crate) fn count(self, size: &Dim) -> Option<Term> {
        let ty = TensorType::new(DType::I32, [size.clone()]);
        self.op(Op::Iota, Vec::new(), Attrs::new([("axis", 0usize.into()), ("type", ty.into())]))
    }

    /// `x` transposed; nothing if `perm` keeps every axis.
    pub(crate) fn transpose(self, x: Term, perm: &[usize]) -> Option<Term> {
        if perm.iter().copied().eq(0..x.rank()) {
            return Some(x);
        }
        if let TermKind::Op(Op::Transpose, args, attrs) = &x.kind {
            let inner = attrs.ints("perm");
            let composed: Option<Vec<usize>> =
                perm.iter().map(|&p| usize::try_from(*inner.get(p)?).ok()).collect();
            return self.transpose(args.first()?.clone(), &composed?);
        }
        self.op(Op::Transpose, vec![x], Attrs::new([("perm", perm.to_vec().into())]))
    }

    /// `x` broadcast; a transpose or nothing if no axis is new.
    pub(crate) fn broadcast(self, x: Term, map: &[usize], shape: &[Dim]) -> Option<Term> {
        if map.len() == shape.len() {
            let perm: Option<Vec<usize>> =
                (0..map.len()).map(|axis| map.iter().position(|&m| m == axis)).collect();
            return self.transpose(x, &perm?);
        }
        let attrs = Attrs::new([("map", map.to_vec().into()), ("shape", shape.into())]);
        self.op(Op::Broadcast, vec![x], attrs)
    }

    /// `x` reshaped; nothing if it has this shape.
    pub(crate) fn reshape(self, x: Term, shape: &[Dim]) -> Option<Term> {
        if x.shape() == self.sizing().shape(shape) {
            return Some(x);
        }
        self.op(Op::Reshape, vec![x], Attrs::new([("shape", shape.into())]))
    }

    /// A contraction, with letters renamed as the IR wants them.
    pub(crate) fn einsum(self, spec: &EinsumSpec, lhs: Term, rhs: Term) -> Option<Term> {
        let attrs = Attrs::new([("spec", spec.canonical().to_string().into())]);
        self.op(Op::Einsum, vec![lhs, rhs], attrs)
    }

    /// Every way in which `class` is `broadcast(source, map)`: as itself, by a broadcast, by a
    /// transpose.
    pub(crate) fn expansions(self, class: Id) -> Vec<(Id, Vec<usize>)> {
        let mut found = vec![(class, (0..self.rank(class)).collect())];
        for node in self.nodes(class, Op::Broadcast) {
            found.push((node.arg(0), node.axes("map")));
        }
        for node in self.nodes(class, Op::Transpose) {
            found.push((node.arg(0), inverse(&node.axes("perm"))));
        }
        found
    }
}

/// The permutation that undoes `perm`.
pub(crate) fn inverse(perm: &[usize]) -> Vec<usize> {
    (0..perm.len()).map(|axis| perm.iter().position(|&p| p == axis).unwrap_or(usize::MAX)).collect()
}

/// The permutation of `rank` axes that puts `first` first and keeps the order of the others.
pub(crate) fn leading(first: &[usize], rank: usize) -> Vec<usize> {
    let others = (0..rank).filter(|axis| !first.contains(axis));
    first.iter().copied().chain(others).collect()
}

/// Whether the order of the operands does not matter.
pub(crate) fn commutative(op: Op) -> bool {
    matches!(
        op,
        Op::Add | Op::Mul | Op::Minimum | Op::Maximum | Op::Eq | Op::Ne | Op::And | Op::Or | Op::Einsum
    )
}

/// Whether the operation works element by element on operands of one shape.
pub(crate) fn element_wise(op: Op) -> bool {
    (Op::Neg..=Op::Cast).contains(&op)
}

/// Adds a term to the e-graph.
pub(crate) fn add(graph: &mut Graph, term: &Term) -> Id {
    match &term.kind {
        TermKind::Class(id) => graph.find(*id),
        TermKind::Op(op, args, attrs) => {
            let args: Vec<Id> = args.iter().map(|arg| add(graph, arg)).collect();
            add_op(graph, *op, args, attrs)
        }
    }
}

/// Adds an operation, with operands in the one order where the order does not matter.
pub(crate) fn add_op(graph: &mut Graph, op: Op, mut args: Vec<Id>, attrs: &Attrs) -> Id {
    for arg in &mut args {
        *arg = graph.find(*arg);
    }
    let (mut children, attrs) = ordered(op, args, attrs);
    for attr in attrs {
        children.push(graph.add(ENode::Leaf(attr)));
    }
    graph.add(ENode::Op(op, children))
}

/// Operands, and the values of attributes, in the one order where the order does not matter.
fn ordered(op: Op, mut args: Vec<Id>, attrs: &Attrs) -> (Vec<Id>, Vec<Attr>) {
    let swap = commutative(op) && args[1] < args[0];
    if swap {
        args.swap(0, 1);
    }
    let attrs = attrs.iter().map(|(_, value)| match value {
        Attr::Str(text) if swap => match EinsumSpec::parse(text) {
            Ok(spec) => spec.swapped().to_string().into(),
            Err(_) => value.clone(),
        },
        _ => value.clone(),
    });
    (args, attrs.collect())
}
