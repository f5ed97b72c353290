//! Every tile against a loop of `f32::mul_add`, bit by bit, on memory that ends at a fault.

use moec_ir::DType;

use super::*;
use crate::element_loop::{calls, runnable_targets};
use crate::guard::{Edge, Guarded};
use crate::{Code, CodeKind, Target};

const PAIR_PRODUCTS: TileOperands = operands(DType::Bf16, DType::Bf16, 2);

/// What tiles multiply.
const OPERANDS: [TileOperands; 5] = [
    operands(DType::F32, DType::F32, 1),
    operands(DType::F32, DType::Bf16, 1),
    operands(DType::F32, DType::Bf16, 2),
    operands(DType::F32, DType::F16, 1),
    PAIR_PRODUCTS,
];

const fn operands(row: DType, element: DType, interleave: u64) -> TileOperands {
    TileOperands { row, element, interleave }
}

/// Every tile of every family that the target runs.
fn tiles(target: &Target) -> Vec<TileSpec> {
    let families = TileFamily::ALL.into_iter().filter(|family| *family <= target.tiles());
    let of_family =
        |family: TileFamily| OPERANDS.into_iter().flat_map(move |operands| family.tiles(operands));
    let mut tiles: Vec<TileSpec> = families.flat_map(of_family).collect();
    // A family that adds tiles to those of another lists these as well.
    tiles.sort_by_key(TileSpec::name);
    tiles.dedup();
    tiles
}

fn compile_all(target: &Target) -> Code {
    let mut module = CodeModule::jit(target, false).unwrap();
    for tile in tiles(target) {
        tile.define(&mut module, true).unwrap();
    }
    module.finish().unwrap()
}

fn function(code: &Code, tile: &TileSpec) -> extern "C" fn(*const TileArgs) {
    let address = code.address(&tile.name()).unwrap();
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
        DType::I32 | DType::U8 | DType::Bool => unreachable!("no such panels"),
    }
}

#[test]
fn names_say_what_a_tile_is() {
    let name = |family: TileFamily, row, element, interleave, rows| {
        family.tile(operands(row, element, interleave), rows).map(|tile| tile.name())
    };
    let widening =
        |family: TileFamily, element, depth, rows| name(family, DType::F32, element, depth, rows).unwrap();
    assert_eq!(widening(TileFamily::Avx512Bf16, DType::Bf16, 1, 8), "avx512_mm_bf16_8x32");
    assert_eq!(widening(TileFamily::Avx512Bf16, DType::Bf16, 2, 8), "avx512_mm_bf16x2_8x32");
    assert_eq!(widening(TileFamily::Clif, DType::F32, 1, 6), "clif_mm_f32_6x16");
    assert_eq!(widening(TileFamily::Avx2, DType::F16, 1, 1), "avx2_mm_f16_1x16");
    let none = [
        name(TileFamily::Avx512, DType::Bf16, DType::Bf16, 2, 8),
        name(TileFamily::Avx512, DType::F32, DType::Bf16, 1, 9),
        name(TileFamily::Clif, DType::F32, DType::F32, 1, 0),
        name(TileFamily::Clif, DType::F32, DType::I32, 1, 1),
        name(TileFamily::Clif, DType::F32, DType::F32, 2, 1),
    ];
    assert_eq!(none, [const { None }; 5]);
    let pairs = |family: TileFamily, rows| family.tile(PAIR_PRODUCTS, rows).map(|tile| tile.name());
    assert_eq!(pairs(TileFamily::Avx512Bf16, 8).unwrap(), "avx512bf16_mm_bf16x2_8x32");
    assert_eq!(pairs(TileFamily::Amx, 32).unwrap(), "amx_mm_bf16x2_32x32");
    assert_eq!(pairs(TileFamily::Amx, 33), None);
    assert_eq!(widening(TileFamily::Amx, DType::Bf16, 2, 8), "avx512_mm_bf16x2_8x32");
}

#[test]
fn rows_are_cut_into_chunks_and_then_into_tiles() {
    let heights =
        |family: TileFamily, operands, rows: [usize; 8]| rows.map(|rows| family.height_for(operands, rows));
    let floats = OPERANDS[0];
    assert_eq!(heights(TileFamily::Avx512, floats, [0, 1, 8, 9, 20, 96, 97, 200]), [0, 1, 8, 5, 7, 8, 8, 8]);
    assert_eq!(heights(TileFamily::Avx2, floats, [1, 6, 7, 13, 25, 49, 96, 97]), [1, 6, 4, 5, 5, 6, 6, 6]);
    assert_eq!(heights(TileFamily::Amx, floats, [1, 6, 7, 13, 25, 49, 96, 97]), [1, 6, 7, 7, 7, 7, 8, 8]);
    assert_eq!(
        heights(TileFamily::Amx, PAIR_PRODUCTS, [1, 16, 32, 33, 60, 96, 97, 200]),
        [1, 16, 32, 17, 30, 32, 25, 32]
    );
}

