//! Which row describes a folder, and which layer is meant.

use std::collections::BTreeMap;

use crate::compose::{Text, compose};
use crate::config::Config;
use crate::draft::{Draft, Place};
use crate::error::ImportError;
use crate::row::Row;
use crate::table::Table;
use crate::tensors::Tensors;

/// What a user may decide.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The layer; the first that is a mixture, if not given.
    pub layer: Option<u64>,
    /// The model type to read the folder as, whatever its configuration says.
    pub read_as: Option<String>,
}

/// A block as source.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Formatted `.moe` source.
    pub source: String,
    /// The model type whose row it was read by.
    pub model_type: String,
    /// The layer.
    pub layer: u64,
    /// What a user should know before relying on it.
    pub warnings: Vec<String>,
}

/// Reads the mixture of experts of one layer from the text of a `config.json` and the tensors beside it.
pub fn import(config: &str, tensors: &dyn Tensors, options: &ImportOptions) -> Result<Imported, ImportError> {
    let table = Table::get()?;
    let mut config = Config::read(config)?;
    let types: Vec<String> = config.model_types().into_iter().map(str::to_owned).collect();
    let named = match &options.read_as {
        Some(name) if table.row(name).is_none() => {
            let known = table.types().join(", ");
            return Err(ImportError::Unknown(format!("no model type {:?}; known are {known}", short(name))));
        }
        Some(name) => std::slice::from_ref(name),
        None => &types,
    };
    let known = named.iter().find_map(|name| table.row(name).map(|row| (name, row)));
    let Some((name, row)) = known else {
        let named = types.first().map_or("", String::as_str);
        return unknown(table, named, &mut config, tensors, options);
    };
    let read = read(table, row, &mut config, tensors, options);
    let (text, place, warnings) = read.map_err(|error| match (&error, config.quantisation()) {
        (ImportError::Tensor(_) | ImportError::Weights(_), Some(method)) => ImportError::Tensor(format!(
            "{error}; config.json says that the weights are quantised by {method}"
        )),
        _ => error,
    })?;
    finish(name, &text, &place, &row.title, warnings)
}

/// Reads the folder by a row.
fn read(
    table: &Table,
    row: &Row,
    config: &mut Config,
    tensors: &dyn Tensors,
    options: &ImportOptions,
) -> Result<(Text, Place, Vec<String>), ImportError> {
    let (place, warnings) = find(row, tensors, options.layer)?;
    config.layer = place.layer;
    let text = compose(Draft::new(table, row, config, &place, tensors))?;
    Ok((text, place, warnings))
}

