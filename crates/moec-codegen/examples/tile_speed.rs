//! What tiles reach: `cargo run --release -p moec-codegen --example tile_speed`.
//!
//! Prints GFLOP/s of every tile on a panel in the cache, and GB/s of low tiles over 512 MiB of
//! panels. With `--listing NAME`, prints that tile's machine code instead.

use std::time::Instant;

use moec_codegen::tile::{TileArgs, TileFamily, TileSpec};
use moec_codegen::{Code, CodeKind, CodeModule, CodegenError, Target};
use moec_ir::DType;

fn main() -> Result<(), CodegenError> {
    let target = Target::host(CodeKind::Jit)?;
    let mut module = CodeModule::jit(&target, true)?;
    let mut tiles = Vec::new();
    for family in TileFamily::ALL.into_iter().filter(|family| *family <= target.tiles()) {
        for element in [DType::F32, DType::Bf16, DType::F16] {
            tiles.extend(family.tiles(DType::F32, element));
        }
        tiles.extend(family.tiles(DType::Bf16, DType::Bf16));
    }
    for tile in &tiles {
        tile.define(&mut module, true)?;
    }
    let code = module.finish()?;
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = &arguments[..]
        && flag == "--listing"
    {
        for listing in code.listings().iter().filter(|listing| listing.name == *name) {
            println!("{}\n{}", listing.clif, listing.assembly);
        }
        return Ok(());
    }
    for tile in &tiles {
        println!("{:20} {:6.1} GFLOP/s in the cache", tile.name(), in_cache(&code, tile));
        if tile.rows() <= 8 {
            println!("{:20} {:6.1} GB/s from memory", tile.name(), streaming(&code, tile));
        }
    }
    Ok(())
}

fn call(code: &Code, tile: &TileSpec, rows: &[*const u8], panel: *const u8, depth: usize) {
    let Some(address) = code.address(&tile.name()) else { return };
    // SAFETY: the contract of tiles; `code` is alive.
    let run: extern "C" fn(*const TileArgs) = unsafe { std::mem::transmute(address) };
    let columns = tile.family().columns();
    let mut out = [0f32; 8 * 32];
    run(&TileArgs {
        rows: rows.as_ptr(),
        panel,
        depth: depth as u64,
        out: out.as_mut_ptr(),
        out_stride: (columns * 4) as u64,
    });
    std::hint::black_box(&out);
}

fn in_cache(code: &Code, tile: &TileSpec) -> f64 {
    let depth = 256;
    let row = vec![1f32; depth];
    let panel = vec![0u64; tile.panel_bytes(depth) / 8 + 8];
    let rows = vec![row.as_ptr().cast(); tile.rows()];
    let calls = 20_000;
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call(code, tile, &rows, panel.as_ptr().cast(), depth);
            }
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    (2 * calls * tile.rows() * tile.family().columns() * depth) as f64 / best / 1e9
}

fn streaming(code: &Code, tile: &TileSpec) -> f64 {
    let depth = 2048;
    let bytes = 512 << 20;
    let panels = vec![1u8; bytes];
    let row = vec![1f32; depth];
    let rows = vec![row.as_ptr().cast(); tile.rows()];
    let best = (0..3)
        .map(|_| {
            let start = Instant::now();
            for panel in panels.chunks_exact(tile.panel_bytes(depth)) {
                call(code, tile, &rows, panel.as_ptr(), depth);
            }
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    bytes as f64 / best / 1e9
}
