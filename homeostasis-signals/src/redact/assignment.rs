//! `name = value` in free text: what stands after a name.
//!
//! Log fields, JSON (also escaped within a string), YAML, query strings, connection strings,
//! `--flags` and headers write a name, a separator and a value. In prose the same signs mean
//! something else (`Invalid token: expected a number`), so what the value looks like counts too.

use std::ops::Range;

use super::check::follows_escape;
use super::enclosed::{beside, block, wrapped};
use super::scan::{REACH, close, skip_quote, until};

/// Words on a line are taken for one passphrase up to about this many bytes.
const LONGEST_PHRASE: usize = 256;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The value, without its quotes.
    pub(super) value: Range<usize>,
    /// What the signs around it say.
    pub(super) notation: Notation,
}

/// How a name and a value are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// By `=`, by quotes, as a flag or an element: no doubt.
    Pair,
    /// By a colon, and the name begins its line or a new part of it: YAML, or a heading.
    Line,
    /// By a colon in the middle of words.
    Prose,
}

/// The identifier around `hit`.
pub(super) fn identifier(text: &str, hit: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let before = bytes[..hit.start].iter().rev().take(REACH);
    let after = bytes[hit.end..].iter().take(REACH);
    let start = hit.start - before.take_while(is_part).count();
    let escape = usize::from(start < hit.start && follows_escape(bytes, start + 1));
    start + escape..hit.end + after.take_while(is_part).count()
}

/// The value assigned to the name at `name`; `None` if nothing is.
///
/// `bare` remembers the last unquoted value, so that names within it are not measured again.
pub(super) fn assigned(
    text: &str,
    name: &Range<usize>,
    bare: &mut Range<usize>,
) -> Option<Assignment> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(b'\n');
    let blanks = |from: usize| {
        let rest = bytes[from.min(bytes.len())..].iter().take(REACH);
        from + rest.take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    };
    let before = name.start.checked_sub(1).map_or(b'\n', at);
    let mut i = name.end;
    // The quote that closes a quoted name, perhaps escaped, and the bracket of an index.
    let quoted = skip_quote(bytes, &mut i).is_some();
    if at(i) == b']' {
        i += 1;
    } else if at(i) == b'%' && at(i + 1) == b'5' && matches!(at(i + 2), b'D' | b'd') {
        i += 3;
    }
    if let Some(value) = beside(text, name, i, quoted) {
        return Some(value);
    }
    let gap = blanks(i);
    let (sign, value) = match at(gap) {
        b'=' if matches!(at(gap + 1), b'>' | b'=') => (b'=', gap + 2),
        b'=' => (b'=', gap + 1),
        b':' if at(gap + 1) == b'=' => (b':', gap + 2),
        // `token::parse` is a path.
        b':' if at(gap + 1) == b':' => return None,
        b':' => (b':', gap + 1),
        b'>' if before == b'<' => (b'>', gap + 1),
        _ if gap > name.end && is_flag(text, name) && at(gap) != b'-' => (b' ', gap),
        _ => return None,
    };
    let mut start = if sign == b'>' { value } else { blanks(value) };
    if sign == b':'
        && let Some(value) = block(text, name, start)
    {
        let notation = Notation::Pair;
        return Some(Assignment { value, notation });
    }
    let list = wrapped(bytes, start);
    let quote = skip_quote(bytes, &mut start);
    let mut to_bare_end = || {
        if !(bare.start <= start && start < bare.end) {
            *bare = start..bare_end(bytes, start);
        }
        bare.end
    };
    let end = match (quote, &list) {
        (Some(quote), _) => close(bytes, start, quote)
            .or_else(|| cut_end(text, start))
            .unwrap_or_else(to_bare_end),
        (None, Some(list)) => list.end,
        (None, None) => to_bare_end(),
    };
    let start = list.as_ref().map_or(start, |list| list.start);
    let opens_line = || {
        let head = text[..name.start].trim_end_matches([' ', '\t', '"', '\'', '\\']);
        head.ends_with("\\n")
            || head.as_bytes().last().is_none_or(|byte| {
                matches!(
                    byte,
                    b'\n' | b'\r' | b'{' | b'[' | b'(' | b',' | b';' | b'|' | b'-' | b'&' | b'?'
                )
            })
    };
    let notation = if quoted || sign != b':' || quote.is_some() || list.is_some() {
        Notation::Pair
    } else if opens_line() {
        Notation::Line
    } else {
        Notation::Prose
    };
    (end > start).then_some(Assignment {
        value: start..end,
        notation,
    })
}

