//! Tiles of AMX: products of bf16 pairs in registers of two dimensions.
//!
//! A tile register holds up to 16 rows of 64 bytes. One instruction multiplies 16 rows of 16 pairs with 16 pairs
//! of 16 columns in 16 cycles. A tile here, with `m` rows of up to 32 and a panel of 32 columns, takes 32 `k` a step:
//!
//! ```text
//!                           b: tmm6      b: tmm7        16 pairs of k, 16 columns each, from the panel
//! a: tmm4, rows ..16        sum: tmm0    sum: tmm1
//! a: tmm5, rows 16..m       sum: tmm2    sum: tmm3
//! ```
//!
//! The panel is what tiles of AVX512-BF16 read too: 16 of its pairs of rows are a register, 128 bytes apart. Rows
//! of the left operand lie anywhere, those of a register at one distance. Where the rows happen to, they are read
//! in place. Else 64 `k` of each row at a time, a **round**, are copied to the stack, one round before they are
//! multiplied: registers do not take what was stored a moment ago.
//!
//! **The end.** With fewer than 64 `k` left, rows and panel are filled up with zeros on the stack, so that nothing is
//! read that does not belong to them.
//!
//! **Order.** A sum takes 32 `k` at a time: of these, the even ones and the odd ones are added up by themselves,
//! each product with one rounding, then the two, then what they make to the sum. Subnormal numbers count as zero.
//! That is the instruction's definition and the same for every number of rows.
//!
//! **Calls.** As for the wide tiles; the stack is used, up to [`FRAME`] bytes of it. The registers are set up
//! and released in each call: it is 1 % of the time of a tile of 2048 `k`, and a thread that leaves has nothing to save.

use std::mem::offset_of;

use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, AsmRegisterTmm, CodeAssembler, CodeLabel, byte_ptr, ptr, qword_ptr,
    registers::*, zmmword_ptr,
};

use super::{TileArgs, TileSpec};
use crate::assembled::Assembled;

/// Rows of the tallest tile.
pub(super) const TALLEST: usize = 32;

/// Rows of a register.
const ROWS: usize = 16;
/// Bytes of a row of a register: 32 elements, or 16 sums.
const ROW: usize = 64;
/// Bytes of the panel between two pairs of `k`.
const PAIR: usize = 128;
/// Pairs of `k` that a step takes, and steps of a round.
const PAIRS: usize = 16;
const STEPS: usize = 2;
/// Bytes of a row that a round takes.
const ROUND: usize = STEPS * ROW;

/// The most bytes of stack: rows of two rounds, and the panel's of one.
const FRAME: usize = 2 * TALLEST * ROUND + STEPS * PAIRS * PAIR;
/// Bytes of the page that guards a stack, at least.
const GUARD: usize = 4096;

const ARGS: AsmRegister64 = rdi;
/// The array of row pointers.
const POINTERS: AsmRegister64 = rsi;
const PANEL: AsmRegister64 = rdx;
/// Bytes from where rows begin.
const AT: AsmRegister64 = rcx;
const ANY: AsmRegister64 = rax;
/// Where the rows of this round and of the next lie on the stack.
const THIS: AsmRegister64 = r8;
const NEXT: AsmRegister64 = r9;
/// The distances of rows and of pairs.
const ROW_STEP: AsmRegister64 = r10;
const PAIR_STEP: AsmRegister64 = r11;
const LEFT: AsmRegister64 = rbx;
const AHEAD: AsmRegister64 = r12;
const AHEAD_STEP: AsmRegister64 = r13;
const SAVED: [AsmRegister64; 4] = [rbp, LEFT, AHEAD, AHEAD_STEP];

const SUMS: [AsmRegisterTmm; 4] = [tmm0, tmm1, tmm2, tmm3];
const LHS: [AsmRegisterTmm; 2] = [tmm4, tmm5];
const RHS: [AsmRegisterTmm; 2] = [tmm6, tmm7];

