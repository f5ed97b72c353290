//! A module: dims, nodes in order, outputs.

use std::sync::Arc;

use crate::{Attr, Attrs, DimKind, DimTable, IrError, Op, Sizes, TensorType, Type};

/// The number of a node, which is also the number of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The position in [`Module::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The operands, each defined before.
    pub args: Vec<ValueId>,
    /// The attributes.
    pub attrs: Attrs,
    /// The type of the result.
    pub ty: Type,
}

impl Node {
    /// The tensor type of the result.
    ///
    /// # Panics
    /// If the result is a route or a plan, which the op row excludes wherever this is asked.
    pub fn tensor(&self) -> &TensorType {
        match &self.ty {
            Type::Tensor(ty) => ty,
            other => panic!("{} yields {other}, not a tensor", self.op),
        }
    }
}

/// A named result of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: Arc<str>,
    /// The value, a tensor.
    pub value: ValueId,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The name of the model.
    pub name: Arc<str>,
    /// The symbols and what is known about them.
    pub dims: DimTable,
    /// The operations, each after its operands.
    pub nodes: Vec<Node>,
    /// The results, in the order of the source.
    pub outputs: Vec<Output>,
}

impl Module {
    /// A module without nodes.
    pub fn new(name: &str) -> Module {
        Module { name: name.into(), dims: DimTable::default(), nodes: Vec::new(), outputs: Vec::new() }
    }

    /// The node that defines `value`.
    pub fn node(&self, value: ValueId) -> &Node {
        &self.nodes[value.index()]
    }

    /// The nodes with their numbers, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ValueId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (ValueId(i as u32), node))
    }

    /// The inputs in order: value, name, type.
    pub fn inputs(&self) -> impl Iterator<Item = (ValueId, &str, &TensorType)> {
        self.sources(Op::Input)
    }

    /// The weights in order: value, name, type.
    pub fn weights(&self) -> impl Iterator<Item = (ValueId, &str, &TensorType)> {
        self.sources(Op::Weight)
    }

    fn sources(&self, op: Op) -> impl Iterator<Item = (ValueId, &str, &TensorType)> {
        self.iter()
            .filter(move |(_, node)| node.op == op)
            .map(|(id, node)| (id, node.attrs.str("name"), node.attrs.tensor_type("type")))
    }

    /// The same program with the symbols of `sizes` replaced by their values. With `sizes` empty,
    /// every symbol whose value is declared is replaced; so is every derived symbol that follows.
    /// A value in `sizes` goes before a declared one.
    pub fn instantiate(&self, sizes: &Sizes) -> Result<Module, IrError> {
        let mut known = sizes.clone();
        let mut dims = DimTable::default();
        for decl in self.dims.decls() {
            if known.contains_key(&decl.name) {
                continue;
            }
            match &decl.kind {
                DimKind::Sized(value) => {
                    known.insert(decl.name.clone(), *value);
                }
                DimKind::Runtime => {
                    dims.declare(&decl.name, DimKind::Runtime)?;
                }
                DimKind::Derived(expr) => {
                    if expr.symbols().iter().all(|s| known.contains_key(s)) {
                        known.insert(decl.name.clone(), expr.eval(&known)?);
                    } else {
                        dims.declare(&decl.name, DimKind::Derived(expr.substitute(&known)?))?;
                    }
                }
            }
        }
        for fact in self.dims.facts() {
            let [a, b] = fact.sides();
            let open = [a.symbols(), b.symbols()].concat().iter().any(|s| !known.contains_key(s));
            if open {
                let sub = |e: &crate::DimExpr| e.substitute(&known);
                dims.assume(match fact {
                    crate::Fact::Le(a, b) => crate::Fact::Le(sub(a)?, sub(b)?),
                    crate::Fact::Eq(a, b) => crate::Fact::Eq(sub(a)?, sub(b)?),
                })?;
            } else if !fact.holds(&known)? {
                return Err(IrError::Dim(format!("the fact {fact} does not hold")));
            }
        }
        let mut builder = Builder::new(Module { dims, ..Module::new(&self.name) });
        for node in &self.nodes {
            let mut attrs = Vec::new();
            for (name, value) in node.attrs.iter() {
                attrs.push((name, value.map_dims(|dim| dim.substitute(&known))?));
            }
            builder.push(node.op, &node.args, Attrs::new(attrs))?;
        }
        let mut module = builder.finish();
        module.outputs = self.outputs.clone();
        Ok(module)
    }
}

/// Adds nodes to a module, inferring and checking types on the way.
#[derive(Debug)]
pub struct Builder {
    module: Module,
}

impl Builder {
    /// A builder that goes on with `module`.
    pub fn new(module: Module) -> Builder {
        Builder { module }
    }

    /// What has been built so far.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The dims, to declare more.
    pub fn dims_mut(&mut self) -> &mut DimTable {
        &mut self.module.dims
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &Type {
        &self.module.node(value).ty
    }

    /// The tensor type of a value; see [`Node::tensor`].
    pub fn tensor(&self, value: ValueId) -> &TensorType {
        self.module.node(value).tensor()
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op, args: &[ValueId], attrs: Attrs) -> Result<ValueId, IrError> {
        if let Some(bad) = args.iter().find(|a| a.index() >= self.module.nodes.len()) {
            return Err(IrError::Module(format!("{op} uses %{} before it is defined", bad.0)));
        }
        let types: Vec<&Type> = args.iter().map(|&a| &self.module.node(a).ty).collect();
        let ty = op.infer(&types, &attrs, &self.module.dims)?;
        self.module.nodes.push(Node { op, args: args.to_vec(), attrs, ty });
        Ok(ValueId(self.module.nodes.len() as u32 - 1))
    }

    /// Adds an operation with attributes given in any order.
    pub fn op<const N: usize>(
        &mut self,
        op: Op,
        args: &[ValueId],
        attrs: [(&'static str, Attr); N],
    ) -> Result<ValueId, IrError> {
        self.push(op, args, Attrs::new(attrs))
    }

    /// Names a result. The value must be a tensor and the name new.
    pub fn output(&mut self, name: &str, value: ValueId) -> Result<(), IrError> {
        if self.ty(value).tensor().is_none() {
            return Err(IrError::Module(format!("output {name} is {}, not a tensor", self.ty(value))));
        }
        if self.module.outputs.iter().any(|o| &*o.name == name) {
            return Err(IrError::Module(format!("output {name} is defined twice")));
        }
        self.module.outputs.push(Output { name: name.into(), value });
        Ok(())
    }

    /// The module.
    pub fn finish(self) -> Module {
        self.module
    }
}
