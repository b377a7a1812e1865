//! `name = value` in free text: what stands after a name, and whether it can be a secret.
//!
//! Log fields, JSON (also escaped within a string), YAML, query strings, connection strings,
//! `--flags` and headers write a name, a separator and a value. In prose the same signs mean
//! something else (`Invalid token: expected a number`), so what the value looks like counts too.

use std::ops::Range;

use super::check::{follows_escape, is_word, looks_random};
use super::marker;

/// Names, gaps and references are looked at for this many bytes.
const REACH: usize = 64;

/// A quoted value is searched for its end over this many bytes.
const LONGEST_QUOTED: usize = 16_384;

/// A list of values is taken up to this many bytes.
const LONGEST_LIST: usize = 4096;

/// A reference to a secret has at most this many bytes.
const LONGEST_REFERENCE: usize = 256;

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

/// At most the first `n` bytes of `text`, whole characters.
pub(super) fn head(text: &str, n: usize) -> &str {
    let mut end = n.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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

/// The quoted value beside a name that is a value itself: `"name": "token", "value": "…"`,
/// `key="token" value="…"`, `("token", "…")`, `["--token", "…"]`, and `PASSWORD '…'` of SQL.
fn beside(text: &str, name: &Range<usize>, after: usize, quoted: bool) -> Option<Assignment> {
    let bytes = text.as_bytes();
    let skip = |from: usize, is_part: fn(u8) -> bool| {
        let rest = &bytes[from.min(bytes.len())..bytes.len().min(from + REACH)];
        from + until(rest, |byte| !is_part(byte))
    };
    let is_blank = |byte: u8| byte.is_ascii_whitespace();
    let word = &text[name.clone()];
    let mut start = skip(after, is_blank);
    if !quoted {
        let is_sql = start > after
            && word.len() >= 8
            && word.as_bytes()[word.len() - 8..].eq_ignore_ascii_case(b"password");
        if !is_sql || bytes.get(start) != Some(&b'\'') {
            return None;
        }
    }
    let has_comma = bytes.get(start) == Some(&b',');
    if has_comma {
        start = skip(start + 1, is_blank);
    } else if quoted && start == after {
        return None;
    }
    // The name of the value, if it has one.
    let mut next = start;
    skip_quote(bytes, &mut next);
    let is_named = quoted
        && bytes
            .get(next..next + 5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"value"));
    let sign = if is_named {
        next += 5;
        skip_quote(bytes, &mut next);
        next = skip(next, is_blank);
        let sign = bytes.get(next).copied();
        next = skip(next + 1, is_blank);
        sign
    } else {
        next = start;
        None
    };
    if is_named != matches!(sign, Some(b':' | b'=')) || (quoted && !is_named && !has_comma) {
        return None;
    }
    let quote = skip_quote(bytes, &mut next)?;
    let value = next..close(bytes, next, quote)?;
    // Two names in a list of names are more common than a name and its value.
    let held = text.get(value.clone())?;
    let is_likely = word.starts_with("--") && !held.starts_with('-')
        || held.bytes().take(REACH).any(|byte| byte.is_ascii_digit());
    let notation = match (is_named, quoted) {
        (true, _) => Notation::Pair,
        (false, true) if is_likely => Notation::Pair,
        (false, true) => return None,
        (false, false) => Notation::Prose,
    };
    (!value.is_empty()).then_some(Assignment { value, notation })
}

/// The lines of a block of YAML (`name: |`), which are indented deeper than its name.
fn block(text: &str, name: &Range<usize>, sign: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if !matches!(bytes.get(sign), Some(b'|' | b'>')) {
        return None;
    }
    let rest = &bytes[sign + 1..bytes.len().min(sign + LONGEST_LIST)];
    let head = until(rest, |byte| {
        !matches!(byte, b'-' | b'+' | b' ' | b'0'..=b'9' | b'\r')
    });
    if rest.get(head) != Some(&b'\n') {
        return None;
    }
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'-');
    let before = bytes[..name.start].iter().rev().take(REACH);
    let indent = before.take_while(is_blank).count();
    let (mut start, mut end, mut at) = (None, 0, head + 1);
    while at < rest.len() {
        let line = until(&rest[at..], |byte| byte == b'\n');
        let blanks = until(&rest[at..], |byte| byte != b' ' && byte != b'\t').min(line);
        if blanks < line {
            if blanks <= indent {
                break;
            }
            start = start.or(Some(at + blanks));
            end = at + line;
        }
        at += line + 1;
    }
    let range = sign + 1 + start?..sign + 1 + end;
    // Bounds may cut a character.
    let end = range.start + head_len(text, &range);
    Some(range.start..end)
}

fn head_len(text: &str, range: &Range<usize>) -> usize {
    head(&text[range.start..], range.len()).trim_end().len()
}