/// Assembles the tile.
///
/// # Errors
/// The assembler's.
pub(super) fn assemble(tile: &TileSpec) -> Result<Assembled, IcedError> {
    let mut assembler = TileAssembler { asm: CodeAssembler::new(64)?, rows: tile.rows };
    assembler.body()?;
    Assembled::new(assembler.asm)
}

struct TileAssembler {
    asm: CodeAssembler,
    rows: usize,
}

impl TileAssembler {
    fn body(&mut self) -> Result<(), IcedError> {
        for register in SAVED {
            self.asm.push(register)?;
        }
        self.asm.mov(rbp, rsp)?;
        // A stack may end in a page that guards it, which must be met before what lies below it.
        for page in 1..=FRAME / GUARD {
            self.asm.test(qword_ptr(rsp - page * GUARD), rsp)?;
        }
        self.asm.sub(rsp, FRAME as i32)?;
        self.asm.and(rsp, -(ROW as i32))?;
        self.set_up()?;
        for (register, offset) in [
            (POINTERS, offset_of!(TileArgs, rows)),
            (PANEL, offset_of!(TileArgs, panel)),
            (LEFT, offset_of!(TileArgs, depth)),
            (AHEAD, offset_of!(TileArgs, ahead)),
            (AHEAD_STEP, offset_of!(TileArgs, ahead_step)),
        ] {
            self.asm.mov(register, qword_ptr(ARGS + offset))?;
        }
        self.asm.xor(ecx, ecx)?;
        self.asm.mov(PAIR_STEP, PAIR as u64)?;
        let [mut scattered, mut end, mut done]: [CodeLabel; 3] =
            std::array::from_fn(|_| self.asm.create_label());
        self.asm.shr(LEFT, (STEPS * PAIRS * 2).ilog2())?;
        self.asm.jz(end)?;
        self.find_distance(scattered)?;
        self.rounds_in_place()?;
        if self.rows > 2 {
            self.asm.jmp(end)?;
            self.asm.set_label(&mut scattered)?;
            self.rounds_of_copies()?;
        }
        self.asm.set_label(&mut end)?;
        self.asm.mov(LEFT, qword_ptr(ARGS + offset_of!(TileArgs, depth)))?;
        self.asm.and(LEFT, (STEPS * PAIRS * 2 - 1) as i32)?;
        self.asm.jz(done)?;
        self.last_round()?;
        self.asm.set_label(&mut done)?;
        self.store_sums()?;
        self.asm.tilerelease()?;
        self.asm.vzeroupper()?;
        self.asm.mov(rsp, rbp)?;
        for register in SAVED.into_iter().rev() {
            self.asm.pop(register)?;
        }
        self.asm.ret()
    }

    /// The shapes of the registers, and zeros in the sums.
    fn set_up(&mut self) -> Result<(), IcedError> {
        let mut shapes = [0u8; 64];
        shapes[0] = 1;
        let [upper, lower] = [0, 1].map(|half| self.rows_of(half));
        let heights = [upper, upper, lower, lower, upper, lower, PAIRS, PAIRS];
        for (register, rows) in heights.into_iter().enumerate() {
            shapes[16 + 2 * register] = if rows > 0 { ROW as u8 } else { 0 };
            shapes[48 + register] = rows as u8;
        }
        for (at, word) in shapes.as_chunks::<8>().0.iter().enumerate() {
            self.asm.mov(ANY, u64::from_le_bytes(*word))?;
            self.asm.mov(qword_ptr(rsp + 8 * at), ANY)?;
        }
        // Zeros in all registers.
        self.asm.ldtilecfg(zmmword_ptr(rsp))
    }