/// The end of the words that follow on the line: a passphrase has several. A sign that begins
/// something else ends them, and so does the name of another pair.
pub(super) fn words_end(text: &str, value: &Range<usize>) -> usize {
    let bytes = text.as_bytes();
    let (start, mut end) = (value.start, value.end);
    let is_end = |byte: u8| {
        byte.is_ascii_whitespace()
            || matches!(
                byte,
                b',' | b';'
                    | b'|'
                    | b'{'
                    | b'}'
                    | b'('
                    | b')'
                    | b'['
                    | b']'
                    | b'"'
                    | b'\''
                    | b'`'
                    | b'\\'
                    | b'<'
                    | b'>'
                    | b'='
                    | b':'
                    | b'#'
                    | b'&'
            )
    };
    while end - start < LONGEST_PHRASE && bytes.get(end) == Some(&b' ') {
        let rest = &bytes[end + 1..bytes.len().min(end + 1 + LONGEST_PHRASE)];
        let word = until(rest, is_end);
        if word == 0 || matches!(rest.get(word), Some(b'=' | b':')) {
            break;
        }
        end += 1 + word;
    }
    end
}

/// The value of a header: what its quotes hold, or the rest of the line, or of the quotes around
/// name and value.
pub(super) fn rest_of_header(
    text: &str,
    name: &Range<usize>,
    value: &Range<usize>,
) -> Range<usize> {
    let bytes = text.as_bytes();
    let quote_before = |i: usize| {
        let byte = *bytes.get(i.checked_sub(1)?)?;
        matches!(byte, b'"' | b'\'' | b'`').then_some(byte)
    };
    if quote_before(value.start).is_some() {
        return value.clone();
    }
    let around = quote_before(name.start);
    let rest = &bytes[value.start..];
    let end = until(rest, |byte| {
        matches!(byte, b'\r' | b'\n') || Some(byte) == around
    });
    let line = &text[value.start..value.start + end];
    value.start..value.start + line.trim_end_matches(['\\', ' ', '\t']).len()
}

/// Whether the name is a command line flag.
fn is_flag(text: &str, name: &Range<usize>) -> bool {
    text[name.clone()].starts_with("--")
        && text.as_bytes()[..name.start].last().is_none_or(|byte| {
            matches!(
                byte,
                b' ' | b'\t' | b'"' | b'\'' | b'\n' | b'`' | b'[' | b','
            )
        })
}

/// Where a quoted value ends whose end was cut off together with the rest of the text.
fn cut_end(text: &str, start: usize) -> Option<usize> {
    let value = text.get(start..)?.strip_suffix('…')?;
    (!value.contains('\n')).then(|| start + value.len())
}

/// Where an unquoted value ends: at a blank, a quote, a sign that begins the next pair, or a
/// bracket or stop that closes the sentence around it.
fn bare_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    let mut end = 0;
    while let Some(byte) = rest.get(end) {
        let ends = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'' | b'`' | b'|' => true,
            b'>' => {
                end += usize::from(rest[0] == b'<');
                true
            }
            b'<' => rest.get(end + 1) == Some(&b'/'),
            b',' | b'&' | b';' => next_pair(&rest[end + 1..]),
            b'\\' => matches!(rest.get(end + 1), Some(b'"' | b'n' | b'r' | b't')),
            _ => false,
        };
        if ends {
            break;
        }
        end += 1;
    }
    // A bracket that was opened outside, and the stop of a sentence. `[redacted:…]` keeps its own.
    // What is cut off holds no opener, so one look at the whole will do.
    let holds = [b'(', b'[', b'{'].map(|opener| rest[..end].contains(&opener));
    while end > 1 {
        let was_opened = match rest[end - 1] {
            b')' => holds[0],
            b']' => holds[1],
            b'}' => holds[2],
            b'.' | b',' | b'!' | b':' => false,
            _ => break,
        };
        if was_opened {
            break;
        }
        end -= 1;
    }
    start + end
}

