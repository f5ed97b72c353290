//! Machine-made variants of programs end as the same program. What a variant may differ in is the head
//! of [`variant`]. Those with the interface of the source end as the same text; those with other names
//! and other layouts of weights have the same canonical form, which has tests of its own. `MOEC_VARIANTS=200`
//! tries more of them.

#![expect(clippy::unwrap_used, reason = "a test without its files fails")]

mod canonical;
mod variant;

use std::path::Path;

use moec_interp::{generate, run};
use moec_ir::{Module, Sizes, print, read};
use moec_opt::{Options, canonical, optimize};
use variant::{Differ, variant};

/// Variants of each form.
const VARIANTS: u64 = 20;

fn source(name: &str) -> Module {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/opt");
    read(&std::fs::read_to_string(folder.join(format!("{name}.moir"))).unwrap()).unwrap()
}

/// The optimised module, and the limit that ended saturation, if one did.
fn optimized(module: &Module) -> (Module, Option<&'static str>) {
    let optimized = optimize(module, &Options::default()).unwrap();
    assert_eq!(optimized.report.fallback, None, "{}", print(module));
    (optimized.module, optimized.report.limit)
}

fn converge(names: &[&str]) {
    let variants = std::env::var("MOEC_VARIANTS").map_or(VARIANTS, |number| number.parse().unwrap());
    let (mut apart, mut unfinished, mut first) = (Vec::new(), Vec::new(), None);
    for name in names {
        let source = source(name);
        let (wanted, limit) = optimized(&source);
        assert_eq!(limit, None, "{name}");
        let form = print(&canonical(&wanted).unwrap());
        for seed in 1..=variants {
            let interface = seed % 2 == 0;
            let variant = variant(&source, seed, if interface { Differ::Both } else { Differ::Form });
            let (found, limit) = optimized(&variant);
            let [wanted, found] = match interface {
                true => [form.clone(), print(&canonical(&found).unwrap())],
                false => [print(&wanted), print(&found)],
            };
            if let Some(limit) = limit {
                unfinished.push(format!("{name} {seed}: {limit}"));
                first.get_or_insert_with(|| print(&variant));
            }
            if found != wanted {
                apart.push(format!("{name} {seed}"));
                first.get_or_insert_with(|| format!("{}\ngives\n{found}\nnot\n{wanted}", print(&variant)));
            }
        }
    }
    let all = apart.is_empty() && unfinished.is_empty();
    let first = first.unwrap_or_default();
    assert!(all, "variants apart: {apart:?}, that meet a limit: {unfinished:?}; the first:\n{first}");
}

#[test]
fn variants_of_top_k_end_as_one_program() {
    converge(&["s2", "s2b", "s5"]);
}

#[test]
fn variants_of_nested_mixtures_end_as_one_program() {
    converge(&["s6"]);
}

#[test]
fn variants_with_seats_end_as_one_program() {
    converge(&["s7", "s7_all"]);
}

#[test]
fn variants_of_hot_and_cold_experts_end_as_one_program() {
    converge(&["s8_all", "s8_two"]);
}

#[test]
fn variants_of_fewer_seats_for_cold_experts_end_as_one_program() {
    converge(&["s8_cold"]);
}

#[test]
fn variants_compute_the_same() {
    for name in ["s2", "s2b", "s5", "s6", "s7_all", "s8_two"] {
        let source = source(name);
        let sizes: Sizes = [("T".into(), 4)].into();
        let inputs = generate::inputs(&source, &sizes, 5).unwrap();
        let wanted = run(&source, &sizes, &inputs).unwrap();
        for seed in 1..=4 {
            let found = run(&variant(&source, seed, Differ::Form), &sizes, &inputs).unwrap();
            for ((_, wanted), (_, found)) in wanted.iter().zip(&found) {
                let scale = wanted.data.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
                let apart = wanted.data.iter().zip(&found.data).map(|(a, b)| (a - b).abs() / scale);
                let worst = apart.fold(0.0, f64::max);
                assert!(worst < 1e-12, "{name}, variant {seed}: {worst:e}");
            }
        }
    }
}
