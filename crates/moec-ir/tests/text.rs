//! The text form reads back to the same module, and wrong text is refused at its line.

use moec_ir::{IrError, Op, print, read};

const SPARSE: &str = r#"module sparse {
    dim T
    dim H = 16
    dim Q := floor((T * 0.5))
    fact Q <= T
    %0 = input {name = "x"} : f32[T, H]
    %1 = weight {from = "gate.weight", name = "router"} : f32[4, H]
    %2 = weight {from = "experts.{0}.w", name = "w"} : f32[4, 8, H]
    %3 = einsum %0, %1 {spec = "ab,cb->ac"} : f32[T, 4]
    %4 = softmax %3 {axis = 1} : f32[T, 4]
    %5 = top_k %4 {axis = 1, k = 2, largest = true} : route(f32[T, 4], 1, 2)
    %6 = route_index %5 : i32[T, 2]
    %7 = route_value %5 : f32[T, 2]
    %8 = plan %6 {experts = 4} : plan(4, T, 2)
    %9 = take_rows %8, %0 : f32[2*T, H]
    %10 = grouped_matmul %8, %9, %2 {spec = "ab,cdb->ad"} : f32[2*T, 8]
    %11 = combine %8, %7, %10 : f32[T, 8]
    %12 = const {value = -inf} : f32[T, 8]
    %13 = maximum %11, %12 : f32[T, 8]
    %14 = literal {values = [3, 1]} : i32[2]
    %15 = gather %13, %14 {along = [-1], axis = 1} : f32[T, 2]
    %16 = slice %15 {axis = 0, size = Q, start = 0, step = 1} : f32[Q, 2]
    output "y" = %13
    output "z" = %16
}
"#;

#[test]
fn text_reads_back() {
    let module = read(SPARSE).unwrap();
    assert_eq!(print(&module), SPARSE);
}

#[test]
fn instantiation_leaves_runtime_symbols() {
    let module = read(SPARSE).unwrap().instantiate(&Default::default()).unwrap();
    assert!(print(&module).contains("%9 = take_rows %8, %0 : f32[2*T, 16]"));
    assert_eq!(read(&print(&module)).unwrap(), module);
    let sizes = [("T".into(), 7)].into();
    assert!(print(&module.instantiate(&sizes).unwrap()).contains("f32[3, 2]"));
}

#[track_caller]
fn refused(from: &str, to: &str, line: usize, message: &str) {
    assert!(SPARSE.contains(from), "the example lacks {from:?}");
    let error = read(&SPARSE.replacen(from, to, 1)).expect_err("refused");
    let IrError::Text { line: at, message: found } = &error else { panic!("{error:?}") };
    assert!(found.contains(message), "{found}");
    assert_eq!(*at, line);
}

#[test]
fn wrong_text_is_refused() {
    refused("axis = 1} : f32[T, 4]", "axis = 2} : f32[T, 4]", 10, "axis = 2");
    refused("f32[2*T, 8]", "f32[T, 8]", 16, "yields f32[2*T, 8]");
    refused("{spec = \"ab,cb->ac\"}", "{spec = \"th,eh->te\"}", 9, "canonical");
    refused("size = Q", "size = R", 22, "R is not declared");
    refused("= maximum", "= biggest", 19, "no operation `biggest`");
    refused("k = 2", "k = 5", 11, "at most 4");
    refused("%13 = max", "%14 = max", 19, "expected %13");
}

#[test]
fn every_row_is_well_formed() {
    for (i, op) in Op::ALL.iter().enumerate() {
        let row = op.row();
        assert_eq!(Op::from_mnemonic(row.mnemonic), Some(*op), "mnemonics are distinct");
        assert!(row.attrs.is_sorted_by_key(|(name, _)| *name), "{op}: attributes are sorted");
        assert!(row.doc.trim().ends_with('.'), "{op}: the doc line is a sentence");
        assert_eq!(*op as usize, i);
    }
}

#[test]
fn names_of_any_characters_read_back() {
    let name = "tab\t quote\" back\\slash ' bell\u{7} nul\0 ö \u{feff} {0}\r";
    let text =
        format!("module m {{\n    %0 = input {{name = {name:?}}} : f32[3]\n    output {name:?} = %0\n}}\n");
    let module = read(&text).unwrap();
    assert_eq!(&*module.outputs[0].name, name);
    assert_eq!(print(&module), text);
    for escape in ["\\q", "\\u{110000}", "\\u{}", "\\u12"] {
        let wrong = text.replacen("tab", escape, 1);
        assert!(read(&wrong).unwrap_err().to_string().starts_with("line 2: unknown escape"), "{escape}");
    }
}
