//! Values that a notation encloses as a whole: beside the word `value`, in a block of YAML, within
//! a call or a list.

use std::ops::Range;

use super::assignment::{Assignment, Notation};
use super::scan::{REACH, close, head, skip_quote, until};

/// A list of values is taken up to this many bytes.
const LONGEST_LIST: usize = 4096;

/// The quoted value beside a name that is a value itself: `"name": "token", "value": "…"`,
/// `key="token" value="…"`, `("token", "…")`, `["--token", "…"]`, and `PASSWORD '…'` of SQL.
pub(super) fn beside(
    text: &str,
    name: &Range<usize>,
    after: usize,
    quoted: bool,
) -> Option<Assignment> {
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
pub(super) fn block(text: &str, name: &Range<usize>, sign: usize) -> Option<Range<usize>> {
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
pub(super) fn wrapped(bytes: &[u8], start: usize) -> Option<Range<usize>> {
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
