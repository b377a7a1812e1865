//! What is the same in every line of a template, and how it is found again.

use super::bytes::mix;
use super::scan::{MAX_BYTES, NUMBERED, Scanner, Token, VARIABLE};
use super::shape::first_line;

/// How variables are written.
pub(super) const HOLE: &str = "<*>";

/// The words and variables of a template, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The offsets are those in the text.
    pub(super) tokens: Vec<Token>,
    pub(super) text: String,
}

impl Pattern {
    /// The line a scanner has just read.
    pub(super) fn of(message: &str, scanner: &Scanner) -> Self {
        let mut text = String::new();
        let mut tokens = scanner.tokens.clone();
        let (begin, end) = first_line(message, MAX_BYTES);
        let mut from = end_of_count(begin);
        let literal = |from: u32, to: u32| message.get(from as usize..to as usize).unwrap_or("");
        let mut moved = tokens
            .iter_mut()
            .flat_map(|token| [&mut token.start, &mut token.end])
            .peekable();
        for (start, end) in values(message, scanner) {
            while let Some(offset) = moved.next_if(|offset| **offset <= start) {
                *offset = end_of(&text) + (*offset - from);
            }
            text.push_str(literal(from, start));
            text.push_str(HOLE);
            from = end;
            while let Some(offset) = moved.next_if(|offset| **offset <= end) {
                *offset = end_of(&text);
            }
        }
        for offset in moved {
            *offset = end_of(&text) + (*offset - from);
        }
        text.push_str(literal(from, end_of_count(end)).trim_end());
        Self { tokens, text }
    }

    /// Where the variables are in the message that the scanner has just read.
    ///
    /// The words of the pattern are found in the line from left to right; what lies between is the
    /// variables. This is the matching of shell patterns, with at least one token for each hole.
    pub(super) fn variables(&self, message: &str, scanner: &Scanner) -> Vec<(u32, u32)> {
        let (line, pattern) = (&scanner.tokens, &self.tokens);
        // Which tokens of the line each hole took, and where the last of them is.
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<usize> = None;
        let (mut at, mut of) = (0, 0);
        while let Some(token) = line.get(at) {
            match pattern.get(of) {
                Some(hole) if hole.is_variable() => {
                    last = Some(of);
                    taken.push((at, at + 1));
                    (at, of) = (at + 1, of + 1);
                }
                Some(word) if word.word == token.word => (at, of) = (at + 1, of + 1),
                _ => {
                    // The last hole takes one more, and what follows it is looked for anew.
                    let (Some(hole), Some(range)) = (last, taken.last_mut()) else {
                        break;
                    };
                    range.1 += 1;
                    (at, of) = (range.1, hole + 1);
                }
            }
        }
        let holes: Vec<(u32, u32)> = taken
            .iter()
            .filter_map(|(from, to)| Some((line.get(*from)?.start, line.get(to - 1)?.end)))
            .collect();
        let is_in = |hole: &(u32, u32), value: &(u32, u32)| hole.0 <= value.0 && value.1 <= hole.1;
        let mut found = values(message, scanner);
        for (hole, (from, to)) in holes.iter().zip(&taken) {
            // A word that was learnt to vary, or several tokens that are one variable here.
            if to - from > 1 || !found.iter().any(|value| is_in(hole, value)) {
                found.retain(|value| !is_in(hole, value));
                found.push(*hole);
            }
        }
        found.sort_unstable();
        found
    }

    /// Makes the tokens of `holes` variables; those beside each other become one.
    pub(super) fn open(&mut self, holes: Holes) {
        let mut tokens: Vec<Token> = Vec::with_capacity(self.tokens.len());
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0_usize;
        for (at, mut token) in self.tokens.iter().copied().enumerate() {
            let (start, end) = (token.start as usize, token.end as usize);
            if holes.has(at) {
                token.make_variable();
            }
            let gap = self.text.get(from..start).unwrap_or("");
            let own = if holes.has(at) {
                HOLE
            } else {
                self.text.get(start..end).unwrap_or("")
            };
            match tokens.last_mut() {
                Some(last) if last.is_variable() && token.is_variable() => {
                    if has_bracket(gap) {
                        text.push_str(gap);
                        text.push_str(own);
                    } else {
                        text.push_str(own.strip_prefix(HOLE).unwrap_or_default());
                    }
                    last.end = end_of(&text);
                }
                _ => {
                    text.push_str(gap);
                    token.start = end_of(&text);
                    text.push_str(own);
                    token.end = end_of(&text);
                    tokens.push(token);
                }
            }
            from = end;
        }
        text.push_str(self.text.get(from..).unwrap_or(""));
        (self.tokens, self.text) = (tokens, text);
    }
}

