//! How a row names a tensor: `experts.{E}.w1.weight : F H`. The name is that in the file below the
//! block; a hole makes a stack of tensors. The axes are those of the file; a product such as `P*F`
//! says how one axis is made of two, the outer first: `P*F` is halves, `F*P` is interleaved. With
//! ` as mxfp4` behind, the axes are those of the numbers, whose last is packed in blocks of 32 (see
//! `mxfp4`).

use serde::Deserialize;

/// A tensor of the block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Spec {
    /// The name in the file, with holes that name dims.
    pub(crate) name: String,
    /// The axes in the file, each a product of dims or numbers.
    pub(crate) axes: Vec<Vec<String>>,
    /// Whether it lies in the file as blocks and scales.
    pub(crate) is_mxfp4: bool,
}

impl TryFrom<String> for Spec {
    type Error = String;

    fn try_from(text: String) -> Result<Spec, String> {
        let wrong = || format!("`{text}` is no tensor like `experts.{{E}}.w1.weight : F H`");
        let (text_of_axes, is_mxfp4) = match text.strip_suffix(" as mxfp4") {
            Some(rest) => (rest, true),
            None => (text.as_str(), false),
        };
        let (name, axes) = text_of_axes.split_once(':').ok_or_else(wrong)?;
        let axis = |axis: &str| axis.split('*').map(str::to_owned).collect::<Vec<_>>();
        let axes = axes.split_whitespace().map(axis).collect();
        let spec = Spec { name: name.trim().to_owned(), axes, is_mxfp4 };
        let is_dim = |dim: &String| !dim.is_empty() && dim.chars().all(|c| c.is_ascii_alphanumeric());
        let is_sound = !spec.name.is_empty()
            && spec.axes.iter().flatten().all(is_dim)
            && (!is_mxfp4 || (spec.axes.len() == 3 && !spec.name.contains('{')))
            && spec.name.matches('{').count() == spec.name.matches('}').count();
        if is_sound { Ok(spec) } else { Err(wrong()) }
    }
}

impl Spec {
    /// The dims that the holes name, in order.
    pub(crate) fn holes(&self) -> Vec<&str> {
        self.name.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    /// Every axis with those of the holes in front, products taken apart.
    pub(crate) fn dims(&self) -> Vec<&str> {
        self.holes().into_iter().chain(self.axes.iter().flatten().map(String::as_str)).collect()
    }

    /// The name with a number in each hole.
    pub(crate) fn filled(&self, index: &[u64]) -> String {
        let mut pieces = self.name.split('{');
        let mut name = pieces.next().unwrap_or_default().to_owned();
        for (number, piece) in index.iter().zip(pieces) {
            name.push_str(&number.to_string());
            name.push_str(piece.split_once('}').map_or("", |(_, rest)| rest));
        }
        name
    }
}
