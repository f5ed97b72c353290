//! Matrix tiles: the innermost product, behind one contract that every instruction set's tiles keep.
//!
//! A tile is a function `extern "C" fn(*const TileArgs)` for a fixed number of rows `m` and one
//! packed panel of [`PANEL_COLUMNS`] columns. It computes
//!
//! ```text
//! out[r][c] = sum over k of rows[r][k] * panel[k][c]        r < m, c < 16
//! ```
//!
//! - **Order.** Every sum starts at 0.0 and takes `k` in ascending order, one product after the
//!   other, each product and sum rounded once together where the target has FMA
//!   ([`Target::fma`]), one after the other where it has not. So a row's result has the same bits
//!   in every tile of a target, whatever its height.
//! - **Edges.** Reads exactly `depth` floats of each row and `depth * 16` elements of the panel,
//!   writes exactly 16 floats of each of the `m` output rows. `depth` may be 0.
//! - **Packing.** A panel is `[depth][16]` elements, aligned to [`PANEL_ALIGNMENT`] bytes. Matrix
//!   columns beyond the last are packed as zeros; whoever reads `out` ignores them.
//!
//! [`TILES`] lists all there are, [`TileSpec::find`] chooses, [`TileSpec::define`] compiles one into
//! a module. Wide tiles get further [`TileIsa`]s and rows in that table.

mod clif;

use cranelift_codegen::ir::types::I64;
use cranelift_module::{FuncId, Module};
use moec_ir::DType;

#[cfg(doc)]
use crate::Target;
use crate::{CodeModule, CodegenError};

/// Columns of a packed panel.
pub const PANEL_COLUMNS: usize = 16;

/// Alignment of a panel's first byte.
pub const PANEL_ALIGNMENT: usize = 64;

/// The argument of every tile.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TileArgs {
    /// `m` pointers to the rows of the left operand, `depth` f32 each. Rows may lie anywhere and may
    /// be the same: gathered rows are read in place.
    pub rows: *const *const f32,
    /// The packed panel, `[depth][16]` of the tile's element type.
    pub panel: *const u8,
    /// Length of the sums.
    pub depth: u64,
    /// The first of `m` output rows of 16 f32.
    pub out: *mut f32,
    /// Bytes from one output row to the next.
    pub out_stride: u64,
}

/// Who generates a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileIsa {
    /// CLIF with 128-bit vectors: runs everywhere.
    Clif,
}

/// One tile: everything that its generator needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSpec {
    /// The function's symbol and its name in listings and reports.
    pub name: &'static str,
    /// Who generates it.
    pub isa: TileIsa,
    /// Element type of the panel; widened exactly to f32.
    pub element: DType,
    /// Height `m`.
    pub rows: usize,
    /// Columns per sweep over `k`: a divisor of [`PANEL_COLUMNS`], so many that the sums fit into
    /// the registers.
    pub sweep: usize,
    /// Steps of `k` per round of the main loop.
    pub unroll: usize,
    /// Whether an element of the left operand is loaded again for every vector of columns, which
    /// costs loads and saves the register that keeps it.
    pub reload: bool,
}

macro_rules! clif_tiles {
    ($($element:ident $text:literal),*) => {
        [$(
            clif_tile!($element $text 1: sweep 16, unroll 2, reload false),
            clif_tile!($element $text 2: sweep 16, unroll 2, reload false),
            clif_tile!($element $text 3: sweep 8, unroll 2, reload false),
            clif_tile!($element $text 4: sweep 8, unroll 2, reload false),
            clif_tile!($element $text 5: sweep 8, unroll 1, reload true),
            clif_tile!($element $text 6: sweep 8, unroll 1, reload true),
        )*]
    };
}

macro_rules! clif_tile {
    ($element:ident $text:literal $rows:literal: sweep $sweep:literal, unroll $unroll:literal, reload $reload:literal) => {
        TileSpec {
            name: concat!("clif_mm_", $text, "_", $rows, "x16"),
            isa: TileIsa::Clif,
            element: DType::$element,
            rows: $rows,
            sweep: $sweep,
            unroll: $unroll,
            reload: $reload,
        }
    };
}

/// Every tile.
pub const TILES: [TileSpec; 18] = clif_tiles!(F32 "f32", Bf16 "bf16", F16 "f16");

impl TileSpec {
    /// The tile of that generator, panel element and height.
    pub fn find(isa: TileIsa, element: DType, rows: usize) -> Option<&'static TileSpec> {
        TILES.iter().find(|tile| tile.isa == isa && tile.element == element && tile.rows == rows)
    }

    /// The tallest tile of that generator and panel element.
    pub fn tallest(isa: TileIsa, element: DType) -> Option<&'static TileSpec> {
        TILES.iter().filter(|tile| tile.isa == isa && tile.element == element).max_by_key(|tile| tile.rows)
    }

    /// Bytes of one panel for sums of length `depth`.
    pub fn panel_bytes(&self, depth: usize) -> usize {
        depth * PANEL_COLUMNS * self.element.bytes()
    }

    /// Compiles the tile into `module` under its name.
    ///
    /// # Errors
    /// `Function` if the name is taken or Cranelift refuses it.
    pub fn define<M: Module>(
        &self,
        module: &mut CodeModule<M>,
        exported: bool,
    ) -> Result<FuncId, CodegenError> {
        let signature = module.signature(&[I64], &[]);
        let id = module.declare(self.name, &signature, exported)?;
        let fma = module.target().fma();
        match self.isa {
            TileIsa::Clif => module.define_as_written(id, |builder| {
                clif::emit(builder, self, fma);
                Ok(())
            })?,
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
