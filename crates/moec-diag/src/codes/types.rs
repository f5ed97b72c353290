//! Faults of types: element types, routes, and what a declared type promises.

codes! {
    ELEMENT_TYPE = "element-type", "an element type that does not fit", "\
Widening bf16 or f16 to f32 is exact and happens by itself. Nothing narrows by itself, and no integer becomes a float:
round on purpose, with `bf16(x)`, `f32(n)`, `i32(mask)`.

```moe error: element-type
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : bf16[T, H] = x * 2
}
```

```moe
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : bf16[T, H] = bf16(x * 2)
}
```
";
    TYPE_MISMATCH = "type-mismatch", "a value has another type than declared", "\
The type after `:` is a promise to the reader, checked axis by axis, in order. `transpose`, `rename` and `reshape` convert.

```moe error: type-mismatch
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[H, T] = x
}
```
";
    ROUTE_AS_TENSOR = "route-as-tensor", "`top_k` gives a route, not a tensor", "\
A route has three sides: `.mask` (bool, over the axis that was searched), `.index` and `.value` (over the K entries, in
order of score). Which one is meant decides the model, so it is written.

```moe error: route-as-tensor
model m {
    dim T, E = 4
    input p : f32[T, E]
    output g : f32[T, E] = normalize(top_k(p, 2, over E), over E)
}
```

```moe
model m {
    dim T, E = 4
    input p : f32[T, E]
    output g : f32[T, E] = normalize(p where top_k(p, 2, over E).mask else 0, over E)
}
```
";
    NO_SUCH_FIELD = "no-such-field", "a field that the value does not have", "\
Only a route has fields: `.mask`, `.index` and `.value`. `.T` is the transpose of a matrix.

```moe error: no-such-field
model m {
    dim T, E = 4
    input p : f32[T, E]
    output y : f32[T, E] = p.weights
}
```
";
    NOT_CONSTANT = "not-constant", "something that must be known when compiling", "\
Attributes such as `eps = 1e-6`, the k of `top_k`, bounds of slices and lists of sizes are fixed when the program is
compiled: numbers, params and dims, no tensors.

```moe error: not-constant
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = rms_norm(x, over H, eps = x)
}
```
";
    BAD_CONST = "bad-const", "a constant that does not fit its type", "\
The nested lists of a `const` have the sizes of its type, which are known numbers, and its elements fit the element type.

```moe error: bad-const
model m {
    dim A = 3
    const hot : i32[A] = [5, 1]
    input x : f32[A]
    output y : f32[A] = x
}
```
";
    BAD_OVERRIDE = "bad-override", "a `--set` that does not fit", "\
`--set name=value` overrides a param, with a value of the same kind, or gives a size to a dim.
";
}
