//! Shapes of values that hold separators: addresses, paths, annotations, objects.

use super::bytes::{
    AT, COLON, DIGIT, DOT, FOREIGN, HEX, Kinds, LETTER, MARK, SPACE, all, is, is_wordy, kinds_of,
};
use super::words::{COMMON_DOMAIN, DOMAIN, PACKAGE, UNIT, sense};

/// The length of a MAC address or of groups of hexadecimal digits and colons (IPv6, times) at the
/// beginning of `word`, with what goes with it: a zone, a prefix, a port after a bracket.
pub(super) fn colon_address(word: &[u8], kinds: Kinds) -> Option<usize> {
    if kinds & COLON == 0 && !word.contains(&b'-') {
        return None;
    }
    let len = word
        .iter()
        .position(|byte| !(is(*byte, HEX | DOT) || matches!(byte, b':' | b'-')))
        .unwrap_or(word.len());
    let mut body = &word[..len];
    while let [head @ .., b':' | b'.' | b'-'] = body
        && !body.ends_with(b"::")
    {
        body = head;
    }
    let colons = n_of(b':', body);
    let is_hex_groups = colons >= 2 && all(body, HEX | COLON | DOT) && kinds_of(body) & DIGIT != 0;
    let is_mac = body.len() >= 11
        && body.len() % 3 == 2
        && body.iter().enumerate().all(|(i, byte)| match i % 3 {
            2 => matches!(byte, b':' | b'-'),
            _ => is(*byte, HEX),
        });
    if !is_hex_groups && !is_mac {
        return None;
    }
    let mut end = body.len();
    if word.get(end) == Some(&b'%') {
        end += 1 + count(&word[end + 1..], LETTER | DIGIT | DOT);
    }
    if word.get(end) == Some(&b'/') {
        end += 1 + count(&word[end + 1..], DIGIT);
    }
    if word[end..].starts_with(b"]:") && word.get(end + 2).is_some_and(|b| is(*b, DIGIT)) {
        end += 2 + count(&word[end + 2..], DIGIT);
    }
    // Something longer that only begins like one.
    let begins_with_digit = is(body[0], DIGIT);
    let is_whole = match word[end..] {
        [] => true,
        [b':', next, ..] if is_wordy(next) => begins_with_digit,
        [next, ..] => !is_wordy(next),
    };
    is_whole.then_some(end)
}

/// How often the byte is in a text.
pub(super) fn n_of(byte: u8, text: &[u8]) -> usize {
    // Words are short: a faster way would not be one.
    text.split(|other| *other == byte).count() - 1
}

fn count(text: &[u8], wanted: Kinds) -> usize {
    text.iter().take_while(|byte| is(**byte, wanted)).count()
}

/// The length of `somebody@somewhere` at the beginning of `word`.
pub(super) fn mail(word: &[u8], kinds: Kinds) -> Option<usize> {
    if kinds & AT == 0 {
        return None;
    }
    let name = count_name(word);
    if name == 0 || word.get(name) != Some(&b'@') {
        return None;
    }
    let host = &word[name + 1..];
    let mut len = host
        .iter()
        .take_while(|byte| {
            is(**byte, LETTER | DIGIT | DOT | FOREIGN) || matches!(byte, b'-' | b'_')
        })
        .count();
    while len > 0 && host[len - 1] == b'.' {
        len -= 1;
    }
    (len > 0).then_some(name + 1 + len)
}

fn count_name(word: &[u8]) -> usize {
    word.iter()
        .take_while(|byte| {
            is(**byte, LETTER | DIGIT | DOT | FOREIGN) || matches!(byte, b'_' | b'+' | b'-')
        })
        .count()
}

/// The length of `host.name:port` at the beginning of `word`: in lower case, with a dot.
pub(super) fn host_port(word: &[u8], kinds: Kinds) -> Option<usize> {
    if kinds & (COLON | DOT | DIGIT) != COLON | DOT | DIGIT {
        return None;
    }
    let colon = word.iter().position(|byte| *byte == b':')?;
    let mut labels = 0;
    for label in word[..colon].split(|byte| *byte == b'.') {
        let is_lower = |byte: &u8| byte.is_ascii_lowercase() || is(*byte, DIGIT) || is_dash(*byte);
        if label.is_empty() || !label.iter().all(is_lower) {
            return None;
        }
        labels += 1;
    }
    let digits = count(&word[colon + 1..], DIGIT);
    let end = colon + 1 + digits;
    let goes_on = word.get(end).is_some_and(|b| is_wordy(*b) || *b == b'.');
    (labels >= 2 && (1..=5).contains(&digits) && !goes_on).then_some(end)
}

fn is_dash(byte: u8) -> bool {
    matches!(byte, b'-' | b'_')
}

/// The length of a path or URL at the beginning of `word`.
pub(super) fn path(word: &[u8]) -> Option<usize> {
    let scheme = || {
        let mut len = 0;
        while word.get(len).is_some_and(|byte| {
            is(*byte, LETTER) || len > 0 && (is(*byte, DIGIT | DOT) || matches!(byte, b'+' | b'-'))
        }) {
            len += 1;
        }
        (len > 0 && word[len..].starts_with(b"://")).then_some(len + 3)
    };
    let begin = match word {
        [b'~' | b'.', b'/', ..] | [b'\\', b'\\', ..] => 2,
        [b'.', b'.', b'/', ..] => 3,
        [drive, b':', b'\\', ..] if is(*drive, LETTER) => 3,
        [b'/', ..] => 1,
        _ => scheme()?,
    };
    let len = word[begin..]
        .iter()
        .position(|byte| {
            matches!(
                byte,
                b'"' | b'\'' | b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b',' | b';'
            )
        })
        .unwrap_or(word.len() - begin);
    let mut end = begin + len;
    // Punctuation at the end belongs to the sentence.
    while end > 0 && matches!(word[end - 1], b':' | b'.' | b'!' | b'?') {
        end -= 1;
    }
    (len > 0 && end > 1).then_some(end)
}

