//! The function under construction: sizes, buffers, memory accesses.
//!
//! Every emitted function starts with an entry block to which sizes and base pointers are added
//! when they are first asked for, each once: the entry dominates everything, so they can be used
//! anywhere. Other loop-invariant arithmetic is written where it is needed: Cranelift moves what is
//! pure out of loops. Loads it leaves where they are, see [`Program`](super::scalar::Program).

use std::collections::BTreeMap;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    Block, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Type, Value,
};
use cranelift_frontend::FunctionBuilder;
use moec_ir::{DType, Dim};
use moec_plan::{BufferId, Plan, abi};

use crate::{CodegenError, LaneEmitter, Lanes};

/// A function under construction for a plan. Its first parameter is the frame.
pub(super) struct Cx<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) plan: &'a Plan,
    fma: bool,
    entry: Block,
    sizes: BTreeMap<Dim, Value>,
    bases: BTreeMap<BufferId, Value>,
    broken: Option<String>,
}

impl<'a, 'f> Cx<'a, 'f> {
    /// Opens the function. `fma` is [`Target::fma`](crate::Target::fma).
    pub(super) fn begin(b: &'a mut FunctionBuilder<'f>, plan: &'a Plan, fma: bool) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let body = b.create_block();
        b.ins().jump(body, &[]);
        b.switch_to_block(body);
        Cx { b, plan, fma, entry, sizes: BTreeMap::new(), bases: BTreeMap::new(), broken: None }
    }

    /// Closes the function `name`, whose last block has returned.
    ///
    /// # Errors
    /// `Function` with the first thing that [`refuse`](Self::refuse) was told.
    pub(super) fn finish(self, name: &str) -> Result<(), CodegenError> {
        match self.broken {
            Some(reason) => Err(CodegenError::Function { function: name.to_owned(), reason }),
            None => {
                self.b.seal_all_blocks();
                Ok(())
            }
        }
    }

    /// Notes that the plan breaks a guarantee. Emission goes on with nonsense that is never compiled.
    pub(super) fn refuse(&mut self, reason: impl Into<String>) {
        self.broken.get_or_insert_with(|| reason.into());
    }

    /// Parameter number `n` of the function.
    pub(super) fn parameter(&self, n: usize) -> Value {
        self.b.block_params(self.entry)[n]
    }

    /// Emits elements of that width.
    pub(super) fn lanes(&mut self, lanes: Lanes) -> LaneEmitter<'_, 'f> {
        LaneEmitter::new(self.b, lanes, self.fma)
    }

    /// The value of a size, if it is known now.
    pub(super) fn known(&self, dim: &Dim) -> Option<u64> {
        self.plan.dims.value(dim)
    }

    /// The value of a size.
    pub(super) fn size(&mut self, dim: &Dim) -> Value {
        let dim = self.plan.dims.resolve(dim).unwrap_or_else(|error| {
            self.refuse(error.to_string());
            Dim::constant(0)
        });
        if let Some(n) = dim.as_const() {
            return self.int(n as i64);
        }
        if let Some(&value) = self.sizes.get(&dim) {
            return value;
        }
        let symbols: Vec<Value> = dim.symbols().iter().map(|symbol| self.symbol(symbol)).collect();
        let mut cursor = entry_cursor(self.b, self.entry);
        let mut value = cursor.ins().iconst(I64, dim.coefficient() as i64);
        for symbol in symbols {
            value = cursor.ins().imul(value, symbol);
        }
        self.sizes.insert(dim, value);
        value
    }

    fn symbol(&mut self, name: &str) -> Value {
        let dim = Dim::symbol(name);
        if let Some(&value) = self.sizes.get(&dim) {
            return value;
        }
        let Some(at) = self.plan.dims.decls().iter().position(|decl| *decl.name == *name) else {
            self.refuse(format!("the dim {name} is not declared"));
            return self.int(0);
        };
        let frame = self.parameter(0);
        let mut cursor = entry_cursor(self.b, self.entry);
        let dims = cursor.ins().load(I64, fixed(), frame, abi::offset::DIMS);
        let value = cursor.ins().load(I64, fixed(), dims, at as i32 * 8);
        self.sizes.insert(dim, value);
        value
    }

