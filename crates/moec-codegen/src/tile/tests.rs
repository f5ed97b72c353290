//! Every tile against a loop of `f32::mul_add`, bit by bit, on memory that ends at a fault.

use moec_ir::DType;

use super::*;
use crate::element_loop::{calls, runnable_targets};
use crate::guard::{Edge, Guarded};
use crate::{Code, CodeKind, Target};

fn compile_all(target: &Target) -> Code {
    let mut module = CodeModule::jit(target, false).unwrap();
    for tile in &TILES {
        tile.define(&mut module, true).unwrap();
    }
    module.finish().unwrap()
}

fn function(code: &Code, tile: &TileSpec) -> extern "C" fn(*const TileArgs) {
    let address = code.address(tile.name).unwrap();
    // SAFETY: the contract of tiles; callers keep `code` alive.
    unsafe { std::mem::transmute(address) }
}

/// Full-mantissa values in [-1, 1), the same in every run.
fn values(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (f64::from(state) / 2f64.powi(31) - 1.0) as f32
        })
        .collect()
}

/// The panel's elements as bytes, and what they are as f32.
fn packed(element: DType, panel: &[f32]) -> (Vec<u8>, Vec<f32>) {
    match element {
        DType::F32 => (panel.iter().flat_map(|x| x.to_le_bytes()).collect(), panel.to_vec()),
        DType::Bf16 => {
            let halves: Vec<_> = panel.iter().map(|x| half::bf16::from_f32(*x)).collect();
            (
                halves.iter().flat_map(|x| x.to_le_bytes()).collect(),
                halves.iter().map(|x| x.to_f32()).collect(),
            )
        }
        DType::F16 => {
            let halves: Vec<_> = panel.iter().map(|x| half::f16::from_f32(*x)).collect();
            (
                halves.iter().flat_map(|x| x.to_le_bytes()).collect(),
                halves.iter().map(|x| x.to_f32()).collect(),
            )
        }
        DType::I32 | DType::Bool => unreachable!("no such panels"),
    }
}

#[test]
fn names_say_what_a_tile_is() {
    for tile in &TILES {
        assert_eq!(tile.name, format!("clif_mm_{}_{}x16", tile.element, tile.rows));
        assert_eq!(TileSpec::find(tile.isa, tile.element, tile.rows), Some(tile));
        assert_eq!(PANEL_COLUMNS % tile.sweep, 0);
    }
    assert_eq!(TileSpec::tallest(TileIsa::Clif, DType::F32).unwrap().rows, 6);
}

#[test]
fn every_tile_is_exact_and_stays_inside_its_buffers() {
    for target in runnable_targets() {
        let code = compile_all(&target);
        for tile in &TILES {
            for depth in [0, 1, 2, 3, 4, 5, 7, 8, 64, 1000] {
                for edge in [Edge::Start, Edge::End] {
                    check(&code, tile, target.fma(), depth, edge);
                }
            }
        }
    }
}

/// One call with every buffer at a fault on its `edge`. The panel stays aligned for the tile: its
/// size is a multiple of 32 bytes.
fn check(code: &Code, tile: &TileSpec, fma: bool, depth: usize, edge: Edge) {
    let step = |a: f32, b: f32, sum: f32| if fma { a.mul_add(b, sum) } else { a * b + sum };
    let (panel_bytes, panel) = packed(tile.element, &values(7, depth * PANEL_COLUMNS));
    let panel_bytes = Guarded::from_slice(&panel_bytes, edge);
    let rows: Vec<_> =
        (0..tile.rows).map(|r| Guarded::from_slice(&values(100 + r as u32, depth), edge)).collect();
    let pointers: Vec<usize> = rows.iter().map(|row| row.as_ptr().expose_provenance()).collect();
    let pointers = Guarded::from_slice(&pointers, edge);
    let stride = PANEL_COLUMNS + 3;
    let mut out = Guarded::<f32>::new((tile.rows - 1) * stride + PANEL_COLUMNS, edge);
    out.as_mut_slice().fill(-7.0);
    let args = TileArgs {
        rows: pointers.as_ptr().cast(),
        panel: panel_bytes.as_ptr(),
        depth: depth as u64,
        out: out.as_mut_ptr(),
        out_stride: (stride * 4) as u64,
    };
    function(code, tile)(&args);
    for (at, &got) in out.as_slice().iter().enumerate() {
        let (r, c) = (at / stride, at % stride);
        if c >= PANEL_COLUMNS {
            assert_eq!(got, -7.0, "{} wrote between the rows", tile.name);
            continue;
        }
        let row = rows[r].as_slice();
        let want = (0..depth).fold(0f32, |sum, k| step(row[k], panel[k * PANEL_COLUMNS + c], sum));
        assert_eq!(got.to_bits(), want.to_bits(), "{} depth {depth} row {r} column {c}", tile.name);
    }
}

#[test]
fn every_tile_compiles_for_every_target_without_a_call() {
    for name in crate::TARGET_NAMES {
        let target = Target::named(name, CodeKind::Object).unwrap();
        let mut module = CodeModule::object(&target, "tiles", true).unwrap();
        for tile in &TILES {
            tile.define(&mut module, false).unwrap();
        }
        for listing in module.finish().unwrap().1 {
            assert!(!calls(&listing.assembly), "{} on {name}", listing.name);
        }
    }
}