/// The length of an annotation in parentheses that only repeats a number in other words, or holds
/// one: `(1.16 KB)`, `(0x1f)`; `text` begins with the parenthesis.
pub(super) fn annotation(text: &[u8]) -> Option<usize> {
    const LONGEST: usize = 64;
    let len = text
        .iter()
        .skip(1)
        .take(LONGEST)
        .position(|byte| *byte == b')')?;
    let whole = text[1..=len].trim_ascii();
    let inside = match whole {
        [b'<' | b'>' | b'~' | b'=' | b'+' | b'-', rest @ ..] => rest,
        all => all,
    };
    if kinds_of(inside) & DIGIT == 0 {
        return None;
    }
    let number = inside
        .iter()
        .take_while(|b| {
            is(**b, DIGIT) || matches!(b, b'.' | b',' | b':' | b'/' | b'x' | b'%' | b'-')
        })
        .count();
    let unit = inside[number..].trim_ascii();
    let is_number = kinds_of(&inside[..number]) & DIGIT != 0
        && (unit.is_empty() || unit == b"%" || sense(unit) & UNIT != 0);
    let is_hex = inside
        .iter()
        .all(|b| is(*b, HEX) || matches!(b, b'x' | b':' | b'.' | b'/' | b'%' | b'-'));
    (is_number || is_hex).then_some(len + 2)
}

/// The length of `name(123)` or `name[123]` at the beginning of `word`.
pub(super) fn numbered_name(word: &[u8]) -> Option<usize> {
    if !is(*word.first()?, LETTER) && word[0] != b'_' {
        return None;
    }
    let name = word
        .iter()
        .take_while(|byte| is_wordy(**byte) || matches!(byte, b'.' | b'-'))
        .count();
    let close = match word.get(name)? {
        b'(' => b')',
        b'[' => b']',
        _ => return None,
    };
    let digits = count(&word[name + 1..], DIGIT);
    let end = name + 1 + digits;
    (digits > 0 && word.get(end) == Some(&close)).then_some(end + 1)
}

/// The length of the braces at the beginning of `text` with what is between, within bounds.
pub(super) fn braces(text: &[u8]) -> Option<usize> {
    const LONGEST: usize = 1024;
    let mut depth = 0_usize;
    for (at, byte) in text.iter().take(LONGEST).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Some(at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether the last name in `word` is written like that of a class, in upper case.
pub(super) fn ends_in_class(word: &[u8]) -> bool {
    let from = word
        .iter()
        .rposition(|byte| !is_wordy(*byte) && !matches!(byte, b'.' | b'$'))
        .map_or(0, |at| at + 1);
    (from..word.len())
        .any(|at| word[at].is_ascii_uppercase() && (at == from || !is_wordy(word[at - 1])))
}

/// Whether `word` is the name of a host, and not that of a package.
pub(super) fn is_host(word: &[u8]) -> bool {
    let word = word.strip_suffix(b".").unwrap_or(word);
    let (mut n_labels, mut first, mut last) = (0, &word[..0], &word[..0]);
    for label in word.split(|byte| *byte == b'.') {
        if label.is_empty() || !label.iter().all(|b| is(*b, LETTER | DIGIT) || *b == b'-') {
            return false;
        }
        if n_labels == 0 {
            first = label;
        }
        last = label;
        n_labels += 1;
    }
    let last = sense(last);
    n_labels >= 2
        && !first.starts_with(b"-")
        && last & DOMAIN != 0
        && (n_labels > 2 || last & COMMON_DOMAIN != 0)
        && sense(first) & PACKAGE == 0
}

/// Whether `word` is nothing but punctuation.
pub(super) fn is_punctuation(word: &[u8]) -> bool {
    let is_quiet = |b: &u8| matches!(b, b'.' | b'-' | b'=' | b'*' | b'_' | b'#' | b'+' | b'~');
    word.iter().all(is_quiet) || matches!(word, [b'/' | b'^' | b'$' | b'%'])
}

/// The end of a value in quotes that begins at `text`, after its closing quote.
pub(super) fn quoted(text: &[u8]) -> Option<usize> {
    let quote = *text.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        if escaped {
            escaped = false;
        } else if *byte == b'\\' {
            escaped = true;
        } else if *byte == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Whether a word with dots, underscores, slashes or a dollar is the name of something in a
/// program: such names vary more easily than the words of a sentence.
pub(super) fn is_soft(word: &[u8], kinds: Kinds) -> bool {
    if kinds & (DOT | MARK | super::bytes::SLASH) == 0 {
        return false;
    }
    n_of(b'.', word) >= 2 || n_of(b'_', word) >= 3 || word.contains(&b'/') || word.contains(&b'$')
}

/// Where the first line of `message` that is not blank begins and ends, within so many bytes.
pub(super) fn first_line(message: &str, longest: usize) -> (usize, usize) {
    let text = message.as_bytes();
    let begin = text
        .iter()
        .position(|byte| !is(*byte, SPACE))
        .unwrap_or(text.len());
    let limit = text.len().min(begin + longest);
    let end = text[begin..limit].iter().position(|byte| *byte == b'\n');
    let mut end = end.map_or(limit, |at| begin + at);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    (begin, end)
}
