//! A block on its way to source text: sizes, weights that were found and measured, and the lines that
//! speak of them. Owns what a tensor must be to be taken; which tensors and lines there are is
//! `compose`.

use std::collections::{BTreeMap, BTreeSet};

use moec_ir::DType;

use crate::config::Config;
use crate::error::ImportError;
use crate::key::Key;
use crate::mxfp4;
use crate::row::{Amount, Row};
use crate::spec::Spec;
use crate::table::Table;
use crate::tensors::Tensors;

/// Two halves of a fused matrix, or two best experts.
const PAIR: &str = "P";

/// Dims in the order in which they are declared; others follow.
const ORDER: [&str; 13] = ["H", "L", "F", "Fs", "E", "Z", "K", "C", "V", "G", "M", "Kg", PAIR];

/// Where a block lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name, with `{layer}`.
    pub(crate) template: String,
    pub(crate) layer: u64,
    /// Which of the row's names the router has.
    pub(crate) router: usize,
}

/// A block on its way to source text.
pub(crate) struct Draft<'a> {
    pub(crate) table: &'a Table,
    pub(crate) row: &'a Row,
    pub(crate) config: &'a Config,
    pub(crate) place: &'a Place,
    tensors: &'a dyn Tensors,
    sizes: BTreeMap<String, u64>,
    dims: BTreeSet<String>,
    used: BTreeSet<String>,
    weights: Vec<Weight>,
    /// Dims that are counted in blocks of 32.
    blocked: BTreeSet<String>,
    pub(crate) params: Vec<(String, String)>,
    /// Dims that follow from others: name and expression.
    pub(crate) derived: Vec<(&'static str, String)>,
    /// Inputs besides `x`: name and type.
    pub(crate) inputs: Vec<(&'static str, &'static str)>,
    pub(crate) functions: Vec<String>,
    /// What is done to weights before anything else.
    pub(crate) views: Vec<String>,
    pub(crate) lets: Vec<String>,
    /// Sentences of the head.
    pub(crate) about: Vec<String>,
}

/// A declared weight.
struct Weight {
    name: String,
    /// Element type and axes.
    ty: String,
    from: String,
}

/// A weight as expressions see it.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) name: String,
    dims: Vec<String>,
}

