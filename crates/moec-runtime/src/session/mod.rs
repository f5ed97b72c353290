//! Running a compiled program: weights are loaded once into a [`Loaded`], which any number of
//! [`Session`]s share, each with its own scratch memory; a session runs on slices of the caller.
//!
//! This module calls generated code. It trusts [`Program`](moec_plan::abi::Program) and checks everything else.
#![expect(unsafe_code, reason = "generated code is called through pointers")]

mod arena;
mod array;
mod frame;
mod given;
mod load;
mod source;

use std::fmt;
use std::sync::Arc;

use moec_ir::{DType, Dim, IrError, Sizes, TensorType};
use moec_plan::{Phase, Place, Plan};

pub use array::{Array, ArrayMut, Scalar};
pub use given::WeightBytes;
pub(crate) use load::image_bytes;
pub use load::{LoadError, Loaded};
pub use source::{Origin, WeightSource, Weights, random_input};

use crate::buffer::{Buffer, BufferError, shape_bytes};
use crate::threads::{Host, Threads};
use arena::Arena;
use frame::{Frames, nowhere};

/// A call that cannot be carried out. Outputs are untouched unless the kind is `Fault`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Too many or too few tensors.
    #[error("{given} {what}s given, the program has {wanted}: {names}")]
    Count {
        /// `input` or `output`.
        what: &'static str,
        /// How many were given.
        given: usize,
        /// How many there are.
        wanted: usize,
        /// Their names.
        names: String,
    },
    /// A tensor whose element type, rank, size or length is wrong.
    #[error("{what} `{name}` is {found}, expected {expected}")]
    Tensor {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: Arc<str>,
        /// What was given.
        found: String,
        /// The type in the program.
        expected: String,
    },
    /// Sizes that contradict each other or a declared fact.
    #[error("sizes of the inputs: {0}")]
    Sizes(#[from] IrError),
    /// Memory that cannot be had.
    #[error(transparent)]
    Memory(#[from] BufferError),
    /// An index in the data that is out of range.
    #[error("an index is out of range in step {step}")]
    Fault {
        /// The name of the step.
        step: String,
    },
}

/// A program with its weights, its own scratch memory and a thread pool. It may move between
/// threads; for calls at the same time, make one for each thread.
pub struct Session {
    loaded: Arc<Loaded>,
    pool: Box<dyn Threads>,
    frames: Frames,
    bound: Option<Bound>,
}

/// What follows from the sizes of one call, kept for the next.
struct Bound {
    /// Shapes of the inputs, one after another.
    shapes: Vec<u64>,
    sizes: Sizes,
    /// Shapes of the outputs.
    outputs: Vec<Vec<u64>>,
    /// Threads that there is scratch memory for.
    workers: usize,
    /// Kept alive for the pointers in `frames`.
    _arena: Arena,
    _scratch: Buffer,
}

impl Session {
    /// A session on loaded weights, whose calls run on the threads of `pool`: a [`Pool`](crate::threads::Pool)
    /// or the host's own. Sessions may share a pool: ours serves one at a time and lets the others run on
    /// their own thread.
    pub fn new(loaded: Arc<Loaded>, pool: impl Threads + 'static) -> Session {
        let frames = Frames::new(loaded.program().plan());
        Session { loaded, pool: Box::new(pool), frames, bound: None }
    }

    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        self.loaded.program().plan()
    }

    /// The shapes that the outputs have for inputs of these shapes. Binds the session to them.
    pub fn output_shapes(&mut self, inputs: &[&[u64]]) -> Result<&[Vec<u64>], RunError> {
        self.count("input", inputs.len())?;
        self.bind(inputs)?;
        Ok(self.bound.as_ref().map_or(&[], |bound| &bound.outputs))
    }

    /// Runs the program: inputs and outputs in the order of the source, with exactly the shapes
    /// that follow. Allocates only when the input shapes differ from those of the call before.
    pub fn run(&mut self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<(), RunError> {
        self.call(inputs, outputs, None)
    }

    /// The same; `watch` is told the number of each of the plan's run steps when it is done, of those done
    /// together that of the last. A step without work is passed over.
    pub fn run_watched(
        &mut self,
        inputs: &[Array<'_>],
        outputs: &mut [ArrayMut<'_>],
        watch: &mut dyn FnMut(usize),
    ) -> Result<(), RunError> {
        self.call(inputs, outputs, Some(watch))
    }

    fn call(
        &mut self,
        inputs: &[Array<'_>],
        outputs: &mut [ArrayMut<'_>],
        watch: Option<&mut dyn FnMut(usize)>,
    ) -> Result<(), RunError> {
        self.count("input", inputs.len())?;
        self.count("output", outputs.len())?;
        let same = self.bound.as_ref().is_some_and(|bound| {
            let given = inputs.iter().flat_map(|array| array.shape);
            given.eq(&bound.shapes)
                && inputs.iter().zip(&self.plan().inputs).all(|(a, (_, ty))| a.shape.len() == ty.rank())
        });
        if !same {
            let shapes: Vec<&[u64]> = inputs.iter().map(|array| array.shape).collect();
            self.bind(&shapes)?;
        }
        let plan = self.loaded.program().plan();
        let Some(bound) = &self.bound else { return Ok(()) };
        for (array, (name, ty)) in inputs.iter().zip(&plan.inputs) {
            check("input", name, ty, array, array.shape)?;
            if array.dtype == DType::Bool && array.bytes.iter().any(|&byte| byte > 1) {
                return Err(RunError::Tensor {
                    what: "input",
                    name: name.clone(),
                    found: "bool with a byte that is neither 0 nor 1".to_owned(),
                    expected: ty.to_string(),
                });
            }
        }
        for ((array, (name, ty)), shape) in outputs.iter().zip(&plan.outputs).zip(&bound.outputs) {
            let given = Array { dtype: array.dtype, shape: array.shape, bytes: array.bytes };
            check("output", name, ty, &given, shape)?;
        }
        for (at, buffer) in plan.buffers.iter().enumerate() {
            match buffer.place {
                // An input is only read; the pointer type is shared with buffers that are written.
                Place::Input(n) => self.frames.set(at, nonnull(inputs[n].bytes.as_ptr().cast_mut())),
                Place::Output(n) => self.frames.set(at, nonnull(outputs[n].bytes.as_mut_ptr())),
                _ => {}
            }
        }
        let entry = self.loaded.program().entry(Phase::Run);
        let mut watch = watch.map(|watch| move |step| watch(step));
        let watch = watch.as_mut().map(|watch| watch as &mut dyn FnMut(usize));
        let mut host = Host { threads: &*self.pool, part: (0, 1), watch };
        // SAFETY: every buffer of the plan has its pointer: inputs and outputs were set above and
        // have the bytes that the plan's types ask for; weights and kept buffers live in `loaded`,
        // which is not written any more; scratch of the steps that these dims select was sized for
        // them in `bind`, and no other step runs. The entry
        // point belongs to this plan (the promise of `Program`), and the host is lent for the call.
        let status = unsafe { self.frames.call(entry, 0, bound.workers, &mut host) };
        match plan.run.get((status as usize).wrapping_sub(1)) {
            Some(step) => Err(RunError::Fault { step: step.name.clone() }),
            None => Ok(()),
        }
    }

    /// Bytes of weights that the last call read from where they are mapped. Each byte that a kernel
    /// copies counts, whether or not the system had it in memory.
    pub fn mapped_bytes_read(&self) -> u64 {
        self.frames.bytes_read()
    }

    /// The value of every symbol in the last call.
    pub fn sizes(&self) -> Option<&Sizes> {
        self.bound.as_ref().map(|bound| &bound.sizes)
    }

    fn count(&self, what: &'static str, given: usize) -> Result<(), RunError> {
        let plan = self.plan();
        let of_plan = if what == "input" { &plan.inputs } else { &plan.outputs };
        if given == of_plan.len() {
            return Ok(());
        }
        let names: Vec<&str> = of_plan.iter().map(|(name, _)| &**name).collect();
        Err(RunError::Count { what, given, wanted: names.len(), names: names.join(", ") })
    }

    /// Solves the dims for input shapes and lays out scratch memory.
    fn bind(&mut self, shapes: &[&[u64]]) -> Result<(), RunError> {
        self.bound = None;
        let program = Arc::clone(self.loaded.program());
        let plan = program.plan();
        let mut axes: Vec<(Dim, u64)> = Vec::new();
        for (shape, (name, ty)) in shapes.iter().zip(&plan.inputs) {
            if shape.len() != ty.rank() {
                return Err(RunError::Tensor {
                    what: "input",
                    name: name.clone(),
                    found: format!("of {} axes", shape.len()),
                    expected: ty.to_string(),
                });
            }
            axes.extend(ty.shape.iter().cloned().zip(shape.iter().copied()));
        }
        let sizes = plan.dims.solve(&axes)?;
        let mut outputs = Vec::new();
        for (_, ty) in &plan.outputs {
            let shape = ty.shape.iter().map(|dim| dim.eval(&sizes)).collect::<Result<Vec<u64>, _>>()?;
            outputs.push(shape);
        }
        let mut arena = Arena::new(plan, Phase::Run, &sizes)?;
        for (at, pointer) in arena.pointers() {
            self.frames.set(at, pointer);
        }
        for (at, pointer) in self.loaded.pointers() {
            self.frames.set(at, pointer);
        }
        let stride = plan.worker_scratch(&sizes)?;
        let workers = self.pool.threads().max(1);
        let mut scratch = Buffer::zeroed_elements(stride, workers)?;
        self.frames.bind(&plan.dims, &sizes, scratch.as_mut_ptr(), stride);
        let shapes = shapes.concat();
        self.bound = Some(Bound { shapes, sizes, outputs, workers, _arena: arena, _scratch: scratch });
        Ok(())
    }
}

/// A pointer for an empty slice is never followed, but must not be null either.
fn nonnull(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() { nowhere() } else { pointer }
}

fn check(
    what: &'static str,
    name: &Arc<str>,
    ty: &TensorType,
    array: &Array<'_>,
    shape: &[u64],
) -> Result<(), RunError> {
    let wrong = |found: String| {
        let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
        let expected = format!("{} [{}] = {ty}", ty.dtype, sizes.join(", "));
        Err(RunError::Tensor { what, name: name.clone(), found, expected })
    };
    if array.dtype != ty.dtype || array.shape != shape {
        return wrong(format!("{} {:?}", array.dtype, array.shape));
    }
    if shape_bytes(shape, ty.dtype.bytes()) != Some(array.bytes.len() as u64) {
        return wrong(format!("{} {:?} in {} bytes", array.dtype, array.shape, array.bytes.len()));
    }
    if !array.bytes.as_ptr().cast::<u32>().is_aligned() && ty.dtype.bytes() == 4 && !array.bytes.is_empty() {
        return wrong("not aligned to its elements".to_owned());
    }
    Ok(())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {} threads)", self.plan().name, self.pool.threads())
    }
}
