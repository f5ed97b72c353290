//! Where a value is 0 because a sparse gate is: the fact that an expert maps zero to zero, proved
//! operation by operation from the gate on. It holds for finite data, since `0 * y` is 0 only then.
//!
//! A fact is a sparse gate, named by its indices, and the axes of the value that are its experts and
//! tokens. A class has all facts that any of its operations proves; of a sum all terms must have it,
//! so a bias ends it.

use egg::Id;
use moec_ir::{Attrs, EinsumSpec, Op};

use crate::facts::Known;
use crate::range::axis_size;
use crate::sizing::Sizing;

/// A value is 0 at every pair of token and expert that `index` does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Vanishing {
    /// The class of the indices, with axes of tokens and slots.
    pub(crate) index: Id,
    /// Which axis of the indices the slots are.
    pub(crate) slots: usize,
    /// The axis of the value that experts are.
    pub(crate) experts: usize,
    /// The axis of the value that tokens are.
    pub(crate) tokens: usize,
}

/// So many are kept for a class, those of the oldest indices: programs have few gates, and facts of
/// cyclic classes come to rest.
const MOST: usize = 4;

/// Facts in order, each once.
pub(crate) type Vanishings = Vec<Vanishing>;

/// What either side proves; and whether the first, the second one, was less than that.
pub(crate) fn join(to: &mut Vanishings, from: Vanishings) -> (bool, bool) {
    let all = union(to, &from);
    let changed = (all != *to, all != from);
    *to = all;
    changed
}

fn union(a: &[Vanishing], b: &[Vanishing]) -> Vanishings {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    all.truncate(MOST);
    all
}

impl Vanishing {
    /// The same on a value whose axes come from elsewhere; none if one of the two is gone.
    fn moved(self, to: impl Fn(usize) -> Option<usize>) -> Option<Vanishing> {
        Some(Vanishing { experts: to(self.experts)?, tokens: to(self.tokens)?, ..self })
    }
}

/// An operand, which may be 0 everywhere.
fn is_zero(known: &Known) -> bool {
    known.uniform.is_some_and(|value| value.get() == 0.0)
}

/// What holds for all operands; those that are 0 everywhere add nothing and take nothing away.
fn all_of(args: &[&Known]) -> Vanishings {
    let mut others = args.iter().filter(|known| !is_zero(known));
    let first = others.next().map_or(Vec::new(), |known| known.vanishing.clone());
    others.fold(first, |kept, known| kept.into_iter().filter(|f| known.vanishing.contains(f)).collect())
}

