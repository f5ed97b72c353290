//! Folders that are broken, and folders that mean harm: each is refused with a message that says what was
//! found, in little memory, and nothing outside the folder is read.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use moec_import::{Folder, ImportError, ImportOptions, Imported, import, open_weights};
use moec_ir::DType;
use moec_runtime::weights::{NamedTensor, write_safetensors};

/// A folder of a small Mixtral, to be spoilt.
struct Model {
    dir: tempfile::TempDir,
}

const CONFIG: &str = r#"{"model_type": "mixtral", "hidden_size": 3, "intermediate_size": 2,
    "num_local_experts": 2, "num_experts_per_tok": 1, "hidden_act": "silu"}"#;
const AT: &str = "model.layers.0.block_sparse_moe";

type Tensor = (String, DType, Vec<u64>);

/// The tensors of the block.
fn tensors() -> Vec<Tensor> {
    let mut tensors = vec![(format!("{AT}.gate.weight"), DType::F32, vec![2, 3])];
    for e in 0..2 {
        for (name, shape) in [("w1", [2, 3]), ("w3", [2, 3]), ("w2", [3, 2])] {
            tensors.push((format!("{AT}.experts.{e}.{name}.weight"), DType::F32, shape.to_vec()));
        }
    }
    tensors
}

fn save(path: &Path, tensors: &[Tensor]) {
    let bytes = vec![0u8; 1 << 10];
    let size = |(_, dtype, shape): &Tensor| shape.iter().product::<u64>() as usize * dtype.bytes();
    let named: Vec<NamedTensor<'_>> = tensors
        .iter()
        .map(|tensor| (tensor.0.as_str(), tensor.1, &tensor.2[..], &bytes[..size(tensor)]))
        .collect();
    write_safetensors(path, &named).unwrap();
}

impl Model {
    fn new() -> Model {
        Model::with(CONFIG, &tensors())
    }

    fn with(config: &str, tensors: &[Tensor]) -> Model {
        let model = Model { dir: tempfile::tempdir().unwrap() };
        model.write("config.json", config);
        save(&model.path("model.safetensors"), tensors);
        model
    }

    /// The same in two shards with an index.
    fn sharded() -> Model {
        let model = Model::new();
        std::fs::remove_file(model.path("model.safetensors")).unwrap();
        let all = tensors();
        let (first, second) = all.split_at(4);
        save(&model.path("a.safetensors"), first);
        save(&model.path("b.safetensors"), second);
        model.index(halves);
        model
    }

