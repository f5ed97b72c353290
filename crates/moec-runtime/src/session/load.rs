//! Weights into the form that kernels read.

use std::fmt;
use std::sync::Arc;

use moec_ir::{IrError, Number, Sizes, TensorType};
use moec_plan::abi::Program;
use moec_plan::{BufferId, Phase, Place, Plan};

use super::arena::{Arena, buffer_bytes};
use super::frame::Frames;
use super::{RunError, nonnull};
use crate::buffer::{Buffer, BufferError};
use crate::threads::Pool;
use crate::weights::{FileBytes, WeightError};

/// Weights that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A weight that is missing, wrong or unreadable.
    #[error("weight `{name}`: {source}")]
    Weight {
        /// Its name in the program.
        name: Arc<str>,
        /// What is wrong.
        source: WeightError,
    },
    /// Memory that cannot be had.
    #[error(transparent)]
    Memory(#[from] BufferError),
    /// A size that does not fit.
    #[error(transparent)]
    Sizes(#[from] IrError),
    /// An index in the weights that is out of range.
    #[error("an index is out of range in load step {step}")]
    Fault {
        /// The name of the step.
        step: String,
    },
}

/// The elements of a weight, row-major, of its declared type.
pub enum WeightBytes<'a> {
    /// One tensor.
    Whole(&'a [u8]),
    /// One tensor of a file, or those of a stack in order. A weight that stays mapped is never
    /// copied if it comes like this; given in another way, it lies in memory.
    Parts(Vec<FileBytes>),
    /// Elements made for the occasion.
    Made(Buffer),
}

/// Where weights come from.
pub trait WeightSource {
    /// The elements of the weight `name`, whose file name pattern is `from`.
    fn weight(&mut self, name: &str, from: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError>;
}

/// A program with its weights. Immutable; shared by sessions.
pub struct Loaded {
    program: Arc<dyn Program>,
    /// By number of the plan's buffer.
    kept: Vec<(usize, Buffer)>,
    /// What the addresses of mapped weights lead to.
    mapped: Vec<Mapped>,
}

// SAFETY: buffers are plain memory that nothing writes any more.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Takes every weight from `source` and runs the load phase on `pool`.
    pub fn new(
        program: Arc<dyn Program>,
        source: &mut dyn WeightSource,
        pool: &Pool,
    ) -> Result<Loaded, LoadError> {
        let plan = program.plan();
        let sizes = plan.dims.sized().clone();
        let mut frames = Frames::new(plan);
        let mut kept: Vec<(usize, Buffer)> = Vec::new();
        // Weights are copied one by one out of their files, so that pages of the files need not
        // stay.
        let mut passing: Vec<(usize, Buffer)> = Vec::new();
        let mut mapped = Vec::new();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let memory = match &buffer.place {
                Place::Weight(n) if reads_weight(plan, at) => weight(plan, *n, source)?,
                Place::Mapped { weight, parts } => {
                    let (addresses, parts) = map_weight(plan, *weight, *parts, source)?;
                    mapped.extend(parts);
                    addresses
                }
                Place::Literal(values) => literal(plan, at, values, &sizes)?,
                Place::Kept => Buffer::zeroed(buffer_bytes(plan, at, &sizes)?)?,
                _ => continue,
            };
            let at_run =
                !matches!(buffer.place, Place::Weight(_)) || plan.reads(Phase::Run, BufferId(at as u32));
            let list = if at_run { &mut kept } else { &mut passing };
            list.push((at, memory));
        }
        for (at, memory) in kept.iter_mut().chain(&mut passing) {
            frames.set(*at, nonnull(memory.as_mut_ptr()));
        }
        let mut arena = Arena::new(plan, Phase::Load, &sizes).map_err(from_run)?;
        for (at, pointer) in arena.pointers() {
            frames.set(at, pointer);
        }
        let stride = load_scratch(plan, &sizes)?;
        let mut scratch = Buffer::zeroed_elements(stride, pool.threads())?;
        frames.bind(&plan.dims, &sizes, scratch.as_mut_ptr(), stride);
        // SAFETY: load steps touch weights, literals, kept buffers and load scratch, all of which
        // have memory of the plan's size; they use no run-time symbol. The entry belongs to this
        // plan.
        let status = unsafe { frames.call(program.entry(Phase::Load), pool) };
        if let Some(step) = plan.load.get((status as usize).wrapping_sub(1)) {
            return Err(LoadError::Fault { step: step.name.clone() });
        }
        Ok(Loaded { program, kept, mapped })
    }

    /// The program.
    pub fn program(&self) -> &Arc<dyn Program> {
        &self.program
    }

    /// Bytes of weights that stay in their files, or where their source put them.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.iter().map(|part| part.bytes().len()).sum()
    }

    /// Bytes of memory that weights take, without those that stay mapped.
    pub fn bytes(&self) -> usize {
        self.kept.iter().map(|(_, buffer)| buffer.len()).sum()
    }

    /// The address of each kept buffer, by its number in the plan. Run steps only read them.
    pub(super) fn pointers(&self) -> impl Iterator<Item = (usize, *mut u8)> {
        self.kept.iter().map(|(at, buffer)| (*at, nonnull(buffer.as_ptr().cast_mut())))
    }
}

