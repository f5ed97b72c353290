//! Random programs, planned, compiled and run, against the interpreter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::c_void;

use half::{bf16, f16};
use moec_codegen::{CodeKind, Compiled, TARGET_NAMES, Target};
use moec_interp::{Tensor, generate};
use moec_ir::{DType, Module, Sizes, print};
use moec_plan::abi::{Frame, KernelFn, Program};
use moec_plan::{Phase, Place, Plan};

/// Bytes behind each buffer that nobody may change.
const FENCE: usize = 64;
const FENCE_BYTE: u8 = 0xa5;

fn encode(dtype: DType, values: impl Iterator<Item = f64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        match dtype {
            DType::F32 => bytes.extend((value as f32).to_le_bytes()),
            DType::Bf16 => bytes.extend(bf16::from_f64(value).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f64(value).to_le_bytes()),
            DType::I32 => bytes.extend((value as i32).to_le_bytes()),
            DType::U8 => bytes.push(value as u8),
            DType::Bool => bytes.push(u8::from(value != 0.0)),
        }
    }
    bytes
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let element = |b: &[u8]| match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
        DType::Bf16 => f64::from(bf16::from_le_bytes(b.try_into().unwrap())),
        DType::F16 => f64::from(f16::from_le_bytes(b.try_into().unwrap())),
        DType::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
        DType::U8 | DType::Bool => f64::from(b[0]),
    };
    bytes.chunks(dtype.bytes()).map(element).collect()
}

/// Memory for every buffer: what is given, and elsewhere bytes that are no sane number.
fn memory(plan: &Plan, sizes: &Sizes, given: &BTreeMap<String, Tensor>) -> Vec<Vec<u64>> {
    let mut memory: Vec<Vec<u64>> = Vec::new();
    for buffer in &plan.buffers {
        if let Place::Mapped { weight, parts } = buffer.place {
            let whole = plan.buffers.iter().position(|b| b.place == Place::Weight(weight)).unwrap();
            let part = buffer.elements.eval(sizes).unwrap() / parts * buffer.dtype.bytes() as u64;
            let start = memory[whole].as_ptr().addr() as u64;
            memory.push((0..parts).map(|number| start + number * part).collect());
            continue;
        }
        let bytes = buffer.elements.eval(sizes).unwrap() as usize * buffer.dtype.bytes();
        let tensor = |name: &str| encode(buffer.dtype, given[name].data.iter().copied());
        let mut contents = match &buffer.place {
            Place::Input(at) => tensor(&plan.inputs[*at].0),
            Place::Weight(at) => tensor(&plan.weights[*at].0),
            Place::Literal(values) => encode(buffer.dtype, values.iter().map(|v| v.get())),
            _ => vec![0xff; bytes],
        };
        assert_eq!(contents.len(), bytes, "{}", buffer.name);
        contents.resize((bytes + FENCE).next_multiple_of(8), FENCE_BYTE);
        let words = contents.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        memory.push(words.collect());
    }
    memory
}

unsafe extern "C" fn halves(
    _: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    _grain: u64,
    _step: u64,
) {
    for (worker, begin, end) in [(1, items / 2, items), (0, 0, items / 2)] {
        if begin < end {
            // SAFETY: ranges within the items, each item once.
            unsafe { kernel(frame, worker, begin, end) }
        }
    }
}