/// Whether the values on both sides are two and not one list.
fn has_bracket(gap: &str) -> bool {
    gap.contains(['(', ')', '[', ']', '{', '}', '<', '>', '"', '\''])
}

/// Where the values are in a line: those beside each other in one variable as one, the numbers of
/// numbered words, and what not every line has.
fn values(message: &str, scanner: &Scanner) -> Vec<(u32, u32)> {
    let numbers = scanner.tokens.iter().filter_map(|token| {
        let digits = number_of(message, token);
        (digits > 0).then(|| (token.end - digits, token.end))
    });
    let mut all: Vec<(u32, u32)> = scanner
        .values
        .iter()
        .chain(&scanner.asides)
        .copied()
        .collect();
    all.extend(numbers);
    all.sort_unstable();
    let mut holes = scanner
        .tokens
        .iter()
        .filter(|token| token.is_variable())
        .peekable();
    all.dedup_by(|next, last| {
        while holes.next_if(|hole| hole.end <= last.0).is_some() {}
        let is_one = holes
            .peek()
            .is_some_and(|hole| hole.start <= last.0 && next.1 <= hole.end);
        let gap = message.get(last.1 as usize..next.0 as usize);
        let joins = is_one && gap.is_some_and(|gap| !has_bracket(gap));
        if joins {
            last.1 = next.1;
        }
        joins
    });
    all
}

/// How many digits a numbered word ends in; 0 for others.
fn number_of(message: &str, token: &Token) -> u32 {
    if token.flags & NUMBERED == 0 {
        return 0;
    }
    let word = message.get(token.start as usize..token.end as usize);
    let digits = word.unwrap_or("").bytes().rev();
    end_of_count(digits.take_while(u8::is_ascii_digit).count())
}

fn end_of_count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn end_of(text: &str) -> u32 {
    end_of_count(text.len())
}

/// Which tokens become variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// The one at this place.
    One(usize),
    /// Those of the bits that are set.
    Many(u64),
}

impl Holes {
    fn has(self, at: usize) -> bool {
        match self {
            Self::One(hole) => hole == at,
            Self::Many(bits) => at < 64 && bits >> at & 1 == 1,
        }
    }
}

/// Makes the tokens of `holes` variables, without a text to care for.
pub(super) fn open(tokens: &mut Vec<Token>, holes: Holes) {
    for (at, token) in tokens.iter_mut().enumerate() {
        if holes.has(at) {
            token.make_variable();
        }
    }
    tokens.dedup_by(|next, last| next.is_variable() && last.is_variable());
}

fn part(at: usize, word: u64) -> u64 {
    mix(word.wrapping_add((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// The hash of a line's key: a sum over its places, so that another token at one place changes it
/// in constant time.
pub(super) fn key_of(tokens: &[Token]) -> u64 {
    let seed = mix(tokens.len() as u64 + 77);
    (0..).zip(tokens).fold(seed, |sum, (at, token)| {
        sum.wrapping_add(part(at, token.word))
    })
}

/// The key with a variable at this place.
pub(super) fn with_hole(key: u64, tokens: &[Token], at: usize) -> u64 {
    key.wrapping_sub(part(at, tokens[at].word))
        .wrapping_add(part(at, VARIABLE))
}

/// The key with variables at these places.
pub(super) fn with_holes(key: u64, tokens: &[Token], bits: u64) -> u64 {
    places(bits)
        .filter(|at| *at < tokens.len())
        .fold(key, |key, at| with_hole(key, tokens, at))
}

/// The places of the bits that are set.
pub(super) fn places(bits: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |at| bits >> at & 1 == 1)
}

/// Names the lines that differ from each other at this place only.
pub(super) fn context(holed: u64, at: usize) -> u64 {
    mix(holed ^ ((at as u64) << 48) ^ 0x0123_4567)
}

/// The same for several places.
pub(super) fn context_of_many(holed: u64, bits: u64) -> u64 {
    mix(holed ^ mix(bits) ^ 0x89ab_cdef)
}

pub(super) fn n_words(tokens: &[Token]) -> usize {
    tokens.iter().filter(|token| !token.is_variable()).count()
}
