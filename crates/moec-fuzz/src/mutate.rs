//! Damages inputs. Text is damaged by token, line and byte, with words from all seeds, so that much of
//! it stays well-formed; a weight file by header and data, its length prefix mended as a rule; a packed file
//! anywhere, the checksum of its header mended as a rule.

use std::collections::BTreeSet;
use std::ops::Range;

use moec_runtime::packed::seal;

use crate::Target;
use crate::dice::Dice;

/// No input grows beyond this.
const MAX_BYTES: usize = 1 << 16;

/// Numbers at the edges of what is counted with.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "2",
    "3",
    "8",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
    "0.5",
    "1e308",
    "1e-320",
];

/// Words that no seed need contain.
const EXTRA: [&str; 22] = [
    "-", "//", "///", "\"", "{", "}", "\n", "\n\n", "\t", "\u{feff}", "ö", "\u{0}", "..", "{E:03}", "_",
    "by", "nan", "-inf", "2*", "f16", "not", "floor(",
];

/// What to damage with.
pub(crate) struct Mutator {
    target: Target,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// Takes its words from the seeds.
    pub(crate) fn new(target: Target, seeds: &[Vec<u8>]) -> Mutator {
        let mut words: BTreeSet<Vec<u8>> = EXTRA.iter().map(|word| word.as_bytes().to_vec()).collect();
        for seed in seeds {
            words.extend(tokens(seed).into_iter().map(|at| seed[at].to_vec()).filter(|word| word.len() < 64));
        }
        if target == Target::IrText {
            words.extend(moec_ir::Op::ALL.iter().map(|op| op.mnemonic().into()));
        }
        Mutator { target, words: words.into_iter().collect() }
    }

    /// A damaged form of `base`; `other` gives parts.
    pub(crate) fn mutate(&self, dice: &mut Dice, base: &[u8], other: &[u8]) -> Vec<u8> {
        let framed = self.target == Target::Safetensors && !dice.once_in(6);
        let mut input = match unframe(base).filter(|_| framed) {
            Some((header, data)) => {
                let mut header = header.to_vec();
                self.damage(dice, &mut header, unframe(other).map_or(other, |(header, _)| header));
                let mut data = data.to_vec();
                if dice.once_in(4) {
                    data.resize(dice.below(64), 7);
                }
                let wrong_by = if dice.once_in(10) { dice.below(3) as u64 } else { 0 };
                let length = header.len() as u64 + wrong_by;
                [&length.to_le_bytes()[..], &header, &data].concat()
            }
            None => {
                let mut input = base.to_vec();
                self.damage(dice, &mut input, other);
                input
            }
        };
        input.truncate(MAX_BYTES);
        if self.target == Target::Packed && !dice.once_in(6) {
            seal(&mut input);
        }
        input
    }

    fn damage(&self, dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..8 {
            self.damage_once(dice, input, other);
            if dice.once_in(2) || input.len() > MAX_BYTES {
                break;
            }
        }
    }

    fn damage_once(&self, dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
        match dice.below(8) {
            0 => bytes(dice, input),
            1 => lines(dice, input, other),
            _ => self.words(dice, input, other),
        }
    }

