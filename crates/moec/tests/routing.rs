//! What capacities drop, as the compiled program counts it, against the masks of the source under the
//! interpreter.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::interp::Tensor;
use moec::ir::{DType, Sizes};
use moec::{
    HostTensor, Options, Pool, Record, Routing, Session, WeightBytes, WeightFiles, WeightSource, Weights,
    random_input, to_oracle,
};

/// A source with what it says about its pairs as further outputs.
struct Case {
    file: &'static str,
    /// Sizes of tokens and of hidden rows.
    sizes: [u64; 2],
    /// Its capacity, if it has one.
    capacity: Option<u64>,
    /// Lines of outputs: `chosen`, `gates` and `seats`.
    tells: &'static str,
}

/// A program that was run, and what the interpreter made of its source.
struct Ran {
    routing: Routing,
    /// By name.
    outputs: BTreeMap<String, Tensor>,
}

fn run(case: &Case, tokens: u64, optimise: bool) -> Ran {
    let path = format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), case.file);
    let text = std::fs::read_to_string(path).unwrap();
    let sizes = [("H", Some(case.sizes[0])), ("F", Some(case.sizes[1])), ("C", case.capacity)].into_iter();
    let set = sizes.filter_map(|(name, size)| Some((name.to_owned(), size?.to_string()))).collect();
    let options = Options { record: Record::All, optimise, set, ..Options::default() };
    let artifact = moec::compile(&SourceFile::new("m.moe", text.as_str()), &options, &mut |_| ()).unwrap();
    let pool = Arc::new(Pool::new(1).unwrap());
    let sizes: Sizes = [("T".into(), tokens)].into();

    let (mut nothing, none) = (|_: &str, _: u64| (), WeightFiles::default());
    let ir = &artifact.checked().ir;
    let mut weights = Weights::new(&none, 3, ir.dims.sized().clone(), &pool, &mut nothing);
    let mut session = Session::new(artifact.load(&mut weights, &pool).unwrap(), Arc::clone(&pool));
    let all: Sizes = sizes.iter().chain(ir.dims.sized()).map(|(name, n)| (name.clone(), *n)).collect();
    let (_, name, ty) = ir.inputs().next().unwrap();
    let shape: Vec<u64> = ty.shape.iter().map(|dim| dim.eval(&all).unwrap()).collect();
    let x = random_input(&pool, 5, name, ty.dtype, &shape).unwrap();
    let x = HostTensor::copied(ty.dtype, &shape, x.as_slice()).unwrap();
    let shapes = session.output_shapes(&[&shape]).unwrap().to_vec();
    let types: Vec<DType> = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect();
    let mut outputs: Vec<HostTensor> =
        types.iter().zip(&shapes).map(|(ty, shape)| HostTensor::zeros(*ty, shape).unwrap()).collect();
    let mut into: Vec<_> = outputs.iter_mut().map(HostTensor::array_mut).collect();
    session.run(&[x.array()], &mut into).unwrap();
    let routing = artifact.routing(&outputs, session.sizes().unwrap()).unwrap();

    // The source and what it tells, in the interpreter.
    let end = text.rfind('}').unwrap();
    let telling = format!("{}{}}}\n", &text[..end], case.tells);
    let checked = moec::front(&SourceFile::new("m.moe", telling), &options, &mut |_| ()).unwrap();
    let mut data: BTreeMap<String, Tensor> = [(name.to_owned(), x.to_oracle())].into();
    for (id, name, ty) in checked.ir.weights() {
        let shape: Vec<u64> = ty.shape.iter().map(|dim| dim.eval(&all).unwrap()).collect();
        let from = checked.ir.node(id).attrs.str("from");
        let WeightBytes::Made(memory) = weights.weight(name, from, ty).unwrap() else { unreachable!() };
        data.insert(name.to_owned(), to_oracle(ty.dtype, &shape, memory.as_slice()));
    }
    let outputs = moec::interp::run(&checked.ir, &sizes, &data).unwrap().into_iter().collect();
    Ran { routing, outputs }
}

