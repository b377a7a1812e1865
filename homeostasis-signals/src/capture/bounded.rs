//! Text of a foreign value, cut where it gets too long and empty-handed where it panics.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The longest text kept of one message or field value, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 8 * 1024;

/// What stands for the value of a formatter that panicked.
const PANICKED: &str = "<value panicked while it was formatted>";

/// Collects formatted text and stops the formatter once the limit is reached.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES - self.text.len();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        let cut = part.floor_char_boundary_compat(room);
        self.text.push_str(&part[..cut]);
        self.full = true;
        Err(fmt::Error)
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_compat(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    /// The last boundary of a character at or before `index`.
    fn floor_char_boundary_compat(&self, index: usize) -> usize {
        (0..=index.min(self.len()))
            .rev()
            .find(|at| self.is_char_boundary(*at))
            .unwrap_or(0)
    }
}

/// The text of `value`, at most [`MAX_VALUE_BYTES`] and an ellipsis.
///
/// A `Debug` or `Display` of the host that panics must not bring the host down only because
/// somebody looks: its panic ends here.
pub(super) fn text_of(value: fmt::Arguments<'_>) -> String {
    if let Some(text) = value.as_str() {
        return cut(text);
    }
    let mut out = Bounded::default();
    let formatted = catch_unwind(AssertUnwindSafe(|| out.write_fmt(value)));
    if formatted.is_err() {
        return PANICKED.to_owned();
    }
    if out.full {
        out.text.push('…');
    }
    out.text
}

/// `text`, at most [`MAX_VALUE_BYTES`] and an ellipsis.
pub(super) fn cut(text: &str) -> String {
    cut_at(text, MAX_VALUE_BYTES)
}

/// `text`, at most `max` bytes and an ellipsis.
pub(super) fn cut_at(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary_compat(max)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_value_stops_being_formatted_at_the_limit() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("äöü")?;
                }
            }
        }
        let text = text_of(format_args!("{Endless}"));
        assert!(text.len() <= MAX_VALUE_BYTES + '…'.len_utf8() && text.ends_with('…'));
        assert!(text.starts_with("äöüäöü"));
        assert_eq!(cut(&"é".repeat(MAX_VALUE_BYTES)).chars().last(), Some('…'));
    }

    #[test]
    fn a_formatter_that_panics_gives_a_notice_and_no_panic() {
        struct Broken;
        impl fmt::Debug for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("broken Debug")
            }
        }
        assert_eq!(text_of(format_args!("{Broken:?}")), PANICKED);
    }
}