#[test]
fn panels_of_bf16_are_in_pairs_where_sums_have_an_even_length() {
    let interleave = |row, element, depth| TileOperands::of(row, element, depth).interleave;
    assert_eq!(interleave(DType::F32, DType::Bf16, 6), 2);
    assert_eq!(interleave(DType::Bf16, DType::Bf16, 0), 2);
    assert_eq!(interleave(DType::F32, DType::Bf16, 7), 1);
    assert_eq!(interleave(DType::F32, DType::F32, 6), 1);
    assert_eq!(interleave(DType::F32, DType::F16, 6), 1);
}

#[test]
fn every_tile_is_exact_and_stays_inside_its_buffers() {
    for target in runnable_targets() {
        let code = compile_all(&target);
        for tile in tiles(&target).iter().filter(|tile| tile.operands.row == DType::F32) {
            let depths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 18, 64, 1000];
            for depth in depths.into_iter().filter(|depth| depth % tile.operands.interleave as usize == 0) {
                for edge in [Edge::Start, Edge::End] {
                    check(&code, tile, target.fma(), depth, edge);
                }
            }
        }
    }
}

/// Where element `k` of column `c` lies in a panel.
fn place(tile: &TileSpec, k: usize, c: usize) -> usize {
    let beside = tile.operands.interleave as usize;
    (k / beside * tile.family.columns() + c) * beside + k % beside
}

/// One call with every buffer at a fault on its `edge`. The panel stays aligned for the tile: its
/// size is a multiple of 32 bytes.
fn check(code: &Code, tile: &TileSpec, fma: bool, depth: usize, edge: Edge) {
    let step = |a: f32, b: f32, sum: f32| if fma { a.mul_add(b, sum) } else { a * b + sum };
    let columns = tile.family.columns();
    let (panel_bytes, panel) = packed(tile.operands.element, &values(7, depth * columns));
    let panel_bytes = Guarded::from_slice(&panel_bytes, edge);
    let rows: Vec<_> =
        (0..tile.rows).map(|r| Guarded::from_slice(&values(100 + r as u32, depth), edge)).collect();
    let pointers: Vec<usize> = rows.iter().map(|row| row.as_ptr().expose_provenance()).collect();
    let pointers = Guarded::from_slice(&pointers, edge);
    let stride = columns + 3;
    let mut out = Guarded::<f32>::new((tile.rows - 1) * stride + columns, edge);
    out.as_mut_slice().fill(-7.0);
    let args = TileArgs {
        rows: pointers.as_ptr().cast(),
        panel: panel_bytes.as_ptr(),
        depth: depth as u64,
        out: out.as_mut_ptr(),
        out_stride: (stride * 4) as u64,
        ahead: std::ptr::without_provenance(64),
        ahead_step: 32,
    };
    function(code, tile)(&args);
    for (at, &got) in out.as_slice().iter().enumerate() {
        let (r, c) = (at / stride, at % stride);
        if c >= columns {
            assert_eq!(got, -7.0, "{} wrote between the rows", tile.name());
            continue;
        }
        let row = rows[r].as_slice();
        let want = (0..depth).fold(0f32, |sum, k| step(row[k], panel[place(tile, k, c)], sum));
        assert_eq!(got.to_bits(), want.to_bits(), "{} depth {depth} row {r} column {c}", tile.name());
    }
}

/// Products of pairs: against sums in f64, against the definition of the instruction bit by bit, and every height
/// against the lowest bit by bit.
#[test]
fn products_of_pairs_agree_with_sums_in_f64() {
    for target in runnable_targets().iter().filter(|target| target.panels().pairs) {
        let code = compile_all(target);
        let families = [TileFamily::Avx512Bf16, TileFamily::Amx];
        for family in families.into_iter().filter(|family| *family <= target.tiles()) {
            let pairs: Vec<TileSpec> = family.tiles(PAIR_PRODUCTS).collect();
            assert_eq!(pairs.len(), family.tallest(PAIR_PRODUCTS));
            for depth in [0, 2, 4, 6, 14, 16, 18, 30, 32, 34, 62, 64, 66, 94, 96, 128, 160, 1000] {
                for edge in [Edge::Start, Edge::End] {
                    let lowest = sums_of_pairs(&code, &pairs[0], depth, edge, Rows::InOrder);
                    for tile in &pairs {
                        for lie in [Rows::InOrder, Rows::Apart, Rows::One] {
                            let sums = sums_of_pairs(&code, tile, depth, edge, lie);
                            assert_eq!(sums[..lowest.len()], lowest, "{} depth {depth}", tile.name());
                        }
                    }
                }
            }
        }
    }
}

