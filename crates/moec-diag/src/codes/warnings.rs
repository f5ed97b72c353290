//! Warnings: legal, and probably not what was meant.

codes! {
    UNUSED_LET = "unused-let", "a `let` that nothing uses", "\
The value is not computed. A name that starts with `_` says that this is known.

```moe warning: unused-let
model m {
    dim T, H = 4
    input x : f32[T, H]
    let p = softmax(x, over H)
    output y : f32[T, H] = x
}
```
";
    UNUSED_INDEX = "unused-index", "a fold whose body does not use its index", "\
`sum e over E { x }` is `x` times the size of E, which is seldom meant. Write that product if it is.

```moe warning: unused-index
model m {
    dim T, E = 4
    input x : f32[T]
    output y : f32[T] = sum e over E { x }
}
```
";
    UNUSED_DECLARATION = "unused-declaration", "an input, weight, const, param or dim that nothing uses", "\
It is still part of the model's contract: its file must hold the weight, its caller must give the input.

```moe warning: unused-declaration
model m {
    dim T, H = 4
    input x, z : f32[T, H]
    output y : f32[T, H] = x
}
```
";
    SHADOWED_DIM = "shadowed-dim", "a parameter of a function has the name of an outer thing", "\
The dims of a `fn` are its own: `H` in a signature is solved from the arguments and has nothing to do with the `H` of
the model that calls it. The warning is given where the two differ in size within one call.
";
}