/// Pairs, dropped pairs, gate mass and lost gate mass, counted from `chosen [.., T, K]`, `gates [.., T, K]`
/// and `seats [.., K, T, E]`.
fn count(outputs: &BTreeMap<String, Tensor>, experts: usize) -> [Vec<f64>; 4] {
    let (chosen, gates, seats) = (&outputs["chosen"], &outputs["gates"], &outputs["seats"]);
    let [tokens, slots] = chosen.shape[chosen.shape.len() - 2..] else { unreachable!() };
    let mut counts = [(); 4].map(|()| vec![0.0; experts]);
    for (pair, &expert) in chosen.data.iter().enumerate() {
        let (group, token, slot) = (pair / (tokens * slots), pair / slots % tokens, pair % slots);
        let expert = expert as usize;
        let kept = seats.data[((group * slots + slot) * tokens + token) * experts + expert] != 0.0;
        let lost = if kept { 0.0 } else { 1.0 };
        let add = [1.0, lost, gates.data[pair], lost * gates.data[pair]];
        counts.iter_mut().zip(add).for_each(|(count, add)| count[expert] += add);
    }
    counts
}

#[test]
fn what_capacities_drop_is_what_the_masks_of_the_source_leave_out() {
    let cases = [
        Case {
            file: "examples/systems/s7_capacity.moe",
            sizes: [12, 8],
            capacity: Some(7),
            tells: "    output chosen : i32[T, K] = r.index\n    output gates : f32[T, K] = gate\n    \
                    output seats : bool[K, T, E] = any(slot, over C)\n",
        },
        Case {
            file: "examples/systems/s8_cold_fraction.moe",
            sizes: [12, 8],
            capacity: Some(8),
            tells: "    output chosen : i32[D, T, K] = r.index\n    output gates : f32[D, T, K] = gate\n    \
                    let is_hot = any(one_hot(hot, E), over Eh)\n    \
                    output seats : bool[D, K, T, E] = pick and (seat < C and is_hot or seat < Q)\n",
        },
        Case {
            file: "tests/golden/switch_transformers/source.moe",
            sizes: [40, 56],
            capacity: Some(4),
            tells: "    output chosen : i32[T, K] = ranked\n    \
                    output gates : f32[T, K] = top_k(p, K, over E).value\n    \
                    output seats : bool[K, T, E] = pick and seat < C\n",
        },
        Case {
            file: "tests/golden/nllb_moe/source.moe",
            sizes: [40, 56],
            capacity: Some(6),
            tells: "    let best = top_k(p, K, over E).value\n    output chosen : i32[T, K] = ranked\n    \
                    output gates : f32[T, K] = best / sum(best, over K) * scale\n    \
                    output seats : bool[K, T, E] = pick and seat < C\n",
        },
    ];
    for case in &cases {
        let Ran { routing, outputs } = run(case, 29, true);
        assert_eq!(routing.not_counted, [""; 0], "{}", case.file);
        let [plan] = &routing.plans[..] else { panic!("{}: {routing:?}", case.file) };
        let [pairs, dropped, gate, lost] = count(&outputs, plan.experts as usize);
        let drops = plan.drops.as_ref().unwrap_or_else(|| panic!("{} has a capacity", case.file));
        let numbers = |counts: &[u64]| counts.iter().map(|&n| n as f64).collect::<Vec<_>>();
        assert_eq!(numbers(&plan.pairs), pairs, "{}", case.file);
        assert_eq!(numbers(&drops.dropped), dropped, "{}", case.file);
        assert!(dropped.iter().sum::<f64>() > 2.0, "{}: the capacity binds", case.file);
        assert!(dropped != pairs, "{}: something has a seat", case.file);
        for (found, expected) in [(&drops.gate, gate), (&drops.lost, lost)] {
            let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close, "{}: {found:?} and {expected:?}", case.file);
        }
    }
}

#[test]
fn a_program_that_stays_dense_says_that_nothing_was_counted() {
    let case =
        Case { file: "examples/systems/s7_capacity.moe", sizes: [12, 8], capacity: Some(7), tells: "" };
    let Ran { routing, .. } = run(&case, 29, false);
    assert!(routing.plans.is_empty());
    let [why] = &routing.not_counted[..] else { panic!("{routing:?}") };
    assert!(
        why.contains("one_hot: seats are used otherwise than for the weights of a sum over experts"),
        "{why}"
    );
}

#[test]
fn a_plan_without_capacity_drops_nothing() {
    let case = Case { file: "examples/systems/s2_top_k.moe", sizes: [12, 8], capacity: None, tells: "" };
    let Ran { routing, .. } = run(&case, 9, true);
    assert_eq!(routing.plans[0].pairs.iter().sum::<u64>(), 18);
    assert_eq!((&routing.plans[0].drops, routing.not_counted.len()), (&None, 0));
}
