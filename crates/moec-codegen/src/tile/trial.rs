//! Tiles on their own, ready to be called: for whoever measures them. Looks at no clock itself.
#![expect(unsafe_code, reason = "compiled tiles are called")]

use super::{PANEL_ALIGNMENT, TileArgs, TileSpec};
use crate::{Code, CodeKind, CodeModule, CodegenError, Target};

/// Tiles compiled for this machine.
pub struct Trial {
    code: Code,
}

/// What a tile multiplies, over and over: its rows, which lie one after another, and so do panels.
pub struct Operands {
    tile: TileSpec,
    depth: usize,
    rows: Vec<u8>,
    panels: Vec<u8>,
    out: Vec<f32>,
}

impl Operands {
    /// Rows for sums of length `depth`, which is even, and as many panels, all of small numbers.
    pub fn new(tile: &TileSpec, depth: usize, panels: usize) -> Operands {
        Operands {
            tile: *tile,
            depth,
            // Not zeros: memory that was never written may all be one page of them.
            rows: vec![1; tile.rows() * depth * tile.operands().row.bytes()],
            panels: vec![1; panels * tile.panel_bytes(depth) + PANEL_ALIGNMENT],
            out: vec![0.0; tile.rows() * tile.family().columns()],
        }
    }
}

impl Trial {
    /// Compiles the tiles.
    ///
    /// # Errors
    /// `UnsupportedTarget` if this machine cannot run one of them.
    pub fn new(tiles: &[TileSpec]) -> Result<Trial, CodegenError> {
        let mut module = CodeModule::jit(&Target::host(CodeKind::Jit)?, true)?;
        for tile in tiles {
            tile.define(&mut module, true)?;
        }
        Ok(Trial { code: module.finish()? })
    }

    /// The machine code of a tile, one instruction a line.
    pub fn listing(&self, tile: &TileSpec) -> Option<&str> {
        let name = tile.name();
        self.code.listings().iter().find(|listing| listing.name == name).map(|listing| &*listing.assembly)
    }

    /// Multiplies the rows with every panel once; says how many there were. None if the tile is not among
    /// those that were compiled.
    pub fn sweep(&self, operands: &mut Operands) -> Option<usize> {
        let Operands { tile, depth, rows, panels, out } = operands;
        let address = self.code.address(&tile.name())?;
        // SAFETY: the contract of tiles; `self.code` is alive.
        let run: extern "C" fn(*const TileArgs) = unsafe { std::mem::transmute(address) };
        let row_bytes = *depth * tile.operands().row.bytes();
        let rows: Vec<_> = (0..tile.rows()).map(|r| rows[r * row_bytes..].as_ptr()).collect();
        let first = panels.as_ptr().align_offset(PANEL_ALIGNMENT);
        let mut swept = 0;
        for panel in panels[first.min(PANEL_ALIGNMENT)..].chunks_exact(tile.panel_bytes(*depth).max(1)) {
            // Each pointer leads to as much as the tile's contract says.
            run(&TileArgs {
                rows: rows.as_ptr(),
                panel: panel.as_ptr(),
                depth: *depth as u64,
                out: out.as_mut_ptr(),
                out_stride: (tile.family().columns() * 4) as u64,
                ahead: panel.as_ptr(),
                ahead_step: 0,
            });
            swept += 1;
        }
        Some(swept)
    }
}

#[cfg(test)]
mod tests {
    use moec_ir::DType;

    use super::*;
    use crate::tile::{TileFamily, TileOperands};

    #[test]
    fn every_tile_sweeps_all_panels() {
        let host = Target::host(CodeKind::Jit).unwrap().tiles();
        for family in TileFamily::ALL.into_iter().filter(|family| *family <= host) {
            let tiles: Vec<TileSpec> = family.tiles(TileOperands::of(DType::F32, DType::Bf16, 6)).collect();
            let trial = Trial::new(&tiles).unwrap();
            for tile in &tiles {
                assert_eq!(trial.sweep(&mut Operands::new(tile, 6, 5)), Some(5));
                assert!(trial.listing(tile).is_some_and(|text| text.lines().count() > 4));
            }
            let other = family.tile(TileOperands::of(DType::F32, DType::F32, 6), 1).unwrap();
            assert_eq!(trial.sweep(&mut Operands::new(&other, 6, 5)), None);
        }
    }
}
