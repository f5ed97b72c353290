//! A model folder as one text: the configuration, a line `---`, and a line for each tensor. What stands
//! in for files; how those are read is tested with the importer.
//!
//! ```text
//! {"model_type": "mixtral", "hidden_size": 3}
//! ---
//! model.layers.0.block_sparse_moe.gate.weight bf16 2 3
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use moec_import::{ImportError, ImportOptions, Tensors, import};
use moec_ir::DType;
use moec_runtime::weights::WeightFiles;

use crate::Reach;

/// Between configuration and tensors.
const BREAK: &str = "\n---\n";

/// More tensors are like these.
const MOST_TENSORS: usize = 2000;

/// Names with types and shapes.
struct Listed(BTreeMap<String, (DType, Vec<u64>)>);

impl Tensors for Listed {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn get(&self, name: &str) -> Result<Option<(DType, &[u64])>, ImportError> {
        Ok(self.0.get(name).map(|(dtype, shape)| (*dtype, &shape[..])))
    }
}

/// The text of a folder; `None` for files that are no float weights throughout.
pub(crate) fn text(config: &str, weights: &WeightFiles) -> Option<String> {
    let mut text = config.to_owned() + BREAK;
    for name in weights.names() {
        let tensor = weights.get(name).ok()?;
        text.push_str(&format!("{name} {}", tensor.dtype));
        for size in tensor.shape {
            // Writing to a string cannot fail.
            let _ = write!(text, " {size}");
        }
        text.push('\n');
    }
    Some(text)
}

/// Imports a folder, and what comes out formats, parses and can be looked at.
pub(crate) fn run(text: &str) -> Reach {
    let mut reach = Reach::default();
    let (config, tensors) = text.split_once(BREAK).unwrap_or((text, ""));
    let tensor = |line: &str| {
        let mut words = line.split(' ');
        let (name, dtype) = (words.next()?.to_owned(), DType::from_name(words.next()?)?);
        Some((name, (dtype, words.filter_map(|word| word.parse().ok()).collect())))
    };
    let tensors = Listed(tensors.lines().take(MOST_TENSORS).filter_map(tensor).collect());
    for layer in [None, Some(1)] {
        let imported = match import(config, &tensors, &ImportOptions { layer, read_as: None }) {
            Ok(imported) => imported,
            Err(ImportError::Internal(message)) => panic!("the importer's own fault: {message}"),
            Err(error) => {
                assert!(error.to_string().len() < 10_000, "a message quotes too much");
                reach.message("import", &error.to_string());
                continue;
            }
        };
        reach.mark(("imported", &imported.model_type, imported.warnings.len()));
        let source = imported.source;
        assert_eq!(moec_syntax::format(&source).as_ref(), Ok(&source), "what is imported is formatted");
        // Sizes that only this text has may be too large for anything; the names are right.
        let (_, found) = moec_lower::lower_text(&source, &moec_lower::Options::default());
        reach.diagnostics("lower", &found);
        let is_size = |slug: &str| slug.contains("size") || slug.contains("large") || slug.contains("zero");
        let fault = found.iter().find(|diagnostic| diagnostic.is_error() && !is_size(diagnostic.slug()));
        assert!(fault.is_none(), "imported source does not lower: {fault:?}\n{source}");
    }
    reach
}
