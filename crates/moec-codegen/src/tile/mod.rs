//! Matrix tiles: the innermost product, behind one contract that every instruction set's tiles keep.
//!
//! A tile is a function `extern "C" fn(*const TileArgs)` for a fixed number of rows `m` and one
//! packed panel, whose number of columns is its family's ([`TileFamily::columns`]). It computes
//!
//! ```text
//! out[r][c] = sum over k of rows[r][k] * panel[k][c]        r < m, c < columns
//! ```
//!
//! - **Order.** Every sum starts at 0.0 and takes `k` in ascending order, one product after the
//!   other, each product and sum rounded once together where the target has FMA
//!   ([`Target::fma`](crate::Target::fma)), one after the other where it has not. So a row's result
//!   has the same bits in every tile of a target, whatever its height and whatever its family.
//! - **Edges.** Reads exactly `depth` elements of each row and `depth * columns` elements of the
//!   panel, writes exactly `columns` floats of each of the `m` output rows. `depth` may be 0.
//! - **Packing.** A panel is `[depth][columns]` elements, aligned to [`PANEL_ALIGNMENT`] bytes for
//!   speed. Matrix columns beyond the last are packed as zeros; whoever reads `out` ignores them.
//! - **Pairs.** A panel of bf16 may be `[depth / 2][columns][2]`, with an even `depth`. Two elements of a
//!   column are then one word, whose halves are widened with one instruction each. The order of sums does
//!   not change.
//! - **Pair products.** Where rows are bf16, so is the panel, in pairs. A sum then takes two products at a
//!   time, in ascending order of pairs, or 32 at a time where AMX multiplies, as the instruction defines it:
//!   subnormal numbers count as zero, and sums round to the nearest. Heights of a family agree bit by bit here
//!   too.
//!
//! A target has one family ([`Target::tiles`](crate::Target::tiles)): [`TileFamily::tiles`] lists
//! its tiles, [`TileSpec::define`] compiles one into a module. `clif` emits the portable family,
//! which is the reference; `wide` assembles those of vectors, `amx` those of AMX.

mod amx;
mod clif;
mod trial;
mod wide;

use cranelift_codegen::ir::types::I64;
use cranelift_module::{FuncId, Module};
use moec_ir::DType;

pub use trial::{Operands, Trial};

use crate::{CodeModule, CodegenError};

/// Alignment of a panel's first byte.
pub const PANEL_ALIGNMENT: usize = 64;

/// The argument of every tile.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TileArgs {
    /// `m` pointers to the rows of the left operand, `depth` elements of the tile's row type each. Rows
    /// may lie anywhere and may be the same: gathered rows are read in place.
    pub rows: *const *const u8,
    /// The packed panel, `[depth][columns]` of the tile's element type.
    pub panel: *const u8,
    /// Length of the sums.
    pub depth: u64,
    /// The first of `m` output rows of as many f32 as the panel has columns.
    pub out: *mut f32,
    /// Bytes from one output row to the next.
    pub out_stride: u64,
    /// What will be needed next: tiles that can fetch it into the second-level cache on the way do so.
    /// Nothing is read, so it may lie anywhere.
    pub ahead: *const u8,
    /// Bytes by which `ahead` moves with each step of the sums: one `k`, or one pair. If 0, one place is
    /// fetched again and again, which costs next to nothing when it is at hand.
    pub ahead_step: u64,
}

/// The tiles of one instruction set, in ascending order of what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileFamily {
    /// CLIF with 128-bit vectors: runs everywhere.
    Clif,
    /// Machine code for x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// Machine code for x86-64 with AVX-512F.
    Avx512,
    /// The same, and pair products of AVX512-BF16.
    Avx512Bf16,
    /// Machine code for x86-64 with AVX-512 whose pair products are those of AMX.
    Amx,
}

impl TileFamily {
    /// Every family.
    pub const ALL: [TileFamily; 5] =
        [TileFamily::Clif, TileFamily::Avx2, TileFamily::Avx512, TileFamily::Avx512Bf16, TileFamily::Amx];

