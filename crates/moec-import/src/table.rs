//! The table of models: every row of `models/`, with the layouts and keys that rows share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::error::ImportError;
use crate::key::Key;
use crate::row::{Layout, LayoutRef, Row};

/// Name and text of each file of `models/`, in order of names.
const MODELS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/models.rs"));

/// All that is known of models.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    layouts: BTreeMap<String, Layout>,
    pub(crate) keys: BTreeMap<String, Key>,
}

static TABLE: LazyLock<Result<Table, String>> = LazyLock::new(Table::read);

impl Table {
    /// The table of this build.
    pub(crate) fn get() -> Result<&'static Table, ImportError> {
        TABLE.as_ref().map_err(|message| ImportError::Internal(message.clone()))
    }

    fn read() -> Result<Table, String> {
        let row = |(file, text): &(&str, &str)| {
            toml::from_str::<Row>(text).map_err(|error| format!("models/{file}: {error}"))
        };
        let rows = MODELS.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let layouts = toml::from_str(include_str!("../layouts.toml"))
            .map_err(|error| format!("layouts.toml: {error}"))?;
        let keys =
            toml::from_str(include_str!("../keys.toml")).map_err(|error| format!("keys.toml: {error}"))?;
        Ok(Table { rows, layouts, keys })
    }

    /// The row of a model type.
    pub(crate) fn row(&self, model_type: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.types.iter().any(|name| name == model_type))
    }

    /// All model types, sorted.
    pub(crate) fn types(&self) -> Vec<&str> {
        let mut types: Vec<&str> =
            self.rows.iter().flat_map(|row| row.types.iter().map(String::as_str)).collect();
        types.sort_unstable();
        types
    }

    /// The layout that a row speaks of.
    pub(crate) fn layout<'a>(&'a self, reference: &'a LayoutRef) -> Result<&'a Layout, ImportError> {
        match reference {
            LayoutRef::Own(layout) => Ok(layout),
            LayoutRef::Named(name) => self
                .layouts
                .get(name)
                .ok_or_else(|| ImportError::Internal(format!("layouts.toml has no layout `{name}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_reads_and_every_type_has_one() {
        let table = Table::read().unwrap();
        let types = table.types();
        assert!(types.windows(2).all(|pair| pair[0] != pair[1]), "a type in two rows: {types:?}");
        for row in &table.rows {
            let shared = row.shared.iter().flat_map(|shared| &shared.layouts);
            for layout in row.experts.layouts.iter().chain(shared) {
                table.layout(layout).unwrap();
            }
        }
    }
}