    fn words(&self, dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
        let places = tokens(input);
        if places.is_empty() {
            input.extend_from_slice(dice.pick::<Vec<u8>>(&self.words));
            return;
        }
        let at = dice.pick(&places).clone();
        let span = |range: Range<usize>| places[range.start].start..places[range.end - 1].end;
        match dice.below(12) {
            0 | 1 => replace(input, at, dice.pick::<Vec<u8>>(&self.words)),
            2 => replace(input, at.start..at.start, &spaced(dice.pick::<Vec<u8>>(&self.words))),
            3 => replace(input, span(dice.range(places.len())), b""),
            4 => {
                let copy = spaced(&input[span(dice.range(places.len()))]);
                let times = if dice.once_in(20) { 1 + dice.below(500) } else { 1 };
                replace(input, at.start..at.start, &copy.repeat(times.min(MAX_BYTES / copy.len())));
            }
            // Another word of this input: often as good a program.
            5 | 6 => {
                let word = input[dice.pick(&places).clone()].to_vec();
                replace(input, at, &word);
            }
            7 | 8 => {
                let number = |at: &&Range<usize>| input[at.start].is_ascii_digit();
                let numbers: Vec<_> = places.iter().filter(number).collect();
                let at = if numbers.is_empty() { at } else { (*dice.pick(&numbers)).clone() };
                replace(input, at, dice.pick(&NUMBERS).as_bytes());
            }
            9 => {
                let (from, to) = (input[at].to_vec(), input[dice.pick(&places).clone()].to_vec());
                for place in places.into_iter().rev() {
                    if input[place.clone()] == from {
                        replace(input, place, &to);
                    }
                }
            }
            10 => {
                let (open, close) =
                    *dice.pick(&[("(", ")"), ("[", "]"), ("{", "}"), ("-(", ")"), ("abs(", ")")]);
                let times = if dice.once_in(20) { 1 + dice.below(3000) } else { 1 };
                let inside = input[at.clone()].to_vec();
                let nested =
                    [open.repeat(times).as_bytes(), &inside, close.repeat(times).as_bytes()].concat();
                replace(input, at, &nested);
            }
            _ => {
                let theirs = tokens(other);
                if !theirs.is_empty() {
                    let range = dice.range(theirs.len());
                    let part = &other[theirs[range.start].start..theirs[range.end - 1].end];
                    replace(input, at, &spaced(part));
                }
            }
        }
    }
}

fn spaced(word: &[u8]) -> Vec<u8> {
    [b" ", word, b" "].concat()
}

fn bytes(dice: &mut Dice, input: &mut Vec<u8>) {
    let at = dice.below(input.len());
    match dice.below(5) {
        0 => input.truncate(at),
        1 => input.insert(at, dice.below(256) as u8),
        2 => replace(input, at..(at + dice.below(9)), b""),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

fn lines(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    let starts = line_starts(input);
    let range = dice.range(starts.len() - 1);
    let taken = starts[range.start]..starts[range.end];
    let to = *dice.pick(&starts);
    match dice.below(4) {
        0 => replace(input, taken, b""),
        1 => {
            let copy = input[taken].to_vec();
            replace(input, to..to, &copy);
        }
        2 => {
            let moved: Vec<u8> = input.drain(taken.clone()).collect();
            let to = if to >= taken.end { to - moved.len() } else { to.min(taken.start) };
            replace(input, to..to, &moved);
        }
        _ => {
            let theirs = line_starts(other);
            let range = dice.range(theirs.len() - 1);
            replace(input, to..to, &other[theirs[range.start]..theirs[range.end]]);
        }
    }
}

/// Where lines start, and the end of the text: two places or more.
fn line_starts(text: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
    starts.push(text.len());
    starts
}

/// Names and numbers, and each other byte that is not white space.
fn tokens(text: &[u8]) -> Vec<Range<usize>> {
    let mut tokens: Vec<Range<usize>> = Vec::new();
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    for (at, &byte) in text.iter().enumerate() {
        match tokens.last_mut() {
            Some(last) if last.end == at && in_word(byte) && in_word(text[at - 1]) => last.end = at + 1,
            _ if byte.is_ascii_whitespace() => {}
            _ => tokens.push(at..at + 1),
        }
    }
    tokens
}

fn replace(input: &mut Vec<u8>, at: Range<usize>, with: &[u8]) {
    let end = at.end.min(input.len());
    input.splice(at.start.min(end)..end, with.iter().copied());
}

/// The header and the data of a weight file whose length prefix is right.
fn unframe(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_marks() {
        let text = b"x1 = softmax(3)\n";
        let words: Vec<&[u8]> = tokens(text).into_iter().map(|at| &text[at]).collect();
        assert_eq!(words, [&b"x1"[..], b"=", b"softmax", b"(", b"3", b")"]);
    }

    #[test]
    fn any_bytes_can_be_damaged() {
        let seeds = [b"a (b) 3\n".to_vec(), Vec::new(), vec![0xff; 9], b"\n\n".to_vec()];
        let mut dice = Dice::new(1);
        for target in Target::ALL {
            let mutator = Mutator::new(target, &seeds);
            for _ in 0..5000 {
                let (base, other) = (dice.pick(&seeds), dice.pick(&seeds));
                assert!(mutator.mutate(&mut dice, base, other).len() <= MAX_BYTES);
            }
        }
    }
}