    /// An index that says for each tensor by number where it lies.
    fn index(&self, shard: impl Fn(usize) -> String) {
        let all = tensors();
        let entry = |(at, (name, ..)): (usize, &Tensor)| {
            let shard = shard(at).replace('\\', "\\\\").replace('\0', "\\u0000");
            format!("\"{name}\": \"{shard}\"")
        };
        let entries: Vec<String> = all.iter().enumerate().map(entry).collect();
        let text =
            format!("{{\"metadata\": {{\"total_size\": 1}}, \"weight_map\": {{{}}}}}", entries.join(", "));
        self.write(INDEX, &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn config(self, from: &str, to: &str) -> Model {
        assert!(CONFIG.contains(from), "{from}");
        self.write("config.json", &CONFIG.replacen(from, to, 1));
        self
    }

    fn import(&self) -> Result<Imported, ImportError> {
        self.import_with(&ImportOptions::default())
    }

    fn import_layer(&self, layer: u64) -> Result<Imported, ImportError> {
        self.import_with(&ImportOptions { layer: Some(layer), read_as: None })
    }

    fn import_with(&self, options: &ImportOptions) -> Result<Imported, ImportError> {
        let folder = Folder::open(self.dir.path())?;
        import(folder.config(), &folder, options)
    }

    /// The message of the refusal, with the folder called DIR.
    fn refused(&self) -> String {
        let message = self.import().expect_err("it is refused").to_string();
        message.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

const INDEX: &str = "model.safetensors.index.json";

/// The index of `Model::sharded`.
fn halves(at: usize) -> String {
    if at < 4 { "a.safetensors" } else { "b.safetensors" }.to_owned()
}

/// The refusal of a Mixtral with another configuration.
fn config(from: &str, to: &str) -> String {
    Model::new().config(from, to).refused()
}

/// The refusal of a Mixtral with other tensors.
fn weights(change: impl Fn(&mut Vec<Tensor>)) -> String {
    let mut all = tensors();
    change(&mut all);
    Model::with(CONFIG, &all).refused()
}

/// The tensors with other names.
fn renamed(from: &str, to: &str) -> Vec<Tensor> {
    tensors().into_iter().map(|(name, dtype, shape)| (name.replacen(from, to, 1), dtype, shape)).collect()
}

#[test]
fn the_model_that_is_spoilt_below_is_sound() {
    let imported = Model::new().import().unwrap();
    assert_eq!((imported.model_type.as_str(), imported.layer), ("mixtral", 0));
    assert!(imported.warnings.is_empty());
    assert_eq!(Model::sharded().import().unwrap().source, imported.source);
    assert_eq!(moec_syntax::format(&imported.source).unwrap(), imported.source);
}

#[test]
fn values_of_the_wrong_type_are_named() {
    let size = |value: &str| config("\"hidden_size\": 3", &format!("\"hidden_size\": {value}"));
    for (value, shown) in [
        ("\"3\"", "\"3\""),
        ("3.0", "3.0"),
        ("-3", "-3"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("true", "true"),
        ("{}", "an object of 0 keys"),
        ("1e3", "1e3"),
        ("18446744073709551616", "18446744073709551616"),
        ("2000000000000", "2000000000000"),
    ] {
        let expected = format!("`hidden_size` is {shown}; expected a whole number below 2^31");
        assert_eq!(size(value), expected, "{value}");
    }
    assert_eq!(size("[]"), "`hidden_size` is a list of 0 and has no element for layer 0");
    assert_eq!(size("null"), "config.json has no `hidden_size`, `d_model` or `n_embd`");
    assert_eq!(config("\"silu\"", "7"), "`hidden_act` is 7; expected a string");
    assert!(
        config("\"silu\"", "\"quux\"").starts_with("the activation \"quux\" is not known; known are silu")
    );
    let long = config("\"silu\"", &format!("\"{}\"", "x".repeat(100_000)));
    assert!(long.len() < 300, "{long}");
}

#[test]
fn sizes_that_the_tensors_do_not_have_are_refused() {
    assert_eq!(
        config("\"hidden_size\": 3", "\"hidden_size\": 4"),
        format!("tensor \"{AT}.gate.weight\" is [2, 3]; by config.json it would be [E, H] = [2, 4]")
    );
    // A thousand million experts: the first shape that does not fit ends it.
    let huge = config("\"num_local_experts\": 2", "\"num_local_experts\": 1000000000");
    assert!(huge.ends_with("by config.json it would be [E, H] = [1000000000, 3]"), "{huge}");
    assert_eq!(config("tok\": 1", "tok\": 3"), "3 experts for each token, of 2");
    assert_eq!(config("tok\": 1", "tok\": 0"), "0 experts for each token, of 2");
    assert!(config("experts\": 2", "experts\": 0").contains("[E, H] = [0, 3]"));

    // More experts than the router knows of; fewer.
    let more = weights(|all| all.push((format!("{AT}.experts.2.w1.weight"), DType::F32, vec![2, 3])));
    assert_eq!(
        more,
        format!("the block has tensors that Mixtral models do not have: \"{AT}.experts.2.w1.weight\"")
    );
    let lacks = |name: &str| format!("the folder has no tensor \"{AT}.{name}\", one of 2 of that form");
    let fewer = weights(|all| all.retain(|(name, ..)| !name.contains("experts.1.w3")));
    assert_eq!(fewer, lacks("experts.1.w3.weight"));
    let none = weights(|all| all.retain(|(name, ..)| !name.contains("experts")));
    assert_eq!(none, lacks("experts.0.w1.weight"));
}

#[test]
fn tensors_of_other_types_are_refused() {
    let mixed = weights(|all| all[4].1 = DType::Bf16);
    assert_eq!(mixed, format!("tensor \"{AT}.experts.1.w1.weight\" is bf16; expected f32 like the first"));
    let whole = weights(|all| all[0].1 = DType::I32);
    assert_eq!(whole, format!("tensor \"{AT}.gate.weight\" is i32; expected f32, bf16 or f16"));
    let flat = weights(|all| all[0].2 = vec![6]);
    assert_eq!(
        flat,
        format!("tensor \"{AT}.gate.weight\" is [6]; by config.json it would be [E, H] = [2, 3]")
    );
}

#[test]
fn quantised_weights_are_said_to_be_so() {
    let quantised =
        CONFIG.replace("{", "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4},");
    let mut all = tensors();
    all.retain(|(name, ..)| !name.contains("w2"));
    let message = Model::with(&quantised, &all).refused();
    assert!(message.ends_with("; config.json says that the weights are quantised by \"gptq\""), "{message}");
}

#[test]
fn tensors_that_a_model_does_not_have_are_not_passed_over() {
    let biased = weights(|all| {
        all.push((format!("{AT}.gate.bias"), DType::F32, vec![2]));
        all.push((format!("{AT}.experts.0.w1.bias"), DType::F32, vec![2]));
    });
    let start = "the block has tensors that Mixtral models do not have";
    assert_eq!(biased, format!("{start}: \"{AT}.experts.0.w1.bias\" and 1 more"));
}

#[test]
fn names_are_names_and_not_paths_or_source() {
    for prefix in ["../../", "/etc/", "a\\b.", "a\".", "a{x}.", "a\n.", "é.", "model.layers.0"] {
        let message = Model::with(CONFIG, &renamed("model.", prefix)).refused();
        let start = "no layer of this Mixtral (mixtral) model is a mixture of experts: no tensor is called";
        assert!(message.starts_with(start), "{prefix}: {message}");
    }
    for number in ["00", "-1", "", "99999999999999999999999", "0x"] {
        let at = format!("model.layers.{number}.block_sparse_moe");
        let message = Model::with(CONFIG, &renamed(AT, &at)).refused();
        assert!(message.contains("no tensor is called"), "{number}: {message}");
    }
    // Models that also see have the same names below a prefix.
    let source = Model::with(CONFIG, &renamed("model.", "language_model.model.")).import().unwrap().source;
    assert!(source.contains("\"language_model.model.layers.{layer}.block_sparse_moe\""), "{source}");
}

#[test]
fn the_language_model_of_a_larger_one_is_found() {
    let nested = format!(
        "{{\"model_type\": \"seer\", \"hidden_size\": 99, \"vision_config\": {{\"model_type\": \"olmoe\"}}, \
         \"text_config\": {CONFIG}}}"
    );
    let imported = Model::with(&nested, &renamed("model.", "model.language_model.")).import().unwrap();
    assert_eq!(imported.model_type, "mixtral");
    assert!(imported.source.contains("H = 3"), "{}", imported.source);
    // Two of them: the first is taken, and the other is spoken of.
    let mut both = renamed("model.", "thinker.model.");
    both.extend(renamed("model.", "talker.model."));
    let imported = Model::with(CONFIG, &both).import().unwrap();
    assert!(
        imported.warnings[0].contains("--set at=thinker.model.layers.{layer}."),
        "{:?}",
        imported.warnings
    );
}

#[test]
fn matrices_are_read_in_the_order_that_they_have() {
    let at = "model.language_model.layers.0.mlp";
    let vision =
        CONFIG.replace("mixtral", "qwen3_vl_moe_text").replace("intermediate_size", "moe_intermediate_size");
    let read = |gate_up: [u64; 3], down: [u64; 3]| {
        let tensors =
            [("gate.weight", &[2, 3][..]), ("experts.gate_up_proj", &gate_up), ("experts.down_proj", &down)];
        let tensor = |(name, shape): (&str, &[u64])| (format!("{at}.{name}"), DType::F32, shape.to_vec());
        Model::with(&vision, &tensors.map(tensor)).import()
    };
    let source = read([2, 3, 4], [2, 2, 3]).unwrap().source;
    assert!(source.contains("[E, H, P*F]") && source.contains("w2[e].T"), "{source}");
    let source = read([2, 4, 3], [2, 3, 2]).unwrap().source;
    assert!(source.contains("[E, P*F, H]") && !source.contains("w2[e].T"), "{source}");
    let error = read([2, 4, 4], [2, 3, 2]).unwrap_err().to_string();
    assert!(error.contains("experts.gate_up_proj\" is [2, 4, 4]"), "{error}");
}

#[test]
fn layers_without_experts_are_named() {
    let error = Model::new().import_layer(7).unwrap_err().to_string();
    assert_eq!(error, "layer 7 of this Mixtral (mixtral) model is no mixture of experts; those that are: 0");
    let mut all = tensors();
    for layer in ["3", "4", "5", "9"] {
        all.extend(renamed(AT, &AT.replace('0', layer)));
    }
    let model = Model::with(CONFIG, &all);
    let error = model.import_layer(2).unwrap_err().to_string();
    assert!(error.ends_with("those that are: 0, 3 to 5, 9"), "{error}");
    let source = model.import_layer(4).unwrap().source;
    assert!(source.contains("param layer = 4"), "{source}");
}

#[test]
fn unknown_types_are_read_by_what_they_have_or_not_at_all() {
    let model = Model::new().config("\"mixtral\"", "\"mixtral_2\"");
    let imported = model.import().unwrap();
    assert_eq!(imported.model_type, "mixtral");
    let warning = imported.warnings.join("\n");
    let start = "the model type \"mixtral_2\" is not known; configuration and tensors are those of";
    assert!(warning.starts_with(start) && warning.contains("mixtral"), "{warning}");
    let nameless = Model::new().config("\"model_type\": \"mixtral\",", "").import().unwrap();
    assert!(nameless.warnings[0].starts_with("config.json has no `model_type`"), "{:?}", nameless.warnings);

    let config = CONFIG.replace("\"mixtral\"", "\"novel\"");
    let message = Model::with(&config, &renamed("block_sparse_moe", "quux")).refused();
    let start = "the model type \"novel\" is not known, and its tensors are those of no model type that is";
    assert!(message.starts_with(start), "{message}");

    let novel = ImportOptions { layer: None, read_as: Some("novel".to_owned()) };
    let error = model.import_with(&novel).unwrap_err().to_string();
    assert!(error.starts_with("no model type \"novel\"; known are "), "{error}");
    let mixtral = ImportOptions { layer: None, read_as: Some("mixtral".to_owned()) };
    assert!(model.import_with(&mixtral).unwrap().warnings.is_empty());

    let coloured = CONFIG.replace("\"mixtral\"", "\"\\u001b[31m\"");
    let message = Model::with(&coloured, &renamed("block_sparse_moe", "quux")).refused();
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[test]
fn configurations_that_are_no_json_object_have_a_place() {
    assert_eq!(
        config("\"hidden_size\": 3", "\"hidden_size\": 3, \"hidden_size\": 4"),
        "config.json, line 2, column 76: the key \"hidden_size\" occurs twice in the object that ends here"
    );
    for (text, message) in [
        ("", "config.json, line 1, column 1: expected a value, found the end"),
        ("[]", "config.json holds a list of 0, not an object"),
        ("{\"a\": 1", "config.json, line 1, column 8: expected `,` or `}`, found the end"),
    ] {
        let model = Model::new();
        model.write("config.json", text);
        assert_eq!(model.refused(), message);
    }
    let model = Model::new();
    std::fs::write(model.path("config.json"), [b'{', 0xff, b'}']).unwrap();
    assert_eq!(model.refused(), "DIR/config.json: not UTF-8 at byte 1");
    model.write("config.json", &"{\"a\":".repeat(100_000));
    assert!(model.refused().contains("within each other"));
    model.write("config.json", &format!("{{\"a\": [{}1]}}", "1,".repeat(500_000)));
    assert!(model.refused().contains("no model has so many"));
    // What Python writes for a float without end, where nothing asks for it.
    assert!(Model::new().config("{", "{\"time_step_limit\": [0.0, Infinity],").import().is_ok());
}

#[test]
fn large_files_are_not_read() {
    let model = Model::sharded();
    let grow = |name: &str| {
        let file = std::fs::File::options().write(true).open(model.path(name)).unwrap();
        file.set_len(100_000_000).unwrap();
    };
    grow(INDEX);
    assert_eq!(model.refused(), format!("DIR/{INDEX}: 100000000 bytes; at most 67108864 are read"));
    grow("config.json");
    assert_eq!(model.refused(), "DIR/config.json: 100000000 bytes; at most 4194304 are read");
}

#[test]
fn folders_without_what_it_takes_say_so() {
    let model = Model::new();
    std::fs::remove_file(model.path("model.safetensors")).unwrap();
    model.write("pytorch_model.bin", "");
    assert_eq!(model.refused(), "DIR: it has no weights as *.safetensors");
    std::fs::remove_file(model.path("config.json")).unwrap();
    assert!(model.refused().starts_with("DIR/config.json: "), "{}", model.refused());
    std::fs::create_dir(model.path("config.json")).unwrap();
    assert_eq!(model.refused(), "DIR/config.json: not a regular file");
    let error = Folder::open(&model.path("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn an_index_names_files_of_its_own_folder() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.safetensors");
    save(&secret, &tensors());
    let secret = secret.display().to_string();
    let model = Model::sharded();
    for shard in [
        "../secret.safetensors",
        &secret,
        "sub/a.safetensors",
        "..",
        ".",
        "",
        "a\\b",
        "a\0b",
        ".a.safetensors",
    ] {
        model.index(|_| shard.to_owned());
        let message = model.refused();
        assert!(message.ends_with(" is no file of this folder, so it is not read"), "{shard:?}: {message}");
        assert!(open_weights(&[model.dir.path()]).is_err());
    }
    // Files that are there and are no weights: the index itself, the configuration.
    for shard in [INDEX, "config.json"] {
        model.index(|_| shard.to_owned());
        assert!(model.refused().contains("safetensors"), "{}", model.refused());
    }
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_are_not_followed() {
    use std::os::unix::fs::symlink;

    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.safetensors");
    save(&secret, &tensors());
    let model = Model::sharded();
    symlink(&secret, model.path("c.safetensors")).unwrap();
    model.index(|_| "c.safetensors".to_owned());
    assert_eq!(model.refused(), "DIR/c.safetensors: a link that leads out of the folder, so it is not read");

    // In a circle, and to nowhere.
    for (from, to) in
        [("d.safetensors", "e.safetensors"), ("e.safetensors", "d.safetensors"), ("f.safetensors", "nothing")]
    {
        symlink(model.path(to), model.path(from)).unwrap();
        model.index(|_| from.to_owned());
        assert!(model.refused().starts_with(&format!("DIR/{from}: ")), "{}", model.refused());
    }

    // Within the folder it is a name like another.
    symlink("a.safetensors", model.path("g.safetensors")).unwrap();
    model.index(|at| halves(at).replace("a.", "g."));
    assert!(model.import().is_ok());

    // A single file by a link, and a configuration.
    let model = Model::new();
    std::fs::remove_file(model.path("model.safetensors")).unwrap();
    symlink(&secret, model.path("model.safetensors")).unwrap();
    assert!(model.refused().ends_with("so it is not read"));
    std::fs::write(outside.path().join("config.json"), CONFIG).unwrap();
    std::fs::remove_file(model.path("config.json")).unwrap();
    symlink(outside.path().join("config.json"), model.path("config.json")).unwrap();
    assert_eq!(model.refused(), "DIR/config.json: a link that leads out of the folder, so it is not read");
}

#[cfg(unix)]
#[test]
fn the_cache_of_hugging_face_is_a_folder_of_links() {
    use std::os::unix::fs::symlink;

    let cache = tempfile::tempdir().unwrap();
    let (snapshot, blobs) = (cache.path().join("snapshots/0123"), cache.path().join("blobs"));
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir(&blobs).unwrap();
    std::fs::write(blobs.join("1"), CONFIG).unwrap();
    save(&blobs.join("2"), &tensors());
    symlink("../../blobs/1", snapshot.join("config.json")).unwrap();
    symlink("../../blobs/2", snapshot.join("model.safetensors")).unwrap();
    let folder = Folder::open(&snapshot).unwrap();
    assert!(import(folder.config(), &folder, &ImportOptions::default()).is_ok());
}

#[test]
fn shards_that_are_not_there_matter_when_they_are_needed() {
    let model = Model::sharded();
    std::fs::remove_file(model.path("b.safetensors")).unwrap();
    let lies = format!("the index says that tensor \"{AT}.experts.1.w1.weight\" lies in");
    assert_eq!(model.refused(), format!("{lies} b.safetensors, which is not there"));

    // Another layer lies in a shard that is not there; this one is whole.
    let model = Model::sharded();
    let text = std::fs::read_to_string(model.path(INDEX)).unwrap();
    let more = format!("\"weight_map\": {{\"{}.gate.weight\": \"c.safetensors\", ", AT.replace('0', "1"));
    model.write(INDEX, &text.replace("\"weight_map\": {", &more));
    assert!(model.import().is_ok());
    let error = model.import_layer(1).unwrap_err().to_string();
    assert!(error.ends_with("lies in c.safetensors, which is not there"), "{error}");

    let model = Model::sharded();
    model.index(|_| "a.safetensors".to_owned());
    assert_eq!(model.refused(), format!("{lies} a.safetensors, which has no such tensor"));
    model.index(|at| format!("{at}.safetensors"));
    assert_eq!(model.refused(), format!("DIR/{INDEX}: none of its 7 files is there, such as 0.safetensors"));
}

#[test]
fn an_index_of_another_form_is_refused() {
    let index = |text: &str| {
        let model = Model::sharded();
        model.write(INDEX, text);
        model.refused().replace(&format!("DIR/{INDEX}: "), "")
    };
    assert_eq!(index("[]"), "holds a list of 0, not an object");
    assert_eq!(index("{}"), "has no `weight_map`");
    assert_eq!(index("{\"weight_map\": []}"), "`weight_map` is a list of 0, not an object");
    assert_eq!(index("{\"weight_map\": {\"a\": 1}}"), "the file of \"a\" is 1, not a name");
    assert_eq!(index("{\"weight_map\": {}}"), "its `weight_map` is empty");
    assert!(index("{\"weight_map\": {\"a\": \"b\", \"a\": \"c\"}}").contains("the key \"a\" occurs twice"));
}
