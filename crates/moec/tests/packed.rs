//! Packed weights in files: the same results as packing them, and a refusal of every file that does not fit.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moec::diag::SourceFile;
use moec::ir::DType;
use moec::{
    Array, ArrayMut, Artifact, FileError, Loaded, Options, PackedError, PackedFile, Pool, Session, Target,
    WeightFiles, WeightSource, Weights, write_safetensors,
};
use moec_runtime::packed::seal;

const LAYER: &str = "
model layer {
    dim T, H = 24, F = 40, E = 4, K = 2
    input  x      : f32[T, H]
    weight router : f32[E, H]     from \"router\"
    weight w1, w3 : bf16[E, F, H] from \"w1.{E}\", \"w3.{E}\"
    weight w2     : f32[E, H, F]  from \"w2\"
    weight bias   : f32[H]        from \"bias\"

    let p = softmax(x @ router.T, over E)
    let g = p where top_k(p, K, over E).mask else 0
    output y : f32[T, H] = bias + sum e over E { g[e] * swiglu(x, w1[e], w3[e], w2[e]) }
}
";

fn compiled(text: &str, options: &Options) -> Artifact {
    moec::compile(&SourceFile::new("layer.moe", text), options, &mut |_| ()).unwrap()
}

/// What `work` makes of the weights of these files; those that no file has follow from the seed.
fn weights<T>(
    artifact: &Artifact,
    files: &WeightFiles,
    seed: u64,
    work: impl FnOnce(&mut dyn WeightSource) -> T,
) -> T {
    let pool = Pool::new(1).unwrap();
    let sizes = artifact.checked().ir.dims.sized().clone();
    work(&mut Weights::new(files, seed, sizes, &pool, &mut |_, _| ()).make_missing())
}

fn run(loaded: &Arc<Loaded>) -> Vec<f32> {
    let mut session = Session::new(Arc::clone(loaded), Arc::new(Pool::new(1).unwrap()));
    let x: Vec<f32> = (0..5 * 24).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut y = vec![0f32; x.len()];
    session.run(&[Array::new(&[5, 24], &x)], &mut [ArrayMut::new(&[5, 24], &mut y)]).unwrap();
    y
}

struct Packed {
    folder: tempfile::TempDir,
    artifact: Artifact,
    path: PathBuf,
}

/// The layer with seeded weights, and its packed file.
fn packed(options: &Options) -> (Packed, Arc<Loaded>) {
    let artifact = compiled(LAYER, options);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.moepack");
    let pool = Pool::new(2).unwrap();
    let none = WeightFiles::default();
    let loaded = weights(&artifact, &none, 7, |source| artifact.pack(source, &pool, &path)).unwrap();
    (Packed { folder, artifact, path }, loaded)
}

