//! Lines of the same length with variables at the same places, among which several words may vary
//! together: `user ann, database shop` and `user bob, database mail` differ at two places, and no
//! third line differs from either at one.

use std::collections::VecDeque;

use super::bytes::mix;
use super::groups::REMAINING;
use super::pattern::places;
use super::scan::Token;

/// So many lines of a family are compared.
pub(super) const MOST_KEYS: usize = 64;
/// So many sets of holes are known of a family.
pub(super) const MOST_HOLES: usize = 16;
/// Sets of places are bits.
const MOST_TOKENS: usize = 64;

/// So many lines must differ from each other at the same places, and so many words at each place:
/// more than the transitions of a state machine have, `from NEW to RUNNING`, `from RUNNING to DONE`.
const ENOUGH_LINES: usize = 10;
const ENOUGH_WORDS: usize = 8;

/// What is remembered of the lines of one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Family {
    /// The newest lines, the oldest first.
    pub(super) keys: VecDeque<u64>,
    /// Which places were opened together, the oldest first.
    pub(super) holes: VecDeque<u64>,
}

impl Family {
    pub(super) fn add(&mut self, key: u64) {
        push(&mut self.keys, key, MOST_KEYS);
    }

    pub(super) fn open(&mut self, bits: u64) {
        push(&mut self.holes, bits, MOST_HOLES);
    }
}

fn push(queue: &mut VecDeque<u64>, value: u64, most: usize) {
    if queue.contains(&value) {
        return;
    }
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// The family of a line; `None` for those too short or too long to have several holes.
pub(super) fn of(tokens: &[Token]) -> Option<u64> {
    let first = tokens.first()?;
    if tokens.len() > MOST_TOKENS || tokens.len() < 2 + REMAINING {
        return None;
    }
    let variables = (0_u64..)
        .zip(tokens)
        .filter(|(_, token)| token.is_variable())
        .fold(0, |bits, (at, _)| bits | 1 << at);
    Some(mix(first.word ^ mix(variables ^ mix(tokens.len() as u64))))
}

/// The places at which the line differs from enough of the others, always in all of them and each
/// time in other words, and the keys of the lines that agree with it everywhere else, its own
/// included.
pub(super) fn holes(
    key: u64,
    tokens: &[Token],
    others: &[(u64, &[Token])],
) -> Option<(u64, Vec<u64>)> {
    let differing: Vec<u64> = others
        .iter()
        .map(|(_, other)| differences(tokens, other))
        .collect();
    let n_words = super::pattern::n_words(tokens);
    let n_of = |bits: u64| differing.iter().filter(|other| **other == bits).count();
    let bits = differing.iter().copied().filter(|bits| {
        let n = bits.count_ones() as usize;
        let remaining = n_words.saturating_sub(n);
        n >= 2 && remaining >= REMAINING.max(n) && n_of(*bits) + 1 >= ENOUGH_LINES
    });
    // The most lines, then the fewest holes; the bits themselves, so that chance has no say.
    let bits = bits.max_by_key(|bits| (n_of(*bits), u64::MAX - bits))?;
    let is_varied = places(bits).all(|at| {
        let same_shape = others.iter().zip(&differing).filter(|(_, d)| **d == bits);
        let mut words: Vec<u64> = same_shape.map(|((_, other), _)| other[at].word).collect();
        words.push(tokens[at].word);
        words.sort_unstable();
        words.dedup();
        words.len() >= ENOUGH_WORDS
    });
    let mut siblings: Vec<u64> = others
        .iter()
        .zip(&differing)
        .filter(|(_, other)| **other & !bits == 0)
        .map(|((key, _), _)| *key)
        .collect();
    siblings.push(key);
    siblings.sort_unstable();
    is_varied.then_some((bits, siblings))
}

/// The places at which two lines of a family differ; all of them if they are none of one.
fn differences(one: &[Token], other: &[Token]) -> u64 {
    if one.len() != other.len() {
        return u64::MAX;
    }
    (0_u64..)
        .zip(one.iter().zip(other))
        .filter(|(_, (one, other))| one.word != other.word)
        .fold(0, |bits, (at, _)| bits | 1 << at)
}
