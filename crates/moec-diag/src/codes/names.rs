//! Faults of naming: what is not declared, or declared twice, or called in the wrong way.

codes! {
    UNKNOWN_NAME = "unknown-name", "a name that nothing declares", "\
A value is declared by `input`, `weight`, `const`, `param`, `let` or a parameter of the `fn`, and in front of its use.
A bound index lives inside its fold only.

```moe error: unknown-name
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = x + bias
}
```
";
    UNKNOWN_DIM = "unknown-dim", "a dim that nothing declares", "\
A dim is declared by a `dim` line of the model; in a `fn` it must occur in the signature.

```moe error: unknown-dim
model m {
    dim T
    input x : f32[T, H]
    output y : f32[T, H] = x
}
```
";
    UNKNOWN_FUNCTION = "unknown-function", "a call of something that is no operation and no `fn`", "\
Operations are listed in `ir-specs/`; functions are declared by `fn` in the same file, and `swiglu` is always there.

```moe error: unknown-function
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = swish(x)
}
```
";
    DUPLICATE_NAME = "duplicate-name", "one name is declared twice", "\
Within a model all values share one space of names, all dims another, and the models and functions of a file a third.

```moe error: duplicate-name
model m {
    dim T, H = 4
    input x : f32[T, H]
    let x = x + 1
    output y : f32[T, H] = x
}
```
";
    SHADOWED_INDEX = "shadowed-index", "an index hides one that is still in use", "\
Inside `sum e over E { .. }` the name `e` means the running index. A second binder or `let` of that name would make
`w[e]` ambiguous to its reader: choose another letter.

```moe error: shadowed-index
model m {
    dim T, G = 2, E = 4
    input p : f32[T, G, E]
    output y : f32[T] = sum e over G { sum e over E { p[e] } }
}
```
";
    WRONG_ARGUMENTS = "wrong-arguments", "a call has the wrong arguments", "\
Too few or too many, one that has another form (a dim, a list, an `over`), or a named one that the operation does not
know. The message shows the form of the call.

```moe error: wrong-arguments
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = clamp(x, 0)
}
```
";
    RECURSIVE_FUNCTION = "recursive-function", "a function calls itself", "\
Calls are replaced by the body of the function, so no function may come back to itself, directly or through others.

```moe error: recursive-function
fn f(x: f32[.., H]) -> f32[.., H] {
    f(x) + 1
}

model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = f(x)
}
```
";
    NO_OUTPUT = "no-output", "a model without output", "\
A model computes its outputs; one without any computes nothing.

```moe error: no-output
model m {
    dim T, H = 4
    input x : f32[T, H]
}
```
";
}
