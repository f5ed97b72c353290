//! Finds what is wrong with a safetensors header that the `safetensors` crate refused without
//! saying which tensor, and tensors named twice, which it lets pass. Reads text that has been found
//! to be JSON of the right form; owns no decision on what is valid.

/// A tensor as the header describes it. Names are as written, escapes included.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) offsets: Vec<u64>,
}

/// The tensors of a header, in its order, one for each time a name occurs.
pub(super) fn describe(header: &str) -> Vec<Described> {
    let bytes = header.as_bytes();
    let mut tensors = Vec::new();
    let mut tensor = Described::default();
    let mut field = "";
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 1 && tensor.name != "__metadata__" {
                    tensors.push(std::mem::take(&mut tensor));
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                let text = header.get(at..end).unwrap_or_default();
                at = end + 1;
                let is_key = header.get(at..).is_some_and(|rest| rest.trim_start().starts_with(':'));
                match (depth, is_key) {
                    (1, true) => tensor = Described { name: text.to_owned(), ..Described::default() },
                    (2, true) => field = text,
                    (2, false) if field == "dtype" => text.clone_into(&mut tensor.dtype),
                    _ => {}
                }
            }
            b'0'..=b'9' if depth == 3 => {
                let rest = header.get(at - 1..).unwrap_or_default();
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let number = rest.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX);
                at += digits - 1;
                match field {
                    "shape" => tensor.shape.push(number),
                    "data_offsets" => tensor.offsets.push(number),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    tensors
}

/// Where the string that starts at `at` has its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// A name that occurs twice.
pub(super) fn duplicate(tensors: &[Described]) -> Option<&str> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
}

/// What is wrong with the places that the header gives its tensors in `data_bytes` bytes of data.
/// `element_bits` knows the types.
pub(super) fn misplaced(
    tensors: &[Described],
    data_bytes: u64,
    element_bits: impl Fn(&str) -> Option<u64>,
) -> Option<String> {
    let mut placed: Vec<(u64, u64, &Described)> = Vec::new();
    for tensor in tensors {
        let Described { name, dtype, shape, offsets } = tensor;
        let &[start, end] = offsets.as_slice() else { continue };
        let bits = shape.iter().try_fold(element_bits(dtype)?, |product, &axis| product.checked_mul(axis));
        let Some(bits) = bits else {
            return Some(format!("tensor \"{name}\" of shape {shape:?} is larger than any memory"));
        };
        if end.checked_sub(start) != Some(bits.div_ceil(8)) {
            return Some(format!(
                "tensor \"{name}\", {dtype} {shape:?}, needs {} bytes and is given bytes {start} to {end}",
                bits.div_ceil(8)
            ));
        }
        placed.push((start, end, tensor));
    }
    placed.sort_by_key(|&(start, end, _)| (start, end));
    let mut covered = 0;
    for (start, end, tensor) in placed {
        let name = &tensor.name;
        if start < covered {
            return Some(format!("tensor \"{name}\" overlaps the one before it"));
        }
        if start > covered {
            return Some(format!("bytes {covered} to {start} before tensor \"{name}\" belong to no tensor"));
        }
        if end > data_bytes {
            return Some(format!(
                "truncated: tensor \"{name}\" ends at byte {end} of the data, and there are {data_bytes}"
            ));
        }
        covered = end;
    }
    (covered < data_bytes).then(|| format!("{} bytes after the last tensor", data_bytes - covered))
}
