//! Specifications of contractions, `ab,cb->ac`.

use std::fmt;

/// Which axes of two operands meet, and the axes of the result. A letter names an axis; within one
/// operand, and in the result, letters are distinct. Letters that the result lacks are summed over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EinsumSpec {
    /// Letters of the left operand.
    pub lhs: Vec<u8>,
    /// Letters of the right operand.
    pub rhs: Vec<u8>,
    /// Letters of the result.
    pub out: Vec<u8>,
}

impl EinsumSpec {
    /// Reads `ab,cb->ac`, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<EinsumSpec, String> {
        let shape = || format!("`{text}` is not of the form `ab,bc->ac`");
        let (inputs, out) = text.split_once("->").ok_or_else(shape)?;
        let (lhs, rhs) = inputs.split_once(',').ok_or_else(shape)?;
        let letters = |part: &str| -> Result<Vec<u8>, String> {
            let bytes = part.trim().as_bytes().to_vec();
            if let Some(bad) = bytes.iter().find(|b| !b.is_ascii_alphabetic()) {
                return Err(format!("`{}` in `{text}` is not a letter", char::from(*bad)));
            }
            match (1..bytes.len()).find(|&i| bytes[..i].contains(&bytes[i])) {
                Some(i) => Err(format!("`{}` occurs twice in `{part}`", char::from(bytes[i]))),
                None => Ok(bytes),
            }
        };
        let spec = EinsumSpec { lhs: letters(lhs)?, rhs: letters(rhs)?, out: letters(out)? };
        match spec.out.iter().find(|l| !spec.lhs.contains(l) && !spec.rhs.contains(l)) {
            Some(l) => Err(format!("`{}` of the result is in no operand", char::from(*l))),
            None => Ok(spec),
        }
    }

    /// The same specification with letters renamed `a`, `b`, ... in order of first use. Every
    /// specification in the IR is in this form, so that equal contractions have equal text.
    pub fn canonical(&self) -> EinsumSpec {
        let alphabet: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').collect();
        let mut seen: Vec<u8> = Vec::new();
        let mut rename = |letters: &[u8]| -> Vec<u8> {
            letters
                .iter()
                .map(|l| {
                    let at = seen.iter().position(|s| s == l).unwrap_or_else(|| {
                        seen.push(*l);
                        seen.len() - 1
                    });
                    alphabet[at]
                })
                .collect()
        };
        EinsumSpec { lhs: rename(&self.lhs), rhs: rename(&self.rhs), out: rename(&self.out) }
    }

    /// The letters that are summed over, in order of first use.
    pub fn contracted(&self) -> Vec<u8> {
        let mut letters: Vec<u8> = Vec::new();
        for letter in self.lhs.iter().chain(&self.rhs) {
            if !self.out.contains(letter) && !letters.contains(letter) {
                letters.push(*letter);
            }
        }
        letters
    }

    /// The same contraction with the operands exchanged, in canonical form.
    pub fn swapped(&self) -> EinsumSpec {
        EinsumSpec { lhs: self.rhs.clone(), rhs: self.lhs.clone(), out: self.out.clone() }.canonical()
    }
}

impl fmt::Display for EinsumSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |letters: &[u8]| letters.iter().map(|b| char::from(*b)).collect::<String>();
        write!(f, "{},{}->{}", text(&self.lhs), text(&self.rhs), text(&self.out))
    }
}
