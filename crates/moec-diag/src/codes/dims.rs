//! Faults of sizes: definitions, facts, divisions, bounds.

codes! {
    DIM_CYCLE = "dim-cycle", "dims are defined by each other", "\
A definition may use dims and params whose sizes do not depend on it.

```moe error: dim-cycle
model m {
    dim A = B * 2, B = A / 2
    input x : f32[A]
    output y : f32[A] = x
}
```
";
    DIM_OVERFLOW = "dim-overflow", "a size is too large to count", "\
Every size, and the number of elements of every tensor, must be below 2^63.

```moe error: dim-overflow
model m {
    dim A = 4_000_000_000, B = 4_000_000_000
    input x : f32[A, B]
    output y : f32[A, B] = x
}
```
";
    BAD_SIZE = "bad-size", "a size that is not a whole number of at least zero", "\
`dim R = C - Q` must not become negative, a param in a size must be a number, and a fraction needs `floor( )`.

```moe error: bad-size
model m {
    dim C = 4, R = C - 8
    input x : f32[C]
    output y : f32[C] = x
}
```
";
    NOT_DIVISIBLE = "not-divisible", "a division of sizes does not come out even", "\
`dim M = E / G` asserts that G divides E. Where rounding down is meant, write `floor(E / G)`.

```moe error: not-divisible
model m {
    dim E = 10, G = 4, M = E / G
    input x : f32[E]
    output y : f32[E] = x
}
```
";
    UNDETERMINED_DIM = "undetermined-dim", "nothing says how large a dim is", "\
A dim without a definition is known when the program runs: from an axis of an input, or because the caller sets it. One
that occurs in no input, not even as `2*N`, cannot be found.

```moe error: undetermined-dim
model m {
    dim T, N, H = 4
    input x : f32[T, H]
    output y : f32[N] = zeros(f32[N])
}
```
";
    FACT_VIOLATED = "fact-violated", "a declared fact is false", "\
`fact` lines and `dim X <= Y` are checked, never trusted: when the program is compiled if all sizes are known, else when
the sizes are bound.

```moe error: fact-violated
model m {
    dim Q = 8, C = 4
    fact Q <= C
    input x : f32[C]
    output y : f32[C] = x
}
```
";
    BAD_PARTITION = "bad-partition", "constants that do not partition a dim", "\
`fact partition(hot, cold, E)` says that the constants together hold each of 0 .. E exactly once. One that is missing,
doubled or out of range is named.

```moe error: bad-partition
model m {
    dim E = 4, A = 2
    const hot  : i32[A] = [0, 1]
    const cold : i32[A] = [1, 3]
    fact partition(hot, cold, E)
    input x : f32[E]
    output y : f32[E] = x
}
```
";
    K_TOO_LARGE = "k-too-large", "`top_k` asks for more entries than the axis has", "\
`top_k(s, K, over E)` needs K <= E.

```moe error: k-too-large
model m {
    dim T, E = 4, K = 5
    input s : f32[T, E]
    output y : f32[T, K] = top_k(s, K, over E).value
}
```
";
    ZERO_CAPACITY = "zero-capacity", "a capacity of zero drops every token", "\
Zero is a legal size, and a model whose experts have no slot computes nothing but zeros. If that is meant, say
`fact C == 0`.
";
    UNNAMED_SIZE = "unnamed-size", "a size that no dim names", "\
Every size of a result is a product of numbers and dims, or has a declared name. A `concat` or slice that makes the size
`Q + R` needs a definition that says so.

```moe error: unnamed-size
model m {
    dim Q = 2, R = 3, H = 4
    input a : f32[Q, H]
    input b : f32[R, H]
    let c = concat(a, b, axis 0)
    output y : f32[H] = sum(c, axis 0)
}
```

```moe
model m {
    dim Q = 2, R = 3, H = 4
    dim C = Q + R
    input a : f32[Q, H]
    input b : f32[R, H]
    let c = concat(a, b, axis 0)
    output y : f32[H] = sum(c, axis 0)
}
```
";
    SIZE_NOT_PROVED = "size-not-proved", "two sizes are not provably equal", "\
`rename` needs each pair of sizes equal, `reshape` the number of elements. Definitions of dims are used for the proof;
numbers of run-time dims are not known to it.

```moe error: size-not-proved
model m {
    dim T, H = 6, A = 2, B = 4
    input x : f32[T, H]
    output y : f32[T, A, B] = reshape(x, [T, A, B])
}
```
";
    BAD_SLICE = "bad-slice", "a slice or index outside its axis", "\
`a[C = lo..hi]` needs 0 <= lo <= hi <= C, and `a[P = 1]` needs P > 1. A stride is at least 1.

```moe error: bad-slice
model m {
    dim P = 2, H = 4
    input a : f32[P, H]
    output y : f32[H] = a[P = 2]
}
```
";
}
