//! Experts with a number of seats. First choices are seated first, then second ones, each by token, as
//! in GShard; who finds no seat is not computed.

use crate::config::Config;
use crate::draft::{Draft, number};
use crate::error::ImportError;
use crate::row::Seats;

/// The share of the tokens that an expert has seats for, where that is how they are counted.
fn share(config: &Config, seats: &Seats) -> Result<Option<f64>, ImportError> {
    match &seats.share {
        Some(key) => Ok(config.number(key)?.filter(|share| *share > 0.0)),
        None => Ok(None),
    }
}

/// Whether a token may find no seat. With a seat for each token all do: the choices of a token differ.
pub(super) fn are_few(draft: &Draft<'_>, seats: &Seats) -> Result<bool, ImportError> {
    Ok(share(draft.config, seats)?.is_none_or(|share| share < 1.0))
}

/// The lines that say who is seated: `seated : bool[T, E]`.
pub(super) fn write(
    draft: &mut Draft<'_>,
    seats: &Seats,
    choice: &str,
    words: &mut Vec<String>,
) -> Result<(), ImportError> {
    match share(draft.config, seats)? {
        Some(share) => {
            // Rounded up: the rest is rounded down.
            draft.params.push(("rest".to_owned(), number(1.0 - share)));
            draft.derived.push(("C", "T - floor(T * rest)".to_owned()));
            words.push(format!("with seats for {} of the tokens", number(share)));
        }
        None => {
            let capacity = draft.config.count(&seats.capacity)?;
            draft.define("C", capacity);
            words.push(format!("with {capacity} seats"));
        }
    }
    draft.lets.extend([
        format!("let ranked = top_k({choice}, K, over E).index  // i32[T, K]"),
        "let pick = transpose(one_hot(ranked, E), [1, 0, 2])  // bool[K, T, E]".to_owned(),
        "let queue = i32(reshape(pick, [K*T, E]))".to_owned(),
        "let seat = reshape(cumsum(queue, over K*T, exclusive = true), [K, T, E])".to_owned(),
        "let seated = any(pick and seat < C, over K)  // bool[T, E]".to_owned(),
    ]);
    Ok(())
}
