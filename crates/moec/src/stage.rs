//! The stages of a compilation, for whoever measures or dumps them.

/// A step on the way from source text to machine code, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Source text to IR: syntax, names, shapes, types.
    Lower,
    /// Equality saturation and extraction.
    Optimise,
    /// The optimised program against the original, by the interpreter on small sizes.
    Validate,
    /// Kernels and buffers.
    Plan,
    /// Machine code.
    Generate,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 5] =
        [Stage::Lower, Stage::Optimise, Stage::Validate, Stage::Plan, Stage::Generate];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Lower => "lower",
            Stage::Optimise => "optimise",
            Stage::Validate => "validate",
            Stage::Plan => "plan",
            Stage::Generate => "generate",
        }
    }
}

/// A form of the program between two stages that can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    /// The IR as lowered.
    Ir,
    /// The e-graph after saturation.
    Egraph,
    /// The optimised IR.
    Opt,
    /// Kernels and buffers.
    Plan,
    /// Cranelift's IR.
    Clif,
    /// The machine code.
    Asm,
}

impl Emit {
    /// Every form, in the order of compilation.
    pub const ALL: [Emit; 6] = [Emit::Ir, Emit::Egraph, Emit::Opt, Emit::Plan, Emit::Clif, Emit::Asm];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Emit::Ir => "ir",
            Emit::Egraph => "egraph",
            Emit::Opt => "opt",
            Emit::Plan => "plan",
            Emit::Clif => "clif",
            Emit::Asm => "asm",
        }
    }

    /// The form of that name.
    pub fn from_name(name: &str) -> Option<Emit> {
        Emit::ALL.into_iter().find(|emit| emit.name() == name)
    }
}
