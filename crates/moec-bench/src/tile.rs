//! What single tiles reach.

use std::time::Instant;

use moec::tiles::{Operands, Shape, TileSpec, Trial};

use crate::{BenchError, Probes, Rates, median};

/// The speed of one tile, on one thread.
#[derive(Debug, Clone, Copy)]
pub struct TileSpeed {
    /// Flops a second with panels that stay in the second-level cache.
    pub flops: f64,
    /// Bytes of panels a second that come from memory.
    pub bytes: f64,
}

/// Bytes of panels that stay in the cache, and of panels that do not.
const NEAR: usize = 256 << 10;
const FAR: usize = 192 << 20;

/// The probes take their turn before each so many tiles.
const PROBED: usize = 4;

/// Rounds to take medians of.
const ROUNDS: usize = 5;

/// Measures tiles for sums of the shape's length, beside the probes.
///
/// # Errors
/// If this machine cannot run one of them.
pub fn tile_speeds(
    tiles: &[TileSpec],
    shape: &Shape,
    probes: &Probes,
) -> Result<(Rates, Vec<TileSpeed>), BenchError> {
    let trial = Trial::new(tiles)?;
    let depth = (shape.depth as usize).next_multiple_of(2);
    let mut rates = Vec::new();
    let mut speeds = Vec::new();
    for (at, tile) in tiles.iter().enumerate() {
        if at % PROBED == 0 {
            rates.push(probes.once());
        }
        let panel = tile.panel_bytes(depth);
        let mut near = Operands::new(tile, depth, (NEAR / panel).max(1));
        let mut far = Operands::new(tile, depth, FAR / panel + 1);
        let flops = 2.0 * (tile.rows() * tile.family().columns() * depth) as f64;
        // Some milliseconds of calls, whatever the tile.
        let sweeps = (2e8 / (flops * (NEAR / panel).max(1) as f64)).ceil() as usize;
        speeds.push(TileSpeed {
            flops: flops * panels_a_second(&trial, &mut near, sweeps),
            bytes: panel as f64 * panels_a_second(&trial, &mut far, 1),
        });
    }
    Ok((Rates::median(&rates), speeds))
}

/// The median over the rounds, each of so many sweeps, after one to warm up.
fn panels_a_second(trial: &Trial, operands: &mut Operands, sweeps: usize) -> f64 {
    let mut rates: Vec<f64> = (0..=ROUNDS)
        .map(|_| {
            let started = Instant::now();
            let panels: usize = (0..sweeps).filter_map(|_| trial.sweep(operands)).sum();
            panels as f64 / started.elapsed().as_secs_f64()
        })
        .collect();
    median(&mut rates[1..])
}