/// What stands in quotes within a call, a list or a literal with a prefix: `Some("a")`,
/// `["a", "b"]`, `b'a'`; of several from the first to the last.
fn wrapped(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let reach = bytes.len().min(start + LONGEST_LIST);
    let skip = |from: usize, is_part: fn(u8) -> bool| {
        from + until(&bytes[from..reach], |byte| !is_part(byte))
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.');
    let is_blank = |byte: u8| byte.is_ascii_whitespace();
    let (mut at, mut is_open) = (start, false);
    for _ in 0..4 {
        let name = skip(at, is_name);
        if !matches!(bytes.get(name), Some(b'(' | b'[')) || name - at > REACH {
            break;
        }
        (at, is_open) = (skip(name + 1, is_blank), true);
    }
    let prefix = bytes[at..reach].iter().take(3);
    let prefix = prefix.take_while(|byte| byte.is_ascii_alphabetic()).count();
    if prefix > 2 || !(is_open || prefix > 0) {
        return None;
    }
    let mut next = at + prefix;
    let quote = skip_quote(bytes, &mut next)?;
    let first = next;
    let mut end = close(bytes, first, quote)?;
    // Only within brackets there can be more of them.
    while is_open && end < reach {
        let closed = end + quote.escapes + 1;
        let comma = skip(closed.min(reach), is_blank);
        if bytes.get(comma) != Some(&b',') {
            break;
        }
        let mut item = skip((comma + 1).min(reach), is_blank);
        match skip_quote(bytes, &mut item) {
            Some(quote) if item < reach => match close(bytes, item, quote) {
                Some(closes) => end = closes,
                None => break,
            },
            _ => break,
        }
    }
    Some(first..end)
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

/// Whether `value` can be the secret that its name promises.
///
/// `is_last` says that nothing follows it on its line.
pub(super) fn is_plausible(
    value: &str,
    notation: Notation,
    is_last: bool,
    is_password: bool,
) -> bool {
    if is_harmless(value)
        || (!is_password && is_locator(value))
        || (!(is_password && notation == Notation::Pair) && is_state(value))
    {
        return false;
    }
    let all_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits && !is_password && value.len() < 6 {
        return false;
    }
    notation != Notation::Prose || !is_word(value) || (is_password && is_last)
}

/// What stands for a secret and is none: a placeholder, a reference, a mask.
pub(super) fn is_harmless(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "",
        "null",
        "(null)",
        "none",
        "nil",
        "nan",
        "undefined",
        "true",
        "false",
        "redacted",
        "(redacted)",
        "hidden",
        "(hidden)",
        "masked",
        "n/a",
    ];
    let value = value.trim();
    let bare = value.trim_matches(['"', '\'', '\\']);
    let is_reference = is_reference(bare);
    let mut bytes = bare.bytes();
    let is_mask = bytes.next().is_some_and(|first| {
        matches!(first, b'*' | b'.' | b'-' | b'x' | b'X' | b'#' | b'_' | b'?')
            && bytes.all(|byte| byte == first)
    });
    marker::end(bare, 0) == Some(bare.len())
        || is_reference
        || is_mask
        || WORDS.iter().any(|word| bare.eq_ignore_ascii_case(word))
}

/// Whether the value as a whole is a variable, a place in a template or a placeholder. What only
/// begins like one may be a secret. A blank ends a value, so `{{ name }}` may be cut.
fn is_reference(value: &str) -> bool {
    let all = |text: &str, others: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
    };
    let no_digits = |text: &str| !text.bytes().any(|byte| byte.is_ascii_digit());
    if value.len() > LONGEST_REFERENCE {
        return false;
    }
    if matches!(value, "%s" | "%d" | "%v" | "{}" | "{:?}" | "{{" | "{{}}") {
        return true;
    }
    if let Some(rest) = value.strip_prefix("$(") {
        return all(rest.strip_suffix(')').unwrap_or(rest), "_-./");
    }
    if let Some(rest) = value.strip_prefix("${") {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let name = rest.trim_end_matches('}');
        return rest.is_empty() || all(name, "_.:-");
    }
    if let Some(name) = value.strip_prefix('$') {
        return all(name, "_")
            && no_digits(&name[..1])
            && !name.bytes().any(|byte| byte.is_ascii_lowercase());
    }
    let inner = |open: &str, shut: &str| value.strip_prefix(open)?.strip_suffix(shut);
    inner("{{", "}}").is_some_and(|name| all(name, "_.- "))
        || inner("%(", ")s").is_some_and(|name| all(name, "_"))
        || inner("%", "%").is_some_and(|name| all(name, "_"))
        || inner("<", ">").is_some_and(|name| all(name, "_.- ") && no_digits(name))
}

