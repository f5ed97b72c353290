//! The portable tile in CLIF with 128-bit vectors.
//!
//! Register tile on x86-64 (16 registers), for 6 rows and half a panel, `k` ascending:
//!
//! ```text
//!              b[k][0..4]   b[k][4..8]          2 registers, loaded (and widened) once per k
//! a[0][k] x4    sum[0][0]    sum[0][1]
//! a[1][k] x4    sum[1][0]    sum[1][1]          1 register for a[r][k] in all lanes,
//!   ..             ..           ..              12 for the sums
//! a[5][k] x4    sum[5][0]    sum[5][1]          15 of 16
//! ```
//!
//! The instruction that Cranelift chooses writes its result over `a`, so a kept `a` costs a copy: up
//! to four rows there is a register for it, with five and six `a` is loaded again (`reload`).
//! Everything stays where it is written here (`CodeModule::define_as_written`): Cranelift's
//! optimiser would move all loads of a round before all products and spill most of them.
//!
//! The second half of the panel is a second sweep, its bytes by then in the cache. One and two rows
//! take the whole panel in one sweep (4 and 8 sums), so that a panel streams from memory once in
//! order.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;

use super::{TileArgs, TileFamily, TileOperands, TileSpec};
use crate::{LaneEmitter, Lanes};

/// Columns per vector.
const LANES: usize = 4;
/// Columns of a panel.
const COLUMNS: usize = 16;

/// How a tile of some height uses the registers.
struct Shape {
    rows: usize,
    operands: TileOperands,
    /// Columns per sweep over `k`: so many that the sums fit into the registers.
    sweep: usize,
    /// Steps per round of the main loop.
    unroll: usize,
    /// Whether an element of the left operand is loaded again for every vector of columns, which
    /// costs loads and saves the register that keeps it.
    reload: bool,
}

impl Shape {
    fn of(tile: &TileSpec) -> Shape {
        debug_assert_eq!(tile.family, TileFamily::Clif);
        let (sweep, unroll, reload) = match tile.rows {
            1 | 2 => (COLUMNS, 2, false),
            3 | 4 => (COLUMNS / 2, 2, false),
            _ => (COLUMNS / 2, 1, true),
        };
        Shape { rows: tile.rows, operands: tile.operands, sweep, unroll, reload }
    }

    /// How far a step goes along the sums.
    fn depth_of_step(&self) -> usize {
        self.operands.interleave as usize
    }

    /// Bytes of a column that a step reads.
    fn word_bytes(&self) -> usize {
        self.operands.element.bytes() * self.depth_of_step()
    }
}

/// What stays fixed during a call.
struct Operands {
    rows: Vec<Value>,
    panel: Value,
    /// Bytes of a row of the left operand that are covered by full rounds of the main loop.
    rounds_end: Value,
    /// Bytes of a row of the left operand.
    end: Value,
    out: Value,
    out_stride: Value,
}

/// Builds the body of `tile`.
pub(super) fn emit(b: &mut FunctionBuilder<'_>, tile: &TileSpec, fma: bool) {
    let tile = &Shape::of(tile);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let args = b.block_params(entry)[0];
    let operands = load_operands(b, tile, args);
    for sweep in 0..COLUMNS / tile.sweep {
        emit_sweep(b, tile, fma, &operands, sweep * tile.sweep);
    }
    b.ins().return_(&[]);
}

fn load_operands(b: &mut FunctionBuilder<'_>, tile: &Shape, args: Value) -> Operands {
    let mut field = |offset: usize| b.ins().load(I64, constant_data(), args, bytes(offset));
    let rows = field(offset_of!(TileArgs, rows));
    let panel = field(offset_of!(TileArgs, panel));
    let depth = field(offset_of!(TileArgs, depth));
    let out = field(offset_of!(TileArgs, out));
    let out_stride = field(offset_of!(TileArgs, out_stride));
    let rows = (0..tile.rows).map(|r| b.ins().load(I64, constant_data(), rows, bytes(r * 8))).collect();
    let round = -((tile.unroll * tile.depth_of_step()) as i64);
    let rounds = b.ins().band_imm_s(depth, round);
    let rounds_end = b.ins().ishl_imm_u(rounds, 2);
    let end = b.ins().ishl_imm_u(depth, 2);
    Operands { rows, panel, rounds_end, end, out, out_stride }
}

