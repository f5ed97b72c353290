//! The programs whose forms are compared.

use moec::Numerics;
use moec::diag::SourceFile;
use moec_bench::{Expert, Layer, Types};

/// A program, the numbers of tokens it is run with, and where its forms come from.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) source: SourceFile,
    /// Values for its dims.
    pub(crate) set: &'static [(&'static str, u64)],
    pub(crate) tokens: &'static [u64],
    /// Whether its forms are what is extracted for those numbers of tokens alone; else, for the number
    /// at hand, few and many, and with fewer rewrites.
    pub(crate) by_tokens: bool,
}

/// `k` is 0 where all experts are computed, weighted by a softmax.
const LAYERS: [Layer; 8] = [
    Layer::plain("tiny", 4, 2, 16, 16, Expert::Relu),
    Layer::plain("few", 4, 3, 64, 64, Expert::Relu),
    Layer::plain("half", 8, 4, 128, 128, Expert::Relu),
    Layer::plain("most", 8, 7, 256, 256, Expert::Relu),
    Layer::plain("sparse", 16, 2, 256, 256, Expert::Relu),
    Layer::plain("many", 64, 8, 64, 32, Expert::Relu),
    Layer::plain("large", 8, 6, 1024, 1024, Expert::Relu),
    Layer::plain("soft", 8, 0, 256, 256, Expert::Chain),
];

/// The layers, which are cheaper sparse or dense, whatever the number of tokens.
pub(crate) fn layers() -> Vec<Case> {
    let case = |layer: &Layer| Case {
        name: layer.name,
        source: layer.source(Types::F32),
        set: &[],
        tokens: &[1, 4, 32, 256],
        by_tokens: false,
    };
    LAYERS.iter().map(case).collect()
}

macro_rules! crossings {
    ($($name:literal $file:literal [$($dim:ident = $size:literal),*] at $tokens:expr;)*) => {
        vec![$(Case {
            name: $name,
            source: SourceFile::new($file, include_str!($file)),
            set: &[$((stringify!($dim), $size)),*],
            tokens: &$tokens,
            by_tokens: true,
        }),*]
    };
}

/// Programs of which few tokens and many get different forms, on both sides of the border.
pub(crate) fn crossings() -> Vec<Case> {
    crossings! {
        "shared, 16 experts" "shared.moe" [H = 32, F = 32, E = 16, K = 3] at [1, 4, 32, 256];
        "shared, 8 experts" "shared.moe" [H = 64, F = 64] at [1, 4, 32, 256];
        "task, 8 experts" "task.moe" [] at [1, 4, 64, 256];
        "task, 32 experts" "task.moe" [H = 64, O = 64, E = 32] at [1, 16, 64, 256];
        "linear, 7 of 8" "linear.moe" [H = 64, O = 64, K = 7] at [1, 4, 32, 256];
        "linear, 3 of 4" "linear.moe" [H = 64, O = 32, E = 4, K = 3] at [1, 4, 32, 256];
        "bias, narrow" "bias.moe" [H = 40, O = 24, E = 16] at [1, 16, 256];
        "bias, wide" "bias.moe" [H = 256, O = 32] at [1, 16, 256, 1024];
        "chain, 48 wide" "chain.moe" [] at [1, 16, 64, 256];
        "chain, 56 wide" "chain.moe" [F = 56] at [1, 16, 64, 256];
        "low rank, 48" "low_rank.moe" [] at [1, 4, 48, 256];
        "low rank, 28" "low_rank.moe" [H = 64, R = 28] at [1, 4, 32, 256];
        "small" "small.moe" [] at [1, 4, 32, 256];
    }
}

impl Case {
    /// The extractions that are its forms at that many tokens.
    pub(crate) fn extractions(&self, tokens: u64) -> Vec<(u64, Numerics)> {
        let free = Numerics::Reassociate;
        match self.by_tokens {
            true => self.tokens.iter().map(|&at| (at, free)).collect(),
            false => vec![(tokens, free), (1, free), (4096, free), (tokens, Numerics::Bit)],
        }
    }
}
