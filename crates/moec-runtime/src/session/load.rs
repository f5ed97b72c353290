//! Weights into the form that kernels read: by packing them, or from a file of packed ones.
//!
//! Load steps run one by one, each with the weights that it reads. A weight in files is read where it lies
//! and left when no later step reads it, so that loading takes little more memory than its result.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use moec_ir::{IrError, Number, Sizes};
use moec_plan::abi::Program;
use moec_plan::{BufferId, Phase, Place, Plan};

use super::arena::{Arena, buffer_bytes};
use super::frame::Frames;
use super::given::{Given, Memory};
use super::source::WeightSource;
use super::{RunError, nonnull};
use crate::buffer::{Buffer, BufferError, HUGE_PAGE};
use crate::packed::{self, PackedError, PackedFile, Summing};
use crate::threads::{Host, Threads};
use crate::weights::WeightError;

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

/// A program with its weights. Immutable; shared by sessions.
pub struct Loaded {
    program: Arc<dyn Program>,
    /// By number of the plan's buffer.
    kept: Vec<(usize, Memory)>,
    /// What the addresses of mapped weights lead to, by number of the plan's buffer.
    mapped: Vec<(usize, Vec<Memory>)>,
}

// SAFETY: buffers are plain memory that nothing writes any more.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Takes every weight from `source` and runs the load phase on the threads of `pool`.
    pub fn new(
        program: Arc<dyn Program>,
        source: &mut dyn WeightSource,
        pool: &dyn Threads,
    ) -> Result<Loaded, LoadError> {
        let plan = program.plan();
        let sizes = plan.dims.sized().clone();
        let mut frames = Frames::new(plan);
        let mut made: Vec<(usize, Buffer)> = Vec::new();
        for (at, buffer) in plan.buffers.iter().enumerate() {
            let memory = match &buffer.place {
                Place::Literal(values) => literal(plan, at, values, &sizes)?,
                Place::Kept => Buffer::zeroed_kept(buffer_bytes(plan, at, &sizes)?)?,
                _ => continue,
            };
            made.push((at, memory));
        }
        for (at, memory) in &mut made {
            frames.set(*at, nonnull(memory.as_mut_ptr()));
        }
        let mut arena = Arena::new(plan, Phase::Load, &sizes).map_err(from_run)?;
        for (at, pointer) in arena.pointers() {
            frames.set(at, pointer);
        }
        let workers = pool.threads().max(1);
        let stride = load_scratch(plan, &sizes)?;
        let mut scratch = Buffer::zeroed_elements(stride, workers)?;
        frames.bind(&plan.dims, &sizes, scratch.as_mut_ptr(), stride);

        let mut present: BTreeMap<usize, Given> = BTreeMap::new();
        let mut sliced = plan.slices();
        let mut done: Vec<usize> = Vec::new();
        for (number, step) in plan.load.iter().enumerate() {
            if done.contains(&number) {
                continue;
            }
            let mut addresses = Vec::new();
            for buffer in step.kernel.reads() {
                let Some(Buffered { weight, parts }) = weight_of(plan, buffer) else { continue };
                let at = buffer.0 as usize;
                let given = match present.entry(weight) {
                    Entry::Occupied(present) => present.into_mut(),
                    Entry::Vacant(place) => place.insert(Given::fetch(plan, weight, source)?),
                };
                // A weight is only read; the pointer type is shared with buffers that are written.
                let start = match parts {
                    None => given.whole(plan.buffers[at].dtype.bytes())?.as_ptr().cast_mut(),
                    Some(count) => {
                        addresses.push(given.addresses(count)?);
                        addresses.last_mut().map_or(std::ptr::null_mut(), Buffer::as_mut_ptr)
                    }
                };
                frames.set(at, nonnull(start));
            }
            // Its slices go on to the steps that read them, before the next are made.
            let at = sliced.iter().position(|slices| slices.writer == number);
            let slices = at.map(|at| sliced.swap_remove(at));
            let count = slices.as_ref().map_or(1, |slices| slices.count);
            let base = slices.as_ref().map(|slices| (slices.buffer.0 as usize, frames.get(slices.buffer)));
            for slice in 0..count {
                if let (Some(slices), Some((at, base))) = (&slices, base) {
                    let size = slices.elements * plan.buffers[at].dtype.bytes() as u64;
                    frames.set(at, base.wrapping_sub((slice * size) as usize));
                }
                let readers = slices.iter().flat_map(|slices| slices.readers.iter().copied());
                for number in std::iter::once(number).chain(readers) {
                    let mut host = Host { threads: pool, part: (slice, count), watch: None };
                    // SAFETY: the step touches weights, literals, kept buffers and load scratch, all of
                    // which have memory of the plan's size: weights in `present` and `addresses` until
                    // after the call, the others until the end. A buffer made in slices has memory for
                    // this one, to which its pointer is moved; no item of this part touches another
                    // (`Plan::slices`). The step uses no run-time symbol. The entry belongs to this plan.
                    let status = unsafe {
                        let entry = program.entry(Phase::Load);
                        frames.call(entry, number as u64, workers, &mut host)
                    };
                    if status != 0 {
                        return Err(LoadError::Fault { step: plan.load[number].name.clone() });
                    }
                }
            }
            done.extend(slices.into_iter().flat_map(|slices| slices.readers));
            for (_, given) in present.extract_if(.., |weight, _| !is_read_later(plan, *weight, number)) {
                given.leave();
            }
        }

        let kept = made.into_iter().map(|(at, memory)| (at, Memory::Own(memory))).collect();
        let mut loaded = Loaded { program: Arc::clone(&program), kept, mapped: Vec::new() };
        for at in 0..plan.buffers.len() {
            let buffer = BufferId(at as u32);
            let Some(Buffered { weight, parts }) = weight_of(plan, buffer) else { continue };
            if !plan.reads(Phase::Run, buffer) {
                continue;
            }
            let mut given = match present.remove(&weight) {
                Some(given) => given,
                None => Given::fetch(plan, weight, source)?,
            };
            match parts {
                None => loaded.kept.push((at, Memory::Own(given.copied()?))),
                Some(count) => {
                    loaded.kept.push((at, Memory::Own(given.addresses(count)?)));
                    loaded.mapped.push((at, given.into_parts()));
                }
            }
        }
        Ok(loaded)
    }

    /// Loads the weights of `source` and writes what came of them to a file, whole or not at all.
    pub fn pack(
        program: Arc<dyn Program>,
        source: &mut dyn WeightSource,
        pool: &dyn Threads,
        path: &Path,
    ) -> Result<Loaded, PackedError> {
        let samples = packed::samples(program.plan(), source)?;
        let mut summing = Summing::new(source, pool);
        let loaded = Loaded::new(program, &mut summing, pool)?;
        let checksums = [samples, summing.sum()];
        packed::write(path, &*loaded.program, checksums, pool, &|at| loaded.parts(at))?;
        Ok(loaded)
    }

    /// The packed weights of a file, which stay where they are. With a `source`, a file that was packed from
    /// other weights is refused; a few bytes of each are looked at.
    pub fn unpack(
        program: Arc<dyn Program>,
        file: &PackedFile,
        source: Option<&mut dyn WeightSource>,
    ) -> Result<Loaded, PackedError> {
        let sections = file.image(&*program)?;
        let plan = program.plan();
        if let Some(source) = source {
            file.fits_samples(packed::samples(plan, source)?)?;
        }
        let mut loaded = Loaded { program: Arc::clone(&program), kept: Vec::new(), mapped: Vec::new() };
        for (buffer, bytes) in plan.image().buffers.into_iter().zip(sections) {
            let at = buffer.0 as usize;
            match plan.buffers[at].place {
                Place::Mapped { parts, .. } => {
                    let mut given = Given::in_file(bytes);
                    let addresses = given.addresses(parts).map_err(LoadError::from)?;
                    loaded.kept.push((at, Memory::Own(addresses)));
                    loaded.mapped.push((at, given.into_parts()));
                }
                _ => loaded.kept.push((at, Memory::File(bytes))),
            }
        }
        for (at, buffer) in plan.buffers.iter().enumerate() {
            if let Place::Literal(values) = &buffer.place {
                loaded.kept.push((at, Memory::Own(literal(plan, at, values, plan.dims.sized())?)));
            }
        }
        Ok(loaded)
    }

    /// The same with everything that runs read in memory of this process, on huge pages where the system
    /// grants them: for what came from a packed file and is to run as fast as what was packed just now.
    /// Weights that stay mapped stay so.
    pub fn in_memory(mut self, pool: &dyn Threads) -> Result<Loaded, LoadError> {
        for (_, memory) in &mut self.kept {
            if let Memory::File(bytes) = memory {
                let mut copy = Buffer::zeroed_kept(bytes.len() as u64)?;
                pool.run_chunks(copy.as_mut_slice(), HUGE_PAGE, &|index, chunk| {
                    let start = index as usize * HUGE_PAGE;
                    chunk.copy_from_slice(&bytes[start..start + chunk.len()]);
                });
                bytes.leave();
                *memory = Memory::Own(copy);
            }
        }
        Ok(self)
    }

    /// Refuses a file that was packed from other weights than those of `source`, all of which are read.
    pub fn compare(
        program: &dyn Program,
        file: &PackedFile,
        source: &mut dyn WeightSource,
        pool: &dyn Threads,
    ) -> Result<(), PackedError> {
        let mut summing = Summing::new(source, pool);
        let plan = program.plan();
        for weight in 0..plan.weights.len() {
            if is_read(plan, weight, [Phase::Load, Phase::Run]) {
                Given::fetch(plan, weight, &mut summing)?.leave();
            }
        }
        file.fits_sums(summing.sum())
    }

    /// The program.
    pub fn program(&self) -> &Arc<dyn Program> {
        &self.program
    }

    /// Bytes of weights that stay in their files, or where their source put them.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.iter().flat_map(|(_, parts)| parts).map(|part| part.bytes().len()).sum()
    }

    /// Bytes of weights as runs read them, without those that stay mapped.
    pub fn bytes(&self) -> usize {
        self.kept.iter().map(|(_, memory)| memory.bytes().len()).sum()
    }

    /// About what [`Loaded::bytes`] will be for a plan: each buffer is rounded up to whole lines.
    ///
    /// # Errors
    /// If no machine has as much.
    pub fn bytes_for(plan: &Plan) -> Result<u64, IrError> {
        let sizes = plan.dims.sized();
        let loaded = |at: &usize| match plan.buffers[*at].place {
            Place::Literal(_) => true,
            Place::Mapped { .. } => false,
            _ => plan.stays(BufferId(*at as u32)),
        };
        (0..plan.buffers.len()).filter(loaded).try_fold(0u64, |sum, at| {
            let bytes = buffer_bytes(plan, at, sizes)?;
            sum.checked_add(bytes).ok_or_else(|| IrError::Dim("the weights are too large".to_owned()))
        })
    }

    /// The address of each kept buffer, by its number in the plan. Run steps only read them.
    pub(super) fn pointers(&self) -> impl Iterator<Item = (usize, *mut u8)> {
        self.kept.iter().map(|(at, memory)| (*at, nonnull(memory.bytes().as_ptr().cast_mut())))
    }

    /// The bytes of buffer number `at` of the plan's image.
    fn parts(&self, at: usize) -> Vec<&[u8]> {
        match self.mapped.iter().find(|(mapped, _)| *mapped == at) {
            Some((_, parts)) => parts.iter().map(Memory::bytes).collect(),
            None => self.kept.iter().filter(|(kept, _)| *kept == at).map(|(_, m)| m.bytes()).collect(),
        }
    }
}