/// What AMX makes of the products of a row and a column: of 32 at a time the even and the odd ones by themselves.
fn sum_by_amx(products: &[(f32, f32)]) -> f32 {
    products.chunks(32).fold(0.0, |sum, step| {
        let mut halves = [0f32; 2];
        for (k, (a, b)) in step.iter().enumerate() {
            halves[k % 2] = a.mul_add(*b, halves[k % 2]);
        }
        sum + (halves[0] + halves[1])
    })
}

/// What AVX512-BF16 makes of them: of each pair the product of the odd `k` is added first.
fn sum_by_pairs(products: &[(f32, f32)]) -> f32 {
    let pairs = products.as_chunks::<2>().0.iter();
    pairs.fold(0.0, |sum, [even, odd]| even.0.mul_add(even.1, odd.0.mul_add(odd.1, sum)))
}

/// How the rows of a tile lie in memory.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    /// One after another.
    InOrder,
    /// At no one distance.
    Apart,
    /// All are the same.
    One,
}

/// One call with every buffer at a fault on its `edge`; the bits of the sums.
fn sums_of_pairs(code: &Code, tile: &TileSpec, depth: usize, edge: Edge, lie: Rows) -> Vec<u32> {
    let columns = tile.family.columns();
    let (panel_bytes, panel) = packed(DType::Bf16, &values(7, depth * columns));
    let panel_bytes = Guarded::from_slice(&panel_bytes, edge);
    let seed = |r: usize| 100 + if lie == Rows::One { 0 } else { r as u32 };
    let rows: Vec<_> = (0..tile.rows).map(|r| packed(DType::Bf16, &values(seed(r), depth))).collect();
    let (guarded, pointers): (Vec<_>, Vec<usize>) = if lie == Rows::Apart {
        // Mappings made one after another may lie at one distance: with the first two swapped, rows do not.
        let mut order: Vec<usize> = (0..tile.rows).collect();
        order[..tile.rows.min(2)].reverse();
        let mut guarded: Vec<_> = order.iter().map(|&r| (r, Guarded::from_slice(&rows[r].0, edge))).collect();
        guarded.sort_by_key(|(r, _)| *r);
        let guarded: Vec<_> = guarded.into_iter().map(|(_, row)| row).collect();
        let pointers = guarded.iter().map(|row| row.as_ptr().expose_provenance()).collect();
        (guarded, pointers)
    } else {
        let all: Vec<u8> = rows.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        let all = Guarded::from_slice(&all, edge);
        let far = |r: usize| if lie == Rows::One { 0 } else { 2 * depth * r };
        let pointers = (0..tile.rows).map(|r| all.as_ptr().wrapping_add(far(r)).expose_provenance());
        let pointers = pointers.collect();
        (vec![all], pointers)
    };
    let pointers = Guarded::from_slice(&pointers, edge);
    let stride = columns + 3;
    let mut out = Guarded::<f32>::new((tile.rows - 1) * stride + columns, edge);
    out.as_mut_slice().fill(-7.0);
    let args = TileArgs {
        rows: pointers.as_ptr().cast(),
        panel: panel_bytes.as_ptr(),
        depth: depth as u64,
        out: out.as_mut_ptr(),
        out_stride: (stride * 4) as u64,
        ahead: std::ptr::without_provenance(64),
        ahead_step: 32,
    };
    function(code, tile)(&args);
    let mut sums = Vec::new();
    for (at, &got) in out.as_slice().iter().enumerate() {
        let (r, c) = (at / stride, at % stride);
        if c >= columns {
            assert_eq!(got, -7.0, "{} wrote between the rows", tile.name());
            continue;
        }
        let factors: Vec<(f32, f32)> = (0..depth).map(|k| (rows[r].1[k], panel[place(tile, k, c)])).collect();
        let want = if tile.family == TileFamily::Amx { sum_by_amx(&factors) } else { sum_by_pairs(&factors) };
        assert_eq!(got.to_bits(), want.to_bits(), "{} depth {depth}: {got}, {want}", tile.name());
        let products = factors.iter().map(|(a, b)| f64::from(*a) * f64::from(*b));
        let (want, size) = products.fold((0.0, 0.0), |(sum, size), p: f64| (sum + p, size + p.abs()));
        let allowed = size * f64::from(f32::EPSILON) * (depth as f64).sqrt().max(2.0);
        assert!((f64::from(got) - want).abs() <= allowed, "{} depth {depth}: {got}, {want}", tile.name());
        sums.push(got.to_bits());
    }
    drop(guarded);
    sums
}

