//! The header of a packed file as bytes. Owns the format and its version; decides only whether bytes are a
//! header, not whether it fits a program.
//!
//! All numbers are little-endian.
//!
//! ```text
//!  0   8  magic
//!  8   4  version of the format
//! 12   4  bytes of the header, a multiple of a page
//! 16  32  checksum of the header from byte 48 on
//! 48      version of moec, model, target                    each: length (u32), text
//!         checksums of recipe, samples of weights, weights  32 each
//!         number of sections (u32)
//!         for each: offset (u64), bytes (u64), checksum (32)
//!         zeros
//! ```

use super::{Checksum, VERSION};

/// The first bytes of a packed file. The last two tell whether a transfer took it for text.
const MAGIC: [u8; 8] = *b"MOEPAK\r\n";

/// Where the part under the checksum begins.
const BODY: usize = 48;

/// Sections and the end of the header begin at multiples of it.
pub(super) const PAGE: usize = 4096;

/// No header is longer: a section for each of 100,000 buffers and long names.
const LONGEST: usize = 8 << 20;

/// What a packed file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The version of moec that packed it.
    pub(super) moec: String,
    /// The name of the model, for people.
    pub(super) model: String,
    /// The instruction set that it was packed for and by.
    pub(super) target: String,
    /// Of [`Image::recipe`](moec_plan::Image::recipe).
    pub(super) recipe: Checksum,
    /// Of some bytes of each weight.
    pub(super) samples: Checksum,
    /// Of all bytes of each weight.
    pub(super) weights: Checksum,
    /// One for each buffer of the image.
    pub(super) sections: Vec<Section>,
}

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// The first byte, in the file.
    pub(super) offset: u64,
    /// Bytes of the buffer.
    pub(super) bytes: u64,
    /// Of these bytes.
    pub(super) checksum: Checksum,
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// They begin otherwise.
    Stranger,
    /// Another version of the format.
    Version(u32),
    /// There are fewer than the header is long.
    Truncated(usize),
    /// The checksum, or something under it, is wrong.
    Damaged,
}

impl Header {
    /// The header as bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for text in [&self.moec, &self.model, &self.target] {
            body.extend((text.len() as u32).to_le_bytes());
            body.extend(text.bytes());
        }
        for checksum in [&self.recipe, &self.samples, &self.weights] {
            body.extend(checksum);
        }
        body.extend((self.sections.len() as u32).to_le_bytes());
        for section in &self.sections {
            body.extend(section.offset.to_le_bytes());
            body.extend(section.bytes.to_le_bytes());
            body.extend(section.checksum);
        }
        body.resize((BODY + body.len()).next_multiple_of(PAGE) - BODY, 0);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(((BODY + body.len()) as u32).to_le_bytes());
        bytes.extend([0; 32]);
        bytes.extend(body);
        seal(&mut bytes);
        bytes
    }

    /// Bytes of the header.
    pub(super) fn len(&self) -> u64 {
        let texts: usize = [&self.moec, &self.model, &self.target].iter().map(|text| 4 + text.len()).sum();
        (BODY + texts + 3 * 32 + 4 + 48 * self.sections.len()).next_multiple_of(PAGE) as u64
    }

    /// The header that a file begins with. Every bit of it is checked.
    pub(super) fn read(file: &[u8]) -> Result<Header, Refusal> {
        let mut head = Reader(file);
        let truncated = Refusal::Truncated(file.len());
        match head.take(8) {
            Some(magic) if magic == MAGIC => {}
            // Cut off within the magic, or something else.
            None if !file.is_empty() && MAGIC.starts_with(file) => return Err(truncated),
            _ => return Err(Refusal::Stranger),
        }
        let version = head.u32().ok_or(truncated.clone())?;
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        let length = head.u32().ok_or(truncated.clone())? as usize;
        let checksum = head.checksum().ok_or(truncated.clone())?;
        if !(BODY..=LONGEST).contains(&length) || !length.is_multiple_of(PAGE) {
            return Err(Refusal::Damaged);
        }
        let body = file.get(BODY..length).ok_or(truncated)?;
        if *blake3::hash(body).as_bytes() != checksum {
            return Err(Refusal::Damaged);
        }
        Header::body(Reader(body)).ok_or(Refusal::Damaged)
    }

    fn body(mut body: Reader<'_>) -> Option<Header> {
        let [moec, model, target] = [body.text()?, body.text()?, body.text()?];
        let [recipe, samples, weights] = [body.checksum()?, body.checksum()?, body.checksum()?];
        let count = body.u32()?;
        let mut sections = Vec::new();
        for _ in 0..count {
            sections.push(Section { offset: body.u64()?, bytes: body.u64()?, checksum: body.checksum()? });
        }
        Some(Header { moec, model, target, recipe, samples, weights, sections })
    }
}

/// Puts the checksum of the header that a file begins with where it belongs, as far as there is one.
pub fn seal(file: &mut [u8]) {
    let length = file.get(12..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let Some(body) = file.get(BODY..length as usize) else { return };
    let checksum = *blake3::hash(body).as_bytes();
    if let Some(place) = file.get_mut(16..BODY) {
        place.copy_from_slice(&checksum);
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn checksum(&mut self) -> Option<Checksum> {
        self.array()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let section = |offset| Section { offset, bytes: 64, checksum: [offset as u8; 32] };
        Header {
            moec: "0.1.0".to_owned(),
            model: "m".to_owned(),
            target: "a b".to_owned(),
            recipe: [1; 32],
            samples: [2; 32],
            weights: [3; 32],
            sections: vec![section(4096), section(8192)],
        }
    }

    #[test]
    fn a_header_reads_back() {
        let header = header();
        let bytes = header.bytes();
        assert_eq!(bytes.len() as u64, header.len());
        assert_eq!(Header::read(&bytes), Ok(header));
    }

    #[test]
    fn no_bit_may_be_another_and_no_byte_may_lack() {
        let bytes = header().bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Header::read(&damaged).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(Header::read(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn counts_are_not_believed() {
        let mut header = header();
        header.sections.clear();
        let mut bytes = header.bytes();
        let at = BODY + 3 * 4 + 9 + 3 * 32;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        seal(&mut bytes);
        assert_eq!(Header::read(&bytes), Err(Refusal::Damaged));
    }
}