fn finish(
    model_type: &str,
    text: &Text,
    place: &Place,
    title: &str,
    warnings: Vec<String>,
) -> Result<Imported, ImportError> {
    let title = format!("The mixture of experts of {title}, layer {}.", place.layer);
    let source = text.source(&title, &model_type.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let source = moec_syntax::format(&source).map_err(|diagnostics| {
        let first = diagnostics.first().map_or(String::new(), |diagnostic| diagnostic.message.clone());
        ImportError::Internal(format!("the importer wrote source that does not parse: {first}\n{source}"))
    })?;
    Ok(Imported { source, model_type: model_type.to_owned(), layer: place.layer, warnings })
}

/// A folder whose model type has no row: any row that accounts for its configuration and all tensors of
/// the block will do, as long as all of those give the same source.
fn unknown(
    table: &Table,
    named: &str,
    config: &mut Config,
    tensors: &dyn Tensors,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let model = match named {
        "" => "config.json has no `model_type`".to_owned(),
        named => format!("the model type {:?} is not known", short(named)),
    };
    let mut fits: Vec<(&Row, Text, Place, Vec<String>)> = Vec::new();
    let mut near: Vec<String> = Vec::new();
    for row in &table.rows {
        match read(table, row, config, tensors, options) {
            Ok((text, place, warnings)) => fits.push((row, text, place, warnings)),
            Err(ImportError::Layer(_)) => {}
            Err(error @ ImportError::Internal(_)) => return Err(error),
            Err(error) => near.push(format!("not {}: {error}", name_of(row))),
        }
    }
    // The row with the most similar name speaks for all.
    let alike = |row: &Row| name_of(row).chars().zip(named.chars()).take_while(|(a, b)| a == b).count();
    fits.sort_by_key(|(row, ..)| std::cmp::Reverse(alike(row)));
    let names: Vec<&str> = fits.iter().map(|(row, ..)| name_of(row)).collect();
    let names = names.join(", ");
    let differs = |text: &Text| {
        fits.first()
            .is_some_and(|(_, first, ..)| first.members != text.members || first.functions != text.functions)
    };
    if fits.iter().any(|(_, text, ..)| differs(text)) {
        return Err(ImportError::Unknown(format!(
            "{model}, and its tensors can be read as {names}, which differ; say which with --as"
        )));
    }
    let Some((row, text, place, mut warnings)) = fits.into_iter().next() else {
        near.truncate(3);
        let near: String = near.iter().map(|reason| format!("\n{reason}")).collect();
        return Err(ImportError::Unknown(format!(
            "{model}, and its tensors are those of no model type that is; known are {}{near}",
            table.types().join(", ")
        )));
    };
    warnings.insert(
        0,
        format!("{model}; configuration and tensors are those of {names}: compare the source with the model's own code"),
    );
    let title = format!("a model of unknown type, read as {}", row.title);
    finish(name_of(row), &text, &place, &title, warnings)
}

fn name_of(row: &Row) -> &str {
    row.types.first().map_or("", String::as_str)
}

fn short(name: &str) -> String {
    name.chars().take(60).collect()
}

/// Finds the blocks of a row among the names, and the one that is meant.
fn find(row: &Row, tensors: &dyn Tensors, layer: Option<u64>) -> Result<(Place, Vec<String>), ImportError> {
    // By order of the row's places, then by prefix; then layers, and for each which name its router has.
    let mut blocks: BTreeMap<(usize, String), BTreeMap<u64, usize>> = BTreeMap::new();
    let places: Vec<(usize, &str, usize, String)> = row
        .at
        .all()
        .iter()
        .enumerate()
        .filter_map(|(order, at)| at.split_once("{layer}").map(|(left, right)| (order, left, right)))
        .flat_map(|(order, left, right)| {
            let routers = row.router.weight.all().iter().enumerate();
            routers.map(move |(router, spec)| (order, left, router, format!("{right}.{}", spec.name)))
        })
        .collect();
    for name in tensors.names() {
        for (order, left, router, end) in &places {
            let Some((prefix, layer)) = layer_of(name, left, end) else { continue };
            let right =
                row.at.all().get(*order).and_then(|at| at.split_once("{layer}")).map_or("", |at| at.1);
            let template = format!("{prefix}{left}{{layer}}{right}");
            let layers = blocks.entry((*order, template)).or_default();
            layers.entry(layer).and_modify(|found| *found = (*router).min(*found)).or_insert(*router);
        }
    }
    let mut candidates = blocks.iter().filter_map(|((_, template), layers)| {
        let (layer, router) = match layer {
            Some(layer) => (layer, layers.get(&layer)?),
            None => layers.iter().next().map(|(layer, router)| (*layer, router))?,
        };
        Some(Place { template: template.clone(), layer, router: *router })
    });
    let Some(place) = candidates.next() else {
        let model = format!("{} ({})", row.title, name_of(row));
        return Err(ImportError::Layer(match (layer, blocks.values().next()) {
            (Some(layer), Some(layers)) => format!(
                "layer {layer} of this {model} model is no mixture of experts; those that are: {}",
                ranges(layers.keys().copied())
            ),
            _ => {
                let at = row.at.all().first().map_or("", String::as_str);
                let router = row.router.weight.all().first().map_or("", |spec| spec.name.as_str());
                format!(
                    "no layer of this {model} model is a mixture of experts: no tensor is called \"{at}.{router}\""
                )
            }
        }));
    };
    let others: Vec<String> = candidates.map(|place| format!("`--set at={}`", place.template)).collect();
    let warnings = match others.as_slice() {
        [] => Vec::new(),
        others => vec![format!(
            "the folder has other mixtures in this layer, which the source describes with {}",
            others.join(" or ")
        )],
    };
    Ok((place, warnings))
}

/// Prefix and layer of a name `PREFIX left LAYER end`, where the prefix ends with a dot or is empty.
fn layer_of<'n>(name: &'n str, left: &str, end: &str) -> Option<(&'n str, u64)> {
    let before = name.strip_suffix(end)?;
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (before, layer) = before.split_at(before.len() - digits);
    let prefix = before.strip_suffix(left)?;
    // The prefix becomes part of the source text.
    let is_plain = prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if !is_plain
        || !(prefix.is_empty() || prefix.ends_with('.'))
        || (layer.len() > 1 && layer.starts_with('0'))
    {
        return None;
    }
    layer.parse().ok().map(|layer| (prefix, layer))
}

/// `3 to 60, 62`.
fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    const SHOWN: usize = 12;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if number.checked_sub(1) == Some(*last) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown = runs.iter().take(SHOWN).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    });
    let more = if runs.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}