/// Whether a blank, the end, a quote or another pair follows.
fn next_pair(rest: &[u8]) -> bool {
    let name = rest
        .iter()
        .take(REACH)
        .take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%' | b' ')
        })
        .count();
    match rest.get(name) {
        _ if rest.first() == Some(&b' ') => true,
        None => name == 0,
        Some(b'=' | b':') => name > 0,
        Some(byte) => {
            name == 0
                && matches!(
                    byte,
                    b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'' | b'{' | b'['
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value after the first `key` in `text`.
    fn value(text: &str) -> Option<(&str, Notation)> {
        let at = text.find("key").unwrap();
        let name = identifier(text, at..at + 3);
        let found = assigned(text, &name, &mut (0..0))?;
        Some((&text[found.value], found.notation))
    }

    #[test]
    fn values_are_found_in_every_notation() {
        for (text, expected, notation) in [
            ("a key=v1 b", "v1", Notation::Pair),
            ("x.key = 'v 1', b", "v 1", Notation::Pair),
            (r#"{"my-key": "v\"1", "b": 2}"#, r#"v\"1"#, Notation::Pair),
            (r#"{\"key\":\"v1\",\"b\":2}"#, "v1", Notation::Pair),
            ("key: v1\n", "v1", Notation::Line),
            ("  - key: v1", "v1", Notation::Line),
            ("bad key: v1", "v1", Notation::Prose),
            ("run --key v1 --b", "v1", Notation::Pair),
            ("run --key=v1", "v1", Notation::Pair),
            ("GET /x?key=v1&b=2", "v1", Notation::Pair),
            ("key=p&w,d b", "p&w,d", Notation::Pair),
            ("Server=a;key=v1;b=2", "v1", Notation::Pair),
            ("Server=a;key=v1;User Id=2", "v1", Notation::Pair),
            ("key=v;1", "v;1", Notation::Pair),
            ("key=v<1", "v<1", Notation::Pair),
            (r#"Conf { key: Some("v 1"), b: 2 }"#, "v 1", Notation::Pair),
            (r#"key: Secret(String("v1"))"#, "v1", Notation::Pair),
            ("{'key': b'v1', 'u': 1}", "v1", Notation::Pair),
            (r#"{"keys": ["v1", "v2"]}"#, r#"v1", "v2"#, Notation::Pair),
            (
                r#"{\"keys\":[\"v1\",\"v2\"]}"#,
                r#"v1\",\"v2"#,
                Notation::Pair,
            ),
            ("'key': [ 'v=1; P=/' ]", "v=1; P=/", Notation::Pair),
            ("<key>v1</key>", "v1", Notation::Pair),
            ("conf['key'] = 'v1'", "v1", Notation::Pair),
            ("key => v1", "v1", Notation::Pair),
            ("Conf { key: v1, b: 2 }", "v1", Notation::Line),
            ("f(key=v1).", "v1", Notation::Pair),
        ] {
            assert_eq!(value(text), Some((expected, notation)), "{text}");
        }
        for text in [
            "the key was lost",
            "key::parse",
            "key=",
            "keys",
            "run --key --b",
            "a key",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn words_that_follow_are_told_from_what_begins_something_else() {
        for (text, expected) in [
            ("key: v 1 w\nb", "v 1 w"),
            ("key: v 1 b=2", "v 1"),
            ("key: v w, b", "v w"),
            ("key: v", "v"),
        ] {
            assert_eq!(&text[5..words_end(text, &(5..6))], expected, "{text}");
        }
    }
}
