//! Lines of base64 alone, as a private key has them.

use std::ops::Range;

use super::check::{self, looks_random};

/// The kind of a line of base64 alone.
pub(super) const KIND: &str = "key-material";

/// Where lines of nothing but base64 stand, as in a private key whose first line is elsewhere.
///
/// Like the search for card numbers it looks at the ends of windows, and so at few bytes.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    const LEAST: usize = 60;
    const MOST: usize = 80;
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut next = 0;
    std::iter::from_fn(move || {
        while let Some(window) = bytes.get(next..next + LEAST) {
            if let Some(bad) = window.iter().rposition(|byte| !is_part(byte)) {
                next += bad + 1;
                continue;
            }
            // In an escaped text the lines are parted by `\n`, and it ends with a quote.
            let start = next + usize::from(check::follows_escape(bytes, next + 1));
            let end = start
                + bytes[start..]
                    .iter()
                    .take_while(|byte| is_part(byte))
                    .count();
            next = end;
            let before = text[..start].trim_end_matches(' ').as_bytes();
            let opens = start == 0
                || check::follows_escape(bytes, start)
                || before
                    .last()
                    .is_none_or(|byte| matches!(byte, b'\n' | b'"'));
            let closes = bytes
                .get(end)
                .is_none_or(|byte| matches!(byte, b'\n' | b'\r' | b'"' | b'\\'));
            let line = &text[start..end];
            let is_key = opens
                && closes
                && (LEAST..=MOST).contains(&line.len())
                && line.bytes().any(|byte| byte.is_ascii_uppercase())
                && line.bytes().any(|byte| byte.is_ascii_lowercase())
                && looks_random(line);
            if is_key {
                return Some(start..end);
            }
        }
        None
    })
}