/// A word that says how it is with a secret.
fn is_state(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "yes",
        "no",
        "on",
        "off",
        "ok",
        "unset",
        "set",
        "empty",
        "missing",
        "required",
        "optional",
        "invalid",
        "valid",
        "expired",
        "unknown",
        "disabled",
        "enabled",
        "default",
        "failed",
        "failure",
        "changed",
        "denied",
        "rejected",
        "accepted",
        "incorrect",
        "wrong",
        "revoked",
        "absent",
        "present",
        "not",
        "string",
        "str",
        "&str",
        "bytes",
        "locked",
        "reset",
        "success",
    ];
    let value = value.trim_end_matches(['.', ',', '!']);
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// A path or an address says where a secret is.
fn is_locator(value: &str) -> bool {
    let is_path = |rest: &str| {
        rest.bytes()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'.' | b'-' | b'_'))
    };
    value.starts_with("http://")
        || value.starts_with("https://")
        || value.starts_with("file:")
        || (value.starts_with(['/', '~', '.']) && is_path(&value[1..]))
        || value.bytes().take(REACH).any(|byte| byte == b'(')
}

/// The first text that looks drawn by chance within reach after a name that is followed by prose.
///
/// `seen` is how far earlier calls looked: a text is judged once.
pub(super) fn random_nearby(text: &str, from: usize, seen: &mut usize) -> Option<Range<usize>> {
    if from < *seen {
        return None;
    }
    let bytes = text.as_bytes();
    let mut i = from;
    while i < bytes.len().min(from + REACH) {
        let run = bytes[i..]
            .iter()
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'=')
            })
            .count();
        if run >= 20 {
            let found = i..i + run;
            *seen = found.end;
            let before = i.checked_sub(1).map_or(b' ', |i| bytes[i]);
            let after = bytes.get(found.end).copied().unwrap_or(b' ');
            let stands_alone = matches!(
                before,
                b' ' | b'\t' | b'"' | b'\'' | b'`' | b'=' | b'(' | b'[' | b'<'
            ) && !matches!(after, b'.' | b'-' | b':' | b'@');
            let word = &text[found.clone()];
            let is_secret = stands_alone
                && !word.starts_with('/')
                && looks_random(word)
                && (run >= 32 || word.bytes().any(|byte| byte.is_ascii_uppercase()));
            return is_secret.then_some(found);
        }
        match bytes.get(i + run) {
            // A line that ends, or what was redacted before, ends the search.
            None | Some(b'\n' | b'\r' | b'[') => return None,
            Some(_) => i += run + 1,
        }
    }
    None
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

/// A quote and how many backslashes stand before it: strings within strings have more.
#[derive(Debug, Clone, Copy)]
struct Quote {
    sign: u8,
    escapes: usize,
}

/// Steps over one quote with the backslashes before it, and gives the quote.
fn skip_quote(bytes: &[u8], i: &mut usize) -> Option<Quote> {
    let rest = bytes.get(*i..)?;
    let escapes = rest
        .iter()
        .take(8)
        .take_while(|byte| **byte == b'\\')
        .count();
    match rest.get(escapes) {
        Some(sign @ (b'"' | b'\'' | b'`')) => {
            *i += escapes + 1;
            let sign = *sign;
            Some(Quote { sign, escapes })
        }
        _ => None,
    }
}

/// Where the quote closes: at one that is escaped no deeper than it.
fn close(bytes: &[u8], start: usize, quote: Quote) -> Option<usize> {
    let rest = &bytes[start..bytes.len().min(start + LONGEST_QUOTED)];
    let mut escapes = 0;
    for (i, byte) in rest.iter().enumerate() {
        if *byte == b'\\' {
            escapes += 1;
            continue;
        }
        let is_shallow = if quote.escapes == 0 {
            escapes % 2 == 0
        } else {
            escapes <= quote.escapes
        };
        if *byte == quote.sign && is_shallow {
            return Some(start + i - escapes.min(quote.escapes));
        }
        escapes = 0;
    }
    None
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

fn until(bytes: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(bytes.len())
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

    #[test]
    fn what_stands_for_a_secret_is_harmless() {
        for value in [
            "",
            "null",
            "True",
            "***",
            "xxxxx",
            "${DB_PASSWORD}",
            "$PASSWORD",
            "{{ password }}",
            "<password>",
            "%s",
            "{}",
            "%(password)s",
            "%PASSWORD%",
            "$(cat",
            "[redacted:token]",
            "\"\"",
        ] {
            assert!(is_harmless(value), "{value}");
        }
        for value in [
            "hunter2",
            "$ecret",
            "xox",
            "a*b",
            "%s3cret!",
            "$1ABC",
            "$",
            "<hunter2>",
            "{}hunter",
            "[redacted:token]hunter2",
        ] {
            assert!(!is_harmless(value), "{value}");
        }
    }

    #[test]
    fn prose_needs_more_than_a_colon() {
        assert!(!is_plausible("expected", Notation::Prose, false, false));
        assert!(is_plausible("hunter2", Notation::Prose, false, true));
        assert!(is_plausible("swordfish", Notation::Line, false, true));
        assert!(!is_plausible("12", Notation::Pair, false, false));
        assert!(!is_plausible(
            "/run/secrets/token",
            Notation::Pair,
            false,
            false
        ));
    }
}
