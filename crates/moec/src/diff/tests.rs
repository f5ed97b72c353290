//! Weights bound in different ways, and programs that only look different.

use moec_diag::SourceFile;
use moec_ir::Module;

use super::{Diff, DiffError, DiffOptions, Verdict, diff};
use crate::{Numerics, Options, front};

fn program(members: &str) -> Module {
    let text = format!("model m {{\n{members}\n}}\n");
    let source = SourceFile::new("m.moe".to_owned(), text);
    front(&source, &Options::default(), &mut |_| ()).unwrap_or_else(|error| panic!("{error:?}\n{members}")).ir
}

fn compared(a: &str, b: &str) -> Diff {
    diff(&program(a), &program(b), &DiffOptions::default()).unwrap()
}

fn different(a: &str, b: &str) -> super::Counterexample {
    match compared(a, b).verdict {
        Verdict::Different(example) => *example,
        other => panic!("{other:?}"),
    }
}

/// No difference is found, whether or not there is a proof.
fn not_different(a: &str, b: &str) {
    let verdict = compared(a, b).verdict;
    assert!(!matches!(verdict, Verdict::Different(_)), "{verdict:?}");
}

fn interface(a: &str, b: &str) -> Vec<String> {
    match diff(&program(a), &program(b), &DiffOptions::default()) {
        Err(DiffError::Interface(lines)) => lines,
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "dim T, H = 4, E = 2\n input x : f32[T, H]\n";

#[test]
fn a_stack_is_its_tensors() {
    let stacked =
        format!("{HEAD} weight w : f32[E, H] from \"e.{{E}}.w\"\n output y : f32[T] = x @ w[E = 1]");
    let one =
        |index: usize| format!("{HEAD} weight a : f32[H] from \"e.{index}.w\"\n output y : f32[T] = x @ a");
    not_different(&stacked, &one(1));
    let example = different(&stacked, &one(0));
    assert_eq!(example.data.keys().collect::<Vec<_>>(), ["e.0.w", "e.1.w", "x"]);
    let notes = compared(&stacked, &one(1)).notes;
    assert_eq!(notes, ["only the first program reads the weight `e.0.w` (\"e.0.w\")"]);
}

#[test]
fn names_in_files_go_before_names_in_sources() {
    let two = |w: &str, v: &str, y: &str| {
        format!("{HEAD} weight w, v : f32[H] from \"{w}\", \"{v}\"\n output y : f32[T] = {y}")
    };
    let first = two("a", "b", "(x @ w) - (x @ v)");
    not_different(&first, &two("b", "a", "(x @ v) - (x @ w)"));
    different(&first, &two("b", "a", "(x @ w) - (x @ v)"));
    // A file written by somebody else.
    let other = compared(&first, &two("layer.a", "layer.b", "(x @ w) - (x @ v)"));
    assert!(matches!(other.verdict, Verdict::Proved { .. }));
    assert!(other.notes[0].contains("`w` is \"a\" in the first program and \"layer.a\" in the second"));
    // One tensor is read twice: nothing is missing, and the report says which is not read.
    let copied = compared(&first, &two("a", "a", "(x @ w) - (x @ v)"));
    assert!(matches!(copied.verdict, Verdict::Different(_)));
    assert_eq!(copied.notes, ["only the first program reads the weight `v` (\"b\")"]);
}

#[test]
fn weights_that_cannot_be_matched_are_refused() {
    let one = |name: &str, from: &str, ty: &str| {
        format!("{HEAD} weight {name} : {ty} from \"{from}\"\n output y : f32[T] = x @ {name}")
    };
    let lines = interface(&one("w", "a", "f32[H]"), &one("v", "b", "f32[H]"));
    assert_eq!(
        lines,
        [
            "only the first program reads the weight `w` (\"a\")",
            "only the second program reads the weight `v` (\"b\")"
        ]
    );
    let lines = interface(&one("w", "a", "f32[H]"), &one("v", "a", "bf16[H]"));
    assert_eq!(lines, ["the tensor \"a\" is f32[4] as `w` and bf16[4] as `v`"]);
}

#[test]
fn a_choice_that_hangs_on_rounding_is_no_difference() {
    let chosen = |scores: &str| {
        format!("{HEAD} output y : f32[T, H] = x where top_k({scores}, 1, over H).mask else 0")
    };
    // The sigmoid keeps the order, but saturates in floating point.
    not_different(&chosen("x"), &chosen("sigmoid(x)"));
    not_different(&chosen("x"), &chosen("(x + 1000) - 1000"));
    not_different(&chosen("x"), &chosen("x * 3 / 7"));
    different(&chosen("x"), &chosen("x * x"));
    // A real tie is a difference.
    let last = format!("{HEAD} output y : f32[T, H] = x where one_hot(argsort(x, over H)[H = 3], H) else 0");
    different(&chosen("x"), &last);
}

#[test]
fn sizes_that_stand_as_numbers_stay() {
    let mean = "dim T, H = 4096\n input x : f32[T, H]\n output y : f32[T] = mean(x, over H)";
    let divided = "dim T, H = 4096\n input x : f32[T, H]\n output y : f32[T] = sum(x, over H) / H";
    not_different(mean, divided);
    let head = "dim T, E = 8, K = 2\n input p : f32[T, E]\n";
    let top = format!("{head} output y : f32[T] = sum(top_k(p, K, over E).value, over K)");
    let by_hand = "dim T, E = 8\n input p : f32[T, E]\n let first = max(p, over E)\n
        let rest = p where not one_hot(argmax(p, over E), E) else -inf\n
        output y : f32[T] = first + max(rest, over E)";
    not_different(&top, by_hand);
}

#[test]
fn numbers_that_cancel_are_no_difference() {
    let y = |y: &str| format!("{HEAD} output y : f32[T, H] = {y}");
    not_different(&y("(x + 1e6) - 1e6"), &y("x"));
    not_different(&y("(x - x) * 1e9"), &y("(x * 3 - x - x - x) * 1e9"));
}

#[test]
fn what_is_not_finite_differs_in_class_bit_only() {
    let whole = format!("{HEAD} output y : f32[T] = sum(x * 0, over H)");
    let bad = format!("{HEAD} output y : f32[T] = sum(log(x) * 0, over H)");
    let Verdict::Unknown(unknown) = compared(&whole, &bad).verdict else { panic!() };
    assert!(unknown.undefined.is_some());
    let options = DiffOptions { numerics: Numerics::Bit, ..DiffOptions::default() };
    let strict = diff(&program(&whole), &program(&bad), &options).unwrap();
    assert!(matches!(strict.verdict, Verdict::Different(_)));
}

#[test]
fn sizes_and_data_follow_from_the_seed() {
    let (a, b) =
        (format!("{HEAD} output y : f32[T, H] = relu(x)"), format!("{HEAD} output y : f32[T, H] = x"));
    let (one, two) = (different(&a, &b), different(&a, &b));
    assert_eq!((&one.sizes, &one.data), (&two.sizes, &two.data));
    assert_eq!((one.sizes["T"], one.sizes["H"]), (1, 1));
    assert_eq!(one.data["x"].data, [-1.0]);
    assert_eq!((one.outputs[0].first.data[0], one.outputs[0].second.data[0]), (0.0, -1.0));
}
