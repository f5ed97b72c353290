//! Matrices in MXFP4 (OCP Microscaling Formats 1.0): 32 numbers along the last axis are 16 bytes and a
//! scale. Owns how they lie in files and the function of `.moe` that unpacks them.

use crate::spec::Spec;

/// Numbers of a block.
pub(crate) const BLOCK: u64 = 32;

/// What the names of tensors end in: the bytes, and the scales.
pub(crate) const BLOCKS: &str = "_blocks";
pub(crate) const SCALES: &str = "_scales";

/// Dims that unpacking needs: bytes of a block, and codes.
pub(crate) const DIMS: [(&str, u64); 2] = [("B", 16), ("V", 16)];

/// The numbers that the codes stand for.
pub(crate) const TABLE: &str =
    "const e2m1 : f32[V] = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]";

/// A code is four bits, the low half of a byte first. Every result is a bf16 without rounding.
pub(crate) const FUNCTION: &str = "\
/// 32 numbers in 16 bytes and a scale: a byte holds two codes, the low one first. The scale is 2^(s - 127), and 255
/// is no number.
fn mxfp4(blocks: u8[E, N, Q, B], scales: u8[E, N, Q], e2m1: f32[V], P: dim) -> bf16[E, N, Q, B, P] {
let byte = expand(i32(blocks), [E, N, Q, B, P])
let code = mod(byte, 16) where iota(P) == 0 else floor_div(byte, 16)
let scale = exp2(f32(scales) - 127) where i32(scales) < 255 else inf - inf
bf16(e2m1[V = code] * scale)
}
";

/// The dim that counts the blocks along another.
pub(crate) fn blocks_of(dim: &str) -> String {
    format!("{dim}b")
}

/// The two tensors of a packed one.
pub(crate) fn parts(spec: &Spec) -> [Spec; 2] {
    let mut scales =
        Spec { name: format!("{}{SCALES}", spec.name), axes: spec.axes.clone(), is_mxfp4: false };
    if let Some(last) = scales.axes.last_mut() {
        *last = vec![blocks_of(&last.join(""))];
    }
    let mut blocks = Spec { name: format!("{}{BLOCKS}", spec.name), ..scales.clone() };
    blocks.axes.push(vec!["B".to_owned()]);
    [blocks, scales]
}
