//! Faults of form: found by the lexer and the parser.

codes! {
    UNEXPECTED_TOKEN = "unexpected-token", "something stands where it cannot stand", "\
The text stops making sense at the marked word. The message says what could stand there.

```moe error: unexpected-token
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = x + * x
}
```

A newline ends a statement unless the line ends in an operator, `=` or `,`, or the next line starts with one of
`+ * / @ and or where else`, or brackets are open. The `(` of a call and the `[` of an index stand on the line of what
they follow.
";
    LEADING_MINUS = "leading-minus", "a line starts with `-`", "\
A line that starts with `-` could go on with the line before or start a value of its own, so it may not.
Leave the `-` at the end of the line before, or put parentheses around the value.

```moe error: leading-minus
model m {
    dim T, H = 4
    input x, a : f32[T, H]
    output y : f32[T, H] = x
        - a
}
```

```moe
model m {
    dim T, H = 4
    input x, a : f32[T, H]
    output y : f32[T, H] = x -
        a
}
```
";
    UNCLOSED_BRACKET = "unclosed-bracket", "a bracket is opened and never closed", "\
The marked `(`, `[` or `{` has no partner. Reading goes on behind the place where the partner must have been, which is
a guess: close the bracket first, and look at other errors afterwards.

```moe error: unclosed-bracket
model m {
    dim T, H = 4
    input x : f32[T, H]
    let a = softmax(x, over H
    output y : f32[T, H] = a
}
```
";
    UNOPENED_BRACKET = "unopened-bracket", "a bracket is closed and was never opened", "\
The marked `)`, `]` or `}` has no partner in front of it.

```moe error: unopened-bracket
model m {
    dim T, H = 4
    input x : f32[T, H]
    output y : f32[T, H] = x)
}
```
";
    BAD_CHARACTER = "bad-character", "a character that the language does not use", "\
Outside comments and quotes the language uses ASCII letters, digits and `+ - * / @ = < > ! . , : ( ) [ ] { } \"`.
There are no semicolons; comments start with `//`; the logical operators are `and`, `or`, `not`.

```moe error: bad-character
model m {
    dim T, H = 4
    input x : f32[T, H];
    output y : f32[T, H] = x
}
```
";
    BAD_NUMBER = "bad-number", "a number that cannot be read", "\
Numbers are written `7`, `1_000`, `0.5`, `1e-20`. A product with a dim has a `*`: `2*F`. A number in a size is whole and
below 2^64; any number is at most about 1.8e308 (infinity is `inf`).

```moe error: bad-number
model m {
    dim T, H = 4, F = 2H
    input x : f32[T, H]
    output y : f32[T, H] = x
}
```
";
    UNTERMINATED_STRING = "unterminated-string", "a text in quotes has no end", "\
A text starts and ends with `\"` on one line. There are no escapes.

```moe error: unterminated-string
model m {
    dim H = 4
    weight w : f32[H] from \"gate.weight
    output y : f32[H] = w
}
```
";
    BAD_HOLE = "bad-hole", "a hole in a text that cannot be read", "\
A hole is a name in braces: `{E}` (a dim: one tensor per index) or `{layer}` (a param: its value), with an optional
width that pads with zeros: `{E:03}`. Braces cannot be written in any other way.

```moe error: bad-hole
model m {
    dim E = 2, H = 4
    weight w : f32[E, H] from \"experts.{}.weight\"
    output y : f32[E, H] = w
}
```
";
    NAME_CASE = "name-case", "a dim with a small letter, or a value with a capital", "\
The first letter tells dims (`T`, `Eh`) from values, functions, params and indices (`x`, `w1`, `_unused`).

```moe error: name-case
model m {
    dim t, H = 4
    input x : f32[t, H]
    output y : f32[t, H] = x
}
```
";
    TOO_DEEP = "too-deep", "brackets or operators nested too deeply", "\
Brackets may be nested 200 deep and an expression may have 256 levels, a run of operators counting one level each.
Give parts of it names with `let`.
";
    TOO_MANY_ERRORS = "too-many-errors", "there are more errors than are shown", "\
Reading stopped after 100 errors. The first ones are the most reliable: later ones may follow from them.
";
    FILE_TOO_LARGE = "file-too-large", "the source text is too large", "\
A source text may have 64 MiB. A model is a few kilobytes: this is likely not a `.moe` file.
";
    MISSING_ELSE = "missing-else", "`where` has no `else`", "\
`value where mask else other` is always whole: which value stands where the mask is false decides what the model means.
`else 0` removes an expert from a sum. `else -inf` removes it from a softmax or from a later `top_k`.

```moe error: missing-else
model m {
    dim T, E = 4, K = 2
    input p : f32[T, E]
    output g : f32[T, E] = p where top_k(p, K, over E).mask
}
```

```moe
model m {
    dim T, E = 4, K = 2
    input p : f32[T, E]
    output g : f32[T, E] = p where top_k(p, K, over E).mask else 0
}
```
";
    MIXED_PRECEDENCE = "mixed-precedence", "`@` beside `*` or `/` without parentheses", "\
In Python `h * u @ w` means `(h * u) @ w`; in mathematics the product of matrices binds tighter. The two readings
differ, so the language asks for parentheses.

```moe error: mixed-precedence
model m {
    dim T, F = 4, H = 2
    input h, u : f32[T, F]
    input w : f32[F, H]
    output y : f32[T, H] = h * u @ w
}
```

```moe
model m {
    dim T, F = 4, H = 2
    input h, u : f32[T, F]
    input w : f32[F, H]
    output y : f32[T, H] = (h * u) @ w
}
```
";
    CHAINED_COMPARISON = "chained-comparison", "comparisons do not chain", "\
`a < b < c` is not `a < b and b < c`: write the latter. Only `fact` lines chain, since they speak of sizes.

```moe error: chained-comparison
model m {
    dim T
    input a, b, c : f32[T]
    output y : bool[T] = a < b < c
}
```
";
    POSITIONAL_INDEX = "positional-index", "an index without the name of its axis", "\
Brackets speak names. `a[e]` takes an index bound by `over`; `a[P = 0]` fixes the axis P, `a[C = 0..Q]` slices the axis
C, `a[E = idx]` gathers along E. To choose by position use `gather(a, idx, axis 0)` or `slice`.

```moe error: positional-index
model m {
    dim P = 2, H = 4
    input a : f32[P, H]
    output y : f32[H] = a[0]
}
```

```moe
model m {
    dim P = 2, H = 4
    input a : f32[P, H]
    output y : f32[H] = a[P = 0]
}
```
";
    MISPLACED_TYPE = "misplaced-type", "`float` or `..` outside the signature of a function", "\
`float` (any float element type) and `..` (any leading axes) are variables that a call fills in. The inputs, weights
and outputs of a model are its contract and written out. A cast names one element type: `f32(x)`.

```moe error: misplaced-type
model m {
    dim T, H = 4
    input x : float[T, H]
    output y : f32[T, H] = x
}
```
";
    MISPLACED_ALONG = "misplaced-along", "`concat` needs `along`, and no other fold takes it", "\
`concat e over E along O { .. }` says which axis of the body grows by the factor E. The other folds have nothing to grow.

```moe error: misplaced-along
model m {
    dim E = 2, O = 4
    input x : f32[E, O]
    output y : f32[E*O] = concat e over E { x[e] }
}
```
";
    WEIGHT_PATTERNS = "weight-patterns", "as many names as patterns are needed", "\
In `weight w1, w3 : type from \"..\", \"..\"` the first pattern belongs to the first name, and so on.

```moe error: weight-patterns
model m {
    dim H = 4
    weight a, b : f32[H] from \"a\"
    output y : f32[H] = a
}
```
";
}
