//! Plans by hand, and their runs: compiled, split in several ways over workers, compared with
//! [`reference`](super::reference) and with each other.

use std::ffi::c_void;
use std::sync::Arc;

use moec_ir::{DType, Dim, DimExpr, DimKind, DimTable, Number, Op, Sizes};
use moec_plan::abi::{Frame, KernelFn, Program};
use moec_plan::{
    Buffer, BufferId, Index, Kernel, Load, Phase, Place, Plan, Scalar, ScalarId, Scalars, Step, Store,
};

use super::reference::{Element, Machine, read, write};
use crate::guard::{Edge, Guarded};
use crate::{CodeKind, Compiled, Target};

/// Sizes on both sides of every width of loop.
pub(super) const EDGES: [u64; 7] = [0, 1, 3, 4, 5, 16, 17];

/// A plan under construction. Sizes are symbols with the values that a run will have.
pub(super) struct Builder {
    pub(super) plan: Plan,
    target: Target,
    sizes: Sizes,
}

pub(super) fn number(n: u64) -> Dim {
    Dim::constant(n)
}

impl Builder {
    /// For this machine.
    pub(super) fn new() -> Builder {
        Builder::on(&Target::host(CodeKind::Jit).unwrap())
    }

    /// For a target that runs here.
    pub(super) fn on(target: &Target) -> Builder {
        Builder {
            target: target.clone(),
            plan: Plan {
                name: Arc::from("test"),
                dims: DimTable::default(),
                inputs: Vec::new(),
                weights: Vec::new(),
                outputs: Vec::new(),
                panels: target.panels(),
                buffers: Vec::new(),
                load: Vec::new(),
                run: Vec::new(),
                switches: Vec::new(),
            },
            sizes: Sizes::new(),
        }
    }

    /// A symbol whose value is known when the program runs.
    pub(super) fn dim(&mut self, name: &str, value: u64) -> Dim {
        self.sizes.insert(name.into(), value);
        self.plan.dims.declare(name, DimKind::Runtime).unwrap()
    }

    pub(super) fn buffer(&mut self, name: &str, dtype: DType, shape: &[Dim]) -> BufferId {
        let elements = DimExpr::Dim(Dim::product(shape).unwrap());
        self.sized_buffer(name, dtype, elements)
    }

