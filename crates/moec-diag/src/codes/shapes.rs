//! Faults of axes: which axes meet, and by which name.

codes! {
    SHAPE_MISMATCH = "shape-mismatch", "operands whose axes do not fit", "\
Operands are matched by the names of their axes, and one operand must hold every axis of the others. There is no outer
product by accident, and an axis of size 1 does not stretch.

```moe error: shape-mismatch
model m {
    dim T, E = 4, O = 8
    input gate : f32[T, E]
    input out : f32[T, O]
    output y : f32[T, O] = gate * out
}
```

If the outer product is meant, say so with `einsum` or `expand`:

```moe
model m {
    dim T, E = 4, O = 8
    input gate : f32[T, E]
    input out : f32[T, O]
    output y : f32[T, E, O] = einsum(\"te,to->teo\", gate, out)
}
```
";
    CONTRACTION_MISMATCH = "contraction-mismatch", "`@` contracts two axes of different names", "\
`a @ b` contracts the last axis of `a` with the last but one of `b`, and the two must be one dim. Weights that are stored
as torch.nn.Linear stores them need `.T`.

```moe error: contraction-mismatch
model m {
    dim T, H = 4, F = 8
    input x : f32[T, H]
    input w : f32[F, H]
    output y : f32[T, H] = x @ w
}
```

```moe
model m {
    dim T, H = 4, F = 8
    input x : f32[T, H]
    input w : f32[F, H]
    output y : f32[T, F] = x @ w.T
}
```
";
    NO_SUCH_AXIS = "no-such-axis", "an axis that the tensor does not have", "\
`p[e]`, `over E`, `a[P = 0]` need the named axis, `axis n` needs more than n axes. `.value` and `.index` of a route have
the axis K, in order of score; `.mask` has E.

```moe error: no-such-axis
model m {
    dim T, E = 4, K = 2
    input s : f32[T, E]
    let p = top_k(s, K, over E).value
    output y : f32[T] = sum e over E { p[e] }
}
```
";
    AMBIGUOUS_AXIS = "ambiguous-axis", "a name that fits two axes", "\
A tensor may have a dim twice. Whatever must choose one of the two asks for a second name for the same size.

```moe error: ambiguous-axis
model m {
    dim F = 4
    input c : f32[F, F]
    input b : f32[F]
    output y : f32[F, F] = c + b
}
```

```moe
model m {
    dim F = 4, J = F
    input c : f32[F, F]
    input b : f32[F]
    output y : f32[J, F] = rename(c, [J, F]) + b
}
```
";
    SAME_SIZE_OTHER_NAME = "same-size-other-name", "axes of one size with two names", "\
Names are nominal: `dim E = G * M` gives E the size of `G*M` and another name. One `rename` says that the two are meant to
be the same.

```moe error: same-size-other-name
model m {
    dim T, G = 2, M = 3
    dim E = G * M
    input a : f32[T, E]
    input b : f32[T, G*M]
    output y : f32[T, E] = a + b
}
```

```moe
model m {
    dim T, G = 2, M = 3
    dim E = G * M
    input a : f32[T, E]
    input b : f32[T, G*M]
    output y : f32[T, E] = a + rename(b, [T, E])
}
```
";
    RANK_MISMATCH = "rank-mismatch", "a tensor with the wrong number of axes", "\
`.T` is for two axes (use `transpose(x, [..])` else), `@` for one axis or more, a permutation lists every axis once.

```moe error: rank-mismatch
model m {
    dim A = 2, B = 3, C = 4
    input x : f32[A, B, C]
    output y : f32[C, B, A] = x.T
}
```
";
    BAD_PERMUTATION = "bad-permutation", "a list of axes that is no permutation", "\
`transpose(x, [2, 0, 1])` lists every position from 0 once: the i-th axis of the result is the listed axis of `x`.

```moe error: bad-permutation
model m {
    dim A = 2, B = 3
    input x : f32[A, B]
    output y : f32[A, B] = transpose(x, [0, 0])
}
```
";
    BAD_EINSUM = "bad-einsum", "an `einsum` text that cannot be read or does not fit", "\
`einsum(\"th,tec->ech\", x, d)`: one group of letters per tensor, one letter per axis, one letter for one dim; the result's
letters occur on the left, each once.

```moe error: bad-einsum
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T] = einsum(\"th->x\", x)
}
```
";
    DUPLICATE_AXIS = "duplicate-axis", "one axis is listed twice", "\
A list of axes after `over`, or the binders of a fold, may name each axis once.

```moe error: duplicate-axis
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T] = sum(x, over [H, H])
}
```
";
}