fn refusal(artifact: &Artifact, path: &Path) -> String {
    let refused = PackedFile::open(path).and_then(|file| artifact.load_packed(&file, None, None));
    refused.unwrap_err().to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_packed_file_runs_as_its_weights_do() {
    for target in ["host", "x86_64"] {
        let target = Target::named(target).unwrap();
        let (whole, loaded) = packed(&Options { target, ..Options::default() });
        let Packed { artifact, path, folder } = &whole;
        let file = PackedFile::open(path).unwrap();
        file.verify(&Pool::new(2).unwrap()).unwrap();
        let again = artifact.load_packed(&file, None, None).unwrap();
        assert_eq!(run(&again), run(&loaded));
        assert_eq!(again.bytes(), loaded.bytes());
        let copied = artifact.load_packed(&file, None, Some(&Pool::new(2).unwrap())).unwrap();
        assert_eq!(run(&copied), run(&loaded));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }
}

/// Experts beyond the budget are read from the packed file too.
#[test]
fn experts_outside_memory_lie_in_the_file() {
    let options = Options { memory_budget: Some(20_000), ..Options::default() };
    let (whole, loaded) = packed(&options);
    let Packed { artifact, path, .. } = &whole;
    assert!(loaded.mapped_bytes() > 0);
    let again = artifact.load_packed(&PackedFile::open(path).unwrap(), None, None).unwrap();
    assert_eq!(again.mapped_bytes(), loaded.mapped_bytes());
    assert_eq!(run(&again), run(&loaded));
}

/// What is loaded does not depend on what is counted, so one file serves both.
#[test]
fn a_program_that_counts_takes_the_same_file() {
    let (whole, loaded) = packed(&Options::default());
    let path = &whole.path;
    let options = Options { record: moec::Record::All, ..Options::default() };
    let counting = compiled(LAYER, &options);
    let file = PackedFile::open(path).unwrap();
    assert_eq!(counting.load_packed(&file, None, None).unwrap().bytes(), loaded.bytes());
}

#[test]
fn files_for_something_else_are_refused() {
    let (whole, _) = packed(&Options::default());
    let path = &whole.path;
    let other = compiled(&LAYER.replace("F = 40", "F = 48"), &Options::default());
    let said = "FILE does not fit: it was packed for another source or other options of `layer`; pack the weights again";
    assert_eq!(refusal(&other, path), said);
    let named = LAYER.replace("F = 40", "F = 48").replace("model layer", "model other");
    let said = refusal(&compiled(&named, &Options::default()), path);
    assert!(said.contains("it was packed for `layer`, and the program is `other`"), "{said}");
    if cfg!(target_arch = "x86_64") {
        let portable = Options { target: Target::named("x86_64").unwrap(), ..Options::default() };
        let said = refusal(&compiled(LAYER, &portable), path);
        assert!(said.contains("and the program is compiled for `x86_64"), "{said}");
    }
    let text = path.with_extension("txt");
    std::fs::write(&text, "weights").unwrap();
    let artifact = compiled(LAYER, &Options::default());
    assert_eq!(refusal(&artifact, &text), "FILE: not a file of packed weights");
    assert!(refusal(&artifact, Path::new("/")).contains("not a regular file"));
    assert!(refusal(&artifact, &path.with_extension("none")).starts_with("cannot read FILE"));
}

/// Weights are told apart by a few bytes of each, and by all of them where that is asked for.
#[test]
fn a_file_from_other_weights_is_refused() {
    let (whole, _) = packed(&Options::default());
    let Packed { artifact, path, folder } = &whole;
    let file = PackedFile::open(path).unwrap();
    let pool = Pool::new(2).unwrap();
    let none = WeightFiles::default();
    weights(artifact, &none, 7, |source| artifact.load_packed(&file, Some(source), None)).unwrap();
    weights(artifact, &none, 7, |source| artifact.verify_packed(&file, Some(source), &pool)).unwrap();
    let other = weights(artifact, &none, 8, |source| artifact.load_packed(&file, Some(source), None));
    assert!(other.unwrap_err().to_string().contains("packed from other weights"));

    // A stack in a file, of which one byte is changed where no sample is taken.
    let size = 3 << 12;
    let text = format!(
        "model m {{
    dim T, H = 64, N = {}
    input  x : f32[T, H]
    weight w : f32[N, H] from \"w\"
    output y : f32[T, N] = x @ w.T
}}",
        size / 256
    );
    let artifact = compiled(&text, &Options::default());
    let write = |changed: usize| {
        let mut bytes = vec![1u8; size];
        bytes[changed] = 2;
        let weights = folder.path().join("w.safetensors");
        write_safetensors(&weights, &[("w", DType::F32, &[size as u64 / 256, 64], &bytes)]).unwrap();
        WeightFiles::open(&[weights]).unwrap()
    };
    let path = folder.path().join("m.moepack");
    weights(&artifact, &write(0), 0, |source| artifact.pack(source, &pool, &path)).unwrap();
    let file = PackedFile::open(&path).unwrap();
    weights(&artifact, &write(0), 0, |source| artifact.verify_packed(&file, Some(source), &pool)).unwrap();
    let verified =
        weights(&artifact, &write(size - 1), 0, |source| artifact.verify_packed(&file, Some(source), &pool));
    assert!(matches!(verified.unwrap_err(), PackedError::Foreign { .. }));
}

