//! Names of routing plans, which tie the counts of one compilation to the plans of another. They
//! follow from the optimised program alone.

use std::collections::BTreeMap;

use moec_ir::{Module, Op, ValueId};

/// The name of each `plan` of an optimised module, in order: that of the weight nearest to the
/// choice of experts, counted in operations and not through other plans; the first by name of
/// several as near. Without a weight it is the nearest input. A name that several plans have gets a
/// number, from the second on: `router`, `router#2`.
pub fn plan_names(module: &Module) -> Vec<(ValueId, String)> {
    let near = [Op::Weight, Op::Input].map(|source| nearest(module, source));
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut names = Vec::new();
    for (id, node) in module.iter().filter(|(_, node)| node.op == Op::Plan) {
        let choice = node.args[0].index();
        let name = near.iter().find_map(|near| near[choice]).map_or("plan", |(_, name)| name);
        let number = count.entry(name).or_default();
        *number += 1;
        names.push((id, if *number == 1 { name.to_owned() } else { format!("{name}#{number}") }));
    }
    names
}

/// For each value, the distance and the name of the nearest source that it is made of.
fn nearest(module: &Module, source: Op) -> Vec<Option<(usize, &str)>> {
    let mut near: Vec<Option<(usize, &str)>> = Vec::new();
    for node in &module.nodes {
        if node.op == source {
            near.push(Some((0, node.attrs.str("name"))));
            continue;
        }
        let values = node.args.iter().filter(|arg| module.node(**arg).ty.plan().is_none());
        let best = values.filter_map(|arg| near[arg.index()]).min();
        near.push(best.map(|(distance, name)| (distance + 1, name)));
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the plans of an optimised program of `tests/opt`.
    fn names(name: &str) -> Vec<String> {
        let path = format!("{}/../../tests/opt/{name}.opt.moir", env!("CARGO_MANIFEST_DIR"));
        let module = moec_ir::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        plan_names(&module).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn plans_are_named_after_the_weight_nearest_to_the_choice() {
        for router in ["s2", "s2b", "s2_one_hot", "s2_tokens_first", "granite", "deepseek_v2", "llama4"] {
            assert_eq!(names(router), ["router"], "{router}");
        }
        assert_eq!(names("deepseek_v3"), ["bias"]);
        assert_eq!(names("s1_sum"), [""; 0]);
    }

    #[test]
    fn a_second_plan_of_a_name_gets_a_number() {
        let text = "module m {
            dim T
            %0 = input {name = \"i\"} : i32[T, 2]
            %1 = plan %0 {experts = 4} : plan(4, T, 2)
            %2 = input {name = \"x\"} : f32[T, 3]
            %3 = take_rows %1, %2 : f32[2*T, 3]
            %4 = input {name = \"w\"} : f32[T, 2]
            %5 = combine %1, %4, %3 : f32[T, 3]
            %6 = plan %0 {experts = 5} : plan(5, T, 2)
            %7 = take_rows %6, %5 : f32[2*T, 3]
            %8 = combine %6, %4, %7 : f32[T, 3]
            output \"y\" = %8
        }";
        let named = plan_names(&moec_ir::read(text).unwrap());
        let names: Vec<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["i", "i#2"]);
    }
}