    /// The product of sizes.
    pub(super) fn product<'d>(&mut self, dims: impl IntoIterator<Item = &'d Dim>) -> Value {
        let dim = Dim::product(dims).unwrap_or_else(|error| {
            self.refuse(error.to_string());
            Dim::constant(0)
        });
        self.size(&dim)
    }

    /// The number of bytes of that many elements.
    pub(super) fn bytes(&mut self, dim: &Dim, dtype: DType) -> Value {
        self.product([dim, &Dim::constant(dtype.bytes() as u64)])
    }

    /// The first byte of a buffer.
    pub(super) fn base(&mut self, buffer: BufferId) -> Value {
        if let Some(&value) = self.bases.get(&buffer) {
            return value;
        }
        let frame = self.parameter(0);
        let mut cursor = entry_cursor(self.b, self.entry);
        let buffers = cursor.ins().load(I64, fixed(), frame, abi::offset::BUFFERS);
        let value = cursor.ins().load(I64, fixed(), buffers, buffer.0 as i32 * 8);
        self.bases.insert(buffer, value);
        value
    }

    /// The element type of a buffer.
    pub(super) fn dtype(&self, buffer: BufferId) -> DType {
        self.plan.buffer(buffer).dtype
    }

    /// The address of element `sum of offset` of a buffer.
    pub(super) fn start(&mut self, buffer: BufferId, offset: &[Dim]) -> Value {
        let dtype = self.dtype(buffer);
        let mut address = self.base(buffer);
        for summand in offset {
            let bytes = self.bytes(summand, dtype);
            address = self.b.ins().iadd(address, bytes);
        }
        address
    }

    /// `address + index * stride` for an `i64` index and a stride in elements.
    pub(super) fn stepped(&mut self, address: Value, index: Value, stride: &Dim, dtype: DType) -> Value {
        let bytes = self.bytes(stride, dtype);
        let far = self.b.ins().imul(index, bytes);
        self.b.ins().iadd(address, far)
    }

    /// The address of element `index` of `size` bytes each.
    pub(super) fn element(&mut self, address: Value, index: Value, size: i64) -> Value {
        let far = self.b.ins().imul_imm_u(index, size);
        self.b.ins().iadd(address, far)
    }

    /// Loads element `index` of an array of `i32` that are never negative, as `i64`.
    pub(super) fn load_index(&mut self, array: Value, index: Value) -> Value {
        let address = self.element(array, index, 4);
        self.b.ins().uload32(memory(), address, 0)
    }

    /// Stores an `i64` that fits as element `index` of an array of `i32`.
    pub(super) fn store_index(&mut self, value: Value, array: Value, index: Value) {
        let address = self.element(array, index, 4);
        self.b.ins().istore32(memory(), value, address, 0);
    }

    /// Loads an `i64` or another whole value.
    pub(super) fn load(&mut self, ty: Type, address: Value, offset: i32) -> Value {
        self.b.ins().load(ty, memory(), address, offset)
    }

    /// Stores a value.
    pub(super) fn store(&mut self, value: Value, address: Value, offset: i32) {
        self.b.ins().store(memory(), value, address, offset);
    }

    /// A field of the frame.
    pub(super) fn frame_field(&mut self, offset: i32) -> Value {
        let frame = self.parameter(0);
        self.b.ins().load(I64, fixed(), frame, offset)
    }

    /// The first byte of the scratch of worker number `worker`.
    pub(super) fn scratch(&mut self, worker: Value) -> Value {
        let scratch = self.frame_field(abi::offset::SCRATCH);
        let stride = self.frame_field(abi::offset::SCRATCH_STRIDE);
        let far = self.b.ins().imul(worker, stride);
        self.b.ins().iadd(scratch, far)
    }

    /// Sets the fault word.
    pub(super) fn fault(&mut self) {
        let word = self.frame_field(abi::offset::FAULT);
        let one = self.int(1);
        self.store(one, word, 0);
    }

    /// Memory of this call, aligned to 16 bytes.
    pub(super) fn slot(&mut self, bytes: usize) -> (StackSlot, Value) {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 4);
        let slot = self.b.create_sized_stack_slot(data);
        (slot, self.b.ins().stack_addr(I64, slot, 0))
    }

    /// The constant `n`.
    pub(super) fn int(&mut self, n: i64) -> Value {
        self.b.ins().iconst(I64, n)
    }

    /// `a + b` of `i64`.
    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }

    /// `a + n` of `i64`.
    pub(super) fn plus(&mut self, a: Value, n: i64) -> Value {
        self.b.ins().iadd_imm_s(a, n)
    }

    /// The smaller of two unsigned `i64`.
    pub(super) fn smaller(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().umin(a, b)
    }

    /// Whether `a < b`, unsigned.
    pub(super) fn below(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().icmp(IntCC::UnsignedLessThan, a, b)
    }

    /// `a / n` rounded up.
    pub(super) fn parts(&mut self, a: Value, n: u64) -> Value {
        let up = self.plus(a, n as i64 - 1);
        self.b.ins().udiv_imm_u(up, n as i64)
    }

    /// `ceil(a / n)` for `n >= 1`.
    pub(super) fn parts_of(&mut self, a: Value, n: Value) -> Value {
        let up = self.add(a, n);
        let up = self.plus(up, -1);
        self.b.ins().udiv(up, n)
    }
}

/// Insertion before the jump that ends the entry block.
fn entry_cursor<'c>(b: &'c mut FunctionBuilder<'_>, entry: Block) -> FuncCursor<'c> {
    FuncCursor::new(b.func).at_last_inst(entry)
}

/// Memory that may be written during the call. Alignment is the element's only.
pub(super) fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// The frame and what it points to: constant during the call.
fn fixed() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly()
}
