//! Random well-typed programs three ways: the interpreter on the program as it is, the interpreter on
//! the optimised program, and machine code of the optimised program in a session.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use moec::buffer::Buffer;
use moec::diag::SourceFile;
use moec::interp::{Tensor, generate, run};
use moec::ir::{DType, Dim, Sizes, TensorType, print};
use moec::{
    Array, ArrayMut, HostTensor, Loaded, Options, Pool, Session, Validation, WeightBytes, WeightError,
    WeightSource, difference,
};

/// The oracle's weights in the machine's bytes.
struct Given(BTreeMap<String, HostTensor>);

impl WeightSource for Given {
    fn weight(&mut self, name: &str, _: &str, _: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
        Ok(WeightBytes::Whole(self.0[name].bytes()))
    }
}

/// The outputs of a session on `threads` threads.
fn outputs(loaded: &Arc<Loaded>, threads: usize, given: &BTreeMap<String, HostTensor>) -> Vec<HostTensor> {
    let pool = Arc::new(Pool::new(threads).unwrap());
    let mut session = Session::new(Arc::clone(loaded), pool);
    let inputs: Vec<&HostTensor> = session.plan().inputs.iter().map(|(name, _)| &given[&**name]).collect();
    let shapes: Vec<&[u64]> = inputs.iter().map(|tensor| tensor.shape()).collect();
    let types: Vec<_> = session.plan().outputs.iter().map(|(_, ty)| ty.dtype).collect();
    let shapes = session.output_shapes(&shapes).unwrap().to_vec();
    let zeros = |(dtype, shape): (_, &Vec<u64>)| HostTensor::zeros(dtype, shape).unwrap();
    let mut results: Vec<HostTensor> = types.into_iter().zip(&shapes).map(zeros).collect();
    let arrays: Vec<Array<'_>> = inputs.iter().map(|tensor| tensor.array()).collect();
    let mut places: Vec<ArrayMut<'_>> = results.iter_mut().map(HostTensor::array_mut).collect();
    session.run(&arrays, &mut places).unwrap();
    results
}

#[test]
fn random_programs_agree_three_ways() {
    let mut optimised_programs = 0;
    for seed in 9_000..9_080 {
        let module = generate::module(seed, &generate::Options::default());
        let axes: Vec<Dim> = module.inputs().flat_map(|(_, _, ty)| ty.shape.clone()).collect();
        if !module.dims.determined_by(&axes).contains("T") {
            // No input carries T: a session could not know it.
            continue;
        }
        let source = SourceFile::new("random.moir", print(&module));
        let artifact = moec::compile(&source, &Options::default(), &mut |_| ()).unwrap();
        let validation = artifact.validation();
        assert!(!matches!(validation, Validation::Differed { .. }), "seed {seed}: {validation:?}");
        optimised_programs += usize::from(!artifact.report().fired.is_empty());
        for tokens in [1, 0, 18] {
            let sizes: Sizes = [("T".into(), tokens)].into();
            let inputs: BTreeMap<String, Tensor> = generate::inputs(&module, &sizes, seed).unwrap();
            let wanted = run(&module, &sizes, &inputs).unwrap();
            let optimised = run(artifact.module(), &sizes, &inputs).unwrap();
            let host = inputs.iter().map(|(name, t)| (name.clone(), HostTensor::from_oracle(t).unwrap()));
            let host: BTreeMap<String, HostTensor> = host.collect();
            let copy = inputs.iter().map(|(name, t)| (name.clone(), HostTensor::from_oracle(t).unwrap()));
            let loaded = artifact.load(&mut Given(copy.collect()), &Pool::new(2).unwrap()).unwrap();
            let one = outputs(&loaded, 1, &host);
            let two = outputs(&loaded, 2, &host);
            for (((name, wanted), (_, optimised)), (one, two)) in
                wanted.iter().zip(&optimised).zip(one.iter().zip(&two))
            {
                let at = format!("seed {seed}, T = {tokens}, output {name}");
                assert!(difference(&wanted.data, &optimised.data) < 1e-9, "{at}: optimised");
                let found = one.to_oracle();
                assert_eq!(found.shape, wanted.shape, "{at}");
                assert!(close(&wanted.data, &found.data), "{at}: {:?}\n{:?}", wanted.data, found.data);
                assert_eq!(one.bytes(), two.bytes(), "{at}: one thread and two");
            }
        }
    }
    assert!(optimised_programs > 40, "{optimised_programs} of 80");
}

/// Within 1e-4 of the scale, or 4e-6: the generator keeps rounding of every value below that.
fn close(wanted: &[f64], found: &[f64]) -> bool {
    let off = difference(wanted, found);
    let absolute =
        wanted.iter().zip(found).all(|(w, f)| (w - f).abs() < 4e-6 || w == f || (w.is_nan() && f.is_nan()));
    off < 1e-4 || absolute
}

/// Buffers of a weight source may be made on the spot.
#[test]
fn weights_may_be_made_by_the_host() {
    struct Ones;
    impl WeightSource for Ones {
        fn weight(&mut self, _: &str, _: &str, ty: &TensorType) -> Result<WeightBytes<'_>, WeightError> {
            let count = ty.elements().unwrap().as_const().unwrap();
            let mut memory = Buffer::zeroed_elements(count, 4).unwrap();
            memory.as_mut_slice::<f32>().fill(1.0);
            Ok(WeightBytes::Made(memory))
        }
    }
    let text = "model sum { dim T, H = 3
    input x : f32[T, H]
    weight w : f32[H] from \"w\"
    output y : f32[T] = x @ w
}";
    let source = SourceFile::new("sum.moe", text);
    let artifact = moec::compile(&source, &Options::default(), &mut |_| ()).unwrap();
    let pool = Arc::new(Pool::new(1).unwrap());
    let loaded = artifact.load(&mut Ones, &pool).unwrap();
    let mut y = [0f32; 2];
    let x = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0f32];
    let mut session = Session::new(loaded, pool);
    session.run(&[Array::new(&[2, 3], &x)], &mut [ArrayMut::new(&[2], &mut y)]).unwrap();
    assert_eq!(y, [6.0, 60.0]);
    let wrong = session.run(&[Array::new(&[2, 3], &x)], &mut [ArrayMut::new(&[3], &mut [0f32; 3])]);
    assert!(wrong.unwrap_err().to_string().contains("output `y` is f32 [3], expected f32 [2]"));
}

/// Generated code reads a bool as a byte of 0 or 1; any other byte is refused before it is read.
#[test]
fn bools_are_zero_or_one() {
    let text = "model pick { dim T
    input m : bool[T]
    output y : f32[T] = f32(m)
}";
    let source = SourceFile::new("pick.moe", text);
    let artifact = moec::compile(&source, &Options::default(), &mut |_| ()).unwrap();
    let pool = Arc::new(Pool::new(1).unwrap());
    let mut session = Session::new(artifact.load(&mut Given(BTreeMap::new()), &pool).unwrap(), pool);
    let mut y = [0f32; 3];
    let mut run = |bytes: &[u8]| {
        let m = Array { dtype: DType::Bool, shape: &[3], bytes };
        session.run(&[m], &mut [ArrayMut::new(&[3], &mut y)])
    };
    run(&[1, 0, 1]).unwrap();
    assert!(run(&[1, 0, 2]).unwrap_err().to_string().contains("neither 0 nor 1"));
    assert_eq!(y, [1.0, 0.0, 1.0]);
}