    pub(super) fn sized_buffer(&mut self, name: &str, dtype: DType, elements: DimExpr) -> BufferId {
        self.plan.buffers.push(Buffer { name: name.to_owned(), dtype, elements, place: Place::Kept });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    pub(super) fn step(&mut self, name: &str, kernel: Kernel) {
        self.plan.run.push(Step { name: name.to_owned(), kernel, together: false });
    }

    /// Random contents for every buffer: small whole and broken floats, small integers.
    pub(super) fn contents(&self, seed: u64) -> Vec<Vec<u8>> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as u32
        };
        let mut contents = Vec::new();
        for buffer in &self.plan.buffers {
            let count = buffer.elements.eval(&self.sizes).unwrap() as usize;
            let mut bytes = vec![0; count * buffer.dtype.bytes()];
            for at in 0..count {
                let x = next();
                let element = match buffer.dtype {
                    DType::I32 => Element::Int(x as i32 % 7),
                    DType::U8 => Element::Int(x as i32 % 256),
                    DType::Bool => Element::Bool(x.is_multiple_of(3)),
                    _ => Element::Float((x % 4001) as f32 / 500.0 - 4.0),
                };
                write(&mut bytes, buffer.dtype, at, element);
            }
            contents.push(bytes);
        }
        contents
    }

    /// Runs the plan by reference: its fault and its buffers.
    pub(super) fn expected(&self, contents: &[Vec<u8>]) -> (bool, Vec<Vec<u8>>) {
        let mut machine = Machine {
            plan: &self.plan,
            sizes: self.sizes.clone(),
            buffers: contents.to_vec(),
            fault: false,
            fma: self.target.fma(),
        };
        for step in &self.plan.run {
            machine.step(&step.kernel);
            if machine.fault {
                break;
            }
        }
        (machine.fault, machine.buffers)
    }

    /// Runs the compiled plan with that way to share work: what the entry point returned, and buffers.
    fn compiled(&self, program: &Compiled, contents: &[Vec<u8>], split: Split) -> (u64, Vec<Vec<u8>>) {
        let edge = if matches!(split, Split::BackwardsByOne) { Edge::Start } else { Edge::End };
        let mut memory: Vec<Guarded<u8>> =
            contents.iter().map(|bytes| Guarded::from_slice(bytes, edge)).collect();
        let pointers: Vec<*mut u8> = memory.iter_mut().map(Guarded::as_mut_ptr).collect();
        let dims: Vec<u64> = self.plan.dims.decls().iter().map(|decl| self.sizes[&decl.name]).collect();
        let scratch_bytes = self.plan.worker_scratch(&self.sizes).unwrap();
        let mut scratch = Guarded::<u64>::new(2 * scratch_bytes as usize / 8, edge);
        scratch.as_mut_slice().fill(u64::MAX);
        let (mut fault, mut read) = (0, [0; 16]);
        let mut split = split;
        let frame = Frame {
            buffers: pointers.as_ptr(),
            dims: dims.as_ptr(),
            scratch: scratch.as_mut_ptr().cast(),
            scratch_stride: scratch_bytes,
            workers: 2,
            parallel,
            host: (&raw mut split).cast(),
            read: read.as_mut_ptr(),
            fault: &raw mut fault,
            step: 0,
        };
        let entry = program.entry(Phase::Run);
        // SAFETY: the frame holds every buffer of the plan at its size.
        let result = unsafe { entry(&raw const frame) };
        (result, memory.iter().map(|buffer| buffer.as_slice().to_vec()).collect())
    }

    /// Compiles, runs in all splits on these contents, and compares with the reference.
    pub(super) fn check_on(&self, contents: &[Vec<u8>]) {
        let program = Compiled::jit(self.plan.clone(), &self.target, false).unwrap();
        let (fault, expected) = self.expected(contents);
        let (result, whole) = self.compiled(&program, contents, Split::Whole);
        assert_eq!(result != 0, fault, "fault, sizes {:?}", self.sizes);
        for split in [Split::BackwardsByOne, Split::TwoThreads] {
            let (again, buffers) = self.compiled(&program, contents, split);
            assert_eq!(again, result);
            assert!(fault || buffers == whole, "{split:?} gives other bits, sizes {:?}", self.sizes);
        }
        if fault {
            return;
        }
        for (buffer, (got, wanted)) in self.plan.buffers.iter().zip(whole.iter().zip(&expected)) {
            for at in 0..got.len() / buffer.dtype.bytes() {
                let [got, wanted] = [got, wanted].map(|bytes| read(bytes, buffer.dtype, at));
                assert!(
                    close(got, wanted, buffer.dtype),
                    "{}[{at}]: {got:?}, expected {wanted:?}, sizes {:?}",
                    buffer.name,
                    self.sizes
                );
            }
        }
    }

    /// As [`check_on`](Self::check_on), on random contents.
    pub(super) fn check(&self) {
        self.check_on(&self.contents(7));
    }

    /// Compiles, runs, and gives what the entry point returned.
    pub(super) fn result_on(&self, contents: &[Vec<u8>]) -> u64 {
        let program = Compiled::jit(self.plan.clone(), &self.target, false).unwrap();
        self.compiled(&program, contents, Split::Whole).0
    }

    /// Compiles, runs, and gives the buffers.
    pub(super) fn run_on(&self, contents: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let program = Compiled::jit(self.plan.clone(), &self.target, false).unwrap();
        let (result, buffers) = self.compiled(&program, contents, Split::Whole);
        assert_eq!(result, 0);
        buffers
    }
}

