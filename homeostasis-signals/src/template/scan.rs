//! From a line to its words and variables, in one pass.

use super::bytes::{
    AT, BACKSLASH, COLON, DIGIT, DOT, FOREIGN, HEX, Kinds, LETTER, MARK, SEPARATOR, SLASH, SPACE,
    all, hash, is, kinds,
};
use super::shape;
use super::words::{CALENDAR, NOTHING, NOUN, PERSON, Sense, UNIT, sense};

/// What of a line is read: so many bytes of its first line, and so many words.
pub(super) const MAX_BYTES: usize = 4096;
pub(super) const MAX_TOKENS: usize = 256;

/// A variable, in place of the hash of a word.
pub(super) const VARIABLE: u64 = 0;

/// The name of something in a program: it varies more easily than the words of a sentence.
pub(super) const SOFT: u8 = 1;
/// Letters and a number: `eth0`. The hash is that of the letters.
pub(super) const NUMBERED: u8 = 1 << 1;
/// A word of times and dates, or six letters that may be a number: a variable beside variables.
pub(super) const DATED: u8 = 1 << 2;
/// Letters that may be a hexadecimal number: `a`, `bad`, `face`.
pub(super) const HEXLIKE: u8 = 1 << 3;

/// A word or a variable of a line, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// The hash of the word, or [`VARIABLE`].
    pub(super) word: u64,
    pub(super) flags: u8,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Token {
    pub(super) fn is_variable(&self) -> bool {
        self.word == VARIABLE
    }

    pub(super) fn make_variable(&mut self) {
        (self.word, self.flags) = (VARIABLE, SOFT);
    }
}

/// Reads lines; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    pub(super) tokens: Vec<Token>,
    /// The values that variables are made of.
    pub(super) values: Vec<(u32, u32)>,
    /// Variables that are not there in every line of a template: they are no part of its key.
    pub(super) asides: Vec<(u32, u32)>,
    /// Whether some token needs a look at its neighbours.
    needs_look: bool,
    /// The word before says that the next one names somebody.
    names_person: bool,
}

/// Part of a line: where it begins, and its bytes.
#[derive(Clone, Copy)]
struct Part<'a> {
    at: usize,
    text: &'a [u8],
}

impl<'a> Part<'a> {
    fn of(line: &'a [u8], from: usize, to: usize) -> Self {
        Self {
            at: from,
            text: &line[from..to],
        }
    }
}