fn load_scratch(plan: &Plan, sizes: &Sizes) -> Result<u64, IrError> {
    plan.load.iter().try_fold(0, |bytes, step| Ok(step.kernel.scratch(sizes)?.max(bytes)))
}

fn from_run(error: RunError) -> LoadError {
    match error {
        RunError::Memory(error) => error.into(),
        RunError::Sizes(error) => error.into(),
        other => LoadError::Fault { step: other.to_string() },
    }
}

fn weight(plan: &Plan, n: usize, source: &mut dyn WeightSource) -> Result<Buffer, LoadError> {
    let (name, ty, from) = &plan.weights[n];
    let fail = |source: WeightError| LoadError::Weight { name: name.clone(), source };
    Ok(in_memory(source.weight(name, from, ty).map_err(fail)?)?)
}

/// All elements of a weight in one buffer.
fn in_memory(weight: WeightBytes<'_>) -> Result<Buffer, BufferError> {
    let files;
    let parts: Vec<&[u8]> = match weight {
        WeightBytes::Made(buffer) => return Ok(buffer),
        WeightBytes::Whole(bytes) => vec![bytes],
        WeightBytes::Parts(parts) => {
            files = parts;
            files.iter().map(|part| &**part).collect()
        }
    };
    let total = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut buffer = Buffer::zeroed(total.max(1) as u64)?;
    let mut rest = &mut buffer.as_mut_slice::<u8>()[..total];
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    Ok(buffer)
}

/// A weight that stays where it is.
enum Mapped {
    File(FileBytes),
    Memory(Buffer),
}

impl Mapped {
    fn bytes(&self) -> &[u8] {
        match self {
            Mapped::File(bytes) => bytes,
            Mapped::Memory(buffer) => buffer.as_slice(),
        }
    }
}

/// Whether any step reads the buffer of a weight.
fn reads_weight(plan: &Plan, at: usize) -> bool {
    [Phase::Load, Phase::Run].into_iter().any(|phase| plan.reads(phase, BufferId(at as u32)))
}

/// The addresses of the `count` parts of weight number `n`, and what holds them.
fn map_weight(
    plan: &Plan,
    n: usize,
    count: u64,
    source: &mut dyn WeightSource,
) -> Result<(Buffer, Vec<Mapped>), LoadError> {
    let (name, ty, from) = &plan.weights[n];
    let fail = |source: WeightError| LoadError::Weight { name: name.clone(), source };
    let given = source.weight(name, from, ty).map_err(fail)?;
    let parts = match given {
        WeightBytes::Parts(parts) if parts.len() == 1 || parts.len() as u64 == count => {
            parts.into_iter().map(Mapped::File).collect()
        }
        // Several axes are stacked, or the bytes are only lent.
        other => vec![Mapped::Memory(in_memory(other)?)],
    };
    let mut addresses = Buffer::zeroed(count.max(1) * 8)?;
    let slices = parts.iter().flat_map(|part| {
        let bytes = part.bytes();
        let pieces = count as usize / parts.len();
        let size = bytes.len() / pieces.max(1);
        (0..pieces).map(move |piece| bytes.as_ptr().wrapping_add(piece * size))
    });
    for (to, address) in addresses.as_mut_slice::<u8>().chunks_exact_mut(8).zip(slices) {
        to.copy_from_slice(&(address.expose_provenance() as u64).to_ne_bytes());
    }
    Ok((addresses, parts))
}

fn literal(plan: &Plan, at: usize, values: &[Number], sizes: &Sizes) -> Result<Buffer, LoadError> {
    use moec_ir::DType;
    let mut buffer = Buffer::zeroed(buffer_bytes(plan, at, sizes)?)?;
    let dtype = plan.buffers[at].dtype;
    for (element, value) in buffer.as_mut_slice::<u8>().chunks_exact_mut(dtype.bytes()).zip(values) {
        let value = value.get();
        match dtype {
            DType::F32 => element.copy_from_slice(&(value as f32).to_ne_bytes()),
            DType::I32 => element.copy_from_slice(&(value as i32).to_ne_bytes()),
            DType::Bf16 => element.copy_from_slice(&half::bf16::from_f64(value).to_ne_bytes()),
            DType::F16 => element.copy_from_slice(&half::f16::from_f64(value).to_ne_bytes()),
            DType::U8 => element[0] = value as u8,
            DType::Bool => element[0] = u8::from(value != 0.0),
        }
    }
    Ok(buffer)
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({}, {} bytes)", self.program.plan().name, self.bytes())
    }
}
