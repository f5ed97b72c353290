//! Every operation of element-wise code in wide form against its form in four lanes, bit by bit, on memory that
//! ends at a fault.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32X4, I64};
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName, Value};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use moec_ir::DType;

use super::*;
use crate::element_loop::ElementLoop;
use crate::guard::{Edge, Guarded};
use crate::{Code, CodeKind, CodeModule, LaneEmitter, Lanes, Target};

const LEN: usize = 2 * WIDE;

/// Something of two floats, of as many lanes.
type Emit = fn(&mut LaneEmitter<'_, '_>, Value, Value) -> Value;

const FUNCTIONS: [(&str, Emit); 34] = [
    ("add", |e, x, y| e.add(x, y)),
    ("sub", |e, x, y| e.sub(x, y)),
    ("mul", |e, x, y| e.mul(x, y)),
    ("div", |e, x, y| e.div(x, y)),
    ("neg", |e, x, _| e.neg(x)),
    ("abs", |e, x, _| e.abs(x)),
    ("sqrt", |e, x, _| e.sqrt(x)),
    ("rsqrt", |e, x, _| e.rsqrt(x)),
    ("exp", |e, x, _| e.exp(x)),
    ("exp2", |e, x, _| e.exp2(x)),
    ("log", |e, x, _| e.log(x)),
    ("tanh", |e, x, _| e.tanh(x)),
    ("erf", |e, x, _| e.erf(x)),
    ("sigmoid", |e, x, _| e.sigmoid(x)),
    ("silu", |e, x, _| e.silu(x)),
    ("gelu", |e, x, _| e.gelu(x)),
    ("gelu_tanh", |e, x, _| e.gelu_tanh(x)),
    ("relu", |e, x, _| e.relu(x)),
    ("softplus", |e, x, _| e.softplus(x)),
    ("minimum", |e, x, y| e.minimum(x, y)),
    ("maximum", |e, x, y| e.maximum(x, y)),
    ("gated", |e, x, y| {
        let gate = e.silu(x);
        e.mul(gate, y)
    }),
    ("squared, in place", |e, x, y| e.mul_add(x, x, y)),
    ("sum of itself", |e, x, y| e.mul_add(y, x, x)),
    ("one for the other", |e, x, y| e.mul_add(x, y, y)),
    ("equal", |e, x, y| compared(e, FloatCC::Equal, x, y)),
    ("not equal", |e, x, y| compared(e, FloatCC::NotEqual, x, y)),
    ("at most", |e, x, y| compared(e, FloatCC::LessThanOrEqual, x, y)),
    ("greater", |e, x, y| compared(e, FloatCC::GreaterThan, x, y)),
    ("at least", |e, x, y| compared(e, FloatCC::GreaterThanOrEqual, x, y)),
    ("masks", |e, x, y| {
        let zero = e.float(0.0);
        let [a, b] = [(x, y), (x, zero)].map(|(a, b)| e.compare(FloatCC::LessThan, a, b));
        let [both, either] = [e.both(a, b), e.either(a, b)];
        let differ = e.differ(both, either);
        let not = e.not(differ);
        let all = e.constant_mask(true);
        let x = e.select(all, x, y);
        e.select(not, x, y)
    }),
    ("rounded to bf16 and f16", |e, x, y| {
        let half = e.f32_to_bf16(x);
        let x = e.bf16_to_f32(half);
        let half = e.f32_to_f16(y);
        let y = e.f16_to_f32(half);
        e.add(x, y)
    }),
    ("integers", |e, x, y| {
        let [a, b] = [x, y].map(|x| e.to_bits(x));
        let product = e.builder.ins().imul(a, b);
        let opposite = e.builder.ins().ineg(product);
        let not = e.builder.ins().bnot(a);
        let least = e.compare_int(IntCC::UnsignedLessThan, not, opposite);
        let bits = e.select(least, not, opposite);
        e.from_bits(bits)
    }),
    // More constants and results at a time than there are registers.
    ("a polynomial of many coefficients", |e, x, y| {
        let powers: Vec<Value> = (0..20)
            .scan(y, |power, _| {
                *power = e.mul(*power, x);
                Some(*power)
            })
            .collect();
        let mut sum = y;
        for round in 0..3 {
            for (n, power) in powers.iter().enumerate() {
                let coefficient = e.float(1.0 / (2 + n + round) as f32);
                sum = e.mul_add(*power, coefficient, sum);
            }
        }
        sum
    }),
];

fn compared(e: &mut LaneEmitter<'_, '_>, condition: FloatCC, x: Value, y: Value) -> Value {
    let mask = e.compare(condition, x, y);
    e.mask_to_float(mask)
}

