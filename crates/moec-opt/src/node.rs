//! The e-node: an operation of the op table with its operands, then its attributes, as children.
//! Attributes are leaves of their own, literal values without pointers or interned names, so that
//! no order depends on what the process did before.

use std::fmt;

use egg::{Id, Language};
use moec_ir::{Attr, Op};

/// An operation or an attribute value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ENode {
    /// An operation; its children are its operands and then its attributes in the order of its row.
    Op(Op, Vec<Id>),
    /// The value of an attribute.
    Leaf(Attr),
}

impl ENode {
    /// The operation, unless this is an attribute.
    pub(crate) fn op(&self) -> Option<Op> {
        match self {
            ENode::Op(op, _) => Some(*op),
            ENode::Leaf(_) => None,
        }
    }

    /// The classes of the operands.
    pub(crate) fn args(&self) -> &[Id] {
        match self {
            ENode::Op(op, children) => &children[..children.len() - op.row().attrs.len()],
            ENode::Leaf(_) => &[],
        }
    }

    /// The classes of the attributes, in the order of the op row.
    pub(crate) fn attrs(&self) -> &[Id] {
        match self {
            ENode::Op(op, children) => &children[children.len() - op.row().attrs.len()..],
            ENode::Leaf(_) => &[],
        }
    }
}

impl Language for ENode {
    type Discriminant = Option<Op>;

    fn discriminant(&self) -> Option<Op> {
        self.op()
    }

    fn matches(&self, other: &ENode) -> bool {
        match (self, other) {
            (ENode::Op(a, x), ENode::Op(b, y)) => a == b && x.len() == y.len(),
            (ENode::Leaf(a), ENode::Leaf(b)) => a == b,
            _ => false,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            ENode::Op(_, children) => children,
            ENode::Leaf(_) => &[],
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            ENode::Op(_, children) => children,
            ENode::Leaf(_) => &mut [],
        }
    }
}

impl fmt::Display for ENode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ENode::Op(op, _) => write!(f, "{op}"),
            ENode::Leaf(attr) => write!(f, "{attr}"),
        }
    }
}
