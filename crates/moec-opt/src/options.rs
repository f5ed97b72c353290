//! What the caller chooses: numerics, target, limits.

/// How far the bits of a result may move. Each class contains those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numerics {
    /// Identical bits.
    Bit,
    /// Identical for finite data: `0 * y` may vanish, and so may the sign of a zero.
    Finite,
    /// Sums and products may be taken in another order.
    Reassociate,
    /// Anything that was asked for by name.
    Lossy,
}

impl Numerics {
    /// Every class, from the strictest on.
    pub const ALL: [Numerics; 4] = [Numerics::Bit, Numerics::Finite, Numerics::Reassociate, Numerics::Lossy];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Numerics::Bit => "bit",
            Numerics::Finite => "finite",
            Numerics::Reassociate => "reassociate",
            Numerics::Lossy => "lossy",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Numerics> {
        Numerics::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// The constants of the cost model. The defaults are those of two cores with AVX-512.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Floating-point operations per second of matrix tiles.
    pub matrix_flops: f64,
    /// Floating-point operations per second of loops over elements.
    pub element_flops: f64,
    /// Bytes per second from memory.
    pub bandwidth: f64,
    /// Seconds to start one kernel.
    pub launch: f64,
}

impl Default for Target {
    fn default() -> Target {
        Target { matrix_flops: 200e9, element_flops: 20e9, bandwidth: 20e9, launch: 2e-6 }
    }
}

/// Where saturation stops. Never a time: the result is the same on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most e-nodes.
    pub nodes: usize,
    /// The most rounds.
    pub iterations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 50_000, iterations: 40 }
    }
}

/// How to optimise.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Rules above this class are off.
    pub numerics: Numerics,
    /// The number that costs assume for every size that is known only at run time.
    pub tokens: u64,
    /// The machine that costs assume.
    pub target: Target,
    /// Where saturation stops.
    pub limits: Limits,
    /// Names of rules that are off.
    pub ablate: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            numerics: Numerics::Reassociate,
            tokens: 64,
            target: Target::default(),
            limits: Limits::default(),
            ablate: Vec::new(),
        }
    }
}
