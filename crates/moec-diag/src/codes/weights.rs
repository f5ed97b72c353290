//! Faults of weights: what the source declares against what the files hold.

codes! {
    WEIGHT_MISSING = "weight-missing", "a tensor that the files do not have", "\
The pattern after `from`, with params put in and every index of its dims, must name tensors of the files given. The
message names the first that is missing and says how many were found; a sharded model needs all of its shards.
Without files all weights are made up. With files, `--seed-missing` makes up those of which no tensor is there.
";
    WEIGHT_SHAPE = "weight-shape", "a weight is stored in another shape", "\
A `weight` line says how the tensor lies in the file; any other order is an expression on it (`.T`, `transpose`,
`reshape`), folded when the weights are loaded. The message prints both shapes, with names where sizes tell them.
";
    WEIGHT_TYPE = "weight-type", "a weight is stored with another element type", "\
A `weight` line gives the element type of the file. Declare that one; bf16 widens to f32 by itself where it is used.
";
    WEIGHT_FILE = "weight-file", "a file of weights that cannot be used", "\
The file is not there, is cut short, or its header does not describe its contents: a header longer than the file,
tensors that overlap or reach past the end, an element type that is unknown.
";
    BAD_PATTERN = "bad-pattern", "a hole that does not fit its weight", "\
A hole that names a dim stands for one tensor per index, stacked: the dims of the holes are the leading axes of the
weight, in order. A hole that names a param is replaced by its value, which must be whole or a text.

```moe error: bad-pattern
model m {
    dim E = 2, H = 4
    weight w : f32[H, E] from \"experts.{E}.weight\"
    output y : f32[H, E] = w
}
```
";
}