/// What is proved of the result of an operation on `args`, whose classes are `ids`.
pub(crate) fn vanishing(
    op: Op,
    args: &[&Known],
    ids: &[Id],
    attrs: &Attrs,
    shape: &[moec_ir::Dim],
    sizing: &Sizing,
) -> Vanishings {
    let moved = |from: &Known, to: &dyn Fn(usize) -> Option<usize>| {
        from.vanishing.iter().filter_map(|fact| fact.moved(to)).collect::<Vec<_>>()
    };
    // An operation along another axis than the two, which keeps it.
    let beside = |kept: Vanishings| {
        let axis = attrs.index("axis");
        kept.into_iter().filter(|fact| fact.experts != axis && fact.tokens != axis).collect()
    };
    let found: Vanishings = match op {
        Op::Densify if shape.len() == 2 => {
            let axis = attrs.index("axis");
            vec![Vanishing { index: ids[1], slots: axis, experts: axis, tokens: 1 - axis }]
        }
        Op::Neg | Op::Abs | Op::Sqrt | Op::Tanh | Op::Erf | Op::Cast => args[0].vanishing.clone(),
        Op::Silu | Op::Gelu | Op::GeluTanh | Op::Relu | Op::Div => args[0].vanishing.clone(),
        Op::Mul | Op::And => union(&args[0].vanishing, &args[1].vanishing),
        Op::Add | Op::Sub | Op::Minimum | Op::Maximum | Op::Or => all_of(args),
        // Where the condition is false it is the other branch.
        Op::Select if is_zero(args[2]) => union(&args[0].vanishing, &args[1].vanishing),
        Op::Select => all_of(&args[1..]),
        Op::Broadcast => moved(args[0], &|axis| attrs.ints("map").get(axis).map(|&to| to as usize)),
        Op::Transpose => moved(args[0], &|axis| attrs.ints("perm").iter().position(|&p| p as usize == axis)),
        Op::Reshape => {
            let from = args[0].ty.tensor().map_or(&[][..], |ty| &ty.shape);
            moved(args[0], &|axis| {
                let before = sizing.product(&from[..axis])?;
                let same = |at: usize| {
                    shape[at] == from[axis] && sizing.product(&shape[..at]).as_ref() == Some(&before)
                };
                (0..shape.len()).find(|&at| same(at))
            })
        }
        Op::Slice | Op::Cumsum => beside(args[0].vanishing.clone()),
        Op::Pad if attrs.number("value") == 0.0 => beside(args[0].vanishing.clone()),
        Op::Concat => beside(all_of(args)),
        // Of none, the others are not 0.
        Op::Sum | Op::Any => reduced(args[0], attrs),
        Op::Mean | Op::Max | Op::Min
            if axis_size(&args[0].ty, attrs, sizing.table()).is_some_and(|size| size > 0) =>
        {
            reduced(args[0], attrs)
        }
        Op::Einsum => match EinsumSpec::parse(attrs.str("spec")) {
            Ok(spec) => {
                let out = |letters: &[u8], axis: usize| {
                    letters.get(axis).and_then(|letter| spec.out.iter().position(|l| l == letter))
                };
                union(
                    &moved(args[0], &|axis| out(&spec.lhs, axis)),
                    &moved(args[1], &|axis| out(&spec.rhs, axis)),
                )
            }
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    union(&found, &[])
}

/// After a reduction along another axis than the two.
fn reduced(of: &Known, attrs: &Attrs) -> Vanishings {
    let gone = attrs.index("axis");
    let to = |axis: usize| (axis != gone).then(|| if axis > gone { axis - 1 } else { axis });
    of.vanishing.iter().filter_map(|fact| fact.moved(to)).collect()
}

#[cfg(test)]
mod tests {
    use moec_ir::read;

    use crate::encode::{Encoded, encode};
    use crate::facts::known;

    /// A gate of three experts among seven on the inputs of a layer, and then these operations on
    /// `%10`, of which the last is asked.
    fn axes(body: &[&str]) -> Vec<(usize, usize)> {
        let mut text = r#"module example {
    dim T
    dim H = 6
    dim F = 5
    dim E = 7
    dim K = 3
    %0 = input {name = "scores"} : f32[T, E]
    %1 = top_k %0 {axis = 1, k = K, largest = true} : route(f32[T, E], 1, K)
    %2 = input {name = "v"} : f32[T, K]
    %3 = route_index %1 : i32[T, K]
    %4 = densify %2, %3 {axis = 1, size = E} : f32[T, E]
    %5 = broadcast %4 {map = [1, 0], shape = [E, T, H]} : f32[E, T, H]
    %6 = input {name = "x"} : f32[T, H]
    %7 = weight {from = "w", name = "w"} : f32[E, H, F]
    %8 = weight {from = "b", name = "b"} : f32[E, T, H]
    %9 = broadcast %6 {map = [1, 2], shape = [E, T, H]} : f32[E, T, H]
    %10 = mul %5, %9 : f32[E, T, H]
"#
        .to_owned();
        for (at, line) in body.iter().enumerate() {
            text += &format!("    %{} = {line}\n", at + 11);
        }
        text += &format!("    output \"y\" = %{}\n}}\n", body.len() + 10);
        let module = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let Encoded { graph, values, .. } = encode(&module);
        let facts = &known(&graph, values[body.len() + 10]).unwrap().vanishing;
        facts.iter().map(|fact| (fact.experts, fact.tokens)).collect()
    }

    #[test]
    fn zero_is_kept_by_what_maps_it_to_itself() {
        assert_eq!(axes(&[]), [(0, 1)]);
        assert_eq!(axes(&["silu %10 : f32[E, T, H]"]), [(0, 1)]);
        assert_eq!(axes(&["einsum %10, %7 {spec = \"abc,acd->bad\"} : f32[T, E, F]"]), [(1, 0)]);
        assert_eq!(axes(&["transpose %10 {perm = [2, 0, 1]} : f32[H, E, T]"]), [(1, 2)]);
        assert_eq!(axes(&["reshape %10 {shape = [E, T, 2, 3]} : f32[E, T, 2, 3]"]), [(0, 1)]);
        assert_eq!(axes(&["sum %10 {axis = 2} : f32[E, T]"]), [(0, 1)]);
        assert_eq!(axes(&["mean %10 {axis = 2} : f32[E, T]"]), [(0, 1)]);
        // The norm of an expert's input.
        let centred = [
            "mean %10 {axis = 2} : f32[E, T]",
            "broadcast %11 {map = [0, 1], shape = [E, T, H]} : f32[E, T, H]",
            "sub %10, %12 : f32[E, T, H]",
        ];
        assert_eq!(axes(&centred), [(0, 1)]);
        let shifted = ["const {value = 0} : f32[E, T, H]", "add %10, %11 : f32[E, T, H]"];
        assert_eq!(axes(&shifted), [(0, 1)]);
    }

    #[test]
    fn zero_is_lost_by_a_bias_and_by_what_does_not_keep_it() {
        for line in [
            "add %10, %8 : f32[E, T, H]",
            "sigmoid %10 : f32[E, T, H]",
            "div %8, %10 : f32[E, T, H]",
            "softmax %10 {axis = 2} : f32[E, T, H]",
            "sum %10 {axis = 0} : f32[T, H]",
            "sum %10 {axis = 1} : f32[E, H]",
            "reshape %10 {shape = [E*T, H]} : f32[E*T, H]",
            "pad %10 {after = 1, axis = 2, before = 0, size = 7, value = 1} : f32[E, T, 7]",
        ] {
            assert_eq!(axes(&[line]), [], "{line}");
        }
    }

    #[test]
    fn facts_join_whatever_proves_them() {
        let module = read(
            r#"module example {
    dim T
    dim E = 7
    dim K = 3
    %0 = input {name = "v"} : f32[T, K]
    %1 = input {name = "scores"} : f32[T, E]
    %2 = top_k %1 {axis = 1, k = K, largest = true} : route(f32[T, E], 1, K)
    %3 = route_index %2 : i32[T, K]
    %4 = densify %0, %3 {axis = 1, size = E} : f32[T, E]
    %5 = input {name = "other"} : f32[T, E]
    %6 = silu %5 : f32[T, E]
    output "y" = %6
    output "z" = %4
}
"#,
        )
        .unwrap();
        for swapped in [false, true] {
            let Encoded { mut graph, values, .. } = encode(&module);
            assert_eq!(known(&graph, values[6]).unwrap().vanishing, []);
            let (a, b) = if swapped { (4, 5) } else { (5, 4) };
            graph.union(values[a], values[b]);
            graph.rebuild();
            // What is proved of an operand later is proved of what uses it.
            assert_eq!(known(&graph, values[6]).unwrap().vanishing.len(), 1);
        }
    }
}
