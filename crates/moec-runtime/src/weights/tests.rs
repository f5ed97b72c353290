//! Files as they should be, and every way known in which they lie.

use super::*;

/// A file with this header and so many bytes of data.
fn raw(dir: &tempfile::TempDir, name: &str, header: &str, data: usize) -> PathBuf {
    let path = dir.path().join(name);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refusal(header: &str, data: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = raw(&dir, "w.safetensors", header, data);
    let message = WeightFiles::open(&[&path]).unwrap_err().to_string();
    message.replace(&format!("{}: ", path.display()), "")
}

/// Eight experts' `w1` but those left out, [2, 2] in f32, each filled with its number.
fn experts(dir: &tempfile::TempDir, name: &str, numbers: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    let tensors: Vec<(String, Vec<u8>)> =
        numbers.iter().map(|&n| (format!("experts.{n}.w1.weight"), vec![n; 16])).collect();
    let named: Vec<_> =
        tensors.iter().map(|(name, bytes)| (name.as_str(), DType::F32, &[2u64, 2][..], &bytes[..])).collect();
    write_safetensors(&path, &named).unwrap();
    path
}

#[test]
fn tensors_come_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.safetensors");
    let tensors: [NamedTensor<'_>; 6] = [
        ("a", DType::F32, &[1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("b", DType::Bf16, &[2], &[1, 2, 3, 4]),
        ("c", DType::F16, &[], &[9, 9]),
        ("d", DType::I32, &[1], &[1, 0, 0, 0]),
        ("e", DType::Bool, &[3], &[0, 1, 0]),
        ("quote \" and \\ and {", DType::F32, &[0, 5], &[]),
    ];
    write_safetensors(&path, &tensors).unwrap();
    let files = WeightFiles::open(&[&path]).unwrap();
    assert_eq!(files.names().count(), tensors.len());
    for (name, dtype, shape, bytes) in tensors {
        assert_eq!(files.get_typed(name, dtype, shape).unwrap().bytes, bytes, "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn a_written_file_is_as_readable_as_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let ordinary = dir.path().join("ordinary");
    std::fs::write(&ordinary, "").unwrap();
    let path = experts(&dir, "w.safetensors", &[0]);
    let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(&path), permissions(&ordinary));
}

#[test]
fn writing_refuses_what_could_not_be_read_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let error = |tensors: &[NamedTensor<'_>]| {
        let message = write_safetensors(&path, tensors).unwrap_err().to_string();
        message.replace(&path.display().to_string(), "W")
    };
    assert_eq!(
        error(&[("a", DType::F32, &[2], &[0; 4])]),
        "cannot write W: tensor \"a\", f32 [2], has 4 bytes"
    );
    assert_eq!(
        error(&[("a", DType::F32, &[u64::MAX, 2], &[])]),
        "cannot write W: tensor \"a\", f32 [18446744073709551615, 2], has 0 bytes"
    );
    let twice: NamedTensor<'_> = ("a", DType::Bool, &[1], &[0]);
    assert_eq!(error(&[twice, twice]), "cannot write W: two tensors are named \"a\"");
    let elsewhere = dir.path().join("no/such/folder/w.safetensors");
    assert!(matches!(write_safetensors(&elsewhere, &[twice]), Err(FileError::Unwritable { .. })));
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    assert!(write_safetensors(&dir.path().join("folder"), &[twice]).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the folder is there");
}

#[test]
fn a_stack_is_collected_over_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let files = [experts(&dir, "1", &[0, 2, 4, 6]), experts(&dir, "2", &[1, 3, 5, 7])];
    let files = WeightFiles::open(&files).unwrap();
    let stack = files.get_stack("experts.{0}.w1.weight", &[8], DType::F32, &[2, 2]).unwrap();
    let firsts: Vec<u8> = stack.iter().map(|tensor| tensor.bytes[0]).collect();
    assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(files.get_stack("experts.{0}.w1.weight", &[0], DType::F32, &[2, 2]).unwrap().is_empty());
}

#[test]
fn a_missing_tensor_says_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = experts(&dir, "model-00001-of-00002.safetensors", &[0, 1, 2, 3, 4, 5, 6]);
    let files = WeightFiles::open(&[&path]).unwrap();
    let shown = |error: WeightError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
    let missing = files.get_stack("experts.{0}.w1.weight", &[8], DType::F32, &[2, 2]).unwrap_err();
    assert_eq!(
        shown(missing),
        "\"experts.{0}.w1.weight\" matched 7 of 8 tensors; no \"experts.7.w1.weight\" in \
         model-00001-of-00002.safetensors; not given: model-00002-of-00002.safetensors; there is \
         \"experts.0.w1.weight\", \"experts.1.w1.weight\", \"experts.2.w1.weight\""
    );
    let huge = files.get_stack("e.{0}.{1}", &[1 << 40, 1 << 40], DType::F32, &[]).unwrap_err().to_string();
    assert!(huge.contains("matched 0 of 18446744073709551615"), "{huge}");
    assert!(shown(files.get("3.w1.weight").unwrap_err()).contains("there is \"experts.3.w1.weight\""));
    assert_eq!(
        WeightFiles::default().get("x").unwrap_err().to_string(),
        "no \"x\": no weight file was given"
    );
}

#[test]
fn a_mismatch_prints_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let path = experts(&dir, "w", &[0]);
    let files = WeightFiles::open(&[&path]).unwrap();
    let error = |dtype, shape: &[u64]| {
        let error = files.get_typed("experts.0.w1.weight", dtype, shape).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "W")
    };
    let start = "tensor \"experts.0.w1.weight\" in W has";
    assert_eq!(error(DType::Bf16, &[2, 2]), format!("{start} elements of type f32, declared bf16"));
    assert_eq!(error(DType::F32, &[4, 1]), format!("{start} shape [2, 2], declared [4, 1]"));
}