/// A buffer that holds a weight.
struct Buffered {
    weight: usize,
    /// In how many pieces, if it is an array of their addresses.
    parts: Option<u64>,
}

fn weight_of(plan: &Plan, buffer: BufferId) -> Option<Buffered> {
    match plan.buffer(buffer).place {
        Place::Weight(weight) => Some(Buffered { weight, parts: None }),
        Place::Mapped { weight, parts } => Some(Buffered { weight, parts: Some(parts) }),
        _ => None,
    }
}

/// Whether a step of these phases reads the weight.
fn is_read(plan: &Plan, weight: usize, phases: impl IntoIterator<Item = Phase>) -> bool {
    let mut steps = phases.into_iter().flat_map(|phase| plan.steps(phase));
    steps.any(|step| reads(plan, step, weight))
}

/// Whether a load step after number `step`, or a run step, reads the weight.
fn is_read_later(plan: &Plan, weight: usize, step: usize) -> bool {
    plan.load[step + 1..].iter().any(|step| reads(plan, step, weight)) || is_read(plan, weight, [Phase::Run])
}

fn reads(plan: &Plan, step: &moec_plan::Step, weight: usize) -> bool {
    let of = |buffer: BufferId| weight_of(plan, buffer).is_some_and(|buffered| buffered.weight == weight);
    step.kernel.reads().into_iter().any(of)
}

/// Bytes that buffer number `at` has in an image.
pub(crate) fn image_bytes(plan: &Plan, at: usize, sizes: &Sizes) -> Result<u64, IrError> {
    let buffer = &plan.buffers[at];
    if buffer.place == Place::Kept {
        return buffer_bytes(plan, at, sizes);
    }
    let elements = buffer.elements.eval(sizes)?;
    let bytes = elements.checked_mul(buffer.dtype.bytes() as u64);
    bytes.ok_or_else(|| IrError::Dim(format!("{} of {elements} elements is too large", buffer.name)))
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