    /// The name that begins the names of its tiles.
    pub fn name(self) -> &'static str {
        match self {
            TileFamily::Clif => "clif",
            TileFamily::Avx2 => "avx2",
            TileFamily::Avx512 => "avx512",
            TileFamily::Avx512Bf16 => "avx512bf16",
            TileFamily::Amx => "amx",
        }
    }

    /// Columns of a packed panel.
    pub fn columns(self) -> usize {
        match self {
            TileFamily::Clif | TileFamily::Avx2 => 16,
            TileFamily::Avx512 | TileFamily::Avx512Bf16 | TileFamily::Amx => 32,
        }
    }

    /// Rows of the tallest tile for those operands; there is one of every height from 1 on, if there is any.
    pub fn tallest(self, operands: TileOperands) -> usize {
        match self {
            TileFamily::Clif | TileFamily::Avx2 => 6,
            TileFamily::Amx if operands.row == DType::Bf16 => amx::TALLEST,
            TileFamily::Avx512 | TileFamily::Avx512Bf16 | TileFamily::Amx => 8,
        }
    }

    /// Columns of one vector.
    pub fn lanes(self) -> usize {
        match self {
            TileFamily::Clif => 4,
            TileFamily::Avx2 => 8,
            TileFamily::Avx512 | TileFamily::Avx512Bf16 | TileFamily::Amx => 16,
        }
    }

    /// How many bytes before its use a tile fetches its panel if no other passes by; 0 where it leaves that to the
    /// processor. Those with AMX, on one Sapphire Rapids core with OLMoE's layer: with 2 KiB 1, 4 and 32 tokens
    /// took 13.0, 44.2 and 120 ms in f32, 7.1, 24.3 and 72 with bf16 weights, and 7.8, 26.2 and 65 in bf16; with
    /// none, or where each tile fetched the panel after its own, 14.9, 48.5 and 164, 8.7, 28.2 and 82, and 8.5, 31
    /// and 77.
    pub(crate) fn lead(self) -> u64 {
        if self == TileFamily::Amx { 2 << 10 } else { 0 }
    }

    /// Rows of a product that pass by a panel before the next, at most. With 96, rows of 4 KiB and two panels fit
    /// a second-level cache of 1 MiB; with 48 bf16 layers of 1024 tokens were 2 to 5 % slower, f32 the same.
    /// Processors with AMX have 2 MiB.
    pub fn chunk_rows(self, operands: TileOperands) -> u64 {
        if self == TileFamily::Amx && operands.row == DType::Bf16 { 192 } else { 96 }
    }

    /// The height of the first tiles that as many rows of a product are cut into. Rows are cut into as few
    /// chunks of at most [`TileFamily::chunk_rows`] as possible, of whole tiles of the tallest kind but for the
    /// last chunk, and a chunk into as few tiles as possible, all of one height but the last.
    pub fn height_for(self, operands: TileOperands, rows: usize) -> usize {
        let (most, tallest) = (self.chunk_rows(operands) as usize, self.tallest(operands));
        let chunk = rows.div_ceil(rows.div_ceil(most).max(1));
        let chunk = chunk.next_multiple_of(tallest).min(most).min(rows);
        chunk.div_ceil(chunk.div_ceil(tallest).max(1))
    }

    /// Whether it has tiles for those operands.
    pub fn multiplies(self, operands: TileOperands) -> bool {
        match (operands.row, operands.element, operands.interleave) {
            (DType::F32, DType::F32 | DType::Bf16 | DType::F16, 1) | (DType::F32, DType::Bf16, 2) => true,
            (DType::Bf16, DType::Bf16, 2) => self >= TileFamily::Avx512Bf16,
            _ => false,
        }
    }

    /// The tile for those operands and that height, if there is one.
    pub fn tile(self, operands: TileOperands, rows: usize) -> Option<TileSpec> {
        // Only the pair products need more than AVX-512F.
        let family = if operands.row == DType::F32 { self.min(TileFamily::Avx512) } else { self };
        let some = self.multiplies(operands) && (1..=self.tallest(operands)).contains(&rows);
        some.then_some(TileSpec { family, operands, rows })
    }

    /// The tiles of all heights for those operands, ascending; none where there is no such tile.
    pub fn tiles(self, operands: TileOperands) -> impl Iterator<Item = TileSpec> {
        (1..=self.tallest(operands)).filter_map(move |rows| self.tile(operands, rows))
    }
}

/// What a tile multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileOperands {
    /// Element type of the rows.
    pub row: DType,
    /// Element type of the panel; widened exactly to f32 where rows are f32.
    pub element: DType,
    /// Elements of a column that lie side by side in the panel: 2 if it is in pairs, else 1.
    pub interleave: u64,
}

impl TileOperands {
    /// The operands of products whose sums run along one axis of that length: panels of bf16 are in pairs if
    /// it is even.
    pub fn of(row: DType, element: DType, depth: u64) -> TileOperands {
        let pairs = element == DType::Bf16 && depth.is_multiple_of(2);
        TileOperands { row, element, interleave: if pairs { 2 } else { 1 } }
    }

    /// Whether elements of the panel are widened.
    fn widens(self) -> bool {
        self.row != self.element
    }
}

/// One tile: what its generator needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSpec {
    family: TileFamily,
    operands: TileOperands,
    rows: usize,
}

impl TileSpec {
    /// Who generates it.
    pub fn family(&self) -> TileFamily {
        self.family
    }

    /// What it multiplies.
    pub fn operands(&self) -> TileOperands {
        self.operands
    }

    /// Height `m`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The function's symbol and its name in listings and reports, such as `avx512_mm_bf16x2_8x32`, where
    /// `x2` is a panel in pairs.
    pub fn name(&self) -> String {
        let pairs = if self.operands.interleave == 2 { "x2" } else { "" };
        let (family, element) = (self.family.name(), self.operands.element);
        format!("{family}_mm_{element}{pairs}_{}x{}", self.rows, self.family.columns())
    }

    /// Bytes of one panel for sums of length `depth`.
    pub fn panel_bytes(&self, depth: usize) -> usize {
        depth * self.family.columns() * self.operands.element.bytes()
    }

    /// Compiles the tile into `module` under its name.
    ///
    /// # Errors
    /// `UnsupportedTarget` if the target cannot run the family's tiles, `Function` if the name is
    /// taken or Cranelift refuses it.
    pub fn define<M: Module>(
        &self,
        module: &mut CodeModule<M>,
        exported: bool,
    ) -> Result<FuncId, CodegenError> {
        if self.family > module.target().tiles() {
            return Err(CodegenError::UnsupportedTarget {
                name: module.target().name().to_owned(),
                reason: format!("it cannot run the tile {}", self.name()),
            });
        }
        let signature = module.signature(&[I64], &[]);
        let id = module.declare(&self.name(), &signature, exported)?;
        match self.family {
            TileFamily::Clif => {
                let fma = module.target().fma();
                module.define_as_written(id, |builder| {
                    clif::emit(builder, self, fma);
                    Ok(())
                })?;
            }
            _ => {
                let assembled = match self.family {
                    TileFamily::Amx => amx::assemble(self),
                    _ => wide::assemble(self),
                };
                let code = assembled.map_err(|error| CodegenError::Function {
                    function: self.name(),
                    reason: error.to_string(),
                })?;
                module.define_bytes(id, wide::ALIGNMENT, &code.bytes, || code.listing())?;
            }
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
