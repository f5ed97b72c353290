//! Machine code that was assembled without Cranelift.

use iced_x86::code_asm::CodeAssembler;
use iced_x86::{IcedError, Instruction};

/// Position-independent machine code, and what it was made of.
pub(crate) struct Assembled {
    /// What runs.
    pub(crate) bytes: Vec<u8>,
    instructions: Vec<Instruction>,
}

impl Assembled {
    /// What the assembler was told.
    ///
    /// # Errors
    /// The assembler's, for an instruction that cannot be encoded.
    pub(crate) fn new(mut assembler: CodeAssembler) -> Result<Assembled, IcedError> {
        let bytes = assembler.assemble(0)?;
        Ok(Assembled { bytes, instructions: assembler.take_instructions() })
    }

    /// One instruction a line.
    pub(crate) fn listing(&self) -> String {
        self.instructions.iter().map(|instruction| format!("  {instruction}\n")).collect()
    }
}