fn close(got: Element, wanted: Element, dtype: DType) -> bool {
    let (Element::Float(got), Element::Float(wanted)) = (got, wanted) else { return got == wanted };
    let relative = match dtype {
        DType::Bf16 => 1.0 / 128.0,
        DType::F16 => 1.0 / 1024.0,
        _ => 2e-5,
    };
    (got.is_nan() && wanted.is_nan())
        || got == wanted
        || (got - wanted).abs() <= relative * wanted.abs().max(1.0)
}

/// How items are shared.
#[derive(Debug, Clone, Copy)]
enum Split {
    Whole,
    BackwardsByOne,
    TwoThreads,
}

/// Numbers that go to another thread.
struct Lent(*const Frame);
// SAFETY: the frame outlives the scope of the threads and is only read.
unsafe impl Send for Lent {}

unsafe extern "C" fn parallel(
    host: *mut c_void,
    kernel: KernelFn,
    frame: *const Frame,
    items: u64,
    grain: u64,
    _step: u64,
) {
    assert!(grain >= 1 && items >= 1);
    // SAFETY: `host` is the split that `compiled` put there.
    let split = unsafe { *host.cast::<Split>() };
    match split {
        // SAFETY: ranges within the items, each item once, one thread a worker.
        Split::Whole => unsafe { kernel(frame, 0, 0, items) },
        Split::BackwardsByOne => (0..items).rev().for_each(|i| {
            // SAFETY: as above.
            unsafe { kernel(frame, i % 2, i, i + 1) }
        }),
        Split::TwoThreads => std::thread::scope(|scope| {
            let middle = items / 2;
            let lent = Lent(frame);
            scope.spawn(move || {
                let lent = lent;
                // SAFETY: as above.
                unsafe { kernel(lent.0, 1, middle, items) }
            });
            if middle > 0 {
                // SAFETY: as above.
                unsafe { kernel(frame, 0, 0, middle) }
            }
        }),
    }
}

/// A scalar program under construction.
#[derive(Default)]
pub(super) struct Expr {
    pub(super) scalars: Scalars,
}

impl Expr {
    pub(super) fn load(&mut self, dtype: DType, load: Load) -> ScalarId {
        self.scalars.push(Scalar::Load(load), dtype)
    }

    pub(super) fn apply(&mut self, op: Op, args: &[ScalarId]) -> ScalarId {
        use Op::{And, Eq, Ge, Gt, Le, Lt, Ne, Not, Or};
        let dtype = match op {
            Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not => DType::Bool,
            _ => self.scalars.dtype(args[args.len() - 1]),
        };
        self.scalars.push(Scalar::Apply(op, args.to_vec()), dtype)
    }

    pub(super) fn cast(&mut self, dtype: DType, x: ScalarId) -> ScalarId {
        self.scalars.push(Scalar::Cast(dtype, x), dtype)
    }

    pub(super) fn constant(&mut self, dtype: DType, value: f64) -> ScalarId {
        self.scalars.push(Scalar::Const(dtype, Number::new(value)), dtype)
    }

    pub(super) fn push(&mut self, scalar: Scalar, dtype: DType) -> ScalarId {
        self.scalars.push(scalar, dtype)
    }
}

/// The strides of a row-major shape.
pub(super) fn strides(shape: &[Dim]) -> Vec<Dim> {
    (0..shape.len()).map(|axis| Dim::product(&shape[axis + 1..]).unwrap()).collect()
}

/// The element of a row-major buffer whose axis `i` moves with kernel axis `axes[i]`.
pub(super) fn at(buffer: BufferId, shape: &[Dim], axes: &[usize]) -> Load {
    let terms = axes.iter().zip(strides(shape)).map(|(axis, stride)| (Index::Axis(*axis), stride));
    Load { buffer, offset: Vec::new(), terms: terms.collect() }
}

/// A row-major store.
pub(super) fn into(buffer: BufferId, shape: &[Dim]) -> Store {
    Store { buffer, offset: Vec::new(), strides: strides(shape) }
}