/// Floats of every size and sign, special ones among them, in an order that pairs them differently.
fn floats(step: u32) -> Vec<f32> {
    let special =
        [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0, -1.0, f32::MIN_POSITIVE, 1e-42];
    let patterns = (0..1 << 14).map(|n: u32| f32::from_bits(n.wrapping_mul(step).rotate_left(7)));
    let common = (0..1 << 12).map(|n| (n as f32 - 2048.0) * 0.013 * (1.0 + step as f32 * 1e-9));
    let mut all: Vec<f32> = special.into_iter().chain(patterns).chain(common).collect();
    all.truncate(all.len() / LEN * LEN);
    all
}

fn is_here() -> Option<Target> {
    let target = Target::host(CodeKind::Jit).unwrap();
    target.widens().then_some(target)
}

/// The function of four lanes with those parameters.
fn function(
    params: &[cranelift_codegen::ir::Type],
    emit: &dyn Fn(&mut LaneEmitter<'_, '_>, &[Value]) -> Value,
) -> Function {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend(params.iter().map(|ty| AbiParam::new(*ty)));
    signature.returns.push(AbiParam::new(F32X4));
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut frontend);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let value = emit(&mut LaneEmitter::new(&mut b, Lanes::X4, true), &params);
    b.ins().return_(&[value]);
    b.seal_all_blocks();
    function
}

fn compiled(target: &Target, code: &Assembled) -> Code {
    let mut module = CodeModule::jit(target, false).unwrap();
    let signature = module.signature(&[I64], &[]);
    let id = module.declare("run", &signature, true).unwrap();
    module.define_bytes(id, 64, &code.bytes, String::new).unwrap();
    module.finish().unwrap()
}

/// Calls a run on these words.
fn call(code: &Code, words: &[u64]) {
    // SAFETY: the contract of runs; the callers' words lead to as much as it says.
    let run: extern "C" fn(*const u64) = unsafe { std::mem::transmute(code.address("run").unwrap()) };
    run(words.as_ptr());
}

fn address<T: Copy + Default>(memory: &Guarded<T>) -> u64 {
    memory.as_ptr().expose_provenance() as u64
}

#[test]
fn functions_have_the_bits_of_four_lanes() {
    let Some(target) = is_here() else { return };
    let (xs, ys) = (floats(0x9e37_79b1), floats(0x85eb_ca6b));
    for (name, emit) in FUNCTIONS {
        let four = ElementLoop::compile(&target, [4, 4, 4], &|e, [x, y, out]| {
            let [x, y] = [x, y].map(|place| e.load(DType::F32, place, 0));
            let z = emit(e, x, y);
            e.store(DType::F32, z, out, 0);
        });
        let wanted: Vec<f32> = four.run(Lanes::X4, &xs, &ys);
        let function = function(&[F32X4, F32X4], &|e, params| emit(e, params[0], params[1]));
        let run = Run { operands: vec![Operand::Each(DType::F32); 2], out: DType::F32, len: LEN };
        let code = widen(&function, &run).unwrap();
        let code = compiled(&target, &code.unwrap_or_else(|| panic!("{name} is not widened")));
        for (at, wanted) in wanted.chunks(LEN).enumerate() {
            for edge in [Edge::Start, Edge::End] {
                let [x, y] = [&xs, &ys].map(|all| Guarded::from_slice(&all[at * LEN..][..LEN], edge));
                let out = Guarded::<f32>::new(LEN, edge);
                call(&code, &[address(&x), address(&y), address(&out)]);
                for (i, (found, wanted)) in out.as_slice().iter().zip(wanted).enumerate() {
                    let same = found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan());
                    let (x, y) = (x.as_slice()[i], y.as_slice()[i]);
                    assert!(same, "{name} of {x:e} and {y:e}: {found:e}, not {wanted:e}");
                }
            }
        }
    }
}

/// Steps at random on what came before, near and far, so that values, masks and constants live for any time.
fn at_random(e: &mut LaneEmitter<'_, '_>, x: Value, y: Value, seed: u32) -> Value {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as usize % below
    };
    let (mut values, mut masks) = (vec![x, y], vec![e.compare(FloatCC::LessThan, x, y)]);
    for _ in 0..10 + seed {
        let [a, b, c] = [0; 3].map(|_| values[next(values.len())]);
        let [m, n] = [0; 2].map(|_| masks[masks.len() - 1 - next(masks.len().min(5))]);
        match next(13) {
            0 => values.push(e.add(a, b)),
            1 => values.push(e.sub(a, b)),
            2 => values.push(e.minimum(a, b)),
            3 => values.push(e.neg(a)),
            4 => {
                let factor = e.float(0.25 + next(40) as f32);
                values.push(e.mul(a, factor));
            }
            5 | 6 => values.push(e.mul_add(a, b, c)),
            7 => values.push(e.select(m, a, b)),
            8 => masks.push(e.compare(FloatCC::LessThanOrEqual, a, b)),
            9 => masks.push(e.both(m, n)),
            10 => masks.push(e.either(m, n)),
            11 => masks.push(e.differ(m, n)),
            _ => masks.push(e.not(m)),
        }
    }
    let zero = e.float(0.0);
    let chosen: Vec<Value> = masks.iter().rev().take(3).map(|mask| e.select(*mask, y, zero)).collect();
    let all = values.into_iter().rev().take(24).chain(chosen);
    all.fold(zero, |sum, value| {
        let magnitude = e.abs(value);
        let small = e.compare(FloatCC::LessThan, magnitude, sum);
        let other = e.sub(sum, value);
        e.select(small, other, value)
    })
}