    /// Puts the distance of the rows into `ROW_STEP`; goes to `scattered` if they have none.
    fn find_distance(&mut self, scattered: CodeLabel) -> Result<(), IcedError> {
        if self.rows == 1 {
            return self.asm.mov(ROW_STEP, ROW as u64);
        }
        self.asm.mov(ROW_STEP, qword_ptr(POINTERS + 8))?;
        self.asm.sub(ROW_STEP, qword_ptr(POINTERS))?;
        for row in 2..self.rows {
            self.asm.mov(ANY, qword_ptr(POINTERS + 8 * row))?;
            self.asm.sub(ANY, qword_ptr(POINTERS + 8 * (row - 1)))?;
            self.asm.cmp(ANY, ROW_STEP)?;
            self.asm.jne(scattered)?;
        }
        Ok(())
    }

    /// `LEFT` rounds, at least one, of rows that lie `ROW_STEP` bytes apart.
    fn rounds_in_place(&mut self) -> Result<(), IcedError> {
        let mut again = self.asm.create_label();
        self.asm.mov(THIS, qword_ptr(POINTERS))?;
        self.asm.mov(NEXT, ROW_STEP)?;
        self.asm.shl(NEXT, ROWS.ilog2())?;
        self.asm.add(NEXT, THIS)?;
        self.asm.set_label(&mut again)?;
        self.round(|step, half| ptr([THIS, NEXT][half] + ROW_STEP * 1 + ROW * step))?;
        for register in [THIS, NEXT, AT] {
            self.asm.add(register, ROUND as i32)?;
        }
        self.asm.dec(LEFT)?;
        self.asm.jnz(again)
    }

    /// `LEFT` rounds, at least one, of rows that lie anywhere.
    fn rounds_of_copies(&mut self) -> Result<(), IcedError> {
        let [mut again, mut check]: [CodeLabel; 2] = std::array::from_fn(|_| self.asm.create_label());
        let copies = self.copies();
        self.asm.mov(ROW_STEP, ROW as u64)?;
        self.asm.mov(THIS, rsp)?;
        self.asm.lea(NEXT, ptr(rsp + self.round_bytes()))?;
        self.copy_rows(THIS, false)?;
        self.asm.jmp(check)?;
        self.asm.set_label(&mut again)?;
        self.copy_rows(NEXT, false)?;
        self.round(&copies)?;
        self.asm.xchg(THIS, NEXT)?;
        self.asm.set_label(&mut check)?;
        self.asm.dec(LEFT)?;
        self.asm.jnz(again)?;
        self.round(copies)
    }

    /// Copies what a round takes of each row; with `masked`, as much as `k1` and `k2` say, and zeros.
    fn copy_rows(&mut self, to: AsmRegister64, masked: bool) -> Result<(), IcedError> {
        for row in 0..self.rows {
            self.asm.mov(ANY, qword_ptr(POINTERS + 8 * row))?;
            for (step, (vector, part)) in
                [(zmm0, zmm0.k1().z()), (zmm1, zmm1.k2().z())].into_iter().enumerate()
            {
                let from = zmmword_ptr(ANY + AT + ROW * step);
                if masked {
                    self.asm.vmovdqu16(part, from)?;
                } else {
                    self.asm.vmovdqu64(vector, from)?;
                }
                let place = zmmword_ptr(to + ROW * (step * self.rows + row));
                self.asm.vmovdqa64(place, vector)?;
            }
        }
        self.asm.add(AT, ROUND as i32)
    }

    /// Where the copies lie that a step takes of the first or second half of the rows.
    fn copies(&self) -> impl Fn(usize, usize) -> AsmMemoryOperand + use<> {
        let rows = self.rows;
        move |step, half| ptr(THIS + ROW_STEP * 1 + ROW * (step * rows + half * ROWS))
    }

