//! A slow evaluator of plans in f64 that does literally what the plan's types say. It is how the
//! planner is tested, and a specification for the code generator: every access is checked against
//! the buffer's size, and reading an element that no step wrote is an error.

mod kernels;
mod scalars;

use std::collections::BTreeMap;

use moec_interp::{Tensor, round_to};
use moec_ir::{Dim, Sizes};
use moec_plan::{BufferId, Load, Phase, Place, Plan, Store};

/// An index out of range in the data.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault;

/// The memory of a plan.
pub(crate) struct Machine<'a> {
    plan: &'a Plan,
    sizes: Sizes,
    buffers: Vec<Vec<Option<f64>>>,
}

/// A point of a kernel's index space.
type Point = Vec<u64>;

/// The outputs of `plan` by name, for inputs and weights by name.
pub(crate) fn evaluate(
    plan: &Plan,
    sizes: &Sizes,
    given: &BTreeMap<String, Tensor>,
) -> Result<Vec<(String, Tensor)>, Fault> {
    let sizes = plan.dims.bind(sizes).unwrap();
    let mut machine = Machine { plan, sizes, buffers: Vec::new() };
    for buffer in &plan.buffers {
        let count = buffer.elements.eval(&machine.sizes).unwrap() as usize;
        let data: Vec<Option<f64>> = match &buffer.place {
            Place::Input(at) => of(given, &plan.inputs[*at].0),
            Place::Weight(weight) | Place::Mapped { weight, .. } => of(given, &plan.weights[*weight].0),
            Place::Literal(values) => values.iter().map(|v| Some(round_to(buffer.dtype, v.get()))).collect(),
            Place::Output(_) | Place::Kept | Place::Scratch { .. } => vec![None; count],
        };
        assert_eq!(data.len(), count, "{}", buffer.name);
        machine.buffers.push(data);
    }
    for phase in [Phase::Load, Phase::Run] {
        let active = match phase {
            Phase::Load => 0..plan.load.len(),
            Phase::Run => plan.active(&machine.sizes),
        };
        for (at, step) in plan.steps(phase).iter().enumerate().skip(active.start).take(active.len()) {
            machine.forget(phase, at);
            machine.step(&step.kernel).inspect_err(|_| eprintln!("fault in {}", step.name))?;
        }
        // Load scratch is gone when runs begin.
        machine.forget(phase, usize::MAX);
    }
    let mut outputs = Vec::new();
    for (at, (name, ty)) in plan.outputs.iter().enumerate() {
        let place = plan.buffers.iter().position(|b| b.place == Place::Output(at)).unwrap();
        let data = machine.buffers[place].iter().map(|e| e.expect("an output has a hole")).collect();
        let shape: Vec<usize> = ty.shape.iter().map(|d| machine.size(d) as usize).collect();
        outputs.push((name.to_string(), Tensor::new(ty.dtype, shape, data).unwrap()));
    }
    Ok(outputs)
}

fn of(given: &BTreeMap<String, Tensor>, name: &str) -> Vec<Option<f64>> {
    given[name].data.iter().map(|v| Some(*v)).collect()
}

impl Machine<'_> {
    fn size(&self, dim: &Dim) -> u64 {
        dim.eval(&self.sizes).unwrap()
    }

    fn sizes(&self, dims: &[Dim]) -> Vec<u64> {
        dims.iter().map(|d| self.size(d)).collect()
    }

    /// Scratch memory holds nothing outside its life.
    fn forget(&mut self, now: Phase, at: usize) {
        for (buffer, data) in self.plan.buffers.iter().zip(&mut self.buffers) {
            if let Place::Scratch { phase, first, last } = buffer.place
                && (phase != now || at < first || at > last)
            {
                data.fill(None);
            }
        }
    }

    /// Every point of a shape, in row-major order.
    fn points(&self, shape: &[Dim]) -> Vec<Point> {
        let mut points = vec![Vec::new()];
        for size in self.sizes(shape) {
            let longer = |p: &Point| {
                let p = p.clone();
                (0..size).map(move |i| [p.as_slice(), &[i]].concat()).collect::<Vec<_>>()
            };
            points = points.iter().flat_map(longer).collect();
        }
        points
    }

    fn offset(&self, summands: &[Dim]) -> u64 {
        self.sizes(summands).iter().sum()
    }

    fn read(&self, buffer: BufferId, at: u64) -> f64 {
        let name = &self.plan.buffer(buffer).name;
        let data = &self.buffers[buffer.0 as usize];
        assert!((at as usize) < data.len(), "read of {name}[{at}] of {}", data.len());
        data[at as usize].unwrap_or_else(|| panic!("{name}[{at}] is read before it is written"))
    }

    fn write(&mut self, buffer: BufferId, at: u64, value: f64) {
        let Buffer { name, dtype } = self.describe(buffer);
        let data = &mut self.buffers[buffer.0 as usize];
        assert!((at as usize) < data.len(), "write of {name}[{at}] of {}", data.len());
        let held = round_to(dtype, value);
        assert!(
            dtype == moec_ir::DType::F32 || held == value || value.is_nan(),
            "{value} is not a {dtype} for {name}"
        );
        data[at as usize] = Some(value);
    }

    fn describe(&self, buffer: BufferId) -> Buffer {
        let buffer = self.plan.buffer(buffer);
        Buffer { name: buffer.name.clone(), dtype: buffer.dtype }
    }

    /// Stores `value` at a point of the axes of `out`.
    fn store(&mut self, out: &Store, point: &[u64], value: f64) {
        assert_eq!(out.strides.len(), point.len(), "strides of a store");
        let strides = self.sizes(&out.strides);
        let at = self.offset(&out.offset) + strides.iter().zip(point).map(|(s, i)| s * i).sum::<u64>();
        self.write(out.buffer, at, value);
    }

    fn load(&self, load: &Load, index: impl Fn(moec_plan::Index) -> u64) -> f64 {
        let terms = load.terms.iter().map(|(i, stride)| index(*i) * self.size(stride));
        self.read(load.buffer, self.offset(&load.offset) + terms.sum::<u64>())
    }
}

struct Buffer {
    name: String,
    dtype: moec_ir::DType,
}
