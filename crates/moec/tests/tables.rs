//! Programs for different numbers of tokens, where something is counted or stays in files: all of them if they
//! count the same, and need the same weights in memory.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::{DType, Module, Op};
use moec::{Artifact, HostTensor, Numerics, Options, Pool, Record, Routing, Session, WeightFiles, Weights};

const H: u64 = 64;

/// Experts, and beside them what all tokens go through: two matrices, or for some numbers of tokens one.
const BRANCH: &str = "
model branch {
    dim T, H = 64, F = 32, E = 8, K = 2, R = 28
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w1     : f32[E, F, H] from \"w1\"
    weight w2     : f32[E, H, F] from \"w2\"
    weight a      : f32[H, R]    from \"a\"
    weight b      : f32[R, H]    from \"b\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * (relu(x @ w1[e].T) @ w2[e].T) } + relu(x @ a @ b)
}
";

/// A shared expert, which for some numbers of tokens is one more expert of the plan.
const SHARED: &str = "
model shared {
    dim T, H = 64, F = 64, E = 8, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]    from \"router\"
    weight w1     : f32[E, F, H] from \"w1\"
    weight w2     : f32[E, H, F] from \"w2\"
    weight s1     : f32[F, H]    from \"s1\"
    weight s2     : f32[H, F]    from \"s2\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = sum e over E { g[e] * (relu(x @ w1[e].T) @ w2[e].T) } + relu(x @ s1.T) @ s2.T
}
";

fn compile(text: &str, options: Options) -> Artifact {
    let options = Options { batch: Numerics::Reassociate, ..options };
    let artifact = moec::compile(&SourceFile::new("m.moe", text), &options, &mut |_| ()).unwrap();
    for choice in &artifact.report().choices {
        let from = artifact.programs()[choice.variant].0;
        assert!(from <= choice.tokens, "{} tokens are served from {from} on", choice.tokens);
    }
    artifact
}

/// The outputs of a call with so many tokens, and what was counted.
fn call(artifact: &Artifact, tokens: u64) -> (Vec<HostTensor>, Routing) {
    let pool = Arc::new(Pool::new(1).unwrap());
    let (none, mut nothing) = (WeightFiles::default(), |_: &str, _: u64| ());
    let sizes = artifact.checked().ir.dims.sized().clone();
    let mut weights = Weights::new(&none, 3, sizes, &pool, &mut nothing);
    let mut session = Session::new(artifact.load(&mut weights, &pool).unwrap(), Arc::clone(&pool));
    let shape = [tokens, H];
    let x = moec::random_input(&pool, 5, "x", DType::F32, &shape).unwrap();
    let x = HostTensor::copied(DType::F32, &shape, x.as_slice()).unwrap();
    let shapes = session.output_shapes(&[&shape]).unwrap().to_vec();
    let types: Vec<DType> = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect();
    let zeros = types.iter().zip(&shapes).map(|(ty, shape)| HostTensor::zeros(*ty, shape).unwrap());
    let mut outputs: Vec<HostTensor> = zeros.collect();
    let mut into: Vec<_> = outputs.iter_mut().map(HostTensor::array_mut).collect();
    session.run(&[x.array()], &mut into).unwrap();
    let routing = artifact.routing(&outputs, session.sizes().unwrap()).unwrap();
    (outputs, routing)
}

fn froms(artifact: &Artifact) -> Vec<u64> {
    artifact.programs().iter().map(|(from, _)| *from).collect()
}

fn count(module: &Module, op: Op) -> usize {
    module.nodes.iter().filter(|node| node.op == op).count()
}

#[test]
fn programs_that_count_the_same_are_all_kept() {
    let plain = compile(BRANCH, Options::default());
    let counting = compile(BRANCH, Options { record: Record::All, ..Options::default() });
    assert!(plain.programs().len() > 1);
    assert_eq!(froms(&counting), froms(&plain));
    for tokens in froms(&plain).into_iter().map(|from| from.max(1)) {
        let (outputs, routing) = call(&counting, tokens);
        let [router] = &routing.plans[..] else { panic!("{routing:?}") };
        assert_eq!((router.name.as_str(), router.experts, router.tokens), ("router", 8, tokens));
        assert_eq!(router.pairs.iter().sum::<u64>(), 2 * tokens);
        assert_eq!(outputs[0].bytes(), call(&plain, tokens).0[0].bytes(), "{tokens} tokens");
    }
}

#[test]
fn a_program_that_counts_otherwise_is_not_used() {
    let plain = compile(SHARED, Options::default());
    let experts = |module: &Module| module.nodes.iter().find_map(|node| node.ty.plan()?.experts.as_const());
    let plans: Vec<_> = plain.programs().iter().map(|(_, module)| experts(module)).collect();
    assert!(plans.contains(&Some(8)) && plans.contains(&Some(9)), "{plans:?}");
    let counting = compile(SHARED, Options { record: Record::All, ..Options::default() });
    let usual = experts(counting.module());
    assert!(counting.programs().iter().all(|(_, module)| experts(module) == usual));
    for tokens in [1, 64, 300] {
        assert_eq!(Some(call(&counting, tokens).1.plans[0].experts), usual);
    }
}

#[test]
fn experts_in_files_are_the_same_for_every_number_of_tokens() {
    let plain = compile(BRANCH, Options::default());
    let budget = Some(100_000);
    let placed = compile(BRANCH, Options { memory_budget: budget, ..Options::default() });
    assert_eq!(froms(&placed), froms(&plain));
    for (from, module) in placed.programs() {
        assert_eq!(
            (count(module, Op::PlacedMatmul), count(module, Op::GroupedMatmul)),
            (2, 0),
            "from {from}"
        );
        let tokens = (*from).max(1);
        assert_eq!(call(&placed, tokens).0[0].bytes(), call(&plain, tokens).0[0].bytes(), "{tokens} tokens");
    }
    // A shared expert that is one of the plan would be another set of experts.
    let shared = compile(SHARED, Options { memory_budget: Some(150_000), ..Options::default() });
    let placed: Vec<usize> = shared.programs().iter().map(|(_, m)| count(m, Op::PlacedMatmul)).collect();
    assert!(placed.iter().all(|count| *count == 2), "{placed:?}");
}
