//! Times compiled programs beside the limits of the machine, measured in the same rounds. Owns clocks,
//! probes and medians, the layers that benchmarks are about, and inputs that steer their routing. Knows
//! nothing of kernels: what it times is what the facade gives.

mod caller;
mod layer;
mod measure;
mod probes;
mod routing;
mod steps;
mod tile;
mod work;

pub use caller::Caller;
pub use layer::{Expert, LAYERS, Layer, LayerWeights, Types};
pub use measure::{Contender, ROUND, Rounds, Row, measure, median, table, take_turns};
pub use probes::{Probes, Rates};
pub use routing::{routed, touched};
pub use steps::{StepTime, step_table};
pub use tile::{TileSpeed, tile_speeds};
pub use work::{Useful, useful};

/// Something that cannot be timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is nothing to call it with.
    #[error("there are no inputs")]
    NoInput,
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] moec::CompileError),
    /// Its weights cannot be loaded.
    #[error(transparent)]
    Load(#[from] moec::LoadError),
    /// A tile cannot be run here.
    #[error(transparent)]
    Tile(#[from] moec::tiles::CodegenError),
    /// A call failed.
    #[error(transparent)]
    Run(#[from] moec::RunError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] moec::buffer::BufferError),
}
