//! What is fuzzed: one function for each reader of foreign bytes. A function says what it reached, and
//! panics where a promise of a phase does not hold; so it can also stand behind any other fuzzer.

use std::io::Write;

use moec_diag::{Diagnostic, SourceFile, render};
use moec_ir::{DType, DimKind, Module, Sizes, print, read, rowwise, verify};
use moec_runtime::packed::PackedFile;
use moec_runtime::threads::Pool;
use moec_runtime::weights::WeightFiles;
use moec_syntax::{format, outline, parse};

use crate::{Reach, folder};

/// Diagnostics rendered for one input; more of them look alike.
const RENDERED: usize = 20;

/// A reader of foreign bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `.moe`: parse, format, lower, print and read back.
    Source,
    /// `.moir`: read, verify, print and read back.
    IrText,
    /// Weight files: open, look up, collect stacks.
    Safetensors,
    /// Files of packed weights: open, verify.
    Packed,
    /// Configuration and tensor names of a model folder: import, format, lower.
    ModelFolder,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 5] =
        [Target::Source, Target::IrText, Target::Safetensors, Target::Packed, Target::ModelFolder];

    /// Its name on the command line and among the saved inputs.
    pub fn name(self) -> &'static str {
        match self {
            Target::Source => "source",
            Target::IrText => "ir_text",
            Target::Safetensors => "safetensors",
            Target::Packed => "packed",
            Target::ModelFolder => "model_folder",
        }
    }

    /// The target of that name.
    pub fn from_name(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Runs the target on an input.
    ///
    /// # Panics
    /// If the compiler does, or breaks a promise: that is what is looked for.
    pub fn run(self, bytes: &[u8]) -> Reach {
        match self {
            Target::Source => source(&String::from_utf8_lossy(bytes)),
            Target::IrText => ir_text(&String::from_utf8_lossy(bytes)),
            Target::Safetensors => safetensors(bytes),
            Target::Packed => packed(bytes),
            Target::ModelFolder => folder::run(&String::from_utf8_lossy(bytes)),
        }
    }
}

fn source(text: &str) -> Reach {
    let mut reach = Reach::default();
    let file = SourceFile::new("fuzz.moe", text);
    let show = |found: &[Diagnostic]| {
        for diagnostic in found.iter().take(RENDERED) {
            render(diagnostic, &file, false, 100);
        }
    };
    let (tree, found) = parse(text);
    reach.diagnostics("parse", &found);
    show(&found);
    let parsed = !found.iter().any(Diagnostic::is_error);
    let form = outline(&tree);
    match format(text) {
        Ok(formatted) => {
            assert!(parsed, "a text with syntax errors was formatted");
            assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "formatting twice is formatting once");
            assert_eq!(outline(&parse(&formatted).0), form, "formatting keeps the tree");
        }
        Err(found) => assert!(!parsed && !found.is_empty(), "a text that parses can be formatted: {found:?}"),
    }

    let (models, found) = moec_lower::lower(&tree, text, &moec_lower::Options::default());
    reach.diagnostics("lower", &found);
    show(&found);
    let sound = parsed && !found.iter().any(Diagnostic::is_error);
    if sound {
        assert_eq!(models.len(), tree.models().count(), "a model without errors is lowered");
    }
    for model in &models {
        reach.module("lower", &model.module);
        verify(&model.module).expect("lowering gives a module that verifies");
        check_module(&model.module, &mut reach);
    }
    reach
}

fn ir_text(text: &str) -> Reach {
    let mut reach = Reach::default();
    match read(text) {
        Ok(module) => {
            reach.module("read", &module);
            verify(&module).expect("what was read verifies");
            check_module(&module, &mut reach);
        }
        Err(error) => reach.message("read", &error.to_string()),
    }
    reach
}