fn offset(at: usize) -> u32 {
    // Lines are cut long before.
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Scanner {
    /// Reads the first line of `message` that is not blank into `tokens`.
    pub(super) fn scan(&mut self, message: &str) {
        self.tokens.clear();
        self.values.clear();
        self.asides.clear();
        (self.needs_look, self.names_person) = (false, false);
        let (begin, end) = shape::first_line(message, MAX_BYTES);
        let line = &message.as_bytes()[..end];
        let mut at = begin;
        while at < line.len() && self.tokens.len() < MAX_TOKENS {
            if is(line[at], SPACE) {
                at += 1;
                continue;
            }
            let start = at;
            let mut seen: Kinds = 0;
            while at < line.len() {
                let kinds = kinds(line[at]);
                if kinds & SPACE != 0 {
                    break;
                }
                seen |= kinds;
                at += 1;
            }
            if seen & !(LETTER | HEX) == 0 {
                self.plain(Part::of(line, start, at));
            } else if seen & (SEPARATOR | SLASH | BACKSLASH | DOT) == 0 {
                self.piece(Part::of(line, start, at), seen);
            } else {
                at = self.mixed(line, begin, (start, at), seen);
            }
        }
        if self.needs_look {
            self.look_around();
        }
    }

    /// A word of letters.
    fn plain(&mut self, part: Part<'_>) {
        let known = sense(part.text);
        if known != 0 || self.names_person {
            self.known(part, LETTER, known);
        } else if is(part.text[0], HEX) && all(part.text, HEX) {
            self.hexlike(part, 0);
        } else {
            self.word(part, 0);
        }
    }

    /// Letters that may be a number.
    fn hexlike(&mut self, part: Part<'_>, flags: u8) {
        match part.text.len() {
            8.. => self.variable(part),
            6.. => {
                self.needs_look = true;
                self.word(part, flags | HEXLIKE | DATED);
            }
            _ => self.word(part, flags | HEXLIKE),
        }
    }

    /// A word without digits of which something is known, or that follows what names a person.
    fn known(&mut self, part: Part<'_>, seen: Kinds, known: Sense) {
        let names_person = std::mem::take(&mut self.names_person);
        let is_value = known & NOTHING != 0
            || names_person && is(part.text[0], LETTER | FOREIGN)
            || seen & DOT != 0 && shape::is_host(part.text)
            || is_mac(part.text, seen);
        // Part of the number: the same second may be 1000 ms.
        let is_unit = known & UNIT != 0 && self.tokens.last().is_some_and(Token::is_variable);
        if is_value || is_unit {
            self.variable(part);
        } else {
            let mut flags = 0;
            if known & CALENDAR != 0 {
                flags |= DATED;
                self.needs_look = true;
            }
            if shape::is_soft(part.text, seen) {
                flags |= SOFT;
            }
            if all(part.text, HEX) {
                self.hexlike(part, flags);
            } else {
                self.word(part, flags);
            }
            self.names_person = known & PERSON != 0;
        }
    }

    fn word(&mut self, part: Part<'_>, flags: u8) {
        self.tokens.push(Token {
            word: hash(part.text),
            flags,
            start: offset(part.at),
            end: offset(part.at + part.text.len()),
        });
    }

    /// A variable; one beside another is part of it.
    fn variable(&mut self, part: Part<'_>) {
        let (start, end) = (offset(part.at), offset(part.at + part.text.len()));
        self.values.push((start, end));
        match self.tokens.last_mut() {
            Some(last) if last.is_variable() => last.end = end,
            _ => self.tokens.push(Token {
                word: VARIABLE,
                flags: SOFT,
                start,
                end,
            }),
        }
    }

    /// A word with separators, dots or slashes in it; where to go on.
    fn mixed(
        &mut self,
        line: &[u8],
        begin: usize,
        (start, end): (usize, usize),
        seen: Kinds,
    ) -> usize {
        let is_first = start == begin;
        if !is_first
            && line[start] == b'('
            && let Some(len) = shape::annotation(&line[start..])
        {
            self.asides.push((offset(start), offset(start + len)));
            self.names_person = false;
            return start + len;
        }
        if !is_first
            && seen & (SEPARATOR | DIGIT) == SEPARATOR | DIGIT
            && let Some(len) = shape::numbered_name(&line[start..end])
        {
            self.names_person = false;
            self.variable(Part::of(line, start, start + len));
            return start + len;
        }
        let mut at = start;
        while at < end
            && matches!(
                line[at],
                b'(' | b'[' | b'{' | b'"' | b'\'' | b'<' | b'=' | b':' | b','
            )
        {
            if let Some(len) = self.value(line, start, at) {
                return at + len;
            }
            at += 1;
            self.names_person = false;
        }
        if let Some(len) = value_with_separators(&line[at..end], seen) {
            self.names_person = false;
            self.variable(Part::of(line, at, at + len));
            at += len;
        }
        while at < end {
            if is(line[at], SEPARATOR) {
                self.names_person = false;
                if let Some(len) = self.value(line, start, at) {
                    return at + len;
                }
                let opens = matches!(line[at], b'=' | b'(' | b'[' | b'<' | b'"' | b'\'');
                at += 1;
                if opens && let Some(len) = value_with_separators(&line[at..end], seen) {
                    self.variable(Part::of(line, at, at + len));
                    at += len;
                }
            } else if line[at..end].starts_with(b"..") {
                self.names_person = false;
                while at < end && line[at] == b'.' {
                    at += 1;
                }
            } else {
                let from = at;
                let mut seen: Kinds = 0;
                while at < end && !is(line[at], SEPARATOR) && !line[at..end].starts_with(b"..") {
                    seen |= kinds(line[at]);
                    at += 1;
                }
                if line.get(at) == Some(&b'@')
                    && let Some(len) = shape::mail(&line[from..end], AT)
                {
                    self.names_person = false;
                    at = from + len;
                    self.variable(Part::of(line, from, at));
                    continue;
                }
                if line.get(at) == Some(&b'{')
                    && shape::ends_in_class(&line[from..at])
                    && let Some(len) = shape::braces(&line[at..])
                {
                    // What an object looks like when it is printed.
                    self.names_person = false;
                    self.variable(Part::of(line, from, at + len));
                    return at + len;
                }
                self.piece(Part::of(line, from, at), seen);
            }
        }
        end
    }

    /// A quoted value after the equals sign or colon at `at`, unless its name says that it is the
    /// message itself; its length from `at`.
    fn value(&mut self, line: &[u8], start: usize, at: usize) -> Option<usize> {
        const TEXTS: [&[u8]; 7] = [
            b"msg", b"message", b"error", b"err", b"event", b"reason", b"text",
        ];
        if line[at] != b'=' || !matches!(line.get(at + 1), Some(b'"' | b'\'')) {
            return None;
        }
        let name = line[start..at]
            .rsplit(|byte| is(*byte, SEPARATOR))
            .next()
            .unwrap_or_default();
        if TEXTS.iter().any(|text| name.eq_ignore_ascii_case(text)) {
            return None;
        }
        let len = shape::quoted(&line[at + 1..])? + 1;
        self.variable(Part::of(line, at + 1, at + len));
        Some(len)
    }

    /// What stands between separators.
    fn piece(&mut self, part: Part<'_>, seen: Kinds) {
        let mut len = part.text.len();
        while len > 1 && part.text[len - 1] == b'.' {
            len -= 1;
        }
        let (whole, text) = (part.text, &part.text[..len]);
        let part = Part { at: part.at, text };
        let n_slashes = || shape::n_of(b'/', text);
        if text == b"." {
            return;
        }
        if seen & DIGIT != 0 {
            let names_person = std::mem::take(&mut self.names_person);
            let letters = text.iter().take_while(|b| is(**b, LETTER)).count();
            if sense(text) & NOUN != 0 {
                self.word(part, 0);
            } else if !names_person
                && letters >= 2
                && text[letters..].iter().all(|b| is(*b, DIGIT))
                && !(len >= 6 && all(text, HEX))
            {
                let name = Part {
                    at: part.at,
                    text: &text[..letters],
                };
                let hexlike = if all(text, HEX) { HEXLIKE } else { 0 };
                self.word(name, NUMBERED | hexlike);
                self.needs_look = true;
                if let Some(last) = self.tokens.last_mut() {
                    last.word = hash(name.text) ^ 0xaaaa_0000;
                    last.end = offset(part.at + len);
                }
            } else {
                self.variable(part);
            }
        } else if seen & BACKSLASH != 0
            || seen & SLASH != 0
                && len > 1
                && (seen & DOT != 0 || text[0] == b'/' || n_slashes() > 1)
        {
            self.names_person = false;
            self.variable(part);
        } else if seen & (LETTER | FOREIGN) == 0 && shape::is_punctuation(text) {
            if text == b"%" && self.tokens.last().is_some_and(Token::is_variable) {
                self.variable(part);
            } else if whole.len() > 2 && whole[0] == b'*' {
                // Something was masked: that it was is worth a word.
                self.word(part, 0);
            }
        } else {
            self.known(part, seen, sense(text));
        }
    }

    /// Words of dates beside variables or each other are variables, and so are the numbered words
    /// of a list.
    fn look_around(&mut self) {
        let tokens = &mut self.tokens;
        let near_date = |token: &Token| token.is_variable() || token.flags & DATED != 0;
        let dated: Vec<usize> = (0..tokens.len())
            .filter(|at| tokens[*at].flags & DATED != 0)
            .filter(|at| {
                *at > 0 && near_date(&tokens[at - 1]) || tokens.get(at + 1).is_some_and(near_date)
            })
            .collect();
        for at in dated {
            self.values.push((tokens[at].start, tokens[at].end));
            tokens[at].make_variable();
        }
        let in_list = |token: &Token| token.is_variable() || token.flags & NUMBERED != 0;
        for list in tokens.chunk_by_mut(|one, next| in_list(one) && in_list(next)) {
            let numbered = list.iter().filter(|token| token.flags & NUMBERED != 0);
            if numbered.count() >= 2 {
                for token in list.iter_mut().filter(|token| !token.is_variable()) {
                    self.values.push((token.start, token.end));
                    token.make_variable();
                }
            }
        }
        tokens.dedup_by(|next, last| {
            let both = last.is_variable() && next.is_variable();
            if both {
                last.end = next.end;
            }
            both
        });
    }
}

/// Whether it is a MAC address with dashes and without digits, which would tell it before.
fn is_mac(word: &[u8], seen: Kinds) -> bool {
    word.len() == 17 && shape::colon_address(word, seen) == Some(17)
}

/// The length of an address, a path or a URL at the beginning of `word`.
fn value_with_separators(word: &[u8], seen: Kinds) -> Option<usize> {
    if seen & (COLON | MARK) != 0
        && let Some(len) = shape::colon_address(word, seen)
    {
        return Some(len);
    }
    if let Some(len) = shape::mail(word, seen).or_else(|| shape::host_port(word, seen)) {
        return Some(len);
    }
    if seen & (SLASH | BACKSLASH) != 0 {
        return shape::path(word);
    }
    None
}

#[cfg(test)]
mod tests;