    /// The products of a round, with the panel at `PANEL`, which moves on, and half of the rows of a step at
    /// `lhs(step, half)`.
    fn round(&mut self, lhs: impl Fn(usize, usize) -> AsmMemoryOperand) -> Result<(), IcedError> {
        for step in 0..STEPS {
            let mut fetched = self.asm.create_label();
            self.asm.test(AHEAD_STEP, AHEAD_STEP)?;
            self.asm.jz(fetched)?;
            for _ in 0..PAIRS {
                self.asm.prefetcht1(byte_ptr(AHEAD))?;
                self.asm.prefetcht1(byte_ptr(AHEAD + ROW))?;
                self.asm.add(AHEAD, AHEAD_STEP)?;
            }
            self.asm.set_label(&mut fetched)?;
            for (half, rows) in LHS.into_iter().enumerate().take(self.halves()) {
                self.asm.tileloadd(rows, lhs(step, half))?;
            }
            for (v, columns) in RHS.into_iter().enumerate() {
                let place = step * PAIRS * PAIR + v * ROW;
                self.asm.tileloadd(columns, ptr(PANEL + PAIR_STEP * 1 + place))?;
            }
            for half in 0..self.halves() {
                for (v, columns) in RHS.into_iter().enumerate() {
                    self.asm.tdpbf16ps(SUMS[2 * half + v], LHS[half], columns)?;
                }
            }
        }
        self.asm.add(PANEL, (STEPS * PAIRS * PAIR) as i32)
    }

    /// The last `LEFT` of `k`, fewer than a round has.
    fn last_round(&mut self) -> Result<(), IcedError> {
        self.asm.mov(ANY, -1i64)?;
        self.asm.bzhi(ANY, ANY, LEFT)?;
        self.asm.kmovd(k1, eax)?;
        self.asm.shr(ANY, 32)?;
        self.asm.kmovd(k2, eax)?;
        self.asm.mov(ROW_STEP, ROW as u64)?;
        self.asm.mov(THIS, rsp)?;
        self.copy_rows(THIS, true)?;

        let panel = 2 * self.round_bytes();
        self.asm.vpxord(zmm0, zmm0, zmm0)?;
        for line in 0..STEPS * PAIRS * PAIR / ROW {
            self.asm.vmovdqa64(zmmword_ptr(rsp + (panel + ROW * line)), zmm0)?;
        }
        // A pair has two lines, so each of the elements left has one.
        let mut line = self.asm.create_label();
        self.asm.xor(eax, eax)?;
        self.asm.shl(LEFT, ROW.ilog2())?;
        self.asm.set_label(&mut line)?;
        self.asm.vmovdqu64(zmm0, zmmword_ptr(PANEL + ANY))?;
        self.asm.vmovdqa64(zmmword_ptr(rsp + ANY + panel), zmm0)?;
        self.asm.add(ANY, ROW as i32)?;
        self.asm.cmp(ANY, LEFT)?;
        self.asm.jb(line)?;
        self.asm.lea(PANEL, ptr(rsp + panel))?;
        self.round(self.copies())
    }

    fn store_sums(&mut self) -> Result<(), IcedError> {
        let (out, stride) = (ANY, AT);
        self.asm.mov(out, qword_ptr(ARGS + offset_of!(TileArgs, out)))?;
        self.asm.mov(stride, qword_ptr(ARGS + offset_of!(TileArgs, out_stride)))?;
        for half in 0..self.halves() {
            for v in 0..RHS.len() {
                self.asm.tilestored(ptr(out + stride * 1 + ROW * v), SUMS[2 * half + v])?;
            }
            if half + 1 < self.halves() {
                self.asm.mov(PANEL, stride)?;
                self.asm.shl(PANEL, ROWS.ilog2())?;
                self.asm.add(out, PANEL)?;
            }
        }
        Ok(())
    }

    /// Registers for rows.
    fn halves(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// Rows in the first or second of them.
    fn rows_of(&self, half: usize) -> usize {
        self.rows.saturating_sub(half * ROWS).min(ROWS)
    }

    /// Bytes of what a round takes of all rows.
    fn round_bytes(&self) -> usize {
        self.rows * ROUND
    }
}