#[test]
fn every_tile_compiles_for_every_target_without_a_call() {
    for name in crate::TARGET_NAMES {
        let target = Target::named(name, CodeKind::Object).unwrap();
        let object = || {
            let mut module = CodeModule::object(&target, "tiles", true).unwrap();
            for tile in tiles(&target) {
                tile.define(&mut module, false).unwrap();
            }
            module.finish().unwrap()
        };
        let (bytes, listings) = object();
        assert_eq!(bytes, object().0, "{name}: the same bytes every time");
        for listing in listings {
            assert!(!listing.assembly.is_empty() && !calls(&listing.assembly), "{} on {name}", listing.name);
        }
    }
}

#[test]
fn a_target_without_the_instructions_is_refused() {
    let target = Target::named("aarch64", CodeKind::Object).unwrap();
    let mut module = CodeModule::object(&target, "tiles", false).unwrap();
    let tile = TileFamily::Avx512.tile(OPERANDS[0], 1).unwrap();
    let error = tile.define(&mut module, false).unwrap_err();
    assert_eq!(error.to_string(), "target `aarch64`: it cannot run the tile avx512_mm_f32_1x32");
}

/// A caller that keeps a number in every register that a tile has to keep.
#[cfg(target_arch = "x86_64")]
#[test]
fn registers_of_the_caller_are_kept() {
    use iced_x86::code_asm::{CodeAssembler, registers::*};
    let kept = [rbx, rbp, r12, r13, r14, r15];
    // check(args, tile) -> 1 if each still holds its number
    let mut asm = CodeAssembler::new(64).unwrap();
    for register in kept {
        asm.push(register).unwrap();
    }
    asm.push(rsi).unwrap();
    for (number, register) in kept.into_iter().enumerate() {
        asm.mov(register, 0x0123_4567_89ab_cd00 + number as u64).unwrap();
    }
    asm.call(iced_x86::code_asm::qword_ptr(rsp)).unwrap();
    asm.xor(ecx, ecx).unwrap();
    for (number, register) in kept.into_iter().enumerate() {
        asm.mov(rax, 0x0123_4567_89ab_cd00 + number as u64).unwrap();
        asm.xor(rax, register).unwrap();
        asm.or(rcx, rax).unwrap();
    }
    asm.xor(eax, eax).unwrap();
    asm.test(rcx, rcx).unwrap();
    asm.sete(al).unwrap();
    asm.pop(rsi).unwrap();
    for register in kept.into_iter().rev() {
        asm.pop(register).unwrap();
    }
    asm.ret().unwrap();
    let bytes = asm.assemble(0).unwrap();

    let target = Target::host(CodeKind::Jit).unwrap();
    let mut module = CodeModule::jit(&target, false).unwrap();
    let signature = module.signature(&[I64, I64], &[I64]);
    let id = module.declare("check", &signature, true).unwrap();
    module.define_bytes(id, 16, &bytes, String::new).unwrap();
    let checker = module.finish().unwrap();
    // SAFETY: the code above; `checker` is alive.
    let check: extern "C" fn(*const TileArgs, *const u8) -> u64 =
        unsafe { std::mem::transmute(checker.address("check").unwrap()) };
    let code = compile_all(&target);
    for tile in tiles(&target) {
        let columns = tile.family.columns();
        let (row, panel) = (vec![1f32; 10], vec![0u8; 10 * columns * 4]);
        let rows = vec![row.as_ptr().cast(); tile.rows];
        let mut out = vec![0f32; tile.rows * columns];
        let args = TileArgs {
            rows: rows.as_ptr(),
            panel: panel.as_ptr(),
            depth: 10,
            out: out.as_mut_ptr(),
            out_stride: (columns * 4) as u64,
            ahead: std::ptr::without_provenance(64),
            ahead_step: 32,
        };
        assert_eq!(check(&args, code.address(&tile.name()).unwrap()), 1, "{}", tile.name());
    }
}
