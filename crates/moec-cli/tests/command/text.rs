//! Files of weights made by hand, so that they can be wrong.

/// A tensor of a safetensors file: name, element type, shape, bytes.
pub(crate) type Entry<'a> = (&'a str, &'a str, &'a [u64], Vec<u8>);

/// `f32` elements as bytes.
pub(crate) fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A safetensors file.
pub(crate) fn safetensors(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut header = Vec::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in entries {
        let (start, end) = (data.len(), data.len() + bytes.len());
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        ));
        data.extend_from_slice(bytes);
    }
    with_header(&format!("{{{}}}", header.join(",")), &data)
}

/// A file with this header, true or not.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}