/// The sums of columns `column..column + tile.sweep`, all of `k`, and their stores.
///
/// Two loops, of full rounds and of single steps, carry the byte offset in the rows, the panel's
/// pointer and the sums. Both test at the top: a sum that leaves a loop at its bottom would count as
/// used twice, and Cranelift then folds none of the loads that lead to it into instructions.
fn emit_sweep(b: &mut FunctionBuilder<'_>, tile: &Shape, fma: bool, operands: &Operands, column: usize) {
    let vectors = tile.sweep / LANES;
    let first = b.ins().iconst(I64, 0);
    let panel = b.ins().iadd_imm_u(operands.panel, (column * tile.word_bytes()) as i64);
    let zero = b.ins().f32const(0.0);
    let zero = b.ins().splat(F32X4, zero);
    let mut carried = vec![first, panel];
    carried.extend(std::iter::repeat_n(zero, tile.rows * vectors));

    let loops = [(tile.unroll, operands.rounds_end), (1, operands.end)];
    for (count, end) in if tile.unroll == 1 { &loops[1..] } else { &loops } {
        let [test, body, done] = [(); 3].map(|()| b.create_block());
        b.ins().jump(test, &arguments(&carried));
        for value in &mut carried {
            *value = b.append_block_param(test, b.func.dfg.value_type(*value));
        }
        b.switch_to_block(test);
        let more = b.ins().icmp(IntCC::UnsignedLessThan, carried[0], *end);
        b.ins().brif(more, body, &[], done, &[]);
        b.switch_to_block(body);
        let mut next = carried.clone();
        for step in 0..*count {
            emit_step(b, tile, fma, operands, step, &mut next);
        }
        next[0] = b.ins().iadd_imm_u(next[0], (count * tile.depth_of_step() * 4) as i64);
        next[1] = b.ins().iadd_imm_u(next[1], (count * COLUMNS * tile.word_bytes()) as i64);
        b.ins().jump(test, &arguments(&next));
        b.switch_to_block(done);
        for block in [test, body, done] {
            b.seal_block(block);
        }
    }

    let mut row = operands.out;
    for (r, sums) in carried[2..].chunks(vectors).enumerate() {
        if r > 0 {
            row = b.ins().iadd(row, operands.out_stride);
        }
        for (v, sum) in sums.iter().enumerate() {
            b.ins().store(output(), *sum, row, bytes((column + v * LANES) * 4));
        }
    }
}

/// One `k`, or a pair of them: `carried` is the row offset, the panel pointer and the sums, row by row.
fn emit_step(
    b: &mut FunctionBuilder<'_>,
    tile: &Shape,
    fma: bool,
    operands: &Operands,
    step: usize,
    carried: &mut [Value],
) {
    let [offset, panel] = [carried[0], carried[1]];
    let vectors = tile.sweep / LANES;
    let depth = tile.depth_of_step();
    for half in 0..depth {
        let columns: Vec<Value> = (0..vectors)
            .map(|v| {
                let place = bytes((step * COLUMNS + v * LANES) * tile.word_bytes());
                let mut e = LaneEmitter::new(b, Lanes::X4, fma);
                match depth {
                    1 => e.load(tile.operands.element, panel, place),
                    _ => e.load_half_of_pair(half, panel, place),
                }
            })
            .collect();
        for (r, row) in operands.rows.iter().enumerate() {
            let place = b.ins().iadd(*row, offset);
            let mut kept = None;
            for (v, column) in columns.iter().enumerate() {
                let a = kept.unwrap_or_else(|| {
                    let a = b.ins().load(F32, constant_data(), place, bytes((step * depth + half) * 4));
                    b.ins().splat(F32X4, a)
                });
                kept = (!tile.reload).then_some(a);
                let sum = &mut carried[2 + r * vectors + v];
                *sum = LaneEmitter::new(b, Lanes::X4, fma).mul_add(a, *column, *sum);
            }
        }
    }
}

fn arguments(values: &[Value]) -> Vec<BlockArg> {
    values.iter().copied().map(BlockArg::Value).collect()
}

/// Offsets within a row of a tile are far below 2^31.
fn bytes(offset: usize) -> i32 {
    offset as i32
}

/// Memory that nobody writes during the call.
fn constant_data() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly()
}

fn output() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