#[test]
fn lines_at_random_have_the_bits_of_four_lanes() {
    let Some(target) = is_here() else { return };
    let (mut xs, mut ys) = (floats(0x9e37_79b1), floats(0x85eb_ca6b));
    for all in [&mut xs, &mut ys] {
        all.rotate_right(64);
        all.truncate(8 * LEN);
    }
    let mut widened = 0;
    for seed in 0..90 {
        let four = ElementLoop::compile(&target, [4, 4, 4], &|e, [x, y, out]| {
            let [x, y] = [x, y].map(|place| e.load(DType::F32, place, 0));
            let z = at_random(e, x, y, seed);
            e.store(DType::F32, z, out, 0);
        });
        let wanted: Vec<f32> = four.run(Lanes::X4, &xs, &ys);
        let function = function(&[F32X4, F32X4], &|e, params| at_random(e, params[0], params[1], seed));
        let run = Run { operands: vec![Operand::Each(DType::F32); 2], out: DType::F32, len: LEN };
        let Some(code) = widen(&function, &run).unwrap() else { continue };
        widened += 1;
        let code = compiled(&target, &code);
        for (at, wanted) in wanted.chunks(LEN).enumerate() {
            let [x, y] = [&xs, &ys].map(|all| Guarded::from_slice(&all[at * LEN..][..LEN], Edge::End));
            let out = Guarded::<f32>::new(LEN, Edge::End);
            call(&code, &[address(&x), address(&y), address(&out)]);
            for (i, (found, wanted)) in out.as_slice().iter().zip(wanted).enumerate() {
                let same = found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan());
                assert!(same, "line {seed}, element {i}: {found:e}, not {wanted:e}");
            }
        }
    }
    assert!((30..90).contains(&widened), "{widened}: some fit the registers, and some do not");
}

/// Shorter elements are widened exactly, patterns are stored in the lower bytes, one number serves all.
#[test]
fn elements_of_every_type_are_read_and_written() {
    let Some(target) = is_here() else { return };
    let sum = |e: &mut LaneEmitter<'_, '_>, params: &[Value]| {
        let one = e.splat(params[1]);
        e.add(params[0], one)
    };
    let halves: Vec<u16> = (0..LEN as u16).map(|n| n * 321 + 0x3c00).collect();
    for dtype in [DType::Bf16, DType::F16] {
        let run = Run { operands: vec![Operand::Each(dtype), Operand::One], out: DType::F32, len: LEN };
        let code = widen(&function(&[F32X4, F32], &sum), &run).unwrap().unwrap();
        let code = compiled(&target, &code);
        let x = Guarded::from_slice(&halves, Edge::End);
        let out = Guarded::<f32>::new(LEN, Edge::End);
        call(&code, &[address(&x), u64::from(2.5f32.to_bits()) | 7 << 32, address(&out)]);
        for (half, found) in halves.iter().zip(out.as_slice()) {
            let x = match dtype {
                DType::Bf16 => half::bf16::from_bits(*half).to_f32(),
                _ => half::f16::from_bits(*half).to_f32(),
            };
            assert!(*found == x + 2.5 || (found.is_nan() && x.is_nan()), "{dtype} {half:x}: {found}");
        }
    }
    let bytes: Vec<u8> = (0..LEN as u8).map(|n| n * 8).collect();
    let same = |_: &mut LaneEmitter<'_, '_>, params: &[Value]| params[0];
    for out in [DType::U8, DType::I32, DType::Bf16] {
        let run = Run { operands: vec![Operand::Each(DType::U8)], out, len: LEN };
        let code = compiled(&target, &widen(&function(&[I32X4], &same), &run).unwrap().unwrap());
        let x = Guarded::from_slice(&bytes, Edge::End);
        let found = Guarded::<u8>::new(LEN * out.bytes(), Edge::End);
        call(&code, &[address(&x), address(&found)]);
        let wanted = bytes.iter().flat_map(|byte| u32::from(*byte).to_le_bytes()[..out.bytes()].to_vec());
        assert_eq!(found.as_slice(), wanted.collect::<Vec<u8>>(), "{out}");
    }
}

#[test]
fn what_has_no_wide_form_is_left_alone() {
    let run = Run { operands: vec![Operand::Each(DType::F32)], out: DType::I32, len: LEN };
    let to_int = function(&[F32X4], &|e, params| e.float_to_int(params[0]));
    assert!(widen(&to_int, &run).unwrap().is_none());
    let mask = function(&[F32X4], &|e, params| {
        let zero = e.float(0.0);
        e.builder.ins().fcmp(FloatCC::LessThan, params[0], zero)
    });
    assert!(widen(&mask, &run).unwrap().is_none());
}