/// No byte of the header may be another, no byte of the file may lack; the content is verified when asked for.
#[test]
fn damage_is_found() {
    let (whole, _) = packed(&Options::default());
    let Packed { artifact, path, folder } = &whole;
    let content = std::fs::read(path).unwrap();
    let damaged = folder.path().join("damaged.moepack");
    let header = u32::from_le_bytes(content[12..16].try_into().unwrap()) as usize;
    for at in (0..header).step_by(3) {
        let mut bytes = content.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&damaged, bytes).unwrap();
        assert!(PackedFile::open(&damaged).is_err(), "byte {at}");
    }
    let pool = Pool::new(1).unwrap();
    for at in (header..content.len()).step_by(977) {
        let mut bytes = content.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&damaged, bytes).unwrap();
        let file = PackedFile::open(&damaged).unwrap();
        assert!(file.verify(&pool).is_err(), "byte {at}");
        // Numbers are wrong then, and nothing else is.
        run(&artifact.load_packed(&file, None, None).unwrap());
    }
    for length in [0, 1, 8, 15, 47, 100, header - 1, header, content.len() - 1] {
        std::fs::write(&damaged, &content[..length]).unwrap();
        assert!(PackedFile::open(&damaged).is_err(), "{length} bytes");
    }
    std::fs::write(&damaged, [&content[..], &[0]].concat()).unwrap();
    let added = refusal(artifact, &damaged);
    assert!(added.contains("something was added"), "{added}");
}

/// A header that is whole but was made up: versions and sizes are compared, never believed.
#[test]
fn a_header_that_was_made_up_is_refused() {
    let (whole, _) = packed(&Options::default());
    let Packed { artifact, path, folder } = &whole;
    let content = std::fs::read(path).unwrap();
    let made_up = folder.path().join("made_up.moepack");
    let refused = |at: usize, bytes: &[u8]| {
        let mut content = content.clone();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut content);
        std::fs::write(&made_up, content).unwrap();
        refusal(artifact, &made_up)
    };
    let number = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
    let mine = env!("CARGO_PKG_VERSION");
    assert_eq!(&content[52..52 + number(48)], mine.as_bytes());
    let said = refused(52, b"9");
    let other = format!("9{}", &mine[1..]);
    assert!(said.contains(&format!("it was packed by moec {other}, and this is moec {mine}")), "{said}");
    // Behind three texts and three checksums: the number of sections, and of the first where it lies and its size.
    let sections = (0..3).fold(48, |at, _| at + 4 + number(at)) + 3 * 32;
    assert!(number(sections) > 1);
    let [offset, bytes] = [4, 12].map(|far| {
        let at = sections + far;
        (at, u64::from_le_bytes(content[at..at + 8].try_into().unwrap()))
    });
    let far = content.len() as u64;
    for (at, wrong) in [
        (bytes.0, vec![0, 1, bytes.1 - 1, bytes.1 + 1, 2 * bytes.1, far, u64::MAX, u64::MAX - offset.1 + 1]),
        (offset.0, vec![0, offset.1 + 4096, far, u64::MAX, u64::MAX - bytes.1 + 1]),
    ] {
        for wrong in wrong {
            let said = refused(at, &wrong.to_le_bytes());
            assert!(said.starts_with("FILE: "), "{wrong} at {at}: {said}");
        }
    }
    for count in [0, 1, u32::MAX] {
        let said = refused(sections, &count.to_le_bytes());
        assert!(said.starts_with("FILE: "), "{count} sections: {said}");
    }
}

/// A file that cannot be written leaves what was there.
#[test]
fn what_was_there_stays_when_packing_fails() {
    let artifact = compiled(LAYER, &Options::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.moepack");
    std::fs::write(&path, "before").unwrap();
    let weight = folder.path().join("w.safetensors");
    write_safetensors(&weight, &[("w2", DType::F32, &[1], &[0; 4])]).unwrap();
    let files = WeightFiles::open(&[&weight]).unwrap();
    let pool = Pool::new(1).unwrap();
    // The others are made up, so that packing has begun when this one is refused.
    let refused = weights(&artifact, &files, 0, |source| artifact.pack(source, &pool, &path));
    assert!(refused.unwrap_err().to_string().contains("shape"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let nowhere = weights(&artifact, &WeightFiles::default(), 0, |source| {
        artifact.pack(source, &pool, &folder.path().join("no/such"))
    });
    assert!(matches!(nowhere.unwrap_err(), PackedError::File(FileError::Unwritable { .. })));
}
