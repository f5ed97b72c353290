//! Whole programs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use moec_ir::{DType, Module, Node, Op, Sizes, TensorType};

use crate::{InterpError, Tensor, Value, eval_node, value};

/// The outputs, in order, of `module` with `sizes` for its run-time dims. `inputs` holds inputs and
/// weights by name; names that the program does not declare are ignored. Only what the outputs need
/// is computed, and each value is dropped after its last use. To give a declared size another
/// value, use [`Module::instantiate`] first.
pub fn run(
    module: &Module,
    sizes: &Sizes,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<Vec<(String, Tensor)>, InterpError> {
    let sizes = module.dims.bind(sizes)?;
    let uses = Uses::of(module);
    let mut values: Vec<Option<Value<'_>>> = vec![None; module.nodes.len()];
    for (at, node) in module.nodes.iter().enumerate().filter(|(at, _)| uses.needed[*at]) {
        values[at] = Some(node_value(node, |arg| values[arg].as_ref(), inputs, &sizes)?);
        for &arg in &uses.dead_after[at] {
            values[arg] = None;
        }
    }
    let mut outputs = Vec::new();
    for output in &module.outputs {
        let tensor = values[output.value.index()].as_ref().and_then(Value::tensor);
        let tensor = tensor.ok_or_else(|| InterpError::Op {
            op: module.node(output.value).op.mnemonic(),
            message: format!("output {} is not a tensor", output.name),
        })?;
        outputs.push((output.name.to_string(), tensor.clone()));
    }
    Ok(outputs)
}

/// The value of every node of `module`, in order; as [`run`] otherwise.
pub fn run_all<'a>(
    module: &Module,
    sizes: &Sizes,
    inputs: &'a BTreeMap<String, Tensor>,
) -> Result<Vec<Value<'a>>, InterpError> {
    let sizes = module.dims.bind(sizes)?;
    let mut values: Vec<Value<'a>> = Vec::new();
    for node in &module.nodes {
        let value = node_value(node, |arg| values.get(arg), inputs, &sizes)?;
        values.push(value);
    }
    Ok(values)
}

/// Which nodes are needed, and after which node a value is not.
struct Uses {
    needed: Vec<bool>,
    dead_after: Vec<Vec<usize>>,
}

impl Uses {
    fn of(module: &Module) -> Uses {
        let count = module.nodes.len();
        let mut needed = vec![false; count];
        let mut kept = vec![false; count];
        for output in &module.outputs {
            needed[output.value.index()] = true;
            kept[output.value.index()] = true;
        }
        let mut dead_after = vec![Vec::new(); count];
        for at in (0..count).rev() {
            if !needed[at] {
                continue;
            }
            for arg in module.nodes[at].args.iter().map(|a| a.index()) {
                // The first use seen from the end is the last one.
                if !std::mem::replace(&mut needed[arg], true) && !kept[arg] {
                    dead_after[at].push(arg);
                }
            }
        }
        Uses { needed, dead_after }
    }
}

fn node_value<'a, 'v>(
    node: &Node,
    value_of: impl Fn(usize) -> Option<&'v Value<'a>>,
    inputs: &'a BTreeMap<String, Tensor>,
    sizes: &Sizes,
) -> Result<Value<'a>, InterpError>
where
    'a: 'v,
{
    if matches!(node.op, Op::Input | Op::Weight) {
        let ty = node.attrs.tensor_type("type");
        return given(node.attrs.str("name"), ty, inputs, sizes).map(|x| Value::Tensor(Cow::Borrowed(x)));
    }
    let args: Option<Vec<&Value<'a>>> = node.args.iter().map(|arg| value_of(arg.index())).collect();
    let args = args.ok_or_else(|| InterpError::Op {
        op: node.op.mnemonic(),
        message: "an operand is used before it is defined".into(),
    })?;
    eval_node(node.op, &args, &node.attrs, sizes)
}

/// The tensor `name`, checked against its declared type.
fn given<'a>(
    name: &str,
    ty: &TensorType,
    inputs: &'a BTreeMap<String, Tensor>,
    sizes: &Sizes,
) -> Result<&'a Tensor, InterpError> {
    let mut expected = ty.clone();
    for dim in &mut expected.shape {
        *dim = dim.substitute(sizes)?;
    }
    let missing = || InterpError::Missing { name: name.into(), expected: expected.to_string() };
    let tensor = inputs.get(name).ok_or_else(missing)?;
    let mismatch = |found: String| {
        Err(InterpError::Mismatch { name: name.into(), found, expected: expected.to_string() })
    };
    if tensor.ty() != expected {
        return mismatch(tensor.ty().to_string());
    }
    if tensor.data.len() != value::elements(&tensor.shape)? {
        return mismatch(format!("{} with {} elements", tensor.ty(), tensor.data.len()));
    }
    let valid = |x: &f64| match tensor.dtype {
        DType::I32 => f64::from(*x as i32) == *x,
        DType::U8 => f64::from(*x as u8) == *x,
        DType::Bool => *x == 0.0 || *x == 1.0,
        DType::F32 | DType::Bf16 | DType::F16 => true,
    };
    match tensor.data.iter().find(|x| !valid(x)) {
        Some(bad) => mismatch(format!("{} with the element {bad}", tensor.ty())),
        None => Ok(tensor),
    }
}
