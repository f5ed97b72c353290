//! What runs: kernels, buffers, tiles and the calling convention of generated code.