#[test]
fn one_name_in_two_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let files = [experts(&dir, "1", &[0, 1]), experts(&dir, "2", &[1])];
    let message = WeightFiles::open(&files).unwrap_err().to_string();
    assert!(message.starts_with("tensor \"experts.1.w1.weight\" is both in "), "{message}");
}

#[test]
fn types_without_meaning_here_are_refused_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}"#;
    let path = raw(&dir, "w", header, 12);
    let files = WeightFiles::open(&[&path]).unwrap();
    assert!(files.get("x").is_ok());
    let message = files.get("ids").unwrap_err().to_string().replace(&path.display().to_string(), "W");
    assert_eq!(
        message,
        "tensor \"ids\" in W has elements of type I64; F32, BF16, F16, I32, U8 and BOOL can be used"
    );
}

#[test]
fn what_is_no_file_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("absent"), dir.path().to_path_buf()] {
        assert!(matches!(WeightFiles::open(&[path]), Err(WeightError::File(FileError::Unreadable { .. }))));
    }
}

#[test]
fn lying_headers_are_refused_by_name() {
    let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(refusal(one, 7), "truncated: tensor \"a\" ends at byte 8 of the data, and there are 7");
    assert_eq!(refusal(one, 9), "1 bytes after the last tensor");
    let two = |b: &str| format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{b}}}"#);
    assert_eq!(
        refusal(&two(r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#), 12),
        "tensor \"b\" overlaps the one before it"
    );
    assert_eq!(
        refusal(&two(r#"{"dtype":"F32","shape":[2],"data_offsets":[12,20]}"#), 20),
        "bytes 8 to 12 before tensor \"b\" belong to no tensor"
    );
    assert_eq!(
        refusal(&two(r#"{"dtype":"BF16","shape":[3,1],"data_offsets":[8,20]}"#), 20),
        "tensor \"b\", BF16 [3, 1], needs 6 bytes and is given bytes 8 to 20"
    );
    assert_eq!(
        refusal(&two(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[8,8]}"#), 8),
        "tensor \"b\" of shape [4294967296, 4294967296] is larger than any memory"
    );
    let twice = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(refusal(twice, 8), "tensor \"a\" occurs twice in the header");
    assert_eq!(refusal(&twice.replace("[0,8]}}", "[8,16]}}"), 16), "tensor \"a\" occurs twice in the header");
}

#[test]
fn garbage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |bytes: &[u8]| {
        let path = dir.path().join("g");
        std::fs::write(&path, bytes).unwrap();
        WeightFiles::open(&[path]).unwrap_err().to_string()
    };
    assert!(open(b"").ends_with("not a safetensors file: 0 bytes, less than a header length"));
    assert!(open(b"GGUF").ends_with("not a safetensors file: 4 bytes, less than a header length"));
    let long = open(b"\x20\0\0\0\0\0\0\0{}");
    assert!(long.ends_with("promise a header of 32 bytes, and the file has 10"), "{long}");
    assert!(open(b"PK\x03\x04 a zip archive").contains("truncated, or not a safetensors file"));
    assert!(open(b"\x02\0\0\0\0\0\0\0[]").contains("not a safetensors file, or a corrupt one"));
    assert!(open(b"\x02\0\0\0\0\0\0\0\xff\xff").contains("not a safetensors file, or a corrupt one"));
}

/// Opens the damaged file and reads all that it is said to hold.
fn read_everything(path: &Path) {
    let Ok(files) = WeightFiles::open(&[path]) else { return };
    for tensor in files.names().filter_map(|name| files.get(name).ok()) {
        let elements = tensor.shape.iter().product::<u64>();
        assert_eq!(tensor.bytes.len() as u64, elements * tensor.dtype.bytes() as u64);
        std::hint::black_box(tensor.bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>());
    }
}

/// Every single-byte change of a header is either refused or harmless.
#[test]
fn one_wrong_byte_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let sound = std::fs::read(experts(&dir, "w", &[0, 1])).unwrap();
    let path = dir.path().join("damaged");
    let header = 8 + u64::from_le_bytes(*sound.first_chunk().unwrap()) as usize;
    for position in 0..header {
        for replacement in [0, b'9', b'"', b'}', b'[', 0xff] {
            let mut bytes = sound.clone();
            bytes[position] = replacement;
            std::fs::write(&path, bytes).unwrap();
            read_everything(&path);
        }
    }
}

/// So is any number of random cuts, copies and insertions; `MOEC_FUZZ_ROUNDS` asks for more of them.
#[test]
fn random_damage_does_no_harm() {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    const PIECES: [&str; 12] =
        ["{", "}", "[", "]", "\"", ",", ":", "\\", "18446744073709551615", "\"I64\"", "__metadata__", "-1"];
    let rounds = std::env::var("MOEC_FUZZ_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let sound = std::fs::read(experts(&dir, "w", &[0, 1, 2])).unwrap();
    let path = dir.path().join("damaged");
    let header = u64::from_le_bytes(*sound.first_chunk().unwrap());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for _ in 0..rounds {
        let mut bytes = sound.clone();
        for _ in 0..=random.next_u32() % 3 {
            let mut below = |limit: usize| random.next_u32() as usize % limit.max(1);
            let at = below(bytes.len());
            let end = (at + below(20)).min(bytes.len());
            let piece = match below(3) {
                0 => Vec::new(),
                1 => sound[at.min(sound.len())..end.min(sound.len())].repeat(2),
                _ => PIECES[below(PIECES.len())].into(),
            };
            bytes.splice(at..end, piece);
        }
        let size = bytes.len() as u64;
        // Half of them with a header length that fits again, so that the damage is looked at.
        if random.next_u32() & 1 == 0
            && let Some(length) = bytes.first_chunk_mut::<8>()
        {
            *length = (header + size).wrapping_sub(sound.len() as u64).to_le_bytes();
        }
        std::fs::write(&path, bytes).unwrap();
        read_everything(&path);
    }
}