/// The outputs, or the phase and step of a fault.
fn run(program: &Compiled, sizes: &Sizes, given: &BTreeMap<String, Tensor>) -> Result<Vec<Tensor>, String> {
    let plan = program.plan();
    let sizes = plan.dims.bind(sizes).unwrap();
    let mut memory = memory(plan, &sizes, given);
    let pointers: Vec<*mut u8> = memory.iter_mut().map(|words| words.as_mut_ptr().cast()).collect();
    let dims: Vec<u64> = plan.dims.decls().iter().map(|decl| sizes[&decl.name]).collect();
    let scratch_stride = plan.worker_scratch(&sizes).unwrap();
    let mut scratch = vec![u64::MAX; 2 * scratch_stride as usize / 8 + 1];
    let (mut fault, mut read) = (0, [0; 16]);
    let mut frame = Frame {
        buffers: pointers.as_ptr(),
        dims: dims.as_ptr(),
        scratch: scratch.as_mut_ptr().cast(),
        scratch_stride,
        workers: 2,
        parallel: halves,
        host: std::ptr::null_mut(),
        read: read.as_mut_ptr(),
        fault: &raw mut fault,
        step: 0,
    };
    let load = (0..plan.load.len()).map(|number| (Phase::Load, number));
    for (phase, number) in load.chain([(Phase::Run, 0)]) {
        frame.step = number as u64;
        // SAFETY: the frame holds every buffer of the plan at its size.
        let step = unsafe { program.entry(phase)(&raw const frame) };
        if step != 0 {
            return Err(format!("fault in {phase:?} step {}", step - 1));
        }
    }
    let mut outputs = Vec::new();
    for (at, (_, ty)) in plan.outputs.iter().enumerate() {
        let place = plan.buffers.iter().position(|b| b.place == Place::Output(at)).unwrap();
        let bytes: Vec<u8> = memory[place].iter().flat_map(|word| word.to_le_bytes()).collect();
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(&sizes).unwrap() as usize).collect();
        let len = shape.iter().product::<usize>() * ty.dtype.bytes();
        outputs.push(Tensor::new(ty.dtype, shape, decode(ty.dtype, &bytes[..len])).unwrap());
    }
    let own = plan.buffers.iter().zip(&memory).filter(|(b, _)| !matches!(b.place, Place::Mapped { .. }));
    for (buffer, words) in own {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = buffer.elements.eval(&sizes).unwrap() as usize * buffer.dtype.bytes();
        assert!(bytes[len..].iter().all(|b| *b == FENCE_BYTE), "{} was overrun", buffer.name);
    }
    Ok(outputs)
}

fn close(found: &Tensor, wanted: &Tensor) -> Result<(), String> {
    if (found.dtype, &found.shape) != (wanted.dtype, &wanted.shape) {
        return Err(format!("{} and {}", found.ty(), wanted.ty()));
    }
    let finite = wanted.data.iter().filter(|v| v.is_finite());
    let scale = finite.fold(1e-30_f64, |scale, v| scale.max(v.abs()));
    for (at, (a, b)) in found.data.iter().zip(&wanted.data).enumerate() {
        // Of `gelu` far below zero only the absolute error is bounded.
        let bound = if found.dtype == DType::F32 { 1e-4 * scale + 4e-6 } else { 0.0 };
        if !((a - b).abs() <= bound || a == b || (a.is_nan() && b.is_nan())) {
            return Err(format!("element {at} is {a}, expected {b}"));
        }
    }
    Ok(())
}

fn compiled(module: &Module, target: &Target) -> Compiled {
    let plan = moec_plan::plan(module, target.panels());
    let plan = plan.unwrap_or_else(|error| panic!("{error}\n{}", print(module)));
    Compiled::jit(plan, target, false).unwrap_or_else(|error| panic!("{error}\n{}", print(module)))
}

/// This machine, and the lesser ones that it can stand in for.
fn targets() -> Vec<Target> {
    let targets = TARGET_NAMES.iter().map(|name| Target::named(name, CodeKind::Jit).unwrap());
    targets.filter(Target::runs_here).collect()
}

/// On this machine and, by turns, as another.
fn check(module: &Module, seed: u64) {
    let targets = targets();
    check_on(&targets[0], module, seed);
    check_on(&targets[seed as usize % targets.len()], module, seed);
}

fn check_on(target: &Target, module: &Module, seed: u64) {
    let module = module.instantiate(&Sizes::new()).unwrap();
    let program = compiled(&module, target);
    for tokens in [5, 1, 0, 17] {
        let sizes: Sizes = [("T".into(), tokens)].into();
        let given = generate::inputs(&module, &sizes, seed).unwrap();
        let wanted = moec_interp::run(&module, &sizes, &given).unwrap();
        let found = run(&program, &sizes, &given)
            .unwrap_or_else(|fault| panic!("seed {seed}, T = {tokens}: {fault}\n{}", print(&module)));
        for (found, (name, wanted)) in found.iter().zip(&wanted) {
            if let Err(message) = close(found, wanted) {
                panic!(
                    "seed {seed}: {name} for T = {tokens} on {}: {message}\n{}",
                    target.name(),
                    print(&module)
                );
            }
        }
    }
}

#[test]
fn random_programs_give_the_interpreters_results() {
    for seed in 0..150 {
        check(&generate::module(seed, &generate::Options::default()), seed);
    }
}

#[test]
fn long_programs_of_mixtures() {
    let options = generate::Options { steps: 40, ..Default::default() };
    for seed in 1000..1020 {
        check(&generate::module(seed, &options), seed);
    }
}