/// What holds of every module that verifies.
fn check_module(module: &Module, reach: &mut Reach) {
    check_text(module);
    let open: Vec<_> = module.dims.decls().iter().filter(|decl| decl.kind == DimKind::Runtime).collect();
    for decl in &open {
        reach.mark(("rowwise", rowwise(module, &decl.name).is_some()));
    }
    let axes: Vec<_> = module.inputs().flat_map(|(_, _, ty)| ty.shape.clone()).collect();
    module.dims.determined_by(&axes);

    // With sizes unknown until it runs, none at all, and one that nothing divides.
    for size in [None, Some(0), Some(7)] {
        let sizes: Sizes = open.iter().filter_map(|decl| Some((decl.name.clone(), size?))).collect();
        match module.instantiate(&sizes) {
            Ok(numbers) => {
                reach.mark(("instantiate", size));
                // A size may turn out too large only now; that is an error, and no module.
                if verify(&numbers).is_ok() {
                    check_text(&numbers);
                }
                let extents: Vec<_> = axes.iter().map(|axis| (axis.clone(), size.unwrap_or(1))).collect();
                let solved = module.dims.solve(&extents);
                reach.mark(("solve", solved.is_ok()));
            }
            Err(error) => reach.message("instantiate", &error.to_string()),
        }
    }
}

fn check_text(module: &Module) {
    let text = print(module);
    let again = read(&text).unwrap_or_else(|error| panic!("printed text reads back: {error}\n{text}"));
    assert_eq!(&again, module, "text reads back to the same module\n{text}");
}

fn safetensors(bytes: &[u8]) -> Reach {
    let mut reach = Reach::default();
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("space for a temporary file");
    let files = match WeightFiles::open(&[file.path()]) {
        Ok(files) => files,
        Err(error) => {
            reach.message("open", &error.to_string());
            return reach;
        }
    };
    for name in files.names() {
        match files.get(name) {
            Ok(tensor) => {
                // Every byte is there to be read.
                let sum = tensor.bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                reach.mark(("get", tensor.dtype.to_string(), tensor.shape.len().min(6), sum % 4));
                let elements: u64 = tensor.shape.iter().product();
                assert_eq!(elements * tensor.dtype.bytes() as u64, tensor.bytes.len() as u64, "{name}");
                let again = files.get_typed(name, tensor.dtype, tensor.shape);
                assert_eq!(again.expect("its own type fits").bytes, tensor.bytes, "{name}");
                let pattern = pattern_of(name);
                for count in [0, 1, 3, 100] {
                    match files.get_stack(&pattern, &[count], tensor.dtype, tensor.shape) {
                        Ok(stack) => {
                            assert_eq!(stack.len() as u64, count, "{pattern}");
                            reach.mark(("stack", count));
                        }
                        Err(error) => reach.message("stack", &error.to_string()),
                    }
                }
            }
            Err(error) => reach.message("get", &error.to_string()),
        }
    }
    // Names without end are not looked for one by one.
    for counts in [&[][..], &[1 << 40, 1 << 40]] {
        if let Err(error) = files.get_stack("no such tensor", counts, DType::F32, &[]) {
            reach.message("missing", &error.to_string());
        }
    }
    reach
}

/// What a damaged header says is refused, or is about bytes that are there.
fn packed(bytes: &[u8]) -> Reach {
    let mut reach = Reach::default();
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("space for a temporary file");
    match PackedFile::open(file.path()) {
        Ok(packed) => {
            assert_eq!(packed.bytes(), bytes.len() as u64);
            reach.mark(("open", packed.model().len().min(40)));
            reach.mark(("sections", packed.sections().min(8), bytes.len() / 1024));
            match packed.verify(&Pool::new(1).expect("one thread")) {
                Ok(()) => reach.mark(("sound", true)),
                Err(error) => reach.message("verify", &error.to_string()),
            }
        }
        Err(error) => reach.message("open", &error.to_string()),
    }
    reach
}

/// The name with a hole for its first number, or as it is.
fn pattern_of(name: &str) -> String {
    let Some(start) = name.find(|c: char| c.is_ascii_digit()) else { return name.to_owned() };
    let rest = name[start..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{{0}}{rest}", &name[..start])
}
