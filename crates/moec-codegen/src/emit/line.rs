//! The epilogue of a product for a whole row of a panel, in wide vectors ([`widen`](crate::widen)).
//!
//! What depends on the column is emitted once more, into a function of its own whose parameters are what
//! the kernel computes or finds beforehand: the sums, elements that lie side by side along the columns, and
//! numbers that are one for the row. The kernel calls its wide form for each row of a full panel.

use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module};
use moec_ir::{DType, Dim};
use moec_plan::{Plan, Product, ScalarId};

use super::context::Cx;
use super::element::Datum;
use super::product::COLUMN;
use super::scalar::Program;
use crate::widen::{Operand, Run, widen};
use crate::{CodeModule, CodegenError, Lanes};

/// What a row of an epilogue is made of.
pub(super) struct Line {
    /// The scalars that are operands of the run.
    pub(super) leaves: Vec<ScalarId>,
    pub(super) run: Run,
}

/// Defines the wide form of a product's epilogue. None if the target has none, or if something in it has
/// none.
///
/// # Errors
/// `Function` if the name is taken or the result cannot be assembled.
pub(super) fn define<M: Module>(
    module: &mut CodeModule<M>,
    plan: &Plan,
    name: &str,
    product: &Product,
) -> Result<Option<(Line, FuncId)>, CodegenError> {
    if !module.target().widens() {
        return Ok(None);
    }
    let Some(line) = line(plan, product) else { return Ok(None) };
    let function = function(plan, product, &line)?;
    let refused = |error: iced_x86::IcedError| CodegenError::Function {
        function: name.to_owned(),
        reason: error.to_string(),
    };
    let Some(code) = widen(&function, &line.run).map_err(refused)? else { return Ok(None) };
    let signature = module.signature(&[I64], &[]);
    let id = module.declare(name, &signature, false)?;
    module.define_bytes(id, crate::tile::PANEL_ALIGNMENT as u64, &code.bytes, || code.listing())?;
    Ok(Some((line, id)))
}

/// The operands of a row, if its elements lie side by side wherever they differ by column.
fn line(plan: &Plan, product: &Product) -> Option<Line> {
    let beside = |dim: &Dim| plan.dims.value(dim) == Some(1);
    let out = plan.buffer(product.out.buffer).dtype;
    if out == DType::Bool || !product.out.strides.get(COLUMN).is_some_and(beside) {
        return None;
    }
    let leaves = Program::leaves(&product.scalars, product.value, COLUMN, beside)?;
    let operands = leaves.iter().map(|(id, each)| match each {
        true => Operand::Each(product.scalars.dtype(*id)),
        false => Operand::One,
    });
    let run = Run { operands: operands.collect(), out, len: plan.panels.columns as usize };
    let readable = !run.operands.contains(&Operand::Each(DType::Bool));
    readable.then(|| Line { leaves: leaves.iter().map(|(id, _)| *id).collect(), run })
}

/// Four elements of a row, from four elements or one number for each operand.
fn function(plan: &Plan, product: &Product, line: &Line) -> Result<Function, CodegenError> {
    let scalars = &product.scalars;
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(line.leaves.iter().zip(&line.run.operands).map(|(id, operand)| {
        AbiParam::new(match (operand, scalars.dtype(*id).is_float()) {
            (Operand::Each(_), true) => F32X4,
            (Operand::Each(_), false) => I32X4,
            (Operand::One, true) => F32,
            (Operand::One, false) => I32,
        })
    }));
    let ty = if line.run.out == DType::F32 { F32X4 } else { I32X4 };
    signature.returns.push(AbiParam::new(ty));
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut frontend);
    let mut cx = Cx::begin(&mut builder, plan, true);
    let data = line.leaves.iter().zip(&line.run.operands).enumerate().map(|(n, (id, operand))| {
        let lanes = if *operand == Operand::One { Lanes::Scalar } else { Lanes::X4 };
        (*id, Datum::number(lanes, cx.parameter(n)))
    });
    let data: Vec<_> = data.collect();
    let program = Program::of_line(&mut cx, scalars, product.value, COLUMN, &data);
    let datum = program.datum(&mut cx, product.value);
    let datum = cx.widened(datum, Lanes::X4);
    let value = cx.value(datum);
    let stored = cx.pattern(line.run.out, value, scalars.is_exact(product.value));
    cx.b.ins().return_(&[stored]);
    cx.finish("the epilogue of a row")?;
    Ok(function)
}