impl Bound {
    /// The expression of one expert's part, or of the whole where there is no axis of experts. `half` is
    /// the place in a fused matrix. The last axes are those wanted, transposed where the file has them
    /// the other way round; axes of size 1 are left out.
    pub(crate) fn part(&self, wanted: &[&str], half: Option<usize>) -> Result<String, ImportError> {
        let mut indices = Vec::new();
        let mut rest = Vec::new();
        for dim in &self.dims {
            match (dim.as_str(), half) {
                _ if wanted.contains(&dim.as_str()) => rest.push(dim.as_str()),
                ("1", _) => {}
                ("E", _) => indices.push("e".to_owned()),
                (PAIR, Some(half)) => indices.push(format!("{PAIR} = {half}")),
                (dim, _) => rest.push(dim),
            }
        }
        let index = if indices.is_empty() { String::new() } else { format!("[{}]", indices.join(", ")) };
        let reversed: Vec<&str> = rest.iter().rev().copied().collect();
        match () {
            () if rest == wanted && self.dims.iter().any(|dim| dim == "1") => {
                Ok(format!("reshape({}{index}, [{}])", self.name, wanted.join(", ")))
            }
            () if rest == wanted => Ok(format!("{}{index}", self.name)),
            () if reversed == wanted => Ok(format!("{}{index}.T", self.name)),
            () => Err(ImportError::Internal(format!(
                "the row describes `{}` as {rest:?} where {wanted:?} is needed",
                self.name
            ))),
        }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        table: &'a Table,
        row: &'a Row,
        config: &'a Config,
        place: &'a Place,
        tensors: &'a dyn Tensors,
    ) -> Draft<'a> {
        Draft {
            table,
            row,
            config,
            place,
            tensors,
            sizes: BTreeMap::new(),
            dims: BTreeSet::new(),
            used: BTreeSet::new(),
            weights: Vec::new(),
            blocked: BTreeSet::new(),
            params: Vec::new(),
            derived: Vec::new(),
            inputs: Vec::new(),
            functions: Vec::new(),
            views: Vec::new(),
            lets: Vec::new(),
            about: Vec::new(),
        }
    }

    /// The size of a dim that the configuration must tell.
    pub(crate) fn size(&mut self, dim: &str) -> Result<u64, ImportError> {
        let key = self.key(dim);
        let open = || ImportError::Internal(format!("{}: nothing tells the size {dim}", self.row.title));
        let lacks = key.map_or_else(open, Config::lacks);
        self.known(dim)?.ok_or(lacks)
    }

    /// The same, of a dim that may turn out not to be declared.
    pub(crate) fn peek(&self, dim: &str) -> Result<Option<u64>, ImportError> {
        self.key(dim).map_or(Ok(None), |key| self.config.count_if(key))
    }

    fn key(&self, dim: &str) -> Option<&'a Key> {
        self.row.sizes.get(dim).or_else(|| self.table.keys.get(dim))
    }

    fn known(&mut self, dim: &str) -> Result<Option<u64>, ImportError> {
        if let Ok(number) = dim.parse::<u64>() {
            return Ok(Some(number));
        }
        self.dims.insert(dim.to_owned());
        if dim == PAIR {
            return Ok(Some(2));
        }
        if let Some(size) = self.sizes.get(dim) {
            return Ok(Some(*size));
        }
        // A size that rows and shared keys do not speak of is that of the tensor.
        let Some(key) = self.key(dim) else { return Ok(None) };
        let size = self.config.count(key)?;
        self.sizes.insert(dim.to_owned(), size);
        Ok(Some(size))
    }

    /// Gives a dim the size that follows from others.
    pub(crate) fn define(&mut self, dim: &str, size: u64) {
        self.dims.insert(dim.to_owned());
        self.sizes.insert(dim.to_owned(), size);
    }

    /// Whether some tensor of a spec is there: the first of its stack.
    pub(crate) fn has(&self, under: &str, spec: &Spec) -> Result<bool, ImportError> {
        let first = spec.filled(&vec![0; spec.holes().len()]);
        let first = if spec.is_mxfp4 { format!("{first}{}", mxfp4::BLOCKS) } else { first };
        let first = self.file_name(under, &first);
        Ok(self.tensors.get(&first)?.is_some())
    }

    /// Whether the first tensor of a spec has a shape that the configuration allows. Sizes that it does not
    /// tell are open.
    pub(crate) fn fits(&self, under: &str, spec: &Spec) -> Result<bool, ImportError> {
        let first = self.file_name(under, &spec.filled(&vec![0; spec.holes().len()]));
        let Some((_, shape)) = self.tensors.get(&first)? else { return Ok(false) };
        let size = |dim: &String| match dim.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) if dim == PAIR => Ok(Some(2)),
            Err(_) => self.peek(dim),
        };
        let mut is_fit = shape.len() == spec.axes.len();
        for (axis, found) in spec.axes.iter().zip(shape) {
            let sizes = axis.iter().map(size).collect::<Result<Option<Vec<u64>>, _>>()?;
            is_fit &= sizes.is_none_or(|sizes| {
                sizes.iter().try_fold(1u64, |n, size| n.checked_mul(*size)) == Some(*found)
            });
        }
        Ok(is_fit)
    }

    /// The name in the file of a tensor below `under`, in this layer.
    fn file_name(&self, under: &str, name: &str) -> String {
        let layer = self.place.layer.to_string();
        below(&self.place.template, under, name).replace("{layer}", &layer)
    }

    /// Takes a tensor or a stack of them as the weight `name`. Where an axis of the file is made of
    /// several, the weight is called `stored` and `name` is the view with all of them.
    pub(crate) fn bind(
        &mut self,
        name: &str,
        stored: &str,
        under: &str,
        spec: &Spec,
    ) -> Result<Bound, ImportError> {
        if spec.is_mxfp4 {
            return self.bind_packed(name, stored, under, spec);
        }
        self.bind_typed(
            name,
            stored,
            under,
            spec,
            (&[DType::F32, DType::Bf16, DType::F16], "f32, bf16 or f16"),
        )
    }

    /// The same for a table of numbers of experts.
    pub(crate) fn bind_table(&mut self, name: &str, spec: &Spec) -> Result<Bound, ImportError> {
        self.bind_typed(name, name, "", spec, (&[DType::I32], "i32"))
    }

    fn bind_typed(
        &mut self,
        name: &str,
        stored: &str,
        under: &str,
        spec: &Spec,
        (types, they): (&[DType], &str),
    ) -> Result<Bound, ImportError> {
        let counts: Vec<u64> =
            spec.holes().into_iter().map(|dim| self.size(dim)).collect::<Result<_, _>>()?;
        let mut dtype: Option<DType> = None;
        let mut index = vec![0; counts.len()];
        if counts.contains(&0) {
            return Err(ImportError::Config(format!(
                "a model with no experts: {} is 0",
                spec.holes().join(", ")
            )));
        }
        loop {
            let tensor = self.file_name(under, &spec.filled(&index));
            let (found, shape) = self.tensors.get(&tensor)?.ok_or_else(|| {
                let all = counts.iter().fold(1u64, |n, count| n.saturating_mul(*count));
                let of = match all {
                    1 => String::new(),
                    _ => format!(", one of {all} of that form"),
                };
                ImportError::Tensor(format!("the folder has no tensor \"{tensor}\"{of}"))
            })?;
            self.measure(&tensor, spec, shape)?;
            if !types.contains(&found) || dtype.is_some_and(|first| first != found) {
                let first = dtype.map_or(they.to_owned(), |first| format!("{first} like the first"));
                return Err(ImportError::Tensor(format!("tensor \"{tensor}\" is {found}; expected {first}")));
            }
            dtype = Some(found);
            self.used.insert(tensor);
            if !advance(&mut index, &counts) {
                break;
            }
        }
        let is_flat = spec.axes.iter().any(|axis| axis.len() > 1);
        let dims: Vec<String> = spec.dims().into_iter().map(str::to_owned).collect();
        let axes = spec.holes().into_iter().map(str::to_owned).chain(spec.axes.iter().map(|a| a.join("*")));
        let axes: Vec<String> = axes.collect();
        let from = below("{at}", under, &spec.name).replace("{at}/..", parent(&self.place.template));
        let dtype = dtype.map_or_else(String::new, |dtype| dtype.to_string());
        let weight_name = if is_flat { stored } else { name };
        let ty = format!("{dtype}[{}]", axes.join(", "));
        self.weights.push(Weight { name: weight_name.to_owned(), ty, from });
        if is_flat {
            self.views.push(format!("let {name} = reshape({stored}, [{}])", dims.join(", ")));
        }
        Ok(Bound { name: name.to_owned(), dims })
    }

    /// Takes a matrix for each expert that lies in two tensors, blocks and scales. The weight `name` is
    /// what they unpack to.
    fn bind_packed(
        &mut self,
        name: &str,
        stored: &str,
        under: &str,
        spec: &Spec,
    ) -> Result<Bound, ImportError> {
        let dims: Vec<String> = spec.dims().into_iter().map(str::to_owned).collect();
        let Some(last) = dims.last().cloned() else {
            return Err(ImportError::Internal(format!("{}: no axis to unpack", spec.name)));
        };
        let size = self.size(&last)?;
        if size % mxfp4::BLOCK != 0 {
            return Err(ImportError::Config(format!(
                "{last} is {size}, but MXFP4 packs {} numbers at a time",
                mxfp4::BLOCK
            )));
        }
        self.define(&mxfp4::blocks_of(&last), size / mxfp4::BLOCK);
        mxfp4::DIMS.iter().for_each(|(dim, size)| self.define(dim, *size));
        self.dims.insert(PAIR.to_owned());
        self.blocked.insert(last);
        let is_flat = spec.axes.iter().any(|axis| axis.len() > 1);
        let base = if is_flat { stored } else { name };
        let base = base.strip_suffix("_flat").unwrap_or(base);
        for part in mxfp4::parts(spec) {
            let tensor = self.file_name(under, &part.name);
            let missing = || ImportError::Tensor(format!("the folder has no tensor \"{tensor}\""));
            let (found, shape) = self.tensors.get(&tensor)?.ok_or_else(missing)?;
            if found != DType::U8 {
                return Err(ImportError::Tensor(format!("tensor \"{tensor}\" is {found}; expected u8")));
            }
            self.measure(&tensor, &part, shape)?;
            let axes: Vec<String> = part.axes.iter().map(|axis| axis.join("*")).collect();
            let suffix = part.name.strip_prefix(&spec.name).unwrap_or_default();
            self.weights.push(Weight {
                name: format!("{base}{suffix}"),
                ty: format!("u8[{}]", axes.join(", ")),
                from: below("{at}", under, &part.name),
            });
            self.used.insert(tensor);
        }
        if !self.functions.iter().any(|function| function == mxfp4::FUNCTION) {
            self.functions.push(mxfp4::FUNCTION.to_owned());
            self.views.push(mxfp4::TABLE.to_owned());
        }
        self.views.push(format!(
            "let {name} = reshape(mxfp4({base}{}, {base}{}, e2m1, {PAIR}), [{}])",
            mxfp4::BLOCKS,
            mxfp4::SCALES,
            dims.join(", ")
        ));
        Ok(Bound { name: name.to_owned(), dims })
    }

    /// Holds the shape of a tensor against its spec; one open dim takes the size that fits.
    fn measure(&mut self, tensor: &str, spec: &Spec, shape: &[u64]) -> Result<(), ImportError> {
        let mut sizes = Vec::new();
        for (at, axis) in spec.axes.iter().enumerate() {
            let mut product = 1u64;
            let mut open = None;
            for dim in axis {
                match self.known(dim)? {
                    Some(size) => product = product.saturating_mul(size),
                    None => open = Some(dim.clone()),
                }
            }
            if let (Some(dim), Some(found)) = (open, shape.get(at))
                && product > 0
                && found % product == 0
            {
                self.define(&dim, found / product);
                product = *found;
            }
            sizes.push(product);
        }
        if sizes == shape {
            return Ok(());
        }
        let axes: Vec<String> = spec.axes.iter().map(|axis| axis.join("*")).collect();
        Err(ImportError::Tensor(format!(
            "tensor \"{tensor}\" is {shape:?}; by config.json it would be [{}] = {sizes:?}",
            axes.join(", ")
        )))
    }

    /// A number that the row or the configuration has.
    pub(crate) fn amount(&self, amount: &Amount) -> Result<Option<f64>, ImportError> {
        match amount {
            Amount::Fixed(number) => Ok(Some(*number)),
            Amount::Key(key) => self.config.number(key),
        }
    }

    /// Errs if the block has tensors that nothing was made of: the source would be another model's.
    pub(crate) fn account(&self) -> Result<(), ImportError> {
        let layer = self.place.layer.to_string();
        let at = format!("{}.", self.place.template.replace("{layer}", &layer));
        // Where the block is the whole layer, only what begins like its own tensors is its.
        let is_layer = self.place.template.ends_with("{layer}");
        let heads: BTreeSet<&str> =
            self.used.iter().filter_map(|name| name.strip_prefix(&at)?.split('.').next()).collect();
        let mut left: Vec<&str> = self
            .tensors
            .names()
            .filter(|name| {
                let below = name.strip_prefix(&at);
                below.is_some_and(|rest| {
                    !is_layer || rest.split('.').next().is_some_and(|head| heads.contains(head))
                })
            })
            .filter(|name| !self.used.contains(*name))
            .collect();
        left.sort_unstable();
        match left.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                Err(ImportError::Tensor(format!(
                    "the block has tensors that {} models do not have: \"{first}\"{more}",
                    self.row.title
                )))
            }
        }
    }

    /// The declarations: dims, params, input, weights.
    pub(crate) fn declarations(&mut self) -> Vec<String> {
        self.dims.insert("H".to_owned());
        let mut names: Vec<&String> = self.dims.iter().collect();
        let place = |name: &String| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len());
        names.sort_by_key(|name| (place(name), name.as_str()));
        let grouped = self.dims.contains("G");
        let mut dims = vec!["T".to_owned()];
        for name in names {
            let size = if name == PAIR { 2 } else { self.sizes.get(name).copied().unwrap_or(0) };
            let follows = (grouped && name == "E")
                || self.blocked.contains(name)
                || self.derived.iter().any(|(derived, _)| derived == name);
            if !follows {
                dims.push(format!("{name} = {size}"));
            }
        }
        let mut lines = vec![format!("dim {}", dims.join(", "))];
        if grouped {
            lines.push("dim E = G * M".to_owned());
        }
        if !self.blocked.is_empty() {
            let of_blocks = |dim: &String| format!("{dim} = {} * {}", mxfp4::BLOCK, mxfp4::blocks_of(dim));
            let sizes: Vec<String> = self.blocked.iter().rev().map(of_blocks).collect();
            lines.push(format!("dim {}", sizes.join(", ")));
        }
        lines.push(format!("param layer = {}", self.place.layer));
        lines.push(format!("param at = \"{}\"", self.place.template));
        lines.extend(self.params.iter().map(|(name, value)| format!("param {name} = {value}")));
        lines.extend(self.derived.iter().map(|(name, size)| format!("dim {name} = {size}")));
        lines.push("input x : f32[T, H]".to_owned());
        lines.extend(self.inputs.iter().map(|(name, ty)| format!("input {name} : {ty}")));
        let mut weights = self.weights.iter().peekable();
        while let Some(weight) = weights.next() {
            // Gate and up are declared together, where they are alike.
            let twin = weights.next_if(|next| next.ty == weight.ty && are_twins(&weight.name, &next.name));
            lines.push(match twin {
                Some(twin) => format!(
                    "weight {}, {} : {} from \"{}\", \"{}\"",
                    weight.name, twin.name, weight.ty, weight.from, twin.from
                ),
                None => format!("weight {} : {} from \"{}\"", weight.name, weight.ty, weight.from),
            });
        }
        lines
    }
}

/// Whether these are a gate and its up.
fn are_twins(a: &str, b: &str) -> bool {
    a.strip_suffix('1').is_some_and(|stem| b.strip_suffix('3') == Some(stem))
}

/// A name below a block: below a part of it, or, where the part begins with `../`, beside it.
fn below(at: &str, under: &str, name: &str) -> String {
    let (at, under) = match under.strip_prefix("../") {
        Some(beside) if at == "{at}" => ("{at}/..", beside),
        Some(beside) => (parent(at), beside),
        None => (at, under),
    };
    if under.is_empty() { format!("{at}.{name}") } else { format!("{at}.{under}.{name}") }
}

fn parent(at: &str) -> &str {
    at.rsplit_once('.').map_or(at, |(parent, _)| parent)
}

/// The row-major successor of an index; false at the end.
fn advance(index: &mut [u64], counts: &[u64]) -> bool {
    for (digit, count) in index.iter_mut().zip(counts).rev() {
        *digit += 1;
        if *digit < *count {
            return true;
        }
        *digit = 0;
    }
    false
}

/// A number as source text has it.
pub(crate) fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e15) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}
