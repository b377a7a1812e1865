//! The small steps over text that every part of the redactor takes.

/// Names, gaps and references are looked at for this many bytes.
pub(super) const REACH: usize = 64;

/// A quoted value is searched for its end over this many bytes.
const LONGEST_QUOTED: usize = 16_384;

/// A quote and how many backslashes stand before it: strings within strings have more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    pub(super) sign: u8,
    pub(super) escapes: usize,
}

/// At most the first `n` bytes of `text`, whole characters.
pub(super) fn head(text: &str, n: usize) -> &str {
    let mut end = n.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Steps over one quote with the backslashes before it, and gives the quote.
pub(super) fn skip_quote(bytes: &[u8], i: &mut usize) -> Option<Quote> {
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
pub(super) fn close(bytes: &[u8], start: usize, quote: Quote) -> Option<usize> {
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

/// How many bytes stand before the first that ends them; all if none does.
pub(super) fn until(bytes: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(bytes.len())
}
