//! What a call has to do at least: the products of the chosen program, and the weights that they read.
//! Routing is data, so the experts that were chosen are counted, not assumed.

use std::collections::BTreeMap;

use moec::Artifact;
use moec::ir::{DType, Dim, Module, Op, Sizes, Type, ValueId, Work};

/// Useful work of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Useful {
    /// Flops of products with `f32` rows.
    pub flops: f64,
    /// Flops of products of bf16 with bf16.
    pub bf16_flops: f64,
    /// Bytes of weights: those of the experts that some token chose, and of every other product.
    pub bytes: f64,
}

/// The work of a call of the program that serves as many tokens. `touched` has the part of its experts that
/// each routing plan chose, by the plan's name.
pub fn useful(artifact: &Artifact, tokens: u64, sizes: &Sizes, touched: &BTreeMap<String, f64>) -> Useful {
    let programs = artifact.programs();
    let program = programs.partition_point(|(from, _)| *from <= tokens).saturating_sub(1);
    of_module(&programs[program].1, sizes, touched)
}

/// The work of a module whose sized dims are numbers.
fn of_module(module: &Module, sizes: &Sizes, touched: &BTreeMap<String, f64>) -> Useful {
    let names: BTreeMap<ValueId, String> = moec::plan_names(module).into_iter().collect();
    let size = |dim: &Dim| dim.eval(sizes).map_or(0.0, |n| n as f64);
    let mut from_weights: Vec<bool> = Vec::new();
    let mut useful = Useful::default();
    let mut read: Vec<ValueId> = Vec::new();
    for (_, node) in module.iter() {
        let fixed = node.op != Op::Input && node.args.iter().all(|arg| from_weights[arg.index()]);
        from_weights.push(fixed);
        if fixed || !matches!(node.op, Op::Einsum | Op::GroupedMatmul) {
            continue;
        }
        let args: Vec<&Type> = node.args.iter().map(|&arg| &module.node(arg).ty).collect();
        let work = Work { args: &args, attrs: &node.attrs, result: &node.ty, size: &size };
        let flops = (node.op.row().flops)(&work);
        let [left, right] = [1, 0].map(|from_end| node.args[node.args.len() - 1 - from_end]);
        let bf16 = [left, right].iter().all(|&arg| module.node(arg).tensor().dtype == DType::Bf16);
        *(if bf16 { &mut useful.bf16_flops } else { &mut useful.flops }) += flops;
        let part = match node.op {
            Op::GroupedMatmul => names.get(&node.args[0]).and_then(|name| touched.get(name)).copied(),
            _ => None,
        };
        for arg in [left, right] {
            // Widening happens where weights are used; memory holds them as they are.
            let stored = std::iter::successors(Some(arg), |&at| {
                let node = module.node(at);
                (node.op == Op::Cast).then(|| node.args[0])
            });
            let Some(stored) = stored.last().filter(|at| from_weights[at.index()]) else { continue };
            // A weight that two products share is read once.
            if !read.contains(&stored) {
                read.push(stored);
                useful.bytes += work.bytes(&module.node(stored).ty) * part.unwrap_or(1.0);
            }
        }
    }
    useful
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_that_nobody_chose_are_not_read() {
        let text = "module m {
    dim T
    %0 = input {name = \"x\"} : f32[T, 16]
    %1 = weight {from = \"gate\", name = \"gate\"} : f32[8, 16]
    %2 = einsum %0, %1 {spec = \"ab,cb->ac\"} : f32[T, 8]
    %3 = top_k %2 {axis = 1, k = 2, largest = true} : route(f32[T, 8], 1, 2)
    %4 = route_index %3 : i32[T, 2]
    %5 = plan %4 {experts = 8} : plan(8, T, 2)
    %6 = take_rows %5, %0 : f32[2*T, 16]
    %7 = weight {from = \"w\", name = \"w\"} : bf16[8, 4, 16]
    %8 = grouped_matmul %5, %6, %7 {spec = \"ab,cdb->ad\"} : f32[2*T, 4]
    %9 = route_value %3 : f32[T, 2]
    %10 = combine %5, %9, %8 : f32[T, 4]
    output \"y\" = %10
}
";
        let module = moec::ir::read(text).unwrap();
        let sizes: Sizes = [("T".into(), 3)].into();
        let name = moec::plan_names(&module)[0].1.clone();
        let work = of_module(&module, &sizes, &[(name, 0.25)].into());
        let (router, experts) = (2 * 3 * 16 * 8, 2 * 6 * 16 * 4);
        let bytes = 8 * 16 * 4 + 8 * 4 * 16 * 2 / 4;
        assert_eq!(
            work,
            Useful { flops: f64::from(router + experts), bf16_flops: 0.0, bytes: f64::from(bytes) }
        );
    }
}
