//! Random programs.

use moec_interp::generate;

use crate::check::check;

#[test]
fn random_programs_give_the_interpreters_results() {
    for seed in 0..300 {
        let options = generate::Options { discontinuous: seed % 2 == 0, ..Default::default() };
        let module = generate::module(seed, &options);
        check(&module, |sizes| generate::inputs(&module, sizes, seed).unwrap());
    }
}
